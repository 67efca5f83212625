"""What the arms of a study met: classes and images that the weights had seen before."""

from pathlib import Path

import pytest
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, resnet18

from headstart.analysis import sentences, wording
from headstart.analysis.verdict import grid_rows, rivals_of
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.config.study_config import ArmVariant
from headstart.config.study_file import declare
from headstart.experiment import preflight
from headstart.hardware import calibration
from headstart.reporter import NullReporter
from headstart.runs import runner
from headstart.storage.files import read_json
from headstart.training import setup
from headstart.weights import starts
from tests.cli.test_train_errors import photos

CATEGORIES = ResNet18_Weights.DEFAULT.meta["categories"]
PLAN = {"image_size": 16, "stem": "small", "cache_resolution": 1.0, "epochs": "1ep", "threads": 1, "precision": "fp32"}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("golden retriever", True),
        ("Golden_Retriever", True),
        ("retriever", True),  # the end of a longer name
        ("golden", False),
        ("tench", True),
        ("dress", False),
        ("T-shirt", True),  # of "jersey, T-shirt" torchvision keeps "jersey"
        ("", False),
    ],
)
def test_a_class_is_known_by_its_name_or_the_end_of_it(name: str, known: bool) -> None:
    assert bool(preflight.in_common([name], [*CATEGORIES, "t-shirt"])) == known


def test_numbers_are_no_names() -> None:
    assert preflight.in_common(["0", "12"], ["0", "12", "digit 0"]) == ()


def test_all_of_imagenet_knows_itself() -> None:
    assert preflight.in_common(CATEGORIES, CATEGORIES) == tuple(CATEGORIES)


def test_a_file_tells_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(resnet18(num_classes=3).state_dict(), path, {"labels": "cat, dog,sea lion"})
    found = starts.resolve(
        f"file:{path}", network="resnet18", shortcut=True, norm="batch", stem="imagenet", num_classes=2
    )
    assert found.classes == ("cat", "dog", "sea lion")
    drawn = starts.resolve(
        f"stats:file:{path}", network="resnet18", shortcut=True, norm="batch", stem="imagenet", num_classes=2
    )
    assert drawn.classes == ()  # random weights have seen nothing


def test_images_that_judge_and_that_a_source_was_trained_on_are_counted(tmp_path: Path) -> None:
    plan = resolve_settings({"source": "digits:5-7", **PLAN}).plan
    declared = declare({"arms": ("scratch", "source:digits:0-6", "source:digits:0-4"), "search": "off"}, plan)
    declared = type(declared)(declared.protocol, calibration.resolve_machine(declared.plan))
    checked, sources = preflight.check(declared, NullReporter())
    preflight.write_met(tmp_path, declared, checked, sources)
    met = read_json(tmp_path / "cells.json")
    arm, source = checked[0], sources["digits:0-6"]
    trained = {source.dataset.contents[int(i)] for i in source.split.train}
    judged = [arm.dataset.contents[int(i)] for i in arm.split.test]
    classes = [arm.dataset.listing.classes[arm.dataset.listing.labels[int(i)]] for i in arm.split.test]
    known = met["source:digits:0-6"]["known_images"]
    assert known == sum(content in trained for content in judged)
    assert 0.5 * (classes.count("5") + classes.count("6")) < known < classes.count("5") + classes.count("6")
    assert met["source:digits:0-4"]["known_images"] == met["scratch"]["known_images"] == 0


def test_images_that_a_run_was_trained_on_are_counted_while_they_are_what_they_were(tmp_path: Path) -> None:
    photos(tmp_path / "seen", cat=12, dog=12)
    first = resolve_settings({"source": str(tmp_path / "seen"), **PLAN}).plan
    trained = runner.start(first, tmp_path / "runs", NullReporter())

    def counted(plan: RunConfig) -> list[int | None]:
        declared = declare({"arms": ("scratch", f"run:{trained}"), "search": "off"}, plan)
        declared = type(declared)(declared.protocol, calibration.resolve_machine(declared.plan))
        checked, sources = preflight.check(declared, NullReporter())
        preflight.write_met(tmp_path, declared, checked, sources)
        return [met["known_images"] for met in read_json(tmp_path / "cells.json").values()]

    prepared = setup.complete(calibration.resolve_machine(first), NullReporter())
    contents = prepared.dataset.contents
    learned = {contents[int(i)] for i in prepared.split.train}
    other = first.changed("seeding", test_seed=5)
    judged = setup.complete(
        preflight.with_evaluation_on_val(calibration.resolve_machine(other)), NullReporter()
    ).split.test
    expected = sum(contents[int(i)] in learned for i in judged)
    assert counted(other) == [0, expected] and expected > 0
    (tmp_path / "seen").rename(tmp_path / "moved")
    assert counted(other.changed("data", source=str(tmp_path / "moved"))) == [0, None]


def test_a_declared_val_that_judges_is_called_val() -> None:
    told = {
        declared: wording.splits({"evaluation": {"declared": declared}})
        for declared in ("train+val", "none", "train+test")
    }
    usual = ("val", "test")
    assert told == {"train+val": ("a part of train", "val"), "none": usual, "train+test": usual}


@pytest.mark.parametrize(
    ("val", "best"),
    [
        ([0.5, 0.9, 0.6, 0.1, 0.2, 0.3], [("a", 0.01, None), ("b", 0.1, "high")]),
        ([0.5, 0.5, 0.5, 0.1, 0.2, 0.1], [("a", 0.01, None), ("b", 0.01, None)]),  # of equals the first declared
    ],
)
def test_the_best_of_a_row_of_learning_rates_at_its_end_is_flagged(val: list[float], best: list[tuple]) -> None:
    rates = ("0.01", "0.001", "0.1")
    cells = [ArmVariant(f"{row},lr={rate}", {"start": row, "lr": rate}) for row in "ab" for rate in rates]
    by_name = dict(zip([f"{row},lr={rate}" for row in "ab" for rate in ("0.001", "0.01", "0.1")], val, strict=True))
    found = [(row["variant"].split(",")[0], row["lr"], row["edge"]) for row in grid_rows(cells, by_name)]
    assert found == best
    chosen, rival = max((cell.name for cell in cells), key=lambda name: by_name[name]), f"b,lr={best[1][1]}"
    assert rivals_of(chosen, cells, by_name) == [rival]


def test_one_row_of_learning_rates_is_won_against_the_next_best() -> None:
    cells = [ArmVariant(f"a,lr={rate}", {"start": "a", "lr": rate}) for rate in ("0.1", "0.01", "0.001")]
    val = {"a,lr=0.1": 0.3, "a,lr=0.01": 0.9, "a,lr=0.001": 0.8}
    assert rivals_of("a,lr=0.01", cells, val) == ["a,lr=0.001"]
    assert rivals_of("a", [ArmVariant("a", {}), ArmVariant("b", {})], {"a": 1, "b": 0}) == []


def test_what_weights_had_seen_is_said_once_for_all_their_arms() -> None:
    met = {"classes": ["cat", "dog"], "images": 1200}
    known = {"scratch": {"classes": [], "images": 0}, "file:w+lp-ft@adam": met, "file:w,lr=0.1": met}
    said = sentences.known({"known": known, "evaluation": {"images": 2000, "declared": "none"}})
    assert len(said) == 2 and "W was trained on classes of these names: cat, dog." in said[0]
    assert said[1].startswith("W was trained on 1,200 of the 2,000 test images")
