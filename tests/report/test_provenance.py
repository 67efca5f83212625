"""The command on the page repeats the run: its words give the same plan."""

import shlex
from pathlib import Path

import pytest

from headstart.cli.app import app
from headstart.cli.main import main
from headstart.config.resolve import resolve_settings
from headstart.report.provenance import train_command
from tests.handmade import resolved, write_run_files

SETTINGS = {
    "defaults": {},
    "list, switch and length": {
        "classes": ["a, b", "it's"], "skip_bad": True, "milestones": ["10%", "20%"], "schedule": "multistep",
        "epochs": 3, "optimizer": "adam",
    },
    "path with a space": {"source": "my photos", "start": "file:my weights.pth", "lr": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_train_command_gives_the_same_plan(name: str, tmp_path: Path) -> None:
    main(["--version"])  # imports the commands
    plan = resolved(resolve_settings({"source": "photos", **SETTINGS[name]}).plan)
    write_run_files(tmp_path, plan)
    program, command, *words = shlex.split(train_command(tmp_path))
    assert (program, command) == ("headstart", "train")
    function, bound, _ = app.parse_args([command, *words], exit_on_error=False, print_error=False)
    assert function.__name__ == command
    typed = {"source": bound.arguments["source"], **(bound.arguments.get("settings") or {})}
    assert resolve_settings(typed).plan.settings() == plan.settings()
