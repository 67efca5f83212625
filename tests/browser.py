"""Open pages in headless Chromium and collect requests, errors and accessibility faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from docs.browser import find_chromium, open_chromium


def has_playwright_chromium() -> bool:
    """Return True if `playwright install chromium` has been run."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path).exists()


WIDE, NARROW = 1280, 390
SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"  # for inspection
AUDIT = (Path(__file__).parent / "fixtures" / "audit.js").read_text(encoding="utf-8")
needs_browser = pytest.mark.skipif(
    find_spec("playwright") is None or not (find_chromium() or has_playwright_chromium()),
    reason="no browser: pip install playwright, and install chromium or google-chrome, "
    "or run `playwright install chromium`",
)


@dataclass
class Visits:
    """Tabs of one browser, with their requests, and the errors, dialogs and violations of their scripts."""

    browser: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, address: str, width: int, scheme: str = "light") -> Any:
        """Open an address in a new tab of this width, with a light or dark color scheme."""
        tab = self.browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        # violations of the page's Content-Security-Policy, among others
        tab.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        tab.on("dialog", lambda dialog: self.errors.append(dialog.message))
        tab.goto(address)
        return tab


@contextmanager
def open_browser() -> Iterator[Visits]:
    """Start the browser on PATH, else that of Playwright."""
    with open_chromium() as browser:
        yield Visits(browser)


def save_screenshot(tab: Any, name: str) -> None:
    """Save a screenshot of the whole page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    tab.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=True)


def accessibility_faults(tab: Any) -> dict[str, list[Any]]:
    """Return violations of WCAG 2.2 AA by kind; see fixtures/audit.js. Folded parts are opened."""
    faults: dict[str, list[Any]] = tab.evaluate(AUDIT)
    checked = faults.pop("checked")
    assert checked[0] > 100, "the audit found too few texts to check"
    return {kind: elements for kind, elements in faults.items() if elements}
