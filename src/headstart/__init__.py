"""Compare pretrained weights with training from scratch in an experiment."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.api import compare, diagnose, evaluate, predict, resume, run_study, train
    from headstart.engines.registry import EngineChoice
    from headstart.errors import (
        DataError,
        DivergedError,
        HeadstartError,
        InterruptedRunError,
        ModelFileError,
        ResourceError,
        UsageError,
    )
    from headstart.inference.predictor import Prediction, Predictor
    from headstart.results.run import Run
    from headstart.results.study import Study

__version__ = version("headstart")
__all__ = [
    "DataError",
    "DivergedError",
    "EngineChoice",
    "HeadstartError",
    "InterruptedRunError",
    "ModelFileError",
    "Prediction",
    "Predictor",
    "ResourceError",
    "Run",
    "Study",
    "UsageError",
    "compare",
    "diagnose",
    "evaluate",
    "predict",
    "resume",
    "run_study",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import public names on first access, so that `headstart --help` needs no torch; load plugins before."""
    if name in __all__:
        if not name.endswith("Error"):
            import_module("headstart.errors").require_supported_platform()
            import_module("headstart.config.plugins").load_plugins()
        return getattr(import_module("headstart.errors" if name.endswith("Error") else "headstart.api"), name)
    raise AttributeError(f"module 'headstart' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
