"""Render `nbs/index.ipynb` to `README.md`: `python tools/readme.py`, or `--check` to only compare.

Hidden cells and those for the site only are left out, figures go to `index_files/`, and links to notebooks are made to work from the top folder.
"""
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent


def render():
    "The README as text, and its figures as {path: bytes}"
    config = Config()
    config.MarkdownExporter.preprocessors = ["nbconvert.preprocessors.RegexRemovePreprocessor"]
    config.RegexRemovePreprocessor.patterns = [r"#\| (hide|echo: false)", "<!-- site only -->"]
    nb = nbformat.read(ROOT / "nbs/index.ipynb", as_version=4)
    nb.metadata.language_info = {"name": "python"}
    described = {}
    for i, cell in enumerate(c for c in nb.cells if not re.match(r"#\| (hide|echo: false)|<!-- site only -->", c.source)):
        if alt := re.search(r"#\| fig-alt: (.*)\n", cell.source): described[f"index_{i}_"] = alt[1]
        if cell.cell_type == "code": cell.source = re.sub(r"^#\|.*\n", "", cell.source, flags=re.M)
    resources = {"unique_key": "index", "output_files_dir": "index_files"}
    text, resources = MarkdownExporter(config=config).from_notebook_node(nb, resources=resources)
    text = re.sub(r"!\[png\]\((index_files/(index_\d+_)\d+\.png)\)", lambda m: f"![{described[m[2]]}]({m[1]})", text)
    text = re.sub(r"\]\((\d\d_\w+\.ipynb)\)", r"](nbs/\1)", text)
    note = "<!-- Rendered from nbs/index.ipynb; edit that and run `make readme`. -->\n\n"
    return note + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", resources["outputs"]


def main():
    text, figures = render()
    files = {ROOT / "README.md": text.encode()} | {ROOT / name: data for name, data in figures.items()}
    known = set((ROOT / "index_files").glob("*"))
    if "--check" in sys.argv:
        stale = [str(p.relative_to(ROOT)) for p, data in files.items() if not p.exists() or p.read_bytes() != data]
        stale += [str(p.relative_to(ROOT)) for p in known - set(files)]
        if stale: sys.exit(f"not rendered from nbs/index.ipynb, run `make readme`: {', '.join(stale)}")
        return
    for path in known - set(files): path.unlink()
    for path, data in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
