"""The installed `gcig` command as a process."""
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

GCIG = Path(sys.executable).parent / "gcig"


def run(*args, cwd):
    return subprocess.run([GCIG, *args], cwd=cwd, capture_output=True, text=True)


def heed_interrupts():
    "Called in a new process: a script in the background has it ignore SIGINT, as no terminal would"
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_version_and_help(tmp_path):
    import gcig
    assert run("--version", cwd=tmp_path).stdout == f"gcig {gcig.__version__}\n"
    assert "tutorial" in run("--help", cwd=tmp_path).stdout


def test_tutorial_leaves_what_it_promises(tmp_path):
    done = run("tutorial", "--out", "a/b", "--seed", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "a/b"
    for line in done.stdout.splitlines()[-8:]:
        assert (tmp_path / line.split("  (")[0]).exists(), line
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["parameters"] == dict(total=2246, trainable=2198, non_trainable=48)
    assert [len(series) for series in metrics["confidence"].values()] == [21, 21]
    assert list(tmp_path.glob("**/.partial*")) == []


def test_refused_without_force_and_nothing_is_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = run("tutorial", "--out", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "--force" in done.stderr and [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_benchmark_keeps_its_figures(tmp_path):
    done = run("benchmark", "--quick", "--json", "figures.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["ratios"]["times_fewer_gradients"] > 1 and figures["engine"]["engine"] > 0
    assert len(figures["scaling"]) == 2
    assert {row["network"] for row in figures["promise"]} >= {"tutorial", "transformer"}
    done = run("benchmark", "--json", "missing/figures.json", cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_interrupted_leaves_nothing(tmp_path):
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    command = [GCIG, "tutorial", "--out", "results"]
    process = subprocess.Popen(command, cwd=tmp_path, preexec_fn=heed_interrupts, **pipes)
    while "training" not in process.stdout.readline(): assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "gcig: interrupted\n")
    assert list(tmp_path.iterdir()) == []
