"""How many runs side by side make the most of this machine: measured once for machine, network and image shape.

Two lanes of one thread each may train more images a second than one process of two threads, since parts of a step use
one thread only. The lanes are timed together, over the same seconds, as they will work together.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import torch
from torch import nn

from headstart.config.run_config import NetworkConfig, RunConfig
from headstart.engines.processes import WorkerProcess
from headstart.errors import ResourceError
from headstart.hardware import benchmark, calibration, devices, environment, precision
from headstart.reporter import Reporter
from headstart.storage.cache import cache_root
from headstart.storage.files import write_json
from headstart.text import pluralize
from headstart.training import setup
from headstart.weights import starts

WINDOW = 2.0  # seconds that are timed, after a step to warm up
_PATIENCE = 180.0  # seconds that a lane may take to answer
_networks: dict[str, nn.Module] = {}


def threads_per_run(plan: RunConfig, reporter: Reporter, *, side_by_side: bool = False) -> int:
    """Threads that each run should have here, so that runs side by side train the most images a second.

    `plan` is a draft for the CPU. All usable cores, where one process is the fastest; with `side_by_side` there are
    two lanes at least, where there are two cores.
    """
    cores = devices.usable_cores()
    if cores < 2:
        return 1
    rates = _rates(plan, cores, reporter)
    alone = rates.get(cores, 0.0)
    workers = {threads: rate for threads, rate in rates.items() if threads <= cores // 2}
    if not workers:
        return cores
    best = max(workers, key=lambda threads: workers[threads])
    told = f"{cores // best} runs side by side, each with {pluralize(best, 'thread')},"
    reporter.say(f"Measured: {told} train {workers[best]:.0f} images/s together; one alone, with {cores}, {alone:.0f}.")
    # at equal rates too: what a run does besides its steps uses one thread, and lanes do it side by side
    return best if side_by_side or workers[best] >= alone else cores


def candidates(cores: int) -> list[int]:
    """Thread counts to try, the most first: each next one makes about twice as many lanes."""
    found = [cores]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


def _rates(plan: RunConfig, cores: int, reporter: Reporter) -> dict[int, float]:
    """Images a second of all lanes together, by threads for each; from the cache where they were measured before."""
    if plan.network.network == "auto":
        name = starts.default_network(plan.arm.start) or "resnet18"
        plan = plan.changed("network", network=name)
    shape = list(calibration.batch_shape(plan))
    asked: list[str] = ["fp32", "bf16"] if plan.machine.precision == "auto" else [plan.machine.precision]
    key = {
        "machine": [platform.machine(), environment.processor(), cores, torch.__version__, precision.NUMERICS],
        "network": [plan.network.model_dump_json(), shape, asked],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_root() / "machine" / f"lanes-{digest}.json"
    with suppress(OSError, ValueError, KeyError):
        return {int(threads): float(rate) for threads, rate in json.loads(path.read_text())["rates"].items()}
    reporter.say("Measuring whether runs side by side are faster here, once for this network and image size: a minute.")
    rates = measured(plan.network, shape, asked, candidates(cores), cores)
    if len(rates) < 2:  # something failed: the next study tries again
        return rates
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**key, "rates": {str(threads): rate for threads, rate in rates.items()}})
    return rates


def measured(
    network: NetworkConfig, shape: list[int], precisions: list[str], threads: list[int], cores: int
) -> dict[int, float]:
    """Images a second of `cores // t` lanes for each `t` of `threads`, in turn, until more lanes are slower.

    The first settles in which of `precisions` all are timed. A number of lanes that fails, as for want of memory, is
    left out with all that are larger.
    """
    workers: list[WorkerProcess] = []
    answers: SimpleQueue[tuple[WorkerProcess, str | None]] = SimpleQueue()
    rates: dict[int, float] = {}
    try:
        for count in threads:
            while len(workers) < cores // count:
                workers.append(WorkerProcess(answers))
            asked = {"network": network.model_dump(mode="json"), "shape": shape, "threads": count}
            try:
                found = {name: _together(workers, answers, {**asked, "precision": name}) for name in precisions}
            except (Empty, ResourceError):
                break
            precisions = [max(found, key=lambda name: found[name])]
            rate = found[precisions[0]] * shape[0]
            if not rate:
                break
            rates[count] = rate
            if rate < max(rates.values()):
                break
    finally:
        for worker in workers:
            worker.close()
    return rates


def _together(
    workers: list[WorkerProcess], answers: SimpleQueue[tuple[WorkerProcess, str | None]], asked: dict[str, Any]
) -> float:
    """Steps a second of all lanes: first each gets ready, then all are timed at once. 0 where one cannot.

    Raises Empty where a lane does not answer in time, and ResourceError where one dies.
    """
    for seconds in (0.0, WINDOW):
        for worker in workers:
            worker.send({"pace": {**asked, "seconds": seconds}})
        said = [answers.get(timeout=_PATIENCE)[1] for _ in workers]
        if None in said:
            raise ResourceError("A lane ended while it was timed.", "See whether the memory is enough.")
        rates = [json.loads(answer)["rate"] for answer in said if answer is not None]
        if None in rates:
            return 0.0
    return float(sum(rates))


def work(asked: dict[str, Any]) -> str:
    """In a lane: training steps a second over so many `seconds`, at least one step; with 0 of them it only warms up."""
    key = json.dumps([asked["network"], asked["precision"]])
    shape, device = tuple(asked["shape"]), torch.device("cpu")
    try:
        with precision.deterministic(device, asked["threads"]):
            if key not in _networks:
                made = setup.make_network(NetworkConfig.model_validate(asked["network"]), "linear", 10, 0)
                _networks[key] = devices.place(made, device).train()
            batch = torch.zeros(shape).contiguous(memory_format=torch.channels_last)
            steps, begin = 0, time.perf_counter()
            while not steps or time.perf_counter() - begin < asked["seconds"]:
                benchmark.training_step(_networks[key], batch, asked["precision"])
                steps += 1
            return json.dumps({"rate": steps / (time.perf_counter() - begin)})
    except Exception:  # a kernel that refuses bf16, no memory, a network that the study will refuse in words
        return json.dumps({"rate": None})
