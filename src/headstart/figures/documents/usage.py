"""What a plan uses that has a source to cite: networks, initial weights and data of headstart."""

from __future__ import annotations

from headstart.config.registry.starts import DEFAULT_SCHEME, SCHEMES
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import split_start, start_row


def is_builtin_resnet(plan: RunConfig) -> bool:
    """Return True if the network is one of the ResNets of headstart."""
    return plan.network.network.startswith("resnet")


def scheme_of(plan: RunConfig) -> str:
    """Return the name of the scheme that drew all initial weights; "" for others, and where the network draws them."""
    row, scheme = start_row(plan.arm.start), split_start(plan.arm.start)[1]
    if not row.from_scratch:
        return ""
    return scheme if scheme in SCHEMES else DEFAULT_SCHEME if is_builtin_resnet(plan) else ""


def uses_digits(plan: RunConfig) -> bool:
    """Return True if the images are the built-in digits."""
    return split_start(plan.data.source)[0] == "digits"
