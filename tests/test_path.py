"""Integrated Gradients that one can drag, in a real browser without a network; its numbers are Python's."""
import json
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from gcig.attribution import explained_output, integrated_gradients, make_baseline
from gcig.encoding import one_hot
from gcig.explorer import write_page
from gcig.model import CNNLSTM, load_keras_weights
from gcig.path import ACCEPTED, POINTS, STEPS, on_the_way

NBS = Path(__file__).resolve().parent.parent / "nbs"
REFERENCE = np.load(NBS / "data/deepg_reference.npz")
DEEPG = load_keras_weights(CNNLSTM(), REFERENCE)
EXAMPLE = str(REFERENCE["high_gc_seq"])
X = one_hot(EXAMPLE)
VIEWS = ("curve", "input", "gradient", "scores", "sum")
NUMBERED = [(0, "zeros"), (1, "uniform"), (2, "background")]      # as in the menu


def stored():
    "The piece of a page that the notebook shows"
    cells = json.loads((NBS / "12_path.ipynb").read_text(encoding="utf-8"))["cells"]
    data = [o.get("data", {}) for c in cells for o in c.get("outputs", [])]
    pages = ["".join(d.get("text/html", "")) for d in data]
    page, = [page for page in pages if 'class="gcig-path asleep"' in page]
    return page


@pytest.fixture
def path(page, tmp_path):
    "A page with the notebook's stored piece, opened with the network cut off"
    file = tmp_path / "path.html"
    write_page(file, "The path", stored())
    asked = []
    page.on("request", lambda r: asked.append(r.url))
    page.context.set_offline(True)
    page.goto(file.as_uri())
    yield page
    assert asked == [file.as_uri()]


def handle(page): return page.get_by_role("slider", name="Place on the way")


def shown(page):
    "What each of the five pictures shows"
    return {v: page.locator(f"[data-view={v}]").inner_html() for v in VIEWS}


def minus(number): return f"{number:.3f}".replace("-", "\u2212")


def says_after(page, k):
    "Put the handle at a place of the way, and read the words"
    handle(page).evaluate(f"(r => {{ r.value = {k}; r.dispatchEvent(new Event('input')) }})")
    picture = page.locator("[data-view=scores] svg")
    expect(picture).to_have_attribute("aria-label", f"Scores for high_gc so far, {place(k)}")
    return page.locator(".words").inner_text()


def place(k):
    "A place of the way in words"
    if k in (0, STEPS): return "at the sequence" if k else "at the start"
    return "half-way" if 2*k == STEPS else f"{int(100*k/STEPS + .5)} % of the way"


def test_dragging_the_picture_and_the_handle(path):
    picture = path.locator("[data-view=curve]").bounding_box()
    y = picture["y"] + 60
    path.mouse.move(picture["x"] + 60, y)
    path.mouse.down()
    path.mouse.move(picture["x"] + picture["width"]/2, y, steps=5)
    path.mouse.up()
    near_half = re.compile("^(half-way|[45]\\d % of the way), confidence")
    expect(handle(path)).to_have_attribute("aria-valuetext", near_half)
    before = shown(path)
    box = handle(path).bounding_box()
    path.mouse.move(box["x"] + box["width"]/2, box["y"] + box["height"]/2)
    path.mouse.down()
    path.mouse.move(box["x"] + .82*box["width"], box["y"] + box["height"]/2, steps=5)
    path.mouse.up()
    assert 100 <= int(handle(path).input_value()) <= 110
    expect(path.locator(".words")).to_contain_text(re.compile("^8\\d\\s% of the way"))
    after = shown(path)
    assert [v for v in VIEWS if before[v] == after[v]] == []


def test_the_ring_stands_above_the_thumb(path):
    for k in (0, 50, STEPS):
        says_after(path, k)
        ring = path.locator("[data-view=curve] .marker").bounding_box()
        box = handle(path).bounding_box()
        thumb = box["x"] + 8 + (box["width"] - 16)*k/STEPS
        assert abs(ring["x"] + ring["width"]/2 - thumb) < 2


