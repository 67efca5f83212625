"""Schema of what `headstart inspect` finds in a network."""

from __future__ import annotations

from pydantic import Field

from headstart.storage.schemas.schema import Schema, VersionedSchema


class LayerDescription(Schema):
    """A module without further modules, in the order of the first use."""

    name: str = Field(description="name of the module")
    kind: str = Field(description="its class and its main options")
    shape: tuple[int, ...] | None = Field(description="shape of its output for one image; null if it is not used")
    parameters: int = Field(description="number of its parameters")
    flops: float | None = Field(description="FLOPs of its forward pass for one image; null if the network fails")


class ReferenceComparison(Schema):
    """Comparison with the most similar network of torchvision."""

    reference: str = Field(description="its name in torchvision")
    differences: list[str] = Field(description="what differs, in the order of the layers")
    logits: float | None = Field(
        description="largest difference of the logits with the same weights, in fp32; null if the weights do not fit"
    )
    equal: bool = Field(description="whether both have the same layers and, with the same weights, the same logits")


class NetworkInspection(VersionedSchema):
    """Result of `headstart inspect --json`."""

    network: str = Field(description="name of the network")
    num_classes: int = Field(description="number of outputs")
    image_size: int = Field(description="side of the images in px")
    parameters: int = Field(description="number of parameters")
    flops: float | None = Field(description="FLOPs of a forward pass for one image; null if the network fails")
    layers: list[LayerDescription] = Field(description="its layers")
    stages: list[str] = Field(description="its parts from input to output, with the head last; empty if it has none")
    head: str = Field(description="name of the module of the head; empty if it has none")
    fault: str | None = Field(description="why headstart cannot train it; null if it can")
    comparison: ReferenceComparison | None = Field(description="null if no network of torchvision is similar")
