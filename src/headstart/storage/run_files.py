"""The files that the folders of runs and models have, and copying them.

A copied folder may contain anything. Only the files that headstart writes are copied on, to a study's model, to another
study or to another machine; a link among them is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from headstart.storage import contained

RECORD_FILE, PREDICTIONS_FILE = "metrics.jsonl", "artifacts/predictions.npz"  # in the folder of a run
MODEL_FOLDER = "model"  # in the folder of a run or a study
STUDY_FILE, VARIANTS_FILE, SEARCH_FILE, VERDICT_FILE = (  # in the folder of a study
    "study.toml",
    "variants.json",
    "search.json",
    "verdict.json",
)
CODE_FILES = re.compile(r"(?:[^/]+/)*[^/]+\.py", re.DOTALL)
MODEL_FILES = re.compile(
    rf"(?:model|head|backbone)\.safetensors|config\.json|preprocess\.json|README\.md|code/{CODE_FILES.pattern}",
    re.DOTALL,
)
RUN_FILES = re.compile(  # without the lock: its holder means nothing elsewhere
    r"(?:plan|result|trackers)\.json|metrics\.jsonl|events\.out\.tfevents\.[^/]+"
    r"|artifacts/(?:samples\.jpg|predictions\.npz|gallery\.zip)"
    r"|checkpoints/step-\d+-\d+/(?:[a-z]+\.safetensors|state\.json|MANIFEST\.json)"
    rf"|model/(?:{MODEL_FILES.pattern})|code/{CODE_FILES.pattern}",
    re.DOTALL,
)
_FOLDERS = frozenset({"artifacts", "checkpoints", "code", "model"})  # that contain such files


def known_files(root: Path, name: str, known: re.Pattern[str]) -> list[str]:
    """Return the names of the known files of a folder, relative to it.

    Args:
        root: The folder that the user has named.
        name: Name of the folder below it; "" for the root.
        known: Files of the kind of folder: `RUN_FILES`, `MODEL_FILES` or `CODE_FILES`.

    Raises:
        UnsafeFileError: There is a link, a pipe or a device in the folder.
        OSError: The folder is missing or cannot be read.
    """
    return [file for file in _files(root, name, known) if known.fullmatch(file)]


def copy_folder(source: Path, name: str, target: Path, new_name: str, known: re.Pattern[str]) -> None:
    """Copy the known files of a folder below one root to a folder below another; as `known_files`."""
    for file in known_files(source, name, known):
        copy_file(source, contained.join(name, file), target, contained.join(new_name, file))


def copy_file(source: Path, name: str, target: Path, new_name: str, *, link: bool = False) -> None:
    """Copy a file, and create the folders in the name of the copy; as `contained.copy`."""
    if "/" in new_name:
        contained.make_folder(target, new_name.rpartition("/")[0])
    contained.copy(source, name, target, new_name, link=link)


def _files(root: Path, name: str, known: re.Pattern[str]) -> Iterator[str]:
    """Yield the files of a folder; of a run or a model, unknown folders are not searched."""
    for entry in contained.entries(root, name):
        inner = contained.join(name, entry.name)
        if entry.is_folder:
            if known is CODE_FILES or entry.name in _FOLDERS:
                yield from (entry.name + file.removeprefix(inner) for file in contained.files_below(root, inner))
        else:
            contained.is_file(root, inner)  # raises the error on a link, which names it
            yield entry.name
