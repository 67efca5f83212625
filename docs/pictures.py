"""Draw the pictures of the README and the docs: `make pictures`.

The pictures are of a real study, `examples/clothing/study.toml`, in `build/pictures/`; a finished or interrupted one
is continued. A headless Chromium draws the terminal's text, the report and TensorBoard; docs/images/ gets the results.

    python -m docs.pictures    # or: make pictures
"""

from __future__ import annotations

import io
import os
import pty
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
DECLARATION = ROOT / "examples" / "clothing" / "study.toml"
WORK = ROOT / "build" / "pictures"
IMAGES = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAX_BYTES = 250_000
WIDTH, HEIGHT = 1280, 800
COLUMNS = 100  # of the terminal
TENSORBOARD_CARDS = {
    "scalars": ("(loss|accuracy)/(train|val)", 800),
    "histograms": ("lr/head|/conv1", 1120),
}  # tags, height
HEADSTART = (sys.executable, "-m", "headstart")
TERMINAL_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1c1e24; color: #e6e6e6; }}
pre {{ margin: 0; padding: 18px 22px; font: 15px/1.45 "DejaVu Sans Mono", monospace; }}
</style><body><pre>{code}</pre></body>"""


def main() -> None:
    """Run the study where it is missing, and draw all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    study = finished_study()
    with sync_playwright() as playwright:
        executable = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        draw_terminal(browser, study)
        draw_report(browser, study)
        draw_tensorboard(browser, study)
        browser.close()


def finished_study() -> Path:
    """Return the folder of the study, after running what is missing of it."""
    runs = WORK / "runs"
    verdicts = list(runs.glob("*/verdict.json"))
    if not verdicts:
        subprocess.run([*HEADSTART, "compare", "--study", DECLARATION, "--runs", runs], check=True, cwd=ROOT)
        verdicts = list(runs.glob("*/verdict.json"))
    return verdicts[0].parent


def draw_terminal(browser: Browser, study: Path) -> None:
    """Draw what the terminal shows at the end of the study."""
    os.chdir(WORK)  # the paths that are printed are relative
    text = Text.from_ansi(terminal_output([*HEADSTART, "resume", str(study.relative_to(WORK)), "--quiet"]))
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(text)
    code = console.export_html(inline_styles=True, code_format="{code}")
    page = browser.new_page(viewport={"width": 10 * COLUMNS, "height": 400}, device_scale_factor=1.5)
    page.set_content(TERMINAL_PAGE.format(code=code))
    save(page.locator("pre").screenshot(), "verdict-terminal")
    page.close()


def terminal_output(command: list[str]) -> str:
    """Return what a command prints to a terminal of COLUMNS columns, with its escape sequences."""
    chunks = []

    def read(descriptor: int) -> bytes:
        chunk = os.read(descriptor, 4096)
        chunks.append(chunk)
        return chunk

    os.environ.update(COLUMNS=str(COLUMNS), TERM="xterm-256color")
    status = pty.spawn(command, read)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return b"".join(chunks).decode().replace("\r\n", "\n").rstrip()


def draw_report(browser: Browser, study: Path) -> None:
    """Draw the top of the report in light and dark, and its part on gradients."""
    for scheme in ("light", "dark"):
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, device_scale_factor=1.5
        )
        page.goto((study / "report.html").as_uri())
        save(page.screenshot(), f"report-{scheme}")
        if scheme == "light":
            save(page.locator("#health").screenshot(), "gradients")
        page.close()


def draw_tensorboard(browser: Browser, study: Path) -> None:
    """Draw TensorBoard's learning rates, and conv1's weights and gradients, for the first seed of each arm."""
    folder = WORK / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for run in sorted(study.glob("*-s0")):
        (folder / run.name.split("-", 3)[-1]).symlink_to(run)
    with tensorboard(folder) as address:
        for name, (tags, height) in TENSORBOARD_CARDS.items():
            page = browser.new_page(viewport={"width": WIDTH, "height": height}, device_scale_factor=1.5)
            page.goto(f"{address}/?tagFilter={tags}&smoothing=0#timeseries")
            page.wait_for_selector("card-view")
            settle(page)
            page.get_by_text("Enable step selection and data table").click()
            page.locator("button:has-text('Settings')").first.click()  # closes the pane
            settle(page)
            save(page.screenshot(), f"tensorboard-{name}")
            page.close()


def settle(page: Page) -> None:
    """Wait until TensorBoard has drawn its cards."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2000)


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """Serve a folder with TensorBoard; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--port", str(port), "--load_fast=false"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                if b"scalars" in urllib.request.urlopen(f"{address}/data/plugins_listing").read():
                    break
            except OSError:
                pass
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()


def save(png: bytes, name: str) -> None:
    """Save a screenshot with a palette of 256 colors; raise SystemExit if it is larger than MAX_BYTES."""
    path = IMAGES / f"{name}.png"
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes; at most {MAX_BYTES} are allowed")
    print(f"{path.relative_to(ROOT)}: {image.width} x {image.height} px, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
