"""The installed `gcig` command as a process."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gcig.model import CNNLSTM, save_model
from gcig.sequences import random_sequence, write_fasta

GCIG = Path(sys.executable).parent / "gcig"
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and signals as POSIX has them")


def run(*args, cwd, **kwargs):
    return subprocess.run([GCIG, *args], cwd=cwd, capture_output=True, text=True, **kwargs)


def run_in_shell(command, cwd):
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True)


def heed_interrupts():
    "Called in a new process: a script in the background has it ignore SIGINT, and nohup SIGHUP"
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "SIGHUP"): signal.signal(signal.SIGHUP, signal.SIG_DFL)


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
    passes = {row["name"]: row["passes"] for row in figures["equal_error"]}
    assert passes["captum"] > passes["tuned"] > 0 and figures["engine"]["engine"] > 0
    assert len(figures["scaling"]) == 2
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


CLASSES = ("high_gc", "equal_dist")
FAST = ("--epochs", "1", "--steps-per-epoch", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with an untrained network, sequences, a folder for each class, links and a pipe"
    folder = tmp_path_factory.mktemp("place")
    save_model(CNNLSTM(seed=0, labels=CLASSES), folder / "net.tsv")
    shutil.copy(folder / "net.tsv", folder / "net.safetensors")
    write_fasta(folder / "in.fasta", [(f"r{i}", random_sequence(1_000, seed=i)) for i in range(2)])
    shutil.copy(folder / "in.fasta", folder / "in.tsv")
    for i, name in enumerate(CLASSES):
        (folder / name).mkdir()
        write_fasta(folder / name / "dna.fasta", [(name, random_sequence(2_000, seed=10 + i))])
    if sys.platform == "win32": return folder
    (folder / "link.fasta").symlink_to("in.fasta")
    (folder / "link.png").symlink_to("in.tsv")
    (folder / "same").symlink_to(".")
    (folder / "nothing.csv").symlink_to("new.csv")
    (folder / "old.state.safetensors").symlink_to("high_gc/dna.fasta")
    os.link(folder / "in.fasta", folder / "hard.fasta")
    os.link(folder / "high_gc/dna.fasta", folder / "hard.tsv")
    for name in ("pipe", "p.json", "kept.state.safetensors"): os.mkfifo(folder / name)
    return folder


def contents(folder):
    "Name and bytes of all files in a folder"
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_one_sentence(done):
    "Whether a command ended in one line of a length to be read, and exit code 2"
    return (done.returncode, len(done.stderr.splitlines())) == (2, 1) and len(done.stderr) < 600


MUTATE = ["mutate", "net.safetensors", "in.fasta", "-n", "1", "--step", "500"]
OVERWRITTEN = {
    "input": ([*MUTATE, "-o", "m.csv", "--fasta", "in.fasta"], "--fasta", "SEQUENCES"),
    "link to the input": ([*MUTATE, "-o", "m.csv", "--fasta", "link.fasta"], "--fasta", "SEQUENCES"),
    "hard link to the input": ([*MUTATE, "-o", "m.csv", "--fasta", "hard.fasta"], "--fasta", "SEQUENCES"),
    "another way": ([*MUTATE, "-o", "m.csv", "--fasta", "same/high_gc/../in.fasta"], "--fasta", "SEQUENCES"),
    "picture": (["predict", "net.safetensors", "in.tsv", "-o", "x.tsv", "--plot", "link.png"],
                "--plot", "SEQUENCES"),
    "network": (["predict", "net.tsv", "in.fasta", "-o", "net.tsv"], "--out", "MODEL"),
    "network, another way": (["attribute", "net.tsv", "in.fasta", "-o", "same/net.tsv"], "--out", "MODEL"),
    "two outputs": (["train", *CLASSES, "-o", "t.tsv", "--history", "t.tsv"], "--history", "--out"),
    "two new outputs": ([*MUTATE, "-o", "nothing.csv", "--fasta", "same/new.csv"], "--fasta", "--out"),
    "file of a class": (["train", *CLASSES, "-o", "high_gc/dna.fasta"], "--out", "CLASS"),
    "hard link to a class": (["train", *CLASSES, "-o", "t", "--history", "hard.tsv"], "--history", "CLASS"),
    "state of the training": (["train", *CLASSES, "--force", "-o", "old.safetensors"], "--out", "CLASS"),
    "file to validate on": (
        ["train", "in.fasta", "high_gc", "--valid", "in.tsv", "--valid", "equal_dist", "-o", "in.tsv"],
        "--out", "--valid"),
    "two into a pipe": (["train", *CLASSES, "-o", "p.json", "--metrics", "p.json"], "--metrics", "--out"),
}


@POSIX
@pytest.mark.parametrize("name", OVERWRITTEN)
def test_no_output_over_what_is_read_or_written(place, name):
    args, one, other = OVERWRITTEN[name]
    before = contents(place)
    done = run(*args, cwd=place)
    assert is_one_sentence(done) and f"{one} would write over" in done.stderr, done.stderr
    assert f"the file of {other};" in done.stderr and contents(place) == before


@POSIX
def test_no_redirection_over_what_is_read(place):
    before = contents(place)
    for redirection in ("in.tsv -o - >> in.tsv", "- -o - < in.tsv >> in.tsv", "- -o in.tsv < in.tsv"):
        done = run_in_shell(f"{GCIG} predict net.safetensors {redirection}", place)
        assert is_one_sentence(done) and "--out would write over" in done.stderr, done.stderr
    assert contents(place) == before


@POSIX
def test_what_may_be_shared(place):
    "An output of an earlier call, two names that differ, a device twice"
    for _ in range(2):
        done = run("train", *CLASSES, *FAST, "--force", "-o", "t", "--metrics", "m.json", cwd=place)
        assert done.returncode == 0, done.stderr
    done = run_in_shell(f"{GCIG} {' '.join(MUTATE)} -o - --fasta /dev/null > /dev/null", place)
    assert (done.returncode, done.stderr) == (0, "")


@POSIX
@pytest.mark.parametrize("args, words", [
    (["predict", "pipe", "in.fasta", "-o", "x.tsv"], "MODEL must be a file, but pipe is a pipe"),
    (["train", "pipe", "high_gc", "-o", "x"], "CLASS must be a folder or a file, but pipe is a pipe"),
    (["train", *CLASSES, "--valid", "pipe", "--valid", "pipe", "-o", "x"], "--valid must be a folder or"),
    (["train", *CLASSES, "--resume", "-o", "kept.safetensors"], "kept.state.safetensors, where the training"),
    (["tutorial", "--out", "pipe"], "--out must be a folder, but pipe"),
    (["benchmark", "--json", "pipe/x.json"], "--json: the folder pipe does not exist"),
])
def test_pipe_in_the_place_of_a_file_or_folder(place, args, words):
    done = run(*args, cwd=place, timeout=60)
    assert is_one_sentence(done) and words in done.stderr, done.stderr


HUGE = 10**20
BOUNDS = {
    "step": (["predict", "net.safetensors", "in.fasta", "-o", "x.tsv", "--step", 2**63], "--step must be a"),
    "steps": (["attribute", "net.safetensors", "in.fasta", "-o", "x.tsv", "--method", "trapezoid",
               "--n-steps", HUGE], "--n-steps must be a number below"),
    "list": (["train", *CLASSES, "-o", "x", "--kernel-size", f"8,{HUGE}"], "--kernel-size must be a number"),
    "digits": (["predict", "net.safetensors", "in.fasta", "-o", "x.tsv", "--step", "9" * 6000], "--step"),
    "number of a class": (
        ["attribute", "net.safetensors", "in.fasta", "-o", "x.tsv", "--target", "9" * 6000], "--target"),
    "batch": (["train", *CLASSES, "-o", "x", "--batch-size", 10**9], "a batch takes at least 800 GB"),
    "network": (["train", *CLASSES, "-o", "x", "--dense", 10**11], ""),
    "units": (["train", *CLASSES, "-o", "x", "--lstm", 10**18], ""),
    "window": (["train", *CLASSES, "-o", "x", "--maxlen", 10**15], "maxlen"),
    "draws": (["attribute", "net.safetensors", "in.fasta", "-o", "x.tsv", "--baseline", "shuffle",
               "--n-baselines", 10**13], "memory"),
    "edits": ([*MUTATE, "-o", "x.tsv", "-n", 10**13], "memory"),
    "name of a file": (["predict", "net.safetensors", "y" * 5000, "-o", "x.tsv"], "yyy"),
    "name of an output": (["predict", "net.safetensors", "in.fasta", "-o", "y/" * 5000 + "x.tsv"], "y/y"),
    "name of a record": (["predict", "net.safetensors", "long_name.fasta", "-o", "x.tsv"], "'X'"),
    "control characters": (["predict", "net.safetensors", "a\x1b[31m\nb", "-o", "x.tsv"], r"a\x1b[31m b"),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_too_much_is_one_sentence(place, name):
    (place / "long_name.fasta").write_text(f">{'y' * 3_000_000}\n{'ACGTX' * 20}\n")
    args, words = BOUNDS[name]
    done = run(*map(str, args), cwd=place)
    assert is_one_sentence(done) and words in done.stderr, done.stderr[-2000:]
    assert not list(place.glob("x*")) and not list(place.glob(".partial*"))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux keeps them")
@pytest.mark.parametrize("megabytes, units, words", [(3000, 8000, "GB of memory"), (200, 8, "")])
def test_limit_of_memory(place, megabytes, units, words):
    "More than the process may have, and too little to load PyTorch, which says so in words of its own"
    import resource
    def limited(): resource.setrlimit(resource.RLIMIT_AS, (megabytes * 10**6,) * 2)
    done = run("train", *CLASSES, "--lstm", str(units), "-o", "x", cwd=place, preexec_fn=limited)
    assert is_one_sentence(done) and words in done.stderr, done.stderr


ATTRIBUTE = ["attribute", "net.safetensors", "in.fasta", "--step", "1", "--rtol", "1e-6", "-o", "x.bedgraph"]
TORCH = "libtorch_cpu"


def start(*args, **kwargs):
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([GCIG, *args], **pipes, **kwargs)


def when(process, ready):
    "Wait until a running process is `ready`"
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(.02)


@POSIX
@pytest.mark.parametrize("signals, code", [
    ([signal.SIGTERM], 143), ([signal.SIGHUP], 129), ([signal.SIGHUP, signal.SIGTERM, signal.SIGINT], 129),
    ([signal.SIGXCPU], 128 + signal.SIGXCPU),
] if sys.platform != "win32" else [])
def test_signals_that_end_leave_nothing(place, signals, code):
    "While several threads are at work"
    threads = os.environ | dict(OMP_NUM_THREADS="4")
    process = start(*ATTRIBUTE, cwd=place, preexec_fn=heed_interrupts, env=threads)
    when(process, lambda: list(place.glob(".partial*")))
    for one in signals: process.send_signal(one)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", "gcig: interrupted\n")
    assert not list(place.glob(".partial*")) and not list(place.glob("x.*"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_while_torch_is_loaded(place, number):
    process = start(*ATTRIBUTE, cwd=place, preexec_fn=heed_interrupts)
    maps = Path(f"/proc/{process.pid}/maps")
    when(process, lambda: TORCH in maps.read_text())
    process.send_signal(signal.Signals[number])
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + signal.Signals[number], "gcig: interrupted\n")


@POSIX
def test_hangup_under_nohup_is_ignored(place):
    def ignore(): signal.signal(signal.SIGHUP, signal.SIG_IGN)
    predict = ["predict", "net.safetensors", "in.fasta", "--step", "1", "-o", "under_nohup.tsv"]
    process = start(*predict, cwd=place, preexec_fn=ignore)
    when(process, lambda: list(place.glob(".partial*")))
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0 and (place / "under_nohup.tsv").exists()


@POSIX
def test_terminated_training_goes_on(place):
    train = ["train", *CLASSES, "--epochs", "4", "-o", "stopped.safetensors"]
    process = start(*train, cwd=place)
    while "epoch 2" not in process.stdout.readline(): assert process.poll() is None
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143 and not list(place.glob(".partial*"))
    assert (place / "stopped.state.safetensors").exists() and not (place / "stopped.safetensors").exists()
    done = run(*train, "--resume", cwd=place)
    assert done.returncode == 0 and "epoch 1 " not in done.stdout and "epoch 4" in done.stdout, done.stderr


@POSIX
@pytest.mark.parametrize("command, words", [
    ("predict net.safetensors in.fasta -o - >&-", "--out: standard output is closed"),
    ("mutate net.safetensors in.fasta -o - --plot x.png >&-", "--out: standard output is closed"),
    ("attribute net.safetensors - -o x.tsv <&-", "SEQUENCES: standard input is closed"),
    ("benchmark --quick >&-", "--json"),
])
def test_closed_streams(place, command, words):
    done = run_in_shell(f"{GCIG} {command}", place)
    assert is_one_sentence(done) and words in done.stderr, done.stderr
    assert not list(place.glob("x.*"))


@POSIX
def test_closed_streams_that_are_not_needed(place):
    done = run_in_shell(f"{GCIG} predict net.safetensors in.fasta -o closed.tsv <&- >&- 2>&-", place)
    assert done.returncode == 0
    open_ones = run("predict", "net.safetensors", "in.fasta", "-o", "-", cwd=place)
    assert (place / "closed.tsv").read_text() == open_ones.stdout


@POSIX
def test_folder_that_is_gone(place):
    for args in (f"predict {place}/net.safetensors {place}/in.fasta -o {place}/x.tsv", "tutorial --out x"):
        done = run_in_shell(f"mkdir gone && cd gone && rmdir ../gone && {GCIG} {args}", place)
        assert is_one_sentence(done) and "the folder in which gcig was started is gone" in done.stderr
    done = run_in_shell(f"mkdir gone && cd gone && rmdir ../gone && {GCIG} --version", place)
    assert done.returncode == 0 and done.stdout.startswith("gcig ")


@POSIX
def test_reader_that_has_seen_enough(place):
    files = "net.safetensors in.fasta"
    for args in (f"predict {files} --step 1 -o -", f"attribute {files} -o -", "--help"):
        done = run_in_shell(f"{GCIG} {args} | head -1; exit ${{PIPESTATUS[0]}}", place)
        assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, 1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_words_that_do_not_arrive(place):
    for args in ("--help", "predict net.safetensors in.fasta -o full.tsv"):
        assert is_one_sentence(run_in_shell(f"{GCIG} {args} > /dev/full", place))


@POSIX
def test_a_name_of_any_bytes(place):
    name = b"odd\xff.tsv"
    command = [os.fsencode(GCIG), b"predict", b"net.safetensors", b"in.fasta", b"-o", name]
    done = subprocess.run(command, cwd=place, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.startswith(name)
    assert os.path.exists(os.path.join(os.fsencode(place), name))


SETTINGS = """
text.usetex: True
figure.autolayout: True
text.color: white
savefig.transparent: True
axes.linewidth: 40
backend: TkAgg
"""


def test_settings_of_a_user_change_no_picture(place, tmp_path):
    (tmp_path / "matplotlibrc").write_text(SETTINGS)
    theirs = os.environ | dict(MPLCONFIGDIR=str(tmp_path))
    no_settings = os.environ | dict(MPLCONFIGDIR=str(tmp_path / "none"))
    pictures = []
    for env in (theirs, no_settings):
        predict = ["predict", "net.safetensors", "in.fasta", "-o", "p.tsv", "--plot", "p.png"]
        done = run(*predict, cwd=place, env=env)
        assert done.returncode == 0, done.stderr
        pictures.append((place / "p.png").read_bytes())
    assert pictures[0] == pictures[1]


NAMES = ("a$x^$", "TE$1", r"$\frac{$", "n" * 300, "鎖é×", "<script>alert(1)</script>")


def test_names_in_pictures(place, tmp_path):
    records = "".join(f">{name}\n{random_sequence(200, seed=1)}\n" for name in NAMES)
    (tmp_path / "in.fasta").write_text(records, encoding="utf-8")
    for label in ("TE$_$1", "n" * 300):
        names = f"{label},b"
        done = run("predict", str(place / "net.safetensors"), "in.fasta", "-o", "x.tsv", "--plot", "x.png",
                   "--labels", names, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "x.tsv").exists() and (tmp_path / "x.png").stat().st_size < 400_000


@POSIX
@pytest.mark.parametrize("args", [
    ["predict", "net.safetensors", "in.fasta", "-o", "x.tsv", "--plot", "x.png"],
    ["attribute", "net.safetensors", "in.fasta", "--step", "500", "-o", "x.bedgraph", "--plot", "x.png"],
    [*MUTATE, "-o", "x.tsv", "--fasta", "x.fasta", "--plot", "x.png"],
], ids=lambda args: args[0])
def test_a_plot_that_fails_leaves_no_table(place, args):
    "The table fits below the limit for files, the picture does not"
    import resource
    done = run(*args, cwd=place, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (15_000,) * 2))
    assert is_one_sentence(done) and "x.png cannot be written" in done.stderr, done.stderr
    assert not list(place.glob("x.*")) and not list(place.glob(".partial*"))
