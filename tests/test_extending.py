"""Run the recipes of docs/extending.md as written: a module with a row, and a command that uses it."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import cohen_kappa_score
from torch.utils.tensorboard import SummaryWriter

from headstart.analysis.run_records import runs_in
from headstart.config.one_of import OneOf
from headstart.config.plan_file import PlanFile, read_plan_file, write_plan_file
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.config.study_config import StudyConfig
from headstart.errors import DataError
from headstart.models import factory
from headstart.optim.registry import DEFAULT_OPTIMIZER, OPTIMIZERS
from headstart.storage.journal import Journal, read_lines
from headstart.storage.schemas.metrics import EpochLine, StepLine
from headstart.telemetry.scalars import scalars
from tests.conftest import environment_for_processes
from tests.handmade import epoch_line, split_score, write_run_files

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
RECIPE = re.compile(r"^## (An? .+?)$(.+?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
RECIPES = dict(RECIPE.findall(PAGE.read_text()))
MODULE = re.compile(r"^`(\w+\.py)`:\n\n```python\n(.+?)```", re.MULTILINE | re.DOTALL)
PYPROJECT = PAGE.parents[1] / "pyproject.toml"

NETWORK = "timm:test_resnet"
SMALL = ["--network", NETWORK, "--precision", "fp32", "--threads", "1"]


def run_headstart(words: list[str], folder: Path, plugins: str) -> subprocess.CompletedProcess[str]:
    """Run `headstart WORDS...` in a folder that contains the modules of plugins."""
    environment = {**environment_for_processes(), "HEADSTART_PLUGINS": plugins}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), environment.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "headstart", *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def refused_recipe(folder: Path, plugin: str, words: list[str]) -> str:
    """Run a command that is refused, and return its error."""
    result = run_headstart(words, folder, plugin)
    assert result.returncode == 2, result.stderr
    return result.stderr


def write_module(title: str, folder: Path) -> Path:
    """Write the module of a recipe and return its file."""
    ((name, code),) = MODULE.findall(RECIPES[title])
    (folder / name).write_text(code)
    return folder / name


def run_recipe(title: str, folder: Path, *extra: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Run the command of a recipe in `folder`, with further flags, and return the folder of runs and the result.

    Runs have a smaller network than on the page, and are not measured.
    """
    write_module(title, folder)
    (line,) = re.findall(r"```console\n(.+?)\n```", RECIPES[title], re.DOTALL)
    variable, program, *words = shlex.split(line)
    assert program == "headstart"
    key, _, plugins = variable.partition("=")
    assert key == "HEADSTART_PLUGINS"
    small = SMALL if words[0] in ("train", "compare") else []
    result = run_headstart([*words, *small, *extra], folder, plugins)
    assert result.returncode == 0, result.stderr
    return folder / "runs", result


def only_run(runs: Path) -> Path:
    """Return the folder of the only run. This process has not imported the plugin, so that it cannot read the plan."""
    (plan,) = runs.glob("*/plan.json")
    return plan.parent


def check_optimizer(folder: Path) -> None:
    runs, _ = run_recipe("An optimizer", folder)
    recipe = json.loads((only_run(runs) / "plan.json").read_text())["plan"]["recipe"]
    assert (recipe["optimizer"], recipe["lr"], recipe["weight_decay"]) == ("adagrad", 0.01, 0.0)


def check_schedule(folder: Path) -> None:
    runs, _ = run_recipe("A schedule", folder)
    steps = [line for line in read_lines(only_run(runs) / "metrics.jsonl") if isinstance(line, StepLine)]
    expected = [OPTIMIZERS[DEFAULT_OPTIMIZER].lr * (1 + step) ** -0.5 for step in range(len(steps))]
    assert len(steps) > 3 and [line.lr["head"] for line in steps] == pytest.approx(expected)


def check_start(folder: Path) -> None:
    weights = factory.build(NETWORK, 10, shortcut=True, norm="batch", stem="imagenet").state_dict()
    torch.save(weights, folder / "weights.pth")
    runs, _ = run_recipe("An initialization", folder, "--lr", "1e-12")
    trained = load_file(only_run(runs) / "model" / "model.safetensors")
    assert torch.allclose(trained["layer4.0.conv2.weight"], weights["layer4.0.conv2.weight"] / 2, atol=1e-9)
    assert torch.allclose(trained["layer4.0.bn2.bias"], weights["layer4.0.bn2.bias"], atol=1e-9)


