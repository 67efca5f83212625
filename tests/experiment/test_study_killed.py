"""A study whose process is killed repeatedly and resumed has the verdict of an uninterrupted study."""

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from headstart.cli.main import main
from headstart.runs import runner
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import StepLine
from tests.files import read_json
from tests.runs.test_resume import CONTEXT, run_command, wait
from tests.short_runs import metrics

WORDS = [
    "compare", "digits:0-3", "--arm", "scratch", "--arm", "scratch@adam", "--network", "timm:test_resnet",
    "--batch-size", "8", "--precision", "fp32", "--threads", "1", "--epochs", "66st", "--grid", "0.01,0.002",
    "--survivors", "1", "--search-seeds", "1", "--seeds", "3",
]  # fmt: skip


def _run_command(words: list[str], log: str, cache: str) -> None:
    """Run `headstart WORDS…` with a separate cache, so that no run of another study is reused."""
    os.environ["HEADSTART_CACHE"] = cache
    run_command(words, log)


def start(words: list[str], parent: Path):
    process = CONTEXT.Process(target=_run_command, args=(words, str(parent / "log"), str(parent / "cache")))
    process.start()
    return process


def only_study(parent: Path) -> Path | None:
    studies = [path.parent for path in (parent / "runs").glob("*/study.toml")]
    return studies[0] if studies else None


def record_bytes(parent: Path) -> int:
    """Return the bytes in the records of all runs, which grow while the study runs."""
    size = 0
    for folder, _, names in os.walk(parent / "runs"):  # it skips folders that the study removes meanwhile
        if "metrics.jsonl" in names:
            with suppress(FileNotFoundError):
                size += (Path(folder) / "metrics.jsonl").stat().st_size
    return size


def without_clock(value: Any) -> Any:
    """Return a verdict without seconds, and names and seals of run folders, which contain the time."""
    if isinstance(value, dict):
        return {key: without_clock(inner) for key, inner in value.items() if key not in ("seconds", "run", "seal")}
    return [without_clock(inner) for inner in value] if isinstance(value, list) else value


def study_output(parent: Path) -> dict[str, Any]:
    """Return the verdict of a finished study, and the records of its runs by folder and plan; each plan ran once."""
    folder = only_study(parent)
    assert folder is not None
    plans = list(folder.rglob("plan.json"))
    keys = [(path.parents[1].name if path.parents[1] != folder else "", read_json(path)["hash"]) for path in plans]
    assert max(Counter(keys).values()) == 1
    for path in plans:
        steps = [line.step for line in read_lines(path.parent / "metrics.jsonl") if isinstance(line, StepLine)]
        assert steps == list(range(1, len(steps) + 1)), path
    return {
        "verdict": without_clock(read_json(folder / "verdict.json")),
        "search": read_json(folder / "search.json"),
        "runs": {key: metrics(path.parent) for key, path in zip(keys, plans, strict=True)},
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    parent = tmp_path_factory.mktemp("uninterrupted")
    process = start([*WORDS, "--runs", str(parent / "runs")], parent)
    assert wait(process, parent / "log", 500) == 0
    return study_output(parent)


def check_killed(parent: Path, kills: int, seed: int, expected: dict[str, Any]) -> None:
    """Kill the process `kills` times, each after random progress and a random delay; then let the study finish."""
    rng = random.Random(seed)
    (parent / "runs").mkdir()
    process, count = start([*WORDS, "--runs", str(parent / "runs")], parent), 0
    while count < kills:
        goal = record_bytes(parent) + rng.random() * 20_000  # about the record of a run
        while process.is_alive() and (only_study(parent) is None or record_bytes(parent) <= goal):
            time.sleep(0.001)
        time.sleep(rng.random() * 0.3)  # during a step, a save, or between two runs
        assert process.is_alive(), (parent / "log").read_text()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        count += 1
        process = start(["resume", str(only_study(parent))], parent)
    assert wait(process, parent / "log", 500) == 0, (parent / "log").read_text()
    assert study_output(parent) == expected
    folder = only_study(parent)
    assert list(folder.rglob("*.tmp-*")) == []
    runs = {path.parent for path in folder.rglob("plan.json")}
    assert {path for path in folder.rglob("*_*-*-s*") if path.is_dir()} == runs  # no folder without a plan


def test_study_killed_twice_ends_like_an_uninterrupted_one(tmp_path: Path, uninterrupted) -> None:
    check_killed(tmp_path, 2, 1, uninterrupted)


@pytest.mark.slow
def test_study_killed_ten_times_ends_like_an_uninterrupted_one(tmp_path: Path, uninterrupted) -> None:
    check_killed(tmp_path, 10, 2, uninterrupted)


def test_run_folder_without_a_plan_is_removed_on_resume(tmp_path: Path, monkeypatch) -> None:
    """The process is killed after it made the run's folder, and before it wrote the plan."""
    words = [*WORDS, "--search", "off", "--engine", "local", "--runs", str(tmp_path)]
    words[words.index("--seeds") + 1], words[words.index("--epochs") + 1] = "1", "6st"
    create_run = runner.folders.create_run

    def killed(parent: Path, *rest: Any) -> Path:
        (create_run(parent, *rest) / ".plan.json.tmp-1-host").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(runner.folders, "create_run", killed)
        main(words)
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.rglob("*.tmp-*"))) == 1
    main(["resume", str(folder), "--engine", "local"])
    assert list(folder.rglob("*.tmp-*")) == [] and len(list(folder.glob("*-s0"))) == 2