def test_arrow_keys_move_every_dial(path):
    says_after(path, 0)
    for k in (1, 2, 3):
        handle(path).press("ArrowRight")
        expect(handle(path)).to_have_attribute("aria-valuetext", re.compile(f"^{place(k)}, confidence 0.00"))
    handle(path).press("End")
    expect(handle(path)).to_have_attribute("aria-valuetext", "at the sequence, confidence 0.988")
    dial = path.get_by_role("slider", name="Number of points")
    dial.press("Home")
    expect(dial).to_have_attribute("aria-valuetext", re.compile("^1 point, true error 95 %"))
    dial.press("ArrowRight")
    expect(dial).to_have_attribute("aria-valuetext", re.compile("^2 points, true error 39 %"))
    dial = path.get_by_role("slider", name="Accepted error")
    dial.press("Home")
    expect(dial).to_have_attribute("aria-valuetext", re.compile("^10 % accepted, 26 points, true error 0.7"))
    expect(path.get_by_role("radio", name="accepted error")).to_be_checked()
    path.get_by_role("radio", name="number of points").check()
    expect(path.locator(".facts")).to_contain_text("True error of the scores: 39 %.")


@pytest.mark.parametrize("number, name", NUMBERED)
def test_numbers_are_pythons_at_every_place(path, number, name):
    path.get_by_label("start from").select_option(str(number))
    path.get_by_role("radio", name="accepted error").check()
    start = make_baseline(name, X)
    places = [0, 31, 64, 90, 105, 127, STEPS]
    inputs = on_the_way(start, X)[places]
    there = explained_output(DEEPG, inputs, 0, "probability").tolist()
    so_far = integrated_gradients(DEEPG, inputs, 0, start, rtol=1e-4, atol=1e-4).scores.sum((1, 2)).tolist()
    rise = there[-1] - there[0]
    for k, says, sum_there in zip(places, there, so_far):
        words = says_after(path, k)
        assert f"the network says high_gc with {says:.3f}." in words
        if k == 0: continue
        found, = re.findall("add up to (\u2212?[\\d.]+);", words)
        assert float(found.replace("\u2212", "-")) == pytest.approx(sum_there, abs=1.1e-3)
        assert f"the whole rise is {minus(rise)}" in words


@pytest.mark.parametrize("number, name", NUMBERED)
def test_errors_are_pythons(path, number, name):
    path.get_by_label("start from").select_option(str(number))
    right = integrated_gradients(DEEPG, X, 0, name, rtol=1e-5, atol=1e-5, max_gradients=10_000).scores

    def check(found):
        "The words below the dials say what Python finds"
        true = ((found.scores - right).abs().sum()/right.abs().sum()).item()
        words = path.locator(".facts").inner_text()
        said = float(re.search("True error of the scores: ([\\d.]+)\\s%", words)[1])/100
        assert said == pytest.approx(true, rel=.06, abs=3e-5)
        gap = float(re.search("Completeness error: ([\\d.e-]+[\\d])", words)[1])
        assert gap == pytest.approx(found.completeness_error.item(), rel=.06, abs=2e-6)
        return words

    dial = path.get_by_role("slider", name="Number of points")
    for i, n in enumerate(POINTS):
        dial.press("ArrowRight" if i else "Home")
        if n == 1: continue     # captum's rule takes two at least
        expect(path.locator("[data-dial=points]")).to_have_text(f"{n} points")
        check(integrated_gradients(DEEPG, X, 0, name, method="riemann_middle", n_steps=n))
    dial = path.get_by_role("slider", name="Accepted error")
    for i, rtol in enumerate(ACCEPTED):
        dial.press("ArrowRight" if i else "Home")
        expect(path.locator("[data-dial=accepted]")).to_have_text(f"{100*rtol:g} %")
        found = integrated_gradients(DEEPG, X, 0, name, rtol=rtol, atol=rtol)
        words = check(found)
        assert f"took {found.n_gradients.item()} points" in words
        estimate = float(re.search("its error at ([\\d.]+)\\s%", words)[1])/100
        assert estimate == pytest.approx(found.error_estimate.item(), rel=.06)