def check_metric(folder: Path) -> None:
    runs, _ = run_recipe("A metric", folder)
    epochs = [line for line in read_lines(only_run(runs) / "metrics.jsonl") if isinstance(line, EpochLine)]
    kappas = []
    for line in epochs:
        true, predicted = (
            np.repeat(part, line.confusion.counts) for part in (line.confusion.true, line.confusion.predicted)
        )
        kappas.append(cohen_kappa_score(true, predicted))
    best = [index for index, line in enumerate(epochs) if line.best]
    assert len(epochs) == 3 and kappas[best[-1]] == pytest.approx(max(kappas))
    out = refused_recipe(folder, "kappa", ["compare", "digits", "--metric", "kappa"])
    (choices,) = (one for one in StudyConfig.model_fields["metric"].metadata if isinstance(one, OneOf))
    assert choices.rejection is not None and choices.rejection in out and ", ".join(choices.names) in out


def check_health(folder: Path) -> None:
    write_run(folder / "runs" / "Jan01_00-00-00_host-scratch-s0")
    _, result = run_recipe("A health check", folder, "--json")
    (diagnosis,) = json.loads(result.stdout)
    findings = {finding["code"]: finding for finding in diagnosis["findings"]}
    few = findings["few-val-images"]
    assert (few["value"], few["threshold"], few["unhealthy"]) == (300, 900, False)


def write_run(run: Path) -> None:
    """Write a run of two epochs with 300 images in val."""
    counts = {"train": 1000, "val": 300, "test": 300}
    plan = RunConfig().changed(class_names=("a", "b"), split_counts=counts)
    write_run_files(run, plan, hash="0" * 64)
    with Journal(run / "metrics.jsonl") as journal:
        for epoch in (1, 2):
            journal.append(epoch_line(epoch, epoch, train=split_score(1 / epoch), confusion=[[5, 5], [0, 0]]))


