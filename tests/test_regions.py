"""Regions of a BED file: the command makes of them what it makes of the whole file at these places."""
import gzip
import os
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gcig.cli import main
from gcig.model import CNNLSTM, load_model, predict, save_model
from gcig.encoding import one_hot, reverse_complement
from gcig.sequences import random_sequence, write_fasta

pytest.importorskip("pyfaidx")
GENOME = {"chr1": 30_000, "chr2 with words": 12_345, "tiny": 20}
LENGTHS = {name.split()[0]: length for name, length in GENOME.items()}
FAST = ["--method", "trapezoid", "--n-steps", "3"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with a network, a genome, and 1,000 regions of it, 100 of them longer than a window"
    folder = tmp_path_factory.mktemp("regions")
    save_model(CNNLSTM(seed=0, labels=["one", "two"]), folder / "net.safetensors")
    records = [(name, random_sequence(length, seed=i)) for i, (name, length) in enumerate(GENOME.items())]
    write_fasta(folder / "genome.fa", records)
    rng = np.random.default_rng(0)
    lines = []
    for i in range(1000):
        name = ("chr1", "chr2")[i % 3 // 2]
        length = 50 if i % 10 else 333
        start = int(rng.integers(LENGTHS[name] - length + 1))
        lines.append(f"{name}\t{start}\t{start + length}\tr{i}\t0\t+\n")
    (folder / "regions.bed").write_text("".join(lines))
    (folder / "regions.bed.gz").write_bytes(gzip.compress("".join(lines).encode()))
    (folder / "reverse.bed").write_text("".join(lines).replace("+", "-"))
    return folder


def run(folder, command, file, *more, sequences="genome.fa"):
    "The command in this process, for a start of PyTorch takes longer than the work"
    out, err = StringIO(), StringIO()
    args = [command, "net.safetensors", sequences, "--out", file, *more]
    before = os.getcwd()
    os.chdir(folder)
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended: main(args)
    finally: os.chdir(before)
    return SimpleNamespace(returncode=ended.value.code, stdout=out.getvalue(), stderr=err.getvalue())


def done(*args, **kwargs):
    ended = run(*args, **kwargs)
    assert ended.returncode == 0, ended.stderr
    return ended


def test_scores_are_slices_of_the_whole_track(place):
    done(place, "attribute", "whole.npz", *FAST, "--short", "skip")
    done(place, "attribute", "parts.npz", *FAST, "--regions", "regions.bed.gz")
    columns = ["record", "start", "end", "name", "score", "strand"]
    bed = pd.read_csv(place / "regions.bed", sep="\t", names=columns)
    with np.load(place / "whole.npz") as whole, np.load(place / "parts.npz") as parts:
        assert list(parts) == bed.name.tolist()
        tracks = dict(whole)
        for row in bed.itertuples():
            wanted = tracks[row.record][row.start:row.end]
            assert np.isfinite(wanted).all()
            np.testing.assert_allclose(parts[row.name], wanted, rtol=1e-4, atol=1e-6)


def test_tracks_hold_each_letter_once(place):
    pybigtools = pytest.importorskip("pybigtools")
    for name in ("whole.bedgraph", "whole.bw"): done(place, "attribute", name, *FAST)
    for name in ("parts.bedgraph", "parts.bw"):
        done(place, "attribute", name, *FAST, "--regions", "regions.bed")
    bed = pd.read_csv(place / "regions.bed", sep="\t", header=None)
    inside = {name: np.zeros(length, bool) for name, length in LENGTHS.items()}
    for name, start, end, *_ in bed.itertuples(index=False): inside[name][start:end] = True
    whole = pybigtools.open(str(place / "whole.bw"))
    parts = pybigtools.open(str(place / "parts.bw"))
    for name in parts.chroms():
        assert parts.chroms(name) == LENGTHS[name]
        wanted = np.where(inside[name], whole.values(name, fillna=np.nan), np.nan)
        np.testing.assert_allclose(parts.values(name, fillna=np.nan), wanted, rtol=1e-4, atol=1e-6)
    table = pd.read_csv(place / "parts.bedgraph", sep="\t", names=["record", "start", "end", "score"])
    assert (table.end - table.start).sum() == sum(mask.sum() for mask in inside.values())
    for _, rows in table.groupby("record"): assert (rows.start.values[1:] >= rows.end.values[:-1]).all()


def test_bigwig_opens_in_another_library(place):
    pyBigWig = pytest.importorskip("pyBigWig")
    done(place, "attribute", "other.bw", *FAST, "--regions", "regions.bed")
    with pyBigWig.open(str(place / "other.bw")) as file:
        assert {name: LENGTHS[name] for name in file.chroms()} == dict(file.chroms())


@pytest.mark.parametrize("bed", ["regions.bed", "reverse.bed"])
def test_predictions_are_those_of_each_region_by_itself(place, bed):
    done(place, "predict", "p.tsv", "--regions", bed)
    table = pd.read_csv(place / "p.tsv", sep="\t")
    assert list(table) == ["record", "start", "end", "region", "strand", "one", "two"]
    assert table.region.unique().tolist() == [f"r{i}" for i in range(1000)]
    assert set(table.strand) == {"+" if bed == "regions.bed" else "-"}
    assert (table.groupby("region").size() == 1).sum() == 900
    text = "".join((place / "genome.fa").read_text().split("\n>")[0].splitlines()[1:])
    some = table[table.record == "chr1"].head(20)
    windows = [text[row.start:row.end] for row in some.itertuples()]
    if bed == "reverse.bed": windows = [reverse_complement(window) for window in windows]
    wanted = predict(load_model(place / "net.safetensors"), one_hot(windows))[:, 0]
    np.testing.assert_allclose(some.one, wanted, atol=1e-6)


def test_edits_stand_where_they_are_in_the_record(place):
    some = (place / "regions.bed").read_text().splitlines()[:3]
    (place / "some.bed").write_text("\n".join([*some[:2], some[2].replace("+", "-")]) + "\n")
    done(place, "mutate", "e.tsv", "--regions", "some.bed", "-n", "2", "--rule", "random", "--plot", "e.png")
    table = pd.read_csv(place / "e.tsv", sep="\t")
    edits = table[table.iteration > 0]
    assert edits.position.between(edits.start + 1, edits.end).all() and len(edits) % 2 == 0
    assert set(table.region) == {"r0", "r1", "r2"}


def test_files_packed_in_blocks(place):
    bgzf = pytest.importorskip("Bio.bgzf")
    with bgzf.open(place / "blocks.fa.gz", "wb") as out: out.write((place / "genome.fa").read_bytes())
    for name, sequences in (("a.tsv", "genome.fa"), ("b.tsv", "blocks.fa.gz")):
        done(place, "predict", name, "--regions", "regions.bed", sequences=sequences)
    assert (place / "a.tsv").read_bytes() == (place / "b.tsv").read_bytes()


MISTAKES = {
    "no file": ([], None, "x.bed does not exist"),
    "no region": ([], "# nothing\n", "x.bed holds no region"),
    "no number": ([], "chr1\t0\t50\nchr1\ta\t50\n", "line 2 of x.bed needs a name, a start and an end"),
    "backwards": ([], "chr1\t50\t5\n", "line 1 of x.bed needs 0 <= start < end"),
    "record": ([], "chr3\t0\t50\n", "genome.fa has no record 'chr3'; it has 'chr1', 'chr2', 'tiny'"),
    "end": ([], "tiny\t0\t50\n", "tiny:1-50 ends at 50, but 'tiny' has 20 letters"),
    "short": (["--short", "error"], "chr1\t0\t49\n", "'chr1:1-49' has 49 letters, fewer than a window of 50"),
    "only short": ([], "chr1\t0\t49\n", "'chr1:1-49' has 49 letters"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_sentence(place, name):
    more, text, words = MISTAKES[name]
    (place / "x.bed").unlink(missing_ok=True)
    if text is not None: (place / "x.bed").write_text(text)
    ended = run(place, "predict", "x.tsv", "--regions", "x.bed", *more)
    assert (ended.returncode, len(ended.stderr.splitlines()), ended.stdout) == (2, 1, ""), ended.stderr
    assert words in ended.stderr and not (place / "x.tsv").exists()


def test_files_without_random_access(place):
    (place / "gzip.fa.gz").write_bytes(gzip.compress((place / "genome.fa").read_bytes()))
    for sequences, words in (("gzip.fa.gz", "has no random access; unpack it, or pack it with bgzip"),
                             ("-", "--regions needs a file that can be read at any place"),
                             (os.curdir, "regions are read from a file, but . is none")):
        ended = run(place, "predict", "y.tsv", "--regions", "regions.bed", sequences=sequences)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
        assert words in ended.stderr


def test_two_strands_in_one_track(place):
    (place / "both.bed").write_text("chr1\t0\t60\ta\t0\t+\nchr1\t59\t90\tb\t0\t-\n")
    ended = run(place, "attribute", "z.bw", "--regions", "both.bed")
    assert ended.returncode == 2 and "b overlaps a on the other strand" in ended.stderr
    done(place, "attribute", "z.npz", *FAST, "--regions", "both.bed")
    with np.load(place / "z.npz") as arrays: assert {k: len(v) for k, v in arrays.items()} == dict(a=60, b=31)
