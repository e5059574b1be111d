"""The built site in a real Chromium: every page, at two widths, in both themes, with the network cut off.

The themes are those that readers get: Quarto and smalldocs remember a reader's choice in the browser's store,
each under a name of its own, and take the system's scheme where there is none."""
import functools
import json
import re
import shutil
import subprocess
import sys
import threading
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from playwright.sync_api import expect
from test_explorer import all_changed, shown
from test_project import tool

from gcig.plots import CLASS_COLOURS, COLOURS

ROOT = Path(__file__).resolve().parent.parent


def address(path):
    "The name of a notebook's page: that of the notebook without its number"
    return re.sub(r"^\d\d_", "", path.stem)


PAGES = sorted(map(address, (ROOT / "nbs").glob("*.ipynb")))
MOST = 3_000_000        # bytes of a page with all that it loads: a second or two on a slow line
MOST_OF = dict(index=1_000_000)         # the first page is opened in passing
MOST_ITSELF = dict(playground=1_200_000)        # the page alone, which computes; its scripts stand in it
FEWEST = 20             # links of a page: the sidebar alone has as many
PHONE = dict(width=390, height=844)
SCREEN = dict(width=1280, height=900)
CHOICE = dict(light="default", dark="alternate")
REMEMBER = """
for (const name of ["quarto-color-scheme", "smalldocs-scheme"]) localStorage.setItem(name, %s)
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    "The folder of the site, built from the stored outputs by Quarto where it is there, else by smalldocs"
    if not shutil.which("quarto"): pytest.importorskip("smalldocs", reason="smalldocs needs Python 3.11")
    folder = tmp_path_factory.mktemp("site") / "_docs"
    command = [sys.executable, ROOT / "tools/site.py", "--stored", "--out", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def site(docs):
    "The address of the site, served from this machine"
    handler = functools.partial(Quiet, directory=docs)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_the_pages_are_those_of_the_notebooks(docs):
    assert sorted(p.stem for p in docs.glob("*.html")) == PAGES


def choose(page, scheme):
    "Let a page find that its reader has chosen a theme, the other one than the system's"
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    page.add_init_script(REMEMBER % json.dumps(CHOICE[scheme]))


def ground(page):
    "How light the page's ground is, 0 to 255"
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return max(int(part) for part in re.findall(r"\d+", colour)[:3])


def in_theme(page, scheme):
    "Whether the page's ground is that of the theme"
    return ground(page) < 64 if scheme == "dark" else ground(page) > 192


def visit(page, site, name):
    "Open a page; return what went wrong on the way and the bytes that it took"
    wrong = []
    responses = []

    def said(message):
        if message.type == "error": wrong.append(message.text)

    def asked(request):
        if not request.url.startswith((site, "data:", "blob:")): wrong.append(f"elsewhere: {request.url}")

    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("console", said)
    page.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
    page.on("request", asked)
    page.on("response", lambda r: responses.append(r))
    page.goto(f"{site}/{name}.html")
    wrong += [f"{r.status}: {r.url}" for r in responses if r.status >= 400]
    loaded = [r for r in responses if not r.url.startswith("blob:")]       # those a page makes of itself
    return wrong, sum(len(r.body()) for r in loaded)


# pictures that say nothing of themselves, or that are not there
BAD_PICTURES = """
[...document.images].filter(i => !i.alt.trim() || !i.naturalWidth).map(i => i.src.slice(0, 60))
"""
# pictures of fewer than two pixels a point, or so much smaller than they were drawn that labels of 11 points
# (gcig.plots.STYLE) get smaller than 9 pixels
UNREADABLE = """
[...document.querySelectorAll("main .cell-output-display img")].filter(i => i.clientWidth)
  .map(i => [i.clientWidth / (i.naturalWidth / 2), i.alt.slice(0, 60)])
  .filter(([scale]) => scale > 1.01 || scale < 9 / 11)
"""
# what loses its right end on a screen: tables, and code of at most so many columns
CUT_OFF = """
columns => {
  const wide = e => e.scrollWidth > e.clientWidth + 1
  const longest = e => Math.max(...e.textContent.split("\\n").map(line => line.length))
  const tables = "main table, main .sd-table, main .cell-output-display:has(table)"
  const boxes = [...document.querySelectorAll(tables)]
  const code = [...document.querySelectorAll("main pre")].filter(e => e.clientWidth && longest(e) <= columns)
  return [...boxes, ...code].filter(wide).map(e => e.textContent.trim().slice(0, 80))
}
"""
COLUMNS = 94            # of code that fit beside both columns of links at 1280 pixels


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [SCREEN, PHONE], ids=["screen", "phone"])
def test_page(chromium, site, name, scheme, size):
    page = chromium.new_page(viewport=size)
    choose(page, scheme)
    wrong, weight = visit(page, site, name)
    assert wrong == []
    assert 10_000 < weight <= MOST_OF.get(name, MOST)
    assert len(page.content().encode()) <= MOST_ITSELF.get(name, MOST)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], "the page scrolls sideways"
    assert page.evaluate(BAD_PICTURES) == []
    assert page.locator("main h1").count() == 1
    page.wait_for_timeout(100)      # what scrolls has been marked, and the theme been switched
    assert in_theme(page, scheme)
    if size == SCREEN:
        assert page.evaluate(UNREADABLE) == []
        assert page.evaluate(CUT_OFF, COLUMNS) == []
        accessible(page)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_system_decides_on_the_theme_of_who_has_not_chosen(chromium, site, scheme):
    page = chromium.new_page(color_scheme=scheme)
    page.goto(f"{site}/index.html")
    page.wait_for_timeout(100)
    assert in_theme(page, scheme)
    page.close()


# how much of each picture in the text of a page is on the screen, in pixels from top to bottom
IN_SIGHT = """
[...document.querySelectorAll("main :is(svg, canvas, img)")].map(e => e.getBoundingClientRect())
  .filter(box => box.width > 200).map(box => Math.min(innerHeight, box.bottom) - box.top)