def check_audit(folder: Path) -> None:
    for label in ("cat", "dog"):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(10):
            width = 40 if (label, number) == ("cat", 3) else 10
            pixels = np.random.default_rng(number + 10 * (label == "cat")).integers(0, 255, (10, width, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{number}.png")
    _, result = run_recipe("A check of the data", folder)
    rows = {row["check"]: row for row in json.loads(result.stdout)["rows"]}
    assert rows["panoramas"]["status"] == "warn"
    assert [example["image"] for example in rows["panoramas"]["examples"]] == ["cat/3.png"]


def check_chart(folder: Path) -> None:
    write_run(folder / "runs" / "Jan01_00-00-00_host-scratch-s0")
    run_recipe("A chart", folder)
    page = (folder / "runs" / "report.html").read_text(encoding="utf-8")
    (question,) = re.findall(r'SectionSpec\("losses", _\("([^"]+)"', RECIPES["A chart"])
    assert '<section id="losses"' in page and question in page


def check_figure(folder: Path) -> None:
    write_run(folder / "runs" / "Jan01_00-00-00_host-scratch-s0")
    run_recipe("A figure for print", folder)
    with Image.open(folder / "runs" / "figures" / "speed.png") as image:
        assert image.width == round(6.3 * 300)
    assert (folder / "runs" / "figures" / "speed.caption.txt").read_text(encoding="utf-8").strip()


def check_tag_words(folder: Path) -> None:
    with SummaryWriter(str(folder / "earlier" / "Jan01_00-00-00_host")) as writer:
        writer.add_scalar("val/hits", 0.625, 1)
    run_recipe("A word for tags", folder)
    page = (folder / "earlier" / "report.html").read_text(encoding="utf-8")
    assert ">62.5<" in page and ">val/hits<" in page


def check_engine(folder: Path) -> None:
    runs, result = run_recipe("An engine", folder, "--json")
    assert len(re.findall(r"Job \d of 4 has ended", result.stderr)) == 4
    assert json.loads(result.stdout)
    (study,) = [path.parent for path in runs.glob("*/verdict.json")]
    assert len(list(runs_in(study))) == 4


def check_tracker(folder: Path) -> None:
    runs, _ = run_recipe("A tracker", folder)
    run = only_run(runs)
    with (folder / "curves" / f"{run.name}.csv").open(newline="") as file:
        rows = [(int(step), tag, float(value)) for step, tag, value in csv.reader(file)]
    lines = list(read_lines(run / "metrics.jsonl"))
    assert rows == [(line.step, tag, value) for line in lines for tag, value in scalars(line)]


CHECKS: dict[str, Callable[[Path], None]] = {
    "An optimizer": check_optimizer,
    "A schedule": check_schedule,
    "An initialization": check_start,
    "A metric": check_metric,
    "A health check": check_health,
    "A check of the data": check_audit,
    "A chart": check_chart,
    "A figure for print": check_figure,
    "A word for tags": check_tag_words,
    "An engine": check_engine,
    "A tracker": check_tracker,
}


def test_every_recipe_is_checked() -> None:
    assert list(RECIPES) == list(CHECKS)


@pytest.mark.parametrize("title", CHECKS)
def test_recipe_runs(title: str, tmp_path: Path) -> None:
    CHECKS[title](tmp_path)


def test_plan_of_a_missing_plugin_names_the_variable(tmp_path: Path) -> None:
    plan = resolve_settings({"source": "digits", "optimizer": "sgd"}).plan
    write_plan_file(tmp_path, PlanFile(hash="0" * 64, plan=plan, environment={}))
    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace('"optimizer": "sgd"', '"optimizer": "adagrad"'))
    with pytest.raises(DataError) as caught:
        read_plan_file(tmp_path)
    assert "lion" in caught.value.message and "HEADSTART_PLUGINS" in caught.value.hint
    (tmp_path / "plan.json").write_text(text.replace('"start": "scratch"', '"start": "halved:w.pth"'))
    with pytest.raises(DataError) as caught:
        read_plan_file(tmp_path)
    assert "'halved:w.pth'" in caught.value.message and "HEADSTART_PLUGINS" in caught.value.hint


HELP_PLUGIN = """
from headstart.config.registry.starts import STARTS, StartSpec
from headstart.engines.registry import ENGINES, EngineSpec
from headstart.metrics.registry import METRICS, MetricSpec
from headstart.optim.registry import OPTIMIZERS, OptimizerSpec
from headstart.telemetry.trackers.registry import TRACKERS, TrackerSpec

OPTIMIZERS["rowopt"] = OptimizerSpec("m:f", "Row", 0.123, 0.456, 1.0, ("momentum", "nesterov"))
ENGINES["rowengine"] = EngineSpec("in a row", "m:f")
TRACKERS["rowtracker"] = TrackerSpec("Row", "m:f")
STARTS["rowstart"] = StartSpec("m:f")
METRICS["rowmetric"] = MetricSpec("row", "share of rows", of_counts="m:f", of_images="m:f")
"""


def help_by_flag(text: str) -> dict[str, str]:
    """Return what the help of a command says on each flag."""
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())
    parts = re.split(r" --([a-z-]+)(?: --?[a-z0-9-]+)* (?=[A-Za-z])", words)  # the first of its names
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("plugins", ["rows", "early,rows"])
def test_help_lists_the_rows_of_plugins(plugins: str, tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(HELP_PLUGIN)
    (tmp_path / "early.py").write_text("import headstart.config.study_config\n")  # before the rows are added
    listed = {"optimizer": "rowopt", "lr": "rowopt 0.123", "weight-decay": "rowopt 0.456", "momentum": "rowopt",
              "nesterov": "rowopt"}  # fmt: skip
    expected = {
        "train": {**listed, "start": "rowstart", "select": "rowmetric", "log": "rowtracker"},
        "compare": {**listed, "arm": "rowstart", "metric": "rowmetric: share of rows", "engine": "rowengine, in a row"},
    }
    for command, rows in expected.items():
        result = run_headstart([command, "--help-all"], tmp_path, plugins)
        assert result.returncode == 0, result.stderr
        texts = help_by_flag(result.stdout)
        assert {flag: row for flag, row in rows.items() if row not in texts[flag]} == {}


def test_recipes_have_the_types_of_the_interfaces(tmp_path: Path) -> None:
    modules = [write_module(title, tmp_path).name for title in RECIPES]
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(PYPROJECT),
        "--cache-dir",
        str(mypy_cache()),
        *modules,
    ]
    environment = {**os.environ, "MYPYPATH": str(PAGE.parents[1] / "src")}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def mypy_cache() -> Path:
    """Return the cache of `make lint`, which makes mypy take seconds instead of a minute."""
    return PYPROJECT.parent / ".mypy_cache"
