"""Schemas of JSON files in the cache: measurements of the machine, and the files of decoded images."""

from __future__ import annotations

import hashlib
import json

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
