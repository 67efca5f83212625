"""Every number of a verdict is computed again from the records, and a changed one is noticed."""

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.cli.main import main
from headstart.errors import DataError
from headstart.storage.files import write_json
from headstart.storage.schemas.verdict import Verdict
from headstart.storage.schemas.verification import VerificationResult
from headstart.storage.seals import BrokenSealError
from headstart.verification.arms import median_time
from headstart.verification.tree import is_number
from headstart.verification.verify import verify
from tests.files import read_json
from tests.handmade import seal
from tests.verification.made import write_made
from tests.verification.studies import STUDIES


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder of each made study."""
    parent = tmp_path_factory.mktemp("made")
    folders = {name: parent / str(number) for number, name in enumerate(STUDIES)}
    for name, folder in folders.items():
        write_made(folder, STUDIES[name])
    return folders


def numbers_in(value: Any, where: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of every number in JSON data."""
    if is_number(value):
        yield where
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from numbers_in(inner, (*where, key))


def changed_at(tree: Any, where: tuple[str | int, ...]) -> Any:
    """Return JSON data with another number at one place."""
    result = copy.deepcopy(tree)
    owner = result
    for key in where[:-1]:
        owner = owner[key]
    owner[where[-1]] = another(owner[where[-1]])
    return result


def another(value: float) -> float:
    """Return another number: one more, or a millionth more."""
    return value + 1 if isinstance(value, int) else value * (1 + 1e-6) + 1e-9


def as_text(where: tuple[str | int, ...]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in where).removeprefix(".")


@pytest.mark.parametrize("name", STUDIES)
def test_every_value_of_a_verdict_follows_from_the_records(name: str, studies: dict[str, Path]) -> None:
    """A change of any number by a millionth would be noticed."""
    outcome = verify(studies[name])
    assert [(leaf.where, leaf.stated, leaf.recomputed) for leaf in outcome.differences] == []
    assert outcome.faults == [] and outcome.is_confirmed and not any(part.differ for part in outcome.parts)
    content = read_json(studies[name] / "verdict.json")
    places = [as_text(where) for where in numbers_in(content)]
    values = {leaf.where: leaf for leaf in outcome.values if is_number(leaf.stated)}
    assert len(places) > 40 and set(places) <= set(values)  # none is left out, not even of `NOT_RECOMPUTED`
    assert [place for place in places if not replace(values[place], stated=another(values[place].stated)).differs] == []


def test_the_studies_have_every_part_of_a_verdict(studies: dict[str, Path]) -> None:
    fields: set[str] = set()
    for folder in studies.values():
        fields |= {re.sub(r"\[\d+\]", "", as_text(where)) for where in numbers_in(read_json(folder / "verdict.json"))}
    assert fields >= {
        "labels.equivalences.factor", "labels.crossover.fraction", "interim.boundary", "without_copies.contrast.p",
        "search.arms.tried.full_runs", "contrasts.sample_sizes.units", "contrasts.sample_sizes.seeds",
        "conditions.contrasts.p_adjusted", "arms.diverged", "arms.too_augmented", "grid_rows.lr", "cost.search.seconds",
        "arms.to_target.epochs.median", "overlaps.count", "exposure.scratch.images",
    }  # fmt: skip


def test_the_grid_of_the_search_was_extended_twice(studies: dict[str, Path]) -> None:
    content = read_json(studies["search beyond the grid"] / "verdict.json")
    assert len(content["search"][0]["grid"]) == 4 and content["search"][0]["arms"][0]["at_edge"]


def reseal(folder: Path, where: tuple[str | int, ...]) -> str:
    """Change a number of verdict.json, and seal it again; return its place."""
    content = changed_at(read_json(folder / "verdict.json"), where)
    without_seal = {**content, "seal": {"content": "", "runs": content["seal"]["runs"]}}
    content = super(Verdict, Verdict).parse(json.dumps(without_seal), "").to_json()
    write_json(folder / "verdict.json", content)
    Verdict.read(folder / "verdict.json")
    return as_text(where)


