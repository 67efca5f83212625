"""Inspect finished work: report, diagnosis, TensorBoard. Importing this module needs no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from headstart.api.options import PathLike, reporter_for, tracker_names
from headstart.experiment import compare as orchestrator
from headstart.results.diagnosis import Diagnosis
from headstart.results.diagnosis import diagnose as _diagnose

if TYPE_CHECKING:
    from headstart.results.run import Run
    from headstart.results.study import Study
    from headstart.verification.outcome import Verification

Record: TypeAlias = "PathLike | Run | Study"


def write_report(folder: Record, *, tags: Sequence[str] = ()) -> Path:
    """Write `report.html` for a study, a run, or runs that were copied into one folder; return its path.

    The runs may be those of other programs that wrote TensorBoard event files. The function is not called `report`,
    because that is a package of headstart.

    Args:
        folder: the run, the study, or a folder.
        tags: what tags of other programs mean, as `--tag` does: "val accuracy=holdout/top1".

    Raises:
        DataError: the folder contains no runs.
        UsageError: a meaning is unknown.

    Examples:
        >>> headstart.write_report(study).name
        'report.html'
    """
    from headstart.results import pages

    return pages.write_report(_folder(folder), tags)


def verify(study: Record) -> Verification:
    """Compute every number of a verdict again from the records of its study, and compare them.

    Args:
        study: the study, or its folder.

    Raises:
        DataError: the folder is that of no study, or has no verdict, or a file is missing or damaged.

    Examples:
        >>> headstart.verify(study).is_confirmed
        True
    """
    from headstart.results.verification import verify_study

    return verify_study(_folder(study))


def write_documents(folder: Record, formats: str | Sequence[str] = "md", *, quiet: bool = False) -> list[Path]:
    """Write the lab report of a study, a run, or runs as documents to edit, with figures; return their paths.

    Args:
        folder: the run, the study, or a folder.
        formats: md, docx or tex, or several of them; `write_report` writes html.
        quiet: print no warnings.

    Raises:
        DataError: the folder contains no runs.
        UsageError: a format is unknown, or a package for it is not installed.

    Examples:
        >>> [path.name for path in headstart.write_documents(study, quiet=True)]
        ['report.md']
    """
    from headstart.experiment.ablation_summary import read_ablation_result
    from headstart.figures.documents import write
    from headstart.results.event_folders import find_event_files

    source, names = _folder(folder), [formats] if isinstance(formats, str) else list(formats)
    with reporter_for(quiet) as reporter:
        return write.write_documents(
            source,
            names,
            reporter,
            ablation=read_ablation_result(source),
            foreign_folders=len(find_event_files(source)),
        )


def write_figures(
    folder: Record,
    output: PathLike | None = None,
    *,
    formats: str | Sequence[str] = "png",
    dpi: int = 300,
    quiet: bool = False,
) -> list[Path]:
    """Write figures for print of a study, a run, or runs, each with its caption as a text file; return their paths.

    Figures of an earlier call are replaced. Other files with their names, and captions with other texts, are renamed.

    Args:
        folder: the run, the study, or a folder.
        output: folder of the figures; by default `figures` in the folder.
        formats: png, svg or pdf, or several of them.
        dpi: pixels per inch of PNG files.
        quiet: print no warnings.

    Raises:
        DataError: the folder contains no runs.
        UsageError: a format is unknown, `dpi` is out of range, or matplotlib is not installed.

    Examples:
        >>> headstart.write_figures(study, "figures", dpi=100, quiet=True)[0].name
        'learning-curves.png'
    """
    from headstart.figures import draw

    names = [formats] if isinstance(formats, str) else list(formats)
    with reporter_for(quiet) as reporter:
        figures = draw.write_figures(_folder(folder), Path(output) if output else None, names, dpi, reporter)
    return [path for figure in figures for path in figure.files.values()]


def import_log(file: PathLike, runs: PathLike = "runs", *, name: str = "") -> list[Path]:
    """Turn a training log into runs for TensorBoard and the report; return their folders.

    The log is text that a script printed, CSV, or one JSON object per line, with epochs, accuracy and loss. Each
    training in it is one run.

    Args:
        file: the log.
        runs: the folder in which the folders of the runs are made.
        name: name of the run instead of that of the file.

    Raises:
        DataError: the file is no training log.
        UsageError: a folder exists already.

    Examples:
        >>> _ = Path("train.log").write_text("epoch 1: train loss 1.2, val acc 0.61")
        >>> [folder.name.partition("_")[2][9:] for folder in headstart.import_log("train.log", "earlier")]
        ['train']
    """
    from headstart.results import log_import

    return [run.folder for run in log_import.import_log(Path(file), Path(runs), name)]


def diagnose(folder: Record) -> list[Diagnosis]:
    """Return for each run in a run's or study's folder the health findings of its training, each with advice.

    Args:
        folder: the run, the study, or a folder.

    Raises:
        DataError: the folder contains no runs.

    Examples:
        >>> [diagnosis.seed for diagnosis in headstart.diagnose(study)]
        [0, 0]
    """
    return _diagnose(_folder(folder))


def rebuild(folder: Record, *, log: str | Sequence[str] = (), quiet: bool = False) -> list[Path]:
    """Rebuild the TensorBoard files of a run, or of the runs of a study or an ablation, from the records.

    Args:
        folder: the run, the study, or a folder.
        log: trackers to which what they do not have is sent, as in `train`.
        quiet: report no progress.

    Returns:
        The folders whose files were rebuilt.

    Raises:
        UsageError: a tracker is unknown or not installed.
        DataError: the folder is no run, study or ablation.

    Examples:
        >>> headstart.rebuild(run) == [run.folder]
        True
    """
    trackers = tracker_names(log)
    with reporter_for(quiet) as reporter:
        return orchestrator.rebuild(_folder(folder), reporter, trackers)


def tensorboard(folder: Record = "runs", *, port: int = 6006, host: str = "127.0.0.1") -> str:
    """Start TensorBoard in this process and return its URL; it serves until the process ends.

    Args:
        folder: the run, the study, or a folder of runs.
        port: 0 uses any free port.
        host: address to listen at; by default only this machine can connect.

    Raises:
        UsageError: the port is out of range.
        DataError: the folder does not exist.
        ResourceError: the port is in use.

    Examples:
        >>> headstart.tensorboard("runs")  # doctest: +SKIP
        'http://127.0.0.1:6006/'
    """
    from headstart.telemetry.tensorboard_server import launch

    return launch(_folder(folder), port, host)


def _folder(record: Record) -> Path:
    return Path(record if isinstance(record, (str, os.PathLike)) else record.folder)
