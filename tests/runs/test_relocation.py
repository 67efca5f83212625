"""Images of a run that were moved are found again with --data: the same images only, and however they are read."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import headstart
from headstart.cli.main import main
from headstart.config.new_place import NewPlace
from headstart.config.plan_file import read_plan_file
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import ResolvedFacts, RunConfig
from headstart.data import hashing, sources
from headstart.errors import DataError, UsageError
from headstart.i18n import verbatim
from headstart.reporter import NullReporter
from headstart.runs import runner
from headstart.runs.relocation import find_images, suggesting_new_place
from headstart.storage import locks
from tests.files import read_json
from tests.messages import fields_of
from tests.moved_photos import SETTINGS, write_photos


def plan_of(source: Path, **settings: object) -> RunConfig:
    """Return a plan that has the fingerprint and the counts of its images."""
    plan = resolve_settings({"source": str(source), **settings}).plan
    index = sources.read_data(plan.data)
    counts = {name: int((index.labels == number).sum()) for number, name in enumerate(index.classes)}
    fingerprint = hashing.fingerprint(index, hashing.hash_files(index))
    return plan.with_facts(ResolvedFacts(fingerprint=fingerprint, class_counts=counts, class_names=index.classes))


def found(plan: RunConfig, place: Path | str) -> RunConfig:
    """Return the plan with the images at a new place, read again from there."""
    data = find_images(plan, NewPlace(str(place)), Path("run"), NullReporter())
    moved = plan.model_copy(update={"data": data})
    index = sources.read_data(moved.data)
    assert hashing.fingerprint(index, hashing.hash_files(index)) == plan.facts.fingerprint
    return moved


def write_table(photos: Path, file: Path, path: Callable[[Path], str]) -> Path:
    rows = [(path(photo), photo.parent.name) for photo in sorted(photos.rglob("*.png"))]
    pd.DataFrame(rows, columns=["where", "kind"]).to_csv(file, index=False)
    return file


COLUMNS = {"path_column": "where", "label_column": "kind"}


def test_folder_is_found_under_a_relative_path_and_a_home(tmp_path: Path, monkeypatch) -> None:
    plan = plan_of(write_photos(tmp_path / "photos"))
    (tmp_path / "photos").rename(tmp_path / "new place")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = str(tmp_path / "new place")
    assert [found(plan, place).data.source for place in (expected, "new place", "~/new place")] == [expected] * 3


def test_table_that_was_moved_with_its_images(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "set" / "photos")
    write_table(photos, tmp_path / "set" / "list.csv", lambda photo: f"photos/{photo.parent.name}/{photo.name}")
    plan = plan_of(tmp_path / "set" / "list.csv", **COLUMNS)
    (tmp_path / "set").rename(tmp_path / "moved")
    expected = str(tmp_path / "moved" / "list.csv")
    assert [found(plan, tmp_path / place).data.source for place in ("moved", "moved/list.csv")] == [expected] * 2


def test_table_of_absolute_paths_is_copied_beside_moved_images(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    table = write_table(photos, tmp_path / "list.csv", str)
    plan = plan_of(table, allow_outside=True, **COLUMNS)
    (tmp_path / "new").mkdir()
    photos.rename(tmp_path / "new" / "photos")
    with pytest.raises(DataError) as error:
        find_images(plan, NewPlace(str(table)), Path("run"), NullReporter())
    assert fields_of(error.value.message)["count"] == 16
    for place in ("new", "new/photos"):  # the names of the images are relative to the folder that contains all
        shutil.copy(table, tmp_path / place / "copy.csv")
        assert found(plan, tmp_path / place / "copy.csv").data.source == str(tmp_path / place / "copy.csv")


def test_table_of_class_folders_is_found_as_a_folder(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    plan = plan_of(write_table(photos, tmp_path / "list.csv", str), allow_outside=True, **COLUMNS)
    photos.rename(tmp_path / "moved")
    moved = found(plan, tmp_path / "moved").data
    assert (moved.source, moved.path_column) == (str(tmp_path / "moved"), "")


def test_inner_class_folders_stay_the_classes(tmp_path: Path) -> None:
    for fold in ("fold1", "fold2"):
        write_photos(tmp_path / "photos" / fold, 3 + len(fold))
    plan = plan_of(tmp_path / "photos", class_folders="inner")
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert found(plan, tmp_path / "moved").data.class_folders == "inner"


def test_images_that_cannot_be_decoded_stay_left_out(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    plan = plan_of(photos, skip_bad=True, image_size=16, threads=1)
    (photos / "cat" / "broken.png").write_bytes(b"no image")
    photos.rename(tmp_path / "moved")
    assert find_images(plan, NewPlace(str(tmp_path / "moved")), Path("run"), NullReporter()).skip_bad


@pytest.mark.parametrize(
    ("change", "values"),
    [
        (lambda root: (root / "cat" / "1.png").unlink(), {"name": "cat", "count": 7, "former": 8}),
        (lambda root: shutil.copytree(root / "cat", root / "fox"), {"name": "fox", "count": 8, "former": 0}),
        (lambda root: (root / "cat" / "1.png").rename(root / "cat" / "one.png"), {}),
        (lambda root: shutil.copy(root / "cat" / "1.png", root / "cat" / "2.png"), {}),
    ],
)
def test_other_images_are_refused_with_the_difference(change, values: dict, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    plan = plan_of(photos)
    change(photos)
    with pytest.raises(DataError) as error:
        find_images(plan, NewPlace(str(photos)), Path("run"), NullReporter())
    fields = fields_of(error.value.message)
    assert {name: fields.get(name) for name in ("name", "count", "former") if name in fields} == values


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with photos and the finished run `runs/run` on them."""
    root = tmp_path_factory.mktemp("project")
    write_photos(root / "photos")
    run = headstart.train(str(root / "photos"), runs=root / "runs", quiet=True, **SETTINGS)
    run.folder.rename(root / "runs" / "run")
    return root


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder whose run is not finished, with its photos moved to `moved`."""
    root = tmp_path / "project"
    shutil.copytree(finished, root)
    (root / "photos").rename(root / "moved")
    plan, source = root / "runs" / "run" / "plan.json", str(finished / "photos")
    plan.write_text(plan.read_text().replace(source, str(root / "photos")))
    (root / "runs" / "run" / "result.json").unlink()
    return root


def test_resume_names_the_flag_and_writes_the_new_place(project: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit) as stop:
        main(["resume", "runs/run"])
    assert stop.value.code == 3 and "--data" in capsys.readouterr().err.splitlines()[-1]
    main(["resume", "runs/run", "--data", "moved", "--quiet"])
    content = read_plan_file(project / "runs" / "run")
    assert content.plan.data.source == str(project / "moved") and content.plan.hash == content.hash
    (project / "runs" / "run" / "result.json").unlink()
    monkeypatch.chdir("/")
    runner.resume(project / "runs" / "run", NullReporter())  # without the flag, from anywhere
    assert headstart.Run(project / "runs" / "run").state == "finished"


def test_result_after_a_move_is_that_of_the_run_before(project: Path, finished: Path) -> None:
    shutil.rmtree(project / "runs" / "run" / "model")
    (project / "runs" / "run" / "metrics.jsonl").unlink()
    run = headstart.resume(project / "runs" / "run", data=project / "moved", quiet=True)
    results = [read_json(root / "runs" / "run" / "result.json") for root in (project, finished)]
    files = [result.pop("seal")["files"] for result in results]
    assert {**results[0], "seconds": 0} == {**results[1], "seconds": 0}
    assert files[0].keys() == files[1].keys()
    assert [name for name in files[0] if files[0][name] != files[1][name]] == ["metrics.jsonl"]  # has times
    assert run.plan.data.source == str(project / "moved")


def test_refused_place_changes_nothing(project: Path) -> None:
    folder = project / "runs" / "run"
    (project / "moved" / "cat" / "1.png").unlink()
    before = (folder / "plan.json").read_bytes()
    for place in (project / "moved", project / "nowhere", "digits"):
        with pytest.raises(DataError):
            headstart.resume(folder, data=place, quiet=True)
    assert (folder / "plan.json").read_bytes() == before


def test_run_that_another_process_uses_is_not_changed(project: Path) -> None:
    folder = project / "runs" / "run"
    before = (folder / "plan.json").read_bytes()
    with locks.locked(folder), pytest.raises(UsageError):
        headstart.resume(folder, data=project / "moved", quiet=True)
    assert (folder / "plan.json").read_bytes() == before


def test_data_frame_with_new_paths_resumes_a_run_on_a_folder(project: Path) -> None:
    photos = sorted((project / "moved").rglob("*.png"))
    frame = pd.DataFrame({"path": map(str, photos), "label": [photo.parent.name for photo in photos]})
    run = headstart.resume(project / "runs" / "run", data=frame, quiet=True)
    assert Path(run.plan.data.source).parent == project / "runs" / "manifests"
    assert run.evaluate().own


def stray_image(root: Path) -> None:
    shutil.copy(root / "cat" / "1.png", root / "stray.png")


def folder_of_copies(root: Path) -> None:
    for name in ("cat", "dog"):
        shutil.copytree(root / "cat", root / name / "cat")
        shutil.copytree(root / "dog", root / name / "dog", ignore=shutil.ignore_patterns("cat"))
        for photo in (root / name).glob("*.png"):
            photo.unlink()


def rewritten_table(edit: Callable[[str], str]) -> Callable[[Path], None]:
    def rewrite(root: Path) -> None:
        table = root / "list.csv"
        table.write_text(edit(table.read_text()))

    return rewrite


UNREADABLE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "image outside of classes": ("", stray_image),
    "two readings": ("", folder_of_copies),
    "no images": ("", lambda root: [shutil.rmtree(path) for path in root.iterdir()]),
    "no label": ("list.csv", rewritten_table(lambda text: text.replace("cat/1.png,cat", "cat/1.png,"))),
    "other column": ("list.csv", rewritten_table(lambda text: text.replace("kind", "kinds"))),
    "two labels": ("list.csv", rewritten_table(lambda text: text + "cat/1.png,dog\n")),
    "no rows": ("list.csv", rewritten_table(lambda text: text.splitlines()[0] + "\n")),
}
MISSING: dict[str, tuple[str, Callable[[Path], object]]] = {
    "moved folder": ("", lambda root: root.rename(root.with_name("moved"))),
    "moved folder of a table": ("list.csv", lambda root: root.rename(root.with_name("moved"))),
    "moved table": ("list.csv", lambda root: (root / "list.csv").rename(root / "other.csv")),
    "moved images of a table": ("list.csv", lambda root: (root / "cat").rename(root.with_name("moved"))),
    "one image of a table": ("list.csv", lambda root: (root / "cat" / "1.png").unlink()),
}


@pytest.mark.parametrize("case", [*UNREADABLE, *MISSING])
def test_hint_of_an_unreadable_image_is_kept_with_how_to_name_a_new_place(case: str, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    source, edit = {**UNREADABLE, **MISSING}[case]
    if source:
        write_table(photos, photos / source, lambda photo: f"{photo.parent.name}/{photo.name}")
    plan = plan_of(photos / source, **(COLUMNS if source else {}))
    edit(photos)
    with pytest.raises(DataError) as plain:
        sources.read_data(plan.data)
    with pytest.raises(DataError) as error, suggesting_new_place(tmp_path / "a run"):
        sources.read_data(plan.data)
    assert error.value.message == plain.value.message
    assert f"headstart resume '{tmp_path / 'a run'}' --data NEW" in error.value.hint
    # a hint to correct a table does not help if its files are missing: it would be another table
    assert (plain.value.hint in error.value.hint) == (case in UNREADABLE)


def test_error_on_anything_else_says_nothing_about_a_new_place(tmp_path: Path) -> None:
    for fault in (DataError(verbatim("m"), verbatim("h")), UsageError(verbatim("m"), verbatim("h"))):
        with pytest.raises(type(fault)) as error, suggesting_new_place(tmp_path):
            raise fault
        assert error.value is fault


def test_resume_keeps_the_hint_of_images_that_were_not_moved(project: Path) -> None:
    (project / "moved").rename(project / "photos")
    stray_image(project / "photos")
    with pytest.raises(DataError) as error:
        headstart.resume(project / "runs" / "run", quiet=True)
    assert fields_of(error.value.message)["example"] == "stray.png"
    assert f"{project / 'photos'}/cat/1.jpg" in error.value.hint and "--data NEW" in error.value.hint


def test_force_new_trains_the_plan_on_other_images(project: Path) -> None:
    (project / "moved" / "cat" / "1.png").unlink()
    main(["resume", str(project / "runs" / "run"), "--force-new", "--data", str(project / "moved"), "--quiet"])
    (new,) = [folder for folder in (project / "runs").iterdir() if folder.name != "run"]
    assert read_plan_file(new).plan.facts.class_counts == {"cat": 7, "dog": 8}


def test_evaluate_uses_the_data_of_the_run(finished: Path, project: Path) -> None:
    run = headstart.Run(finished / "runs" / "run")
    evaluation = headstart.evaluate(run)
    assert run.test is not None
    assert evaluation.own and (evaluation.n, evaluation.correct) == (run.test.n, run.test.correct)
    moved = headstart.evaluate(project / "runs" / "run", project / "moved")
    assert moved == evaluation
    with pytest.raises(DataError, match="evaluate"):
        headstart.evaluate(project / "runs" / "run")
    shutil.copytree(finished / "runs" / "run" / "model", project / "exported")
    with pytest.raises(DataError, match="evaluate"):
        headstart.evaluate(project / "exported")
    assert headstart.evaluate(project / "exported", project / "moved") == evaluation


def test_evaluate_reads_a_table_as_the_run_did(project: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(project)
    table = write_table(project / "moved", project / "moved" / "list.csv", lambda p: f"{p.parent.name}/{p.name}")
    run = headstart.train(table, runs=project / "runs", quiet=True, **SETTINGS, **COLUMNS)
    shutil.copytree(project / "moved", tmp_path / "elsewhere")
    assert headstart.evaluate(run, os.path.relpath(tmp_path / "elsewhere" / "list.csv")).own
