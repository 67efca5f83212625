"""Run the Python blocks of a page: with the functions of headstart, on 40 small photos, in a few training steps.

The blocks are executed as written. `train`, `compare`, `plan` and `Classifier` check the given settings, and replace
those that decide how long the training takes; `ablate` is refused. The initial weights `imagenet` are random ones. A
run or a study that does not exist, such as "runs/NAME", is the last one that the page made, or a new one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import headstart
from headstart.config.registry.starts import PRETRAINED_START, STARTS
from headstart.config.study_request import build_study_spec
from headstart.models.factory import build
from headstart.weights.local import from_file
from headstart.weights.starts import NetworkTarget, Start
from tests.docs.markdown import Block

MACHINE: dict[str, Any] = {"threads": 1, "precision": "fp32"}
SHORT: dict[str, Any] = {"network": "timm:test_resnet", "image_size": 32, "epochs": "2st", "batch_size": 8}
SHORT_RUN: dict[str, Any] = {**SHORT, **MACHINE}
SHORT_STUDY: dict[str, Any] = {**SHORT_RUN, "seeds": 2, "search": "off"}


def run_blocks(blocks: Sequence[Block], name: str, folder: Path) -> dict[str, Any]:
    """Execute the Python blocks of a page in order in a folder, and return their variables.

    Tracebacks have the name and the lines of the page.
    """
    variables: dict[str, Any] = {"__name__": "page"}
    with tiny_studies(folder):
        for block in blocks:
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, name, "exec"), variables)
    return variables


@contextmanager
def tiny_studies(folder: Path) -> Iterator[None]:
    """Make `folder` the working directory, with photos, and let the functions of headstart train for a few steps."""
    write_photos(folder)
    functions = ShortFunctions()
    row = replace(STARTS[PRETRAINED_START], factory=f"{__name__}:random_start")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(STARTS, PRETRAINED_START, row)
        for name in ("train", "compare", "plan", "ablate", "Classifier", "Run", "Study"):
            patch.setattr(headstart, name, getattr(functions, name))
        yield


def write_photos(folder: Path) -> None:
    """Write photos of two classes into three folders, a table of the first folder, and a single photo."""
    rng, rows = np.random.default_rng(0), ["path,label"]
    for parent in ("photos", "more_photos", "other_photos"):
        for number, label in enumerate(("cat", "dog")):
            (folder / parent / label).mkdir(parents=True)
            for image in range(20):
                path = folder / parent / label / f"{image}.jpg"
                Image.fromarray(rng.integers(0, 128 + 64 * number, (32, 32, 3)).astype(np.uint8)).save(path)
                rows += [f"{path.relative_to(folder)},{label}"] if parent == "photos" else []
    (folder / "photos.csv").write_text("\n".join(rows) + "\n")
    (folder / "photo.jpg").write_bytes((folder / "photos" / "cat" / "1.jpg").read_bytes())


def random_start(_unused: str, target: NetworkTarget) -> Start:
    """Return weights of any network in place of those of ImageNet. They are drawn once for each page."""
    path = Path(f"{target.network.replace(':', '-')}.safetensors")
    if not path.exists():
        network = build(target.network, 1000, shortcut=target.shortcut, norm=target.norm, stem=target.stem)
        save_file(network.state_dict(), path)
    return replace(from_file(str(path), target), name=PRETRAINED_START)


class ShortFunctions:
    """Functions and classes of headstart that train for a few steps, and the last run and study that they made."""

    def __init__(self) -> None:
        self._train, self._compare, self._plan = headstart.train, headstart.compare, headstart.plan
        self._classifier, self._run_class, self._study_class = headstart.Classifier, headstart.Run, headstart.Study
        self._run: headstart.Run | None = None
        self._study: headstart.Study | None = None

    def train(self, *data: Any, **given: Any) -> headstart.Run:
        require_valid(given)
        self._run = self._train(*data, **{**given, **SHORT_RUN, "quiet": True})
        return self._run

    def compare(self, *data: Any, **given: Any) -> headstart.Study:
        require_valid(given)
        self._study = self._compare(*data, **{**given, **SHORT_STUDY, "engine": "local", "quiet": True})
        return self._study

    def plan(self, *data: Any, **given: Any) -> headstart.Forecast:
        require_valid(given)
        return self._plan(*data, **{**given, **SHORT_STUDY, "engine": "local", "quiet": True})

    def ablate(self, *_data: Any, **_given: Any) -> headstart.AblationSummary:
        raise NotImplementedError(
            "Blocks with headstart.ablate are not executed, because it trains twelve networks. "
            "Write `<!-- not run: REASON -->` before the block."
        )

    def Classifier(self, **given: Any) -> headstart.Classifier:
        require_valid(given)
        return self._classifier(**{**given, **SHORT, "settings": {**(given.get("settings") or {}), **MACHINE}})

    def Run(self, folder: Any) -> headstart.Run:
        return self._run_class(folder) if Path(folder).exists() else self._run or self.train("photos")

    def Study(self, folder: Any) -> headstart.Study:
        arms = ("scratch", "imagenet")
        return self._study_class(folder) if Path(folder).exists() else self._study or self.compare("photos", arms=arms)


def require_valid(given: dict[str, Any]) -> None:
    """Raise UsageError if one of the settings that are replaced is invalid as given."""
    replaced = {name: given[name] for name in SHORT_STUDY if name in given}
    build_study_spec("photos", (), None, None, None, None, replaced)
