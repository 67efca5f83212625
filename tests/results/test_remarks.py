"""Commands that can do their work without a file say that it is missing or damaged."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.analysis.run_records import runs_in
from headstart.cli.main import main
from headstart.config.study_file import read_study, write_study
from headstart.config.study_request import build_study_spec
from headstart.errors import UsageError
from headstart.results.remarks import remarks
from headstart.storage.files import write_json
from headstart.storage.run_files import PREDICTIONS_FILE
from headstart.storage.schemas.verdict import Verdict, VerdictSeal
from tests.figures import made
from tests.handmade import seal
from tests.messages import fields_of

SPEC = build_study_spec("digits", made.Made().arms, None, None, None, None, {"epochs": "2ep", "seeds": 1})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made.write_study(tmp_path_factory.mktemp("remarks") / "study", made.Made(seeds=1, epochs=2))
    write_study(folder, SPEC)
    for run in list(runs_in(folder)):
        (run.folder / "artifacts").mkdir(exist_ok=True)
        (run.folder / "artifacts" / "gallery.zip").unlink(missing_ok=True)
        (run.folder / PREDICTIONS_FILE).write_bytes(b"predictions")
        seal(run.folder)
    seals = VerdictSeal(runs={run.folder.name: run.result.seal.digest for run in runs_in(folder) if run.result})
    content = Verdict.read(folder / "verdict.json").model_copy(update={"study": read_study(folder).hash, "seal": seals})
    write_json(folder / "verdict.json", content.to_json())
    return folder


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "study"))


def edit_margin(folder: Path) -> None:
    text = (folder / "study.toml").read_text()
    assert text.count('margin = "1pt"') == 1
    (folder / "study.toml").write_text(text.replace('margin = "1pt"', 'margin = "9pt"'))


def truncate(folder: Path) -> None:
    (folder / "study.toml").write_text((folder / "study.toml").read_text()[:100])


def declare_another(folder: Path) -> None:
    write_study(folder, build_study_spec("digits", made.Made().arms, None, None, None, None, {"seeds": 1}))


@pytest.mark.parametrize("damage", [edit_margin, truncate, declare_another])
def test_another_declaration_than_that_of_the_verdict_is_said_by_each_command(
    study: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert remarks(study) == []
    damage(study)
    (remark,) = remarks(study)
    assert "study.toml" in remark
    for command in ("report", "diagnose"):
        main([command, str(study)])
        assert str(remark) in capsys.readouterr().err


def test_a_truncated_declaration_is_restored_and_not_corrected(study: Path) -> None:
    truncate(study)
    with pytest.raises(UsageError) as begun:
        read_study(study)
    with pytest.raises(UsageError) as written:
        read_study(study / "study.toml")
    assert begun.value.message == written.value.message and begun.value.hint != written.value.hint


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"")])
def test_lost_predictions_are_named(study: Path, damage: Callable[[Path], object]) -> None:
    run = list(runs_in(study))[-1].folder
    damage(run / PREDICTIONS_FILE)
    for folder in (study, run):
        (remark,) = remarks(folder)
        assert fields_of(remark)["count"] == 1 and str(run / PREDICTIONS_FILE) in remark


def test_a_damaged_gallery_is_named(study: Path) -> None:
    run = next(runs_in(study)).folder
    (run / "artifacts" / "gallery.zip").write_bytes(b"PK")
    for folder in (study, run):
        (remark,) = remarks(folder)
        assert fields_of(remark) == {"path": run / "artifacts" / "gallery.zip"}
