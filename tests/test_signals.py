"""Signals are deferred to safe points, and a signal that no block has read is raised again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import headstart
from headstart.engines.local import LocalEngine
from headstart.reporter import NullReporter
from headstart.runs import execute, job_protocol, lifecycle
from headstart.signals import SignalGuard
from tests.files import read_json


def test_nested_guards_all_see_the_signal() -> None:
    with SignalGuard() as outer:
        with SignalGuard() as inner:
            assert inner.pending() is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.pending() == outer.pending() == signal.SIGTERM
        assert outer.pending() == signal.SIGTERM
    with SignalGuard() as later:
        assert later.pending() is None


def test_unread_signal_is_raised_again() -> None:
    with pytest.raises(KeyboardInterrupt), SignalGuard() as outer:
        with SignalGuard():
            os.kill(os.getpid(), signal.SIGINT)
        del outer
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signal_after_the_result_does_not_interrupt_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_result_then_signal(*args) -> None:
        write_result(*args)
        os.kill(os.getpid(), signal.SIGINT)

    write_result = lifecycle.write_result
    monkeypatch.setattr(lifecycle, "write_result", write_result_then_signal)
    settings = {"network": "timm:test_resnet", "image_size": 16, "epochs": 1, "threads": 1}
    run = headstart.train("digits:0-1", runs=tmp_path, **settings)
    assert read_json(run.folder / "result.json")["state"] == "finished"
    with SignalGuard() as later:
        assert later.pending() is None


def test_guard_restores_signal_handlers() -> None:
    script = (
        "import os, signal\nfrom headstart.signals import SignalGuard\n"
        "with SignalGuard():\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('inside', flush=True)\nprint('after')"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.stdout == "inside\n"
    assert process.returncode == -signal.SIGTERM


def test_signal_too_late_for_one_run_stops_the_next_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def answer_job(text: str, reporter: NullReporter) -> str:
        started.append(text)
        with SignalGuard():
            os.kill(os.getpid(), signal.SIGTERM)  # after the last check of this run
        return job_protocol.Answer().model_dump_json()

    monkeypatch.setattr(execute, "answer_job", answer_job)
    answers = list(LocalEngine(NullReporter()).run(["first", "second", "third"]))
    assert started == ["first"]
    assert [index for index, _ in answers] == [0, 1]
    assert job_protocol.decode_answer(answers[0][1]) == []
    assert job_protocol.is_interruption(answers[1][1])
