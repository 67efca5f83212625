"""The command `inspect`."""

from __future__ import annotations

from typing import Annotated

from headstart.cli.app import Json, Trust, command
from headstart.cli.options import parameter
from headstart.cli.output import print_json, print_lines
from headstart.config.stored_code import trusting
from headstart.i18n import _
from headstart.models.user_code import require_network


@command(
    _("Show the layers, parameters and FLOPs of a network, and where it differs from torchvision's."),
    sort_key=5,
)
def inspect(
    network: Annotated[str, parameter(_("Network, such as my.py:NAME or resnet18, or folder of a run or model."))],
    /,
    *,
    num_classes: Annotated[
        int | None, parameter(_("Number of classes [default: 1000, or that of the model]."), show_default=False)
    ] = None,
    image_size: Annotated[
        int | None, parameter(_("Side of the images in px [default: 128, or that of the model]."), show_default=False)
    ] = None,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Show the layers, parameters and FLOPs of a network, and where it differs from torchvision's."""
    require_network(network)  # a wrong name is reported before the slow import of torch
    from headstart.inference.inspection import inspect_network, inspection_lines

    with trusting(trust):
        inspection = inspect_network(network, num_classes=num_classes, image_size=image_size)
    if json:
        print_json(inspection.to_json())
    else:
        print_lines(inspection_lines(inspection))
