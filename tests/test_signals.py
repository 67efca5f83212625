"""A signal is a wish that is never lost: told to whoever asks, else sent again when nobody is left to ask."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headstart import api
from headstart.engines.local import LocalEngine
from headstart.reporter import NullReporter
from headstart.runs import execute, job_protocol, result
from headstart.signals import SignalGuard
from headstart.storage.files import read_json


def test_blocks_within_each_other_are_all_told() -> None:
    with SignalGuard() as outer:
        with SignalGuard() as inner:
            assert inner.heard() is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.heard() == outer.heard() == signal.SIGTERM
        assert outer.heard() == signal.SIGTERM
    with SignalGuard() as later:
        assert later.heard() is None


def test_a_signal_that_nobody_asked_for_is_sent_again() -> None:
    with pytest.raises(KeyboardInterrupt), SignalGuard() as outer:
        with SignalGuard():
            os.kill(os.getpid(), signal.SIGINT)
        del outer
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_comes_when_a_run_is_done_does_not_undo_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*args) -> None:
        concluded(*args)
        os.kill(os.getpid(), signal.SIGINT)

    concluded = result.conclude
    monkeypatch.setattr(result, "conclude", late)
    made = api.train("digits:0-1", network="timm:test_resnet", image_size=16, epochs="1ep", threads=1, runs=tmp_path)
    assert read_json(made.folder / "result.json")["state"] == "finished"
    with SignalGuard() as later:
        assert later.heard() is None


def test_outside_a_block_signals_mean_what_they_meant() -> None:
    script = (
        "import os, signal\nfrom headstart.signals import Wish\n"
        "with Wish():\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('whole', flush=True)\nprint('never')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "whole\n"
    assert done.returncode == -signal.SIGTERM


def test_a_signal_too_late_for_one_run_ends_the_next_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def work(text: str, reporter: NullReporter) -> str:
        begun.append(text)
        with SignalGuard():
            os.kill(os.getpid(), signal.SIGTERM)  # after the last moment at which this run asks
        return json.dumps({"folders": []})

    monkeypatch.setattr(execute, "work", work)
    answers = list(LocalEngine(NullReporter()).run(["first", "second", "third"]))
    assert begun == ["first"]
    assert [index for index, _ in answers] == [0, 1]
    assert job_protocol.folders(answers[0][1]) == []
    assert job_protocol.stopped(answers[1][1])
