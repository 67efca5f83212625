"""Verdicts made by hand, for tests. Every function has defaults for the fields that a test does not name."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, TypeVar

from headstart.storage.schemas.contrast import Contrast, Outcome
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.schema import Schema
from headstart.storage.schemas.verdict import (
    ArmResult,
    EvaluationImages,
    ExportedRun,
    SeedResult,
    Sentences,
    StageCost,
    StudyCost,
    TimesToTarget,
    TimeToTarget,
    Verdict,
)
from tests.handmade import arm_spec

Value = TypeVar("Value", bound=Schema)


def changed(value: Value, **changes: Any) -> Value:
    """Return the value with some fields changed."""
    return type(value)(**{**dict(value), **changes})


def seed_result(seed: int = 0, **changes: Any) -> SeedResult:
    fields = {"run": f"run-{seed}", "state": RunState.FINISHED, "lr": 0.01, "best_epoch": 1, "val": 0.5, "test": 0.5,
              "to_target": None, "epochs": 10, "images": 1000, "seconds": 60.0}  # fmt: skip
    return SeedResult(**{**fields, "seed": seed, **changes})


def times_to_target(epochs: TimeToTarget) -> TimesToTarget:
    """Return the same time in every unit."""
    return TimesToTarget(epochs=epochs, images=epochs, seconds=epochs)


def arm_result(name: str, seeds: Sequence[SeedResult] = (), **changes: Any) -> ArmResult:
    """Return an arm with these runs, by default one."""
    runs = list(seeds) or [seed_result()]
    val, test = fmean(run.val for run in runs), fmean(run.test for run in runs)
    fields = {"val": val, "test": test, "test_sd": None, "optimism": val - test, "diverged": [], "to_target": None,
              "seeds": runs}  # fmt: skip
    return ArmResult(**{**fields, "name": name, "spec": arm_spec(name), **changes})


def contrast(first: str = "imagenet", second: str = "scratch", **changes: Any) -> Contrast:
    """Return an undecided contrast of three seeds."""
    fields = {"primary": True, "outcome": Outcome.UNDECIDED, "by_less_than_margin": False, "mean": 0.0, "low": -0.1,
              "high": 0.1, "level": 0.95, "p": 1.0, "p_adjusted": 1.0, "p_sign_flip": 1.0,
              "half_width_infinite_seeds": 0.05, "degrees_of_freedom": 2.0, "wins": 1, "losses": 1, "n": 3, "m": 100,
              "g": 100, "sample_sizes": []}  # fmt: skip
    return Contrast(**{**fields, "first": first, "second": second, **changes})


def study_cost(main: StageCost | None = None) -> StudyCost:
    """Return the cost of a study without a search."""
    none = StageCost(runs=0, images=0, seconds=0.0)
    return StudyCost(search=none, main=main or none, source=none)


def verdict(arms: Sequence[ArmResult] = (), **changes: Any) -> Verdict:
    """Return an undecided verdict on these arms, of which the first was selected and the last is the reference."""
    arms = list(arms) or [arm_result("imagenet"), arm_result("scratch")]
    first, last = arms[0].name, arms[-1].name
    fields = {
        "budget": "1ep", "fraction": 1.0, "counts": {"train": 100, "val": 10, "test": 100},
        "evaluation": EvaluationImages(split="test", images=100, units=100, declared="none"), "n": len(arms[0].seeds),
        "one_split": False, "arms": arms, "primary": (first, last), "question": (first, last),
        "not_worse": [arm.name for arm in arms], "selected": first,
        "grid_rows": [], "exported": ExportedRun(run="run-0", seed=0), "contrasts": [], "interim": [], "winner": None,
        "study": "hash", "metric": "accuracy", "margin": 0.01, "target": 0.0, "source": "photos", "fingerprint": "",
        "network": "resnet18", "classes": ["a", "b"], "conditions": [], "labels": None, "search": [],
        "exposure": {}, "overlaps": [], "cost": study_cost(),
        "sentences": Sentences(headline="Undecided.", evidence="None.", limits="None."),
    }  # fmt: skip
    return Verdict(**{**fields, **changes})
