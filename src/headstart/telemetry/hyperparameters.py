"""Hyperparameters of a run, as TensorBoard and other trackers show them."""

from __future__ import annotations

from headstart.config.run_config import RunConfig, SettingValue, plan_fields
from headstart.printable import printable

Hyperparameter = int | float | str


def hyperparameters(plan: RunConfig) -> dict[str, Hyperparameter]:
    """Return every field of the plan, so that all runs have the same hyperparameter keys."""
    values = {name: plan.value(name) for name in plan_fields()}
    # TensorBoard has numbers and text, and would show a bool as a number
    return {
        name: value if isinstance(value, (int, float)) and not isinstance(value, bool) else _text(value)
        for name, value in values.items()
    }


def _text(value: SettingValue) -> str:
    return printable(", ".join(str(part) for part in value) if isinstance(value, tuple) else str(value))
