"""The trackers, one row each, and the check of their names. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from headstart.errors import UsageError
from headstart.i18n import _


@dataclass(frozen=True)
class TrackerSpec:
    """One tracker.

    Args:
        title: Name of the product.
        factory: Import path of a function without arguments that returns a `tracker.Tracker`.
        module: Module that must be installed; "" for none.
        requirement: What pip installs for it.
    """

    title: str
    factory: str
    module: str = ""
    requirement: str = ""


TRACKERS = {
    "wandb": TrackerSpec("Weights & Biases", "headstart.telemetry.trackers.wandb:create", "wandb", "wandb"),
    "mlflow": TrackerSpec("MLflow", "headstart.telemetry.trackers.mlflow:create", "mlflow", "mlflow"),
}


def require_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of trackers, each once, if all are known and installed.

    Raises:
        UsageError: A tracker is unknown, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UsageError(
                _("There is no tracker {name!r}.", name=name),
                _("Choose one of {choices}.", choices=", ".join(TRACKERS)),
            )
        spec = TRACKERS[name]
        if spec.module and find_spec(spec.module) is None:
            raise UsageError(
                _("{title} is not installed.", title=spec.title),
                _("Install it with `pip install '{requirement}'`.", requirement=spec.requirement),
            )
    return tuple(dict.fromkeys(names))
