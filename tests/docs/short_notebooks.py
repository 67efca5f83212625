"""Shorten the trainings of the notebooks in examples/: IPython executes a copy of this file before their cells.

Their cells are executed as written, in a kernel, but with four steps and two seeds, without processes for runs, and
into the runs of the tests. `make slow` executes the notebooks in full.
"""

import os
from pathlib import Path
from typing import Any

import headstart

SHORT: dict[str, Any] = {"epochs": "4st", "runs": Path(os.environ["HEADSTART_DATA"]) / "runs"}
train, compare = headstart.train, headstart.compare


def train_briefly(*data: Any, **given: Any) -> headstart.Run:
    return train(*data, **{**given, **SHORT})


def compare_briefly(*data: Any, **given: Any) -> headstart.Study:
    return compare(*data, **{**given, **SHORT, "seeds": 2, "engine": "local"})


headstart.train, headstart.compare = train_briefly, compare_briefly
