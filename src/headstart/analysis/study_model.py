"""Check the model of a study: that it is whole, and that of the run which the verdict names."""

from __future__ import annotations

from pathlib import Path

from headstart.config.model_file import (
    CONFIG_FILE,
    HEAD_FILE,
    PREPROCESS_FILE,
    read_model_config,
    read_preprocess,
    settings_digest,
    unusable_model,
)
from headstart.config.sealed_run import require_intact_model
from headstart.i18n import _
from headstart.storage import contained, repair, seals
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.schemas.verdict import Verdict


def require_exported_model(study: Path, verdict: Verdict) -> None:
    """Raise BrokenModelError if the model of a study is not that of the run which its verdict names.

    The weights of a head and its backbone are one file in the study, so that only the settings are compared.
    """
    run = contained.subfolder(study, verdict.exported.run)
    if not contained.is_file(run, f"{MODEL_FOLDER}/{CONFIG_FILE}"):  # it was removed to save space
        return
    require_intact_model(run)
    ours, theirs = (read_model_config(folder, MODEL_FOLDER).headstart for folder in (study, run))
    if ours.settings != theirs.settings or (ours.weights != theirs.weights and HEAD_FILE not in theirs.weights):
        raise seals.BrokenModelError(
            _("{folder} is not the model of {run}.", folder=study / MODEL_FOLDER, run=run.name),
            repair.study_hint(study),
        )


def require_whole_model(study: Path) -> None:
    """Raise ModelFileError if a file of the model of a study is missing, or is not the one that config.json names."""
    folder = study / MODEL_FOLDER
    config = read_model_config(study, MODEL_FOLDER)
    if config.headstart.settings != settings_digest(config, read_preprocess(study, MODEL_FOLDER)):
        files = {"config": CONFIG_FILE, "preprocess": PREPROCESS_FILE}
        raise unusable_model(folder, _("{config} or {preprocess} has changed.", **files))
    for name, stored in config.headstart.weights.items():
        if not seals.is_stored(study, contained.join(MODEL_FOLDER, name), stored):
            raise unusable_model(folder, _("{file} is not the file that config.json names.", file=name))
