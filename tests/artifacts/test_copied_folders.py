"""Folders of runs and studies from somebody else: links, names that lead out of them, and files that grow."""

import contextlib
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from headstart.analysis.run_records import runs_at, runs_in
from headstart.artifacts.find_model import find_model
from headstart.artifacts.model_folder import read_model, saved_epoch
from headstart.cli.main import main
from headstart.engines.transfer import pack, unpack
from headstart.errors import DataError, HeadstartError
from headstart.experiment import best_model
from headstart.figures import keep
from headstart.figures.filters import trained_filters
from headstart.inference.training_data import training_plan
from headstart.report import page, photos
from headstart.report.inputs import StudyInputs
from headstart.reporter import NullReporter, Reporter
from headstart.runs import reuse
from headstart.storage.contained import UnsafeFileError
from headstart.storage.files import write_json
from headstart.storage.schemas.metrics import ImageLine
from headstart.storage.schemas.verdict import ExportedRun
from headstart.telemetry.tensorboard import TensorBoard
from headstart.weights.model_weights import model_weights
from tests.handmade import seal
from tests.memory import cost
from tests.short_runs import SGD
from tests.trained import train
from tests.verdicts import arm_result, seed_result, verdict

MAX_MB, MAX_SECONDS = 500, 10  # of any file of at most 10 MB
SECRET = b"a private key"
SMALL = {**SGD, "source": "digits:0-3", "network": "resnet20", "batch_size": 32, "epochs": "2st", "precision": "fp32"}
VERDICT = verdict([arm_result(name, [seed_result(0), seed_result(1)]) for name in ("imagenet", "scratch")])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network with small files, which every test copies, and which some tests train again."""
    return train(tmp_path_factory.mktemp("finished"), **SMALL, image_size=16, threads=1)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.effect_noise((30, 30), 90).convert("RGB").save(path)
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, in a folder beside a private file."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_bytes(SECRET)
    return Path(shutil.copytree(finished, tmp_path / "study" / "run-0"))


def below(folder: Path) -> bytes:
    """Return the contents of all files below a folder, those of links as well."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def replace_by_link(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def deflated(members: dict[str, tuple[bytes, int]]) -> bytes:
    """Return a zip with these members: a begin, and the number of zeros that follow it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, (begin, zeros) in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(begin)
                for _ in range(zeros // 1_000_000):
                    member.write(bytes(1_000_000))
    return buffer.getvalue()


def test_compressed_predictions_take_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (200, 1_000_000)})
    arrays = {"logits.npy": (header.getvalue(), 800_000_000)}
    for name, array in (
        ("split", ["test"] * 200),
        ("image", ["a"] * 200),
        ("label", [0] * 200),
        ("copy", [False] * 200),
    ):
        small = io.BytesIO()
        np.save(small, np.array(array))
        arrays[f"{name}.npy"] = (small.getvalue(), 0)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "predictions.npz").write_bytes(content := deflated(arrays))
    assert len(content) < 10_000_000
    setup = "from pathlib import Path; from headstart.analysis.correctness import read_predictions"
    taken = cost(setup, f"read_predictions(Path({str(tmp_path)!r}), 'test')")
    assert taken.megabytes < MAX_MB and taken.seconds < MAX_SECONDS and taken.error == "DataError"


def test_compressed_gallery_takes_no_memory(tmp_path: Path) -> None:
    index = {"schema_version": 1, "split": "test", "classes": ["a"], "lists": {"mistakes": [], "least_confident": []},
             "cells": {}, "counts": {"classes": 1, "true": [0], "predicted": [0], "counts": [1]},
             "photos": [{"key": "a", "true": 0, "predicted": 0, "confidence": 1.0}] * 40}  # fmt: skip
    members = {f"{number}.webp": (b"", 19_000_000) for number in range(40)}
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "gallery.zip").write_bytes(
        content := deflated({"index.json": (json.dumps(index).encode(), 0), **members})
    )
    assert len(content) < 10_000_000
    setup = "from pathlib import Path; from headstart.report.photos import load_gallery"
    taken = cost(setup, f"assert load_gallery(Path({str(tmp_path)!r})) is None")
    assert taken.megabytes < MAX_MB and taken.seconds < MAX_SECONDS and taken.error == "-"


@pytest.mark.parametrize("sides", [(16383, 16383), (96, 97)])
def test_thumbnails_of_other_sizes_are_not_shown(run: Path, sides: tuple[int, int]) -> None:
    path = run / "artifacts" / "gallery.zip"
    assert photos.load_gallery(run) is not None
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    width, height = (side.to_bytes(2, "little") for side in sides)
    members["0.webp"] = members["0.webp"][:26] + width + height + members["0.webp"][30:]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert photos.load_gallery(run) is None


def test_a_network_much_larger_than_its_weights_is_not_built(run: Path) -> None:
    content = json.loads((run / "model" / "config.json").read_text())
    content["headstart"]["network"] = {"network": "timm:vit_giant_patch14_224"}
    (run / "model" / "config.json").write_text(json.dumps(content))
    classes = len(content["label_names"])
    save_file({"head.bias": np.zeros(classes, np.float32)}, run / "model" / "model.safetensors")
    seal(run)
    setup = "from pathlib import Path; import timm; from headstart.artifacts.model_folder import read_model"
    taken = cost(setup, f"read_model(Path({str(run)!r}), 'model')")
    assert taken.megabytes < MAX_MB and taken.seconds < MAX_SECONDS and taken.error == "ModelFileError"


@pytest.mark.parametrize("file", ["model", "model/model.safetensors", "model/config.json", "model/preprocess.json"])
def test_a_model_is_not_read_through_links(run: Path, file: str) -> None:
    private = run.parent.parent / "private" / "copy"
    (shutil.copytree if (run / file).is_dir() else shutil.copyfile)(run / file, private)
    readers = {
        "read": lambda: read_model(*find_model(run)),
        "weights": lambda: model_weights(run, "model"),
        "filters": lambda: trained_filters(run),
        "epoch": lambda: saved_epoch(run, "model"),
    }
    for read in readers.values():
        read()
    replace_by_link(run / file, private)
    affected = {"model/model.safetensors": ["read", "weights", "filters"], "model/config.json": ["read", "epoch"],
                "model/preprocess.json": ["read"]}.get(file, [*readers])  # fmt: skip
    for name in affected:
        with pytest.raises(HeadstartError, match=file):
            readers[name]()


@pytest.mark.parametrize("name", ["y.txt", "README.md", "code"])
def test_the_best_model_has_no_file_of_elsewhere(run: Path, name: str) -> None:
    study = run.parent
    replace_by_link(run / "model" / name, study.parent / "private" / ("" if name == "code" else "key"))
    with pytest.raises(UnsafeFileError, match=name):
        best_model.export(study, VERDICT)
    assert not (study / "model").exists() and {path.name for path in study.iterdir()} == {"run-0"}


def test_the_best_model_has_the_known_files_of_the_run(run: Path) -> None:
    (run / "model" / "notes.txt").write_text("unknown")
    best_model.export(run.parent, VERDICT)
    model = run.parent / "model"
    assert {path.name for path in model.iterdir()} == {path.name for path in (run / "model").iterdir()} - {"notes.txt"}
    for name in ("model.safetensors", "config.json", "preprocess.json"):
        assert (model / name).read_bytes() == (run / "model" / name).read_bytes()
    replace_by_link(model, run.parent.parent / "private")
    best_model.export(run.parent, VERDICT)  # the link itself is replaced
    assert not model.is_symlink() and [path.name for path in (run.parent.parent / "private").iterdir()] == ["key"]


@pytest.mark.parametrize("place", ["../private", "linked", "/etc"])
def test_the_exported_run_is_one_of_the_study(run: Path, place: str) -> None:
    study = run.parent
    (study / "linked").symlink_to(study.parent / "private")
    shutil.copytree(run, study.parent / "private", dirs_exist_ok=True)
    forged = VERDICT.model_copy(update={"exported": ExportedRun(run=place, seed=0)})
    with pytest.raises(UnsafeFileError):
        best_model.export(study, forged)
    with pytest.raises(UnsafeFileError):
        StudyInputs(study, [], {}, forged).evaluated  # noqa: B018
    write_json(study / "verdict.json", forged.to_json())
    shutil.copytree(run / "model", study / "model")
    assert training_plan(study / "model") is None
    write_json(study / "verdict.json", VERDICT.to_json())
    assert training_plan(study / "model") is not None


def test_reused_and_sent_runs_have_no_file_of_elsewhere(run: Path, tmp_path: Path) -> None:
    (run / "notes.txt").write_text("unknown")
    (tmp_path / "copy").mkdir()
    reuse.copy_files(run, tmp_path / "copy")
    (sent,) = unpack(pack([run]), tmp_path / "sent").values()
    known = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} - {"notes.txt"}
    assert {str(path.relative_to(sent)) for path in sent.rglob("*") if path.is_file()} == known
    copied = {str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert copied == known - {"plan.json"}
    for name in ("y.txt", "artifacts/samples.jpg"):
        replace_by_link(run / name, tmp_path / "private" / "key")
        for use in (lambda: reuse.copy_files(run, tmp_path / "copy"), lambda: pack([run])):
            with pytest.raises(UnsafeFileError, match=name):
                use()
        (run / name).unlink()
    assert SECRET not in below(tmp_path / "copy")


def archive_of(kind: str) -> bytes:
    """Return an archive of a run with one member that is not that of a run, or which is compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("run/plan.json"))
        names = {"unknown": "run/notes.txt", "top": "plan.json", "up": "../plan.json", "twice": "run/plan.json",
                 "deep": "a/run/plan.json"}  # fmt: skip
        member = tarfile.TarInfo(names.get(kind, "run/result.json"))
        if kind in ("fifo", "device", "folder"):
            member.type = {"fifo": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE, "folder": tarfile.DIRTYPE}[kind]
        archive.addfile(member)
    content = buffer.getvalue()
    return {"gzip": gzip.compress(content), "cut": content[:700], "text": b"no archive"}.get(kind, content)


