"""The check of class names against those that published weights were trained on."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from headstart.audit.audit_data import AuditData
from headstart.audit.finding import AuditOutcome
from headstart.config.plan_file import read_plan_file
from headstart.config.registry.starts import DEFAULT_START, PRETRAINED_START, TIMM_START, Argument
from headstart.config.start_spec import split_start, start_path, start_row
from headstart.data.class_names import shared_classes
from headstart.errors import DataError
from headstart.i18n import NOTHING, Message, _, ngettext, verbatim
from headstart.storage.schemas.audit import CheckStatus
from headstart.text import join_first

_IMAGENET = "ImageNet-1k"
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SHOWN_CLASSES = 10


@dataclass(frozen=True)
class TrainedClasses:
    """The classes that weights were trained on.

    Attributes:
        data: The data set, or the file that lists the classes.
        classes: Their names; none if they are not known.
    """

    data: Message = NOTHING
    classes: tuple[str, ...] = ()


def pretraining_classes(data: AuditData) -> AuditOutcome:
    """Return which classes the weights know already: this favors pretrained weights, and is no fault of the data.

    Without a start the weights are those of ImageNet-1k, with which `compare` compares random weights.
    """
    start = data.plan.arm.start
    if start_row(start).random and start != DEFAULT_START:
        return AuditOutcome(CheckStatus.NOT_CHECKED, _("{start} begins with random weights.", start=start))
    trained = _trained_classes(PRETRAINED_START if start == DEFAULT_START else start)
    if not trained.classes:
        return AuditOutcome(
            CheckStatus.NOT_CHECKED, _("The classes that {start} was trained on are not known.", start=start)
        )
    shared = shared_classes(data.images.classes, trained.classes)
    if not shared:
        return AuditOutcome(CheckStatus.PASS, _("No class has the name of a class of {data}.", data=trained.data))
    sentence = ngettext(
        "{count:,} of {total:,} classes has the name of a class of {data}: {names}. Weights trained on it know it.",
        "{count:,} of {total:,} classes have names of classes of {data}: {names}. Weights trained on it know them.",
        len(shared),
        total=len(data.images.classes),
        data=trained.data,
        names=join_first(shared, _SHOWN_CLASSES),
    )
    return AuditOutcome(CheckStatus.PASS, sentence, count=len(shared))


def _trained_classes(start: str) -> TrainedClasses:
    """Return what the weights of a start were trained on."""
    kind, argument = split_start(start)
    path = start_path(start)
    if kind == PRETRAINED_START:
        return TrainedClasses(verbatim(_IMAGENET), imagenet_classes())
    if kind == TIMM_START:
        return _of_timm(argument)
    if path is None:
        return TrainedClasses()
    if start_row(start).argument is Argument.RUN:
        try:
            plan = read_plan_file(path).plan
        except (DataError, OSError):
            return TrainedClasses()
        return TrainedClasses(verbatim(Path(plan.data.source).name), plan.facts.class_names)
    from headstart.audit.weights_classes import classes_of_file  # torch is slow to import

    classes = classes_of_file(path)
    return TrainedClasses(verbatim(path.name), classes) if classes else _of_file_name(path.name)


def _of_timm(name: str) -> TrainedClasses:
    """Return what timm's weights were trained on last: the tag says it, as in `augreg_in21k_ft_in1k`."""
    tag = name.partition(".")[2]
    if not tag:
        from headstart.audit.weights_classes import timm_tag

        tag = timm_tag(name)
    return TrainedClasses(verbatim(_IMAGENET), imagenet_classes()) if "in1k" in tag.split("_") else TrainedClasses()


def _of_file_name(name: str) -> TrainedClasses:
    """Return what the words in a file's name say about its classes; its folders may be named after anything."""
    words = set(re.split(r"[^a-z0-9]+", re.sub(r"(cifar|imagenet)[-_](?=\d)", r"\1", name.lower())))
    classes = {
        "CIFAR-10": _CIFAR10 if "cifar10" in words else (),
        _IMAGENET: imagenet_classes() if words & {"imagenet", "imagenet1k", "in1k"} else (),
    }
    named = [data for data, names in classes.items() if names]
    if len(named) != 1:
        return TrainedClasses()
    return TrainedClasses(_("{data} (by the name of the file)", data=named[0]), classes[named[0]])


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the class names of ImageNet-1k as torchvision lists them, without importing it; () if it has no list."""
    package = find_spec("torchvision")
    folders = package.submodule_search_locations if package is not None else None
    if not folders:
        return ()
    try:
        tree = ast.parse((Path(folders[0]) / "models" / "_meta.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_IMAGENET_CATEGORIES":
                return tuple(map(str, ast.literal_eval(node.value)))
    except (OSError, SyntaxError, ValueError):
        pass
    return ()
