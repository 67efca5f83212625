import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headstart.config.presets import PRESETS
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import SECTIONS, RunConfig, differences, fields, read_plan, with_absolute_paths
from headstart.errors import DataError, UsageError

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


def complete(plan: RunConfig) -> RunConfig:
    plan = plan.changed("network", network="resnet18").changed("recipe", flip="on")
    plan = plan.changed("machine", device="cpu", precision="fp32", threads=2)
    return plan.changed("facts", fingerprint="abc")


@given(recipes)
def test_a_plan_comes_back_equal_from_toml_and_json(values: dict) -> None:
    plan = resolve_settings(values).plan
    assert RunConfig.from_toml(plan.to_toml()) == plan
    assert RunConfig.model_validate(json.loads(plan.model_dump_json())) == plan


@given(recipes, recipes)
def test_equal_plans_have_equal_hashes_and_only_they(one: dict, two: dict) -> None:
    a, b = complete(resolve_settings(one).plan), complete(resolve_settings(two).plan)
    assert (a.identity() == b.identity()) == (a.hash == b.hash)
    assert bool(differences(a.identity(), b.identity())) == (a.hash != b.hash)


def test_an_open_plan_has_no_hash() -> None:
    with pytest.raises(ValueError, match=r"machine\.precision"):
        _ = RunConfig().hash


def test_the_path_of_the_data_does_not_count_its_content_does() -> None:
    plan = complete(RunConfig())
    assert plan.changed("data", source="/elsewhere").hash == plan.hash
    assert plan.changed("facts", fingerprint="abd").hash != plan.hash


def test_the_path_of_weights_does_not_count_when_their_hash_is_known() -> None:
    plan = complete(RunConfig()).changed("facts", fingerprint="abc", weights_sha256="f00")
    a, b = plan.changed("arm", start="file:a.safetensors"), plan.changed("arm", start="file:/b/a.safetensors")
    assert a.hash == b.hash != a.changed("facts", fingerprint="abc", weights_sha256="f01").hash


def test_a_plan_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        RunConfig().recipe.lr = 3.0  # type: ignore[misc]


def test_field_names_are_unique_across_sections() -> None:
    assert len(fields()) == sum(len(model.model_fields) for model in SECTIONS.values())


def test_every_field_is_described() -> None:
    assert [name for name, (_, field) in fields().items() if not field.description] == []


def test_default_then_preset_then_file_then_flags(tmp_path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('lr = 0.3\n[recipe]\nimage_size = 96\nbatch_size = 8\n[facts]\nfingerprint = "old"\n')
    settled = resolve_settings({"source": "digits", "batch_size": 16, "optimizer": None}, file=file)
    assert settled.plan.recipe.image_size == 96  # the file over the preset digits
    assert settled.plan.recipe.batch_size == 16  # the flag over the file
    assert settled.plan.network.stem == "small"  # the preset over the default
    assert settled.plan.recipe.optimizer == "sgd"
    assert settled.plan.facts.fingerprint == ""
    assert settled.origins["lr"] == f"file {file}"
    assert settled.origins["batch_size"] == "flag"
    assert settled.origins["stem"] == "preset digits"
    assert settled.origins["optimizer"] == "default"
    assert ("batch_size", "16", "flag") in settled.table()


def test_the_default_rate_follows_the_optimizer() -> None:
    assert resolve_settings({"optimizer": "adam"}).plan.recipe.lr == 0.001
    assert resolve_settings({"optimizer": "sgd"}).plan.recipe.lr == 0.01
    assert resolve_settings({"optimizer": "adam", "lr": 0.5}).plan.recipe.lr == 0.5


def test_all_errors_at_once_with_the_nearest_key() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_settings({"optimizer": "adan", "lr": -1, "epoks": "3ep", "tuning": "half", "epochs": "5"})
    what = caught.value.message
    for part in ("did you mean 'epochs'", "one of sgd, adam, adamw", "greater than 0", "lp-ft", "not a duration"):
        assert part in what
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match=r"^milestones = x"):
        resolve_settings({"milestones": "1ep,x"})


@pytest.mark.parametrize(
    "bad", [{"nesterov": True, "optimizer": "adam"}, {"epochs": "20%"}, {"lr": float("nan")}, {"epochs": "0ep"}]
)
def test_combinations_that_make_no_sense(bad: dict) -> None:
    with pytest.raises(UsageError):
        resolve_settings(bad)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_plan(name: str) -> None:
    settled = resolve_settings({"source": "photos"}, preset=name)
    assert set(settled.origins.values()) <= {"default", f"preset {name}", "flag"}


def test_an_unknown_preset_and_a_broken_file(tmp_path) -> None:
    with pytest.raises(UsageError, match="quick"):
        resolve_settings({}, preset="quik")
    with pytest.raises(UsageError, match="cannot be read"):
        resolve_settings({}, file=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("lr = ")
    with pytest.raises(UsageError, match="not TOML"):
        resolve_settings({}, file=tmp_path / "bad.toml")


def test_the_arm_name() -> None:
    plan = resolve_settings({"start": "imagenet", "tuning": "lp-ft", "head": "mlp:256", "optimizer": "adam"}).plan
    assert plan.arm_name == "imagenet+lp-ft+mlp:256@adam"


def test_a_network_from_the_file_keeps_its_own_stem_on_digits(tmp_path) -> None:
    (tmp_path / "s.toml").write_text('network = "timm:test_resnet"\n')
    assert resolve_settings({}, file=tmp_path / "s.toml").plan.network.stem == "imagenet"
    assert resolve_settings({"start": "imagenet"}).plan.network.stem == "imagenet"
    assert resolve_settings({}).plan.network.stem == "small"


def test_paths_are_anchored_and_left_out_of_names(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = resolve_settings({"source": "photos", "start": "stats:file:w/cifar.safetensors"}).plan
    assert plan.arm_name == "stats:file:cifar@sgd"
    found = with_absolute_paths(plan)
    assert (found.data.source, found.arm.start) == (f"{tmp_path}/photos", f"stats:file:{tmp_path}/w/cifar.safetensors")
    assert found.arm_name == plan.arm_name
    assert (
        with_absolute_paths(
            resolve_settings({"source": "digits:0-5", "start": "timm:resnet18.a1_in1k"}).plan
        ).data.source
        == "digits:0-5"
    )


def test_a_plan_that_cannot_be_read(tmp_path) -> None:
    for content, match in [("{}", "not one"), ('{"schema": 2, "plan": {}}', "schema 2"), ("[", "cannot be read")]:
        (tmp_path / "plan.json").write_text(content)
        with pytest.raises(DataError, match=match):
            read_plan(tmp_path)
