"""Choose how many runs train side by side on the cores of this machine.

Runs of one thread side by side are the default. Parts of a step use one thread only, so that they rarely train fewer
images per second together than one run on all cores, and they lose less beside another program: the threads of one run
wait for the slowest of them at every kernel.
"""

from __future__ import annotations

import resource
import sys

import torch

from headstart.config.run_config import RunConfig
from headstart.hardware import calibration, devices
from headstart.i18n import _, ngettext
from headstart.reporter import NullReporter, Reporter
from headstart.training.network_checks import check_image_size_and_precision
from headstart.training.setup import make_network
from headstart.weights import starts

CLEARLY_FASTER = 1.2  # ratio of speeds from which on one run on all cores is preferred
MEMORY_SHARE = 0.5  # of the available memory that the runs may use


def threads_per_run(plan: RunConfig, jobs: int, reporter: Reporter, *, side_by_side: bool = False) -> int:
    """Return the threads of a run for the runs of a study on this machine.

    Args:
        plan: A draft for the CPU.
        jobs: Number of jobs that can run at the same time.
        reporter: Receives the measured speeds.
        side_by_side: Use more than one process even if one run on all cores is clearly faster.

    Returns:
        The number of threads; all usable cores if one process is best.
    """
    cores = devices.usable_cores()
    workers = min(cores, jobs)
    if workers < 2:
        return cores
    if plan.network.network == "auto":
        plan = plan.changed(network=starts.default_network(plan.arm.start) or "resnet18")
    device, images = torch.device("cpu"), plan.recipe.batch_size
    network = make_network(plan.network, "linear", 10, plan.seeding.seed)
    plan = check_image_size_and_precision(plan, network, NullReporter())
    devices.place(network, device)
    single = images / calibration.step_seconds(plan.changed(threads=cores), network, device, reporter)
    workers = max(1, min(workers, _workers_in_memory()))
    threads = -(-cores // workers)
    one_of_many = images / calibration.step_seconds(plan.changed(threads=threads), network, device, reporter)
    together = cores // threads * one_of_many
    reporter.say(
        _(
            "Measured images/s: {one_speed:.0f} for a run with {threads}, so at most {speed:.0f} for {runs} side by "
            "side; {single_speed:.0f} for one run with {all_threads}.",
            one_speed=one_of_many,
            threads=ngettext("{count:,} thread", "{count:,} threads", threads),
            speed=together,
            runs=ngettext("{count} run", "{count} runs", cores // threads),
            single_speed=single,
            all_threads=ngettext("{count:,} thread", "{count:,} threads", cores),
        )
    )
    return cores if single > CLEARLY_FASTER * together and not side_by_side else threads


def _workers_in_memory() -> int:
    """Return how many processes of the size of this one, which has trained a step, fit into the available memory."""
    available = devices.available_memory()
    if available is None:
        return sys.maxsize
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(MEMORY_SHARE * available // size)