@pytest.mark.parametrize(
    "kind", ["unknown", "top", "up", "twice", "deep", "fifo", "device", "folder", "gzip", "cut", "text"]
)
def test_other_archives_of_runs_are_not_unpacked(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        unpack(archive_of(kind), tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("name", ["study.toml", "model", "lock", "mean-scratch"])
def test_archives_do_not_replace_what_is_no_run(name: str, run: Path) -> None:
    study = run.parent
    (study / "study.toml").write_text("the protocol")
    shutil.copytree(run / "model", study / "model")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(f"{name}/metrics.jsonl"))
    before = below(study)
    with pytest.raises(DataError):
        unpack(buffer.getvalue(), study)
    assert below(study) == before


@pytest.mark.parametrize("name", ["study.toml", "model"])
def test_a_run_with_the_name_of_something_else_gets_another_one(name: str, run: Path) -> None:
    study = run.parent
    (study / "study.toml").write_text("the protocol")
    shutil.copytree(run / "model", study / "model")
    before = below(study / name) if name == "model" else (study / name).read_bytes()
    (study.parent / "worker").mkdir()
    sent = Path(shutil.copytree(run, study.parent / "worker" / name))
    assert unpack(pack([sent]), study) == {name: study / f"{name}-2"}
    assert (below(study / name) if name == "model" else (study / name).read_bytes()) == before


@pytest.mark.parametrize(
    "name", ["../private/diary.png", "linked/diary.png", "diary.png", "/etc/hostname", "noise.png"]
)
def test_pictures_of_a_record_are_files_of_the_run(name: str, tmp_path: Path) -> None:
    run, private = tmp_path / "run", tmp_path / "private"
    run.mkdir()
    private.mkdir()
    Image.effect_noise((30, 30), 90).save(private / "diary.png")
    (run / "linked").symlink_to(private)
    (run / "diary.png").symlink_to(private / "diary.png")
    (run / "noise.png").write_bytes(b"no picture")
    with TensorBoard(run, {}) as board, pytest.raises(DataError):
        board.write(ImageLine(tag="samples/train", file=name))
    events = b"".join(path.read_bytes() for path in run.glob("events*"))
    assert (private / "diary.png").read_bytes() not in events


def test_pictures_of_a_run_are_in_its_event_file(tmp_path: Path) -> None:
    Image.effect_noise((30, 30), 90).save(tmp_path / "own.png")
    with TensorBoard(tmp_path, {}) as board:
        board.write(ImageLine(tag="samples/train", file="own.png"))
        board.write(ImageLine(tag="samples/train", file="missing.png"))
    events = b"".join(path.read_bytes() for path in tmp_path.glob("events*"))
    assert events.count((tmp_path / "own.png").read_bytes()) == 1


@pytest.mark.parametrize("write", [keep.write_figure, keep.write_text])
def test_documents_are_not_written_through_links(
    write: Callable[[Path, str, bytes, Reporter], None], tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_bytes(SECRET)
    study = tmp_path / "study"
    study.mkdir()
    (study / "report.md").symlink_to("../private/key")
    (study / "report-figures").symlink_to("../private")
    write(study, "report.md", b"headstart", NullReporter())
    assert (study / "report.md").read_bytes() == b"headstart" and (study / "report-1.md").is_symlink()
    with pytest.raises(UnsafeFileError):
        write(study, "report-figures/new.png", b"headstart", NullReporter())
    assert below(tmp_path / "private") == SECRET


@pytest.mark.parametrize("state", ["ended", "unfinished"])
@pytest.mark.parametrize(
    "name", ["lock", "metrics.jsonl", "plan.json", "result.json", "events", "checkpoints", "model", "artifacts",
             "report.html", "trackers.json", "model/model.safetensors", "artifacts/gallery.zip", "pipe"],
)  # fmt: skip
def test_commands_do_not_change_what_links_lead_to(run: Path, photo: Path, name: str, state: str) -> None:
    if state == "unfinished":
        (run / "result.json").unlink()
    private = run.parent.parent / "private"
    place = next(run.glob("events*")) if name == "events" else run / ("lock" if name == "pipe" else name)
    target = private / "target"
    if place.is_dir():
        shutil.copytree(place, target)
    elif name == "checkpoints":
        (target / "important.tmp-backup").mkdir(parents=True)
    else:
        target.write_bytes(place.read_bytes() if place.exists() else SECRET)
    if name == "pipe":
        os.mkfifo(place)
    else:
        replace_by_link(place, target)
    before = {str(path): path.read_bytes() if path.is_file() else b"" for path in private.rglob("*")}
    for words in (["rebuild"], ["report"], ["diagnose"], ["resume"], ["predict"]):
        with contextlib.suppress(SystemExit):
            main([*words, str(run), *([str(photo)] if words == ["predict"] else ["--quiet"])])
    assert {str(path): path.read_bytes() if path.is_file() else b"" for path in private.rglob("*")} == before


def test_a_run_behind_a_link_is_not_one_of_the_folder(run: Path) -> None:
    (run.parent / "linked").symlink_to(shutil.copytree(run, run.parent.parent / "elsewhere"))
    for call in (lambda: list(runs_in(run.parent)), lambda: runs_at(run.parent), lambda: page.write_page(run.parent)):
        with pytest.raises(UnsafeFileError) as caught:
            call()
        assert "linked" in caught.value.message


def test_names_of_runs_that_are_not_utf8_are_not_written(run: Path) -> None:
    study = run.parent
    run.rename(study / os.fsdecode(b"run-\xff"))
    with pytest.raises(DataError):
        page.write_page(study)
    assert not (study / "report.html").exists()


@pytest.mark.parametrize("words", [["diagnose"], ["report"], ["pool"]])
def test_folders_that_are_nested_thousands_of_times_are_errors(words: list[str], tmp_path: Path, capsys) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    with contextlib.chdir(folder):
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
        Path("events.out.tfevents.1").touch()
    try:
        with pytest.raises(SystemExit) as end:
            main([*words, str(folder), *(["--runs", str(tmp_path / "runs")] if words == ["pool"] else [])])
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)  # too deep for Python
    assert end.value.code == DataError.exit_code


@pytest.mark.parametrize("command", ["diagnose", "report"])
def test_a_link_to_a_missing_event_file_is_no_event_file(command: str, tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1").symlink_to(tmp_path / "missing")
    with pytest.raises(SystemExit) as end:
        main([command, str(tmp_path)])
    assert end.value.code == DataError.exit_code
