"""Read a run folder: its configuration, history, result and model."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from torch import nn

from headstart.analysis.run_records import RunRecord, read_run
from headstart.analysis.wording import arm_words, state_words
from headstart.artifacts.model_folder import read_model
from headstart.config.plan_file import read_plan_file
from headstart.data.frames import DataSource, is_path, temporary_source
from headstart.i18n import Message, _, translated
from headstart.inference.evaluate import ModelEvaluation, evaluate
from headstart.inference.predictor import Prediction, Predictor
from headstart.inference.preprocessing import ImageInput, Preprocessing, read_preprocessing
from headstart.printable import printable
from headstart.report.page import write_page
from headstart.reporter import NullReporter
from headstart.results.diagnosis import Diagnosis, diagnose
from headstart.results.frame_html import frame_html
from headstart.results.plots import RunPlots
from headstart.results.summary import result_sentences
from headstart.storage.files import JsonData
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.schemas.metrics import EpochLine, Evaluation
from headstart.storage.schemas.result import RunResult, RunState


class Run:
    """One run, read from its folder; it may be finished, diverged or unfinished.

    Examples:
        >>> run = headstart.Run(run.folder)
        >>> str(run.state), len(run.history)
        ('finished', 1)
        >>> run.plan.recipe.optimizer
        'sgd'
    """

    def __init__(self, folder: str | Path) -> None:
        """Read the plan in `folder`.

        Raises:
            DataError: `folder` is not a run.
        """
        self.folder = Path(folder)
        self.plan = read_plan_file(self.folder).plan
        self._ended: RunRecord | None = None
        self._history: pd.DataFrame | None = None

    @property
    def _record(self) -> RunRecord:
        """The record; it is read again until the run has ended, and its result on test may be shown."""
        if self._ended is None:
            record = read_run(self.folder)
            if not record.done or record.withholds_test:
                return record
            self._ended = record
        return self._ended

    @property
    def result(self) -> RunResult | None:
        """Content of result.json, without test before the verdict of the run's study; None if the run has none yet.

        Raises:
            BrokenSealError: The run was changed after it ended.
        """
        return self._record.result

    @property
    def state(self) -> RunState:
        """State of the run: `finished`, `diverged`, or `unfinished` (it can be resumed)."""
        return self.result.state if self.result else RunState.UNFINISHED

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch so far: epoch, step, loss and accuracy of train and val, lr per group, speed."""
        if self._history is not None:
            return self._history
        record, rows = self._record, []
        for line in record.lines():
            if isinstance(line, EpochLine):
                row: dict[str, JsonData] = {"epoch": line.epoch, "step": line.step, "best": line.best}
                for split, score in (("train", line.train), ("val", line.val)):
                    row |= {f"{split}_loss": score.loss, f"{split}_accuracy": score.accuracy}
                row |= {f"lr_{group}": rate for group, rate in line.lr.items()}
                rows.append(row | line.speed.to_json())
        history = pd.DataFrame(rows)
        if record.done:
            self._history = history
        return history

    @property
    def test(self) -> Evaluation | None:
        """Result on test; None for a run without a test split, and before the verdict of the run's study."""
        return self.result.test if self.result else None

    def model(self) -> nn.Module:
        """Return the best model as a torch module in eval mode.

        Raises:
            ModelFileError: There is no model yet.
        """
        return read_model(self.folder, MODEL_FOLDER).network

    def predict(self, images: ImageInput | Iterable[ImageInput], *, device: str | int = "cpu") -> list[Prediction]:
        """Classify images with the best model; see `headstart.predict`.

        Examples:
            >>> len(run.predict([np.zeros((8, 8, 3), np.uint8), Image.new("L", (9, 9))]))
            2
        """
        predictor = Predictor(self.folder, device)
        return list(predictor.predict(images, top=predictor.kept_classes))

    def evaluate(
        self,
        data: DataSource | None = None,
        *,
        split: str = "auto",
        skip_bad: bool = False,
        device: str | int = "cpu",
        look_at_test: bool = False,
    ) -> ModelEvaluation:
        """Evaluate the best model on labeled images; see `headstart.evaluate`.

        Args:
            data: The images. Default: the data of the run.
            split: train, val, test, all, or auto (the images that the model was not trained on).
            skip_bad: Leave out images that cannot be decoded.
            device: Where the model runs, as in `headstart.predict`.
            look_at_test: Evaluate on test before the verdict of the run's study; the ledger of test sets then says so.

        Examples:
            >>> run.evaluate().accuracy == run.test.accuracy
            True
        """
        with temporary_source(data) as source:
            return evaluate(
                self.folder,
                source,
                NullReporter(),
                split=split,
                skip_bad=skip_bad,
                allow_outside=not is_path(data),
                device=device,
                look_at_test=look_at_test,
            )

    def diagnose(self) -> Diagnosis:
        """Return the health findings of the training, with what was checked.

        Examples:
            >>> run.diagnose().arm.name
            'scratch@sgd'
        """
        return diagnose(self.folder)[0]

    def report(self) -> Path:
        """Write `report.html` into the folder of the run, and return its path.

        Examples:
            >>> run.report().name
            'report.html'
        """
        return write_page(self.folder)

    def transform(self) -> Preprocessing:
        """Return the preprocessing of the best model, a function from an image to the input of the network.

        It is the one of validation, test and prediction, for images of Pillow, uint8 arrays [h, w, 3] and files.

        Examples:
            >>> run.transform()(Image.new("RGB", (20, 10))).shape
            torch.Size([3, 16, 16])
        """
        return read_preprocessing(self.folder)

    @property
    def plot(self) -> RunPlots:
        """Charts: `curves()`, `health()`, `confusion()`, `mistakes()`.

        Examples:
            >>> run.plot.curves().save("curves.html").name
            'curves.html'
        """
        return RunPlots(self.folder)

    def __repr__(self) -> str:
        text = " ".join(map(translated, self._sentences()))
        return printable(f"Run({translated(arm_words(self.plan.arm_spec))}, seed {self.plan.seeding.seed}: {text})")

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: the result in sentences, then a table of the epochs."""
        title = _("{arm}, seed {seed}", arm=arm_words(self.plan.arm_spec), seed=self.plan.seeding.seed)
        text = " ".join(map(translated, self._sentences()))
        shown = self.history.drop(columns=["train_seconds", "val_seconds"], errors="ignore")
        table = frame_html(shown)
        folder = html.escape(str(self.folder))
        heading = html.escape(translated(title))
        return f"<h4>{heading}</h4><p>{html.escape(text)}</p>{table}<p><code>{folder}</code></p>"

    def _sentences(self) -> list[Message]:
        """Return the result of a finished run in sentences, else the state."""
        record = self._record
        if record.result is None or record.state is not RunState.FINISHED:
            return [state_words(record.state)]
        return result_sentences(record.result, withholds_test=record.withholds_test)
