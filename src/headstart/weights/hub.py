"""Published weights by name, from torchvision and timm: where they lie, and what belongs to them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from headstart.errors import ModelFileError, UsageError
from headstart.models.factory import timm_config
from headstart.storage.cache import cache_root
from headstart.storage.files import write_atomic
from headstart.weights.download import check_hash, fetch
from headstart.weights.files import WeightsFile

Triple = tuple[float, float, float]
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class PretrainedWeights:
    """A weights file on this disk with its SHA-256, and its publisher's mean, std, licence, provenance and classes.

    `classes` are empty where they are not known.
    """

    path: Path
    sha256: str
    mean: Triple
    std: Triple
    licence: str
    provenance: str
    classes: tuple[str, ...] = ()


def find_torchvision(network: str) -> PretrainedWeights:
    """torchvision's default weights for `network` (resnet18, resnet34, resnet50), downloaded unless torch has them.

    Torch's cache is used (`torch.hub.get_dir()/checkpoints`), and a file there is hashed before it is read: torch
    itself would trust it. Raises DataError offline, ModelFileError for a file of another hash.
    """
    import torchvision

    weights = torchvision.models.get_model_weights(network).DEFAULT
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    named = re.search(r"-([0-9a-f]{8,64})\.", path.name)  # the first digits of the hash stand in the name
    expected = named[1] if named else ""
    sha256 = check_hash(path, expected, weights.url) if path.exists() else fetch(weights.url, path, sha256=expected)
    preset = weights.transforms()
    return PretrainedWeights(
        path,
        sha256,
        tuple(preset.mean),
        tuple(preset.std),
        "torchvision's code is BSD-3-Clause; the weights learned from ImageNet, whose terms ask for non-commercial use",
        f"torchvision {weights}, trained on ImageNet-1k, {weights.url}",
        _imagenet_classes(),
    )


def find_timm(name: str) -> PretrainedWeights:
    """timm's weights NAME (with or without its tag), downloaded unless headstart's or Hugging Face's cache has them.

    A file put at <cache>/weights/timm/<NAME>.safetensors by hand is taken; one that was downloaded must still have the
    hash that it had then. Raises UsageError where timm publishes none,
    DataError offline, ModelFileError for a file in Hugging Face's cache that is not the one it was named after.
    """
    config = timm_config(name)
    full = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    if not config.hf_hub_id:
        raise UsageError(
            f"timm publishes no safetensors weights for {full}.",
            f"Get {config.url} and use --start file:PATH." if config.url else "Use another timm:NAME, or scratch.",
        )
    repository, _, revision = config.hf_hub_id.partition("@")
    file = config.hf_hub_filename or "model.safetensors"
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{host}/{repository}/resolve/{revision or 'main'}/{file}"
    path, sha256 = _timm_file(name, full, repository, revision or None, file, url)
    licence = config.license or "not stated by timm: see https://huggingface.co/" + repository
    classes = _imagenet_classes() if config.num_classes == IMAGENET_CLASSES else ()
    return PretrainedWeights(path, sha256, config.mean, config.std, licence, f"timm {full}, {url}", classes)


def _imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet-1k's classes, as torchvision tells them."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def _timm_file(name: str, full: str, repository: str, revision: str | None, file: str, url: str) -> tuple[Path, str]:
    from huggingface_hub import try_to_load_from_cache

    folder = cache_root() / "weights" / "timm"
    for own in (folder / f"{name}.safetensors", folder / f"{full}.safetensors"):
        if own.exists():
            note = own.with_name(f"{own.name}.sha256")  # what was downloaded; nobody vouches for a file put by hand
            return own, check_hash(own, note.read_text().strip() if note.exists() else "", url)
    cached = try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(cached, str):
        blob = Path(cached).resolve().name  # large files are named by their hash there
        return Path(cached), check_hash(Path(cached), blob if re.fullmatch("[0-9a-f]{64}", blob) else "", url)
    path = folder / f"{full}.safetensors"
    sha256 = fetch(url, path)
    write_atomic(path.with_name(f"{path.name}.sha256"), sha256)
    return path, sha256


def load_timm(name: str, file: WeightsFile) -> WeightsFile:
    """The tensors of a published file under the keys of timm's present code, by timm's own conversion.

    Raises ModelFileError where timm cannot make them fit.
    """
    import timm

    overlay: dict[str, Any] = {"file": str(file.path), "source": "", "custom_load": False}
    try:
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError, ValueError) as error:
        raise ModelFileError(
            f"{file.path} does not fit timm:{name} ({str(error).splitlines()[0]}).", "Delete it and run again."
        ) from error
    return WeightsFile(file.path, dict(network.state_dict()), file.metadata, file.sha256)
