"""Arms are parsed from text and get unique names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.analysis.wording import arm_words, role_words
from headstart.config.arm_spec import parse_arm
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import short_start
from headstart.config.study_file import read_study, write_study
from headstart.config.study_request import build_study_spec
from headstart.errors import UsageError
from headstart.experiment.preflight import source_arm
from headstart.optim.registry import OPTIMIZERS
from headstart.runs import job_protocol
from headstart.runs.job_protocol import RunRequest
from headstart.storage.schemas.arm import FULL, TUNING_FORMS, ArmSpec, Tuning, TuningKind
from headstart.storage.schemas.study import RunRole, Stage
from tests.messages import fields_of, values_of


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
    arm = parse_arm(text)
    assert arm.settings == fields
    assert arm.label == fields["start"].replace("a+b@c/w.pth", "w")


@pytest.mark.parametrize("arms", [("scratch",), ("scratch", "imagenet+frosen"), ("scratch", "scratch@adm")])
def test_invalid_arms_are_an_error(arms: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        build_study_spec("digits", arms, None, None, None, None, {})


def test_misspelled_tuning_is_not_read_as_part_of_a_path(tmp_path: Path) -> None:
    weights, odd = tmp_path / "w.pth", tmp_path / "w.pth+frozn"
    weights.touch()
    with pytest.raises(UsageError) as error:
        build_study_spec("digits", ("scratch", f"file:{weights}+frozn"), None, None, None, None, {})
    assert values_of(error.value.message) == [f"file:{weights}+frozn", "frozn", "frozen"]
    odd.touch()
    assert parse_arm(f"file:{odd}").settings == {"start": f"file:{odd}"}


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
    assert spec.variants[5].plan(spec.plan).arm.tuning == FULL
    with pytest.raises(UsageError) as error:
        build_study_spec("digits", (arms[0], arms[0]), None, None, None, None, {})
    assert fields_of(error.value.message) == {"arm": "file:best"}


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
    ("arm", "name"),
    [
        (ArmSpec(start="scratch", label="scratch", tuning="full", head="linear"), "scratch"),
        (
            ArmSpec(start="file:/x/a/b.pth", label="file:a/b.pth", tuning="lp-ft", head="mlp:64", optimizer="adam"),
            "file:a/b.pth+lp-ft+mlp:64@adam",
        ),
        (
            ArmSpec(start="imagenet", label="imagenet", tuning="stages:2", varied={"lr": "0.1", "batch_size": "8"}),
            "imagenet+stages:2,lr=0.1,batch-size=8",
        ),
    ],
)
def test_name_of_an_arm_is_rendered_from_it(arm: ArmSpec, name: str) -> None:
    assert arm.name == name
    assert ArmSpec.parse(arm.model_dump_json(), "arm") == arm


def test_an_arm_without_fields_keeps_the_others() -> None:
    arm = ArmSpec(start="imagenet", label="imagenet", optimizer="adam", varied={"lr": "0.1", "norm": "none"})
    assert arm.without("lr").name == "imagenet@adam,norm=none"
    assert arm.without("lr", "norm", "optimizer").name == "imagenet"
    assert arm.without() == arm


def test_words_of_an_arm_do_not_depend_on_characters_of_its_label() -> None:
    file = ArmSpec(start="file:/w/scratch+frozen@adam,lr=1.pth", label="file:scratch+frozen@adam,lr=1")
    words = arm_words(file)
    assert values_of(words) == ["scratch+frozen@adam,lr=1"] and len(words.values) == 2  # the other part is the tuning
    with_head = arm_words(ArmSpec(start="scratch:xavier", label="scratch:xavier", head="mlp:8"))
    assert values_of(with_head) == ["scratch:xavier", "mlp:8"] and len(with_head.values) == 2


START_PARTS = (("imagenet", "stats:imagenet", "scratch"), ("file", "run", "source"), ("x", "y"), ("imagenet", "w"))


@st.composite
def starts(draw: st.DrawFn) -> str:
    names, kinds, folders, files = START_PARTS
    path = f"/{draw(st.sampled_from(folders))}/{draw(st.sampled_from(files))}"
    return draw(st.sampled_from([*names, *(f"{kind}:{path}" for kind in kinds), f"file:{path}.pth"]))


@given(st.lists(starts(), min_size=2, max_size=6, unique=True))
def test_words_of_arms_differ_where_the_arms_do(arms: list[str]) -> None:
    spec = build_study_spec("digits", arms, None, None, None, None, {"search": "off"})
    specs = [variant.arm for variant in spec.variants]
    assert len(set(map(arm_words, specs))) == len({arm.name for arm in specs}) == len(arms)


@pytest.mark.parametrize(
    ("start", "short"),
    [
        ("file:w/a.safetensors", "file:a"), ("file:w/a.PTH", "file:a"), ("file:w/a.csv", "file:a.csv"),
        ("stats:file:w/a.pt", "stats:file:a"), ("source:d/a.csv", "source:a"), ("source:d/A.Parquet", "source:A"),
        ("source:d/a.pt", "source:a.pt"), ("run:r/a.csv", "run:a.csv"),
    ],
)  # fmt: skip
def test_short_names_leave_out_the_suffixes_of_their_kind(start: str, short: str) -> None:
    assert short_start(start) == short
    assert short_start(start, parts=2) == start


def test_source_of_a_study_is_named_by_its_data(tmp_path: Path) -> None:
    role = RunRole(arm=source_arm("digits:0-5"), stage=Stage.SOURCE, budget="", fraction=1.0)
    assert role_words(role) == "source:digits:0-5"
    assert role_words(role.model_copy(update={"stage": Stage.MAIN})) == "source:digits:0-5 (fine-tuned)"
    plan = RunConfig().changed(seed=7)
    jobs = [job_protocol.encode_job(tmp_path, count * [RunRequest(plan=plan, role=role)]) for count in (1, 3)]
    one, three = map(job_protocol.job_title, jobs)
    assert one == "source:digits:0-5, seed 7" and three.number == 2 and one in three


def test_default_contrast_is_of_pretrained_weights_against_random_ones(tmp_path: Path) -> None:
    arms = (f"file:{tmp_path}/scratch.pth", "scratch:xavier", "imagenet")
    spec = build_study_spec("digits", arms, None, None, None, None, {})
    assert spec.protocol.contrast([variant.arm for variant in spec.variants]) == ("file:scratch", "scratch:xavier")
    assert spec.arm("file:scratch").start == arms[0]


@pytest.mark.parametrize(
    ("text", "similar"),
    [
        ("scratch@Adm", "adam"), ("imagenet@adam_w", "adamw"), ("timm:resnet18.a1_in1k@adam2", "adam"),
        ("scratch@my_own", None), ("scratch@", None), ("file:w.pth@adm", "adam"),
    ],
)  # fmt: skip
def test_what_follows_the_at_sign_of_a_start_without_path_is_an_optimizer(text: str, similar: str | None) -> None:
    with pytest.raises(ValueError) as error:
        parse_arm(text)
    fields = fields_of(error.value.args[0])
    assert (fields["arm"], fields.get("choice")) == (text, similar)
    assert similar or fields["optimizers"] == ", ".join(OPTIMIZERS)


@pytest.mark.parametrize("text", ["scratch@Adam", "scratch:xavier+frozen@SGD", "source:digits:0-5@Lion"])
def test_optimizer_after_the_at_sign_ignores_case(text: str) -> None:
    assert parse_arm(text) == parse_arm(text.lower())


@pytest.mark.parametrize("path", ["runs/Oct20_host-scratch@sgd-s0", "a@b/c.pth", "w@Adam", "w@2"])
def test_at_sign_in_a_path_is_part_of_it(path: str) -> None:
    assert parse_arm(f"file:{path}+frozen@adam").settings == {
        "start": f"file:{path}", "tuning": "frozen", "optimizer": "adam"
    }  # fmt: skip
    assert parse_arm(f"stats:file:{path}").settings == {"start": f"stats:file:{path}"}


@pytest.mark.parametrize(
    ("text", "kind", "stages", "trained"),
    [
        ("full", TuningKind.FULL, 0, None),
        ("frozen", TuningKind.FROZEN, 0, 0),
        ("lp-ft", TuningKind.LP_FT, 0, None),
        ("stages:2", TuningKind.STAGES, 2, 2),
        ("stages:999999999", TuningKind.STAGES, 999_999_999, 999_999_999),
    ],
)
def test_tuning_has_a_kind_and_is_stored_as_its_text(
    text: str, kind: TuningKind, stages: int, trained: int | None
) -> None:
    tuning = Tuning.parse(text)
    assert (tuning, tuning.trained_stages, str(tuning)) == (Tuning(kind, stages), trained, text)
    plan = resolve_settings({"tuning": text}).plan
    assert plan.arm.tuning == tuning and plan.to_json()["arm"]["tuning"] == text
    assert RunConfig.model_validate(plan.to_json()) == plan
    assert parse_arm(f"imagenet+{text}").tuning == tuning
    assert plan.arm_spec.to_json()["tuning"] == text


@pytest.mark.parametrize(
    "text",
    ["", "stages", "stages:", "stages:0", "stages:02", "stages:x", "stages:-1", "stages:1234567890", "stages:٣",
     "frozen:1", "Frozen", "full "],
)  # fmt: skip
def test_other_tunings_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        Tuning.parse(text)
    assert [str(value) for value in values_of(error.value.args[0])] == list(TUNING_FORMS)
    with pytest.raises(UsageError):
        resolve_settings({"tuning": text})
