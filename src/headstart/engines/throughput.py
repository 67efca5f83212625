"""Choose the threads of a run, and with them how many runs train side by side on the cores of this machine.

Runs of one thread side by side are the default. Parts of a step use one thread only, so that they rarely train fewer
images per second together than one run on all cores, and they lose less beside another program: the threads of one run
wait for the slowest of them at every kernel.
"""

from __future__ import annotations

import torch

from headstart.config.run_config import RunConfig
from headstart.hardware import calibration, cpu, devices
from headstart.i18n import _, ngettext
from headstart.reporter import NullReporter, Reporter
from headstart.training.network_checks import check_image_size_and_precision
from headstart.training.setup import make_network, with_network

CLEARLY_FASTER = 1.2  # ratio of speeds from which on one run on all cores is preferred


def threads_per_run(plan: RunConfig, jobs: int, reporter: Reporter, *, side_by_side: bool = False) -> int:
    """Return the threads of a run for the runs of a study on this machine: one, or all usable cores.

    Args:
        plan: A draft for the CPU.
        jobs: Number of jobs that can run at the same time.
        reporter: Receives the measured speeds.
        side_by_side: Use one thread even if one run on all cores is clearly faster.
    """
    cores = cpu.usable_cores()
    runs = min(cores, jobs)
    if runs < 2:
        return cores
    plan = with_network(plan.changed(device="cpu"))
    device, images = torch.device("cpu"), plan.recipe.batch_size
    network = make_network(plan.network, "linear", 10, plan.seeding.seed)
    plan = check_image_size_and_precision(plan, network, NullReporter())
    devices.place(network, device)
    single, one_of_many = (
        images / calibration.step_seconds(plan.changed(threads=threads), network, device, reporter)
        for threads in (cores, 1)
    )
    reporter.say(
        _(
            "Measured images/s: {one_speed:.0f} for a run with one thread, so at most {speed:.0f} for {runs} side by "
            "side; {single_speed:.0f} for one run with {all_threads}.",
            one_speed=one_of_many,
            speed=runs * one_of_many,
            runs=ngettext("{count} run", "{count} runs", runs),
            single_speed=single,
            all_threads=ngettext("{count:,} thread", "{count:,} threads", cores),
        )
    )
    return cores if single > CLEARLY_FASTER * runs * one_of_many and not side_by_side else 1
