"""The state of the project itself: the package is what the notebooks export, the notebooks are clean, and the
code keeps to the shape that was agreed: no wide line, no crowded statement, no import against the stream."""
import ast
import json
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
BIN = Path(sys.executable).parent


def tool(name):
    "A script of `tools/` as a module"
    spec = spec_from_file_location(name, ROOT / f"tools/{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_cells(path):
    "The sources of the code cells of a notebook"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def exported_to(path):
    "The module that a notebook is exported to, or None"
    found = re.search(r"^#\| ?default_exp (\w+)", "\n".join(code_cells(path)), re.M)
    return found and found[1]


ROOMS = [exported_to(path) for path in NOTEBOOKS if exported_to(path)]     # in the order of their numbers


def contents(folder):
    "Path and bytes of the package's modules and the notebooks"
    paths = [path for pattern in ("gcig/*.py", "nbs/*.ipynb") for path in sorted(folder.glob(pattern))]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def test_export_and_clean_leave_no_diff(tmp_path):
    copy = tmp_path / "gcig"
    copy.mkdir()
    for name in ("settings.ini", "pyproject.toml", "README.md"): shutil.copy(ROOT / name, copy)
    skip = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("gcig", "nbs"): shutil.copytree(ROOT / name, copy / name, ignore=skip)
    for command in ("nbdev_export", "nbdev_clean"): subprocess.run([BIN / command], cwd=copy, check=True)
    before = contents(ROOT)
    after = contents(copy)
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
    pictures = [c for c in code for o in c["outputs"] if any("image/" in kind for kind in o.get("data", {}))]
    assert [c["id"] for c in pictures if "fig-alt:" not in "".join(c["source"])] == [], "no fig-alt"
    stored = json.dumps(outputs)
    machine = [m for m in (str(ROOT), str(Path.home()), "/tmp/", "site-packages") if m in stored]
    assert machine == []


def test_prose_names_nothing_private():
    "nbdev would link to an entry that is not there"
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        assert not re.findall(r"`_[a-z]\w*`", prose), path.name


def test_no_line_of_code_is_wide():
    assert tool("shape").wide_lines() == []


def test_code_has_the_shape_that_was_agreed():
    done = subprocess.run([sys.executable, ROOT / "tools/shape.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def taken(source, functions=True):
    "(room, name) of what code takes from rooms of the package; without `functions` only at its top"
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree) if functions else tree.body:
        if not isinstance(node, ast.ImportFrom): continue
        package, *room = f"{'gcig.' if node.level else ''}{node.module or ''}".strip(".").split(".")
        if package != "gcig": continue
        found += [(*room, alias.name) if room else (alias.name, "") for alias in node.names]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_notebook_takes_a_private_name_of_another_room(path):
    names = [(room, name) for source in code_cells(path) for room, name in taken(source)]
    assert [(room, name) for room, name in names if name.startswith("_") and room != exported_to(path)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_takes_only_from_rooms_above_it(room):
    above = ROOMS[:ROOMS.index(room)]
    # the command line imports a room when a command needs it, the benchmarks, too
    source = (ROOT / f"gcig/{room}.py").read_text(encoding="utf-8")
    rooms = {other for other, _ in taken(source, functions=room != "cli")}
    assert rooms <= set(above)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it measures for minutes")
def test_gpu_tool_says_so_where_there_is_none():
    done = subprocess.run([sys.executable, ROOT / "tools/gpu.py"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "no GPU here: nothing to measure\n"), done.stderr
