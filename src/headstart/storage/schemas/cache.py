"""Schemas of JSON files in the cache: measurements of the machine, the files of decoded images, near-duplicates."""

from __future__ import annotations

import hashlib
import json
from typing import Self

from pydantic import Field

from headstart.storage.files import SCHEMA_VERSION
from headstart.storage.schemas.schema import Schema, VersionedSchema


class MeasurementKey(Schema):
    """Machine and network that a measurement depends on."""

    schema_version: int = SCHEMA_VERSION
    machine: tuple[str | int, ...] = Field(description="processor, device, threads, versions")
    network: tuple[str | tuple[str | int, ...], ...] = Field(description="fields of the network, shape of a batch")

    @property
    def digest(self) -> str:
        """First digits of a hash, which name the file of the measurement."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]


class StepSpeed(Schema):
    """Speed of training steps of one network, by precision."""

    key: MeasurementKey
    seconds: dict[str, float] = Field(description="duration of a training step")
    peak: dict[str, float] = Field(description="FLOP/s of a matrix product")
    unsupported: tuple[str, ...] = Field(description="precisions that the device does not support")


class StoreManifest(Schema):
    """Content of MANIFEST.json of a store of decoded images."""

    schema_version: int
    bytes: int = Field(description="length of pixels.bin")
    index: str = Field(description="sha256 of index.npz")


class UndecodableFiles(VersionedSchema):
    """Content of undecodable.json: files that could not be decoded the last time."""

    contents: tuple[str, ...] = Field(description="hashes of the files, sorted")


class NearDuplicatePairs(VersionedSchema):
    """Near-duplicates among images of given contents."""

    images: int = Field(description="number of images that were compared, in the order of their hashes")
    pairs: tuple[tuple[int, int], ...] = Field(description="positions of both images")
    similarity: tuple[float, ...] = Field(description="similarity of each pair")
    checksum: str = Field(description="sha256 of the other values")

    @classmethod
    def of(cls, images: int, pairs: tuple[tuple[int, int], ...], similarity: tuple[float, ...]) -> Self:
        """Return the content of a file with its checksum."""
        return cls(images=images, pairs=pairs, similarity=similarity, checksum=_checksum(images, pairs, similarity))

    @property
    def is_intact(self) -> bool:
        """Whether the checksum is that of the values."""
        return self.checksum == _checksum(self.images, self.pairs, self.similarity)


def _checksum(*values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
