"""Measure how many runs side by side are fastest, once per machine, network and image shape.

Two workers of one thread each may train more images per second than one process of two threads, since parts of a step
use one thread only. The workers are timed at the same time, as they run in a study.
"""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

import torch
from torch import nn

from headstart.config.plugins import load_plugins
from headstart.config.run_config import NetworkConfig, RunConfig
from headstart.engines.processes import WorkerProcess
from headstart.engines.worker_protocol import TimingAnswer, TimingRequest
from headstart.errors import DataError, ResourceError
from headstart.hardware import benchmark, calibration, devices, environment, precision
from headstart.i18n import _, ngettext
from headstart.reporter import Reporter
from headstart.storage.cache import cache_root
from headstart.storage.files import write_json
from headstart.storage.schemas.cache import MeasurementKey, WorkerRates
from headstart.training.setup import make_network
from headstart.weights import starts

MEASUREMENT_S = 2.0  # duration of a measurement, after a warm-up step
ANSWER_TIMEOUT_S = 180.0  # time for a worker to answer
_networks: dict[tuple[NetworkConfig, str], nn.Module] = {}


def threads_per_run(plan: RunConfig, reporter: Reporter, *, side_by_side: bool = False) -> int:
    """Return the threads per run with which runs side by side train the most images per second.

    Args:
        plan: A draft for the CPU.
        reporter: Receives the measured rates.
        side_by_side: Use at least two workers on a machine with two cores or more.

    Returns:
        The number of threads; all usable cores if one process is fastest.
    """
    cores = devices.usable_cores()
    if cores < 2:
        return 1
    rates = _rates(plan, cores, reporter)
    single = rates.get(cores, 0.0)
    parallel = {threads: rate for threads, rate in rates.items() if threads <= cores // 2}
    if not parallel:
        return cores
    best = max(parallel, key=lambda threads: parallel[threads])
    reporter.say(
        _(
            "Measured: {runs} side by side, each with {threads}, train {speed:.0f} images/s together; one run with "
            "{all_threads} trains {single_speed:.0f} images/s.",
            runs=ngettext("{count} run", "{count} runs", cores // best),
            threads=ngettext("{count:,} thread", "{count:,} threads", best),
            speed=parallel[best],
            all_threads=ngettext("{count:,} thread", "{count:,} threads", cores),
            single_speed=single,
        )
    )
    # at equal rates, prefer workers: the work of a run besides its steps uses one thread and then runs in parallel
    return best if side_by_side or parallel[best] >= single else cores


def candidates(cores: int) -> list[int]:
    """Return the thread counts to try, in descending order; each about doubles the number of workers."""
    counts = [cores]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return counts


def _rates(plan: RunConfig, cores: int, reporter: Reporter) -> dict[int, float]:
    """Return images per second of all workers together by threads per worker, from the cache if it has them."""
    if plan.network.network == "auto":
        name = starts.default_network(plan.arm.start) or "resnet18"
        plan = plan.changed(network=name)
    shape = list(calibration.batch_shape(plan))
    precisions: list[str] = ["fp32", "bf16"] if plan.machine.precision == "auto" else [plan.machine.precision]
    key = MeasurementKey(
        machine=(platform.machine(), environment.processor(), cores, torch.__version__, precision.NUMERICS),
        network=(plan.network.model_dump_json(), tuple(shape), tuple(precisions)),
    )
    path = cache_root() / "machine" / f"processes-{key.digest}.json"
    with suppress(DataError):
        return WorkerRates.read(path).rates
    reporter.say(_("Measuring the speed of runs side by side, once for this network and image size (about a minute)."))
    rates = measure_rates(plan.network, shape, precisions, candidates(cores), cores)
    if len(rates) < 2:  # a measurement failed: the next study tries again
        return rates
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, WorkerRates(key=key, rates=rates).to_json())
    return rates


def measure_rates(
    network: NetworkConfig, shape: list[int], precisions: list[str], threads: list[int], cores: int
) -> dict[int, float]:
    """Return images per second of `cores // t` workers for each `t` of `threads`.

    The measurement stops when more workers are slower. The first number of workers selects the precision for the rest.
    If a number of workers fails, for example for lack of memory, it and all larger numbers are omitted.

    Args:
        network: The network to train.
        shape: Shape of a batch, [images, channels, height, width].
        precisions: Precisions to choose from.
        threads: Threads per worker, in the order of measurement.
        cores: Number of usable cores.
    """
    workers: list[WorkerProcess] = []
    answers: SimpleQueue[tuple[WorkerProcess, str | None]] = SimpleQueue()
    rates: dict[int, float] = {}
    try:
        for count in threads:
            while len(workers) < cores // count:
                workers.append(WorkerProcess(answers))
            requests = {
                name: TimingRequest(network=network, precision=name, shape=shape, threads=count, seconds=MEASUREMENT_S)
                for name in precisions
            }
            try:
                by_precision = {
                    name: _steps_per_second(workers, answers, request) for name, request in requests.items()
                }
            except (Empty, ResourceError):
                break
            precisions = [max(by_precision, key=lambda name: by_precision[name])]
            rate = by_precision[precisions[0]] * shape[0]
            if not rate:
                break
            rates[count] = rate
            if rate < max(rates.values()):
                break
    finally:
        for worker in workers:
            worker.close()
    return rates


def _steps_per_second(
    workers: list[WorkerProcess], answers: SimpleQueue[tuple[WorkerProcess, str | None]], request: TimingRequest
) -> float:
    """Return the training steps per second of all workers together, or 0 if one of them fails.

    All workers warm up before all are timed at the same time.

    Raises:
        Empty: A worker does not answer in time.
        ResourceError: A worker ends.
    """
    for timing in (request.warm_up(), request):
        for worker in workers:
            worker.send(timing)
        texts = [answers.get(timeout=ANSWER_TIMEOUT_S)[1] for _unused in workers]
        if None in texts:
            raise ResourceError(
                _("A worker process ended during the measurement."), _("Check that the memory suffices.")
            )
        rates = [TimingAnswer.model_validate_json(text).rate for text in texts if text is not None]
        measured = [rate for rate in rates if rate is not None]
        if len(measured) < len(rates):
            return 0.0
    return sum(measured)


def time_training_steps(request: TimingRequest) -> TimingAnswer:
    """Time training steps in a worker process, with its plugins."""
    key, device = (request.network, request.precision), torch.device("cpu")
    try:
        load_plugins()
        with precision.deterministic(device, request.threads):
            if key not in _networks:
                network = make_network(request.network, "linear", 10, 0)
                _networks[key] = devices.place(network, device).train()
            batch = torch.zeros(tuple(request.shape)).contiguous(memory_format=torch.channels_last)
            steps, begin = 0, time.perf_counter()
            while not steps or time.perf_counter() - begin < request.seconds:
                benchmark.training_step(_networks[key], batch, request.precision)
                steps += 1
            return TimingAnswer(rate=steps / (time.perf_counter() - begin))
    except Exception:  # no bf16 kernel, out of memory, or a network or plugin that the study itself rejects
        return TimingAnswer(rate=None)
