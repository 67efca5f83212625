"""Test the page of a study that compares optimizers and learning rates on real images, in a real browser."""

from pathlib import Path

import pytest

from headstart.analysis.run_records import read_run
from headstart.config.study_request import build_study_spec
from headstart.diagnostics.checks import missing_probe_reason
from headstart.engines.local import LocalEngine
from headstart.experiment import study
from headstart.report import curves, page, series
from headstart.reporter import NullReporter
from tests.browser import NARROW, WIDE, accessibility_faults, needs_browser, open_browser, save_screenshot
from tests.handmade import read_table
from tests.messages import fields_of

pytestmark = [pytest.mark.photos, pytest.mark.slow]


@needs_browser
def test_page_of_a_photo_study_works_in_a_browser(clothing: Path, cifar_weights: Path, tmp_path: Path) -> None:
    weights = f"file:{cifar_weights}"
    plan = {"image_size": 32, "batch_size": 32, "precision": "fp32", "threads": 1, "epochs": "2ep", "fractions": "0.15",
            "seeds": 2, "grid": "0.05,0.01", "survivors": 1, "search_seeds": 1, "target": 0.5}  # fmt: skip
    spec = build_study_spec(
        str(clothing / "lab4.csv"), ("scratch", weights, f"{weights}+frozen"), {}, None, None, None, plan
    )
    folder = study.begin(spec, tmp_path, NullReporter())
    verdict = study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    address = (folder / page.PAGE_NAME).as_uri()
    assert (folder / page.PAGE_NAME).stat().st_size <= page.MAX_BYTES
    frozen = read_run(next(folder.glob("*frozen-s1/plan.json")).parent)
    first_frozen = series.load_run(read_run(next(folder.glob("*frozen-s0/plan.json")).parent))
    missing = missing_probe_reason(first_frozen.history)
    assert fields_of(missing)["layer"] == "fc"  # the only layer with a gradient
    confused = read_table(folder / verdict.exported.run)
    true, predicted = next((i, j) for i, row in enumerate(confused) for j, count in enumerate(row) if count and i != j)
    with open_browser() as visits:
        for width, scheme in ((WIDE, "light"), (NARROW, "dark")):
            tab = visits.open(address, width, scheme)
            save_screenshot(tab, f"photos-{width}-{scheme}")
            assert tab.locator("h1").inner_text() == verdict.sentences.headline
            shown = tab.locator("#curves figure:visible svg.wide")
            assert curves.UNITS["epochs"] in shown.get_attribute("aria-label")
            tab.locator(f'label[for="curves-{list(curves.UNITS).index("seconds")}"]').click()
            assert curves.UNITS["seconds"] in shown.get_attribute("aria-label")
            tab.locator("#pick-run").select_option(label=series.load_run(frozen).name)
            tab.locator("#pick-layer").select_option(label="fc")
            assert tab.locator("#ridges polygon").count() == len(series.load_run(frozen).snapshots)
            assert any(missing in note for note in tab.locator("#health p.note").all_inner_texts())
            tab.locator(f'[data-cell="{true}-{predicted}"]').focus()
            tab.keyboard.press("Enter")  # the keyboard equivalent of a click
            names = verdict.classes[true], verdict.classes[predicted]
            title = tab.locator("#cell h3").inner_text()
            assert title.startswith(names[0]) and names[1] in title.removeprefix(names[0])
            pictures = tab.locator("#cell img").evaluate_all("images => images.map(image => image.naturalWidth)")
            assert len(pictures) == confused[true][predicted] and all(width > 0 for width in pictures)
            save_screenshot(tab, f"photos-{width}-{scheme}-cell")
            assert accessibility_faults(tab) == {}
        assert (visits.requests, visits.errors) == ([address] * 2, [])
