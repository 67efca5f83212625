"""Which engine a study runs on: `here`, `lanes`, `ray`, or what `auto` finds the fastest on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headstart.config.run_config import Plan
from headstart.config.study_file import Declared
from headstart.engines import Engine, checked
from headstart.engines.local import Here
from headstart.hardware import calibration, devices
from headstart.reporter import Silent, Voice
from headstart.text import counted


def settled(declared: Declared, name: str, voice: Voice) -> Declared:
    """What was declared, with its threads per run: they are hashed, so they are chosen before the study is written."""
    plan = declared.plan
    if plan.machine.threads or name == "here" or calibration.settle(plan).machine.device != "cpu":
        return declared
    from headstart.engines import throughput

    first = declared.cells[0].plan(plan)
    threads = throughput.threads_per_run(first, voice, side_by_side=name == "lanes")
    return Declared(declared.protocol, plan.changed("machine", threads=threads))


@contextmanager
def opened(name: str, plan: Plan, voice: Voice, address: str = "") -> Iterator[Engine]:
    """The engine for the runs of a settled plan, closed at the end; `auto` takes lanes where two runs have room."""
    engine = _made(checked(name, address), plan, voice, address)
    try:
        yield engine
    finally:
        engine.close()


def _made(name: str, plan: Plan, voice: Voice, address: str) -> Engine:
    threads, device = plan.machine.threads, plan.machine.device
    if name == "ray":
        from headstart.engines.ray import Ray

        return Ray(address, voice, threads=threads, gpus=int(device.startswith("cuda")))
    count = devices.usable_cores() // max(threads, 1) if device == "cpu" else 1
    if name == "lanes" or (name == "auto" and count > 1):
        from headstart.engines.processes import Lanes

        voice.say(f"{max(count, 1)} runs at a time, each with {counted(threads, 'thread')}.")
        return Lanes(max(count, 1), voice)
    return Here(Silent())
