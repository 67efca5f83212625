"""The images of a study or an ablation were moved: all its runs and its files get the new place."""

import shutil
from pathlib import Path

import pytest

import headstart
from headstart.analysis.run_records import runs_in
from headstart.config.new_place import NewPlace
from headstart.config.plan_file import read_plan_file
from headstart.config.study_file import read_study
from headstart.errors import DataError
from headstart.experiment import ablation, relocation
from headstart.experiment.ablation_grid import ablation_spec, read_ablation, write_ablation
from headstart.experiment.conclusion import complete_verdict
from headstart.reporter import NullReporter
from headstart.runs.run_folder import make_run_folder
from tests.messages import SentenceReporter
from tests.moved_photos import SETTINGS, write_photos


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folder of a finished study whose photos were moved, and their new place."""
    root = tmp_path_factory.mktemp("study")
    write_photos(root / "photos", 12)
    arms = ["scratch", "scratch+frozen"]
    study = headstart.compare(
        str(root / "photos"), arms=arms, runs=root / "runs", seeds=2, grid=[0.1, 0.01], survivors=1,
        engine="local", quiet=True, **SETTINGS,
    )  # fmt: skip
    (root / "photos").rename(root / "new")
    return study.folder, root / "new"


def all_runs(folder: Path):
    return [run for parent in (folder, folder / "search") for run in runs_in(parent)]


def test_study_is_continued_at_the_new_place(moved: tuple[Path, Path]) -> None:
    folder, place = moved
    before = {run.folder: run.hash for run in all_runs(folder)}
    removed = next(run for run in runs_in(folder) if run.seed == 1)
    shutil.rmtree(removed.folder)
    (folder / "verdict.json").unlink()
    with pytest.raises(DataError) as error:
        headstart.resume(folder, quiet=True)
    assert "--data" in error.value.hint
    study = headstart.resume(folder, data=place, engine="local", quiet=True)
    sources = {run.plan.data.source for run in all_runs(folder)}
    assert sources == {str(place)} and read_study(folder).plan.data.source == str(place)
    hashes = {run.folder: run.hash for run in all_runs(folder)}
    assert sorted(hashes.values()) == sorted(before.values())
    written = (folder / "verdict.json").read_bytes()
    assert complete_verdict(folder, read_study(folder)) is not None
    assert headstart.resume(folder, quiet=True).verdict == study.verdict
    assert (folder / "verdict.json").read_bytes() == written


def test_finished_study_keeps_its_verdict(moved: tuple[Path, Path], tmp_path: Path) -> None:
    folder, place = tmp_path / "study", tmp_path / "newer"
    shutil.copytree(moved[0], folder)
    shutil.copytree(moved[1], place)
    files = {path: path.read_bytes() for path in folder.rglob("*.json")}
    (place / "cat" / "0.png").rename(place / "cat" / "zero.png")
    with pytest.raises(DataError):
        headstart.resume(folder, data=place, quiet=True)
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == files
    (place / "cat" / "zero.png").rename(place / "cat" / "0.png")
    verdict = headstart.Study(folder).verdict
    assert headstart.resume(folder, data=place, quiet=True).verdict == verdict
    assert {run.plan.data.source for run in all_runs(folder)} == {str(place)}


def test_ablation_without_runs_is_begun_again(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    write_ablation(tmp_path, ablation_spec(str(tmp_path / "photos"), {}))
    with pytest.raises(DataError):
        relocation.relocate_ablation(tmp_path, NewPlace(str(tmp_path / "photos")), NullReporter())
    assert read_ablation(tmp_path).study.plan.data.source == str(tmp_path / "photos")


@pytest.mark.slow  # makes the twelve networks twice
def test_ablation_is_continued_at_the_new_place(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    settings = {name: value for name, value in SETTINGS.items() if name != "network"}
    reporter = SentenceReporter()
    begun = ablation.begin(ablation_spec(str(tmp_path / "photos"), settings), tmp_path / "runs", reporter)
    assert sum("headstart check" in sentence for sentence in reporter.sentences) == 1  # of eight networks
    run = make_run_folder(begun.networks[0].plan, begun.folder, None)
    (tmp_path / "photos").rename(tmp_path / "new")
    spec = relocation.relocate_ablation(begun.folder, NewPlace(str(tmp_path / "new")), NullReporter())
    resumed = ablation.begin(spec, tmp_path / "runs", NullReporter(), begun.folder)
    assert resumed.folder == begun.folder  # not a folder with the name of the new place
    assert [network.plan.hash for network in resumed.networks] == [network.plan.hash for network in begun.networks]
    assert read_plan_file(run).plan.data.source == str(tmp_path / "new")
