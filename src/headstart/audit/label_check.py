"""The check of labels against the features of pretrained weights. Imports torch only where there are weights."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart.analysis.wording import start_words
from headstart.audit import label_errors
from headstart.audit.audit_data import AuditData, Integers
from headstart.audit.cross_validation import Floats
from headstart.audit.finding import MAX_EXAMPLES, AuditOutcome, Example
from headstart.audit.sample import Limits, Sample, draw_sample
from headstart.config.registry.starts import PRETRAINED_START
from headstart.config.start_spec import start_row
from headstart.data.pixels import Pixels
from headstart.errors import HeadstartError
from headstart.hardware import cpu
from headstart.i18n import NOTHING, Message, _, join, ngettext
from headstart.storage.schemas.audit import CheckStatus
from headstart.text import format_percent

if TYPE_CHECKING:
    from headstart.weights.starts import Start

CLEAR_ODDS = 100.0  # of another class against the label; calibrated probabilities would be wrong in 1 of 100 cases
_MAX_ODDS = 1e6
_FEW_AGREE = 0.75  # of the labels; weights of other images agreed with 80 % of the labels of 3,781 photos
_DEFAULT_NETWORK = "resnet18"
_LIMITS = Limits(whole_images=50_000)  # features of so many images take minutes, and up to 1 GB


class SampledImages:
    """Images of a store at some places, which can all be decoded.

    Args:
        data: The images.
        places: Positions of the images.
    """

    def __init__(self, data: AuditData, places: Integers) -> None:
        self._store, self._places = data.store, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Pixels:
        return self._store[int(self._places[index])]


@dataclass(frozen=True, eq=False)
class _Weights:
    """Weights that features are computed with, and their name in sentences."""

    name: str
    network: str
    stem: str
    start: Start


def find_label_errors(data: AuditData) -> AuditOutcome:
    """Return the images whose label the features of pretrained weights contradict, the most probable errors first."""
    if len(np.unique(data.images.labels[data.readable])) < 2:
        return AuditOutcome(CheckStatus.NOT_CHECKED, _("Fewer than two classes have images that can be decoded."))
    weights = _weights(data)
    if isinstance(weights, AuditOutcome):
        return weights
    sample = draw_sample(data, _LIMITS)
    probabilities = _probabilities(data, sample, weights)
    suspects = label_errors.suspects(probabilities, sample.labels)
    if not len(suspects.indices):
        sentence = _("No label is contradicted by the features of {start}.", start=weights.name)
        return AuditOutcome(CheckStatus.PASS, join([sentence, sample.note]))
    clear = int(np.count_nonzero(suspects.odds >= CLEAR_ODDS))
    agreeing = 1 - len(suspects.indices) / len(sample.labels)
    sentence = ngettext(
        "{count:,} label is clearly contradicted by the features of {start}, and {others:,} less clearly; {share} of "
        "all labels agree with them.",
        "{count:,} labels are clearly contradicted by the features of {start}, and {others:,} less clearly; {share} of "
        "all labels agree with them.",
        clear,
        others=len(suspects.indices) - clear,
        start=weights.name,
        share=format_percent(agreeing),
    )
    hint = _("Look at the first ones: they are the most probable errors. `--html OUT.html` shows them.")
    if agreeing < _FEW_AGREE:
        hint = join([hint, _("These features separate the classes poorly, so correct labels are among them too.")])
    status = CheckStatus.WARN if clear else CheckStatus.PASS
    examples = _examples(data, sample, suspects)
    return AuditOutcome(status, join([sentence, sample.note]), hint if clear else NOTHING, clear, examples)


def _examples(data: AuditData, sample: Sample, suspects: label_errors.Suspects) -> list[Example]:
    names, shown = data.images.classes, slice(MAX_EXAMPLES)
    rows = zip(suspects.indices[shown], suspects.suggested[shown], suspects.odds[shown], strict=True)
    return [
        Example(
            int(sample.places[row]),
            value=round(min(float(odds), _MAX_ODDS), 1),
            detail=_(
                "{image}: labeled {label!r}, looks like {suggested!r}.",
                image=data.images.keys[sample.places[row]],
                label=names[sample.classes[sample.labels[row]]],
                suggested=names[sample.classes[suggested]],
            ),
        )
        for row, suggested, odds in rows
    ]


def _probabilities(data: AuditData, sample: Sample, weights: _Weights) -> Floats:
    """Return the cross-validated probabilities of the classes of a sample, from the features of its images."""
    from headstart.audit.features import image_features

    views = image_features(
        weights.network,
        weights.start,
        SampledImages(data, sample.places),
        stem=weights.stem,
        threads=data.plan.machine.threads or cpu.usable_cores(),
        progress=partial(data.reporter.progress, _("computing features")),
    )
    return label_errors.cross_validated(views, sample.labels, sample.groups, classes=len(sample.classes))


def _weights(data: AuditData) -> _Weights | AuditOutcome:
    """Return the weights of the plan's start, or those of ImageNet if it is random; or why there are none."""
    start = data.plan.arm.start
    if start_row(start).needs_training:
        return _unchecked(_("{start} is trained in a comparison.", start=start), _("Name weights: --start file:PATH."))
    is_random = start_row(start).random
    name = PRETRAINED_START if is_random else start
    download = _("Download them: headstart train digits --start {start:shell} --dry-run", start=name)
    if is_random and not _imagenet_in_cache():
        hint = _("{download}; or name others: --start file:PATH.", download=download)
        return _unchecked(_("This needs pretrained weights; those of ImageNet are not on this disk."), hint)
    from headstart.audit.features import local_start  # torch is slow to import
    from headstart.weights.starts import default_network

    network, stem = data.plan.network.network, data.plan.network.stem
    try:
        if is_random:
            network, stem = _DEFAULT_NETWORK, "imagenet"
        elif network == "auto":
            network = default_network(start) or _DEFAULT_NETWORK
        weights = local_start(name, network, stem)
    except HeadstartError as error:
        return _unchecked(error.message, error.hint)
    if weights is None:
        return _unchecked(_("The weights of {start} are not on this disk.", start=name), download)
    words = name if is_random else start_words(data.plan.arm_spec)
    return _Weights(words, network, stem, weights)


def _unchecked(sentence: Message, hint: Message) -> AuditOutcome:
    return AuditOutcome(CheckStatus.NOT_CHECKED, sentence, hint)


def _imagenet_in_cache() -> bool:
    """Return True if torch's cache has a file of the ImageNet weights, without importing torch."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    folder = Path(os.environ.get("TORCH_HOME") or cache).expanduser() / "hub" / "checkpoints"
    return any(folder.glob(f"{_DEFAULT_NETWORK}-*.pth"))
