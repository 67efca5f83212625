"""Check a data set: load it once, make every check of the registry, and name the images of the examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from headstart.audit.audit_data import AuditData, LoadedData, load_audit_data
from headstart.audit.finding import AuditOutcome, AuditResult, CheckRow, Example
from headstart.audit.registry import AUDIT_CHECKS, AuditCheck
from headstart.config.run_config import RunConfig
from headstart.data.image_index import ImageIndex
from headstart.errors import as_headstart_error
from headstart.factories import load_factory
from headstart.i18n import _
from headstart.reporter import Reporter
from headstart.storage.schemas.audit import AuditExample, CheckStatus


def check_data(
    plan: RunConfig, reporter: Reporter, name: str = "", checks: Mapping[str, AuditCheck] = AUDIT_CHECKS
) -> tuple[AuditResult, AuditData]:
    """Return the result of checks on the data of a plan, and what they have read.

    Args:
        plan: A draft: its data, image size, start, threads and seeds are used.
        reporter: Receives progress.
        name: Name of data that has no path of its own; "" for that of the plan.
        checks: The checks by their codes.

    Raises:
        DataError: The data is missing or cannot be read as a labeled set, or no image can be decoded.
        ResourceError: The disk is too small or the cache cannot be written.
    """
    data = load_audit_data(plan, reporter)
    rows = []
    for done, (code, check) in enumerate(checks.items(), 1):
        rows.append(_row(code, check, data))
        reporter.progress(_("checking"), done, len(checks))
    counts = np.bincount(data.images.labels, minlength=len(data.images.classes)).tolist()
    result = AuditResult(
        data=name or data.images.source,
        image_count=len(data.images),
        classes=dict(zip(data.images.classes, counts, strict=True)),
        declared=data.declared,
        splits=data.splits,
        seed=plan.seeding.seed,
        image_size=data.image_size,
        notes=(*data.images.notes, *data.store.notes),
        rows=tuple(rows),
    )
    return result, data


def run_check(check: AuditCheck, data: LoadedData) -> AuditOutcome:
    """Return the result of one check. An error in it is no error of the others: the result is not-checked then.

    Raises:
        MemoryError: The memory is not enough; another check would not have it either.
    """
    make: Callable[[LoadedData], AuditOutcome] = load_factory(check.factory)
    try:
        return make(data)
    except MemoryError:
        raise
    except Exception as error:
        reason = as_headstart_error(error)
        return AuditOutcome(CheckStatus.NOT_CHECKED, reason.message, reason.hint, error=error)


def _row(code: str, check: AuditCheck, data: AuditData) -> CheckRow:
    result = run_check(check, data)
    return CheckRow(
        check=code,
        name=check.name,
        status=result.status,
        sentence=result.sentence,
        hint=result.hint,
        count=result.count,
        examples=tuple(_named(example, data.images, data.split_of) for example in result.examples),
        positions=tuple(result.examples),
        error=result.error,
    )


def _named(example: Example, images: ImageIndex, split_of: tuple[str, ...]) -> AuditExample:
    other = example.other
    return AuditExample(
        image=images.keys[example.image],
        label=images.classes[images.labels[example.image]],
        split=split_of[example.image],
        other="" if other is None else images.keys[other],
        other_label="" if other is None else images.classes[images.labels[other]],
        other_split="" if other is None else split_of[other],
        value=example.value,
        detail=example.detail,
    )
