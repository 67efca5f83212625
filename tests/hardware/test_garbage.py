"""Garbage is collected rarely in a process of headstart, and not at its end."""

import subprocess
import sys

from tests.conftest import environment_for_processes

PROGRAM = """
import atexit, gc, runpy, sys
import headstart.cli.main
atexit.register(lambda: print(gc.get_freeze_count()))  # runs after what is registered later
headstart.cli.main.main = lambda: print(gc.get_threshold()[0])
runpy.run_module("headstart", run_name="__main__")
"""


def test_command_line_freezes_objects_at_its_end() -> None:
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment_for_processes())
    threshold, frozen = map(int, result.stdout.split())
    assert threshold > 10_000 and frozen > 1000
