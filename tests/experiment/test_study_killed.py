"""A study cannot be lost: its process is killed again and again, and the verdict is that of a study left alone."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from headstart.cli.main import main
from headstart.runs import runner
from headstart.storage.files import read_json
from headstart.storage.journal import read_lines
from tests.runs.test_resume import CONTEXT, _door, wait
from tests.short_runs import metrics

WORDS = [
    "compare", "digits:0-3", "--arm", "scratch", "--arm", "scratch@adam", "--network", "timm:test_resnet",
    "--batch-size", "8", "--precision", "fp32", "--threads", "1", "--epochs", "66st", "--grid", "0.01,0.002",
    "--survivors", "1", "--search-seeds", "1", "--seeds", "3",
]  # fmt: skip


def _life(words: list[str], log: str, cache: str) -> None:
    """A fresh `headstart WORDS…` with a cache of its own: nothing is taken over from another study."""
    os.environ["HEADSTART_CACHE"] = cache
    _door(words, log)


def start(words: list[str], place: Path):
    process = CONTEXT.Process(target=_life, args=(words, str(place / "log"), str(place / "cache")))
    process.start()
    return process


def only_study(place: Path) -> Path | None:
    found = [path.parent for path in (place / "runs").glob("*/study.toml")]
    return found[0] if found else None


def written(place: Path) -> int:
    """Bytes in the records of all runs, looked at from outside: they grow while the study gets on."""
    return sum(path.stat().st_size for path in (place / "runs").rglob("metrics.jsonl"))


def without_clock(value: Any) -> Any:
    """A verdict less its seconds and the names of run folders, which hold the time."""
    if isinstance(value, dict):
        return {key: without_clock(inner) for key, inner in value.items() if key not in ("seconds", "run")}
    return [without_clock(inner) for inner in value] if isinstance(value, list) else value


def left(place: Path) -> dict[str, Any]:
    """What a finished study leaves: its verdict, and by place and plan the records of its runs, each only once."""
    folder = only_study(place)
    assert folder is not None
    plans = list(folder.rglob("plan.json"))
    keys = [(path.parents[1].name if path.parents[1] != folder else "", read_json(path)["hash"]) for path in plans]
    assert max(Counter(keys).values()) == 1
    for path in plans:
        steps = [line["step"] for line in read_lines(path.parent / "metrics.jsonl") if line["kind"] == "step"]
        assert steps == list(range(1, len(steps) + 1)), path
    return {
        "verdict": without_clock(read_json(folder / "verdict.json")),
        "search": read_json(folder / "search.json"),
        "runs": {key: metrics(path.parent) for key, path in zip(keys, plans, strict=True)},
    }


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("unbroken")
    process = start([*WORDS, "--runs", str(place / "runs")], place)
    assert wait(process, place / "log", 500) == 0
    return left(place)


def check_killed(place: Path, kills: int, seed: int, expected: dict[str, Any]) -> None:
    """Kill so many lives, each a random moment after it got on a random bit; then let the study end."""
    draw = random.Random(seed)
    (place / "runs").mkdir()
    process, count = start([*WORDS, "--runs", str(place / "runs")], place), 0
    while count < kills:
        goal = written(place) + draw.random() * 20_000  # about a run's record
        while process.is_alive() and (only_study(place) is None or written(place) <= goal):
            time.sleep(0.001)
        time.sleep(draw.random() * 0.3)  # anywhere: in a step, a save, between two runs
        assert process.is_alive(), (place / "log").read_text()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        count += 1
        process = start(["resume", str(only_study(place))], place)
    assert wait(process, place / "log", 500) == 0, (place / "log").read_text()
    assert left(place) == expected
    folder = only_study(place)
    assert list(folder.rglob("*.tmp-*")) == []
    made = {path.parent for path in folder.rglob("plan.json")}
    assert {path for path in folder.rglob("*_*-*-s*") if path.is_dir()} == made  # no run that was only begun


def test_a_study_killed_twice_ends_as_if_it_had_not_been(tmp_path: Path, unbroken) -> None:
    check_killed(tmp_path, 2, 1, unbroken)


@pytest.mark.slow
def test_a_study_killed_ten_times_ends_as_if_it_had_not_been(tmp_path: Path, unbroken) -> None:
    check_killed(tmp_path, 10, 2, unbroken)


def test_a_run_that_was_killed_before_its_plan_was_written_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    """Killed between making a run's folder and writing its plan: what is there is no run, and goes."""
    words = [*WORDS, "--search", "off", "--engine", "local", "--runs", str(tmp_path)]
    words[words.index("--seeds") + 1] = "1"
    real = runner.record.create_run

    def killed(parent: Path, *rest: Any) -> Path:
        (real(parent, *rest) / ".plan.json.tmp-1-here").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(runner.record, "create_run", killed)
        main(words)
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.rglob("*.tmp-*"))) == 1
    main(["resume", str(folder)])
    assert list(folder.rglob("*.tmp-*")) == [] and len(list(folder.glob("*-s0"))) == 2
