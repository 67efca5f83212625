"""Schemas: values as JSON, versions of the formats, and the files that are generated from the schemas."""

import importlib
import importlib.resources
import json
import math
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model

from docs import schemas as generated
from headstart.config.plan_file import PlanFile
from headstart.config.run_config import RunConfig
from headstart.errors import DataError
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.runs.job_protocol import Answer, Job
from headstart.storage import schemas
from headstart.storage.bounds import MAX_INTEGER, MAX_NUMBER
from headstart.storage.schemas.metrics import LINE, BeginLine, EndLine, Histogram, Line
from headstart.storage.schemas.result import RunResult
from headstart.storage.schemas.schema import Schema, VersionedSchema
from headstart.storage.schemas.verdict import Verdict
from tests import verdicts
from tests.handmade import epoch_line, evaluation, histogram, probe_line, run_result, snapshot_line, step_line
from tests.messages import fields_of

FORMATS = generated.FORMATS.read_text(encoding="utf-8")
VERDICT_SCHEMA = importlib.resources.files("headstart.storage.schemas") / "verdict.schema.json"
numbers = st.floats(-MAX_NUMBER, MAX_NUMBER)


@given(numbers, st.integers(1, 10**6))
def test_lines_are_read_as_they_were_written(number: float, step: int) -> None:
    lines: list[Line] = [
        step_line(step, number),
        snapshot_line(step, update_ratio={"conv1": abs(number), "fc": None}),
        probe_line(step, 1, loss=None, dead_channels={"conv1": abs(number) % 1}),
        epoch_line(step, 1, confusion=[[3, 1], [0, 2]], time=abs(number) % 1e12),
        EndLine(step=step, epoch=1, val=evaluation(loss=number)),
    ]
    assert [LINE.validate_json(line.model_dump_json()) for line in lines] == lines


class _Inner(Schema):
    values: dict[str, list[float]]
    number: int | None = None


class _Outer(Schema):
    inner: tuple[_Inner, ...]
    own: Annotated[int, Field(ge=0)] = 0


@pytest.mark.parametrize(
    ("value", "number", "own", "fault"),
    [
        (MAX_NUMBER, MAX_INTEGER, MAX_INTEGER, None), (-MAX_NUMBER, -MAX_INTEGER, 0, None),
        (1.1 * MAX_NUMBER, 0, 0, "values"), (-1.1 * MAX_NUMBER, 0, 0, "values"), (10**400, 0, 0, "values"),
        (0, MAX_INTEGER + 1, 0, "number"), (0, -MAX_INTEGER - 1, 0, "number"), (0, 10**400, 0, "number"),
        (0, 0, MAX_INTEGER + 1, "own"), (0, 0, -1, "own"),
    ],
)  # fmt: skip
def test_every_number_of_a_schema_has_bounds(value: float, number: int, own: int, fault: str | None) -> None:
    text = json.dumps({"inner": [{"values": {"a": [value]}, "number": number}], "own": own})
    if fault is None:
        assert _Outer.model_validate_json(text).own == own
        return
    with pytest.raises(ValidationError) as error:
        _Outer.model_validate_json(text)
    assert all(fault in one["loc"] for one in error.value.errors())


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": [10**30]}, {"counts": [-1]}, {"n": -1}, {"sum": 1e308}, {"sum_squares": -1.0}, {"low": -1e308},
        {"counts": [1] * 100_001},
    ],
    ids=str,
)  # fmt: skip
def test_histograms_that_cannot_be_added_are_refused(changes: dict[str, Any]) -> None:
    of = histogram(0.0, 1.0, [1]).to_json()
    assert Histogram.model_validate_json(json.dumps(of)).to_json() == of
    with pytest.raises(ValidationError):
        Histogram.model_validate_json(json.dumps({**of, **changes}))


@pytest.mark.parametrize(
    "changes", [{"loss": 1e308}, {"lr": {}}, {"lr": {"head": -1.0}}, {"time": -1.0}, {"epoch": -1}], ids=str
)
def test_steps_that_no_training_has_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LINE.validate_json(json.dumps({**step_line(1).to_json(), **changes}))


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_values_that_are_not_finite_are_rejected(loss: float) -> None:
    with pytest.raises(ValidationError) as error:
        step_line(1, loss)
    assert [fault["type"] for fault in error.value.errors()] == ["finite_number"]


