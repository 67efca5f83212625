"""The estimator behaves as scikit-learn and its users expect."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import estimator_checks

import headstart
from headstart.data.sources import read_index
from tests.messages import fields_of, values_of

TINY: headstart.TrainSettings = {"threads": 1, "precision": "fp32", "cache_resolution": 1}
# Checks that pass no arrays of numbers. The others fit tables, and do not apply to paths of images.
CHECKS = (
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_mixin_order,
)


def classifier(runs: Path, **arguments: object) -> headstart.Classifier:
    small = {"network": "timm:test_resnet", "image_size": 16, "epochs": 6, "batch_size": 8, "lr": 0.05}
    return headstart.Classifier(**{**small, "settings": TINY, "runs": runs, **arguments})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def images() -> tuple[list[str], np.ndarray]:
    """Paths of zeros and ones, and their labels as numbers, of which 10 sorts after 9."""
    index = read_index("digits:0-1")
    rows = [*np.flatnonzero(index.labels == 0)[:30], *np.flatnonzero(index.labels == 1)[:30]]
    return [str(index.paths[row]) for row in rows], np.where(index.labels[rows] == 0, 10, 9)


@pytest.fixture(scope="module")
def fitted(images: tuple[list[str], np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> headstart.Classifier:
    return classifier(tmp_path_factory.mktemp("runs")).fit(*images)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_checks_of_scikit_learn(check) -> None:
    check("Classifier", headstart.Classifier())


def test_parameters_are_those_of_the_constructor() -> None:
    estimator = headstart.Classifier(lr=0.1)
    assert is_classifier(estimator) and clone(estimator).get_params() == estimator.get_params()
    assert estimator.set_params(epochs=3, settings=TINY) is estimator
    assert estimator.get_params()["epochs"] == 3 and estimator.get_params()["lr"] == 0.1
    with pytest.raises(ValueError, match="optimzer"):
        estimator.set_params(optimzer="sgd")
    for method in (estimator.predict, estimator.predict_proba):
        with pytest.raises(NotFittedError):
            method(["a.png"])


def test_fitted_estimator_has_the_classes_of_y(fitted: headstart.Classifier, images) -> None:
    paths, labels = images
    assert fitted.classes_.tolist() == [9, 10] and fitted.classes_.dtype == labels.dtype
    probabilities = fitted.predict_proba(paths)
    assert probabilities.shape == (60, 2) and np.allclose(probabilities.sum(1), 1)
    by_name = {p.image: p.probabilities for p in headstart.predict(fitted.run_, paths)}
    names = list(headstart.Predictor(fitted.run_.folder).classes)
    for path, row in zip(paths, probabilities, strict=True):
        assert row.tolist() == [by_name[path][names.index(name)] for name in ("9", "10")]
    assert (fitted.predict(paths) == fitted.classes_[probabilities.argmax(1)]).all()
    assert fitted.score(paths, labels) == accuracy_score(labels, fitted.predict(paths)) > 0.8
    assert fitted.predict_proba([]).shape == (0, 2)


def test_fit_uses_every_image_for_training_or_selection(fitted: headstart.Classifier) -> None:
    counts = fitted.run_.plan.facts.split_counts
    assert counts.train + counts.val == 60 and 0 < counts.val < 15 and counts.test == 0
    assert fitted.run_.test is None and fitted.run_.plan.recipe.lr == 0.05


def test_kinds_of_inputs_give_the_same_fit(fitted: headstart.Classifier, images, tmp_path: Path) -> None:
    paths, labels = images
    weights = (fitted.run_.folder / "model" / "model.safetensors").read_bytes()
    for number, (X, y) in enumerate(
        [(np.array(paths), list(labels)), (pd.Series(map(Path, paths)), pd.Series(labels, name="label"))]
    ):
        other = classifier(tmp_path / str(number)).fit(X, y)
        assert (other.run_.folder / "model" / "model.safetensors").read_bytes() == weights
        assert (other.predict(np.array(paths)[:, None]) == fitted.predict(paths)).all()


def test_copies_of_a_fitted_estimator(fitted: headstart.Classifier, images) -> None:
    paths, _labels = images
    copy = pickle.loads(pickle.dumps(fitted))
    assert (copy.predict_proba(paths) == fitted.predict_proba(paths)).all()
    with pytest.raises(NotFittedError):
        clone(fitted).predict(paths)


def test_cross_validation_and_grid_search(images, tmp_path: Path) -> None:
    paths, labels = images
    scores = cross_val_score(classifier(tmp_path), paths, labels, cv=2, error_score="raise")
    assert scores.shape == (2,) and scores.mean() > 0.6
    names = np.array(["zero", "one"])[(labels == 9).astype(int)]
    search = GridSearchCV(classifier(tmp_path, epochs="2st"), {"lr": [0.01, 0.1]}, cv=2, error_score="raise")
    search.fit(np.array(paths), names)
    assert search.best_params_["lr"] in (0.01, 0.1) and set(search.predict(paths)) <= {"one", "zero"}


def test_invalid_inputs_are_errors_before_anything_is_written(images, tmp_path: Path) -> None:
    paths, labels = images
    estimator = classifier(tmp_path / "runs")
    for X in (np.zeros((60, 4)), np.zeros(60), [paths]):
        with pytest.raises(headstart.UsageError):
            estimator.fit(X, labels)
    with pytest.raises(ValueError, match="inconsistent"):
        estimator.fit(paths, labels[:-1])
    with pytest.raises(headstart.UsageError):
        estimator.fit(paths, np.array(["a", "a "] * 30))
    with pytest.raises(headstart.UsageError) as error:
        classifier(tmp_path / "runs", lr=-1).fit(paths, labels)
    assert values_of(error.value.message)[0] == "lr"
    with pytest.raises(headstart.UsageError) as error:
        classifier(tmp_path / "runs", settings={"lr": 0.1}).fit(paths, labels)
    assert fields_of(error.value.message) == {"name": "lr"}
    with pytest.raises(headstart.UsageError) as error:
        classifier(tmp_path / "runs", settings={"classes": "a,b"}).fit(paths, labels)
    assert fields_of(error.value.message) == {"name": "classes"}
    with pytest.raises(headstart.DataError) as small:
        estimator.fit(paths, [7, *labels[1:]])
    assert "'7' (1)" in small.value.message and "--" not in small.value.hint
    with pytest.raises(headstart.DataError):
        estimator.fit([*paths[:-1], "nowhere.png"], labels)
    assert not (tmp_path / "runs").exists()


def test_unreadable_images_are_errors_of_predict(fitted: headstart.Classifier, images, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(headstart.DataError) as error:
        fitted.predict([images[0][0], str(tmp_path / "empty.png")])
    assert fields_of(error.value.message)["image"] == str(tmp_path / "empty.png")
    for number in range(2):
        shutil.copy(images[0][number], tmp_path / f"{number}.png")
    (tmp_path / "empty.png").unlink()
    with pytest.raises(headstart.UsageError):
        fitted.predict([str(tmp_path)])
