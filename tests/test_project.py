"""The state of the project itself: the package is what the notebooks export, and the notebooks are clean."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
BIN = Path(sys.executable).parent


def contents(folder):
    "Path and bytes of the package's modules and the notebooks"
    return {p.relative_to(folder): p.read_bytes() for pattern in ("gcig/*.py", "nbs/*.ipynb") for p in sorted(folder.glob(pattern))}


def test_export_and_clean_leave_no_diff(tmp_path):
    copy = tmp_path / "gcig"
    copy.mkdir()
    for name in ("settings.ini", "pyproject.toml", "README.md"): shutil.copy(ROOT / name, copy)
    for name in ("gcig", "nbs"): shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for command in ("nbdev_export", "nbdev_clean"): subprocess.run([BIN / command], cwd=copy, check=True)
    before, after = contents(ROOT), contents(copy)
    assert before.keys() == after.keys()
    assert [str(p) for p in before if before[p] != after[p]] == []


def test_readme_is_rendered_from_the_index():
    subprocess.run([sys.executable, ROOT / "tools/readme.py", "--check"], check=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_committed_as_it_should_be(path):
    text = path.read_text(encoding="utf-8")
    assert "widget-state+json" not in text and "widget-view+json" not in text
    nb = json.loads(text)
    code = [c for c in nb["cells"] if c["cell_type"] == "code"]
    outputs = [o for c in code for o in c["outputs"]]
    assert outputs, "run the notebook and store its outputs"
    assert [o for o in outputs if o["output_type"] == "error"] == []
    assert [o for o in outputs if o.get("name") == "stderr"] == [], "a warning or an error was printed"
    assert all(isinstance(c["source"], list) for c in nb["cells"])
    machine = [m for m in (str(ROOT), str(Path.home()), "/tmp/", "site-packages") if m in json.dumps(outputs)]
    assert machine == []
