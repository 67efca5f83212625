"""Notice during a study that its runs are much slower than measured before, or that the cores are used badly."""

from __future__ import annotations

import os
from collections import defaultdict
from statistics import median

from headstart.analysis.run_records import RunRecord
from headstart.config.run_config import RunConfig
from headstart.hardware import calibration, cpu
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.schemas.arm import TuningKind

SLOW_SHARE = 0.5  # of the measured speed, below which runs are much slower than measured
CLEARLY_SLOWER = 1 / 1.2  # of the speed of one run on all cores, below which runs side by side waste the cores
OTHER_LOAD = 0.5  # load average of other programs from which on they explain slow runs
MIN_RUNS = 2  # runs whose speeds are compared
MIN_TRAINING_S = 3.0  # of a run: in a shorter one, the first steps and the reading of images count more


class SpeedCheck:
    """Compare the speed of finished runs with the measured one, and say once if the difference is large."""

    def __init__(self, runs_here: int) -> None:
        """Start without runs; `runs_here` is the number of runs at a time on this machine, 0 if others run them."""
        self._runs_here, self._is_reported = runs_here, False
        self._speeds: dict[tuple[str, ...], list[float]] = defaultdict(list)  # by network, machine and batch

    def message(self, run: RunRecord) -> Message:
        """Return the message about the runs so far, or "" if their speed is as expected or was reported before.

        The median over the runs counts, and the fastest epoch of each, since kernels are slower at their first use.
        """
        plan = run.plan
        is_comparable = plan.arm.tuning.kind is TuningKind.FULL and plan.machine.device == "cpu"
        if self._is_reported or not self._runs_here or not is_comparable or run.reused_from:
            return join([])
        if sum(line.speed.train_seconds for line in run.epochs) < MIN_TRAINING_S:
            return join([])
        batch = str(calibration.batch_shape(plan))
        speeds = self._speeds[plan.network.model_dump_json(), plan.machine.model_dump_json(), batch]
        speeds.append(max(line.speed.images_per_second for line in run.epochs))
        text = self._compare(plan, median(speeds)) if len(speeds) >= MIN_RUNS else join([])
        self._is_reported = bool(text)
        return text

    def _compare(self, plan: RunConfig, speed: float) -> Message:
        """Return what is noticed at a training speed in images/s."""
        cores, threads, together = cpu.usable_cores(), plan.machine.threads, self._runs_here * speed
        single = _measured_speed(plan.changed(threads=cores))
        is_busy = os.getloadavg()[0] > self._runs_here * threads + OTHER_LOAD
        if self._runs_here > 1 and not is_busy and together < CLEARLY_SLOWER * single:
            return _(
                "{runs} side by side train {speed:.3g} images/s together; {measured:.3g} were measured for one run on "
                "all cores. A new study with `--threads {cores}` may be faster.",
                runs=ngettext("{count} run", "{count} runs", self._runs_here),
                speed=together,
                measured=single,
                cores=cores,
            )
        if speed < SLOW_SHARE * _measured_speed(plan):
            return join(
                [
                    _(
                        "A run trains {speed:.3g} images/s; {measured:.3g} were measured before. Other programs may "
                        "use the cores of this machine.",
                        speed=speed,
                        measured=_measured_speed(plan),
                    ),
                    # a run of several threads waits at every kernel for the slowest of them
                    *([_("A new study with `--threads 1` loses less beside other programs.")] if threads > 1 else []),
                ],
                " ",
            )
        return join([])


def _measured_speed(plan: RunConfig) -> float:
    """Return the measured images/s of a run alone, or 0 if it was not measured."""
    seconds = calibration.known_step_seconds(plan)
    return plan.recipe.batch_size / seconds if seconds else 0.0
