"""Measure the speed of the machine once for each network and image shape, before a plan is hashed."""

from __future__ import annotations

import platform

import torch
from torch import nn

from headstart.config.run_config import RunConfig
from headstart.errors import DataError, UsageError
from headstart.hardware import benchmark, cpu, devices, precision
from headstart.hardware.environment import device_name, processor
from headstart.i18n import Message, _, ngettext
from headstart.models import user_code
from headstart.models.processor import multiplies_bf16
from headstart.reporter import Reporter
from headstart.storage.cache import cache_root, read_cache_file, write_cache_file
from headstart.storage.schemas.cache import MeasurementKey, StepSpeed


def resolve_machine(draft: RunConfig) -> RunConfig:
    """Return the draft with its device and thread count resolved.

    Raises:
        UsageError: If the device is not available.
    """
    device = devices.pick_device(draft.machine.device)
    threads = draft.machine.threads or cpu.usable_cores()
    return draft.changed(device=str(device), threads=threads)


def batch_shape(plan: RunConfig) -> tuple[int, ...]:
    """Return the shape of a training batch, [n, 3, size, size]."""
    return (plan.recipe.batch_size, 3, plan.recipe.image_size, plan.recipe.image_size)


# Size of images and batches from which on a ResNet trains faster in bf16 on every processor that multiplies it.
MIN_BF16_PX, MIN_BF16_BATCH = 64, 8

# A product this much faster than the cached peak shows that the machine was busy when it was measured.
BUSY_SPEED_RATIO = 2.0

_trusted: set[str] = set()  # digests that this process has measured or checked


class MatmulPeak:
    """The FLOP/s of a matrix product on this machine, the denominator of the MFU.

    Attributes:
        flops_per_second: The peak.
    """

    def __init__(self, flops_per_second: float, device: torch.device, precision: str) -> None:
        """Start with a measured peak of `device` in `precision`."""
        self.flops_per_second = flops_per_second
        self._device, self._precision = device, precision

    def utilization(self, flops_per_second: float) -> float:
        """Return the share of the peak, at most 1: a faster training shows that the peak was measured too low.

        The peak is then measured again.
        """
        if flops_per_second > self.flops_per_second:
            # on a GPU, whose memory the training may need, the training itself is the new measurement
            again = benchmark.matmul_peak(self._device, self._precision) if self._device.type == "cpu" else 0.0
            self.flops_per_second = max(again, flops_per_second)
        return flops_per_second / self.flops_per_second


def measure_machine(
    plan: RunConfig, network: nn.Module, device: torch.device, reporter: Reporter
) -> tuple[RunConfig, MatmulPeak, float]:
    """Resolve the precision of a plan, and measure the peak and the step time of the machine.

    The measurement is cached for each machine, network and shape. Each process measures the peak again: it keeps the
    larger one, and repeats the whole measurement if the cached peak was too low by more than `BUSY_SPEED_RATIO`.

    Args:
        plan: The plan; its precision may be `auto`.
        network: The network of the plan, on `device`.
        device: Device of the plan.
        reporter: Receives the result as a sentence.

    Returns:
        The plan with the fastest precision, the matmul peak and the seconds of a training step.

    Raises:
        UsageError: If the device does not support the precision of the plan.
    """
    speed = _measured_speed(plan, network, device, reporter)
    candidates = _candidates(plan)
    selected = _fastest(speed, candidates)
    measured = [p for p in candidates if p not in speed.unsupported]
    rates = ", ".join(f"{p} {plan.recipe.batch_size / speed.seconds[p]:.0f}" for p in measured)
    reporter.say(_precision_words(selected, device, plan.machine.threads, rates))
    peak = MatmulPeak(speed.peak[selected], device, selected)
    return plan.changed(precision=selected), peak, speed.seconds[selected]


