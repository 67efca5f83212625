"""The commands `predict` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from headstart.cli.app import DATA_FORMS, Device, Json, Model, Trust, command, reporter
from headstart.cli.options import parameter, switch
from headstart.cli.output import print_csv, print_json, print_lines
from headstart.cli.render import as_csv, as_table
from headstart.config.stored_code import trusting
from headstart.errors import DataError, UsageError
from headstart.i18n import _, ngettext
from headstart.storage.folders import require_model
from headstart.text import formula_notes


@command(_("Classify images with a trained model."), sort_key=3)
def predict(
    model: Model,
    images: Annotated[list[Path], parameter(_("Image files or folders."))],
    /,
    *,
    device: Device = "cpu",
    trust: Trust = False,
    json: Json = False,
    csv: Annotated[bool, switch(_("CSV output, with the probability of every class."))] = False,
) -> None:
    """Classify images with a trained model."""
    if json and csv:
        raise UsageError(_("--json and --csv exclude each other."), _("Choose one."))
    from headstart.data.sources import require_image_paths

    require_model(model)  # a wrong path is reported before the slow import of torch
    require_image_paths(images)
    from headstart.inference.predictor import Predictor, require_predictions

    with trusting(trust):
        predictor = Predictor(model, device)
    with reporter() as output:
        if predictor.selection_note:
            output.say(predictor.selection_note)
        if predictor.kept_note:
            output.say(predictor.kept_note)
        predictions = list(predictor.predict(images, output, top=predictor.kept_classes))
        for note in formula_notes([*(p.image for p in predictions), *predictor.classes]) if csv else ():
            output.say(note)
    require_predictions(predictions)
    if json:
        print_json([p.to_json(predictor.classes) for p in predictions])
    elif csv:
        print_csv(as_csv(predictions, predictor.classes))
    else:
        print_lines(as_table(predictions))
    if unread := [p for p in predictions if p.error]:
        message = ngettext(
            "{unread} of the {count:,} image could not be read.",
            "{unread} of the {count:,} images could not be read.",
            len(predictions),
            unread=len(unread),
        )
        raise DataError(message, _("Check the rows without a class."))


@command(
    _("Evaluate a model on labeled images: accuracy with its confidence interval, and confusion matrix."), sort_key=4
)
def evaluate(
    model: Model,
    data: Annotated[str | None, parameter(_("{forms:cap} [default: that of the run].", forms=DATA_FORMS))] = None,
    /,
    *,
    split: Annotated[
        str, parameter(_("Split: train, val, test, all; auto: the images that the model was not trained on."))
    ] = "auto",
    classes: Annotated[list[str] | None, parameter(_("Evaluate only this class; repeatable."), negative="")] = None,
    skip_bad: Annotated[bool, switch(_("Leave out images that cannot be decoded."))] = False,
    allow_outside: Annotated[bool, switch(_("Allow files outside the data folder in manifests and links."))] = False,
    path_column: Annotated[str, parameter(_("Column of a table that has the paths."), show_default=False)] = "",
    label_column: Annotated[str, parameter(_("Column of a table that has the labels."), show_default=False)] = "",
    split_column: Annotated[str, parameter(_("Column of a table that has the splits."), show_default=False)] = "",
    group_column: Annotated[str, parameter(_("Column of a table that has the groups."), show_default=False)] = "",
    merge_labels: Annotated[bool, switch(_("Make one class of labels of a table that differ in spelling."))] = False,
    keep_labels: Annotated[bool, switch(_("Keep the labels of a table as they are written."))] = False,
    look_at_test: Annotated[
        bool, switch(_("Evaluate on test before the verdict of the model's study; the ledger of test sets says so."))
    ] = False,
    device: Device = "cpu",
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Evaluate a model on labeled images: accuracy with its confidence interval, and confusion matrix."""
    from headstart.data.sources import require_source

    require_model(model)  # a wrong path is reported before the slow import of torch
    if data is not None:
        require_source(data)
    from headstart.data.tables.options import TableOptions
    from headstart.inference import evaluate as evaluation

    table = TableOptions(
        path_column, label_column, split_column, group_column, merge_labels=merge_labels, keep_labels=keep_labels
    )
    with reporter() as output, trusting(trust):
        result = evaluation.evaluate(
            model,
            data,
            output,
            split=split,
            classes=classes or (),
            skip_bad=skip_bad,
            allow_outside=allow_outside,
            table=table,
            device=device,
            look_at_test=look_at_test,
        )
    if json:
        print_json(result.to_json())
    else:
        print_lines(evaluation.describe_evaluation(result))
