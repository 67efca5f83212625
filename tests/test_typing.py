"""Type checkers accept the examples of the README and reject misspelled settings."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest

from headstart.config import plan_values
from headstart.config.field_help import field_choices
from headstart.config.plan_values import AblationSettings, CheckSettings, CommonSettings, StudySettings, TrainSettings
from headstart.config.run_config import CHECK_FIELDS, FACTORIAL_FIELDS, STUDY_FIELDS, plan_fields
from headstart.config.study_config import StudyConfig

ROOT = Path(__file__).parents[1]
# parameters of `compare`, or derived from others
OWN_PARAMETERS = {"arms", "vary", "fixed_fields", "further", "pooled_seeds", "pooled_left_out"}
INVALID = {
    'headstart.train(optimzer="sgd")': "call-arg",
    'headstart.train(lr="fast")': "arg-type",
    "headstart.train(epochs=0.5)": "arg-type",
    "headstart.train(warmup=1)": "arg-type",
    'headstart.train("photos", seeds=3)': "call-arg",
    'headstart.compare(start="imagenet")': "call-arg",
    'headstart.compare(vary={"lr": 0.1})': "dict-item",
    'headstart.ablate("photos", norm="none")': "call-arg",
    'headstart.check("photos", lr=0.1)': "call-arg",
    'headstart.resume(headstart.Study("runs/NAME")).model()': "attr-defined",
}
VALID = """
import headstart
import numpy as np
import pandas as pd
from pathlib import Path
from PIL import Image

settings: headstart.TrainSettings = {"lr": 0.1, "epochs": 10, "optimizer": "Adam", "milestones": ["3ep", "50%"]}
run = headstart.train(Path("photos"), preset=None, **settings)
run = headstart.train(lr=None, epochs=None)
run = headstart.train(pd.DataFrame({"path": ["a.png"], "label": ["a"]}), epochs="10ep")
headstart.compare("photos", vary={"lr": [0.1, 0.01]}, margin=0.01, seeds=3, budgets=["3ep", "10ep"], study=None)
run.predict([Image.new("RGB", (8, 8)), "photo.jpg", Path("photo.jpg"), np.zeros((8, 8, 3), np.uint8)])
run.predict(pd.Series(["photo.jpg"]))
run.predict(np.array(["photo.jpg"]))
print(headstart.resume(run).test, headstart.resume(headstart.Study("runs/NAME")).verdict.selected)
headstart.Classifier(lr=0.1, settings=settings).fit(["a.png"], ["a"]).predict_proba(["b.png"])
"""


def page_examples() -> str:
    """Return the examples of the README and of the guide for Python."""
    texts = [(ROOT / name).read_text() for name in ("README.md", "docs/guide.md")]
    blocks = [block for text in texts for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    examples = [block for block in blocks if "import headstart" in block]
    assert len(examples) == len(texts)
    return "\n".join(examples)


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the errors of mypy by line: the text of the line, and the code of the error."""
    folder = tmp_path_factory.mktemp("typing")
    source = f"{page_examples()}{VALID}" + "\n".join(INVALID)
    (folder / "example.py").write_text(source)
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(folder / "example.py")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540)
    assert result.returncode in (0, 1), result.stderr
    lines = source.splitlines()
    found = re.findall(r"example\.py:(\d+): error: .*\[([\w-]+)\]", result.stdout)
    return {lines[int(number) - 1]: code for number, code in found}


def test_mypy_accepts_the_readme_and_rejects_what_is_invalid(errors: dict[str, str]) -> None:
    assert errors == INVALID


def test_settings_are_the_fields_of_plan_and_protocol() -> None:
    plan, protocol = set(plan_fields()) - {"source"}, set(StudyConfig.model_fields) - OWN_PARAMETERS
    assert set(TrainSettings.__annotations__) == plan
    assert set(StudySettings.__annotations__) == (plan - set(STUDY_FIELDS)) | protocol
    assert set(AblationSettings.__annotations__) == plan - set(FACTORIAL_FIELDS)
    assert set(CheckSettings.__annotations__) == set(CHECK_FIELDS) - {"source"}
    assert set(CommonSettings.__annotations__) == plan - set(STUDY_FIELDS) - set(FACTORIAL_FIELDS)


def test_listed_values_are_those_of_the_fields() -> None:
    """Editors complete the values of a field; None is always accepted."""
    fields = {name: field for name, (_section, field) in plan_fields().items()} | StudyConfig.model_fields
    for settings in (TrainSettings, StudySettings):
        for name, hint in get_type_hints(settings, vars(plan_values)).items():
            parts = get_args(hint)
            assert type(None) in parts, name
            listed = tuple(
                value for part in parts if get_origin(part) is plan_values.Literal for value in get_args(part)
            )
            if listed:
                assert listed == field_choices(fields[name]), name
            elif field_choices(fields[name]):
                assert name in ("select", "metric"), name
            python_type = fields[name].annotation
            if python_type in (int, float, bool):
                assert python_type in parts, name