def choose_precision(
    plan: RunConfig, network: nn.Module, device: torch.device, reporter: Reporter
) -> tuple[RunConfig, MatmulPeak]:
    """Resolve the precision of a plan, and measure the peak; steps are measured only where they decide the precision.

    Arguments and errors are those of `measure_machine`.
    """
    if not _trains_faster_in_bf16(plan) or plan.machine.precision == "fp32":
        plan, peak, _unused = measure_machine(plan, network, device, reporter)
        return plan, peak
    key = _measurement_key(plan, batch_shape(plan), device)
    speed = _read_speed(key)
    with precision.deterministic(device, plan.machine.threads):
        flops_per_second = max(benchmark.matmul_peak(device, "bf16", times=2), speed.peak.get("bf16", 0.0))
    _write_speed(_with_peak(speed, "bf16", flops_per_second))
    reporter.say(
        ngettext(
            "Precision bf16 on {device} with {count} thread: this processor multiplies it.",
            "Precision bf16 on {device} with {count} threads: this processor multiplies it.",
            plan.machine.threads,
            device=str(device),
        )
    )
    return plan.changed(precision="bf16"), MatmulPeak(flops_per_second, device, "bf16")


def step_seconds(plan: RunConfig, network: nn.Module, device: torch.device, reporter: Reporter) -> float:
    """Return the seconds of a training step in the fastest precision; arguments and errors as in `measure_machine`."""
    speed = _measured_speed(plan, network, device, reporter)
    return speed.seconds[_fastest(speed, _candidates(plan))]


def known_step_seconds(plan: RunConfig) -> float | None:
    """Return the seconds of a training step of a plan from the cache, or None if it was not measured.

    The precision may be `auto`; the network, the device and the threads are resolved.
    """
    key = _measurement_key(plan, batch_shape(plan), devices.pick_device(plan.machine.device))
    known = _read_speed(key).seconds
    return min((known[p] for p in _candidates(plan) if p in known), default=None)


def record_step_seconds(plan: RunConfig, seconds: float) -> None:
    """Correct the cached duration of a training step if a run was faster: the machine was busy when it was measured.

    Nothing is written if the step was not measured, or was measured to be as fast. Write errors are ignored.

    Args:
        plan: The plan of the run, with its machine resolved.
        seconds: Mean duration of a step in the fastest epoch of the run.
    """
    key = _measurement_key(plan, batch_shape(plan), devices.pick_device(plan.machine.device))
    speed, name = _read_speed(key), plan.machine.precision
    if seconds < speed.seconds.get(name, 0.0):
        _write_speed(speed.model_copy(update={"seconds": speed.seconds | {name: seconds}}))


def _file(key: MeasurementKey) -> str:
    """Return the name of the file of a measurement below the cache."""
    return f"machine/{key.digest}.json"


def _candidates(plan: RunConfig) -> tuple[str, ...]:
    """Return the precisions that a measurement decides between, or the only one."""
    if plan.machine.precision != "auto":
        return (plan.machine.precision,)
    return ("bf16",) if _trains_faster_in_bf16(plan) else ("fp32", "bf16")


def _trains_faster_in_bf16(plan: RunConfig) -> bool:
    """Return True where bf16 is faster on every processor of its kind: a measurement could only be wrong.

    docs/speed.md has the measurements.
    """
    return (
        plan.machine.device == "cpu"
        and plan.network.network in ("resnet18", "resnet34", "resnet50")
        and plan.recipe.image_size >= MIN_BF16_PX
        and plan.recipe.batch_size >= MIN_BF16_BATCH
        and multiplies_bf16()
    )


