"""The command line as a process on a user's own files.

What is wrong with them is said in one sentence, and nothing half-done is left.
"""
import gzip
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from gcig.encoding import one_hot
from gcig.model import load_arrays, load_model
from gcig.model import predict as probabilities
from gcig.sequences import EQUAL_DIST, HIGH_GC, random_sequence, write_fasta

GCIG = Path(sys.executable).parent / "gcig"
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals, permissions and pipes as POSIX has them")
TRAIN = ["train", "high_gc", "equal_dist",
         "--valid", "valid/high_gc.fasta", "--valid", "valid/equal_dist.fasta"]


class Unpickled:
    "Code in a pickle that would leave a file"
    def __reduce__(self): return os.mkdir, ("unpickled",)


def broken_files(good, network):
    "Name and bytes of files made from good sequences and a good network, most of them broken"
    packed = gzip.compress(good)
    return {
        "good.fasta": good,
        "empty.fasta": b"",
        "header.fasta": b">only a header\n",
        "headless.fasta": b"ACGTACGT\n",
        "cut.fasta.gz": packed[:-30],
        "plain.fasta.gz": good,
        "binary.fasta": bytes(range(256)) * 20,
        "protein.fasta": b">p\nMKLVIF\n",
        "short.fasta": b">tiny\nACGT\n",
        "twice.fasta": good + good,
        "cut.fastq": b"@a\nACGT\n+\nII",
        "unclear.fasta": b">n\n" + b"N" * 60 + b"\n",
        "secret.fasta": good,
        "cut.safetensors": network[:-40],
        "pickle.safetensors": pickle.dumps(Unpickled()),
    }


def write_broken_networks(folder):
    "From the network in `folder`: one whose weights do not fit, and one that says nothing of itself"
    network = folder / "net.safetensors"
    settings, _ = load_arrays(network)
    header = {"gcig": json.dumps(settings)}
    weights = load_file(network)
    first_rows = {n: t[:1].clone() if t.ndim else t for n, t in weights.items()}
    save_file(first_rows, folder / "shapes.safetensors", metadata=header)
    save_file(weights, folder / "other.safetensors")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with sequences, networks and many kinds of broken files"
    folder = tmp_path_factory.mktemp("own")
    for name in ("valid", "no_files", "closed"): (folder / name).mkdir()
    for i, (name, probs) in enumerate(dict(high_gc=HIGH_GC, equal_dist=EQUAL_DIST).items()):
        (folder / name).mkdir()
        write_fasta(folder / name / "dna.fasta", [(name, random_sequence(20_000, probs, seed=i))])
        write_fasta(folder / "valid" / f"{name}.fasta", [(name, random_sequence(5_000, probs, seed=10 + i))])
    done = run(folder, *TRAIN, "--epochs", "2", "-o", "net.safetensors")
    assert done.returncode == 0, done.stderr
    good = (folder / "valid/high_gc.fasta").read_bytes()
    network = (folder / "net.safetensors").read_bytes()
    for name, data in broken_files(good, network).items(): (folder / name).write_bytes(data)
    write_broken_networks(folder)
    return folder


def run(folder, *args, **kwargs):
    return subprocess.run([GCIG, *args], cwd=folder, capture_output=True, text=True, **kwargs)


def heed_interrupts():
    "Called in a new process: a script in the background has it ignore SIGINT, as no terminal would"
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


