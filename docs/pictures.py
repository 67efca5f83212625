"""Draw the pictures of the README and the docs: `make pictures`.

The pictures are of a real study, `examples/clothing/study.toml`, in `build/pictures/`; a finished or interrupted one
is continued. A headless Chromium draws the terminal's text, the report and TensorBoard; docs/images/ gets the results.

    python -m docs.pictures    # or: make pictures
"""

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from PIL import Image
from rich.console import Console
from rich.text import Text

from docs.browser import open_chromium
from headstart.analysis.run_records import RunRecord, common_seeds, main_runs
from headstart.config.study_file import read_study, validate_study
from headstart.storage.folders import slug
from headstart.telemetry.tensorboard_server import launch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FloatRect, Page

ROOT = Path(__file__).parents[1]
DECLARATION = ROOT / "examples" / "clothing" / "study.toml"
PHOTOS = ROOT / "examples" / "clothing" / "photos"
PHOTOS_ADDRESS = "https://github.com/alexeygrigorev/clothing-dataset-small"
WORK = ROOT / "build" / "pictures"
RUNS = WORK / "runs"
IMAGES = ROOT / "docs" / "images"
MAX_IMAGE_BYTES = 250_000  # a test holds the images of all pages to it
WIDTH, HEIGHT = 1340, 1600  # of the browser's window: all tabs of TensorBoard, and more height than a picture has
MARGIN = 16  # around what a picture shows
COLUMNS = 84  # of the terminal
LAST_TAG = "accuracy/test"  # a run has it in TensorBoard when its other series are complete
LOADING_SECONDS = 60
DRAWING_SECONDS = 2  # for the transitions of TensorBoard's charts
ARMS = ("scratch", "source:six")
TENSORBOARD_PICTURES = {  # pattern of the tags, and arms
    "scalars": ("^(loss|accuracy)/(train|val)$", (*ARMS, "source:six+frozen")),
    "histograms": ("^(lr/(head|backbone)|(weights|gradients)/conv1)$", ARMS),
}
TERMINAL_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1c1e24; color: #e6e6e6; }}
pre {{ width: max-content; margin: 0; padding: 18px 22px; font: 15px/1.45 "DejaVu Sans Mono", monospace; }}
</style><body><pre>{code}</pre></body>"""


def main() -> None:
    """Run the study where it is missing, and draw all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    study = finished_study()
    with open_chromium() as browser:
        draw_terminal(browser, study)  # first: it writes the report again
        draw_report(browser, study)
        draw_tensorboard(browser, study)


def finished_study() -> Path:
    """Return the folder of the study, after running what is missing of it.

    Raises:
        SystemExit: The photos are missing, a study fails, or build/pictures/ has several studies or an older one.
    """
    if not PHOTOS.is_dir():
        photos = PHOTOS.relative_to(ROOT)
        raise SystemExit(f"{photos} does not exist. Get the photos with\n    git clone {PHOTOS_ADDRESS} {photos}")
    if not (studies := study_folders()):
        run_headstart("compare", "--study", str(DECLARATION), "--runs", str(RUNS))
        studies = study_folders()
    if len(studies) > 1:
        raise SystemExit(f"{RUNS} has {len(studies)} studies. Delete all but one.")
    (study,) = studies
    with chdir(ROOT):  # the declaration has paths relative to it
        declared = read_study(DECLARATION)
    declared = validate_study(declared.protocol.model_dump(), declared.plan)  # sorts the default grid, as in a study
    if read_study(study) != declared:
        raise SystemExit(f"{study} is not the study that {DECLARATION} declares. Delete it.")
    if not (study / "verdict.json").exists():
        run_headstart("resume", str(study))
    return study


def study_folders() -> list[Path]:
    """Return the folders of the studies in build/pictures/."""
    return [path.parent for path in sorted(RUNS.glob("*/study.toml"))]


def run_headstart(*arguments: str) -> None:
    """Run a command of headstart. Raises SystemExit if it fails; the command has printed why."""
    code = subprocess.run([sys.executable, "-m", "headstart", *arguments], cwd=ROOT, check=False).returncode
    if code:
        raise SystemExit(f"headstart {arguments[0]} failed with exit code {code}.")


def draw_terminal(browser: Browser, study: Path) -> None:
    """Draw what the terminal shows at the end of the study, without the paths of its files."""
    output = terminal_output("resume", study.name, "--quiet", folder=study.parent)
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(output.partition("\n\nStudy: ")[0]))
    code = console.export_html(inline_styles=True, code_format="{code}")
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1.5)
    page.set_content(TERMINAL_PAGE.format(code=code.strip()))
    save(page.locator("pre").screenshot(), "verdict-terminal")
    page.close()


