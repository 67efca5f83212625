"""timm's description of a network: the fields that headstart reads of its `pretrained_cfg`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from torch import nn


class TimmConfig(BaseModel):
    """Fields of a timm network's `pretrained_cfg`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    architecture: str = ""
    input_size: tuple[int, ...] = ()
    fixed_input_size: bool = False
    first_conv: str | tuple[str, ...] | None = None
    classifier: str | tuple[str, ...] | None = None

    @classmethod
    def of(cls, network: nn.Module) -> TimmConfig:
        """Return the description of a network of timm."""
        return cls.model_validate(network.pretrained_cfg)
