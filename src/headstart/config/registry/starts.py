"""The kinds of initial weights ("starts") and the initialization schemes, one row each.

A start is written `KIND` or `KIND:ARGUMENT`. A kind or scheme is added with a row, also at run time. Nothing here needs
torch: factories, checks and networks are import paths that are resolved when they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Argument(StrEnum):
    """Kinds of text after the colon of a start; the value is its placeholder in help."""

    NONE = ""
    SCHEME = "SCHEME"  # an initialization scheme, or nothing
    NAME = "NAME"  # of published weights
    PATH = "PATH"  # of a file or folder with weights
    RUN = "DIR"  # folder of a finished run
    START = "START"  # another start
    DATA = "DATA"  # a labeled data set, on which a study trains first

    @property
    def is_path(self) -> bool:
        """True if the argument is a path; that of DATA may also be the name of a built-in data set."""
        return self in (Argument.PATH, Argument.RUN, Argument.DATA)


@dataclass(frozen=True)
class StartSpec:
    """One kind of start.

    Args:
        factory: Import path of a function from the argument and a `weights.starts.NetworkTarget` to a
            `weights.starts.Start`; "" for a kind whose weights a study trains (`Argument.DATA`).
        argument: What follows the colon.
        random: The weights are drawn from the seed of the run.
        published: The weights are those of a network as published, which has its own stem, shortcuts and norms.
        check: Import path of a function that raises a `HeadstartError` for an argument that cannot be read. It is
            called before the import of torch.
        network: Import path of a function from the argument to the network of the weights, or None if unknown.
        suffixes: Suffixes of the files, in lower case, which short names leave out.
    """

    factory: str
    argument: Argument = Argument.NONE
    random: bool = False
    published: bool = False
    check: str = ""
    network: str = ""
    suffixes: frozenset[str] = frozenset()

    @property
    def from_scratch(self) -> bool:
        """True for random weights that depend on no trained weights."""
        return self.random and self.argument is not Argument.START

    @property
    def needs_training(self) -> bool:
        """True if a study trains the weights before it compares the arms."""
        return self.argument is Argument.DATA


@dataclass(frozen=True)
class SchemeSpec:
    """One initialization scheme.

    Args:
        factory: Import path of a function that draws the backbone of a network, in place.
        description: What it draws, with its source, in English: it becomes the provenance of the weights in a model.
        needs_residual_norms: Its networks need residual blocks that end with a norm.
    """

    factory: str
    description: str
    needs_residual_norms: bool = False


SCHEMES = {
    "kaiming": SchemeSpec(
        "headstart.weights.init:kaiming", "normal, variance 2 / fan-out (He et al. 2015, as torchvision)"
    ),
    "xavier": SchemeSpec(
        "headstart.weights.init:xavier", "normal, variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010)"
    ),
    "orthogonal": SchemeSpec("headstart.weights.init:orthogonal", "orthogonal, gain √2 (Saxe et al. 2013)"),
    "zero-gamma": SchemeSpec(
        "headstart.weights.init:zero_gamma",
        "kaiming, and the last norm of every block starts at 0 (Goyal et al. 2017)",
        needs_residual_norms=True,
    ),
    "torch": SchemeSpec(
        "headstart.weights.init:layer_defaults",
        "uniform, ±1/√fan-in, biases too, as torch's layers start by themselves",
    ),
}
DEFAULT_SCHEME = "kaiming"  # of networks that have no initialization of their own

MANIFEST_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet"})  # of tables of images

DEFAULT_START = "scratch"
PRETRAINED_START = "imagenet"  # pretrained weights that a study compares by default
TIMM_START = "timm"
FILE_START = "file"
RUN_START = "run"
STATISTICS_START = "stats"
SOURCE_START = "source"

STARTS = {
    DEFAULT_START: StartSpec("headstart.weights.starts:from_scheme", Argument.SCHEME, random=True),
    PRETRAINED_START: StartSpec("headstart.weights.starts:from_torchvision", published=True),
    TIMM_START: StartSpec(
        "headstart.weights.starts:from_timm",
        Argument.NAME,
        published=True,
        network="headstart.weights.starts:network_of_timm_weights",
    ),
    FILE_START: StartSpec(
        "headstart.weights.local:from_file",
        Argument.PATH,
        check="headstart.config.start_spec:require_weights_file",
        suffixes=frozenset({".safetensors", ".pth", ".pt"}),
    ),
    RUN_START: StartSpec(
        "headstart.weights.local:from_run",
        Argument.RUN,
        check="headstart.config.start_spec:require_run_folder",
        network="headstart.weights.local:network_of_run",
    ),
    STATISTICS_START: StartSpec("headstart.weights.starts:from_statistics", Argument.START, random=True),
    SOURCE_START: StartSpec(
        "", Argument.DATA, check="headstart.data.sources:require_source", suffixes=MANIFEST_SUFFIXES
    ),
}
