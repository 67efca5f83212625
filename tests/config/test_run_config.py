"""Plans: resolution of settings, hashing, conversion to TOML and JSON, and messages for invalid settings."""

import errno
import json
import os
import string
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headstart.config.duration import Duration
from headstart.config.plan_file import differences, read_plan_file
from headstart.config.plan_values import PlanSettings, PlanValues
from headstart.config.presets import PRESETS
from headstart.config.registry.mixers import MIXERS
from headstart.config.registry.starts import STARTS, Argument, StartSpec
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import (
    READING_FIELDS,
    SECTIONS,
    ResolvedFacts,
    RunConfig,
    plan_fields,
    with_absolute_paths,
)
from headstart.config.study_config import MAX_VARIANTS
from headstart.config.study_file import StudySpec, validate_study
from headstart.errors import DataError, UsageError
from headstart.optim.registry import DEFAULT_OPTIMIZER, OPTIMIZERS
from headstart.storage.files import SCHEMA_VERSION
from headstart.storage.schemas.arm import TUNING_FORMS
from tests.memory import cost
from tests.messages import fields_of, values_of

recipes = st.fixed_dictionaries(
    {
        "optimizer": st.sampled_from(["sgd", "adam", "adamw", "rmsprop"]),
        "lr": st.floats(1e-6, 1),
        "schedule": st.sampled_from(["constant", "step", "multistep", "cosine", "linear", "one-cycle"]),
        "epochs": st.integers(1, 100).map(lambda n: f"{n}ep"),
        "warmup": st.sampled_from(["0ep", "100st", "5%"]),
        "milestones": st.lists(st.integers(1, 99).map(lambda n: f"{n}%"), max_size=3),
        "batch_size": st.integers(2, 512),
        "ema": st.floats(0, 0.999),
        "classes": st.lists(st.text(string.ascii_letters + "äé ", min_size=1).filter(str.strip), max_size=3),
        "seed": st.integers(0, 2**31 - 1),
    }
)


def resolved(plan: RunConfig) -> RunConfig:
    plan = plan.changed(network="resnet18", flip="on", crop=0.5)
    plan = plan.changed(device="cpu", precision="fp32", threads=2)
    return plan.changed(fingerprint="abc")


@given(recipes)
def test_toml_and_json_round_trip(values: dict) -> None:
    plan = resolve_settings(values).plan
    assert RunConfig.model_validate(tomllib.loads(plan.to_toml())) == plan
    assert RunConfig.model_validate(json.loads(plan.model_dump_json())) == plan


@given(recipes, recipes)
def test_hashes_are_equal_exactly_for_equal_plans(first: dict, second: dict) -> None:
    a, b = resolved(resolve_settings(first).plan), resolved(resolve_settings(second).plan)
    assert (a.identity() == b.identity()) == (a.hash == b.hash)
    assert bool(differences(a.identity(), b.identity())) == (a.hash != b.hash)


def test_open_plan_has_no_hash() -> None:
    with pytest.raises(ValueError, match=r"machine\.precision"):
        _ = RunConfig().hash


def test_hash_depends_on_the_content_of_the_data_not_its_path() -> None:
    plan = resolved(RunConfig())
    assert plan.changed(source="/elsewhere").hash == plan.hash
    assert plan.changed(fingerprint="abd").hash != plan.hash


READINGS = {
    "min_per_class": 2, "class_folders": "outer", "skip_bad": True, "path_column": "a", "label_column": "a",
    "split_column": "a", "group_column": "a", "merge_labels": True, "keep_labels": True, "classes": ("a", "b"),
}  # fmt: skip


def test_hash_of_a_declaration_depends_on_how_images_are_read_not_where() -> None:
    spec = validate_study({"arms": ("scratch", "imagenet")}, {})

    def of(**settings: object) -> str:
        return StudySpec(spec.protocol, spec.plan.changed(**settings)).hash

    assert of(source="/elsewhere") == of(allow_outside=True) == spec.hash
    hashes = {name: of(**{name: value}) for name, value in READINGS.items()}
    assert len({spec.hash, *hashes.values()}) == 1 + len(READINGS)
    places = {"source", "allow_outside"}
    assert set(READINGS) - {"classes"} == set(READING_FIELDS) - places  # a new field is tested, too


