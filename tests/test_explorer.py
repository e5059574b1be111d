"""The explorer in a real browser: its page with the network cut off, and its widgets in JupyterLab."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

NBS = Path(__file__).resolve().parent.parent / "nbs"
VIEWS = ("confidence", "scores", "sequence", "edits")


def stored(name):
    "The pages of explorers among the stored outputs of a notebook (which may show single drawings, too)"
    cells = json.loads((NBS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    data = [o.get("data", {}) for c in cells for o in c.get("outputs", [])]
    pages = ["".join(d.get("text/html", "")) for d in data]
    return [page for page in pages if 'class="gcig-explorer asleep"' in page]


def shown(page):
    "What each of the four views shows"
    return {v: page.locator(f".gcig-explorer [data-view={v}]").first.inner_html() for v in VIEWS}


def all_changed(before, after):
    return [v for v in VIEWS if before[v] == after[v]] == []


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"></head>
<body>{}</body></html>
"""


@pytest.fixture(params=["11_explorer", "20_tutorial"])
def film(request, page, tmp_path):
    "A page with a notebook's stored explorer, opened with the network cut off"
    html, = stored(request.param)
    path = tmp_path / "film.html"
    path.write_text(PAGE.format(html), encoding="utf-8")
    asked = []
    page.on("request", lambda r: asked.append(r.url))
    page.context.set_offline(True)
    page.goto(path.as_uri())
    yield page
    assert asked == [path.as_uri()]


def test_dragging_and_arrow_keys_change_all_four_views(film):
    slider = film.locator("input[type=range]")
    start = shown(film)
    box = slider.bounding_box()
    film.mouse.move(box["x"] + 8, box["y"] + box["height"]/2)
    film.mouse.down()
    film.mouse.move(box["x"] + box["width"]/2, box["y"] + box["height"]/2, steps=5)
    film.mouse.up()
    assert 8 <= int(slider.input_value()) <= 12
    assert all_changed(start, shown(film))
    film.get_by_label("direction").select_option("decrease")
    slider.press("Home")
    for i in range(1, 6):
        before = shown(film)
        slider.press("ArrowRight")
        assert slider.input_value() == str(i)
        assert all_changed(before, shown(film)), i
        assert slider.get_attribute("aria-valuetext") == f"{i} of 20 edits"
    assert film.locator(".words").inner_text().startswith("Edit 5 of 20: position ")


def film_data(html):
    "The data in the page of an explorer"
    return json.loads(html.split('<script type="application/json">')[1].split("</script>")[0])


def middle(locator):
    "Of what is seen of an element, in pixels"
    box = locator.bounding_box()
    return box["x"] + box["width"]/2, box["y"] + box["height"]/2


@pytest.mark.parametrize("film", ["11_explorer", "20_tutorial"], indirect=True)
def test_views_show_the_data(film, request):
    html, = stored(request.node.callspec.params["film"])
    s = film_data(html)["series"]["1,0,0"]
    for name in ("direction", "rule"):
        menu = film.locator(f"[data-choice={name}]")
        if menu.count(): menu.select_option("1" if name == "direction" else "0")
    film.locator("[data-view=edits] button").nth(2).click()
    position, old, new = s["edits"][2]
    marked = film.locator("[data-view=edits] [aria-current=step] > *").all_text_contents()
    assert marked == ["3", str(position), f"{old} → {new}", f"{s['confidence'][3]:.3f}"]
    headings = film.locator(".headings span").all_text_contents()
    assert headings == ["edit", "position", "change", "confidence"]
    named = f"Edit 3: position {position}, {old} → {new}, confidence {s['confidence'][3]:.3f}"
    assert film.get_by_role("button", name=named, exact=True).is_visible()
    right = list(s["start"])
    for position, _, new in s["edits"][:3]: right[position - 1] = new
    letters = film.locator("[data-view=sequence] g text").all_text_contents()
    assert "".join(letters) == "".join(right)
    assert film.locator("[data-view=sequence] .latest").text_content().strip() == new
    assert film.locator("[data-view=scores] path").count() == sum(v != 0 for v in s["scores"][3])
    ring_x, ring_y = middle(film.locator("[data-view=confidence] .marker"))
    dot_x, dot_y = middle(film.locator("[data-view=confidence] .dot").nth(3))
    assert abs(ring_x - dot_x) < 1
    assert abs(ring_y - dot_y) < 1


def test_one_scale_for_all_edits_keeps_the_axis(film, request):
    html, = stored(request.node.callspec.params["film"])
    top = film.locator("[data-view=scores] text").first
    slider = film.locator("input[type=range]")

    def tops():
        "What the axis says at its top, before the first edit and after three"
        slider.press("Home")
        before = top.text_content()
        for _ in range(3): slider.press("ArrowRight")
        return before, top.text_content()

    own_before, own_after = tops()
    assert own_before != own_after
    film.get_by_label("same scale for all edits").check()
    before, after = tops()
    assert before == after
    data = film_data(html)
    s = data["series"][",".join(map(str, data["first"]))]
    assert float(before) == pytest.approx(max(s["limits"]), rel=.05)      # two digits


def test_the_first_series_has_something_to_see(film, request):
    html, = stored(request.node.callspec.params["film"])
    data = film_data(html)
    moves = {}
    for key, s in data["series"].items():
        steps = zip(s["confidence"], s["confidence"][1:])
        moves[key] = sum(abs(after - before) >= .001 for before, after in steps)
    assert moves[",".join(map(str, data["first"]))] == max(moves.values())
    for name, k in zip(data["choices"], data["first"]):
        menu = film.locator(f"[data-choice={name}]")
        assert menu.count() == (len(data["choices"][name]) > 1)
        if menu.count(): assert menu.input_value() == str(k)