@pytest.mark.parametrize("sealed_again", [True, False])
def test_a_changed_verdict_has_its_own_exit_code(
    sealed_again: bool, studies: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(studies["two arms"], tmp_path / "copy")
    main(["verify", str(folder), "--json"])
    confirmed = VerificationResult.parse(capsys.readouterr().out, "stdout")
    assert confirmed.confirmed and confirmed.differ == 0 and confirmed.numbers > 100
    where = ("contrasts", 0, "p_adjusted")
    if sealed_again:
        reseal(folder, where)
    else:
        write_json(folder / "verdict.json", changed_at(read_json(folder / "verdict.json"), where))
    with pytest.raises(SystemExit) as exit_info:
        main(["verify", str(folder), "--json"])
    assert exit_info.value.code == 8
    result = VerificationResult.parse(capsys.readouterr().out, "stdout")
    assert [difference.field for difference in result.differences] == ["contrasts[0].p_adjusted"]
    assert bool(result.faults) != sealed_again and not result.confirmed
    with pytest.raises(SystemExit):
        main(["verify", str(folder)])
    assert re.findall(r"\d+", capsys.readouterr().out.splitlines()[-1]) == [
        str(result.numbers), str(result.others), "1"
    ]  # fmt: skip


def change_sentence(folder: Path) -> None:
    content = read_json(folder / "verdict.json")
    content["sentences"]["width"] = "With infinitely many seeds it would still be about ±77.7."
    write_json(folder / "verdict.json", content)


def change_predictions(folder: Path, *, sealed_again: bool = True) -> None:
    path = next(folder.glob("*-s1/artifacts/predictions.npz"))
    with np.load(path) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    rows = np.flatnonzero(content["split"] == "test")[:9]
    content["logits"][rows] = np.roll(content["logits"][rows], 1, axis=1)
    np.savez(path, **content)
    if sealed_again:
        seal(path.parents[1])


def change_rate(folder: Path) -> None:
    path = next(folder.glob("*-s1/plan.json"))
    content = read_json(path)
    content["plan"]["recipe"]["lr"] *= 2
    write_json(path, content)
    seal(path.parent)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (change_sentence, {"sentences"}),
        (change_predictions, {"evaluations of the runs", "arms and runs", "contrasts"}),
        (change_rate, {"arms and runs"}),
    ],
)
def test_changed_records_and_sentences_differ(
    change: Any, parts: set[str], studies: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(studies["two arms"], tmp_path / "copy")
    change(folder)
    outcome = verify(folder)
    assert {part.name for part in outcome.parts if part.differ} >= parts and outcome.faults


def test_broken_seal_of_a_run_is_an_error_that_names_the_file(studies: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(studies["two arms"], tmp_path / "copy")
    change_predictions(folder, sealed_again=False)
    with pytest.raises(BrokenSealError, match=r"predictions\.npz"):
        verify(folder)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("study.toml", "weight_decay = 0.01", "weight_decay = 0.02"), ("*-s1/plan.json", '"clip": 0.0', '"clip": 1.0')],
)
def test_edits_of_what_no_number_comes_from_are_errors(
    name: str, old: str, new: str, studies: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(studies["two arms"], tmp_path / "copy")
    path = next(folder.glob(name))
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SystemExit) as exit_info:
        main(["verify", str(folder)])
    assert exit_info.value.code == 3 and str(path) in capsys.readouterr().err


def test_folders_without_a_verdict(studies: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(studies["two arms"], tmp_path / "copy")
    run = next(folder.glob("*-s1"))
    with pytest.raises(DataError, match="no verdict") as error:
        verify(run)
    assert str(folder) in error.value.hint
    (folder / "verdict.json").rename(tmp_path / "verdict.json")
    with pytest.raises(DataError, match="no verdict yet") as error:
        verify(folder)
    assert "resume" in error.value.hint
    for other in (tmp_path, tmp_path / "missing", tmp_path / "verdict.json"):
        with pytest.raises(DataError):
            verify(other)
    (tmp_path / "verdict.json").rename(folder / "verdict.json")
    shutil.rmtree(run)
    with pytest.raises(DataError, match=re.escape(run.name)):
        verify(folder)


def test_foreign_files_are_errors(studies: dict[str, Path], tmp_path: Path) -> None:
    """Links, arrays of other shapes, too long files and other types are refused before they are used."""
    folder = shutil.copytree(studies["search"], tmp_path / "copy")
    secret = tmp_path / "secret"
    secret.write_text((folder / "study.toml").read_text())
    for name in ("study.toml", "variants.json", "verdict.json"):
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).symlink_to(secret)
        with pytest.raises(DataError):
            verify(folder)
        (folder / name).unlink()
        for content in (b"", b"[" * 100_000, b"a." * 1000 + b"b = 1", b"x = 1\n" * 100_000, b"\xff", b"{}"):
            (folder / name).write_bytes(content)
            with pytest.raises(DataError):
                verify(folder)
        (folder / name).write_bytes(kept)
    assert verify(folder).is_confirmed
    trial = next((folder / "search").iterdir())
    shutil.rmtree(trial)
    with pytest.raises(DataError, match="search"):
        verify(folder)


def test_predictions_of_other_shapes_are_errors(studies: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(studies["two arms"], tmp_path / "copy")
    path = next(folder.glob("*-s1/artifacts/predictions.npz"))
    with np.load(path) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    for name, array in {
        "unit": content["unit"][:5], "logits": content["logits"][:, :0], "label": content["label"] + 99,
        "copy": content["copy"][:, None], "image": content["image"][::-1], "split": np.array("test"),
    }.items():  # fmt: skip
        np.savez(path, **{**content, name: array})
        seal(path.parents[1])
        with pytest.raises(DataError):
            verify(folder)


def test_median_time_counts_runs_that_never_reach_the_target() -> None:
    assert median_time([2, None, 4, 5, None]) == 5
    assert median_time([5, 5, None, None, None]) is None
    assert median_time([3, None, 2, None]) == 3
    assert median_time([3, 1, 2]) == 2


def test_it_imports_no_torch(studies: dict[str, Path]) -> None:
    code = "import sys; from headstart.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code, "verify", studies["two arms"]], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
