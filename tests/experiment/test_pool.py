"""Runs that were made apart are pooled into the study that they could have been."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import headstart
from headstart.analysis.details import limits
from headstart.analysis.notes import notes
from headstart.analysis.run_records import read_run
from headstart.analysis.status import read_verdict
from headstart.cli.main import main
from headstart.config.run_config import RunConfig
from headstart.config.study_file import read_study
from headstart.errors import DataError, ModelFileError, UsageError
from headstart.experiment import pool
from headstart.experiment.conclusion import complete_verdict
from headstart.experiment.pooled_runs import LeftOut, left_out_sentences
from headstart.i18n import _
from headstart.models.factory import build
from headstart.report.provenance import declared_protocol
from headstart.storage import run_index
from headstart.storage.files import write_json
from headstart.storage.schemas.search import ArmSearch, SearchGroup, SearchResults, TrialScores
from tests.engines.test_contract import own_cache
from tests.files import read_json
from tests.handmade import evaluation, run_result, run_role, write_run_files
from tests.messages import fields_of, values_of
from tests.models.test_user_network import NETWORK, write
from tests.verdicts import arm_result, seed_result, verdict

SETTINGS = {
    "network": "timm:test_resnet", "batch_size": 8, "precision": "fp32", "threads": 1, "epochs": "12st", "lr": 0.01,
    "image_size": 16, "evaluate_on_val": True,
}  # fmt: skip
OPTIMIZERS = ("sgd", "adam")


def train(folder: Path, **settings) -> headstart.Run:
    return headstart.train("digits:0-3", runs=folder, quiet=True, **{"optimizer": "sgd", **SETTINGS, **settings})


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the folders of five students, each with the runs of one seed."""
    folder = tmp_path_factory.mktemp("class")
    for seed in range(5):
        for optimizer in OPTIMIZERS:
            train(folder / f"student{seed}", seed=seed, optimizer=optimizer)
    return folder


def numbers(folder: Path) -> dict:
    """Return a verdict without what differs between a pooled study and a declared one: names, seals and costs."""
    verdict = read_json(folder / "verdict.json")
    for key in ("study", "pooled", "cost", "sentences", "seal", "studies_on_test_set"):
        del verdict[key]
    for condition in (verdict, *verdict["conditions"]):
        del condition["exported"]["run"]
        for arm in condition["arms"]:
            for run in arm["seeds"]:
                del run["run"], run["seconds"]
            if arm["to_target"]:
                del arm["to_target"]["seconds"]
            for run in arm["seeds"]:
                if run["to_target"]:
                    del run["to_target"]["seconds"]
    return verdict


def test_pooled_runs_have_the_verdict_of_one_study(students: Path, tmp_path: Path) -> None:
    study = headstart.pool(students, runs=tmp_path / "pooled", quiet=True)
    settings = {name: value for name, value in SETTINGS.items() if name != "evaluate_on_val"}
    arms = [f"scratch@{optimizer}" for optimizer in OPTIMIZERS]
    with own_cache(tmp_path / "cache"):
        settings |= {"seeds": 5, "search": "off", "engine": "local"}
        one = headstart.compare("digits:0-3", arms=arms, runs=tmp_path / "one", quiet=True, **settings)
    assert numbers(study.folder) == numbers(one.folder)
    assert read_json(study.folder / "verdict.json")["pooled"] and study.verdict.n == 5
    assert (study.folder / "report.html").is_file() and study.best().predict("examples/photos/t-shirt")
    assert complete_verdict(study.folder, read_study(study.folder)) is not None
    assert headstart.resume(study.folder, quiet=True).verdict == study.verdict


