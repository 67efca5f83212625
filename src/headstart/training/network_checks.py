"""Check that a network can be trained at the image size and in the precision of a plan."""

from __future__ import annotations

import torch
from torch import nn

from headstart.config.run_config import RunConfig
from headstart.errors import UsageError
from headstart.hardware import precision
from headstart.i18n import _
from headstart.models import structure, user_network
from headstart.reporter import Reporter


def check_image_size_and_precision(plan: RunConfig, network: nn.Module, reporter: Reporter) -> RunConfig:
    """Return the plan, with fp32 instead of `auto` where bf16 gives wrong gradients.

    Raises:
        UsageError: If the network does not accept the image size, or the plan has bf16 where it gives wrong gradients.
    """
    size, name, machine = plan.recipe.image_size, plan.network.label, plan.machine
    if structure.description_of(network):
        user_network.adapt(network, name, size)
    if structure.fixed_size(network) not in (None, size):
        fixed_size = structure.fixed_size(network)
        message = _(
            "{network} takes images of {fixed_size} px only, but the plan has {size} px.",
            network=name,
            fixed_size=fixed_size,
            size=size,
        )
        raise UsageError(message, _("Use --image-size {fixed_size}, or another network.", fixed_size=fixed_size))
    try:
        layer = precision.find_single_pixel_stride(network, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(
            _("{network} cannot take images of {size} px ({reason}).", network=name, size=size, reason=reason),
            _("Use a larger --image-size, or another network."),
        ) from error
    if not layer or machine.precision == "fp32" or torch.device(machine.device).type != "cpu":
        return plan
    if machine.precision == "bf16":
        message = _(
            "{network} cannot be trained in bf16 at {size} px; bf16 gives wrong gradients there: {layer} has a stride "
            "over a single pixel.",
            network=name,
            size=size,
            layer=layer,
        )
        raise UsageError(message, _("Use --precision fp32, or a larger --image-size."))
    reporter.say(
        _(
            "{network} is trained in fp32 at {size} px; bf16 gives wrong gradients there: {layer} has a stride over a "
            "single pixel.",
            network=name,
            size=size,
            layer=layer,
        )
    )
    return plan.changed(precision="fp32")
