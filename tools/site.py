"""Build the site into `_docs/` or another folder: `python tools/site.py [--full | --stored] [--out FOLDER]`.

All notebooks are executed from fresh kernels, on copies, two at a time. The benchmarks take their small
sample, as in the tests, and their page says so; `--full` measures everything, alone on the machine,
which takes some four minutes more. `--stored` executes nothing and takes the stored outputs. nbdev
processes the copies, then Quarto renders them where it is on the PATH, and smalldocs elsewhere, from the
same `_quarto.yml` and to the same addresses. No page loads anything from another host.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from importlib.metadata import version
from pathlib import Path

from nbdev.config import get_config
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "build/site"
OUT = Path(sys.argv[sys.argv.index("--out") + 1]).absolute() if "--out" in sys.argv else ROOT / "_docs"
PACKAGES = ("gcig", "torch", "captum", "numpy", "pandas", "matplotlib")
BENCHMARKS = "30_benchmarks"
SAMPLE = "> These figures are of a small sample, taken in passing while the site was built. `make site FULL=1` measures everything.\n"
LONGEST_FIRST = ("21_what_the_recipe_gets_wrong", "22_known_truth", "10_mutation", "08_attribution", "24_your_own_data")
NBDEV = """
import nbdev.quarto as q
from nbdev.doclinks import _build_modidx
from nbdev.serve import proc_nbs
q.refresh_quarto_yml(); _build_modidx(); proc_nbs(n_workers=0, force=True)
"""


def stage():
    "A fresh copy of what nbdev needs"
    shutil.rmtree(STAGE, ignore_errors=True)
    skip = shutil.ignore_patterns(".*", "__pycache__", "sidebar.yml", "nbdev.yml")
    for name in ("gcig", "nbs", "tools"): shutil.copytree(ROOT / name, STAGE / name, ignore=skip)
    for name in ("settings.ini", "setup.py", "pyproject.toml", "README.md", "_quarto.yml"): shutil.copy(ROOT / name, STAGE)


def execute(full):
    "Run all copies of notebooks from fresh kernels, two at a time with one thread each; with `full` first the benchmarks, alone"
    names = sorted((p.stem for p in (STAGE / "nbs").glob("*.ipynb")), key=lambda n: (n not in LONGEST_FIRST, n in LONGEST_FIRST and LONGEST_FIRST.index(n), n))
    def run(name):
        environment, start = os.environ | {"PYTHONPATH": str(STAGE), "JUPYTER_PLATFORM_DIRS": "1"}, time.perf_counter()
        if name != BENCHMARKS or not full: environment["OMP_NUM_THREADS"] = "1"
        if name == BENCHMARKS and not full: environment["IN_TEST"] = "1"
        done = subprocess.run([sys.executable, STAGE / "tools/notebooks.py", name], env=environment, capture_output=True, text=True)
        if done.returncode: raise RuntimeError(f"{name} failed:\n{done.stderr[-3000:]}")
        return name, time.perf_counter() - start
    with ThreadPoolExecutor(2) as pool, tqdm(total=len(names), unit="notebook") as bar:
        def report(name, seconds):
            tqdm.write(f"{name}: {seconds:.0f} s", file=sys.stdout)
            bar.update()
        if full: report(*run(names.pop(names.index(BENCHMARKS))))
        for done in as_completed([pool.submit(run, name) for name in names]): report(*done.result())


def plain_names(text):
    "`text` with the numbers dropped from the names of pages"
    return re.sub(r"\b\d\d_(\w+)\.(ipynb|html)\b", r"\1.\2", text)


def with_mathml(source):
    "Markdown with its equations as MathML, which browsers draw by themselves"
    from latex2mathml.converter import convert
    display = lambda m: f'\n<div class="equation">{convert(m[1].strip(), display="block")}</div>\n'
    source = re.sub(r"\$\$(.+?)\$\$", display, source, flags=re.S)
    return re.sub(r"(?<![\\$\w])\$(?! )([^$\n]+?)(?<! )\$(?![\w$])", lambda m: convert(m[1]), source)


def provenance(name, executed):
    "The last lines of a page: when and with what its outputs were made, and where its notebook is"
    versions = ", ".join(f"{p} {version(p)}" for p in PACKAGES)
    made = f"Outputs of {date.today():%d %B %Y}, with Python {sys.version.split()[0]}, {versions}" if executed else "Outputs as they are stored in the notebook"
    source = f"{get_config().git_url}/blob/{get_config().branch}/nbs/{name}.ipynb"
    return f"---\n\n{made}. [Open this notebook]({source}).\n"


def prepare(executed, full, mathml):
    "Rename the processed pages and mend their links; add where the outputs are from"
    pages, home = STAGE / "_proc", f"{get_config().doc_host}{get_config().doc_baseurl}/"
    for path in sorted(pages.glob("*.ipynb")):
        nb = json.loads(plain_names(path.read_text(encoding="utf-8")).replace(home, ""))
        for cell in nb["cells"]:
            source = "".join(cell["source"])
            if mathml and cell["cell_type"] == "markdown": source = with_mathml(source)
            cell["source"] = source.splitlines(keepends=True)
        if executed and not full and path.stem == BENCHMARKS: nb["cells"].insert(1, dict(cell_type="markdown", id="sample", metadata={}, source=[SAMPLE]))
        nb["cells"].append(dict(cell_type="markdown", id="provenance", metadata={}, source=provenance(path.stem, executed).splitlines(keepends=True)))
        path.unlink()
        (pages / plain_names(path.name)).write_text(json.dumps(nb), encoding="utf-8")
    for path in (STAGE / "_quarto.yml", pages / "nbdev.yml"): path.write_text(plain_names(path.read_text(encoding="utf-8")), encoding="utf-8")


NUMBERED = """
/* smalldocs shows captions without numbers */
body { counter-reset: figure; }
.quarto-figure figcaption::before { counter-increment: figure; content: "Figure " counter(figure) ": "; }
"""


def keep_local(docs):
    "Take the web fonts out of the themes"
    for path in docs.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        kept = re.sub(r"@import\s*(url\()?\s*([\"']?)https?://[^\"')]*\2\s*\)?[^;]*;", "", text)
        if kept != text: path.write_text(kept, encoding="utf-8")


def main():
    executed, full, start = "--stored" not in sys.argv, "--full" in sys.argv, time.perf_counter()
    stage()
    if executed: execute(full)
    os.chdir(STAGE)
    subprocess.run([sys.executable, "-c", NBDEV], check=True)
    quarto = shutil.which("quarto")
    prepare(executed, full, mathml=not quarto)
    if not quarto: (STAGE / "_proc/styles.css").open("a").write(NUMBERED)
    command = ["quarto", "render"] if quarto else [Path(sys.executable).parent / "smalldocs", "render", "."]
    subprocess.run(command, cwd=STAGE / "_proc", check=True)
    keep_local(STAGE / "_proc/_docs")
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.move(STAGE / "_proc/_docs", OUT)
    print(f"{OUT / 'index.html'}, made with {'Quarto' if quarto else 'smalldocs'} in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