OUT = ("-o", "x.tsv")
MISTAKES = {
    "no such sequences": (["predict", "net.safetensors", "none.fasta", *OUT], "none.fasta does not exist"),
    "no such network": (
        ["predict", "none.safetensors", "good.fasta", *OUT],
        "none.safetensors does not exist"),
    "folder for sequences": (["predict", "net.safetensors", "valid", *OUT], "valid is a folder"),
    "folder for a network": (["predict", "valid", "good.fasta", *OUT], "valid is a folder"),
    "folder for the output": (
        ["predict", "net.safetensors", "good.fasta", "-o", "valid"],
        "--out must be a file, but valid is a folder"),
    "file in the path of the output": (
        ["predict", "net.safetensors", "good.fasta", "-o", "good.fasta/x.tsv"],
        "--out: the folder good.fasta does not exist"),
    "output folder missing": (
        ["attribute", "net.safetensors", "good.fasta", "-o", "none/x.bedgraph"],
        "--out: the folder none does not exist"),
    "unknown ending": (
        ["predict", "net.safetensors", "good.fasta", "-o", "x.xls"],
        "--out must end in .tsv, .csv, .parquet, but is x.xls"),
    "unknown ending of a track": (
        ["attribute", "net.safetensors", "good.fasta", "-o", "x.bam"],
        "--out must end in .bedgraph, .tsv, .npz, .bw, but is x.bam"),
    "unknown ending of a plot": (
        ["mutate", "net.safetensors", "good.fasta", *OUT, "--plot", "x.doc"],
        "--plot must end in .png, .svg, .pdf"),
    "empty file": (["predict", "net.safetensors", "empty.fasta", *OUT], "empty.fasta holds no sequence"),
    "header only": (
        ["predict", "net.safetensors", "header.fasta", *OUT],
        "'only a header' has 0 letters, fewer than a window of 50"),
    "no header": (
        ["predict", "net.safetensors", "headless.fasta", *OUT],
        "headless.fasta cannot be read as FASTA or FASTQ"),
    "truncated gzip": (
        ["predict", "net.safetensors", "cut.fasta.gz", *OUT],
        "cut.fasta.gz cannot be read as FASTA or FASTQ"),
    "not compressed as it says": (["predict", "net.safetensors", "plain.fasta.gz", *OUT], "plain.fasta.gz"),
    "binary": (
        ["predict", "net.safetensors", "binary.fasta", *OUT],
        "binary.fasta cannot be read as FASTA or FASTQ"),
    "truncated FASTQ": (
        ["predict", "net.safetensors", "cut.fastq", *OUT],
        "cut.fastq cannot be read as FASTA or FASTQ"),
    "protein": (
        ["predict", "net.safetensors", "protein.fasta", *OUT],
        "record 'p' has 'L' at position 3, which is no nucleotide code"),
    "shorter than a window": (
        ["attribute", "net.safetensors", "short.fasta", *OUT],
        "'tiny' has 4 letters, fewer than a window of 50"),
    "names twice": (
        ["attribute", "net.safetensors", "twice.fasta", *OUT, "--step", "500"],
        "'high_gc' comes twice"),
    "ambiguous letters": (
        ["predict", "net.safetensors", "unclear.fasta", *OUT, "--ambiguous", "error"],
        "'n' has the ambiguous letter 'N' at position 1"),
    "no window left": (
        ["predict", "net.safetensors", "unclear.fasta", *OUT, "--ambiguous", "skip"],
        "there is no window"),
    "network cut short": (
        ["predict", "cut.safetensors", "good.fasta", *OUT],
        "cut.safetensors is no whole safetensors file"),
    "network of another kind": (
        ["predict", "other.safetensors", "good.fasta", *OUT],
        "other.safetensors is not a model that gcig's save_model wrote"),
    "state for a network": (
        ["predict", "net.state.safetensors", "good.fasta", *OUT],
        "net.state.safetensors is not a model"),
    "altered shapes": (
        ["predict", "shapes.safetensors", "good.fasta", *OUT],
        "shapes.safetensors do not fit"),
    "code in a network": (
        ["predict", "pickle.safetensors", "good.fasta", *OUT],
        "pickle.safetensors is no whole safetensors file"),
    "labels of another number": (
        ["predict", "net.safetensors", "good.fasta", *OUT, "--labels", "a,b,c"],
        "labels must be 2 different names"),
    "unknown class": (
        ["attribute", "net.safetensors", "good.fasta", *OUT, "--target", "low_gc"],
        "--target must be high_gc, equal_dist or a number from 0 to 1"),
    "tolerance": (["attribute", "net.safetensors", "good.fasta", *OUT, "--rtol", "0"], "rtol"),
    "step": (
        ["predict", "net.safetensors", "good.fasta", *OUT, "--step", "0"],
        "step must be a whole number of at least 1"),
    "unknown rule": (
        ["mutate", "net.safetensors", "good.fasta", *OUT, "--rule", "best"],
        "rule must be one of"),
    "protected": (
        ["mutate", "net.safetensors", "good.fasta", *OUT, "--protected", "51"],
        "protected must hold positions from 1 to 50"),
    "one class": (["train", "high_gc", "-o", "x.safetensors"], "at least two folders or files are needed"),
    "file for a class missing": (["train", "high_gc", "none", "-o", "x.safetensors"], "none does not exist"),
    "class without files": (
        ["train", "high_gc", "no_files", "-o", "x.safetensors"],
        "the folder no_files holds no FASTA"),
    "class without windows": (
        ["train", "high_gc", "short.fasta", "-o", "x.safetensors"],
        "longer than every sequence of class 'short'"),
    "labels twice": (
        ["train", "high_gc", "equal_dist", "--labels", "a,a", "-o", "x.safetensors"],
        "labels must be 2 different names"),
    "validation of one class": (
        ["train", "high_gc", "equal_dist", "--valid", "valid/high_gc.fasta", "-o", "x.safetensors"],
        "--valid must be given 2 times"),
    "pools too big": (
        ["train", "high_gc", "equal_dist", "--pool-size", "9,9", "-o", "x.safetensors"],
        "pool_size (9, 9) shrinks"),
    "not a number": (
        ["train", "high_gc", "equal_dist", "--epochs", "many", "-o", "x.safetensors"],
        "--epochs"),
    "NaN loss": (
        [*TRAIN, "--lr", "1e30", "-o", "x.safetensors"],
        "the loss is no longer a number in epoch 1"),
    "training would be lost": (
        [*TRAIN, "-o", "net.safetensors"],
        "net.state.safetensors holds an earlier training"),
    "resumed with other settings": (
        [*TRAIN, "--epochs", "3", "--lr", "0.01", "--resume", "-o", "net.safetensors"],
        "was made with lr 0.001, not 0.01"),
    "resumed on other windows": (
        [*TRAIN, "--epochs", "3", "--step", "25", "--resume", "-o", "net.safetensors"],
        "was made with step 50, not 25"),
}


