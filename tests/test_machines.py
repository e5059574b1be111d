"""Work shared among processes: the same bytes, whoever is killed"""
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from distributed import LocalCluster

from gcig.model import CNNLSTM, save_model
from gcig.sequences import random_sequence, write_fasta

GCIG = [sys.executable, "-c", "from gcig.cli import main; main()"]
ENV = os.environ | {"OMP_NUM_THREADS": "1"}
FEW = ("--method", "trapezoid", "--n-steps", "1", "--step", "20")    # a batch takes half a second
LONGEST = 300       # seconds


def start(folder, *args, **kwargs):
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([*GCIG, *map(str, args)], cwd=folder, env=ENV, **pipes, **kwargs)


def ended(process):
    out, err = process.communicate(timeout=LONGEST)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "A network, two files of records, the first of five batches, and what one process writes of it"
    folder = tmp_path_factory.mktemp("machines")
    save_model(CNNLSTM(seed=0), folder / "net.safetensors")
    write_fasta(folder / "long.fa.gz", [("chr1", random_sequence(600_000, seed=1)),
                                        ("chr2", random_sequence(200_000, seed=2))])
    write_fasta(folder / "short.fa", [("x", random_sequence(500, seed=3))])
    code, _, err = ended(attribute(folder, "one.bedgraph"))
    assert code == 0, err
    return folder


def expected(folder): return (folder / "one.bedgraph").read_bytes()


def workers_of(process):
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def wait_for(condition, process):
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(.05)


# the finished ones: the name of one that is being written begins with a dot
def shards(folder, name): return sorted((folder / f"{name}.shards").glob("[0-9]*.shard"))


def attribute(folder, out, *more, inputs=("long.fa.gz",), **kwargs):
    return start(folder, "attribute", "net.safetensors", *inputs, "--out", out, *FEW, *more, **kwargs)


def test_two_processes_and_several_files(folder):
    code, said, err = ended(attribute(folder, "tracks", "--workers", 2, inputs=("short.fa", "long.fa.gz")))
    assert code == 0, err
    written = sorted(path.name for path in (folder / "tracks").iterdir())
    assert written == ["long.bedgraph", "short.bedgraph"]
    assert (folder / "tracks/long.bedgraph").read_bytes() == expected(folder)
    assert len(said.splitlines()) == 2


def test_predictions_are_the_same(folder):
    def predict(out, *more):
        inputs = ("net.safetensors", "long.fa.gz", "--step", 20)
        code, _, err = ended(start(folder, "predict", *inputs, "--out", out, *more))
        assert code == 0, err
        return (folder / out).read_bytes()
    assert predict("one.tsv") == predict("two.tsv", "--workers", 2)


def test_workers_are_killed(folder):
    process = attribute(folder, "killed.bedgraph", "--workers", 2)
    for n in (1, 2):
        wait_for(lambda: len(shards(folder, "killed.bedgraph")) >= n, process)
        workers_of(process)[0].kill()
    code, _, err = ended(process)
    assert code == 0, err
    assert (folder / "killed.bedgraph").read_bytes() == expected(folder)


def test_client_is_killed_and_goes_on(folder):
    name = "resumed.bedgraph"
    process = attribute(folder, name, "--workers", 2)
    wait_for(lambda: len(shards(folder, name)) >= 2, process)
    workers = workers_of(process)
    process.kill()
    process.communicate()
    psutil.wait_procs(workers, timeout=60)
    assert not any(worker.is_running() for worker in workers)
    assert not (folder / name).exists()
    code, _, err = ended(attribute(folder, name, "--workers", 2))
    assert code == 2 and len(err.splitlines()) == 1 and "--resume" in err
    first, *_ = shards(folder, name)
    first.write_bytes(first.read_bytes()[:1000])
    process = attribute(folder, name, "--resume")
    code, _, err = ended(process)
    assert code == 0, err
    assert (folder / name).read_bytes() == expected(folder)
    assert not shards(folder, name)


def test_interrupted_client_leaves_its_batches_and_nothing_else(folder):
    process = attribute(folder, "stopped.bedgraph", "--workers", 2)
    wait_for(lambda: shards(folder, "stopped.bedgraph"), process)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert (code, err) == (128 + signal.SIGTERM, "gcig: interrupted\n")
    assert not (folder / "stopped.bedgraph").exists() and shards(folder, "stopped.bedgraph")
    assert not list(folder.glob(".partial*"))


def test_a_scheduler_that_stands_and_goes_away(folder):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        process = attribute(folder, "gone.bedgraph", "--scheduler", cluster.scheduler_address)
        wait_for(lambda: shards(folder, "gone.bedgraph"), process)
    code, _, err = ended(process)
    assert code == 2 and len(err.splitlines()) == 1 and "connection" in err, err
    assert not (folder / "gone.bedgraph").exists()


@pytest.mark.parametrize("more, says", [
    (("--workers", 0), "--workers must be a whole number of at least 1"),
    (("--workers", 1, "--scheduler", "tcp://localhost:1"), "give only one"),
    (("--resume", "--out", "-"), "--resume needs a file"),
])
def test_what_cannot_be_is_said_at_once(folder, more, says):
    code, out, err = ended(attribute(folder, "wrong.bedgraph", *more))
    assert (code, out, len(err.splitlines())) == (2, "", 1) and says in err
    assert not (folder / "wrong.bedgraph").exists()


def test_no_scheduler_answers(folder):
    code, _, err = ended(attribute(folder, "none.bedgraph", "--scheduler", "tcp://127.0.0.1:9"))
    assert code == 2 and err == "gcig: scheduler: none answers at tcp://127.0.0.1:9\n"
    assert not shards(folder, "none.bedgraph")
