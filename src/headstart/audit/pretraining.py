"""The check of class names against those that published weights were trained on."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from headstart.audit.audit_data import AuditData
from headstart.audit.finding import CheckResult
from headstart.config.plan_file import read_plan_file
from headstart.config.registry.starts import Argument
from headstart.config.start_spec import split_start, start_path, start_row
from headstart.data.class_names import shared_classes
from headstart.errors import DataError
from headstart.i18n import _, ngettext
from headstart.storage.schemas.audit import CheckStatus
from headstart.text import join_first

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SHOWN_CLASSES = 10


def pretraining_classes(data: AuditData) -> CheckResult:
    """Return which classes the weights know already: this favors pretrained weights, and is no fault of the data."""
    start = data.plan.arm.start
    if start_row(start).from_scratch:
        name, trained = "ImageNet", imagenet_classes()
    else:
        name, trained = _trained_classes(start)
    if not trained:
        return CheckResult(
            CheckStatus.NOT_CHECKED, _("The classes that {start} was trained on are not known.", start=start)
        )
    shared = shared_classes(data.images.classes, trained)
    if not shared:
        return CheckResult(CheckStatus.PASS, _("No class has the name of a class of {data}.", data=name))
    sentence = ngettext(
        "{count:,} of {total:,} classes has the name of a class of {data}: {names}. Pretrained weights know it.",
        "{count:,} of {total:,} classes have names of classes of {data}: {names}. Pretrained weights know them.",
        len(shared),
        total=len(data.images.classes),
        data=name,
        names=join_first(shared, _SHOWN_CLASSES),
    )
    return CheckResult(CheckStatus.PASS, sentence, count=len(shared))


def _trained_classes(start: str) -> tuple[str, tuple[str, ...]]:
    """Return the data set that the weights of a start were trained on, and its classes; none if they are unknown."""
    row, argument = start_row(start), split_start(start)[1]
    path = start_path(start)
    if row.argument is Argument.RUN and path is not None:
        try:
            plan = read_plan_file(path).plan
        except (DataError, OSError):
            return "", ()
        return Path(plan.data.source).name, plan.facts.class_names
    text = argument.lower().replace("-", "").replace("_", "")
    if "cifar100" in text:
        return "CIFAR-100", ()
    if "cifar10" in text:
        return "CIFAR-10", _CIFAR10
    return ("ImageNet", imagenet_classes()) if path is None else ("", ())


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