def _measured_speed(plan: RunConfig, network: nn.Module, device: torch.device, reporter: Reporter) -> StepSpeed:
    """Return the speed of a network at least in one precision of the plan, measured or from the cache."""
    shape = batch_shape(plan)
    key = _measurement_key(plan, shape, device)
    digest = key.digest
    speed = cached = _read_speed(key)
    candidates = _candidates(plan)
    with precision.deterministic(device, plan.machine.threads):
        missing = any(p not in speed.seconds and p not in speed.unsupported for p in candidates)
        if not missing and digest not in _trusted:
            speed, missing = _check_peak(speed, candidates, device)
            if missing:
                reporter.say(_("The machine was busy when it was measured."))
        if missing:
            reporter.say(
                ngettext(
                    "Measuring this machine with {count} thread, once for this network and image size.",
                    "Measuring this machine with {count} threads, once for this network and image size.",
                    plan.machine.threads,
                )
            )
            seconds = benchmark.step_seconds(network, shape, device, candidates)
            speed = StepSpeed(
                key=key,
                seconds=speed.seconds | seconds,
                peak={p: peak for p, peak in speed.peak.items() if p not in candidates},
                unsupported=tuple(sorted({*speed.unsupported, *candidates} - set(seconds))),
            )
        is_supported = any(p in speed.seconds for p in candidates)
        if is_supported and (fastest := _fastest(speed, candidates)) not in speed.peak:
            speed = _with_peak(speed, fastest, benchmark.matmul_peak(device, fastest))
    if speed != cached:
        _write_speed(speed)
    if not is_supported:
        raise UsageError(
            _("{device} does not support {precision}.", device=str(device), precision=candidates[0]),
            _("Use --precision fp32."),
        )
    _trusted.add(digest)
    return speed


def _check_peak(speed: StepSpeed, candidates: tuple[str, ...], device: torch.device) -> tuple[StepSpeed, bool]:
    """Return the speed with the larger of the cached and the present peak, and whether the cached one was far too low.

    Without a supported precision or a cached peak, nothing is checked.
    """
    measured = [p for p in candidates if p in speed.seconds]
    if not measured or (fastest := _fastest(speed, candidates)) not in speed.peak:
        return speed, False
    peak = benchmark.matmul_peak(device, fastest, times=2)
    is_low = peak > BUSY_SPEED_RATIO * speed.peak[fastest]
    return _with_peak(speed, fastest, max(peak, speed.peak[fastest])), is_low


def _with_peak(speed: StepSpeed, name: str, peak: float) -> StepSpeed:
    return StepSpeed(
        key=speed.key, seconds=speed.seconds, peak=speed.peak | {name: peak}, unsupported=speed.unsupported
    )


def _precision_words(selected: str, device: torch.device, threads: int, rates: str) -> Message:
    return ngettext(
        "Precision {precision} on {device} with {count} thread (measured images/s: {rates}).",
        "Precision {precision} on {device} with {count} threads (measured images/s: {rates}).",
        threads,
        precision=selected,
        device=str(device),
        rates=rates,
    )


def _measurement_key(plan: RunConfig, shape: tuple[int, ...], device: torch.device) -> MeasurementKey:
    """Return everything that a measurement depends on."""
    machine = (platform.machine(), processor(), device_name(device), plan.machine.threads)
    return MeasurementKey(
        machine=(*machine, torch.__version__, precision.NUMERICS),
        network=(*_network_key(plan), shape),
    )


def _network_key(plan: RunConfig) -> tuple[str, ...]:
    """Return what decides the speed of a network; code in place of the path of a user's own."""
    network = plan.network
    code = user_code.sha256_of(network.network)
    named = network.model_copy(update={"network": user_code.definition(network.network)}) if code else network
    values = [value if isinstance(value, str) else ",".join(value) for value in named.model_dump().values()]
    return (*values, code)


def _read_speed(key: MeasurementKey) -> StepSpeed:
    """Return the cached speed; without any precision if the file is missing or damaged."""
    content = read_cache_file(cache_root(), _file(key))
    try:
        speed = StepSpeed.parse(content, _file(key)) if content is not None else None
    except DataError:
        speed = None
    if speed is None or speed.key != key or min([*speed.seconds.values(), *speed.peak.values()], default=1.0) <= 0:
        return StepSpeed(key=key, seconds={}, peak={}, unsupported=())
    return speed


def _write_speed(speed: StepSpeed) -> None:
    write_cache_file(cache_root(), _file(speed.key), (speed.model_dump_json(indent=1) + "\n").encode())


def _fastest(speed: StepSpeed, candidates: tuple[str, ...]) -> str:
    """Return the precision with the fastest training step; one of the candidates is supported."""
    return min((p for p in candidates if p in speed.seconds), key=lambda p: speed.seconds[p])