def test_hash_depends_on_the_sha256_of_weights_not_their_path() -> None:
    plan = resolved(RunConfig()).changed(fingerprint="abc", weights_sha256="f00")
    a, b = plan.changed(start="file:a.safetensors"), plan.changed(start="file:/b/a.safetensors")
    assert a.hash == b.hash != a.changed(fingerprint="abc", weights_sha256="f01").hash


def test_plans_are_immutable() -> None:
    with pytest.raises(ValidationError):
        RunConfig().recipe.lr = 3.0  # type: ignore[misc]


def test_field_names_are_unique_across_sections() -> None:
    assert len(plan_fields()) == sum(len(model.model_fields) for model in SECTIONS.values())


def test_every_field_has_a_description() -> None:
    assert [name for name, (_, field) in plan_fields().items() if not field.description] == []


def test_flags_override_file_preset_and_defaults(tmp_path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('lr = 0.3\n[recipe]\nimage_size = 96\nbatch_size = 8\n[facts]\nfingerprint = "old"\n')
    settings = resolve_settings({"source": "digits", "batch_size": 16, "optimizer": None}, file=file)
    assert settings.plan.recipe.image_size == 96  # file overrides preset digits
    assert settings.plan.recipe.batch_size == 16  # flag overrides file
    assert settings.plan.network.stem == "small"  # preset overrides default
    assert settings.plan.recipe.optimizer == DEFAULT_OPTIMIZER
    assert settings.plan.facts.fingerprint == ""
    assert settings.origins["lr"] == f"file {file}"
    assert settings.origins["batch_size"] == "flag"
    assert settings.origins["stem"] == "preset digits"
    assert settings.origins["optimizer"] == "default"
    assert ("batch_size", "16", "flag") in settings.table()


def test_default_learning_rate_depends_on_the_optimizer() -> None:
    assert resolve_settings({"optimizer": "adam"}).plan.recipe.lr == 0.001
    assert resolve_settings({"optimizer": "sgd"}).plan.recipe.lr == 0.01
    assert resolve_settings({"optimizer": "adam", "lr": 0.5}).plan.recipe.lr == 0.5


def test_all_errors_are_reported_together_with_similar_keys() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_settings({"optimizer": "adan", "lr": -1, "epoks": "3ep", "tuning": "half", "warmup": "5"})
    values = values_of(caught.value.message)
    limit = values.pop(values.index("lr") + 2)  # the text of pydantic
    assert isinstance(limit, str) and limit.endswith(" 0")
    assert values == [
        "epoks", "epochs", "tuning", "half", *TUNING_FORMS, "optimizer", "adan", ", ".join(OPTIMIZERS), "adam",
        "lr", "-1", "warmup", "5", "5",
    ]  # fmt: skip
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError) as caught:
        resolve_settings({"milestones": "1ep,x"})
    assert values_of(caught.value.message) == ["milestones", "x", "x"]


@pytest.mark.parametrize(
    "bad", [{"nesterov": True, "optimizer": "adam"}, {"epochs": "20%"}, {"lr": float("nan")}, {"epochs": "0ep"}]
)
def test_invalid_combinations_are_rejected(bad: dict) -> None:
    with pytest.raises(UsageError):
        resolve_settings(bad)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_plan(name: str) -> None:
    settings = resolve_settings({"source": "photos"}, preset=name)
    assert set(settings.origins.values()) <= {"default", f"preset {name}", "flag"}


def test_unknown_presets_and_invalid_files_are_reported(tmp_path) -> None:
    with pytest.raises(UsageError) as error:
        resolve_settings({}, preset="quik")
    assert fields_of(error.value.message) == {"name": "quik", "choice": "quick"}
    with pytest.raises(UsageError) as error:
        resolve_settings({}, file=tmp_path / "none.toml")
    assert fields_of(error.value.message) == {"path": tmp_path / "none.toml", "reason": os.strerror(errno.ENOENT)}
    (tmp_path / "bad.toml").write_text("lr = ")
    with pytest.raises(UsageError) as error:
        resolve_settings({}, file=tmp_path / "bad.toml")
    fields = fields_of(error.value.message)
    assert fields["path"] == tmp_path / "bad.toml" and isinstance(fields["error"], tomllib.TOMLDecodeError)


def test_arm_name_of_a_plan() -> None:
    plan = resolve_settings({"start": "imagenet", "tuning": "lp-ft", "head": "mlp:256", "optimizer": "adam"}).plan
    assert plan.arm_name == "imagenet+lp-ft+mlp:256@adam"


