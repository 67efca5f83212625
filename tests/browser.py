"""Pages in a real browser: headless Chromium, what a page asks for, what goes wrong, and what is hard to read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


def on_path() -> str | None:
    """A Chromium or a Chrome, by whichever of its names it has here."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def own() -> bool:
    """Whether Playwright has a Chromium of its own, as `playwright install chromium` puts it there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path).exists()


CHROMIUM = on_path()
WIDE, NARROW = 1280, 390
SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"  # kept, so that somebody looks at them
AUDIT = (Path(__file__).parent / "fixtures" / "audit.js").read_text(encoding="utf-8")
needs_browser = pytest.mark.skipif(
    find_spec("playwright") is None or not (CHROMIUM or own()),
    reason="no browser to look at pages with: pip install playwright, and install chromium or google-chrome, "
    "or run `playwright install chromium`",
)


@dataclass
class Visits:
    """Tabs of one browser, with all that they asked for, and errors and dialogs of their scripts."""

    browser: Any
    asked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def open(self, address: str, width: int, scheme: str = "light") -> Any:
        tab = self.browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        tab.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        tab.goto(address)
        return tab


@contextmanager
def visits() -> Iterator[Visits]:
    """A browser for a while: that on PATH, else Playwright's own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Visits(browser)
        browser.close()


def keep(tab: Any, name: str) -> None:
    """A picture of the whole page, for somebody to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    tab.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=True)


def faults(tab: Any) -> dict[str, list[Any]]:
    """What WCAG 2.2 AA would not let pass, by kind; see data/audit.js. What is folded is opened, and stays so."""
    found: dict[str, list[Any]] = tab.evaluate(AUDIT)
    checked = found.pop("checked")
    assert checked[0] > 100, "an audit that sees no texts proves nothing"
    return {kind: some for kind, some in found.items() if some}
