"""What the runs of a document used: networks, initial weights, optimizers and methods that have a source to cite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headstart.config.registry.starts import DEFAULT_SCHEME, SCHEMES
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import inner_start, split_start, start_row
from headstart.storage.schemas.verdict import Verdict


@dataclass(frozen=True)
class Usage:
    """What the runs of a document used.

    Args:
        plans: Plans of the runs, in all variants.
        starts: Initial weights of the arms, as declared.
        verdict: The verdict on the runs, if there is one.
        searched: The learning rates were searched by successive halving.
        single_interval: The document has the interval of one run's accuracy.
    """

    plans: Sequence[RunConfig]
    starts: Sequence[str]
    verdict: Verdict | None
    searched: bool
    single_interval: bool

    def any_plan(self, condition: Callable[[RunConfig], bool]) -> bool:
        """Return True if the condition holds for a plan."""
        return any(condition(plan) for plan in self.plans)

    def optimizer(self, name: str) -> bool:
        """Return True if a run used this optimizer."""
        return self.any_plan(lambda plan: plan.recipe.optimizer == name)

    def schedule(self, name: str) -> bool:
        """Return True if a run used this schedule."""
        return self.any_plan(lambda plan: plan.recipe.schedule == name)

    def scheme(self, name: str) -> bool:
        """Return True if the weights of a run were drawn by this scheme."""
        return self.any_plan(lambda plan: scheme_of(plan) == name)

    def start(self, kind: str) -> bool:
        """Return True if the initial weights of a run are of this kind, or were derived from it."""
        return any(kind in (split_start(start)[0], split_start(inner_start(start))[0]) for start in self.starts)

    @property
    def contrasts(self) -> int:
        """Number of contrasts with an interval."""
        return len(self.verdict.contrasts) if self.verdict else 0


def is_builtin_resnet(plan: RunConfig) -> bool:
    """Return True if the network is one of the ResNets of headstart."""
    return plan.network.network.startswith("resnet")


def scheme_of(plan: RunConfig) -> str:
    """Return the name of the scheme that drew all initial weights; "" for others, and where the network draws them."""
    row, scheme = start_row(plan.arm.start), split_start(plan.arm.start)[1]
    if not row.from_scratch:
        return ""
    return scheme if scheme in SCHEMES else DEFAULT_SCHEME if is_builtin_resnet(plan) else ""


def uses_timm(plan: RunConfig) -> bool:
    """Return True if the network, its weights or the optimizer are those of timm."""
    parts = (plan.network.network, plan.arm.start, inner_start(plan.arm.start))
    return any(split_start(part)[0] == "timm" for part in parts) or plan.recipe.optimizer == "lion"


def uses_digits(plan: RunConfig) -> bool:
    """Return True if the images are the built-in digits."""
    return split_start(plan.data.source)[0] == "digits"