@pytest.fixture(scope="module")
def outcomes(place):
    "What each of the mistakes ended in, and the files before and after; two run side by side"
    before = files(place)
    commands = [args for args, _ in MISTAKES.values()]
    with ThreadPoolExecutor(2) as pool: done = list(pool.map(lambda args: run(place, *args), commands))
    return dict(zip(MISTAKES, done)), before, files(place)


@pytest.mark.parametrize("name", MISTAKES)
def test_one_sentence(outcomes, name):
    done, words = outcomes[0][name], MISTAKES[name][1]
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert done.stderr.startswith("gcig: ") and words in done.stderr


def test_mistakes_leave_no_file(outcomes):
    _, before, after = outcomes
    assert before == after


@POSIX
def test_no_permission(place):
    if os.getuid() == 0: pytest.skip("root may read and write everything")
    (place / "secret.fasta").chmod(0)
    (place / "closed").chmod(0o555)
    predict = ["predict", "net.safetensors"]
    refused = [([*predict, "secret.fasta", *OUT], "secret.fasta"),
               ([*predict, "good.fasta", "-o", "closed/x.tsv"], "--out: closed/x.tsv cannot be written to")]
    for args, words in refused:
        done = run(place, *args)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and words in done.stderr


@POSIX
@pytest.mark.parametrize("args", [
    ["predict", "net.safetensors", "good.fasta", "--step", "1", "-o", "x.tsv"],
    ["attribute", "net.safetensors", "good.fasta", "--step", "25", "-o", "x.tsv"],
    [*TRAIN, "--epochs", "1", "-o", "x.safetensors"],
], ids=lambda a: a[0])
def test_disk_full(place, args):
    "A file-size limit stands for a full disk: writing fails in the middle"
    import resource
    before = files(place)
    done = run(place, *args, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "cannot be written" in done.stderr and files(place) == before


@POSIX
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_standard_output(place):
    command = [GCIG, "predict", "net.safetensors", "good.fasta", "-o", "-"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=place, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and "No space left" in done.stderr


@POSIX
def test_closed_pipe_ends_quietly(place):
    command = f"{GCIG} predict net.safetensors good.fasta --step 1 -o - | head -2"
    done = subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True)
    assert (len(done.stdout.splitlines()), done.stderr) == (2, "")


@POSIX
def test_interrupted_leaves_no_output(place):
    before = files(place)
    attribute = ["attribute", "net.safetensors", "good.fasta", "--step", "1", "--rtol", "1e-5"]
    process = subprocess.Popen([GCIG, *attribute, "-o", "x.bedgraph"], cwd=place, stderr=subprocess.PIPE,
                               text=True, preexec_fn=heed_interrupts)
    while not list(place.glob(".partial-*")) and process.poll() is None: time.sleep(.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "gcig: interrupted\n")
    assert files(place) == before


@POSIX
def test_resumed_after_kill_ends_with_the_same_bits(place):
    train = [*TRAIN, "--epochs", "5", "--steps-per-epoch", "30", "--offsets", "random"]
    assert run(place, *train, "-o", "whole.safetensors").returncode == 0
    command = [GCIG, *train, "-o", "killed.safetensors"]
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True)
    while "epoch 2" not in process.stdout.readline(): assert process.poll() is None
    process.kill()
    process.wait()
    assert not (place / "killed.safetensors").exists()
    done = run(place, *train, "--resume", "-o", "killed.safetensors")
    assert done.returncode == 0 and "epoch 1 " not in done.stdout, done.stderr
    assert (place / "killed.safetensors").read_bytes() == (place / "whole.safetensors").read_bytes()


