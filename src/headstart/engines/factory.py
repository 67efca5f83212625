"""Which engine a study runs on: `here`, `lanes`, `ray`, or what `auto` finds the fastest on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headstart.config.run_config import RunConfig
from headstart.config.study_file import StudySpec
from headstart.engines import Engine, checked
from headstart.engines.local import LocalEngine
from headstart.hardware import calibration, devices
from headstart.reporter import NullReporter, Reporter
from headstart.text import pluralize


def resolve_engine(declared: StudySpec, name: str, reporter: Reporter) -> StudySpec:
    """What was declared, with its threads per run: they are hashed, so they are chosen before the study is written."""
    plan = declared.plan
    if plan.machine.threads or name == "local" or calibration.resolve_machine(plan).machine.device != "cpu":
        return declared
    from headstart.engines import throughput

    first = declared.cells[0].plan(plan)
    threads = throughput.threads_per_run(first, reporter, side_by_side=name == "processes")
    return StudySpec(declared.protocol, plan.changed("machine", threads=threads))


@contextmanager
def opened(name: str, plan: RunConfig, reporter: Reporter, address: str = "") -> Iterator[Engine]:
    """The engine for the runs of a settled plan, closed at the end; `auto` takes lanes where two runs have room."""
    engine = _made(checked(name, address), plan, reporter, address)
    try:
        yield engine
    finally:
        engine.close()


def _made(name: str, plan: RunConfig, reporter: Reporter, address: str) -> Engine:
    threads, device = plan.machine.threads, plan.machine.device
    if name == "ray":
        from headstart.engines.ray import RayEngine

        return RayEngine(address, reporter, threads=threads, gpus=int(device.startswith("cuda")))
    count = devices.usable_cores() // max(threads, 1) if device == "cpu" else 1
    if name == "processes" or (name == "auto" and count > 1):
        from headstart.engines.processes import ProcessEngine

        reporter.say(f"{max(count, 1)} runs at a time, each with {pluralize(threads, 'thread')}.")
        return ProcessEngine(max(count, 1), reporter)
    return LocalEngine(NullReporter())
