"""Render `nbs/index.ipynb` to `README.md`: `python tools/readme.py`, or `--check` to only compare.

Hidden cells and those for the site only are left out, figures go to `nbs/images/`, and links to notebooks
are made to work from the top folder. A hidden cell with `#| readme: picture` is the other way round: the
README shows what it drew, a still of what moves on the site.
"""
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
IMAGES = "nbs/images"
STILL = "#| hide\n#| readme: picture\n"
LEFT_OUT = re.compile(r"#\| (hide|echo: false)|<!-- site only -->")
NOTE = "<!-- Rendered from nbs/index.ipynb; edit that and run `make readme`. -->\n\n"


def described(cells):
    "What each figure shows, by the beginning of its file's name: the number of its cell"
    alts = {}
    for i, cell in enumerate(cells):
        if alt := re.search(r"#\| fig-alt: (.*)\n", cell.source): alts[f"index_{i}_"] = alt[1]
    return alts


def is_shown(cell):
    "Whether the README has a cell"
    return cell.source.startswith(STILL) or not LEFT_OUT.match(cell.source)


def without_options(cell):
    "A code cell without its lines for the site, such as a figure's caption; of a still only what it drew"
    if cell.source.startswith(STILL): cell.metadata["transient"] = {"remove_source": True}
    if cell.cell_type == "code": cell.source = re.sub(r"^#\|.*\n", "", cell.source, flags=re.M)
    return cell


def with_alts(text, alts):
    "Markdown whose figures say what they show"
    figure = rf"!\[png\]\(({IMAGES}/(index_\d+_)\d+\.png)\)"
    return re.sub(figure, lambda m: f"![{alts[m[2]]}]({m[1]})", text)


def render():
    "The README as text, and its figures as {path: bytes}"
    nb = nbformat.read(ROOT / "nbs/index.ipynb", as_version=4)
    nb.metadata.language_info = {"name": "python"}
    nb.cells = [cell for cell in nb.cells if is_shown(cell)]
    alts = described(nb.cells)
    nb.cells = [without_options(cell) for cell in nb.cells]
    places = {"unique_key": "index", "output_files_dir": IMAGES}
    text, resources = MarkdownExporter().from_notebook_node(nb, resources=places)
    text = re.sub(r"\]\((\d\d_\w+\.ipynb)", r"](nbs/\1", with_alts(text, alts))
    return NOTE + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", resources["outputs"]


def wanted():
    "All files that are rendered, as {path: bytes}"
    text, figures = render()
    return {ROOT / "README.md": text.encode()} | {ROOT / name: data for name, data in figures.items()}


def check(files, left_over):
    "End with a sentence unless all files are as they are rendered"
    stale = [path for path, data in files.items() if not path.exists() or path.read_bytes() != data]
    names = [str(path.relative_to(ROOT)) for path in [*stale, *left_over]]
    if names: sys.exit(f"not rendered from nbs/index.ipynb, run `make readme`: {', '.join(names)}")


def main():
    files = wanted()
    left_over = set((ROOT / IMAGES).glob("index_*")) - set(files)
    if "--check" in sys.argv: return check(files, left_over)
    for path in left_over: path.unlink()
    for path, data in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
