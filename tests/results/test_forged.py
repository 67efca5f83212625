"""Studies with any value in the place of one of theirs, well sealed, are read or refused: no reader fails otherwise."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.analysis.run_records import read_run
from headstart.analysis.sentences import verdict_messages
from headstart.analysis.status import read_verdict
from headstart.cli.render import study_table
from headstart.config.study_file import write_study as write_study_file
from headstart.config.study_request import build_study_spec
from headstart.errors import HeadstartError
from headstart.experiment.conclusion import complete_verdict
from headstart.results.diagnosis import describe_diagnoses, diagnose
from headstart.results.pages import write_report
from headstart.results.study import Study
from headstart.storage.files import write_json
from headstart.storage.journal import with_checksum
from headstart.storage.schemas.verdict import Verdict, VerdictSeal
from headstart.storage.seals import BrokenSealError
from tests.figures import made
from tests.handmade import seal

Place = tuple[str | int, ...]
NUMBERS = [0, -1, 1, 3.7, -0.5, 1e-300, 1e12, 1e100, -1e100, 1e308, 2**53, 2**63, 10**30, 10**400]
VALUES = [None, True, "", "x", "1e999", "../x", "a" * 1000, [], {}, [1], [[None]], {"a": 1}, {"": []}, *NUMBERS]
SPEC = build_study_spec("digits", ("imagenet", "scratch"), {}, None, None, None, {"epochs": "2ep", "seeds": 1})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study of two runs with all files that readers of studies read."""
    folder = made.write_study(tmp_path_factory.mktemp("made") / "study", made.Made(seeds=1, epochs=2, blocks=2))
    write_study_file(folder, SPEC)
    seal_verdict(folder)
    return folder


def seal_verdict(folder: Path) -> None:
    """Give a verdict the seals of its runs, and the hash of its content, as far as it can be parsed."""
    runs = {run.parent.name: read_run(run.parent).result for run in folder.glob("*/plan.json")}
    seals = VerdictSeal(runs={name: result.seal.digest for name, result in runs.items() if result is not None})
    content = Verdict.model_validate_json((folder / "verdict.json").read_bytes())
    write_json(folder / "verdict.json", content.model_copy(update={"study": SPEC.hash, "seal": seals}).to_json())


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the places of all values in a JSON value, itself excluded."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from places(inner, (*place, key))


def changed(content: Any, rng: random.Random, value: Any) -> Any:
    """Return a JSON value with another value at a random place, in which a number is often a number again."""
    *above, last = rng.choice(list(places(content)))
    holder = content
    for key in above:
        holder = holder[key]
    is_number = isinstance(holder[last], (int, float)) and not isinstance(holder[last], bool)
    holder[last] = rng.choice(NUMBERS) if is_number and rng.random() < 0.7 else value
    return content


def forge(folder: Path, rng: random.Random, value: Any) -> None:
    """Change a value of one file of the study, and seal what can be sealed."""
    run = rng.choice(sorted(folder.glob("*-s0")))
    file = rng.choice([folder / "verdict.json", *(run / name for name in ("plan.json", "result.json"))])
    if rng.random() < 0.5:
        file = run / "metrics.jsonl"
        lines = file.read_bytes().splitlines(keepends=True)
        kinds = sorted({json.loads(line)["kind"] for line in lines})
        kind = rng.choice(kinds)
        number = rng.choice([number for number, line in enumerate(lines) if json.loads(line)["kind"] == kind])
        content = {key: inner for key, inner in json.loads(lines[number]).items() if key != "crc32c"}
        text = json.dumps(changed(content, rng, value), separators=(",", ":"))
        lines[number] = with_checksum(text.encode())
        file.write_bytes(b"".join(lines))
    else:
        file.write_text(json.dumps(changed(json.loads(file.read_text()), rng, value)))
    for seal_part, place in ((seal, run), (seal_verdict, folder)):
        try:
            seal_part(place)
        except (HeadstartError, ValueError):  # what no schema accepts cannot be sealed
            return


def read_all(folder: Path) -> Iterator[Any]:
    """Yield what reads a study, as functions."""
    run = min(folder.glob("*-s0"))
    yield lambda: write_report(folder, ())
    yield lambda: write_report(run, ())
    yield lambda: [describe_diagnoses(diagnose(folder)), [one.to_json() for one in diagnose(folder)]]
    yield lambda: [str(verdict_messages(read_verdict(folder))), study_table(read_verdict(folder))]
    yield lambda: [complete_verdict(folder, SPEC), Study(folder)._repr_html_(), Study(folder).frame]
    yield lambda: Study(folder).best()


def test_the_study_is_read(study: Path) -> None:
    for read in read_all(study):
        read()


@given(st.integers(0, 2**32), st.sampled_from(VALUES))
@settings(max_examples=20, deadline=None)
def test_any_value_in_a_sealed_study_is_read_or_refused(
    study: Path, tmp_path_factory: pytest.TempPathFactory, number: int, value: Any
) -> None:
    folder = tmp_path_factory.mktemp("forged") / "study"
    shutil.copytree(study, folder)
    forge(folder, random.Random(number), value)
    for read in read_all(folder):
        try:
            read()
        except HeadstartError:
            continue


def test_a_run_of_another_arm_than_that_of_the_verdict_is_refused(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    run = min(folder.glob("*-s0"))
    plan = json.loads((run / "plan.json").read_text())
    plan["study"]["arm"]["label"] = "other"
    (run / "plan.json").write_text(json.dumps(plan))
    seal(run)
    seal_verdict(folder)
    with pytest.raises(BrokenSealError):
        write_report(folder, ())
    assert complete_verdict(folder, SPEC) is None