def test_damaged_file_names_its_first_fault(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(run_result().model_dump_json().replace('"best_epoch":1', '"best_epoch":"one"'))
    with pytest.raises(DataError) as error:
        RunResult.read(path)
    fields = fields_of(error.value.message)
    assert (fields["name"], fields["place"]) == (str(path), "best_epoch")


@pytest.mark.parametrize(
    "value", [run_result(), verdicts.verdict(), PlanFile(hash="", plan=RunConfig(), environment={})],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_another_version_is_refused_whatever_else_the_file_has(value: VersionedSchema, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(value.to_json()))
    assert type(value).read(path) == value
    path.write_text(json.dumps({**value.to_json(), "schema_version": 2, "field_of_version_2": 1}))
    with pytest.raises(DataError) as error:
        type(value).read(path)
    assert fields_of(error.value.message) == {"name": str(path), "schema": 2, "supported": 1}
    path.write_text(json.dumps({name: part for name, part in value.to_json().items() if name != "schema_version"}))
    with pytest.raises(DataError) as error:
        type(value).read(path)
    fields = fields_of(error.value.message)
    assert (fields["name"], fields["place"]) == (str(path), "schema_version")


def test_docs_have_the_current_fields() -> None:
    assert generated.with_tables(FORMATS) == FORMATS, "run make docs"


def test_new_field_changes_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = create_model("RunResult", __base__=RunResult, fresh=(int, Field(description="a new field")))
    monkeypatch.setitem(generated.FILES, "result.json", TypeAdapter(changed))
    assert "| `fresh` | integer | a new field |\n" in generated.with_tables(FORMATS)


def test_docs_describe_every_schema() -> None:
    for module in pkgutil.iter_modules(schemas.__path__):
        importlib.import_module(f"{schemas.__name__}.{module.name}")
    described_elsewhere = f"{schemas.__name__}.cache"  # no other program reads the cache, which may be deleted
    modules = {schema.__name__: schema.__module__ for schema in _subclasses(Schema)}
    names = {
        name
        for name, module in modules.items()
        if module.startswith(schemas.__name__) and module != described_elsewhere
    }
    described = set()
    for file in generated.FILES.values():
        schema = generated.json_schema(file)
        described |= {schema.get("title"), *schema.get("$defs", {})}
    assert names - described == {"VersionedSchema", "InputFingerprints", "VerdictNumbers"}  # base classes only


def test_value_of_a_lower_layer_has_the_settings_of_the_schemas() -> None:
    for module in pkgutil.iter_modules(schemas.__path__):
        importlib.import_module(f"{schemas.__name__}.{module.name}")
    own = [schema for schema in _subclasses(Schema) if schema.__module__.startswith(schemas.__name__)]
    models = set().union(*(_models(field.annotation) for schema in own for field in schema.model_fields.values()))
    assert {model for model in models if not issubclass(model, Schema)} == {ConfusionCounts}
    assert ConfusionCounts.model_config == Schema.model_config


def _models(type_: object) -> set[type[BaseModel]]:
    """Return the models in a type, such as `list[Model] | None`."""
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        return {type_}
    return set().union(*map(_models, get_args(type_)))


def _subclasses(schema: type[Schema]) -> Iterator[type[Schema]]:
    for subclass in schema.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def test_json_schema_of_the_verdict_is_current() -> None:
    text = VERDICT_SCHEMA.read_text(encoding="utf-8")
    assert text == generated.verdict_schema(), "run make docs"
    jsonschema.Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"selected": None}, "selected"),
        ({"schema_version": 2}, "schema_version"),
        ({"contrasts": [{**verdicts.contrast().to_json(), "outcome": "tied"}]}, "outcome"),
        ({"later": 1}, None),
    ],
)
def test_json_schema_of_the_verdict_accepts_what_the_model_accepts(changes: dict[str, Any], fault: str | None) -> None:
    content = {**verdicts.verdict(contrasts=[verdicts.contrast()]).to_json(), **changes}
    errors = list(jsonschema.Draft202012Validator(json.loads(VERDICT_SCHEMA.read_text())).iter_errors(content))
    assert len(errors) == (1 if changes else 0)
    assert fault is None or errors[0].path[-1] == fault
    if changes:
        with pytest.raises(DataError):
            Verdict.parse(json.dumps(content), "verdict.json")
    else:
        assert Verdict.parse(json.dumps(content), "verdict.json").to_json() == content


def test_unknown_kinds_and_fields_are_rejected() -> None:
    for text in ('{"kind":"new","step":1}', step_line(1).model_dump_json().replace('"time"', '"clock"')):
        with pytest.raises(ValidationError):
            LINE.validate_json(text)


def test_every_file_has_the_schema_version() -> None:
    """But for study.toml, which has it beside the protocol, and search.json, which is a part of verdict.json."""
    for name, file in generated.FILES.items():
        if name not in ("metrics.jsonl", "study.toml", "search.json"):
            assert generated.json_schema(file)["properties"]["schema_version"]["const"] == 1, name
    begin = LINE.dump_python(BeginLine(time=0.0))
    assert (begin["kind"], begin["schema_version"]) == ("begin", 1)
    for value in (Job(parent=Path(), runs=[]), Answer()):
        assert json.loads(value.model_dump_json())["schema_version"] == 1
