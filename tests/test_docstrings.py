"""The examples in the docstrings of the public names, run as doctests in one place.

They share their variables, in the order of `FIRST`: `train` makes `run`, and `compare` makes `study`.
"""

import doctest
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.data.sources import read_index

FIRST = ("train", "compare")
# An example of these would take minutes, or a full disk.
WITHOUT = {"DivergedError", "NoWinnerError", "ResourceError", "InterruptedRunError"}
FLAGS = doctest.NORMALIZE_WHITESPACE


def documented(name: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the docstring of a public object, and of the methods that it defines."""
    value = getattr(headstart, name)
    yield name, value.__doc__ or ""
    if inspect.isclass(value) and not issubclass(value, dict):
        for attribute, member in vars(value).items():
            if not attribute.startswith("_") and getattr(member, "__doc__", None) and ">>>" in member.__doc__:
                yield f"{name}.{attribute}", member.__doc__


def examples() -> list[tuple[str, str]]:
    names = [*FIRST, *(name for name in headstart.__all__ if name not in FIRST)]
    return [item for name in names for item in documented(name)]


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Variables that examples share; the working directory has a folder `photos` with two classes."""
    folder, index = tmp_path_factory.mktemp("examples"), read_index("digits:0-1")
    for number, label in enumerate(("cat", "dog")):
        (folder / "photos" / label).mkdir(parents=True)
        for position in np.flatnonzero(index.labels == number)[:20]:
            shutil.copy(index.paths[position], folder / "photos" / label)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield {"headstart": headstart, "np": np, "Image": Image, "Path": Path}


@pytest.mark.parametrize(("name", "text"), examples(), ids=[name for name, _text in examples()])
def test_examples(name: str, text: str, variables: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(text, variables, name, None, None)
    assert bool(test.examples) != (name in WITHOUT), "a public object needs an example"
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=report.append, clear_globs=False)
    variables.update(test.globs)
    assert not runner.failures, "".join(report)
