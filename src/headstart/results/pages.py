"""Write the report of a folder, with the runs in it that other programs logged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.analysis.run_records import runs_in
from headstart.errors import DataError, UsageError
from headstart.i18n import _
from headstart.path_names import name_fault
from headstart.report.page import write_page
from headstart.results.event_folders import OWN_FILES, find_event_files
from headstart.results.tag_rules import parse_tag_rules


def write_report(folder: Path, tags: Sequence[str] = ()) -> Path:
    """Write `report.html` into a folder, and return its path.

    Args:
        folder: Folder of a study, of a run, or of several runs. A folder that is none of the first two is searched for
            event files that other programs wrote.
        tags: Meanings of their tags, `QUANTITY=TAG`, such as "val accuracy=holdout/top1".

    Raises:
        DataError: The folder has no runs, or its name is not UTF-8.
        UsageError: A meaning is unknown, or no tag fits.
    """
    if fault := name_fault(folder.absolute()):  # the page contains paths
        raise DataError(*fault)
    rules = parse_tag_rules(tags)
    if any((folder / name).exists() for name in OWN_FILES):
        if tags:
            raise UsageError(
                _("{folder} has a run or a study of headstart, whose tags are known.", folder=folder),
                _("Leave --tag out."),
            )
        return write_page(folder)
    if not tags and not find_event_files(folder):
        return write_page(folder)
    from headstart.results.event_runs import read_event_runs  # imports TensorBoard

    logged = read_event_runs(folder, rules)
    if not logged and not next(runs_in(folder), None):
        raise DataError(
            _("The event files in {folder} have no scalars and no histograms.", folder=folder),
            _("Name the folder of other event files."),
        )
    return write_page(folder, logged, tags)