@pytest.mark.parametrize("film", ["11_explorer"], indirect=True)
def test_a_rule_says_what_it_does(film):
    menu = film.locator("[data-choice=rule]")
    for name, begins in {"tutorial": "The letter whose score", "hypothetical": "The edit from which"}.items():
        option, = [o for o in menu.locator("option").all_text_contents() if o.startswith(f"{name}: ")]
        menu.select_option(option)
        assert film.locator(".rule").text_content().startswith(begins)


def test_the_axis_says_which_side_speaks_for_the_class(film):
    said = film.locator(".axis span").text_content()
    assert said == "Letters above the line speak for high_gc ↑, below it against ↓."


def test_play_runs_to_the_end_and_stops(film):
    film.locator("input[type=range]").press("End")
    film.locator("input[type=range]").press("ArrowLeft")
    film.get_by_role("button", name="Play").click()
    expect(film.get_by_role("button", name="Pause")).to_be_visible()
    expect(film.locator("output")).to_have_text("20 / 20")
    expect(film.get_by_role("button", name="Play")).to_be_visible()


FITS = "width => document.querySelector('.gcig-explorer svg').getBoundingClientRect().right <= width"
LEFTMOST = """
const texts = [...document.querySelectorAll('.gcig-explorer text')]
Math.min(...texts.map(t => t.getBoundingClientRect().left))
"""


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(film, width):
    film.set_viewport_size(dict(width=width, height=900))
    film.wait_for_function(FITS, arg=width)
    assert film.evaluate("document.documentElement.scrollWidth") <= width
    assert film.evaluate(LEFTMOST) >= 0


SETTINGS = {
    "notebook-extension/tracker": dict(windowingMode="none"),
    "apputils-extension/notification": dict(fetchNews="false", checkForUpdates=False),
}


def write_settings(folder):
    "JupyterLab renders all cells and asks nothing of the network"
    for name, value in SETTINGS.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_lab(folder, work, settings, port):
    "A JupyterLab of its own, with nothing of the user's"
    options = [
        f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={work}",
        f"--LabApp.user_settings_dir={settings}", "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True", "--allow-root", "--no-browser"]
    folders = {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    return subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=os.environ | folders,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(process, port):
    "Until JupyterLab answers, for a minute at most"
    for _ in range(240):
        assert process.poll() is None, "JupyterLab did not start"
        try:
            urlopen(f"http://127.0.0.1:{port}/api").close()
            return
        except OSError: time.sleep(.25)


@pytest.fixture
def lab(tmp_path):
    "The address of a JupyterLab that has a copy of the tutorial notebook"
    work, settings = tmp_path / "work", tmp_path / "settings"
    work.mkdir()
    shutil.copy(NBS / "20_tutorial.ipynb", work)
    write_settings(settings)
    port = free_port()
    process = start_lab(tmp_path, work, settings, port)
    try:
        wait_for(process, port)
        yield f"http://127.0.0.1:{port}/lab/tree/20_tutorial.ipynb"
    finally:
        process.terminate()
        process.wait(20)


def wait_for_kernel(page, lab):
    "For a minute at most; JupyterLab's own mark says idle before there is a kernel, too"
    for _ in range(240):
        kernels = page.request.get(urljoin(lab, "/api/kernels")).json()
        if any(k["execution_state"] == "idle" and k["connections"] for k in kernels): return
        time.sleep(.25)
    raise AssertionError(f"no kernel was ready: {kernels}")


def run_all(page, lab):
    "Run all cells of the notebook that opens; cells that are run before the kernel is there are lost"
    cells = json.loads((NBS / "20_tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    n_code = sum(cell["cell_type"] == "code" for cell in cells)
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(n_code, timeout=60_000)
    wait_for_kernel(page, lab)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def test_live_slider_in_jupyterlab(page, lab):
    page.goto(lab)
    run_all(page, lab)
    handle = page.locator(".widget-slider .noUi-handle")
    handle.wait_for(timeout=600_000)  # 20 seconds on two free cores, minutes on busy ones
    errors = page.locator(".jp-Notebook [data-mime-type='application/vnd.jupyter.stderr']")
    expect(errors).to_have_count(0)
    page.locator(".gcig-explorer [data-view=confidence] svg").first.wait_for()
    handle.scroll_into_view_if_needed()
    handle.focus()
    for i in range(1, 5):
        before = shown(page)
        handle.press("ArrowRight")
        expect(page.locator(".gcig-explorer .words")).to_contain_text(f"Edit {i} of 20")
        assert all_changed(before, shown(page)), i
    before = shown(page)
    page.locator(".gcig-explorer [data-view=edits] button").nth(9).click()
    expect(page.locator(".widget-slider .widget-readout")).to_have_text("10")
    assert all_changed(before, shown(page))
    typed = page.locator(".widget-text input")
    typed.fill("GATTACA")
    typed.press("Enter")
    problem = page.get_by_role("alert").filter(has_text="The network reads 50 letters; this has 7.")
    expect(problem).to_be_visible()
    expect(page.locator(".gcig-explorer .words")).to_contain_text("Edit 10 of 20")
    typed.fill("ACGTA"*10)
    typed.press("Enter")
    handle.press("Home")
    logo = page.locator(".gcig-explorer [data-view=logo] svg")
    expect(logo).to_have_attribute("aria-label", re.compile("ACGTA"*10), timeout=60_000)
