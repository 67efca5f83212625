"""The Python API: returned values, errors and notebook display."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.datasets import ImageFolder

import headstart
from headstart.config.duration import Duration
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.config.study_file import StudySpec
from headstart.config.study_request import build_study_spec
from headstart.data.sources import read_index
from headstart.experiment import planning
from headstart.optim.registry import DEFAULT_OPTIMIZER
from headstart.results.summary import result_sentences
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import EpochLine
from tests.conftest import environment_for_processes
from tests.messages import fields_of, values_of
from tests.trained import SETTINGS, trained

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    return headstart.Run(trained(tmp_path_factory))


def test_public_names_are_sorted_lazy_and_importable() -> None:
    assert headstart.__all__ == sorted(headstart.__all__) == sorted(headstart._MODULES)
    assert all(getattr(headstart, name).__name__ == name for name in headstart.__all__)
    assert set(headstart.__all__) < set(dir(headstart))
    for name in headstart.__all__:
        assert getattr(headstart, name).__doc__, name
    tree = ast.parse(Path(headstart.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    modules = {alias.name: node.module.removeprefix("headstart.") for node in imports for alias in node.names}
    assert headstart._MODULES.items() <= modules.items()  # type checkers see the public names
    with pytest.raises(AttributeError, match="'trian'"):
        headstart.trian  # noqa: B018


def test_public_names_are_not_those_of_packages() -> None:
    """An import of a package replaces an attribute of the same name: `headstart.report` cannot be a function."""
    packages = {path.stem for path in Path(headstart.__file__).parent.iterdir() if path.suffix in ("", ".py")}
    assert not packages & set(headstart.__all__)


def test_records_need_no_torch() -> None:
    code = "import sys, headstart; headstart.write_report, headstart.diagnose; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=environment_for_processes(), check=True)


def test_train_returns_the_run(tmp_path: Path, capsys) -> None:
    small = {"image_size": 16, "stem": "small", "epochs": "3st", "threads": 1, "precision": "fp32"}
    run = headstart.train("digits:0-1", runs=tmp_path, quiet=True, lr=0.02, batch_size=8, **small)
    assert capsys.readouterr() == ("", "")
    assert run.folder.parent == tmp_path and run.state == "finished"
    assert run.plan.recipe.lr == 0.02 and run.plan.data.source == "digits:0-1"
    assert run.test is not None
    assert run.test.to_json() == json.loads((run.folder / "result.json").read_text())["test"]
    sentences = result_sentences(run.result)
    assert fields_of(sentences[0]) == {
        "count": run.result.val.n, "epoch": 1, "accuracy": 100 * run.result.val.accuracy
    }  # fmt: skip
    assert repr(run) == f"Run(scratch (with {DEFAULT_OPTIMIZER}), seed 0: {' '.join(sentences)})"


def test_train_reports_unless_quiet_and_reads_a_file(tmp_path: Path, capsys) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('source = "digits:0-1"\nbatch_size = 8\nepochs = "1st"\nthreads = 1\nprecision = "fp32"\n')
    run = headstart.train(config=file, runs=tmp_path / "runs")
    output = capsys.readouterr()
    assert output.out == "" and re.search(r"\bdigits:0-1\b.*\b360\b", output.err) and "\x1b" not in output.err
    assert run.plan.data.source == "digits:0-1" and run.plan.recipe.batch_size == 8


def test_history_has_one_row_per_epoch(run: headstart.Run) -> None:
    history = run.history
    assert isinstance(history, pd.DataFrame) and list(history.epoch) == [1, 2]
    columns = ["epoch", "step", "best", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    assert list(history.columns[:7]) == columns
    assert "images_per_second" in history.columns and any(name.startswith("lr_") for name in history.columns)
    lines = [line for line in read_lines(run.folder / "metrics.jsonl") if isinstance(line, EpochLine)]
    assert list(history.val_accuracy) == [line.val.accuracy for line in lines]
    assert list(history.train_loss) == [line.train.loss for line in lines]
    best = history[history.best].iloc[-1]
    assert run.result.best_epoch == best.epoch
    assert run.test is not None and run.test.n == run.test.confusion.images


def test_model_is_that_of_the_best_epoch_in_eval_mode(run: headstart.Run) -> None:
    model = run.model()
    assert isinstance(model, torch.nn.Module) and not model.training
    predictor = headstart.Predictor(run.folder)
    saved = np.load(run.folder / "artifacts" / "predictions.npz", allow_pickle=False)
    index = read_index(SETTINGS["source"])
    paths = dict(zip(index.keys, index.paths, strict=True))
    names = [str(paths[key]) for key in saved["image"].tolist()[:20]]
    predictions = headstart.predict(run.folder, names)
    assert [p.image for p in predictions] == names
    assert [p.label for p in predictions] == [predictor.classes[i] for i in saved["logits"][:20].argmax(1)]
    probabilities = torch.softmax(torch.from_numpy(saved["logits"][:20]).double(), 1).numpy()
    np.testing.assert_allclose([p.probabilities for p in predictions], probabilities, atol=1e-5)
    (single,) = headstart.predict(str(run.folder / "model"), names[3])
    assert single == predictions[3] or single.probabilities == pytest.approx(predictions[3].probabilities, abs=1e-5)


def test_evaluate_returns_the_numbers(run: headstart.Run) -> None:
    result = headstart.evaluate(run.folder, "digits:0-3")
    assert result.accuracy == run.test.accuracy and result.own is True
    subset = headstart.evaluate(run.folder, "digits:0-3", split="val", classes=["1", "2"])
    assert subset.n == run.result.val.confusion.true_totals[1:3].sum()
    assert headstart.evaluate(run.folder, "digits:0-3", split="val", classes="1").classes == result.classes
    with pytest.raises(headstart.UsageError) as error:
        headstart.evaluate(run.folder, "digits:0-3", classes="12")  # one name, not two characters
    assert fields_of(error.value.message)["name"] == "12"


def test_settings_that_are_none_are_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explicit: list[set[str] | None] = []

    def begin(spec: object, names: dict[str, object] | None, *_: object) -> None:
        explicit.append(None if names is None else set(names))
        raise headstart.DataError("Stopped.", "Go on.")

    monkeypatch.setattr(planning, "check_inputs_and_choose_threads", lambda spec, *_: spec)
    monkeypatch.setattr(planning, "begin_within_time_budget", begin)
    with pytest.raises(headstart.DataError, match="Stopped"):
        headstart.compare("digits:0-3", runs=tmp_path, seeds=3, epochs=None, time_budget=None, quiet=True)
    declared = tmp_path / "declared.toml"
    declared.write_text('[protocol]\narms = ["scratch", "scratch@adam"]\n[plan.data]\nsource = "digits:0-3"\n')
    with pytest.raises(headstart.DataError, match="Stopped"):
        headstart.compare(study=declared, runs=tmp_path, quiet=True)
    assert explicit == [{"seeds"}, None]


def test_declared_study_is_run_once_and_its_folder_opens_the_verdict(tmp_path: Path, capsys) -> None:
    declared = tmp_path / "declared.toml"
    plan = 'batch_size = 64\nepochs = "1st"\n[plan.data]\nsource = "digits:0-1"\ncache_resolution = 1\n'
    machine = '[plan.network]\nnetwork = "timm:test_resnet"\n[plan.machine]\nthreads = 1\nprecision = "fp32"\n'
    rules = '[protocol]\narms = ["scratch", "scratch@adam"]\nseeds = 1\nsearch = "off"\n'
    declared.write_text(f'{rules}[plan.recipe]\noptimizer = "sgd"\nimage_size = 16\n{plan}{machine}')
    study = headstart.compare(study=declared, runs=tmp_path / "runs", engine="local", quiet=True)
    assert study.folder.parent == tmp_path / "runs" and study.spec.protocol.seeds == 1
    stamps = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*") if path.is_file()}
    for again in (
        headstart.compare(study=study.folder, engine="local", quiet=True),
        headstart.resume(study.folder, quiet=True),
        headstart.resume(study, engine="local", quiet=True),
    ):
        assert isinstance(again, headstart.Study) and again.verdict == study.verdict
        assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert [run.plan.recipe.optimizer for run in study.runs] == ["sgd", "adam"]
    assert {run.folder.name for run in study.runs} == set(study.frame.run)
    with pytest.raises(headstart.HeadstartError) as error:
        headstart.require_winner(study)
    assert study.verdict.not_worse == ["scratch", "scratch@adam"] and error.value.exit_code == 7
    with pytest.raises(headstart.UsageError) as error:
        headstart.compare("digits", study=declared, quiet=True)
    assert fields_of(error.value.message) == {"study": declared}
    with pytest.raises(headstart.UsageError) as error:
        headstart.resume(study, save_every="1ep")
    assert fields_of(error.value.message) == {"option": "save_every", "folder": study.folder}
    assert capsys.readouterr() == ("", "")


def test_engine_and_its_address_are_checked_before_anything_is_read() -> None:
    with pytest.raises(headstart.UsageError) as error:
        headstart.compare("nowhere", engine=headstart.EngineChoice("processes", "somewhere:6379"))
    assert "--address" in error.value.hint
    with pytest.raises(headstart.UsageError) as error:
        headstart.resume("nowhere", engine="rey")
    assert fields_of(error.value.message) == {"name": "rey"}


def test_resume_is_bit_identical(run: headstart.Run, tmp_path: Path) -> None:
    """A copy without result and checkpoint is trained again from the start."""
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    (copy / "result.json").unlink()
    shutil.rmtree(copy / "model")
    assert headstart.Run(copy).state == "unfinished"
    with pytest.raises(headstart.UsageError) as error:
        headstart.resume(copy, save_every="0st")
    assert fields_of(error.value.message) == {"save_every": "0st"}
    resumed = headstart.resume(copy, quiet=True, save_every="1ep")
    assert resumed.state == "finished"
    assert (copy / "model" / "model.safetensors").read_bytes() == (
        run.folder / "model" / "model.safetensors"
    ).read_bytes()
    with pytest.raises(headstart.UsageError) as error:
        headstart.resume(copy, quiet=True)
    assert fields_of(error.value.message) == {"folder": copy} and "headstart tensorboard" in error.value.hint


class Tags(HTMLParser):
    """The tags and the text of an HTML page; escaped markup is text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_notebook_display_escapes_names(run: headstart.Run, tmp_path: Path) -> None:
    index = read_index("digits:0-1")
    for label, name in enumerate((HOSTILE, "plain")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in np.flatnonzero(index.labels == label)[:8]:
            shutil.copy(index.paths[i], tmp_path / "photos" / name)
    start = tmp_path / HOSTILE
    shutil.copytree(run.folder, start)
    trained_run = headstart.train(
        tmp_path / "photos", runs=tmp_path / f"runs{HOSTILE}", start=f"run:{start}", image_size=16, epochs="1st",
        batch_size=4, threads=1, precision="fp32", quiet=True,
    )  # fmt: skip
    page = Tags(trained_run._repr_html_())
    assert page.tags <= {"h4", "p", "table", "thead", "tbody", "tr", "th", "td", "code"} and "table" in page.tags
    assert HOSTILE in page.text  # shown as text
    test = trained_run.test
    assert f"{100 * test.accuracy:.1f} %" in page.text and str(test.n) in re.findall(r"\d+", page.text)
    assert "val_accuracy" in page.text
    assert "<img" not in (trained_run.folder / "model" / "README.md").read_text()
    predictions = headstart.predict(trained_run.folder, tmp_path / "photos")
    assert {p.label for p in predictions} <= {HOSTILE, "plain"} and len(predictions) == 16


def test_run_without_steps_can_be_displayed(run: headstart.Run, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes((run.folder / "plan.json").read_bytes())
    new_run = headstart.Run(tmp_path)
    assert new_run.state == "unfinished" and new_run.history.empty and new_run.test is None
    assert "unfinished" in new_run._repr_html_() and "unfinished" in repr(new_run)
    with pytest.raises(headstart.ModelFileError):
        new_run.model()
    with pytest.raises(headstart.DataError):
        headstart.Run(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"lr": -1}, headstart.UsageError),
        ({"learning_rate": 1}, headstart.UsageError),
        ({"data": 3}, headstart.UsageError),
        ({"warmup": 1}, headstart.UsageError),
        ({"save_every": "often"}, headstart.UsageError),
        ({"data": "nowhere"}, headstart.DataError),
        ({"config": "nowhere.toml"}, headstart.UsageError),
    ],
    ids=str,
)
def test_errors_are_headstart_errors(settings, error, tmp_path: Path, capsys) -> None:
    with pytest.raises(error) as caught:
        headstart.train(**{"data": "digits", "runs": tmp_path, **settings})
    assert isinstance(caught.value, headstart.HeadstartError) and caught.value.message and caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", [headstart.train, headstart.compare, headstart.plan, headstart.ablate])