def test_digits_keep_the_stem_of_the_network(tmp_path) -> None:
    (tmp_path / "s.toml").write_text('network = "timm:test_resnet"\n')
    assert resolve_settings({}, file=tmp_path / "s.toml").plan.network.stem == "imagenet"
    assert resolve_settings({"start": "imagenet"}).plan.network.stem == "imagenet"
    assert resolve_settings({}).plan.network.stem == "small"


def test_paths_become_absolute_and_names_contain_no_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = resolve_settings({"source": "photos", "start": "stats:file:w/cifar.safetensors"}).plan
    assert plan.arm_name == f"stats:file:cifar@{DEFAULT_OPTIMIZER}"
    absolute = with_absolute_paths(plan)
    assert absolute.data.source == f"{tmp_path}/photos"
    assert absolute.arm.start == f"stats:file:{tmp_path}/w/cifar.safetensors"
    assert absolute.arm_name == plan.arm_name
    named = resolve_settings({"source": "digits:0-5", "start": "timm:resnet18.a1_in1k"}).plan
    assert with_absolute_paths(named).data.source == "digits:0-5"


def test_invalid_plan_files_are_reported(tmp_path) -> None:
    for content, expected in [
        ("{}", {"place": "schema_version"}),
        ('{"schema_version": 2, "plan": {"new": 1}}', {"schema": 2, "supported": SCHEMA_VERSION}),
        ("[", {}),
    ]:
        (tmp_path / "plan.json").write_text(content)
        with pytest.raises(DataError) as error:
            read_plan_file(tmp_path)
        fields = fields_of(error.value.message)
        assert ("text" in fields) == ("schema" not in expected)  # the text of pydantic on a damaged file
        fields.pop("text", None)
        assert fields == {"name": str(tmp_path / "plan.json"), **expected}


def test_pattern_is_described_in_words() -> None:
    with pytest.raises(UsageError) as error:
        resolve_settings({"tuning": "frosen"})
    assert values_of(error.value.message) == ["tuning", "frosen", *TUNING_FORMS]
    assert "pattern" not in error.value.message


def test_typed_values_are_the_fields_of_the_plan() -> None:
    """Type checkers see the keyword arguments of `changed`; they must be those that it accepts."""
    assert set(PlanSettings.__annotations__) == set(plan_fields())
    assert set(PlanValues.__annotations__) == {*plan_fields(), *ResolvedFacts.model_fields}


def test_changed_values_are_validated_and_keep_the_others() -> None:
    plan = RunConfig().changed(lr=0.5, epochs="3ep", seed=7, class_names=("a", "b"))
    assert (plan.recipe.lr, plan.recipe.epochs, plan.seeding.seed) == (0.5, Duration(3, "ep"), 7)
    assert plan.changed(lr=RunConfig().recipe.lr, epochs="10ep", seed=0, class_names=()) == RunConfig()
    with pytest.raises(ValidationError):
        plan.changed(lr=-1.0)
    with pytest.raises(KeyError):
        plan.changed(rate=0.1)


def test_invalid_value_of_a_field_with_the_name_of_its_section_names_field_and_value(tmp_path) -> None:
    (tmp_path / "s.toml").write_text("network = 5\n")
    with pytest.raises(UsageError) as error:
        resolve_settings({}, file=tmp_path / "s.toml")
    fields = fields_of(error.value.message)
    assert (fields["name"], fields["value"]) == ("network", "5")


@pytest.mark.parametrize(
    ("settings", "choices", "similar"),
    [
        ({"optimizer": "adan"}, ", ".join(OPTIMIZERS), "adam"),
        ({"norm": "btch"}, "batch, none", "batch"),
        ({"flip": "sideways"}, "auto, on, off", None),
    ],
)
def test_invalid_choice_lists_the_choices(settings: dict[str, str], choices: str, similar: str | None) -> None:
    with pytest.raises(UsageError) as error:
        resolve_settings(settings)
    fields = fields_of(error.value.message)
    ((name, value),) = settings.items()
    assert (fields["name"], fields["value"], fields["choices"], fields.get("choice")) == (name, value, choices, similar)


@pytest.mark.parametrize(("value", "crop"), [("auto", "auto"), ("0.35", 0.35), (0.6, 0.6), (1, 1.0), ("1e-1", 0.1)])
def test_crop_is_a_share_or_left_to_the_data(value: str | float, crop: str | float) -> None:
    plan = resolve_settings({"crop": value}).plan
    assert plan.recipe.crop == crop and RunConfig.model_validate(tomllib.loads(plan.to_toml())) == plan
    assert ("recipe.crop" in plan.unresolved_fields) is (crop == "auto")
    if crop == "auto":
        with pytest.raises(ValueError, match="crop"):
            _unused = plan.recipe.smallest_crop
    else:
        assert plan.recipe.smallest_crop == crop


