"""Compare pretrained weights with training from scratch in an experiment."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headstart.api.audit import check
    from headstart.api.models import evaluate, inspect, predict
    from headstart.api.records import (
        diagnose,
        import_log,
        rebuild,
        tensorboard,
        verify,
        write_documents,
        write_figures,
        write_report,
    )
    from headstart.api.studies import ablate, compare, plan, pool, require_winner
    from headstart.api.training import resume, train
    from headstart.audit.finding import AuditResult
    from headstart.classifier import Classifier
    from headstart.config.plan_values import AblationSettings, CheckSettings, StudySettings, TrainSettings
    from headstart.diagnostics.finding import Finding
    from headstart.engines.registry import EngineChoice
    from headstart.errors import (
        DataError,
        DivergedError,
        HeadstartError,
        InterruptedRunError,
        ModelFileError,
        NoWinnerError,
        ResourceError,
        UsageError,
    )
    from headstart.experiment.ablation_summary import AblationSummary
    from headstart.experiment.planning import Forecast
    from headstart.inference.evaluate import ModelEvaluation
    from headstart.inference.inspection import Inspection
    from headstart.inference.predictor import Prediction, Predictor
    from headstart.inference.preprocessing import Preprocessing
    from headstart.results.chart import Chart
    from headstart.results.diagnosis import Diagnosis
    from headstart.results.run import Run
    from headstart.results.study import Study, StudyVerdict
    from headstart.verification.outcome import Verification

__version__ = version("headstart")
_MODULES = {  # of the public names
    "AblationSettings": "config.plan_values",
    "AblationSummary": "experiment.ablation_summary",
    "AuditResult": "audit.finding",
    "Chart": "results.chart",
    "CheckSettings": "config.plan_values",
    "Classifier": "classifier",
    "DataError": "errors",
    "Diagnosis": "results.diagnosis",
    "DivergedError": "errors",
    "EngineChoice": "engines.registry",
    "Finding": "diagnostics.finding",
    "Forecast": "experiment.planning",
    "HeadstartError": "errors",
    "Inspection": "inference.inspection",
    "InterruptedRunError": "errors",
    "ModelEvaluation": "inference.evaluate",
    "ModelFileError": "errors",
    "NoWinnerError": "errors",
    "Prediction": "inference.predictor",
    "Predictor": "inference.predictor",
    "Preprocessing": "inference.preprocessing",
    "ResourceError": "errors",
    "Run": "results.run",
    "Study": "results.study",
    "StudySettings": "config.plan_values",
    "StudyVerdict": "results.study",
    "TrainSettings": "config.plan_values",
    "UsageError": "errors",
    "Verification": "verification.outcome",
    "ablate": "api.studies",
    "check": "api.audit",
    "compare": "api.studies",
    "diagnose": "api.records",
    "evaluate": "api.models",
    "import_log": "api.records",
    "inspect": "api.models",
    "plan": "api.studies",
    "pool": "api.studies",
    "predict": "api.models",
    "rebuild": "api.records",
    "require_winner": "api.studies",
    "resume": "api.training",
    "tensorboard": "api.records",
    "train": "api.training",
    "verify": "api.records",
    "write_documents": "api.records",
    "write_figures": "api.records",
    "write_report": "api.records",
}
__all__ = [
    "AblationSettings",
    "AblationSummary",
    "AuditResult",
    "Chart",
    "CheckSettings",
    "Classifier",
    "DataError",
    "Diagnosis",
    "DivergedError",
    "EngineChoice",
    "Finding",
    "Forecast",
    "HeadstartError",
    "Inspection",
    "InterruptedRunError",
    "ModelEvaluation",
    "ModelFileError",
    "NoWinnerError",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "ResourceError",
    "Run",
    "Study",
    "StudySettings",
    "StudyVerdict",
    "TrainSettings",
    "UsageError",
    "Verification",
    "ablate",
    "check",
    "compare",
    "diagnose",
    "evaluate",
    "import_log",
    "inspect",
    "plan",
    "pool",
    "predict",
    "rebuild",
    "require_winner",
    "resume",
    "tensorboard",
    "train",
    "verify",
    "write_documents",
    "write_figures",
    "write_report",
]


if not TYPE_CHECKING:  # type checkers know the names above, and report all others

    def __getattr__(name: str) -> object:
        """Import public names on first access, so that `headstart --help` needs no torch; load plugins before."""
        if name in _MODULES:
            module = _MODULES[name]
            if module != "errors":
                import_module("headstart.errors").require_supported_platform()
                import_module("headstart.config.plugins").load_plugins()
            return getattr(import_module(f"headstart.{module}"), name)
        raise AttributeError(f"module 'headstart' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