def test_settings_that_contradict_the_data_are_errors(
    function: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"path": ["a.png"], "label": ["a"]})
    with pytest.raises(headstart.UsageError):
        function("digits:0-1", source="digits")
    for value in (False, "false"):
        with pytest.raises(headstart.UsageError):
            function(frame, allow_outside=value)
    assert list(tmp_path.iterdir()) == []


def test_package_is_typed() -> None:
    assert (Path(headstart.__file__).parent / "py.typed").is_file()


def test_windows_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(headstart.UsageError) as error:
        _ = headstart.train
    assert str(fields_of(error.value.hint)["address"]).endswith("/wsl")


def test_public_names_load_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counted_plugin.py").write_text("print('imported')\n")
    command = [sys.executable, "-c", "import headstart; headstart.HeadstartError; headstart.train; headstart.Run"]
    environment = {**environment_for_processes(), "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    plugin = {"HEADSTART_PLUGINS": "counted_plugin"}
    result = subprocess.run(command, env=environment | plugin, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["imported"]  # once
    monkeypatch.setenv("HEADSTART_PLUGINS", "a_plugin_that_does_not_exist")
    with pytest.raises(headstart.UsageError):
        headstart.train  # noqa: B018


def test_values_of_python_are_those_of_the_command_line() -> None:
    def plan(**settings: object) -> RunConfig:
        return resolve_settings(settings).plan

    assert plan(epochs=10, milestones=["3ep", "50%"]) == plan(epochs="10ep", milestones="3ep,50%")
    assert plan(epochs=np.int64(3)) == plan(epochs="3ep") and plan(lr=None) == plan()
    assert plan(optimizer="AdamW", schedule="one_cycle") == plan(optimizer="adamw", schedule="one-cycle")

    def study(*, arms: tuple[str, ...] = ("scratch", "imagenet"), **settings: object) -> StudySpec:
        vary = settings.pop("vary", None)
        return build_study_spec("digits:0-1", arms, vary, None, None, None, settings)

    assert study(margin=0.015).protocol.margin == "1.5pt" and study(margin=0.01) == study(margin="1pt") == study()
    assert study(budgets=["1ep", "2ep"], source_epochs=3) == study(budgets="1ep,2ep", source_epochs="3ep")
    vary = {"schedule": ["One-Cycle"], "warmup": ["0ep", Duration(2, "ep")]}
    same = {"schedule": ["one-cycle"], "warmup": ["0ep", "2ep"]}
    assert study(arms=("scratch@Adam",), vary=vary) == study(arms=("scratch@adam",), vary=same)
    assert study(margin=0) == study(margin=0.0) == study(margin="0pt") == study(margin="0")
    assert plan(device="1") == plan(device=1) == plan(device="cuda:1") and plan(device="cpu") != plan(device=0)
    for margin in (1, 1.5, True, False, "0.01"):
        with pytest.raises(headstart.UsageError):
            study(margin=margin)


@pytest.mark.parametrize("values", [0.1, "sgd,adam", None], ids=str)
def test_varied_value_that_is_no_list_is_an_error(values: object, tmp_path: Path) -> None:
    with pytest.raises(headstart.UsageError) as error:
        headstart.compare("digits:0-1", vary={"optimizer": values}, runs=tmp_path)
    assert fields_of(error.value.message) == {"name": "optimizer", "value": repr(values)}
    assert list(tmp_path.iterdir()) == []


def test_misspelled_rule_of_a_study_is_suggested() -> None:
    with pytest.raises(headstart.UsageError) as error:
        headstart.compare("digits:0-1", serch_seeds=3)
    assert values_of(error.value.message) == ["serch_seeds", "search_seeds"]


def test_forecast_is_that_of_the_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arms = ["scratch", "scratch@adam"]
    settings = {"image_size": 16, "threads": 1, "precision": "fp32", "epochs": 2, "seeds": 3}
    forecast = headstart.plan("digits:0-1", arms=arms, engine="local", quiet=True, **settings)
    assert [variant.name for variant in forecast.spec.variants] == arms and forecast.spec.protocol.seeds == 3
    assert forecast.seconds > 0 and forecast.evaluation_images == 54
    assert str(forecast).splitlines() == list(forecast.sentences)
    assert fields_of(forecast.sentences[-1])["count"] == forecast.training_images
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(headstart.DataError):
        headstart.plan("nowhere", arms=arms)


def test_run_offers_what_the_functions_do(run: headstart.Run) -> None:
    assert run.evaluate() == headstart.evaluate(run, SETTINGS["source"])
    assert run.evaluate("digits:0-3", split="val").n == run.result.val.n
    assert run.diagnose() == headstart.diagnose(run)[0]
    assert run.report() == headstart.write_report(run.folder) == run.folder / "report.html"
    assert headstart.rebuild(run) == [run.folder]
    charts = [run.plot.curves("images"), run.plot.health(), run.plot.confusion(), run.plot.mistakes()]
    assert all(isinstance(chart, headstart.Chart) and chart.html for chart in charts)
    assert fields_of(charts[2].title)["count"] == run.test.n
    with pytest.raises(headstart.UsageError):
        run.plot.curves("parsecs")


def test_run_without_result_has_no_charts(run: headstart.Run, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes((run.folder / "plan.json").read_bytes())
    unfinished = headstart.Run(tmp_path)
    for chart in (unfinished.plot.curves, unfinished.plot.confusion, unfinished.plot.mistakes):
        with pytest.raises(headstart.UsageError) as error:
            chart()
        assert str(tmp_path) in error.value.hint


def test_tensorboard_serves_the_run_until_the_process_ends(run: headstart.Run) -> None:
    """A process of its own, because the server lives as long as the process."""
    code = """
import json, sys, time, urllib.request, headstart
url = headstart.tensorboard(sys.argv[1], port=0)
deadline = time.monotonic() + 60
while not (runs := json.load(urllib.request.urlopen(url + "data/runs"))) and time.monotonic() < deadline:
    time.sleep(0.2)
print(len(runs), url)
"""
    command = [sys.executable, "-c", code, str(run.folder.parent)]
    result = subprocess.run(command, env=environment_for_processes(), capture_output=True, text=True, timeout=120)
    assert re.fullmatch(r"1 http://127\.0\.0\.1:\d+/\n", result.stdout), result.stderr


def test_address_of_another_machine_is_an_error(tmp_path: Path) -> None:
    """A process of its own, because TensorBoard leaves a socket open."""
    code = """
import sys, headstart
try:
    headstart.tensorboard(sys.argv[1], port=0, host="192.0.2.1")
except headstart.ResourceError as error:
    print(error.message.values["host"])
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, env=environment_for_processes(), capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (0, "192.0.2.1\n"), result.stderr


def test_contrast_of_a_study_of_a_frame_is_checked_against_its_own_arms(tmp_path: Path) -> None:
    """A frame has the default arms, not those of the demo."""
    frame = pd.DataFrame({"path": ["missing.png"], "label": ["a"]})
    with pytest.raises(headstart.DataError):  # not UsageError: the rules are valid
        headstart.compare(frame, primary="imagenet vs scratch", runs=tmp_path, quiet=True)
    with pytest.raises(headstart.UsageError):
        headstart.compare(frame, primary="source:digits:0-5 vs scratch", runs=tmp_path, quiet=True)


def test_frame_and_image_folder_train_like_their_folder(tmp_path: Path) -> None:
    index = read_index("digits:0-1")
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in np.flatnonzero(index.labels == label)[:20]:
            shutil.copy(index.paths[i], tmp_path / "photos" / name)
    paths = sorted((tmp_path / "photos").glob("*/*.png"))
    frame = pd.DataFrame({"path": paths, "label": [path.parent.name for path in paths]})
    settings = {"image_size": 16, "epochs": 1, "batch_size": 8, "threads": 1, "precision": "fp32"}
    network = {"network": "timm:test_resnet", "runs": tmp_path / "runs", "quiet": True}
    folder, of_frame, of_folder = (
        headstart.train(data, **settings, **network)
        for data in (tmp_path / "photos", frame, ImageFolder(str(tmp_path / "photos")))
    )
    assert folder.plan.hash == of_frame.plan.hash == of_folder.plan.hash
    weights = (folder.folder / "model" / "model.safetensors").read_bytes()
    for run in (of_frame, of_folder):
        assert (run.folder / "model" / "model.safetensors").read_bytes() == weights
        assert run.evaluate(frame) == run.evaluate() == headstart.evaluate(folder, tmp_path / "photos")
        assert run.evaluate().own
    (of_frame.folder / "result.json").unlink()
    shutil.rmtree(of_frame.folder / "model")
    resumed = headstart.resume(headstart.Run(of_frame.folder), quiet=True)  # from its plan alone
    assert (resumed.folder / "model" / "model.safetensors").read_bytes() == weights
    before = {path for path in tmp_path.rglob("*") if "manifests" in path.parts}
    forecast = headstart.plan(frame, arms=["scratch", "scratch@adam"], engine="local", quiet=True, **settings)
    assert forecast.evaluation_images == folder.test.n
    with pytest.raises(headstart.UsageError):
        headstart.train(frame.iloc[:3], lr=-1, **network)
    with pytest.raises(headstart.UsageError):
        headstart.compare(frame.iloc[:3], seeds=0, runs=tmp_path / "runs")
    with pytest.raises(headstart.UsageError):
        headstart.ablate(frame.iloc[:3], start="imagenet", runs=tmp_path / "runs")
    assert {path for path in tmp_path.rglob("*") if "manifests" in path.parts} == before
