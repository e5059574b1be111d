"""A real Chromium for the tests of pages: Debian's or Playwright's, whichever is found."""
import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]


@pytest.fixture(scope="session")
def chromium():
    "The running browser; without one the test is skipped, or fails where CI=true"
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = own if Path(own).exists() else next(filter(None, map(shutil.which, NAMES)), None)
        if not path:
            say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            say("no Chromium found: install Debian's chromium, or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    "An empty page, 1280 by 900; anything that its scripts complain of fails the test"
    context = chromium.new_context(viewport=dict(width=1280, height=900))
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    yield page
    context.close()
    assert errors == []
