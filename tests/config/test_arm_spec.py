"""Arms are parsed from text and get unique names."""

from pathlib import Path

import pytest

from headstart.config.arm_spec import ArmName, arm_name, parse_arm, parse_arm_name
from headstart.config.study_file import read_study, write_study
from headstart.config.study_request import build_study_spec
from headstart.errors import UsageError


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("scratch", {"start": "scratch"}),
        ("imagenet+frozen@adam", {"start": "imagenet", "tuning": "frozen", "optimizer": "adam"}),
        ("file:a+b@c/w.pth+lp-ft+mlp:8", {"start": "file:a+b@c/w.pth", "tuning": "lp-ft", "head": "mlp:8"}),
        ("source:digits:0-5+stages:2", {"start": "source:digits:0-5", "tuning": "stages:2"}),
    ],
)  # fmt: skip
def test_arm_is_parsed_from_the_right(text: str, fields: dict[str, str]) -> None:
    assert parse_arm(text) == fields


@pytest.mark.parametrize("arms", [("scratch",), ("scratch", "imagenet+frosen"), ("scratch", "scratch@adm")])
def test_invalid_arms_are_an_error(arms: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        build_study_spec("digits", arms, None, None, None, None, {})


def test_misspelled_tuning_is_not_read_as_part_of_a_path(tmp_path: Path) -> None:
    weights, odd = tmp_path / "w.pth", tmp_path / "w.pth+frozn"
    weights.touch()
    with pytest.raises(UsageError, match=r"'frozn'.*[dD]id you mean '?frozen"):
        build_study_spec("digits", ("scratch", f"file:{weights}+frozn"), None, None, None, None, {})
    odd.touch()
    assert parse_arm(f"file:{odd}") == {"start": f"file:{odd}"}


def test_arms_with_equal_file_names_are_named_with_their_folders(tmp_path: Path) -> None:
    arms = [f"file:{tmp_path}/a/best.pth", f"file:{tmp_path}/b/best.pth+frozen", f"file:{tmp_path}/c/b/best.pth+frozen"]
    arms += [f"file:{tmp_path}/a/best.pth@adam", f"file:{tmp_path}/x+frozen@sgd,1.pth"]
    arms += [f"file:{tmp_path}/x.pth", f"file:{tmp_path}/x.safetensors"]
    spec = build_study_spec("digits", ("scratch", *arms), None, None, None, None, {})
    assert [variant.name for variant in spec.variants] == [
        "scratch", "file:a/best.pth", f"file:{tmp_path.name}/b/best.pth+frozen", "file:c/b/best.pth+frozen",
        "file:a/best.pth@adam",
        "file:x-frozen-sgd-1", f"file:{tmp_path.name}/x.pth", f"file:{tmp_path.name}/x.safetensors",
    ]  # fmt: skip
    assert spec.variants[5].plan(spec.plan).arm.tuning == "full"
    with pytest.raises(UsageError, match="declared twice"):
        build_study_spec("digits", (arms[0], arms[0]), None, None, None, None, {})


def test_arm_names_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch) -> None:
    for name in ("proj", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "proj")
    arms = ("file:best.pth", "file:b/best.pth+frozen", "file:odd-1.pth", "file:odd+1.pth")
    rules = {"primary": "file:proj/best.pth vs file:b/best.pth+frozen"}
    spec = build_study_spec("digits", arms, None, None, None, None, rules)
    names = ["file:proj/best.pth", "file:b/best.pth+frozen", "file:odd-1", "file:odd-1-2"]
    write_study(tmp_path, spec)
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = read_study(tmp_path)
    assert [variant.name for variant in again.variants] == names and again.variants == spec.variants
    paths = ["best.pth", "b/best.pth", "odd-1.pth", "odd+1.pth"]
    starts = [variant.plan(again.plan).arm.start for variant in again.variants]
    assert starts == [f"file:{tmp_path / 'proj' / path}" for path in paths]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("scratch", ArmName("scratch")),
        ("file:a/b.pth+lp-ft+mlp:64@adam", ArmName("file:a/b.pth", "lp-ft", "mlp:64", "adam")),
        ("imagenet+stages:2,lr=0.1,momentum=0", ArmName("imagenet", "stages:2", varied=("lr=0.1", "momentum=0"))),
        ("stats:file:cifar+mlp:8@sgd", ArmName("stats:file:cifar", "", "mlp:8", "sgd")),
    ],
)
def test_name_of_an_arm_is_parsed_to_its_parts(name: str, parts: ArmName) -> None:
    assert parse_arm_name(name) == parts
    arm = name.partition(",")[0]
    settings = {"tuning": parts.tuning, "head": parts.head, "optimizer": parts.optimizer}
    assert arm_name({key: value for key, value in settings.items() if value}, parts.start) == arm
    assert parts.without_varied("lr").varied == tuple(value for value in parts.varied if not value.startswith("lr="))
