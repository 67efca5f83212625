"""The check of labels against the features of pretrained weights. Imports torch only where weights are named."""

from __future__ import annotations

import numpy as np

from headstart.analysis.wording import start_words
from headstart.audit.audit_data import AuditData
from headstart.audit.finding import NOTHING, CheckResult, Example
from headstart.audit.shortcut_check import fold_groups
from headstart.config.start_spec import start_row
from headstart.data.pixels import Pixels
from headstart.hardware import cpu
from headstart.i18n import _, ngettext
from headstart.storage.schemas.audit import CheckStatus
from headstart.text import format_percent

CLEAR_ODDS = 100.0  # of another class against the label; calibrated probabilities would be wrong in 1 of 100 cases
_MAX_EXAMPLES = 1000
_MAX_ODDS = 1e6


class ReadableImages:
    """The images of a store that can be decoded.

    Args:
        data: The images, of which some may have no pixels.
    """

    def __init__(self, data: AuditData) -> None:
        self._store, self._places = data.store, data.readable

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Pixels:
        return self._store[int(self._places[index])]


def label_errors(data: AuditData) -> CheckResult:
    """Return the images whose label the features of pretrained weights contradict, the most probable errors first."""
    start = data.plan.arm.start
    if start_row(start).from_scratch or start_row(start).needs_training:
        return CheckResult(
            CheckStatus.NOT_CHECKED,
            _("This needs pretrained weights."),
            _("Name some: --start file:PATH, or imagenet."),
        )
    from headstart.audit import features, label_errors  # torch is slow to import
    from headstart.weights.starts import default_network

    network = data.plan.network.network
    network = (default_network(start) or "resnet18") if network == "auto" else network
    weights = features.local_start(start, network, data.plan.network.stem)
    if weights is None:
        return CheckResult(
            CheckStatus.NOT_CHECKED,
            _("The weights of {start} are not on this disk.", start=start),
            _("A training downloads them."),
        )
    threads = data.plan.machine.threads or cpu.usable_cores()
    views = features.image_features(
        network, weights, ReadableImages(data), stem=data.plan.network.stem, threads=threads
    )
    labels, classes = data.images.labels[data.readable], data.images.classes
    probabilities = label_errors.cross_validated(views, labels, fold_groups(data), classes=len(classes))
    found = label_errors.suspects(probabilities, labels)
    if not len(found.indices):
        return CheckResult(CheckStatus.PASS, _("No label is contradicted by the features of {start}.", start=start))
    examples = [
        Example(
            int(place),
            value=round(min(odds, _MAX_ODDS), 1),
            detail=_(
                "{image}: labeled {label!r}, looks like {suggested!r}.",
                image=data.images.keys[place],
                label=classes[data.images.labels[place]],
                suggested=classes[suggested],
            ),
        )
        for place, suggested, odds in zip(
            data.readable[found.indices], found.suggested.tolist(), found.odds.tolist(), strict=True
        )
    ]
    clear = int(np.count_nonzero(found.odds >= CLEAR_ODDS))
    sentence = ngettext(
        "{count:,} label is clearly contradicted by the features of {start}, and {others:,} less clearly; {share} of "
        "all labels agree with them.",
        "{count:,} labels are clearly contradicted by the features of {start}, and {others:,} less clearly; {share} of "
        "all labels agree with them.",
        clear,
        others=len(examples) - clear,
        start=start_words(data.plan.arm_spec),
        share=format_percent(1 - len(examples) / max(len(labels), 1)),
    )
    hint = _("Look at the first ones: they are the most probable errors. `--html OUT.html` shows them.")
    status = CheckStatus.WARN if clear else CheckStatus.PASS
    return CheckResult(status, sentence, hint if clear else NOTHING, clear, examples[:_MAX_EXAMPLES])
