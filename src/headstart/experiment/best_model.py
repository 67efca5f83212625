"""What programs take from a study: the chosen model in its folder, and an error where it is not of a winner."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from headstart.analysis.wording import judged, paragraph, splits
from headstart.artifacts.model_folder import make_whole
from headstart.errors import UsageError
from headstart.storage import files
from headstart.text import pluralize


def export(folder: Path, verdict: dict[str, Any]) -> None:
    """The model of the arm that val chose as `model/` of the study.

    Its card quotes the arm's mean, not the exported seed's number.
    """
    source, target = folder / verdict["exported"]["run"] / "model", folder / "model"
    if not source.is_dir():
        return
    scratch = target.with_name(f"model{files.temp_suffix()}")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(source, scratch)
    make_whole(scratch)
    arm = next(arm for arm in verdict["arms"] if arm["name"] == verdict["chosen"])
    card = scratch / "README.md"
    lines = [
        card.read_text(encoding="utf-8"),
        f"Chosen by {splits(verdict)[0]} among {pluralize(verdict['n'], 'seed')} of the arm {arm['name']}, whose mean on "
        f"{verdict['evaluation']['images']} {judged(verdict)} is {arm['test']:.3f}: expect that, not one seed's number.\n",
        f"{paragraph(verdict['sentences'])}\n",
    ]
    card.write_text("\n".join(lines), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)


def require(verdict: dict[str, Any]) -> None:
    """Raise UsageError where the verdict has no winner, or where it is not the arm of the study's model."""
    if verdict["winner"] is None:
        raise UsageError("The study has no winner.", "Read its sentences for what would settle it.")
    if verdict["winner"] != verdict["chosen"]:
        chose, judge = splits(verdict)
        raise UsageError(
            f"The study's model, {chose}'s choice, is of an arm that lost on {judge}.",
            "Read its sentences, and take a model of the other arm.",
        )
