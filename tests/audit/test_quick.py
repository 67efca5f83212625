"""The quick part of the audit, which `train`, `compare` and `ablate` print."""

import json
import re
import shlex
from pathlib import Path

import pytest

from headstart.audit.quick import MAX_LINES, quick_lines
from headstart.audit.registry import AUDIT_CHECKS
from headstart.cli.main import main
from headstart.config.study_request import build_study_spec
from headstart.data.dataset import load_dataset
from headstart.data.sources import read_data
from headstart.experiment import study
from headstart.reporter import NullReporter
from tests.audit.pictures import SIDE, audited, large_enough, picture, plan_of, two_classes
from tests.messages import SentenceReporter

FLAGS = ["--image-size", str(SIDE), "--threads", "1"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_classes(tmp_path_factory.mktemp("photos"))


def loaded(folder: Path, **settings: object) -> list[str]:
    plan = plan_of(folder, **settings)
    dataset, split = load_dataset(plan, read_data(plan.data), NullReporter())
    return list(quick_lines(plan, dataset, split))


def test_quick_part_says_what_is_severe(tmp_path: Path) -> None:
    two_classes(tmp_path, count=40, owl=["a.png", "b.png", "c.png"])
    first = sorted((tmp_path / "cat").iterdir())[0]
    (tmp_path / "cat" / "copy.png").write_bytes(first.read_bytes())
    picture(5, 16).save(tmp_path / "dog" / "small.png")
    result, _ = audited(tmp_path)
    quick = {code for code, check in AUDIT_CHECKS.items() if check.quick}
    worse = [row.sentence for row in result.rows if row.check in quick and row.status.value in ("warn", "fail")]
    lines = loaded(tmp_path)
    assert len(worse) >= MAX_LINES and len(lines) == MAX_LINES
    assert str(tmp_path) in lines[-1]
    assert all(any(line.endswith(sentence) for sentence in worse) for line in lines[:-1])


def test_quick_part_opens_no_file_and_is_silent_on_clean_data(tmp_path: Path, monkeypatch) -> None:
    plan = plan_of(large_enough(tmp_path))
    dataset, split = load_dataset(plan, read_data(plan.data), NullReporter())
    for file in tmp_path.rglob("*.png"):
        file.unlink()
    monkeypatch.setattr("headstart.data.pixel_store.PixelStore.__getitem__", None)
    assert quick_lines(plan, dataset, split) == []


def test_quick_part_names_a_command_that_reads_the_same_images(tmp_path: Path, capsys) -> None:
    two_classes(tmp_path, **{"an owl": ["a.png"]})
    settings = {"min_per_class": 2, "classes": ["cat", "dog", "an owl"], "seed": 4}
    command = re.search("`headstart (check .+)` shows more", loaded(tmp_path, **settings)[-1])
    assert command is not None
    main([*shlex.split(command[1]), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["image_size"], printed["seed"], list(printed["classes"])) == (SIDE, 4, ["cat", "dog"])


TINY = [*FLAGS, "--network", "timm:test_resnet", "--precision", "fp32"]


@pytest.mark.parametrize(
    "words",
    [
        ["train", *TINY, "--dry-run"],
        ["compare", *TINY, "--arm", "scratch", "--arm", "scratch@adam", "--seeds", "2", "--epochs", "1", "--search",
         "off", "--dry-run"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_the_quick_part_is_printed_once(words: list[str], photos: Path, capsys) -> None:
    main([words[0], str(photos), *words[1:]])
    error = capsys.readouterr().err
    assert error.count("headstart check") == 1
    assert 2 <= sum("Check of the data:" in line for line in error.splitlines()) + 1 <= MAX_LINES


def test_a_study_says_the_quick_part_once_as_it_begins(photos: Path, tmp_path: Path) -> None:
    settings = {"image_size": SIDE, "threads": 1, "precision": "fp32", "epochs": 1, "network": "timm:test_resnet"}
    spec = build_study_spec(str(photos), ("scratch", "scratch@adam"), None, None, None, None, settings)
    reporter = SentenceReporter()
    study.begin(spec, tmp_path, reporter)
    assert sum("headstart check" in sentence for sentence in reporter.sentences) == 1


def test_a_check_that_raises_does_not_end_a_training(photos: Path, monkeypatch) -> None:
    expected = loaded(photos)

    def check(data: object) -> None:
        raise RuntimeError("broken check")

    monkeypatch.setattr("headstart.audit.class_checks.balance", check)
    assert len(expected) > 1 and loaded(photos) == expected
