"""Settings beside a weights file: mean and standard deviation, image size and class names.

They are in JSON files of headstart, timm or transformers, or in the metadata of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeGuard

from headstart.config.model_file import Normalization, is_valid
from headstart.i18n import Message, _
from headstart.storage.bounds import MAX_NUMBER
from headstart.storage.files import JsonData
from headstart.text import join_list
from headstart.weights.hub import Triple
from headstart.weights.starts import IMAGENET_MEAN, IMAGENET_STD

_INDEX = re.compile("[0-9]{1,9}")  # of an output
PREPROCESSOR_FILE = "preprocessor_config.json"  # of transformers


class Settings(NamedTuple):
    """Settings in one file that concern its weights."""

    file: str  # name of the file
    values: Mapping[str, JsonData]


def folder_settings(read: Callable[[str], Mapping[str, JsonData]]) -> list[Settings]:
    """Return the content of the JSON files of a folder with preprocessing, with headstart's names.

    timm's `pretrained_cfg` is flattened. transformers' preprocessor_config.json is read only if it exists.

    Args:
        read: Returns the content of a file by its name, {} for a missing one.
    """
    settings = []
    for name in ("preprocess.json", PREPROCESSOR_FILE, "config.json"):
        content = read(name)
        if name == PREPROCESSOR_FILE:
            if not content:
                continue
            content = _from_preprocessor(content)
        inner = content.get("pretrained_cfg")
        settings.append(Settings(name, {**content, **(inner if isinstance(inner, dict) else {})}))
    return settings


def _from_preprocessor(content: Mapping[str, JsonData]) -> Mapping[str, JsonData]:
    """Return the mean, standard deviation and image size of transformers' preprocessor_config.json.

    transformers computes (value * rescale_factor - mean) / std for values from 0 to 255; headstart divides by 255.
    """
    if content.get("do_normalize") is False:
        values: dict[str, JsonData] = {"mean": [0.0] * 3, "std": [1.0] * 3}
    else:
        renamed = {"mean": content.get("image_mean"), "std": content.get("image_std")}
        values = {key: value for key, value in renamed.items() if value is not None}
    factor = 1.0 if content.get("do_rescale") is False else content.get("rescale_factor")
    if _is_number(factor) and factor > 0 and abs(255 * factor - 1) > 1e-3:
        values = {k: [v / (255 * factor) for v in numbers] for k, n in values.items() if (numbers := _triple(n))}
    size = content.get("size")
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    if isinstance(size, int) and content.get("do_resize") is not False:
        values["trained_size"] = size
    return values


def size_notes(sources: Sequence[Settings]) -> list[Message]:
    """Return a note on the image size of the weights, where a file of transformers gives it."""
    return [
        _(
            "{file}: the weights were trained on images of {size} px; --image-size sets the size.",
            file=source.file,
            size=size,
        )
        for source in sources
        if isinstance(size := source.values.get("trained_size"), int)
    ]


def _class_names_by_index(settings: Mapping[str, JsonData]) -> list[str]:
    """Return the class names in transformers' config.json, in the order of the outputs."""
    labels = settings.get("id2label")
    if not isinstance(labels, dict) or not all(_INDEX.fullmatch(key) for key in labels):
        return []
    return [str(labels[key]) for key in sorted(labels, key=int)]


def normalization(sources: Sequence[Settings]) -> tuple[Triple, Triple, list[Message]]:
    """Return the mean and standard deviation of the first source that has a valid one, and notes on the others.

    If one of the two is missing, both are ImageNet's.
    """
    mean, mean_notes = _first_valid("mean", sources)
    std, std_notes = _first_valid("std", sources)
    notes = [*mean_notes, *std_notes]
    if mean is not None and std is not None:
        return mean, std, notes
    found = (("mean", mean, mean_notes), ("std", std, std_notes))
    if missing := [field for field, value, faults in found if value is None and not faults]:
        notes.append(
            _(
                "{file} and its folder give no {fields}, for example in {example}.",
                file=sources[0].file,
                fields=join_list(missing),
                example=sources[-1].file,
            )
        )
    return IMAGENET_MEAN, IMAGENET_STD, [*notes, _("ImageNet's mean and std are used.")]


def _first_valid(field: Normalization, sources: Sequence[Settings]) -> tuple[Triple | None, list[Message]]:
    """Return the first valid value of `mean` or `std`, and a note on each invalid value before it."""
    notes: list[Message] = []
    for source in (source for source in sources if field in source.values):
        value = source.values[field]
        numbers = _triple(value)
        if numbers is None:
            text = _(
                "The {field} in {file} is not three numbers: {value}.", field=field, file=source.file, value=repr(value)
            )
        elif not is_valid(field, numbers):
            text = _(
                "The {field} in {file} is not that of pixels: {value}.", field=field, file=source.file,
                value=repr(value),
            )  # fmt: skip
        else:
            return numbers, notes
        notes.append(text)
    return None, notes


def class_names(settings: Mapping[str, JsonData]) -> tuple[str, ...]:
    """Return class names from a list (timm's config.json), a text with commas (a file's metadata) or `id2label`."""
    value = settings.get("label_names") or settings.get("labels") or _class_names_by_index(settings)
    names = value.split(",") if isinstance(value, str) else value
    return tuple(str(name).strip() for name in names) if isinstance(names, list) else ()


def _triple(values: JsonData) -> Triple | None:
    """Return three numbers from a list, or from a text as in a file's metadata; None for anything else."""
    if isinstance(values, str):
        with suppress(ValueError):
            values = [float(part) for part in values.strip(" []()").split(",")]
    if not isinstance(values, list | tuple):
        return None
    if len(values) != 3 or not all(_is_number(value) for value in values):
        return None
    first, second, third = map(float, values)
    return first, second, third


def _is_number(value: JsonData) -> TypeGuard[float]:
    return isinstance(value, int | float) and -MAX_NUMBER <= value <= MAX_NUMBER  # false for NaN