def test_the_same_whatever_the_compression(place):
    (place / "good.fasta.gz").write_bytes(gzip.compress((place / "good.fasta").read_bytes()))
    plain, packed = (run(place, "predict", "net.safetensors", name, "-o", "-").stdout
                     for name in ("good.fasta", "good.fasta.gz"))
    assert plain == packed and len(plain.splitlines()) == 101


PEAK = """
import resource, sys
from gcig.cli import main
try: main(sys.argv[1:])
finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak_memory(*args):
    "Most memory that the command took with `args`, in MiB"
    done = subprocess.run([sys.executable, "-c", PEAK, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_many_short_records_in_constant_memory(place, tmp_path):
    reads = [random_sequence(60, seed=i) for i in range(50)]
    peaks = []
    for n in (20_000, 200_000):
        path = tmp_path / f"{n}.fasta"
        path.write_text("".join(f">read{i}\n{reads[i % 50]}\n" for i in range(n)))
        options = ["--tail", "none", "-o", tmp_path / "x.tsv"]
        peaks.append(peak_memory("predict", place / "net.safetensors", path, *options))
    rows = (tmp_path / "x.tsv").read_text().splitlines()
    assert len(rows) == 200_001
    network = load_model(place / "net.safetensors")
    p = probabilities(network, one_hot(reads[199_999 % 50][:50]))[0, 0].item()
    assert abs(float(rows[-1].split("\t")[3]) - p) < 1e-6
    assert peaks[1] < peaks[0] + 100, peaks
