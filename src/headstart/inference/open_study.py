"""Models of studies without a verdict: they are not evaluated on test, or the ledger of test sets says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from headstart.analysis.run_records import runs_in
from headstart.config.model_file import read_model_config
from headstart.config.plan_file import study_of_role, withholds_test
from headstart.config.study_file import read_study
from headstart.errors import UsageError
from headstart.i18n import _
from headstart.inference.evaluation_data import EvaluationData, split_of_training, with_near_duplicates
from headstart.inference.training_data import training_run
from headstart.reporter import Reporter
from headstart.storage import ledger
from headstart.storage.schemas.ledger import LedgerUse
from headstart.storage.schemas.study import Stage

FLAG = "--look-at-test"


def require_verdict(
    model: Path,
    data: EvaluationData,
    split: str,
    rows: Iterable[int],
    reporter: Reporter,
    *,
    look_at_test: bool,
) -> None:
    """Raise UsageError if a model of a study without a verdict is evaluated on test images of the study.

    Images of other data are compared with those of the study's runs that have ended, by their content.

    Args:
        model: The model folder.
        data: The images from which the evaluated ones were selected.
        split: Name of the evaluated split.
        rows: Indices of the evaluated images.
        reporter: Receives what is wrong with the ledger.
        look_at_test: Enter the evaluation in the ledger instead.
    """
    run, content = training_run(model)
    if content is None or not withholds_test(run, content.study):
        return
    study = study_of_role(run, content.study)
    assert study is not None  # noqa: S101 - it withholds results
    if not data.own:
        test_set: Sequence[str] = _evaluated_contents(study)
    elif split in ("test", "all"):
        training = read_model_config(model.parent, model.name).headstart.data
        known = with_near_duplicates(data, training, reporter) if split == "all" else data
        test_set = [data.content_hashes[int(i)] for i in split_of_training(known, training).test]
    else:
        return
    if not {data.content_hashes[int(i)] for i in rows} & set(test_set):
        return
    if not look_at_test:
        raise UsageError(
            _("The study {study} has no verdict yet: its models are not evaluated on its test images.", study=study),
            _(
                "Run `headstart resume {study:shell}`, evaluate on val, or use {flag} (in Python look_at_test=True), "
                "which is entered in the ledger of test sets.",
                study=study,
                flag=FLAG,
            ),
        )
    digest = ledger.digest_of(test_set)
    if fault := ledger.enter(digest, read_study(study).declared_hash, study, LedgerUse.EVALUATION):
        reporter.say(fault)


def _evaluated_contents(study: Path) -> Sequence[str]:
    """Return the content hashes of the test images of a study; none until a run of the comparison has ended."""
    for run in runs_in(study, with_test=True):
        if run.stage is Stage.MAIN and run.result is not None and run.result.test is not None:
            return run.predictions("test").contents
    return ()
