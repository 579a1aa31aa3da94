"""Debian's Chromium on the page, as a person and as a hostile page use it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.cli.conftest import home, sql, store, template
from tests.postgresql import REQUIRED
from tests.service.conftest import site

__all__ = ["home", "site", "sql", "store", "template"]

#: Where the screenshots are kept, to be looked at; Git ignores it.
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
#: For what must happen; generous, since only a failing test waits for it.
DEADLINE_MS = 120_000.0
#: The name `evil.example` leads here, as after a rebinding.
REBOUND = "--host-resolver-rules=MAP evil.example 127.0.0.1"
WIDTHS = {"phone": (390, 844), "desktop": (1200, 900)}
#: What Tab reaches: a new view gets the focus, too, and holds the words of all that is in it.
_FOCUSED = """(at => at.tabIndex < 0 ? '' : (at.ariaLabel || at.innerText || '').trim())(
    document.activeElement)"""
_WATCH = (
    "addEventListener('securitypolicyviolation', event => console.error('CSP', event.blockedURI))"
)


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not named after the test: the page shows paths, and tests look for words on the page."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        assert not REQUIRED, "chromium is missing"
        pytest.skip("needs chromium")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[REBOUND, *root])
        yield browser
        browser.close()


@dataclass
class Tab:
    """One page; what its console said is kept."""

    page: Page
    console: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(DEADLINE_MS)
        self.page.add_init_script(_WATCH)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.console.append(f"error: {error}"))

    def _said(self, message: ConsoleMessage) -> None:
        if "Clear-Site-Data" not in message.text:  # the browser tells what the link has cleared
            self.console.append(f"{message.type}: {message.text}")

    def has(self, *words: str) -> None:
        """Wait until the page shows each of these."""
        for one in words:
            self.page.get_by_text(one).first.wait_for()

    def look(self, name: str) -> None:
        """Keep screenshots in both widths and schemes; each fits, and passes axe-core."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for width, (across, down) in WIDTHS.items():
            self.page.set_viewport_size({"width": across, "height": down})
            seen = []
            for scheme in ("light", "dark"):
                self.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                path = SCREENSHOTS / f"{name}-{width}-{scheme}.png"
                self.page.screenshot(path=path, full_page=True)
                seen.append(self.page.evaluate("getComputedStyle(document.body).backgroundColor"))
                self.passes_axe(f"{name} {width} {scheme}")
            assert seen[0] != seen[1], "dark is as light"
            wide = self.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= across, f"{name} scrolls sideways at {across} px"

    def passes_axe(self, where: str) -> None:
        found = Axe().run(self.page).response["violations"]
        grave = [one for one in found if one["impact"] in {"serious", "critical"}]
        told = [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in grave]
        assert told == [], where

    def press_tab_to(self, name: str) -> None:
        """Move the focus, by keyboard alone, to what is called so, once the page has it."""
        give_up_s = time.monotonic() + DEADLINE_MS / 1000
        while time.monotonic() < give_up_s:
            self.page.keyboard.press("Tab")
            text = self.page.evaluate(_FOCUSED)
            if name in text:
                return
        seen = self.page.inner_text("body")
        raise AssertionError(f"{name} cannot be reached by Tab; the page says: {seen}")


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    yield made
    made.close()


@pytest.fixture
def tab(context: BrowserContext) -> Tab:
    return Tab(context.new_page())
