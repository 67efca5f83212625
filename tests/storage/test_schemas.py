"""Lines of the record as JSON, and the description of the schemas in docs/formats.md."""

import math
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headstart.config.plan_file import PlanFile
from headstart.errors import DataError
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.base import Schema
from headstart.storage.schemas.metrics import LINE, EndLine, Line
from headstart.storage.schemas.result import RunResult
from headstart.storage.schemas.study import RunRole
from tests.handmade import epoch_line, evaluation, probe_line, run_result, snapshot_line, step_line

FORMATS = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, st.integers(1, 10**6))
def test_lines_are_read_as_they_were_written(number: float, step: int) -> None:
    lines: list[Line] = [
        step_line(step, number),
        snapshot_line(step, update_ratio={"conv1": number, "fc": None}),
        probe_line(step, 1, loss=None, dead_channels={"conv1": number}),
        epoch_line(step, 1, confusion=[[3, 1], [0, 2]], time=number),
        EndLine(step=step, epoch=1, val=evaluation(loss=number)),
    ]
    assert [LINE.validate_json(line.model_dump_json()) for line in lines] == lines


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_values_that_are_not_finite_are_rejected(loss: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        step_line(1, loss)


def test_damaged_file_names_its_first_fault(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(run_result().model_dump_json().replace('"best_epoch":1', '"best_epoch":"one"'))
    with pytest.raises(DataError, match=r"result\.json is damaged \(best_epoch: input should be a valid integer"):
        RunResult.read(path)


@pytest.mark.parametrize("line", get_args(Line), ids=lambda line: line.__name__)
def test_docs_name_every_field_of_a_line(line: Any) -> None:
    kind = line.model_fields["kind"].default
    row = re.search(rf"^\| `{kind}` \| (.*) \|$", FORMATS, re.MULTILINE)
    assert row is not None, kind
    fields = set(line.model_fields) - {"kind", "step"}
    assert fields <= set(re.findall(r"`(\w+)`", row[1])), fields


@pytest.mark.parametrize(
    ("schema", "heading"),
    [(PlanFile, "plan.json"), (RunRole, "plan.json"), (ArmSpec, "plan.json"), (RunResult, "result.json")],
)
def test_docs_name_every_field_of_a_file(schema: type[Schema], heading: str) -> None:
    section = FORMATS.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert set(schema.model_fields) <= set(re.findall(r"`(\w+)`", section))


def test_unknown_kinds_and_fields_are_rejected() -> None:
    for text in ('{"kind":"new","step":1}', step_line(1).model_dump_json().replace('"time"', '"clock"')):
        with pytest.raises(ValidationError):
            LINE.validate_json(text)
