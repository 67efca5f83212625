"""An estimator of scikit-learn that classifies image files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from headstart.config.plan_values import Epochs, OptimizerName, TrainSettings
from headstart.config.presets import Setting
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import TABLE_FIELDS, RunConfig
from headstart.console import ConsoleReporter
from headstart.data.frames import hold_out_val, stored_source
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError, UsageError
from headstart.hardware.cpu import usable_cores
from headstart.i18n import _
from headstart.inference.predictor import Predictor
from headstart.reporter import NullReporter, Reporter
from headstart.results.run import Run
from headstart.runs import runner

Paths: TypeAlias = "Sequence[str | os.PathLike[str]] | npt.NDArray[Any] | pd.Series[Any]"
Labels: TypeAlias = "Sequence[Any] | npt.NDArray[Any] | pd.Series[Any]"

_OF_FIT = ("source", "classes", "min_per_class", "class_folders", "allow_outside")  # what the arguments of `fit` decide


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classifier of image files for scikit-learn: `X` are paths, `y` labels of any type.

    `fit` trains one run on all images but a stratified 15 %, which select the best epoch. There is no test split:
    scikit-learn's own tools, such as `cross_val_score`, hold out images. Each fit makes a run folder in `runs`, where a
    fitted estimator finds its model; pickling keeps the path, not the weights.

    Args:
        start: initial weights, as `--start` of `headstart train`.
        tuning: fine-tuning mode: full, frozen, lp-ft or stages:N.
        network: architecture.
        optimizer: optimizer.
        lr: peak learning rate.
        epochs: training length: epochs, or text such as 500st.
        batch_size: images per step.
        image_size: side of the network input in px.
        seed: seed of the val split, head initialization, order and augmentation.
        preset: name of a preset, which the other arguments override.
        settings: other fields of the plan by name, such as `{"schedule": "cosine"}`.
        runs: folder in which run folders are created.
        quiet: report no progress.

    Attributes:
        classes_: distinct labels, sorted, [classes].
        run_: the run, with its history and model.

    Examples:
        >>> paths = sorted(Path("photos").glob("*/*.png"))
        >>> labels = [path.parent.name for path in paths]
        >>> classifier = headstart.Classifier(image_size=16, epochs=1).fit(paths, labels)
        >>> classifier.classes_.tolist(), classifier.predict_proba(paths[:3]).shape
        (['cat', 'dog'], (3, 2))
    """

    def __init__(
        self,
        *,
        start: str = "scratch",
        tuning: str | None = None,
        network: str | None = None,
        optimizer: OptimizerName | None = None,
        lr: float | None = None,
        epochs: Epochs | None = None,
        batch_size: int | None = None,
        image_size: int | None = None,
        seed: int = 0,
        preset: str | None = None,
        settings: TrainSettings | None = None,
        runs: str | os.PathLike[str] = "runs",
        quiet: bool = True,
    ) -> None:
        self.start = start
        self.tuning = tuning
        self.network = network
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.image_size = image_size
        self.seed = seed
        self.preset = preset
        self.settings = settings
        self.runs = runs
        self.quiet = quiet

    def fit(self, X: Paths, y: Labels) -> Self:  # noqa: N803  (names of scikit-learn)
        """Train a run.

        Args:
            X: paths of images, [n].
            y: their labels, [n].

        Raises:
            UsageError: `X` are no paths, two labels have the same text, or a setting is invalid.
            HeadstartError: as for `headstart.train`.
        """
        paths, labels = _paths(X), column_or_1d(y, warn=True)
        check_consistent_length(paths, labels)
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
        names = [str(label).strip() for label in classes]
        if len(set(names)) < len(names):
            raise UsageError(_("Two labels have the same text."), _("Use labels with different texts."))
        given = self._given_settings()
        draft = resolve_settings(given, preset=self.preset).plan  # reports invalid settings first
        table = pd.DataFrame({"path": paths, "label": [names[code] for code in codes]}, dtype=object)
        if self.quiet:
            folder = self._train(given, draft, table, NullReporter())
        else:
            with ConsoleReporter() as reporter:
                folder = self._train(given, draft, table, reporter)
        self.classes_ = classes
        self.run_ = Run(folder.absolute())
        return self

    def _train(self, given: Mapping[str, Setting], draft: RunConfig, table: pd.DataFrame, reporter: Reporter) -> Path:
        """Return the folder of a run on a table of images, of which a part becomes val."""
        frame = hold_out_val(table, draft, draft.machine.threads or usable_cores(), reporter)
        source: dict[str, Setting] = {
            "source": stored_source(frame, Path(self.runs), TableOptions(keep_labels=True)),
            "allow_outside": True,
            "keep_labels": True,  # the labels are classes as they are
        }
        plan = resolve_settings({**given, **source}, preset=self.preset).plan
        return runner.run_new(plan, Path(self.runs), reporter)

    def predict_proba(self, X: Paths) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return the probability of each class: [n, classes], in the order of `classes_`.

        Raises:
            NotFittedError: `fit` has not been called.
            DataError: an image cannot be read.
        """
        check_is_fitted(self)
        paths = _paths(X)
        predictor = Predictor(self.run_.folder)
        predictions = list(predictor.predict([Path(path) for path in paths]))
        if failed := next((prediction for prediction in predictions if prediction.error), None):
            raise DataError(
                _("{image} could not be read: {error}", image=failed.image, error=failed.error), _("Check the file.")
            )
        if len(predictions) != len(paths):
            raise UsageError(_("X contains a folder."), _("Pass the paths of image files."))
        position = {name: index for index, name in enumerate(predictor.classes)}
        columns = [position[str(label).strip()] for label in self.classes_]
        rows = np.array([prediction.probabilities for prediction in predictions], dtype=np.float64)
        return rows.reshape(len(paths), len(columns))[:, columns]

    def predict(self, X: Paths) -> npt.NDArray[Any]:  # noqa: N803
        """Return the most probable label of each image, [n]. Raises what `predict_proba` raises."""
        probabilities = self.predict_proba(X)
        return cast("npt.NDArray[Any]", self.classes_[probabilities.argmax(axis=1)])

    def __sklearn_tags__(self) -> Any:
        """Return the tags of scikit-learn: one path per sample."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        return tags

    def _given_settings(self) -> dict[str, Setting]:
        """Return the fields of the plan that the arguments set."""
        named = ("start", "tuning", "network", "optimizer", "lr", "epochs", "batch_size", "image_size", "seed")
        other = cast(Mapping[str, Setting], self.settings or {})
        if repeated := [name for name in named if other.get(name) is not None]:
            raise UsageError(
                _("settings contains {name!r}, which is an argument.", name=repeated[0]),
                _("Pass {name}=… instead.", name=repeated[0]),
            )
        if of_fit := [name for name in (*_OF_FIT, *TABLE_FIELDS) if other.get(name) is not None]:
            raise UsageError(
                _("settings contains {name!r}, but fit receives the images and their classes.", name=of_fit[0]),
                _("Leave it out."),
            )
        values = {**other, **{name: getattr(self, name) for name in named}}
        return {name: value for name, value in values.items() if value is not None}


def _paths(X: Paths) -> list[str]:  # noqa: N803
    """Return the paths in one column as text. Raises UsageError if they are no paths."""
    items = np.asarray(X, dtype=object)
    if items.ndim == 2 and items.shape[1] == 1:
        items = items[:, 0]
    if items.ndim != 1 or not all(isinstance(item, (str, os.PathLike)) for item in items):
        kind = type(items.flat[0]).__name__ if items.size else "nothing"
        raise UsageError(
            _("X must be paths of images in one column, not {kind} {shape}.", kind=kind, shape=str(list(items.shape))),
            _("Pass the paths of image files."),
        )
    return [os.fspath(item) for item in items]