def terminal_output(*arguments: str, folder: Path) -> str:
    """Return what headstart prints in a folder to a terminal of COLUMNS columns, with its escape sequences.

    Raises:
        SystemExit: The command fails.
    """
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    reader, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "headstart", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        cwd=folder,
        env=environment,
    )
    os.close(terminal)
    output = b""
    try:
        while chunk := os.read(reader, 4096):
            output += chunk
    except OSError:  # the process has closed the terminal; so says Linux
        pass
    finally:
        os.close(reader)
    text = output.decode().replace("\r\n", "\n").rstrip()
    if code := process.wait():
        raise SystemExit(f"{text}\nheadstart {arguments[0]} failed with exit code {code}.")
    return text


def draw_report(browser: Browser, study: Path) -> None:
    """Draw the report down to its key figures, in light and dark, and its section on gradients."""
    for scheme in ("light", "dark"):
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, device_scale_factor=1.5
        )
        page.goto((study / "report.html").as_uri())
        save(screenshot(page, bounds(page, "header > :not(nav)")), f"report-{scheme}")
        if scheme == "light":
            save(screenshot(page, bounds(page, "#health > *")), "gradients")
        page.close()


def draw_tensorboard(browser: Browser, study: Path) -> None:
    """Draw TensorBoard with some arms at their first seed.

    One picture has loss and accuracy, another the learning rates, and the weights and gradients of conv1.
    """
    runs = main_runs(study)
    first = common_seeds(runs)[0]
    for name, (tags, arms) in TENSORBOARD_PICTURES.items():
        address = serve([run for run in runs if run.seed == first and run.arm in arms], WORK / "tensorboard" / name)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1.5)
        page.goto(f"{address}?tagFilter={quote(tags)}&smoothing=0#timeseries")
        page.get_by_text("Ignore outliers in chart scaling").click()
        page.get_by_text("Enable step selection and data table").click()
        page.locator("button:has-text('Settings')").first.click()  # closes the pane
        wait_for_cards(page)
        cards = bounds(page, "card-view:visible")
        area: FloatRect = {"x": 0, "y": 0, "width": WIDTH, "height": cards["y"] + cards["height"]}
        save(screenshot(page, area), f"tensorboard-{name}")
        page.close()


def serve(runs: list[RunRecord], folder: Path) -> str:
    """Serve runs with TensorBoard, named by arm and seed, until this process ends, and return the address.

    Args:
        runs: Finished runs.
        folder: It gets links to the runs.

    Raises:
        SystemExit: TensorBoard does not load them in time.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = {f"{slug(run.arm)}-s{run.seed}": run.folder for run in runs}
    for name, target in names.items():
        (folder / name).symlink_to(target)
    address = launch(folder, port=0)
    local = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy
    end = time.monotonic() + LOADING_SECONDS
    while True:
        with local.open(f"{address}data/plugin/timeseries/tags", timeout=LOADING_SECONDS) as response:
            tags = json.load(response)["scalars"]["runTagInfo"]
        if all(LAST_TAG in tags.get(name, ()) for name in names):
            return address
        if time.monotonic() > end:
            raise SystemExit(f"TensorBoard has not loaded {folder} within {LOADING_SECONDS} s.")
        time.sleep(0.2)


def wait_for_cards(page: Page) -> None:
    """Wait until TensorBoard has drawn its cards."""
    page.wait_for_selector("card-view:visible")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1000 * DRAWING_SECONDS)


def bounds(page: Page, selector: str) -> FloatRect:
    """Return the smallest rectangle around the visible elements of a page that match a selector."""
    boxes = [box for element in page.locator(selector).all() if (box := element.bounding_box())]
    left, top = min(box["x"] for box in boxes), min(box["y"] for box in boxes)
    right, bottom = max(box["x"] + box["width"] for box in boxes), max(box["y"] + box["height"] for box in boxes)
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def screenshot(page: Page, area: FloatRect) -> bytes:
    """Return a screenshot of a part of a page, with a margin where the page has one."""
    left, top = max(area["x"] - MARGIN, 0), max(area["y"] - MARGIN, 0)
    width = min(area["x"] + area["width"] + MARGIN, WIDTH) - left
    height = area["y"] + area["height"] + MARGIN - top
    return page.screenshot(full_page=True, clip={"x": left, "y": top, "width": width, "height": height})


def save(png: bytes, name: str) -> None:
    """Save a screenshot with a palette of 256 colors; raise SystemExit if it is larger than MAX_IMAGE_BYTES."""
    path = IMAGES / f"{name}.png"
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    size = path.stat().st_size
    if size > MAX_IMAGE_BYTES:
        raise SystemExit(f"{path} has {size:,} bytes; at most {MAX_IMAGE_BYTES:,} are allowed.")
    print(f"{path.relative_to(ROOT)}: {image.width} x {image.height} px, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
