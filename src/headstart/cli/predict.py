"""The commands `predict` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.cli.app import Data, Json, Model, app
from headstart.cli.options import switch
from headstart.cli.render import as_csv, as_table, print_json
from headstart.console import ConsoleReporter
from headstart.errors import DataError, UsageError
from headstart.storage.folders import require_model
from headstart.text import pluralize


@app.command(sort_key=3)
def predict(
    model: Model,
    images: Annotated[list[Path], Parameter(help="Image files or folders.")],
    /,
    *,
    json: Json = False,
    csv: Annotated[bool, switch("CSV output, with the probability of every class.")] = False,
) -> None:
    """Classify images with a trained model."""
    if json and csv:
        raise UsageError("--json and --csv exclude each other.", "Choose one.")
    from headstart.data.sources import require_image_paths

    require_model(model)  # a wrong path is reported before the slow import of torch
    require_image_paths(images)
    from headstart.inference.predictor import Predictor, require_predictions

    predictor = Predictor(model)
    with ConsoleReporter() as reporter:
        if predictor.selection_note:
            reporter.say(predictor.selection_note)
        predictions = list(predictor.predict(images, reporter))
    require_predictions(predictions)
    if json:
        print_json([p.to_json(predictor.classes) for p in predictions])
    else:
        print(as_csv(predictions, predictor.classes) if csv else as_table(predictions), end="")
    if unread := [p for p in predictions if p.error]:
        message = f"{len(unread)} of the {pluralize(len(predictions), 'image')} could not be read."
        raise DataError(message, "Check the rows without a class.")


@app.command(sort_key=4)
def evaluate(
    model: Model,
    data: Data,
    /,
    *,
    split: Annotated[
        str, Parameter(help="Split: train, val, test, all; auto: the images that the model was not trained on.")
    ] = "auto",
    classes: Annotated[str | None, Parameter(help="Subset of the classes: a,b,c.")] = None,
    skip_bad: Annotated[bool, switch("Leave out images that cannot be decoded.")] = False,
    allow_outside: Annotated[bool, switch("Allow files outside the data folder in manifests and links.")] = False,
    json: Json = False,
) -> None:
    """Evaluate a model on labeled images: accuracy with its confidence interval, and confusion matrix."""
    from headstart.data.sources import require_source

    require_model(model)  # a wrong path is reported before the slow import of torch
    require_source(data)
    from headstart.inference import evaluate as evaluation

    subset = [name.strip() for name in (classes or "").split(",") if name.strip()]
    with ConsoleReporter() as reporter:
        result = evaluation.evaluate(
            model, data, reporter, split=split, classes=subset, skip_bad=skip_bad, allow_outside=allow_outside
        )
    if json:
        print_json(result.to_json())
    else:
        print("\n".join(evaluation.describe_evaluation(result)))
