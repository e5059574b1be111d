"""The command line as a process: names of records, kinds of files, and what a killed process leaves."""
import csv
import gzip
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gcig.model import CNNLSTM, save_model
from gcig.sequences import random_sequence
from gcig.tracks import from_cell

GCIG = Path(sys.executable).parent / "gcig"
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals, permissions and pipes as POSIX has them")
DNA = random_sequence(60, seed=0)
FILES = {
    "fine.fa": {"chr1 one": DNA, "chr2": DNA[::-1]},
    "odd.fa": dict.fromkeys(["file", "allow_pickle", "a/b", "=1+1", "-5", "NA", "x" * 300], DNA),
    "nameless.fa": {"": DNA},
    "twice.fa": {"a one": DNA, "b": DNA, "a two": DNA},
    "spaced.fa": {" seq 0": DNA, " seq 1": DNA},
    "bell.fa": {"a\x07b": DNA},
    "track.fa": {"track": DNA},
    "gap.fa": {"gap": "N" * 100},
    "half.fa": {"good": DNA, "gap": "N" * 100, "hole": "N" * 60},
    "one_n.fa": {"fine": DNA, "has_n": DNA[:20] + "N" + DNA[21:]},
    "long.fa": {"chr1": random_sequence(20_000, seed=1)},
    "contigs.fa": {"tiny": "ACGT", "chr1": DNA, "none": "", "small": DNA[:49]},
    "tiny.fa": {"tiny": "ACGT", "small": DNA[:49]},
}
FAST = {"attribute": ["--rtol", ".1", "--atol", ".1"], "mutate": ["-n", "1"], "predict": []}
SKIP = ["--ambiguous", "skip"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with a network and sequences under all kinds of names"
    folder = tmp_path_factory.mktemp("files")
    save_model(CNNLSTM(seed=0, labels=["one", "two"]), folder / "net.safetensors")
    for name, records in FILES.items():
        (folder / name).write_text("".join(f">{header}\n{letters}\n" for header, letters in records.items()))
    if hasattr(os, "mkfifo"):
        for name in ("pipe.bw", "pipe.npz", "pipe.parquet"): os.mkfifo(folder / name)
    return folder


def run(folder, command, sequences, out, *more, **kwargs):
    args = [GCIG, command, "net.safetensors", sequences, "--out", out, *FAST[command], *more]
    return subprocess.run(args, cwd=folder, capture_output=True, text=True, timeout=300, **kwargs)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


MISTAKES = {
    "no name": ("attribute", "nameless.fa", "x.bedgraph", "record 1 has no name; in bedGraph names are keys"),
    "no name in .npz": ("attribute", "nameless.fa", "x.npz", "record 1 has no name"),
    "name twice": ("attribute", "twice.fa", "x.bw", "the name 'a' comes twice"),
    "name twice behind a space": ("attribute", "spaced.fa", "x.tsv", "the name 'seq' comes twice"),
    "control character": ("predict", "bell.fa", "x.tsv", "a text table cannot hold the name 'a\\x07b'"),
    "control character in a track": ("attribute", "bell.fa", "x.bedgraph", "bedGraph cannot hold the name"),
    "a line of the browser": ("attribute", "track.fa", "x.bedgraph", "bedGraph cannot hold the name 'track'"),
    "one N": ("mutate", "one_n.fa", "x.csv", "'has_n' has 'N' at position 21", "--rule", "random"),
    "columns twice": ("predict", "fine.fa", "x.tsv", "labels must differ from record",
                      "--labels", "record,start"),
    **{f"short record, {command}": (
        command, "contigs.fa", "x.tsv", "'tiny' has 4 letters, fewer than a window of 50", "--short", "error")
       for command in FAST},
    **{f"only short records, {command}": (
        command, "tiny.fa", "x.tsv", "'small' has 49 letters, fewer than a window of 50; there is no longer")
       for command in FAST},
    "packed bigWig": ("attribute", "fine.fa", "X.bw.GZ", "but is X.bw.GZ (bigWig takes no .gz)"),
    "packed Parquet": ("predict", "fine.fa", "x.parquet.gz", "(Parquet takes no .gz)"),
    "name too long": ("predict", "fine.fa", "x" * 252 + ".tsv", "cannot be written to: File name too long"),
    **{f"only gaps in {name}": ("attribute", "gap.fa", name, "there is no window", *SKIP)
       for name in ("x.bw", "x.npz", "x.bedgraph", "-")},
    **{f"only gaps in a table, {name}": (command, "gap.fa", name, "there is no window", *SKIP)
       for command, name in (("predict", "x.parquet"), ("mutate", "x.csv"))},
    **{f"{name} is a pipe": (command, "fine.fa", name, f"--out must be a file, but {name} is a pipe")
       for command, name in [("attribute", "pipe.bw"), ("attribute", "pipe.npz"),
                             ("predict", "pipe.parquet")]},
}


@pytest.fixture(scope="module")
def outcomes(place):
    "What each of the mistakes ended in, and the files before and after; two run side by side"
    before = files(place)
    def outcome(mistake):
        command, sequences, out, _, *more = mistake
        return run(place, command, sequences, out, *more)
    with ThreadPoolExecutor(2) as pool: done = list(pool.map(outcome, MISTAKES.values()))
    return dict(zip(MISTAKES, done)), before, files(place)


@POSIX
@pytest.mark.parametrize("name", MISTAKES)
def test_one_sentence(outcomes, name):
    done, words = outcomes[0][name], MISTAKES[name][3]
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (2, 1, ""), done.stderr
    assert done.stderr.startswith("gcig: ") and words in done.stderr


@POSIX
def test_mistakes_leave_no_file(outcomes):
    _, before, after = outcomes
    assert before == after


def test_any_name_in_npz(place):
    done = run(place, "attribute", "odd.fa", "odd.npz")
    assert done.returncode == 0, done.stderr
    with np.load(place / "odd.npz") as arrays:
        assert arrays.files == list(FILES["odd.fa"])
        assert {len(arrays[name]) for name in FILES["odd.fa"]} == {60}


def test_names_in_cells_are_no_formulas(place):
    done = run(place, "predict", "odd.fa", "odd.csv", "--labels", "=a,b", "--tail", "none")
    assert done.returncode == 0, done.stderr
    rows = list(csv.reader(open(place / "odd.csv", newline="")))
    assert rows[0] == ["record", "start", "end", "'=a", "b"] and {"'=1+1", "'-5"} <= {row[0] for row in rows}
    table = pd.read_csv(place / "odd.csv", converters=dict(record=from_cell))
    assert table.record.tolist() == list(FILES["odd.fa"]) and table.b.between(0, 1).all()


def test_names_that_are_no_keys_just_work(place):
    for command, name in (("predict", "nameless.fa"), ("mutate", "twice.fa")):
        done = run(place, command, name, "x.csv")
        assert done.returncode == 0, done.stderr
        table = pd.read_csv(place / "x.csv", converters=dict(record=from_cell))
        assert table.record.unique().tolist() == list(FILES[name])


def test_records_without_a_window_are_named_once(place):
    for command, out, what in (("attribute", "x.bedgraph", "score"), ("predict", "x.tsv", "window")):
        done = run(place, command, "half.fa", out, *SKIP)
        assert done.returncode == 0 and done.stderr == f"gcig: no {what} in 2 of 3 records: 'gap', 'hole'\n"
        assert {line.split("\t")[0] for line in (place / out).read_text().splitlines()} <= {"good", "record"}


@pytest.mark.parametrize("command", FAST)
def test_short_records_are_left_out_and_counted(place, command):
    done = run(place, command, "contigs.fa", "x.tsv")
    said = "gcig: left out 3 of 4 records, shorter than a window of 50: 'tiny', 'none', 'small'\n"
    assert (done.returncode, done.stderr) == (0, said)
    assert {line.split("\t")[0] for line in (place / "x.tsv").read_text().splitlines()} == {"chr1", "record"}


def test_every_letter_has_a_score(place):
    for tail, scored in (("flush", 60), ("none", 50)):
        done = run(place, "attribute", "fine.fa", "x.npz", "--tail", tail)
        assert done.returncode == 0, done.stderr
        with np.load(place / "x.npz") as arrays: assert np.isfinite(arrays["chr2"]).sum() == scored


@pytest.mark.parametrize("name", ["X.TSV.GZ", "x.Tsv", "é" * 120 + ".tsv", "y" * 247 + ".tsv.gz"])
def test_one_rule_for_names_of_files(place, name):
    done = run(place, "predict", "fine.fa", name)
    assert done.returncode == 0, done.stderr
    data = (place / name).read_bytes()
    text = gzip.decompress(data) if name.lower().endswith(".gz") else data
    assert text.startswith(b"record\tstart\tend\tone\ttwo\nchr1 one\t0\t50\t")


@POSIX
def test_packed_text_into_a_pipe(place):
    os.mkfifo(place / "PIPE.TSV.GZ")
    reader = subprocess.Popen(["cat", "PIPE.TSV.GZ"], cwd=place, stdout=subprocess.PIPE)
    done = run(place, "predict", "fine.fa", "PIPE.TSV.GZ", "--tail", "none")
    packed, _ = reader.communicate()
    assert done.returncode == 0 and len(gzip.decompress(packed).splitlines()) == 3, done.stderr


@POSIX
@pytest.mark.parametrize("args", [
    ("attribute", "long.fa", "X.BW"),
    ("attribute", "long.fa", "x.npz"),
    ("predict", "long.fa", "x.parquet", "--step", "1"),
    ("predict", "long.fa", "-", "--plot", "x.png"),
], ids=lambda args: args[-1] if "--plot" in args else args[2])
def test_disk_full(place, args):
    "A limit of a file's size stands for a full disk"
    import resource
    pytest.importorskip({"X.BW": "pybigtools", "x.parquet": "pyarrow"}.get(args[2], "numpy"))
    before = files(place)
    done = run(place, *args, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "cannot be written" in done.stderr and files(place) == before


def started(folder, out):
    "A long attribution that has begun to write, and its temporary file"
    before = set(folder.glob(".partial-*"))
    args = ["attribute", "net.safetensors", "long.fa", "--step", "1", "--rtol", "1e-6", "--out", out]
    quiet = dict(stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    process = subprocess.Popen([GCIG, *args], cwd=folder, **quiet)
    while not (new := set(folder.glob(".partial-*")) - before):
        assert process.poll() is None
        time.sleep(.05)
    return process, new.pop()


@POSIX
def test_what_a_killed_process_leaves_is_swept_and_nothing_else(place):
    killed, left = started(place, "killed.bedgraph")
    killed.kill()
    killed.wait()
    assert left.exists() and not (place / "killed.bedgraph").exists()
    machine = left.name.split("-")[1]
    elsewhere = place / left.name.replace(f"-{machine}-", "-another-machine-")
    elsewhere.touch()
    living, in_work = started(place, "living.bedgraph")
    try:
        assert not left.exists()
        assert run(place, "predict", "fine.fa", "x.tsv").returncode == 0
        assert in_work.exists() and elsewhere.exists()
    finally:
        living.send_signal(signal.SIGKILL)
        living.wait()
        elsewhere.unlink()
    assert run(place, "predict", "fine.fa", "x.tsv").returncode == 0
    assert list(place.glob(".partial-*")) == []


LONG_WINDOWS = """
import resource, sys
import torch
from gcig.sequences import random_sequence
from gcig.tracks import attribute_records, mutate_records, predict_records

class Mean(torch.nn.Module):
    def forward(self, X): return X.mean(2) @ torch.eye(4)

length = int(sys.argv[1])
cut = dict(records=[("chr", random_sequence(length + 25 * 4096, seed=1))], maxlen=length)
rule = dict(output="logit", method="trapezoid", n_steps=1)
assert sum(map(len, predict_records(Mean(), step=25, **cut))) == 4097
assert len(list(attribute_records(Mean(), step=25, **cut, **rule))) == 1
cut["records"] = [(name, text[:length + 25]) for name, text in cut["records"]]
assert sum(len(states) for _, states in mutate_records(Mean(), step=25, n_iterations=1, **cut)) == 4
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux")
def test_memory_does_not_grow_with_the_length_of_windows():
    peaks = []
    for length in (1_000, 15_000):
        command = [sys.executable, "-c", LONG_WINDOWS, str(length)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks.append(float(done.stdout))
    in_one_batch = 4097 * 15_000 * 4 * 4 / 2**20     # MiB as one-hot code: 940
    assert peaks[1] < peaks[0] + in_one_batch / 3, peaks
