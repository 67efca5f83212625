"""Find published weights by name, from torchvision and timm, and download them once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from headstart.config.registry.starts import DEFAULT_START, FILE_START, TIMM_START
from headstart.config.start_spec import start_form
from headstart.errors import ModelFileError, UsageError
from headstart.i18n import _
from headstart.models.factory import pretrained_cfg
from headstart.storage import contained
from headstart.storage.cache import cache_root
from headstart.weights.download import check_hash, fetch
from headstart.weights.files import WeightsFile

Triple = tuple[float, float, float]
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class PretrainedWeights:
    """A published weights file on this disk.

    Attributes:
        path: The file.
        sha256: Its hash.
        mean: The publisher's mean per color channel.
        std: The publisher's standard deviation per color channel.
        license: Terms of use, in English, see `starts.Start`.
        provenance: Who published it, and where, in English.
        classes: Class names, empty if not known.
    """

    path: Path
    sha256: str
    mean: Triple
    std: Triple
    license: str
    provenance: str
    classes: tuple[str, ...] = ()


def fetch_torchvision(network: str) -> PretrainedWeights:
    """Return torchvision's default weights for `network` (resnet18, resnet34, resnet50).

    They are downloaded unless torch's cache has them (`torch.hub.get_dir()/checkpoints`). A file in the cache is hashed
    before it is read, which torch itself does not do.

    Raises:
        MissingWeightsError: The file could not be downloaded (no network, a timeout, or an HTTP error).
        ModelFileError: The file has another hash.
    """
    import torchvision

    weights = torchvision.models.get_model_weights(network).DEFAULT
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    digits = re.search(r"-([0-9a-f]{8,64})\.", path.name)  # the name has the first digits of the hash
    expected = digits[1] if digits else ""
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


def fetch_timm(name: str) -> PretrainedWeights:
    """Return timm's weights `name`, with or without its tag.

    They are downloaded unless headstart's or Hugging Face's cache has them. A file copied by hand to
    <cache>/weights/timm/<NAME>.safetensors is used; a downloaded file must still have its hash at the download.

    Raises:
        UsageError: timm does not publish these weights.
        MissingWeightsError: The file could not be downloaded (no network, a timeout, or an HTTP error).
        ModelFileError: A file in a cache has another hash.
    """
    config = pretrained_cfg(name)
    full_name = f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    if not config.hf_hub_id:
        raise UsageError(
            _("timm publishes no safetensors weights for {name}.", name=full_name),
            _("Get {url} and use --start {start}.", url=str(config.url), start=start_form(FILE_START))
            if config.url
            else _("Use another {form}, or {start}.", form=start_form(TIMM_START), start=DEFAULT_START),
        )
    repository, _unused, revision = config.hf_hub_id.partition("@")
    file = config.hf_hub_filename or "model.safetensors"
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{host}/{repository}/resolve/{revision or 'main'}/{file}"
    path, sha256 = _timm_file(name, full_name, repository, revision or None, file, url)
    license = config.license or "not stated by timm: see https://huggingface.co/" + repository
    classes = _imagenet_classes() if config.num_classes == IMAGENET_CLASSES else ()
    mean, std = cast(Triple, config.mean), cast(Triple, config.std)
    return PretrainedWeights(path, sha256, mean, std, license, f"timm {full_name}, {url}", classes)


def _imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet-1k's classes, from torchvision."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def _timm_file(
    name: str, full_name: str, repository: str, revision: str | None, file: str, url: str
) -> tuple[Path, str]:
    from huggingface_hub import try_to_load_from_cache

    folder = cache_root() / "weights" / "timm"
    for own in (folder / f"{name}.safetensors", folder / f"{full_name}.safetensors"):
        if own.exists():
            saved = own.with_name(f"{own.name}.sha256")  # written after a download; a file copied by hand has none
            return own, check_hash(own, saved.read_text().strip() if saved.exists() else "", url)
    cached = try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(cached, str):
        blob = Path(cached).resolve().name  # Hugging Face names large files by their hash
        return Path(cached), check_hash(Path(cached), blob if re.fullmatch("[0-9a-f]{64}", blob) else "", url)
    path = folder / f"{full_name}.safetensors"
    sha256 = fetch(url, path)
    contained.write(path.parent, f"{path.name}.sha256", sha256)
    return path, sha256


def convert_timm_keys(name: str, file: WeightsFile) -> WeightsFile:
    """Return a published file's tensors under the keys of timm's present code, converted by timm itself.

    Raises ModelFileError if timm cannot convert them.
    """
    import timm

    overlay: dict[str, str | bool] = {"file": str(file.path), "source": "", "custom_load": False}
    try:
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError, ValueError) as error:
        raise ModelFileError(
            _(
                "{path} does not fit {network} ({reason}).",
                path=file.path,
                network=f"timm:{name}",
                reason=str(error).splitlines()[0],
            ),
            _("Delete it and run again."),
        ) from error
    return WeightsFile(file.path, dict(network.state_dict()), file.metadata, file.sha256)
