"""Settings as flags, several values for one field, lists, lengths in epochs, and commands for a shell."""

import re
import shlex
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.config.duration import Duration
from headstart.config.flag_words import flag_text, flag_words
from headstart.config.lists import split_commas
from headstart.config.one_value import require_one_value
from headstart.config.resolve import resolve_settings
from headstart.config.study_config import StudyConfig
from headstart.config.study_request import build_study_spec
from headstart.errors import UsageError
from headstart.experiment.study_kind import resume_hint
from headstart.i18n import _
from tests.messages import fields_of
from tests.pseudo_catalog import extracted_templates

COMMAND = re.compile(r"`(headstart [^`]*)`")


def test_settings_as_flags() -> None:
    assert flag_words("batch_size", 8) == ["--batch-size", "8"]
    assert (flag_words("skip_bad", True), flag_words("skip_bad", False)) == (["--skip-bad"], ["--no-skip-bad"])
    assert flag_words("classes", ("a, b", "c")) == ["--classes", "a, b", "--classes", "c"]
    assert flag_words("epochs", Duration(3, "ep")) == ["--epochs", "3ep"]
    assert flag_text("classes", ["it's", "b"]) == shlex.join(["--classes", "it's", "--classes", "b"])


@given(st.text().filter(str.isprintable))  # tests/test_shell.py has the others
def test_value_in_a_command_is_one_word_of_the_shell(text: str) -> None:
    command = _("headstart resume {folder:shell}", folder=text)
    assert shlex.split(command) == ["headstart", "resume", text]


def test_every_value_in_a_printed_command_is_quoted() -> None:
    """A command in backticks is copied into a shell; `{command} --help` consists of names of commands."""
    pytest.importorskip("babel")
    commands = [command for template in extracted_templates() for command in COMMAND.findall(template)]
    fields = [part for command in commands for part in string.Formatter().parse(command) if part[1] is not None]
    assert len(fields) > 5 and {spec for _text, _name, spec, _conversion in fields} == {"shell"}


def test_resume_hint_names_a_folder_with_spaces() -> None:
    folder = Path("my runs/it's mine")
    (command,) = COMMAND.findall(resume_hint(folder))
    assert shlex.split(command) == ["headstart", "resume", str(folder)]


def test_lists_are_split_at_commas_in_each_item() -> None:
    assert split_commas("1, 2,,3") == split_commas(["1,2", " 3 "]) == ("1", "2", "3")
    assert split_commas([0.5, "1,2"]) == (0.5, "1", "2") and split_commas(3) == 3
    assert resolve_settings({"classes": "a,b"}).plan.data.classes == ("a,b",)
    grids = [StudyConfig(arms=("scratch", "scratch@adam"), grid=grid).grid for grid in ("0.1,0.01", ["0.1", "0.01"])]
    assert grids[0] == grids[1] == (0.01, 0.1)


@pytest.mark.parametrize("value", ["10", 10, 10.0, np.int64(10), " 10 ", "10ep"])
def test_number_of_epochs_needs_no_unit(value: str | float) -> None:
    recipe = resolve_settings({"epochs": value, "head_epochs": value}).plan.recipe
    assert (recipe.epochs, recipe.head_epochs) == (Duration(10, "ep"), Duration(10, "ep"))
    protocol = StudyConfig(arms=("scratch", "scratch@adam"), source_epochs=value)
    assert protocol.source_epochs == Duration(10, "ep")
    for name in ("warmup", "step_every"):
        if value != "10ep":
            with pytest.raises(UsageError):
                resolve_settings({name: value})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("optimizer", "sgd,adam", ["--vary", "optimizer=sgd,adam"]),
        ("optimizer", ["sgd", "adam"], ["--vary", "optimizer=sgd,adam"]),
        ("lr", "0.01, 0.1", ["--vary", "lr=0.01,0.1"]),
        ("weight_decay", "0,0.1", ["--vary", "weight-decay=0,0.1"]),
        ("network", "resnet18,resnet50", ["--vary", "network=resnet18,resnet50"]),
        ("epochs", "3,10ep", ["--budgets", "3ep,10ep"]),
        ("fraction", "0.1,1", ["--fractions", "0.1,1"]),
    ],
)
def test_several_values_lead_to_the_flag_that_compares_them(name: str, value: object, words: list[str]) -> None:
    for in_study in (True, False):
        with pytest.raises(UsageError) as error:
            require_one_value({name: value}, in_study=in_study)
        assert shlex.split(str(fields_of(error.value.hint)["words"])) == words
        assert ("headstart compare" in error.value.hint) == (not in_study)


def test_one_value_is_accepted_also_with_a_comma_in_a_path_or_a_list() -> None:
    settings = {"source": "a,b", "start": "file:a,b.pth", "classes": ["a", "b"], "milestones": "1ep,2ep", "lr": 0.1}
    assert resolve_settings(settings).plan.arm.start == "file:a,b.pth"
    require_one_value({**settings, "grid": "0.1,1", "primary": "a,b vs c", "unknown": "a,b"}, in_study=True)


def test_study_is_refused_with_several_values_for_one_flag() -> None:
    with pytest.raises(UsageError) as error:
        build_study_spec("digits", ("scratch", "imagenet"), None, None, None, None, {"seeds": "3,5"})
    assert fields_of(error.value.message)["flag"] == "--seeds"
