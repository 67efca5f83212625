"""Run the recipes of docs/extending.md as written: a module with a row, and a command that uses it."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.analysis.run_records import runs_in
from headstart.config.plan_file import PlanFile, read_plan_file, write_plan_file
from headstart.config.resolve import resolve_settings
from headstart.errors import DataError
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import StepLine
from tests.conftest import environment_for_processes

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
RECIPE = re.compile(r"^## (An? .+?)$(.+?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
RECIPES = dict(RECIPE.findall(PAGE.read_text()))
SHORT = ["--epochs", "3st", "--batch-size", "8", "--precision", "fp32", "--threads", "1"]
SHORT_STUDY = [*SHORT, "--seeds", "2", "--search", "off"]


def run_recipe(title: str, folder: Path, extra: list[str]) -> tuple[Path, str]:
    """Write the module of a recipe, run its command with further flags, and return the folder of runs and stdout."""
    text = RECIPES[title]
    (name,) = re.findall(r"^`(\w+\.py)`:$", text, re.MULTILINE)
    (code,) = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    (line,) = re.findall(r"```console\n(.+?)\n```", text, re.DOTALL)
    (folder / name).write_text(code)
    variable, program, *words = shlex.split(line)
    assert program == "headstart"
    key, _, value = variable.partition("=")
    environment = {**environment_for_processes(), key: value}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), environment.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "headstart", *words, *extra]
    if words[0] in ("train", "compare"):
        command += ["--runs", str(folder / "runs")]
    result = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder / "runs", result.stdout


def only_run(runs: Path) -> Path:
    """Return the folder of the only run. This process has not imported the plugin, so that it cannot read the plan."""
    (plan,) = runs.glob("*/plan.json")
    return plan.parent


def check_optimizer(folder: Path) -> None:
    runs, _ = run_recipe("An optimizer", folder, SHORT)
    recipe = json.loads((only_run(runs) / "plan.json").read_text())["plan"]["recipe"]
    assert (recipe["optimizer"], recipe["lr"], recipe["weight_decay"]) == ("adagrad", 0.01, 0.0)


def check_schedule(folder: Path) -> None:
    runs, _ = run_recipe("A schedule", folder, [*SHORT, "--lr", "0.01"])
    steps = [line for line in read_lines(only_run(runs) / "metrics.jsonl") if isinstance(line, StepLine)]
    assert [line.lr["head"] for line in steps] == pytest.approx([0.01 * (1 + step) ** -0.5 for step in range(3)])


def check_engine(folder: Path) -> None:
    runs, out = run_recipe("An engine", folder, SHORT_STUDY)
    assert len(re.findall(r"job \d of 4 has ended", out)) == 4
    (study,) = [path.parent for path in runs.glob("*/verdict.json")]
    assert len(list(runs_in(study))) == 4


CHECKS: dict[str, Callable[[Path], None]] = {
    "An optimizer": check_optimizer,
    "A schedule": check_schedule,
    "An engine": check_engine,
}


def test_every_recipe_is_checked() -> None:
    assert list(RECIPES) == list(CHECKS)


@pytest.mark.parametrize("title", CHECKS)
def test_recipe_runs(title: str, tmp_path: Path) -> None:
    CHECKS[title](tmp_path)


def test_plan_of_a_missing_plugin_names_the_variable(tmp_path: Path) -> None:
    plan = resolve_settings({"source": "digits"}).plan
    write_plan_file(tmp_path, PlanFile(hash="0" * 64, plan=plan, environment={}))
    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace('"optimizer": "sgd"', '"optimizer": "adagrad"'))
    with pytest.raises(DataError) as caught:
        read_plan_file(tmp_path)
    assert "'lion'" in caught.value.message and "HEADSTART_PLUGINS" in caught.value.hint