@pytest.mark.parametrize("value", ["0", "1.2", -0.5, "nan", "inf", "most", "", "0,5", True, [0.5]])
def test_invalid_crop_is_one_error_with_the_values_that_are_valid(value: str | float) -> None:
    with pytest.raises(UsageError) as error:
        resolve_settings({"crop": value})
    if value != "0,5":  # which could be two values: the hint names `--vary`
        assert fields_of(error.value.message)["name"] == "crop" and "auto" in error.value.message


def test_metric_that_cannot_select_epochs_is_refused_with_the_ones_that_can() -> None:
    with pytest.raises(UsageError) as error:
        resolve_settings({"select": "log-loss"})
    fields = fields_of(error.value.message)
    assert fields["value"] == "log-loss" and fields["names"] == "accuracy, balanced, macro-f1"


def test_choices_of_a_protocol_are_those_of_its_field() -> None:
    for rules, choices in (({"fixed_fields": "rate"}, "lr, weight_decay"), ({"search": "al"}, "shared, per-seed, off")):
        with pytest.raises(UsageError) as error:
            validate_study({"arms": ("scratch", "imagenet"), **rules}, {})
        assert fields_of(error.value.message)["choices"] == choices


def test_fault_of_a_variant_ends_with_one_punctuation_mark() -> None:
    rules = {"arms": ("scratch",), "vary": {"schedule": ("cosin", "step")}}
    with pytest.raises(UsageError) as error:
        validate_study(rules, {})
    assert fields_of(error.value.message)["choice"] == "cosine" and error.value.message.endswith("'cosine'?")


@pytest.mark.parametrize(
    ("start", "identity"),
    [
        ("imagenet", "imagenet"),
        ("timm:resnet18.a1_in1k", "timm"),
        ("file:a.safetensors", "file"),
        ("run:runs/a", "run"),
        ("stats:imagenet", "stats"),
        ("stats:file:a.pth", "stats"),
        ("shrunk:0.3", "shrunk:0.3"),
        ("stats:shrunk:0.3", "stats:shrunk:0.3"),
        ("outer:stats:file:a.pth", "outer:stats"),
    ],
)
def test_identity_has_what_the_hash_of_the_weights_does_not_cover(
    start: str, identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STARTS, "shrunk", StartSpec("", Argument.NAME))
    monkeypatch.setitem(STARTS, "outer", StartSpec("", Argument.START))
    plan = resolved(RunConfig()).changed(fingerprint="abc", weights_sha256="f00").changed(start=start)
    assert plan.identity()["arm"] == {**plan.arm.model_dump(mode="json"), "start": identity}
    without_file = plan.changed(fingerprint="abc", weights_sha256="")
    assert without_file.identity()["arm"] == plan.arm.model_dump(mode="json")


def test_at_most_one_mixer_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_settings({"mixup": 0.2, "cutmix": 1.0})
    assert values_of(caught.value.message)[-2:] == ["mixup", "cutmix"]
    settings = {"mixup": 0.2, "jitter": 0.1}
    assert resolve_settings(settings).plan.recipe.jitter == 0.1
    monkeypatch.setitem(MIXERS, "jitter", "headstart.data.mixing:mixup")
    with pytest.raises(UsageError):
        resolve_settings(settings)


def test_the_number_of_variants_is_limited_before_they_are_made() -> None:
    values = tuple(str(number / 1000) for number in range(100))
    vary = dict.fromkeys(("mixup", "cutmix", "jitter", "label_smoothing"), values)
    protocol = {"arms": ("scratch",), "vary": vary}
    call = cost("from headstart.config.study_file import validate_study", f"validate_study({protocol}, {{}})")
    assert call.error == "UsageError"
    assert call.megabytes < 50
    assert call.seconds < 10
    sides = {"mixup": values[:25], "label_smoothing": values[:20]}
    study = validate_study({"arms": ("scratch", "scratch@adam"), "vary": sides}, {})
    assert len(study.variants) == MAX_VARIANTS
    with pytest.raises(UsageError):
        validate_study({"arms": ("scratch", "scratch@adam", "scratch@sgd"), "vary": sides}, {})
