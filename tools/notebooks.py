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
LONGEST_CELL = 600      # seconds: ten times what a whole notebook may take on a quiet machine


def is_more_of(output, last):
    "Whether both are pieces of one stream"
    return output.output_type == last.output_type == "stream" and output.name == last.name


def joined(outputs):
    "`outputs` with neighbouring pieces of one stream joined: a slow machine sends it in several"
    kept = []
    for output in outputs:
        if kept and is_more_of(output, kept[-1]): kept[-1].text += output.text
        else: kept.append(output)
    return kept


def without_widgets(outputs):
    "`outputs` without what only a live widget could show, and without those that then show nothing"
    kept = []
    for output in outputs:
        was_widget = output.get("data", {}).pop(WIDGET, None) is not None
        if not was_widget or set(output.data) != {"text/plain"}: kept.append(output)
    return kept


def tidy(nb):
    "Remove widgets from the outputs of `nb`, and join what was printed"
    for cell in nb.cells:
        if cell.cell_type == "code": cell.outputs = joined(without_widgets(cell.outputs))
    nb.metadata.pop("widgets", None)


def run(path):
    "Execute the notebook at `path` from a fresh kernel and store it with its outputs"
    nb = nbformat.read(path, as_version=4)
    client = NotebookClient(nb, timeout=LONGEST_CELL, kernel_name="python3", store_widget_state=False,
                            resources={"metadata": {"path": str(NBS)}})
    client.execute()
    tidy(nb)
    temporary = path.with_suffix(".ipynb.partial")
    nbformat.write(nb, temporary)
    os.replace(temporary, path)
    nbdev_clean(str(path))


def main(names):
    bar = tqdm(names or sorted(path.stem for path in NBS.glob("*.ipynb")), unit="notebook")
    for name in bar:
        bar.set_postfix_str(name)
        start = time.perf_counter()
        run(NBS / f"{name}.ipynb")
        tqdm.write(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
