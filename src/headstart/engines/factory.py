"""Create the engine of a study: that of a row, or the one that `auto` selects for this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headstart.config.run_config import MachineConfig, RunConfig
from headstart.config.study_file import StudySpec
from headstart.engines.engine import Engine, EngineSettings
from headstart.engines.registry import AUTO, ENGINES, automatic_engine, validate_engine_name
from headstart.factories import load_factory
from headstart.hardware import calibration, cpu, devices
from headstart.reporter import Reporter
from headstart.storage.schemas.arm import TuningKind

PROCESS_BYTES = 1_500_000_000  # of a process that trains a ResNet-18 on 32 images of 128 px
MEMORY_SHARE = 0.7  # of the available memory that the runs may use


def choose_threads(spec: StudySpec, engine_name: str, reporter: Reporter) -> StudySpec:
    """Return the study with the threads per run that suit the engine, measured for parallel runs.

    The threads are part of the hash, so they are chosen before the study is written. For an engine of other machines
    they are those of a run on this machine, as for `auto`.
    """
    plan = spec.plan
    engine = None if engine_name == AUTO else ENGINES[engine_name]
    serial = engine is not None and not engine.parallel
    if plan.machine.threads or serial or calibration.resolve_machine(plan).machine.device != "cpu":
        return spec
    from headstart.engines import throughput

    drafts = [variant.plan(plan) for variant in spec.variants]
    # the runs of a frozen arm are one job
    jobs = sum(1 if draft.arm.tuning.kind is TuningKind.FROZEN else spec.protocol.all_seeds for draft in drafts)
    side_by_side = engine is not None and engine.on_this_machine
    threads = throughput.threads_per_run(drafts[0], jobs, reporter, side_by_side=side_by_side)
    return StudySpec(spec.protocol, plan.changed(threads=threads))


@contextmanager
def open_engine(name: str, plan: RunConfig, reporter: Reporter, address: str = "") -> Iterator[Engine]:
    """Yield the engine for runs of a resolved plan, and close it at the end.

    `auto` selects a parallel engine if the cores suffice for two runs at a time.
    """
    engine = _create(validate_engine_name(name, address), plan, reporter, address)
    try:
        yield engine
    finally:
        engine.close()


def parallel_runs(name: str, machine: MachineConfig) -> int:
    """Return the number of runs that an engine executes at a time, by the threads of a run on this machine's cores.

    It is the number on this machine; an engine of other machines may run more.
    """
    if (name != AUTO and not ENGINES[name].parallel) or machine.device != "cpu":
        return 1
    memory = devices.available_memory()
    limit = cpu.usable_cores() if memory is None else int(MEMORY_SHARE * memory // PROCESS_BYTES)
    return max(1, min(cpu.usable_cores() // max(machine.threads, 1), limit))


def runs_on_this_machine(name: str, machine: MachineConfig) -> int:
    """Return the number of runs that an engine executes at a time on this machine; 0 if others may run them."""
    return parallel_runs(name, machine) if name == AUTO or ENGINES[name].on_this_machine else 0


def _create(name: str, plan: RunConfig, reporter: Reporter, address: str) -> Engine:
    count = parallel_runs(name, plan.machine)
    if name == AUTO:
        name = automatic_engine(parallel=count > 1)
    engine: Engine = load_factory(ENGINES[name].factory)(EngineSettings(plan.machine, count, reporter, address))
    return engine
