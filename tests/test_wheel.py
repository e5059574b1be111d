"""The built wheel in an environment of its own that has what `gcig` requires, and nothing of the extras.

The requirements are linked into it from where the tests run, so that nothing is downloaded.
"""
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links packages and looks for commands in bin/")


def closure(requirements):
    "The installed distributions that `requirements` ask for, and those that these ask for"
    found, todo = {}, [(r, "") for r in requirements]
    while todo:
        text, asked = todo.pop()
        need = Requirement(text)
        if need.marker and not need.marker.evaluate(dict(extra=asked)): continue
        try: own = distribution(need.name)
        except PackageNotFoundError: continue                                    # not for this platform; what is missed otherwise, `pip check` finds
        for extra in {"", *need.extras} - found.setdefault(own.name, (own, set()))[1]:
            found[own.name][1].add(extra)
            todo += [(r, extra) for r in own.requires or []]
    return [own for own, _ in found.values()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "The wheel that `python -m build` makes, by way of the source distribution"
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "gcig", source / "gcig", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "settings.ini", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt"): shutil.copy(ROOT / name, source)
    done = subprocess.run([sys.executable, "-m", "build", "--no-isolation"], cwd=source, capture_output=True, text=True)
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
        for top in {p.parts[0] for p in own.files or [] if p.parts[0] != ".." and "__pycache__" not in p.parts}:
            if not (site / top).exists(): (site / top).symlink_to(own.locate_file(top))
    done = subprocess.run([folder / "bin/python", "-m", "pip", "install", "--no-index", "--no-deps", "--disable-pip-version-check", wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def run(command, *args, cwd):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run([command, *args], cwd=cwd, capture_output=True, text=True, env=environment)


def test_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    modules = {f"gcig/{p.name}" for p in (ROOT / "gcig").glob("*.py")}
    assert {n for n in names if ".dist-info/" not in n} == modules
    assert any(n.endswith("LICENSE") for n in names)


def test_is_whole_without_the_extras(clean, tmp_path):
    done = run(clean / "python", "-m", "pip", "check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    missing = "import importlib.util, sys; print([m for m in sys.argv[1:] if importlib.util.find_spec(m)])"
    assert run(clean / "python", "-c", missing, "nbdev", "pytest", "pyrodigal", "pybigtools", "pyarrow", cwd=tmp_path).stdout == "[]\n"
    where = run(clean / "python", "-c", "import gcig, sys; print(gcig.__file__, 'torch' in sys.modules)", cwd=tmp_path).stdout
    assert where.startswith(str(clean.parent)) and where.endswith("False\n")
    modules = [p.stem for p in (ROOT / "gcig").glob("[!_]*.py")]
    done = run(clean / "python", "-c", "import " + ", ".join(f"gcig.{m}" for m in modules), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command(clean, tmp_path):
    gcig = lambda *args: run(clean / "gcig", *args, cwd=tmp_path)
    commands = re.findall(r"^  (\w+) ", gcig("--help").stdout.split("Commands:")[1], re.M)
    small = dict(
        tutorial=["--out", "t"], benchmark=["--quick"],
        train=["t/train/high_gc", "t/train/equal_dist", "--epochs", "1", "--steps-per-epoch", "5", "--out", "net.safetensors", "--plot", "train.png"],
        predict=["net.safetensors", "t/train/high_gc/high_gc.fasta", "--out", "p.tsv", "--plot", "p.png"],
        attribute=["net.safetensors", "t/train/high_gc/high_gc.fasta", "--out", "a.bedgraph", "--step", "50", "--rtol", ".1", "--atol", ".1"],
        mutate=["net.safetensors", "t/train/high_gc/high_gc.fasta", "--out", "m.csv", "--iterations", "1", "--step", "1000"])
    assert set(commands) == set(small)
    for command, args in small.items():
        done = gcig(command, *args)
        assert done.returncode == 0, (command, done.stderr)
    assert {"t", "net.safetensors", "train.png", "p.tsv", "p.png", "a.bedgraph", "m.csv"} <= {p.name for p in tmp_path.iterdir()}
    for command, ending, extra in [("attribute", "bw", "bigwig"), ("predict", "parquet", "parquet"), ("mutate", "parquet", "parquet")]:
        done = gcig(command, "net.safetensors", "t/train/high_gc/high_gc.fasta", "--out", f"x.{ending}")
        assert done.returncode == 2 and done.stderr.endswith(f'needs an extra: pip install "gcig[{extra}]"\n') and done.stderr.count("\n") == 1
        assert not (tmp_path / f"x.{ending}").exists()
