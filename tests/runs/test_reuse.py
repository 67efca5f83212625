"""Runs that are reused from the cache: whole ones are copied, and those that cannot be read are trained again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.analysis.run_records import read_run
from headstart.config.resolve import resolve_settings
from headstart.reporter import NullReporter
from headstart.runs import reuse, runner
from headstart.runs.job_protocol import RunRequest
from headstart.storage import run_index
from headstart.storage.journal import line_bytes, read_lines
from tests.handmade import run_role
from tests.short_runs import SMALL


def drop_version(path: Path) -> None:
    path.write_text(path.read_text().replace('"schema_version":1,', "", 1))


def cut_a_line(path: Path) -> None:
    first, second, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, second[:9] + "\n", *rest]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    plan = resolve_settings({**SMALL, "network": "timm:test_resnet", "epochs": "2st"}).plan
    return runner.run_new(plan, tmp_path_factory.mktemp("runs"), NullReporter(), role=run_role("a"))


@pytest.mark.parametrize("damage", [drop_version, cut_a_line])
def test_run_whose_record_is_damaged_is_not_reused(
    damage: Callable[[Path], None], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    request = RunRequest(plan=read_run(folder).plan, role=run_role("a"))
    reuse.register_finished(folder, request.plan)
    copied = reuse.copy_finished(tmp_path / "study", request)
    assert copied is not None and read_run(copied).reused_from == str(folder)
    assert list(read_lines(copied / "metrics.jsonl")) == list(read_lines(folder / "metrics.jsonl"))
    for path in (folder, copied):
        damage(path / "metrics.jsonl")
    assert reuse.copy_finished(tmp_path / "other", request) is None
    assert list((tmp_path / "other").glob("*")) == []


def test_a_paused_run_is_reused_only_with_its_record_in_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial of a search that pauses has no seal; its record has to be the one that this user's run wrote."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    plan = resolve_settings({**SMALL, "network": "timm:test_resnet", "epochs": "3ep"}).plan
    request = RunRequest(plan=plan, role=run_role("a").model_copy(update={"rung": 1}))
    folder = runner.run_new(plan, tmp_path, NullReporter(), until=1, role=request.role)
    request = request.model_copy(update={"plan": read_run(folder).plan})
    reuse.register_finished(folder, request.plan, 1)
    assert reuse.is_done(request)
    record = (folder / "metrics.jsonl").read_bytes()
    lines = list(read_lines(folder / "metrics.jsonl"))
    changed = [line.model_copy(update={"loss": 0.0}) if line.kind == "step" else line for line in lines]
    (folder / "metrics.jsonl").write_bytes(b"".join(map(line_bytes, changed)))
    assert len(read_run(folder).epochs) == 1 and not reuse.is_done(request)
    (folder / "metrics.jsonl").write_bytes(record)
    assert reuse.is_done(request)
    monkeypatch.setenv("HEADSTART_DATA", str(tmp_path / "other"))
    assert not reuse.is_done(request)


@pytest.mark.parametrize("name", ["metrics.jsonl", "artifacts/predictions.npz", "model/preprocess.json", "result.json"])
def test_a_copy_that_differs_from_the_run_is_not_sealed(
    name: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    request = RunRequest(plan=read_run(folder).plan, role=run_role("a"))
    reuse.register_finished(folder, request.plan)
    real = reuse.copy_file

    def damaged(source: Path, file: str, target: Path, new_name: str, *, link: bool) -> None:
        real(source, file, target, new_name, link=False)
        if file == name:
            (target / new_name).write_bytes((target / new_name).read_bytes() + b" ")

    monkeypatch.setattr(reuse, "copy_file", damaged)
    index = run_index.data_root() / run_index.INDEX_FILE
    before = index.read_bytes()
    copied = reuse.copy_finished(tmp_path / "study", request)
    if name == "result.json":  # that of the copy is written from the result that was verified
        assert copied is not None and read_run(copied).result.val == read_run(folder).result.val
        assert read_run(copied).result.seal.files == read_run(folder).result.seal.files
    else:
        assert copied is None and list((tmp_path / "study").glob("*")) == [] and index.read_bytes() == before
