"""The page of a study like that of the lab exercise, on real photos: what a reader does with it, in a real browser."""

from pathlib import Path

import pytest

from headstart.analysis.run_records import read_run
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.experiment import study
from headstart.report import page, series
from headstart.reporter import NullReporter
from headstart.storage.files import read_json
from tests.browser import NARROW, WIDE, faults, keep, needs_browser, visits

pytestmark = [pytest.mark.photos, pytest.mark.slow]


@needs_browser
def test_a_study_of_photos_is_read_in_a_browser(clothing: Path, cifar_weights: Path, tmp_path: Path) -> None:
    weights = f"file:{cifar_weights}"
    plan = {"image_size": 32, "batch_size": 32, "precision": "fp32", "threads": 1, "epochs": "2ep", "fractions": "0.15",
            "seeds": 2, "grid": "0.05,0.01", "survivors": 1, "search_seeds": 1, "target": 0.5}  # fmt: skip
    wanted = build_study_spec(
        str(clothing / "lab4.csv"), ("scratch", weights, f"{weights}+frozen"), {}, None, None, None, plan
    )
    folder = study.begin(wanted, tmp_path, NullReporter())
    verdict = study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    address = (folder / page.NAME).as_uri()
    assert (folder / page.NAME).stat().st_size <= page.MOST_BYTES
    frozen = read_run(next(folder.glob("*frozen-s1/plan.json")).parent)
    confused = read_json(folder / verdict["exported"]["run"] / "result.json")["test"]["confusion"]
    true, said = next((i, j) for i, row in enumerate(confused) for j, count in enumerate(row) if count and i != j)
    with visits() as seen:
        for width, scheme in ((WIDE, "light"), (NARROW, "dark")):
            tab = seen.open(address, width, scheme)
            keep(tab, f"photos-{width}-{scheme}")
            assert tab.locator("h1").inner_text() == verdict["sentences"]["headline"]
            shown = tab.locator("#curves figure:visible svg.wide")
            assert "epochs" in shown.get_attribute("aria-label")
            tab.locator("#curves label", has_text="seconds of training").click()
            assert "seconds of training" in shown.get_attribute("aria-label")
            tab.locator("#pick-run").select_option(label=series.read(frozen).name)
            tab.locator("#pick-layer").select_option(label="fc")
            assert tab.locator("#ridges polygon").count() == len(series.read(frozen).looks)
            assert (
                "gradients at the blocks were not probed, since all blocks are frozen"
                in tab.locator("#health").inner_text()
            )
            tab.locator(f'[data-cell="{true}-{said}"]').focus()
            tab.keyboard.press("Enter")  # as a click, without a mouse
            names = verdict["classes"][true], verdict["classes"][said]
            assert tab.locator("#cell h3").inner_text().startswith(f"{names[0]}, said to be {names[1]}: ")
            pictures = tab.locator("#cell img").evaluate_all("all => all.map(one => one.naturalWidth)")
            assert len(pictures) == confused[true][said] and all(width > 0 for width in pictures)
            keep(tab, f"photos-{width}-{scheme}-cell")
            assert faults(tab) == {}
        assert (seen.asked, seen.wrong) == ([address] * 2, [])