def bar_filled(page):
    "The width of the sum over that of the frame"
    widths = [page.locator(f"[data-view=sum] .{look}").get_attribute("width") for look in ("sum", "track")]
    return float(widths[0])/float(widths[1])


def test_the_bar_is_full_at_the_end_up_to_the_error(path):
    says_after(path, STEPS)
    dial = path.get_by_role("slider", name="Number of points")
    ends = explained_output(DEEPG, on_the_way(make_baseline("zeros", X), X, 1), 0, "probability").tolist()
    for i, n in enumerate(POINTS):
        dial.press("ArrowRight" if i else "Home")
        if n == 1: continue
        expect(path.locator("[data-dial=points]")).to_have_text(f"{n} points")
        found = integrated_gradients(DEEPG, X, 0, method="riemann_middle", n_steps=n)
        assert bar_filled(path) == pytest.approx(found.scores.sum().item()/(ends[1] - ends[0]), abs=2e-3)


def test_walk_goes_to_the_sequence_and_stops(path):
    says_after(path, STEPS - 4)
    path.get_by_role("button", name="Walk").click()
    expect(handle(path)).to_have_attribute("aria-valuetext", re.compile("at the sequence"))
    expect(path.get_by_role("button", name="Walk")).to_be_visible()
    path.get_by_role("button", name="Walk").click()
    path.get_by_role("button", name="Stop").click()
    assert int(handle(path).input_value()) < STEPS


# What is heard is what stands there, as soon as both have caught up with the keys.
AT_REST = """() => {
    const heard = document.querySelector('[aria-live=polite]').textContent
    return heard && heard === document.querySelector('.words').textContent
}"""


def test_screen_readers_hear_names_and_one_sentence_at_rest(path):
    for name in ("Place on the way", "Number of points", "Accepted error"):
        slider = path.get_by_role("slider", name=name)
        assert slider.get_attribute("aria-valuetext")
    live = path.locator("[aria-live=polite]")
    assert live.count() == 1
    handle(path).press("Home")
    for _ in range(5): handle(path).press("ArrowRight")
    path.wait_for_function(AT_REST)
    for view in VIEWS: assert path.locator(f"[data-view={view}] svg").get_attribute("aria-label")
    from axe_playwright_python.sync_playwright import Axe
    violations = Axe().run(path).response["violations"]
    assert [(v["id"], v["impact"]) for v in violations if v["impact"] in ("serious", "critical")] == []


SMALLEST = """
const texts = [...document.querySelectorAll('.gcig-path :is(text, p, label, output, span, button, select)')]
Math.min(...texts.map(t => parseFloat(getComputedStyle(t).fontSize)))
"""
BEYOND = """
const seen = [...document.querySelectorAll('.gcig-path *:not(.unseen)')].map(e => e.getBoundingClientRect())
;[Math.min(...seen.map(r => r.left)), Math.max(...seen.map(r => r.right))]
"""


@pytest.mark.parametrize("width", [390, 680, 1280])      # 680: the column of a page of the site
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_or_too_small(path, width, scheme):
    path.emulate_media(color_scheme=scheme)
    path.set_viewport_size(dict(width=width, height=900))
    drawn = str(path.locator(".gcig-path").evaluate("e => e.clientWidth"))
    expect(path.locator("[data-view=sum] svg")).to_have_attribute("width", drawn)
    assert path.evaluate("document.documentElement.scrollWidth") <= width
    left, right = path.evaluate(BEYOND)
    assert left >= 0 and right <= width
    assert path.evaluate(SMALLEST) >= 12
    if scheme == "dark":
        ink = path.locator(".gcig-path text").first.evaluate("e => getComputedStyle(e).fill")
        assert min(map(int, re.findall(r"\d+", ink)[:3])) > 200      # light on dark
