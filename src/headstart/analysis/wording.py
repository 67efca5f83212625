"""Word arms, numbers and splits for sentences."""

from __future__ import annotations

from headstart.config.registry.starts import Argument
from headstart.config.run_config import NetworkConfig
from headstart.config.start_spec import split_start, start_row
from headstart.metrics.registry import METRICS
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.verdict import Condition, Contrast, Sentences, VerdictNumbers
from headstart.text import format_level, format_points


def arm_words(arm: ArmSpec) -> str:
    """Return an arm in words: `file:cifar10+frozen@adam` is "cifar10, frozen, with adam"."""
    words = [start_words(arm)]
    if arm.tuning is not None and arm.tuning in arm.parts:
        words.append(_tuning_words(arm.tuning))
    elif not start_row(arm.start).from_scratch:
        words.append("fine-tuned")
    words += [f"with the head {arm.head}"] if arm.head in arm.parts else []
    words += [f"with {arm.optimizer}"] if arm.optimizer else []
    return ", ".join([*words, *(f"{field.replace('_', '-')}={value}" for field, value in arm.varied.items())])


def named_words(condition: Condition, name: str) -> str:
    """Return the arm of that name in words."""
    return arm_words(condition.spec(name))


def start_words(arm: ArmSpec) -> str:
    """Return the short name of an arm's initial weights, without the kind if it is the name of a file or folder."""
    is_file = start_row(arm.start).argument in (Argument.PATH, Argument.RUN)
    return split_start(arm.label)[1] if is_file else arm.label


def _tuning_words(tuning: str) -> str:
    """Return a fine-tuning mode in words."""
    kind, _, number = tuning.partition(":")
    if kind == "stages":
        return f"last {number} stages fine-tuned"
    return {"lp-ft": "head first, then fine-tuned"}.get(tuning, tuning)


def splits(condition: Condition) -> tuple[str, str]:
    """Return the data's names of the selection split and the evaluation split, which runs call val and test."""
    return split_names(condition.evaluation.declared)


def split_names(declared: str) -> tuple[str, str]:
    """Return the data's names of the selection split and the evaluation split.

    If the data declares only train and val, val is the evaluation split, and a part of train is the selection split.

    Args:
        declared: Splits that the data has declared.
    """
    return ("a part of train", "val") if declared == "train+val" else ("val", "test")


def metric_words(verdict: VerdictNumbers) -> str:
    """Return the name of the metric of the verdict."""
    return METRICS[verdict.metric].label


def evaluation_images(condition: Condition) -> str:
    """Return what the images of the evaluation split are called: "test images"."""
    return f"{splits(condition)[1]} images"


def interval(contrast: Contrast) -> str:
    """Return a contrast's interval in words: "95 % interval 4.0 to 8.2"."""
    low, high = format_points(contrast.low), format_points(contrast.high)
    return f"{format_level(contrast.level)} interval {low} to {high}"


def length_words(length: str) -> str:
    """Return a duration in words: `8ep` is "8 epochs", `1ep` "1 epoch"."""
    words = length.replace("ep", " epochs").replace("st", " steps")
    return words.removesuffix("s") if words.startswith("1 ") else words


def paragraph(sentences: Sentences) -> str:
    """Return the verdict's sentences as one paragraph, for the terminal."""
    return f"{sentences.headline} {after_headline(sentences)}"


def after_headline(sentences: Sentences) -> str:
    """Return the sentences after the headline as one paragraph."""
    return " ".join([sentences.evidence, *sentences.details, sentences.limits])


def network_words(network: NetworkConfig) -> str:
    """Return a plan's network in words, with its stem if that is small, and the components that are switched off."""
    stem = ["with a small stem"] if network.stem == "small" else []
    off = ["without shortcut"] if network.shortcut == "off" else []
    off += ["without norm"] if network.norm == "none" else []
    return " ".join([network.network, *stem, *off])