"""
A_ROW = 120             # pixels: a row of letters as high as their scores, with the sequence below


def test_the_first_screen_of_a_phone_shows_a_picture(chromium, site):
    page = chromium.new_page(viewport=PHONE)
    page.goto(f"{site}/index.html")
    page.wait_for_timeout(100)
    assert max(page.evaluate(IN_SIGHT)) >= A_ROW
    page.close()


def accessible(page):
    "Fail on every serious or critical finding of axe-core"
    from axe_playwright_python.sync_playwright import Axe
    violations = Axe().run(page).response["violations"]
    found = [v for v in violations if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found] == []


def leads_somewhere(link, docs, ids):
    "Whether a link within the site, `page.html#anchor` or a file, points to something that is there"
    target, _, anchor = link.partition("#")
    name = (target or "index.html").removesuffix(".html")
    if name not in ids: return (docs / name).exists()
    return not anchor or anchor in ids[name]


def test_no_link_is_broken(chromium, site, docs):
    page = chromium.new_page()
    links = {}
    ids = {}
    for name in PAGES:
        page.goto(f"{site}/{name}.html")
        links[name] = page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)")
        ids[name] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)"))
    page.close()
    assert all(len(addresses) > FEWEST for addresses in links.values())
    broken = []
    for name, addresses in links.items():
        inside = {a[len(site) + 1:] for a in addresses if a.startswith(site)}
        broken += [(name, link) for link in inside if not leads_somewhere(link, docs, ids)]
    assert broken == []


@pytest.mark.parametrize("name", ["index", "tutorial"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explorer_works_on_the_page(chromium, site, name, scheme):
    context = chromium.new_context(viewport=SCREEN)
    page = context.new_page()
    choose(page, scheme)
    page.goto(f"{site}/{name}.html")
    context.set_offline(True)
    slider = page.locator(".gcig-explorer input[type=range]")
    before = shown(page)
    for _ in range(3): slider.press("ArrowRight")
    assert slider.input_value() == "3" and all_changed(before, shown(page))
    context.close()


def test_search_finds_completeness(chromium, site):
    page = chromium.new_page(viewport=SCREEN)
    page.goto(f"{site}/index.html")
    page.locator("input[type=search], #quarto-search input").first.fill("completeness")
    hit = page.get_by_role("link").filter(has_text=re.compile("completeness", re.I)).first
    hit.click()
    assert page.url.startswith(site) and not page.url.endswith("/index.html")
    expect(page.locator("main")).to_contain_text(re.compile("completeness", re.I))
    page.close()


def printed(path):
    "What the cells of a notebook printed that are on its page"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    hidden = re.compile(r"#\| (hide|exporti?\n)")
    shown = [c for c in cells if c["cell_type"] == "code" and not hidden.match("".join(c["source"]))]
    return ["".join(o["text"]).rstrip() for c in shown for o in c["outputs"] if o.get("name") == "stdout"]


def test_pages_show_the_outputs_that_were_handed_over(docs):
    for path in (ROOT / "nbs").glob("*.ipynb"):
        html = (docs / f"{address(path)}.html").read_text(encoding="utf-8")
        page = unescape(re.sub(r"<[^>]*>", "", html))
        assert [p[:80] for p in printed(path) if p not in page] == [], path.stem


def light(colour):
    "Relative luminance of a colour, as the WCAG define it"
    linear = np.where(colour <= .04045, colour / 12.92, ((colour + .055) / 1.055)**2.4)
    return float(linear @ [.2126, .7152, .0722])


def test_figures_have_a_twin_whose_colours_can_be_told_from_a_dark_ground():
    pictures = tool("pictures")
    ground = pictures.for_dark(np.ones(3))
    assert np.allclose(ground*255, 0x22)
    black = pictures.for_dark(np.zeros(3))
    assert (light(black) + .05) / (light(ground) + .05) > 7
    for colour in (COLOURS | CLASS_COLOURS).values():
        drawn = np.array(to_rgb(colour))
        twin = pictures.for_dark(drawn)
        assert (light(twin) + .05) / (light(ground) + .05) > 2.9, colour
        assert (np.argsort(twin) == np.argsort(drawn)).all() or np.ptp(drawn) < .1, "another hue"
