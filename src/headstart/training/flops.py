"""FLOPs of a training image."""

from __future__ import annotations

from torch import nn

from headstart.config.run_config import RunConfig
from headstart.hardware import benchmark
from headstart.models import freezing, structure
from headstart.storage.schemas.arm import FULL
from headstart.training.state import TrainingContext

_flops_of: dict[tuple[str, ...], float] = {}  # FLOPs of an image, counted once in a process


def flops_per_image(context: TrainingContext, plan: RunConfig, network: nn.Module) -> tuple[float, ...]:
    """Return the FLOPs of a training image in each phase. A frozen backbone has no backward pass."""
    flops = []
    for number, phase in enumerate(context.phases):
        if context.cached_backbone(number) is not None:  # the head alone: two products for each of its weights
            head = network.get_submodule(structure.head_name(network))
            flops.append(4.0 * sum(p.numel() for p in head.parameters() if p.ndim > 1))
            continue
        code = plan.facts.network_sha256
        network_key = (plan.network.model_dump_json(), code, plan.arm.head, str(len(plan.facts.class_names)))
        key = (*network_key, str(context.batches.augmentation.size), str(phase.tuning))
        if key not in _flops_of:
            freezing.freeze(network, freezing.trainable(network, phase.tuning.trained_stages))
            _flops_of[key] = benchmark.training_flops(network, context.batches.augmentation.size)
        flops.append(_flops_of[key])
    freezing.freeze(network, freezing.trainable(network, FULL.trained_stages))
    return tuple(flops)
