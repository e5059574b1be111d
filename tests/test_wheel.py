"""The built wheel in an environment of its own that has what `gcig` requires, and nothing of the extras.

The requirements are linked into it from where the tests run, so that nothing is downloaded.
"""
import functools
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
HERE = "links packages and looks for commands in bin/"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason=HERE)
SOURCES = ("setup.py", "settings.ini", "pyproject.toml", "MANIFEST.in", "constraints.txt", "README.md",
           "LICENSE", "CHANGELOG.md")


def applies(need, extra):
    "Whether a requirement holds on this platform, for those who asked for `extra`"
    return need.marker is None or need.marker.evaluate(dict(extra=extra))


def installed(name):
    "The distribution of that name, or None; what is missing without a reason, `pip check` finds"
    try: return distribution(name)
    except PackageNotFoundError: return None


def closure(requirements):
    "The installed distributions that `requirements` ask for, and those that these ask for"
    found = {}
    extras = defaultdict(set)       # those that were followed, by distribution
    todo = [(text, "") for text in requirements]
    while todo:
        text, asked = todo.pop()
        need = Requirement(text)
        own = installed(need.name) if applies(need, asked) else None
        if own is None: continue
        found[own.name] = own
        for extra in {"", *need.extras} - extras[own.name]:
            extras[own.name].add(extra)
            todo += [(r, extra) for r in own.requires or []]
    return list(found.values())


def top_folders(own):
    "The files and folders that a distribution has beside those of others"
    parts = [path.parts for path in own.files or [] if "__pycache__" not in path.parts]
    return {first for first, *_ in parts if first != ".."}


def run(command, *args, cwd):
    "What a command says, with nothing of where the tests run"
    environment = os.environ.copy()
    for name in ("PYTHONPATH", "PYTHONHOME"): environment.pop(name, None)
    return subprocess.run([command, *args], cwd=cwd, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "The wheel that `python -m build` makes, by way of the source distribution"
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "gcig", source / "gcig", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES: shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--no-isolation"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    built, = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    "The commands of an environment with the wheel and its requirements"
    folder = tmp_path_factory.mktemp("clean") / "env"
    venv.create(folder, with_pip=True, symlinks=True)
    site, = folder.glob("lib/python*/site-packages")
    info, = (p for p in zipfile.Path(wheel).iterdir() if p.name.endswith(".dist-info"))
    for own in closure(PathDistribution(info).requires):
        for top in top_folders(own):
            if not (site / top).exists(): (site / top).symlink_to(own.locate_file(top))
    install = ["pip", "install", "--no-index", "--no-deps", "--disable-pip-version-check", wheel]
    done = run(folder / "bin/python", "-m", *install, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    own = [*(ROOT / "gcig").glob("*.py"), *(ROOT / "gcig/tfjs").iterdir()]
    assert {n for n in names if ".dist-info/" not in n} == {p.relative_to(ROOT).as_posix() for p in own}
    assert any(re.search(r"\.dist-info/.*LICENSE$", n) for n in names)


def test_is_whole_without_the_extras(clean, tmp_path):
    done = run(clean / "python", "-m", "pip", "check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    def python(code, *args): return run(clean / "python", "-c", code, *args, cwd=tmp_path)
    found = "import importlib.util, sys; print([m for m in sys.argv[1:] if importlib.util.find_spec(m)])"
    assert python(found, "nbdev", "pytest", "pyrodigal", "pybigtools", "pyarrow").stdout == "[]\n"
    where = python("import gcig, sys; print(gcig.__file__, 'torch' in sys.modules)").stdout
    assert where.startswith(str(clean.parent)) and where.endswith("False\n")
    modules = [f"gcig.{p.stem}" for p in (ROOT / "gcig").glob("[!_]*.py")]
    done = python("import " + ", ".join(modules))
    assert (done.returncode, done.stderr) == (0, "")
    made = "from gcig.in_page import engine; from gcig.model import CNNLSTM; print(engine({'n': CNNLSTM()}))"
    text = python(made).stdout
    assert (ROOT / "gcig/tfjs/tf-backend-cpu.min.js").read_text(encoding="utf-8") in text


NETWORK = "net.safetensors"
FOLDERS = "t/train/high_gc t/train/equal_dist"
FASTA = "t/train/high_gc/high_gc.fasta"
COMMANDS = dict(        # each on a small sample
    tutorial="--out t",
    benchmark="--quick",
    train=f"{FOLDERS} --out {NETWORK} --plot train.png --epochs 1 --steps-per-epoch 5",
    predict=f"{NETWORK} {FASTA} --out p.tsv --plot p.png",
    attribute=f"{NETWORK} {FASTA} --out a.bedgraph --step 50 --rtol .1 --atol .1",
    mutate=f"{NETWORK} {FASTA} --out m.csv --iterations 1 --step 1000")
WRITTEN = {"t", NETWORK, "train.png", "p.tsv", "p.png", "a.bedgraph", "m.csv"}
EXTRAS = [("attribute", "bw", "bigwig"), ("predict", "parquet", "parquet"), ("mutate", "parquet", "parquet")]


def test_every_command(clean, tmp_path):
    gcig = functools.partial(run, clean / "gcig", cwd=tmp_path)
    commands = re.findall(r"^  (\w+) ", gcig("--help").stdout.split("Commands:")[1], re.M)
    assert set(commands) == set(COMMANDS)
    for command, args in COMMANDS.items():
        done = gcig(command, *args.split())
        assert done.returncode == 0, (command, done.stderr)
    assert WRITTEN <= {path.name for path in tmp_path.iterdir()}
    for command, ending, extra in EXTRAS:
        done = gcig(command, NETWORK, FASTA, "--out", f"x.{ending}")
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert done.stderr.endswith(f'needs an extra: pip install "gcig[{extra}]"\n')
        assert not (tmp_path / f"x.{ending}").exists()
