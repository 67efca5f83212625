"""Metrics equal scikit-learn, torch and formulas; configuration and analyses use whatever rows the registry has."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from sklearn import metrics as sk

from headstart.analysis.contrasts import compute_contrasts
from headstart.analysis.image_sample import ImageSample
from headstart.analysis.run_records import epoch_score
from headstart.cli.options import _flag_help
from headstart.config.recipe_config import RecipeConfig
from headstart.config.study_config import StudyConfig
from headstart.factories import load_factory
from headstart.metrics.accuracy import wilson_interval
from headstart.metrics.confusion import balanced_weights
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.metrics.registry import METRICS, MetricSpec, is_study_metric, selects_epochs
from headstart.metrics.values import counts_value, image_values, image_weights, metric_value
from headstart.training.objective import Objective
from headstart.training.scoring import score
from tests.handmade import counts_of, epoch_line, table_of
from tests.messages import fields_of

CASES = {  # labels, table_of
    "unequal classes": (np.repeat([0, 1, 2], [50, 7, 1]), 3),
    "a class without images": (np.repeat([0, 3], [9, 4]), 4),
    "one class": (np.zeros(5, dtype=np.int64), 2),
    "one image": (np.array([1]), 3),
}


def make_logits(labels: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(len(labels), classes)) * 3).astype(np.float32)


def expected(name: str, labels: np.ndarray, logits: np.ndarray) -> float:
    """Return a metric by scikit-learn or torch."""
    predicted = logits.argmax(axis=1)
    probabilities = torch.softmax(torch.from_numpy(logits).double(), 1).numpy()
    with warnings.catch_warnings():  # scikit-learn warns of predicted classes that have no images
        warnings.simplefilter("ignore")
        return {
            "accuracy": lambda: sk.accuracy_score(labels, predicted),
            "balanced": lambda: sk.balanced_accuracy_score(labels, predicted),
            "macro-f1": lambda: sk.f1_score(labels, predicted, average="macro"),
            "log-loss": lambda: sk.log_loss(labels, probabilities, labels=range(logits.shape[1])),
            "brier": lambda: ((probabilities - np.eye(logits.shape[1])[labels]) ** 2).sum(1).mean(),
        }[name]()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", METRICS)
def test_metric_equals_scikit_learn(name: str, case: str) -> None:
    labels, classes = CASES[case]
    for seed in range(5):
        logits = make_logits(labels, classes, seed)
        assert metric_value(name, labels, logits) == pytest.approx(expected(name, labels, logits), abs=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [name for name, spec in METRICS.items() if spec.of_images])
def test_weighted_mean_of_images_is_the_metric(name: str, case: str) -> None:
    labels, classes = CASES[case]
    logits = make_logits(labels, classes)
    weights = image_weights(name, labels)
    assert weights.mean() == pytest.approx(1)
    mean = (image_values(name, labels, logits) * weights).mean()
    assert mean == pytest.approx(expected(name, labels, logits), abs=1e-12)


def test_log_loss_of_images_equals_torch_also_for_extreme_logits() -> None:
    logits = np.array([[0.0, 2000.0], [2000.0, 0.0], [1.0, -1.0]], dtype=np.float32)
    labels = np.array([0, 0, 1])
    losses = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).double(), torch.from_numpy(labels), reduction="none"
    )
    assert image_values("log-loss", labels, logits) == pytest.approx(losses.numpy(), rel=1e-12)


def test_brier_score_is_0_if_certain_and_right_and_2_if_certain_and_wrong() -> None:
    logits = np.array([[500.0, 0, 0], [0, 500, 0], [0, 0, 0]], dtype=np.float32)
    labels = np.zeros(3, dtype=np.int64)
    assert image_values("brier", labels, logits) == pytest.approx([0, 2, 6 / 9])


@given(
    st.lists(st.lists(st.integers(0, 20), min_size=3, max_size=3), min_size=3, max_size=3).filter(
        lambda t: any(map(any, t))
    )
)
def test_metrics_of_counts_equal_formulas(table: list[list[int]]) -> None:
    counts, sparse, total = np.array(table), counts_of(table), sum(map(sum, table))
    recalls = [counts[k, k] / counts[k].sum() for k in range(3) if counts[k].sum()]
    seen = [k for k in range(3) if counts[k].sum() + counts[:, k].sum()]
    f1 = [2 * counts[k, k] / (counts[k].sum() + counts[:, k].sum()) for k in seen]
    assert counts_value("accuracy", sparse) == pytest.approx(sum(counts[k, k] for k in range(3)) / total, abs=1e-12)
    assert counts_value("balanced", sparse) == pytest.approx(sum(recalls) / len(recalls), abs=1e-12)
    assert counts_value("macro-f1", sparse) == pytest.approx(sum(f1) / len(f1), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_confusion_counts_equal_those_of_sklearn(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = np.array(pairs).T
    expected = sk.confusion_matrix(labels, predicted, labels=range(4))
    assert ConfusionCounts.of_labels(labels, predicted, 4) == counts_of(expected.tolist())


@given(n=st.integers(1, 10_000), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.95, 0.999]))
def test_wilson_interval_equals_that_of_scipy(n: int, share: float, level: float) -> None:
    correct = round(n * share)
    expected = stats.binomtest(correct, n).proportion_ci(level, method="wilson")
    assert wilson_interval(correct, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_needs_an_image() -> None:
    with pytest.raises(ValueError):
        wilson_interval(0, 0)


def test_score_has_the_counts_and_the_cross_entropy() -> None:
    labels = np.array([0, 0, 2, 2, 1])
    logits = make_logits(labels, 4)
    result = score(logits, labels)
    table = np.zeros((4, 4), dtype=int)
    for true, predicted in zip(labels, logits.argmax(1), strict=True):
        table[true, predicted] += 1
    assert table_of(result.counts) == table.tolist()
    assert result.loss == pytest.approx(image_values("log-loss", labels, logits).mean(), rel=1e-6)
    assert result.accuracy == np.trace(table) / 5


def test_balanced_weights_are_the_inverse_class_frequencies() -> None:
    assert balanced_weights(np.array([0, 0, 0, 5])) == pytest.approx([4 / 6, 4 / 6, 4 / 6, 4 / 2])


@pytest.mark.parametrize("name", METRICS)
def test_row_has_functions_that_exist(name: str) -> None:
    spec = METRICS[name]
    assert spec.of_counts or spec.of_images
    assert all(callable(load_factory(path)) for path in (spec.of_counts, spec.of_images, spec.weights) if path)


def test_value_that_a_metric_does_not_have_is_an_error() -> None:
    labels, logits = np.array([0, 1]), np.eye(2, dtype=np.float32)
    for name, call in (
        ("brier", lambda: counts_value("brier", counts_of([[1, 0], [0, 1]]))),
        ("macro-f1", lambda: image_values("macro-f1", labels, logits)),
        ("macro-f1", lambda: image_weights("macro-f1", labels)),
    ):
        with pytest.raises(ValueError, match=name):
            call()


# --- what uses the registry --------------------------------------------------------------------------------------


def recipe(select: str) -> RecipeConfig:
    return RecipeConfig.model_validate({"select": select})


def study(metric: str) -> StudyConfig:
    return StudyConfig(arms=("scratch", "scratch@adam"), metric=metric)


@pytest.mark.parametrize("name", METRICS)
def test_configuration_accepts_the_metrics_that_it_can_use(name: str) -> None:
    for make, accepts in ((recipe, selects_epochs), (study, is_study_metric)):
        if accepts(METRICS[name]):
            make(name)
        else:
            with pytest.raises(ValidationError) as error:
                make(name)
            (fault,) = error.value.errors()
            choices = [choice for choice, spec in METRICS.items() if accepts(spec)]
            assert fields_of(fault["ctx"]["error"].args[0])["names"] == ", ".join(choices)


def test_selectable_metrics() -> None:
    assert [name for name, spec in METRICS.items() if is_study_metric(spec)] == ["accuracy", "balanced"]
    assert not any(selects_epochs(METRICS[name]) for name in ("log-loss", "brier"))
    flag = _flag_help(StudyConfig.model_fields["metric"], None)
    assert "accuracy, balanced [default: accuracy]" in flag and "macro-f1" not in flag


def test_metric_of_a_plugin_needs_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add Cohen's kappa, which selects epochs, and graded accuracy, which is a mean over images."""
    monkeypatch.setitem(METRICS, "kappa", MetricSpec("Cohen's kappa", "", of_counts=f"{__name__}:kappa"))
    graded = MetricSpec("graded", "", of_counts=f"{__name__}:graded_of_counts", of_images=f"{__name__}:graded_values")
    monkeypatch.setitem(METRICS, "graded", graded)
    assert recipe("kappa").select == "kappa" and study("graded").metric == "graded"
    with pytest.raises(ValidationError) as error:
        study("kappa")
    (fault,) = error.value.errors()
    assert fields_of(fault["ctx"]["error"].args[0])["names"] == "accuracy, balanced, graded"

    labels = np.repeat([0, 1, 2], [20, 12, 8])
    logits = np.stack([make_logits(labels, 3, seed) for seed in range(6)])
    evaluations = [score(rows, labels) for rows in logits]
    kappas = [sk.cohen_kappa_score(labels, rows.argmax(1)) for rows in logits]
    ranks = [Objective(select="kappa").rank(evaluation)[0] for evaluation in evaluations]
    assert ranks == pytest.approx(kappas)
    line = epoch_line(1, 1, confusion=table_of(evaluations[0].counts))
    assert epoch_score(line, "kappa") == pytest.approx(kappas[0])

    assert math.isclose(metric_value("graded", labels, logits[0]), graded_values(labels, logits[0]).mean())
    tables = [np.array([image_values("graded", labels, rows) for rows in part]) for part in (logits[:3], logits[3:])]
    sample = ImageSample.of_metric("graded", labels, np.arange(len(labels)))
    assert (sample.weights == image_weights("graded", labels)).all()
    contrast = compute_contrasts(dict(zip("ab", tables, strict=True)), [("a", "b")], margin=0.01, sample=sample)[0]
    means = [metric_value("graded", labels, rows) for rows in logits]
    assert contrast.mean == pytest.approx(np.mean(means[:3]) - np.mean(means[3:]))


def kappa(counts: ConfusionCounts) -> float:
    expected_agreement = (counts.true_totals * counts.predicted_totals).sum() / counts.images**2
    return float((counts.correct / counts.images - expected_agreement) / (1 - expected_agreement))


def graded_values(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return 1 if right, and half if wrong by one class."""
    return 1 - np.abs(logits.argmax(1) - labels) / 2


def graded_of_counts(counts: ConfusionCounts) -> float:
    cells = zip(counts.true, counts.predicted, counts.counts, strict=True)
    return sum(count * (1 - abs(true - predicted) / 2) for true, predicted, count in cells) / counts.images
