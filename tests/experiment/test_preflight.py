"""Classes and evaluation images of a study that the weights of its arms were trained on."""

from pathlib import Path

import pytest
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, resnet18

from headstart.analysis import notes, wording
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.config.study_file import validate_study
from headstart.data.class_names import shared_classes
from headstart.errors import DataError, UsageError
from headstart.experiment import preflight
from headstart.experiment.study_kind import COMPARISON
from headstart.hardware import calibration
from headstart.reporter import NullReporter
from headstart.runs import runner
from headstart.storage import files
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.study import InputFingerprints, VariantInputs, VariantsFile
from headstart.storage.schemas.verdict import EvaluationImages, Exposure
from headstart.training import setup
from headstart.weights import starts
from tests.cli.test_train_errors import write_images
from tests.data.test_duplicates import write_photos
from tests.data.test_splits import parts
from tests.messages import fields_of, values_of
from tests.verdicts import arm_result, verdict

CATEGORIES = ResNet18_Weights.DEFAULT.meta["categories"]
PLAN = {"image_size": 16, "stem": "small", "cache_resolution": 1.0, "epochs": "1ep", "threads": 1, "precision": "fp32"}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("golden retriever", True),
        ("Golden_Retriever", True),
        ("retriever", True),  # the end of a longer name
        ("golden", False),
        ("tench", True),
        ("dress", False),
        ("T-shirt", True),  # of "jersey, T-shirt" torchvision keeps "jersey"
        ("", False),
    ],
)
def test_classes_are_matched_by_name_or_last_words(name: str, known: bool) -> None:
    assert bool(shared_classes([name], [*CATEGORIES, "t-shirt"])) == known


def test_numeric_class_names_do_not_match() -> None:
    assert shared_classes(["0", "12"], ["0", "12", "digit 0"]) == ()


def test_all_imagenet_classes_match_themselves() -> None:
    assert shared_classes(CATEGORIES, CATEGORIES) == tuple(CATEGORIES)


def test_classes_of_a_weights_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(resnet18(num_classes=3).state_dict(), path, {"labels": "cat, dog,sea lion"})
    start = starts.resolve_start(
        f"file:{path}", network="resnet18", shortcut=True, norm="batch", stem="imagenet", num_classes=2
    )
    assert start.classes == ("cat", "dog", "sea lion")
    random_start = starts.resolve_start(
        f"stats:file:{path}", network="resnet18", shortcut=True, norm="batch", stem="imagenet", num_classes=2
    )
    assert random_start.classes == ()  # random weights are not trained


def test_evaluation_images_that_a_source_was_trained_on_are_counted(tmp_path: Path) -> None:
    plan = resolve_settings({"source": "digits:5-7", **PLAN}).plan
    spec = validate_study({"arms": ("scratch", "source:digits:0-6", "source:digits:0-4"), "search": "off"}, plan)
    spec = type(spec)(spec.protocol, calibration.resolve_machine(spec.plan))
    arms, sources = preflight.resolve_arms(spec, NullReporter())
    preflight.write_arm_inputs(tmp_path, spec, arms, sources)
    inputs = VariantsFile.read(tmp_path / "variants.json").variants
    arm, source = arms[0], sources["digits:0-6"]
    trained = {source.dataset.content_hashes[int(i)] for i in source.split.train}
    evaluated = [arm.dataset.content_hashes[int(i)] for i in arm.split.test]
    classes = [arm.dataset.images.classes[arm.dataset.images.labels[int(i)]] for i in arm.split.test]
    known = inputs["source:digits:0-6"].known_images
    assert known == sum(content in trained for content in evaluated)
    assert 0.5 * (classes.count("5") + classes.count("6")) < known < classes.count("5") + classes.count("6")
    assert inputs["source:digits:0-4"].known_images == inputs["scratch"].known_images == 0