def test_runs_that_do_not_fit_are_listed(students: Path, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    shutil.copytree(students, folder)
    extra = tmp_path / "all" / "extra"
    runs = {
        "epochs": train(extra, seed=7, epochs="13st"),
        "seed 9": train(extra, seed=9),
        "lr": train(extra, seed=3, lr=0.02),
        "fraction": train(extra, seed=0, fraction=0.5),
    }
    unfinished = train(extra, seed=8)
    (unfinished.folder / "result.json").unlink()
    again = train(extra, seed=2)
    linked = extra / "linked"
    linked.symlink_to(train(tmp_path / "elsewhere", seed=5).folder)
    study = pool.pool([folder], tmp_path / "pooled", {})
    reasons = {run.folder: str(run.reason) for run in study.left_out}
    assert {str(path) for path in reasons} >= {str(run.folder) for run in (*runs.values(), unfinished)}
    assert linked in reasons
    for words, run in runs.items():
        assert words in reasons[run.folder]
    assert len(reasons) == 7  # with one of the two runs of the same plan
    verdict = read_verdict(study.folder)
    assert verdict.left_out == 7 and sum(fields_of(note) == {"count": 7} for note in notes(verdict)) == 1
    assert any("seed" not in reason and str(again.folder.parent.parent) in reason for reason in reasons.values())
    assert study.verdict.n == 5 and [arm.name for arm in study.verdict.arms] == ["scratch@sgd", "scratch@adam"]


def test_runs_of_others_need_trust(students: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = train(tmp_path / "own", seed=0)
    assert read_verdict(headstart.pool(students, runs=tmp_path / "mine", quiet=True).folder).of_others == 0
    monkeypatch.setenv("HEADSTART_DATA", str(tmp_path / "index"))  # of a user who has trained one of the runs
    run_index.add(own.folder, seal=own.result.seal.digest)
    folders = [own.folder, students / "student0", students / "student1"]
    with pytest.raises(DataError) as error:
        headstart.pool(folders[1:], runs=tmp_path / "pooled", quiet=True)
    assert fields_of(error.value.message)["total"] == 4 and not (tmp_path / "pooled").exists()
    assert not run_index.fault()
    (tmp_path / "index").chmod(0o770)
    with pytest.raises(DataError) as error:
        headstart.pool(students / "student0", runs=tmp_path / "pooled", quiet=True)
    assert run_index.fault() and run_index.fault() in error.value.hint.values.values()
    (tmp_path / "index").chmod(0o700)
    (tmp_path / "alone").mkdir()
    shutil.copytree(own.folder, tmp_path / "alone" / "run")
    paths = [tmp_path / "alone", students / "student0" / adam_of(students / "student0").name, students / "student1"]
    verdict = read_verdict(headstart.pool(paths, trust=True, runs=tmp_path / "pooled", quiet=True).folder)
    assert verdict.of_others == 3 and sum("3 of the 4 pooled runs" in note for note in verdict.sentences.notes) == 1
    again = headstart.pool(tmp_path / "pooled", trust=True, runs=tmp_path / "twice", quiet=True)
    assert read_verdict(again.folder).of_others == 3  # copies stay those of others


def adam_of(folder: Path) -> Path:
    return next(run for run in folder.iterdir() if "adam" in run.name)


@pytest.mark.parametrize(
    "file", ["metrics.jsonl", "artifacts/predictions.npz", "model/model.safetensors", "plan.json", "result.json"]
)
def test_a_run_that_was_changed_is_not_pooled(students: Path, tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(students, tmp_path / "all")
    path = sorted(folder.glob(f"student1/*/{file}"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        headstart.pool(folder, runs=tmp_path / "pooled", trust=True, quiet=True)
    assert str(path) in map(str, fields_of(error.value.message).values())
    assert fields_of(error.value.hint)["folder"] == path.parents[len(Path(file).parents) - 1]  # which is to be moved


def test_runs_are_left_out_in_one_line_for_each_reason() -> None:
    trials = [LeftOut(Path(f"search/run{number}"), _("a trial"), is_trial=True) for number in range(15)]
    sentences = left_out_sentences([*trials, LeftOut(Path("other"), _("not ended"))])
    assert [fields_of(sentence).get("count") for sentence in sentences] == [15, 1]


def test_an_arm_has_the_start_that_was_declared(tmp_path: Path) -> None:
    """The start of a run is the folder of a run on the source, which other studies do not have."""
    plan = RunConfig().changed(start=f"run:{tmp_path}/sources/one")
    write_run_files(tmp_path, plan, role=run_role("source:digits:4-6"))
    assert pool._declared_start(read_run(tmp_path)) == "source:digits:4-6"
    write_run_files(tmp_path, plan, role=run_role("run:elsewhere"))
    assert pool._declared_start(read_run(tmp_path)) == plan.arm.start


def test_rates_of_pooled_runs_are_not_called_given() -> None:
    """Only a study that declares its rates says that they were given."""
    declared = verdict([arm_result("scratch", [seed_result(0)]), arm_result("imagenet", [seed_result(0)])])
    declared = declared.model_copy(update={"search": [], "pooled": False})
    pooled = declared.model_copy(update={"pooled": True})
    assert len({*notes(pooled)} - {*notes(declared)}) == 2  # also that it was pooled
    assert len({*notes(declared)} - {*notes(pooled)}) == 1
    assert limits(declared).values["rates"] != limits(pooled).values["rates"]


def test_any_seeds_can_be_pooled(students: Path, tmp_path: Path) -> None:
    folders = [students / f"student{seed}" for seed in (4, 1, 3)]
    study = headstart.pool(folders, margin="2pt", primary="scratch@sgd vs scratch@adam", runs=tmp_path, quiet=True)
    protocol = declared_protocol(study.folder)
    assert protocol is not None and [run.seed for run in study.verdict.arms[0].seeds] == [1, 3, 4]
    assert "1, 3, 4" in (study.folder / "report.html").read_text()
    assert study.verdict.margin == 0.02 and study.verdict.primary == ("scratch@sgd", "scratch@adam")


def test_weights_count_by_their_content(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = build("resnet20", 4).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copyfile(tmp_path / "weights.pth", tmp_path / name / f"{name}.pth")
    for seed, name in enumerate("ab"):
        for start in ("scratch", f"file:{tmp_path}/{name}/{name}.pth"):
            train(tmp_path / "runs", network="resnet20", stem="imagenet", epochs="1st", seed=seed, start=start)
    study = headstart.pool(tmp_path / "runs", runs=tmp_path / "pooled", quiet=True)
    assert study.verdict.n == 2 and [arm.name for arm in study.verdict.arms] == ["scratch", "file:a"]


def test_code_of_others_is_not_executed(tmp_path: Path, monkeypatch) -> None:
    marker = tmp_path / "executed"
    network = write(tmp_path / "lab", my=f"{NETWORK}\nfrom pathlib import Path\nPath({str(marker)!r}).touch()\n")
    for seed in (0, 1):
        for optimizer in OPTIMIZERS:
            train(tmp_path / "runs", network=network, image_size=32, epochs="1st", seed=seed, optimizer=optimizer)
    marker.unlink()
    monkeypatch.setenv("HEADSTART_DATA", str(tmp_path / "other"))
    for name in [name for name in sys.modules if name.startswith("headstart_user_")]:
        monkeypatch.delitem(sys.modules, name)
    study = headstart.pool(tmp_path / "runs", trust=True, runs=tmp_path / "pooled", quiet=True)
    assert study.verdict.n == 2 and not marker.exists()
    with pytest.raises(ModelFileError):
        study.best().predict("examples/photos/t-shirt")
    (copy,) = (study.folder / "code").iterdir()
    assert (copy / "my.py").read_text() == (tmp_path / "lab" / "my.py").read_text()


def test_runs_of_a_study_without_a_verdict_are_left_out(students: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    study = headstart.pool(students, runs=folder, quiet=True)
    assert headstart.pool(study.folder, runs=tmp_path / "again", quiet=True).verdict.n == 5
    (study.folder / "verdict.json").unlink()
    with pytest.raises(DataError) as error:
        headstart.pool(study.folder, runs=tmp_path / "open", quiet=True)
    named = fields_of(error.value.message)
    assert (named["count"], named["folder"]) == (10, study.folder)  # the study that has no verdict


def test_rates_that_a_study_would_not_have_are_refused(tmp_path: Path) -> None:
    for optimizer, rate in zip(OPTIMIZERS, (0.5, 0.2), strict=True):
        train(tmp_path / "runs", optimizer=optimizer, lr=rate, epochs="1st")
    with pytest.raises(DataError, match=r"0\.2"):
        headstart.pool(tmp_path / "runs", runs=tmp_path / "pooled", quiet=True)


def test_the_error_on_searched_rates_says_which_search_found_which(tmp_path: Path) -> None:
    folders = {"scratch": tmp_path / "one", "imagenet": tmp_path / "other"}
    for (arm, folder), rate in zip(folders.items(), (0.5, 0.2), strict=True):
        plan = RunConfig().changed(start=arm, lr=rate, epochs="10ep")
        write_run_files(folder / "run", plan, role=run_role(arm), result=run_result(test=evaluation()))
        write_json(folder / "search.json", search_results(arm, rate).to_json())
    with pytest.raises(DataError) as error:
        pool.pool([tmp_path], tmp_path / "pooled", {})
    values = [str(value) for value in values_of(error.value.message)]
    assert {"0.5", "0.2", *map(str, folders.values())} <= set(values)
    assert "0.001" in map(str, values_of(error.value.hint))  # the default of the optimizer, which can be pooled
    assert not (tmp_path / "pooled").exists()


def search_results(arm: str, rate: float) -> SearchResults:
    tried = [TrialScores(lr=rate, rung=0.5, full_runs=[0.5])]
    one = ArmSearch(arm=arm, selected=rate, at_edge=False, tried=tried)
    return SearchResults(groups=[SearchGroup(budget="10ep", seed=None, grid=[rate], arms=[one])])


@pytest.mark.parametrize("names", [[], ["student0/*sgd*", "student1/*sgd*"], ["student0/*sgd*", "student1/*adam*"]])
def test_runs_without_pairs_are_refused(names: Sequence[str], students: Path, tmp_path: Path) -> None:
    folders = [path for name in names for path in students.glob(name)] or [tmp_path]
    with pytest.raises(DataError):
        headstart.pool(folders, runs=tmp_path / "pooled", quiet=True)
    assert not (tmp_path / "pooled").exists()


def test_invalid_rule_is_refused_before_anything_is_written(students: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        headstart.pool(students, margin="wide", runs=tmp_path / "pooled", quiet=True)
    assert not (tmp_path / "pooled").exists()


def test_command_prints_the_verdict(students: Path, tmp_path: Path, capsys) -> None:
    main(["pool", str(students), "--runs", str(tmp_path), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["pooled"] and printed["n"] == 5 and Path(printed["folder"]).parent == tmp_path
