"""Run the notebooks from fresh kernels and store their outputs: `python tools/notebooks.py [NAME ...]`.

Without names it runs all of them. Outputs are stored without widgets and their state: a widget in a
stored notebook has no kernel to talk to. What else the cell shows stays (an explorer's page); the widget
comes back when a reader runs the cell.
A notebook that fails is left as it was.
"""
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbdev.clean import nbdev_clean
from tqdm import tqdm

NBS = Path(__file__).resolve().parent.parent / "nbs"
WIDGET = "application/vnd.jupyter.widget-view+json"


def joined(outputs):
    "`outputs` with neighbouring pieces of one stream joined: a slow machine sends it in several"
    kept = []
    for o in outputs:
        if kept and o.output_type == kept[-1].output_type == "stream" and o.name == kept[-1].name: kept[-1].text += o.text
        else: kept.append(o)
    return kept


def tidy(nb):
    "Remove what only a live widget could show from the outputs of `nb`, and join what was printed"
    for cell in nb.cells:
        if cell.cell_type == "code":
            widgets = [o for o in cell.outputs if WIDGET in o.get("data", {})]
            for o in widgets: del o.data[WIDGET]
            cell.outputs = joined(o for o in cell.outputs if o not in widgets or set(o.data) != {"text/plain"})
    nb.metadata.pop("widgets", None)


def run(path):
    "Execute the notebook at `path` from a fresh kernel and store it with its outputs"
    nb = nbformat.read(path, as_version=4)
    NotebookClient(nb, timeout=600, kernel_name="python3", store_widget_state=False,
                   resources={"metadata": {"path": str(NBS)}}).execute()
    tidy(nb)
    temporary = path.with_suffix(".ipynb.partial")
    nbformat.write(nb, temporary)
    os.replace(temporary, path)
    nbdev_clean(str(path))


if __name__ == "__main__":
    names = sys.argv[1:] or sorted(p.stem for p in NBS.glob("*.ipynb"))
    for name in (bar := tqdm(names, unit="notebook")):
        bar.set_postfix_str(name)
        start = time.perf_counter()
        run(NBS / f"{name}.ipynb")
        tqdm.write(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stdout)
