"""The quick part of the audit: what training has loaded anyway shows the most severe faults of the data."""

from __future__ import annotations

from headstart import shell
from headstart.audit.audit_data import LoadedData, split_names
from headstart.audit.check import run_check
from headstart.audit.finding import SEVERITY
from headstart.audit.registry import AUDIT_CHECKS
from headstart.config.flag_words import flag_text
from headstart.config.plan_values import CheckSettings
from headstart.config.run_config import RunConfig
from headstart.data.builtin import is_builtin
from headstart.data.dataset import Dataset
from headstart.data.splits import Split
from headstart.i18n import Message, _
from headstart.reporter import Reporter
from headstart.storage.schemas.audit import CheckStatus
from headstart.storage.schemas.study import TRAIN_AND_VAL
from headstart.text import relative_path

MAX_LINES = 5


def say_quick_lines(plan: RunConfig, dataset: Dataset, split: Split, reporter: Reporter) -> None:
    """Report `quick_lines`."""
    for line in quick_lines(plan, dataset, split):
        reporter.say(line)


def quick_lines(plan: RunConfig, dataset: Dataset, split: Split) -> list[Message]:
    """Return at most `MAX_LINES` sentences on the images of a run: of the quick checks that warn or fail.

    No image is decoded and no file is opened. What loading the images has reported, such as equal images in two
    splits, is not repeated.

    Args:
        plan: The plan of the run.
        dataset: Its images.
        split: Their split.
    """
    data = LoadedData(
        plan=plan,
        images=dataset.images,
        content_hashes=dataset.content_hashes,
        store=dataset.store,
        near=dataset.near_duplicates,
        split_of=split_names(split, len(dataset.images)),
        declared=split.declared,
        evaluation=split.evaluation,
    )
    severe: list[tuple[CheckStatus, Message]] = []
    for check in AUDIT_CHECKS.values():
        if check.quick:
            result = run_check(check, data)
            if result.status in (CheckStatus.FAIL, CheckStatus.WARN):
                line = _("Check of the data: {name}: {sentence}", name=check.name, sentence=result.sentence)
                severe.append((result.status, line))
    if not severe:
        return []
    severe.sort(key=lambda pair: SEVERITY.index(pair[0]))
    lines = [line for _status, line in severe[: MAX_LINES - 1]]
    command = " ".join(
        ["headstart check", shell.quote_path(relative_path(plan.data.source)), *_check_flags(plan, split.declared)]
    )
    if is_builtin(plan.data.source):
        return [*lines, _("`{command}` shows more.", command=command)]
    return [
        *lines,
        _("`{command}` shows more, and with --fix OUT.csv it writes a corrected manifest.", command=command),
    ]


def _check_flags(plan: RunConfig, declared: str) -> list[str]:
    """Return the flags with which `check` reads the images as the plan does, without those that change nothing."""
    names = set(CheckSettings.__optional_keys__) - {"source"}
    if declared != TRAIN_AND_VAL:
        names.discard("evaluate_on_val")
    return [
        flag_text(name, getattr(section, name))
        for section in (plan.data, plan.recipe, plan.seeding)
        for name, field in type(section).model_fields.items()
        if name in names and getattr(section, name) != field.default
    ]