def test_evaluation_images_that_a_run_was_trained_on_are_counted_while_they_are_unchanged(tmp_path: Path) -> None:
    write_images(tmp_path / "seen", cat=12, dog=12)
    first = resolve_settings({"source": str(tmp_path / "seen"), **PLAN}).plan
    trained = runner.run_new(first, tmp_path / "runs", NullReporter())

    def known_images(plan: RunConfig) -> list[int | None]:
        spec = validate_study({"arms": ("scratch", f"run:{trained}"), "search": "off"}, plan)
        spec = type(spec)(spec.protocol, calibration.resolve_machine(spec.plan))
        arms, sources = preflight.resolve_arms(spec, NullReporter())
        preflight.write_arm_inputs(tmp_path, spec, arms, sources)
        inputs = VariantsFile.read(tmp_path / "variants.json").variants
        return [of_variant.known_images for of_variant in inputs.values()]

    run = setup.resolve_run(calibration.resolve_machine(first), NullReporter())
    contents = run.dataset.content_hashes
    learned = {contents[int(i)] for i in run.split.train}
    other = first.changed(test_seed=5)
    evaluated = setup.resolve_run(
        COMPARISON.with_evaluation_split(calibration.resolve_machine(other)), NullReporter()
    ).split.test
    expected = sum(contents[int(i)] in learned for i in evaluated)
    assert known_images(other) == [0, expected] and expected > 0
    (tmp_path / "seen").rename(tmp_path / "moved")
    assert known_images(other.changed(source=str(tmp_path / "moved"))) == [0, None]


def resolved_arms(root: Path, vary: dict[str, tuple[str, ...]]) -> list[setup.ResolvedRun]:
    plan = resolve_settings({"source": str(root), **PLAN}).plan
    spec = validate_study({"arms": ("scratch",), "vary": vary, "search": "off"}, plan)
    spec = type(spec)(spec.protocol, calibration.resolve_machine(spec.plan))
    return preflight.resolve_arms(spec, NullReporter())[0]


def test_arms_of_different_image_sizes_have_the_same_splits(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    first, second = resolved_arms(tmp_path / "photos", {"image_size": ("16", "32")})
    assert first.plan.facts.near_duplicates_sha256 == second.plan.facts.near_duplicates_sha256 != ""
    assert parts(first.split) == parts(second.split)


def test_arms_with_different_splits_are_refused_before_the_first_step(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    with pytest.raises(UsageError) as error:
        resolved_arms(tmp_path / "photos", {"near_duplicates": ("together", "ignore")})
    assert set(fields_of(error.value.message)) == {"first", "second"}
    assert "--near-duplicates" in str(error.value.hint)


def test_declared_val_used_for_evaluation_is_called_val() -> None:
    names = {declared: wording.split_names(declared) for declared in ("train+val", "none", "train+test")}
    selection, evaluation = names.pop("train+val")
    assert evaluation == "val" and "train" in selection.split()
    assert names == {"none": ("val", "test"), "train+test": ("val", "test")}


def test_known_classes_and_images_are_reported_once_for_all_arms_with_the_same_weights() -> None:
    known_data, none = Exposure(classes=["cat", "dog"], images=1200), Exposure(classes=[], images=0)
    exposure = {"scratch": none, "file:w+lp-ft@adam": known_data, "file:w,lr=0.1": known_data}
    evaluation = EvaluationImages(split="test", images=2000, units=2000, declared="none")
    lines = notes.exposure_notes(verdict(list(map(arm_result, exposure)), exposure=exposure, evaluation=evaluation))
    assert len(lines) == 2 and values_of(lines[0]) == ["w", "cat", "dog"]
    assert fields_of(lines[1]) == {"start": "w", "trained": 1200, "count": 2000, "text": "test"}


@pytest.mark.parametrize(
    ("changes", "names_the_changes"),
    [
        ({"near_duplicates": "other"}, False),
        ({"images": "other"}, True),
        ({"images": "other", "near_duplicates": "other"}, True),
    ],
)
def test_other_near_duplicates_are_not_called_other_data(
    changes: dict[str, str], names_the_changes: bool, tmp_path: Path
) -> None:
    first = InputFingerprints(images="images", near_duplicates="pairs", weights="weights")
    inputs = VariantInputs(
        **first.model_dump(),
        arm=ArmSpec(start="scratch", label="scratch"),
        declared="",
        overlaps=[],
        known_classes=[],
        known_images=None,
    )
    files.write_json(tmp_path / "variants.json", VariantsFile(variants={"scratch": inputs}).to_json())
    preflight.require_unchanged(tmp_path, "scratch", first)
    with pytest.raises(DataError) as error:
        preflight.require_unchanged(tmp_path, "scratch", first.model_copy(update=changes))
    assert ("changes" in fields_of(error.value.message)) == names_the_changes
