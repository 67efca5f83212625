"""Use a trained model: predict and evaluate. Inspect a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from headstart.api.options import PathLike
from headstart.config.stored_code import trusting
from headstart.data.frames import DataSource, is_path, temporary_source
from headstart.data.tables.options import TableOptions
from headstart.inference.evaluate import ModelEvaluation
from headstart.inference.evaluate import evaluate as _evaluate
from headstart.inference.inspection import Inspection, inspect_network
from headstart.inference.predictor import Prediction, Predictor
from headstart.inference.preprocessing import ImageInput
from headstart.models.user_code import network_name
from headstart.reporter import NullReporter
from headstart.results.run import Run
from headstart.results.study import Study

Model: TypeAlias = "PathLike | Run | Study"


def predict(
    model: Model, images: ImageInput | Iterable[ImageInput], *, device: str | int = "cpu", trust: bool = False
) -> list[Prediction]:
    """Classify images with a trained model; return one prediction per image.

    A missing or unreadable image gives a prediction with an `error`.

    Args:
        model: run, study, model folder, or folder of runs (the best by val).
        images: image files and folders (a folder gives its images and those of its subfolders), contents of files,
            images of Pillow, and uint8 arrays [h, w, 3]; one or several, for example a list or a pandas Series, or an
            array [n, h, w, 3].
        device: where the model runs: cpu, cuda, cuda:N or N, mps, or auto for the first GPU, else cpu.
        trust: execute the code of a network that the folder contains and that you have not run before.

    Raises:
        ModelFileError: the model is missing, unsafe or incomplete.
        UsageError: an item is not an image, or the device is not available.

    Examples:
        >>> (prediction,) = headstart.predict(run, Image.new("RGB", (16, 16), "white"))
        >>> prediction.image, prediction.label in ("0", "1")
        ('image 0', True)
    """
    with trusting(trust):
        predictor = Predictor(_folder(model), device)
    return list(predictor.predict(images, top=predictor.kept_classes))


def evaluate(
    model: Model,
    data: DataSource | None = None,
    *,
    split: str = "auto",
    classes: str | Sequence[str] = (),
    skip_bad: bool = False,
    allow_outside: bool = False,
    path_column: str = "",
    label_column: str = "",
    split_column: str = "",
    group_column: str = "",
    merge_labels: bool = False,
    keep_labels: bool = False,
    device: str | int = "cpu",
    trust: bool = False,
    look_at_test: bool = False,
) -> ModelEvaluation:
    """Return accuracy with its confidence interval, loss and confusion matrix of a model on labeled images.

    Args:
        model: run, study, model folder, or folder of runs (the best by val).
        data: images, as in `train`. Default: the data of the run, read as in its training.
        split: train, val, test, all, or auto (the images that the model was not trained on).
        classes: evaluate only these classes. Default: all.
        skip_bad: leave out images that cannot be decoded.
        allow_outside: allow files outside the data folder in manifests and links.
        path_column: column of a table that has the paths. Default: found by its name; also for the other columns.
        label_column: column of a table that has the labels.
        split_column: column of a table that has the splits.
        group_column: column of a table that has the groups.
        merge_labels: make one class of labels of a table that differ in spelling.
        keep_labels: keep the labels of a table as they are written.
        device: as in `predict`.
        trust: as in `predict`.
        look_at_test: evaluate a model of a study without a verdict on the test images of the study; the ledger of test
            sets then says so.

    Raises:
        UsageError: a class or split is unknown, the device is not available, or the study has no verdict yet.
        DataError: the images are missing or unsuitable.
        ModelFileError: the model is missing, unsafe or incomplete.

    Examples:
        >>> evaluation = headstart.evaluate(run, "digits:0-1")
        >>> evaluation.accuracy == run.test.accuracy, evaluation.split
        (True, 'test')
    """
    table = TableOptions(
        path_column, label_column, split_column, group_column, merge_labels=merge_labels, keep_labels=keep_labels
    )
    with temporary_source(data, table) as source, trusting(trust):
        return _evaluate(
            _folder(model),
            source,
            NullReporter(),
            split=split,
            classes=[classes] if isinstance(classes, str) else classes,
            skip_bad=skip_bad,
            allow_outside=allow_outside or not is_path(data),
            table=table,
            device=device,
            look_at_test=look_at_test,
        )


def inspect(
    network: str | Callable[..., object] | Run | Study | PathLike,
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
    trust: bool = False,
) -> Inspection:
    """Return the layers, parameters and FLOPs of a network, and where it differs from torchvision's.

    Args:
        network: name of a network, as for `train`, a class of your own, or a run, study or model folder.
        num_classes: number of outputs. Default: 1000, or that of the model.
        image_size: side of the images in px. Default: 128, or that of the model.
        trust: as in `predict`.

    Raises:
        UsageError: there is no such network, or it cannot be constructed.
        ModelFileError: the model is missing, unsafe or incomplete.

    Examples:
        >>> inspection = headstart.inspect("resnet18")
        >>> inspection.parameters, inspection.comparison.equal
        (11689512, True)
    """
    if isinstance(network, (Run, Study)):
        target = str(network.folder)
    else:
        target = network_name(network) if callable(network) else os.fspath(network)
    with trusting(trust):
        return inspect_network(target, num_classes=num_classes, image_size=image_size)


def _folder(model: Model) -> Path:
    return Path(model.folder if isinstance(model, (Run, Study)) else model)
