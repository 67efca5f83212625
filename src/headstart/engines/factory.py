"""Create the engine of a study: `local`, `processes`, `ray`, or the one that `auto` selects for this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headstart.config.run_config import RunConfig
from headstart.config.study_file import StudySpec
from headstart.engines.engine import Engine
from headstart.engines.local import LocalEngine
from headstart.engines.validation import validate_engine_name
from headstart.hardware import calibration, devices
from headstart.reporter import NullReporter, Reporter
from headstart.text import pluralize


def resolve_engine(spec: StudySpec, name: str, reporter: Reporter) -> StudySpec:
    """Return the study with its threads per run.

    The threads are part of the hash, so they are chosen before the study is written.
    """
    plan = spec.plan
    if plan.machine.threads or name == "local" or calibration.resolve_machine(plan).machine.device != "cpu":
        return spec
    from headstart.engines import throughput

    first = spec.variants[0].plan(plan)
    threads = throughput.threads_per_run(first, reporter, side_by_side=name == "processes")
    return StudySpec(spec.protocol, plan.changed("machine", threads=threads))


@contextmanager
def open_engine(name: str, plan: RunConfig, reporter: Reporter, address: str = "") -> Iterator[Engine]:
    """Yield the engine for runs of a resolved plan, and close it at the end.

    `auto` selects `processes` if the cores suffice for two runs at a time, else `local`.
    """
    engine = _create(validate_engine_name(name, address), plan, reporter, address)
    try:
        yield engine
    finally:
        engine.close()


def _create(name: str, plan: RunConfig, reporter: Reporter, address: str) -> Engine:
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
