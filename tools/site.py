"""Build the site into `_docs/` or another folder: `python tools/site.py [--full | --stored] [--out FOLDER]`.

All notebooks are executed from fresh kernels, on copies, two at a time. The benchmarks take their small
sample, as in the tests, and their page says so; `--full` measures everything, alone on the machine,
which takes some four minutes more. `--stored` executes nothing and takes the stored outputs. nbdev
processes the copies, then Quarto renders them where it is on the PATH, and smalldocs elsewhere, from the
same `_quarto.yml` and to the same addresses. No page loads anything from another host.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path

from nbdev.config import get_config
from tqdm import tqdm

import pictures

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "build/site"
PAGES = STAGE / "_proc"         # where nbdev puts what it has processed
PACKAGES = ("gcig", "torch", "captum", "numpy", "pandas", "matplotlib")
BENCHMARKS = "30_benchmarks"
SAMPLE = """> These figures are of a small sample, taken in passing while the site was built.
> `make site FULL=1` measures everything.
"""
# so that none of them is left to run alone at the end
LONGEST_FIRST = ("21_what_the_recipe_gets_wrong", "22_known_truth", "10_mutation", "08_attribution",
                 "24_your_own_data", "23_from_deeplift_to_ig")
NBDEV = """
import nbdev.quarto as q
from nbdev.doclinks import _build_modidx
from nbdev.serve import proc_nbs
q.refresh_quarto_yml()
_build_modidx()
proc_nbs(n_workers=0, force=True)
"""


def stage():
    "A fresh copy of what nbdev needs"
    shutil.rmtree(STAGE, ignore_errors=True)
    skip = shutil.ignore_patterns(".*", "__pycache__", "sidebar.yml", "nbdev.yml")
    for name in ("gcig", "nbs", "tools"): shutil.copytree(ROOT / name, STAGE / name, ignore=skip)
    files = ("settings.ini", "setup.py", "pyproject.toml", "README.md", "_quarto.yml")
    for name in files: shutil.copy(ROOT / name, STAGE)


def names_in_turn():
    "The names of all notebooks, the longest first"
    names = sorted(path.stem for path in (STAGE / "nbs").glob("*.ipynb"))
    return [*LONGEST_FIRST, *(name for name in names if name not in LONGEST_FIRST)]


def execute_one(name, full):
    "Run a copy of a notebook from a fresh kernel; seconds that it took"
    environment = os.environ | {"PYTHONPATH": str(STAGE), "JUPYTER_PLATFORM_DIRS": "1"}
    alone = full and name == BENCHMARKS
    if not alone: environment["OMP_NUM_THREADS"] = "1"
    if name == BENCHMARKS and not full: environment["IN_TEST"] = "1"
    command = [sys.executable, STAGE / "tools/notebooks.py", name]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode: raise RuntimeError(f"{name} failed:\n{done.stderr[-3000:]}")
    return time.perf_counter() - start


def execute(full):
    "Run all copies two at a time, with one thread each; with `full` first the benchmarks, alone"
    names = names_in_turn()
    with ThreadPoolExecutor(2) as pool, tqdm(total=len(names), unit="notebook") as bar:
        def report(name, seconds):
            tqdm.write(f"{name}: {seconds:.0f} s", file=sys.stdout)
            bar.update()
        if full:
            names.remove(BENCHMARKS)
            report(BENCHMARKS, execute_one(BENCHMARKS, full))
        running = {pool.submit(execute_one, name, full): name for name in names}
        for done in as_completed(running): report(running[done], done.result())


def plain_names(text):
    "`text` with the numbers dropped from the names of pages"
    return re.sub(r"\b\d\d_(\w+)\.(ipynb|html)\b", r"\1.\2", text)


def rewrite(path, change):
    "Put `change` of a file's text in its place"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def with_mathml(source):
    "Markdown with its equations as MathML, which browsers draw by themselves"
    from latex2mathml.converter import convert
    def display(match): return f'\n<div class="equation">{convert(match[1].strip(), display="block")}</div>\n'
    source = re.sub(r"\$\$(.+?)\$\$", display, source, flags=re.S)
    inline = r"(?<![\\$\w])\$(?! )([^$\n]+?)(?<! )\$(?![\w$])"
    return re.sub(inline, lambda match: convert(match[1]), source)


def provenance(name, executed):
    "The last lines of a page: when and with what its outputs were made, and where its notebook is"
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    made = "Outputs as they are stored in the notebook"
    python = sys.version.split()[0]
    if executed: made = f"Outputs of {date.today():%d %B %Y}, with Python {python}, {versions}"
    source = f"{get_config().git_url}/blob/{get_config().branch}/nbs/{name}.ipynb"
    return f"---\n\n{made}. [Open this notebook]({source}).\n"


def prose(name, text):
    "A cell of Markdown"
    return dict(cell_type="markdown", id=name, metadata={}, source=text.splitlines(keepends=True))


def mended(text):
    "`text` whose links lead to the pages of this site"
    home = f"{get_config().doc_host}{get_config().doc_baseurl}/"
    return plain_names(text).replace(home, "")


def mend_cell(cell, mathml):
    "Mend the links of a cell's text and of what it shows; what it printed stays as it is"
    source = mended("".join(cell["source"]))
    if mathml and cell["cell_type"] == "markdown": source = with_mathml(source)
    cell["source"] = source.splitlines(keepends=True)
    for output in cell.get("outputs", []):
        shown = output.get("data", {})
        for kind in shown:
            if kind.startswith("text/"): shown[kind] = mended("".join(shown[kind]))


def prepare_page(path, executed, full, mathml):
    "Rename a processed page and mend its links; add where its outputs are from"
    nb = json.loads(path.read_text(encoding="utf-8"))
    for cell in nb["cells"]: mend_cell(cell, mathml)
    if executed and not full and path.stem == BENCHMARKS: nb["cells"].insert(1, prose("sample", SAMPLE))
    nb["cells"].append(prose("provenance", provenance(path.stem, executed)))
    path.unlink()
    path.with_name(plain_names(path.name)).write_text(json.dumps(nb), encoding="utf-8")


def prepare(executed, full, mathml):
    "Make the pages and their list ready for Quarto or smalldocs"
    for path in sorted(PAGES.glob("*.ipynb")): prepare_page(path, executed, full, mathml)
    rewrite(STAGE / "_quarto.yml", plain_names)
    rewrite(PAGES / "nbdev.yml", plain_names)


NUMBERED = """
/* smalldocs shows captions without numbers */
body { counter-reset: figure; }
.quarto-figure figcaption::before { counter-increment: figure; content: "Figure " counter(figure) ": "; }
"""


def render():
    "Run Quarto, or smalldocs where there is none; the name of what ran"
    if shutil.which("quarto"):
        subprocess.run(["quarto", "render"], cwd=PAGES, check=True)
        return "Quarto"
    with (PAGES / "styles.css").open("a") as styles: styles.write(NUMBERED)
    subprocess.run([Path(sys.executable).parent / "smalldocs", "render", "."], cwd=PAGES, check=True)
    return "smalldocs"


def without_web_fonts(css):
    "A style sheet without what it imports from other hosts"
    return re.sub(r"@import\s*(url\()?\s*([\"']?)https?://[^\"')]*\2\s*\)?[^;]*;", "", css)


def options():
    "What was asked for"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--full", action="store_true", help="measure everything in the benchmarks")
    what.add_argument("--stored", action="store_true", help="execute nothing, take the stored outputs")
    parser.add_argument("--out", type=Path, default=ROOT / "_docs", help="folder of the site")
    return parser.parse_args()


def main():
    asked = options()
    out = asked.out.absolute()
    executed = not asked.stored
    start = time.perf_counter()
    stage()
    if executed: execute(asked.full)
    os.chdir(STAGE)         # where nbdev looks for its settings
    subprocess.run([sys.executable, "-c", NBDEV], check=True)
    prepare(executed, asked.full, mathml=not shutil.which("quarto"))
    made_with = render()
    docs = PAGES / "_docs"
    for path in docs.rglob("*.css"): rewrite(path, without_web_fonts)
    for path in docs.glob("*.html"): rewrite(path, partial(pictures.prepared, folder=docs))
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(docs, out)
    print(f"{out / 'index.html'}, made with {made_with} in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
