"""The runs of a study have what is decided once for the whole study."""

from pathlib import Path

from headstart.config.resolve import resolve_settings
from headstart.config.study_file import StudySpec, validate_study
from headstart.experiment import preflight
from headstart.experiment.lr_search import Trial
from headstart.experiment.planned_runs import PlannedRuns
from headstart.hardware import calibration
from headstart.reporter import NullReporter
from headstart.training import augmentation_defaults
from tests.cli.test_train_errors import write_images
from tests.experiment.test_preflight import PLAN


def test_crop_is_the_same_in_all_arms_fractions_and_seeds(tmp_path: Path, monkeypatch) -> None:
    write_images(tmp_path / "p", cat=20, dog=20)
    monkeypatch.setattr(augmentation_defaults, "MANY_IMAGES", 20)  # the fraction has fewer images
    monkeypatch.setattr(augmentation_defaults, "CROP_OF_FEW", 0.5)
    draft = resolve_settings({"source": str(tmp_path / "p"), **PLAN}).plan
    declared = {"arms": ("scratch", "scratch:xavier"), "fractions": (0.3, 1.0), "seeds": 3}
    spec = validate_study(declared, draft)
    spec = StudySpec(spec.protocol, calibration.resolve_machine(spec.plan))
    planned = PlannedRuns(spec)
    for variant, run in zip(spec.variants, preflight.resolve_arms(spec, NullReporter())[0], strict=True):
        planned.add_variant(variant.name, run.plan, run.dataset)
    trial = Trial(spec.variants[0].name, rate=0.1, seed=7, rung=True)
    requests = [*planned.comparison_requests([0, 1, 2]), *planned.trial_requests("1ep", [trial])]
    assert len({request.plan.facts.split_counts.train for request in requests}) == 2
    assert {request.plan.recipe.crop for request in requests} == {augmentation_defaults.CROP_OF_MANY}
    assert not any(request.plan.unresolved_fields for request in requests)
