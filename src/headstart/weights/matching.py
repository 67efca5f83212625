"""Find a network among the tensors of a file by its names and shapes, and sort what else is there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from headstart.weights.dialects import (
    DIALECTS,
    HEAD_NAMES,
    WRAPPERS,
    Companion,
    Dialect,
    companion_of,
    other_network,
    other_tensors,
    rank_of,
)

COUNTER = "num_batches_tracked"  # the only tensors that may be missing


@dataclass(frozen=True)
class Fit:
    """A network in a file.

    Attributes:
        dialect: How its tensors are named.
        prefix: What is before their names, without wrappers: `state_dict.encoder_q`.
        names: Name in the file by name in the network.
    """

    dialect: Dialect
    prefix: str
    names: Mapping[str, str]

    def inner_name(self, name: str) -> str | None:
        """Return a name in the file without the prefix; None if the prefix is another one."""
        return _below(self.prefix, name)


@dataclass(frozen=True)
class Names:
    """Names of the tensors of a file, without the parts that wrappers insert.

    Attributes:
        stored: The first name in the file by the name without wrappers.
        repeated: Further names in the file that are equal without wrappers, by that name.
    """

    stored: Mapping[str, str]
    repeated: Mapping[str, tuple[str, ...]]

    @staticmethod
    def of(names: Iterable[str], network: Iterable[str]) -> Names:
        """Return the names of a file; parts that the network's own names have are not removed."""
        wrappers = WRAPPERS - {part for name in network for part in name.split(".")}
        stored: dict[str, str] = {}
        repeated: dict[str, tuple[str, ...]] = defaultdict(tuple)
        for name in names:
            bare = ".".join(part for part in name.split(".") if part not in wrappers)
            if bare in stored:
                repeated[bare] += (name,)
            stored.setdefault(bare, name)
        return Names(stored, repeated)


@dataclass
class Surroundings:
    """What is in a file besides the tensors of a network.

    Attributes:
        head: Names of the head's tensors by their names in the file.
        left_out: Names of tensors that no layer needs, by their kind in words for their number.
        unexpected: Names that the network should have, but has not.
    """

    head: dict[str, str] = field(default_factory=dict)
    left_out: dict[Companion, list[str]] = field(default_factory=lambda: defaultdict(list))
    unexpected: list[str] = field(default_factory=list)


_OTHER_TENSORS, _OTHER_NETWORK = Companion(other_tensors), Companion(other_network)


def is_required(name: str) -> bool:
    """Return True for a tensor that a file must have."""
    return not name.endswith(COUNTER)


def find_fits(
    names: Collection[str], expected: Mapping[str, torch.Size], dialects: Iterable[Dialect] = DIALECTS
) -> list[Fit]:
    """Return the networks in a file, the most complete first; a network is there once.

    Args:
        names: Names in the file, without wrappers.
        expected: Shapes of the network's tensors by their names.
        dialects: Dialects to try, in this order.
    """
    fits: list[Fit] = []
    seen: set[frozenset[str]] = set()
    for dialect in dialects:
        spelled = {spelling: name for name in expected if (spelling := dialect.spell(name)) is not None}
        if not all(name in spelled.values() for name in expected if is_required(name)):
            continue
        for prefix, matches in _matches(names, spelled).items():
            tensors = frozenset(matches.values())
            if tensors not in seen:
                seen.add(tensors)
                fits.append(Fit(dialect, prefix, matches))
    return sorted(fits, key=lambda fit: -sum(map(is_required, fit.names)))


def _matches(names: Iterable[str], spelled: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the names in the file by those in the network, for each prefix that some of them have."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        parts = name.split(".")
        for start in range(len(parts)):
            if (own := spelled.get(".".join(parts[start:]))) is not None:
                found[".".join(parts[:start])][own] = name
    return found


def is_complete(fit: Fit, expected: Mapping[str, torch.Size]) -> bool:
    """Return True if no tensor is missing."""
    return all(name in fit.names for name in expected if is_required(name))


def has_shapes(fit: Fit, expected: Mapping[str, torch.Size], state: Mapping[str, Tensor]) -> bool:
    """Return True if all tensors have the shapes of the network's; `state` has names without wrappers."""
    return all(state[stored].shape == expected[name] for name, stored in fit.names.items() if is_required(name))


def select(fits: Iterable[Fit], key: str) -> list[Fit]:
    """Return the networks with a prefix, or with a part of it: `encoder_k` is in `state_dict.encoder_k`.

    The key "." selects the network without a prefix.
    """
    fits, wanted = list(fits), [part for part in key.split(".") if part and part not in WRAPPERS]
    exact = [fit for fit in fits if fit.prefix == ".".join(wanted)]
    return exact or [fit for fit in fits if wanted and _contains(fit.prefix.split("."), wanted)]


def _contains(parts: list[str], wanted: list[str]) -> bool:
    return any(parts[i : i + len(wanted)] == wanted for i in range(len(parts) - len(wanted) + 1))


def best_fits(fits: Iterable[Fit], state: Mapping[str, Tensor]) -> list[Fit]:
    """Return the networks of the lowest rank; of networks with equal tensors only the first."""
    different: list[Fit] = []
    for fit in sorted(fits, key=lambda fit: rank_of(fit.prefix)):
        is_best = rank_of(fit.prefix) == rank_of((different or [fit])[0].prefix)
        if is_best and not any(_is_equal(fit, other, state) for other in different):
            different.append(fit)
    return different


def _is_equal(fit: Fit, other: Fit, state: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(state[fit.names[name]], state[other.names[name]]) for name in fit.names if is_required(name))


def surroundings(
    fit: Fit, names: Iterable[str], *, head: str, expected: Collection[str], others: Iterable[Fit] = ()
) -> Surroundings:
    """Sort the tensors of a file that do not belong to a network.

    Beside the network (another prefix) everything may be left out. Inside of it only companions of known kinds may:
    anything else could belong to a layer that the network does not have.

    Args:
        fit: The network.
        names: Names in the file, without wrappers.
        head: Name of the network's head.
        expected: Names of the network's tensors.
        others: Other complete networks in the file.
    """
    found, used = Surroundings(), set(fit.names.values())
    in_others = {name for other in others for name in other.names.values()}
    children = {spelling.partition(".")[0] for name in expected if (spelling := fit.dialect.spell(name))}
    for name in (name for name in names if name not in used):
        inner = fit.inner_name(name)
        head_key = _head_key(fit, name, head, children)
        if head_key and name not in in_others:
            found.head[name] = head_key
            continue
        beside = inner if inner is not None else _relative(fit.prefix, name)
        companion = companion_of(beside)
        if companion and inner is not None and companion.first and inner.partition(".")[0] in children:
            companion = None
        if name in in_others and inner is None:
            companion = companion or _OTHER_NETWORK
        if companion is None and inner is None:
            companion = _OTHER_TENSORS
        if companion is None:
            found.unexpected.append(name if inner is None else inner)
        else:
            found.left_out[companion].append(beside)
    return found


def take_unnamed_head(around: Surroundings, fit: Fit, state: Mapping[str, Tensor], head: nn.Module) -> None:
    """Make the only unexpected layer the head, if it is linear and reads the features that the network's head reads.

    Args:
        around: What is beside the network; it is changed.
        fit: The network.
        state: Tensors by their names, without wrappers.
        head: The module of the network's head.
    """
    layers = {name.rpartition(".")[0] for name in around.unexpected}
    widths = [tensor.shape[1] for tensor in head.parameters() if tensor.ndim == 2]
    if around.head or len(layers) != 1 or not widths:
        return
    layer = layers.pop()
    stored = {name: f"{fit.prefix}.{name}".lstrip(".") for name in around.unexpected}
    shapes = {name.rpartition(".")[2]: state[key].shape for name, key in stored.items() if key in state}
    weight = shapes.pop("weight", torch.Size())
    if "." not in layer and len(weight) == 2 and weight[1] == widths[0] and shapes in ({}, {"bias": weight[:1]}):
        around.head = {key: name for name, key in stored.items()}
        around.unexpected = []


def _head_key(fit: Fit, name: str, head: str, children: Collection[str]) -> str:
    """Return a name below the network's prefix, or one of those above it, if it is one of a head; else ""."""
    prefix = fit.prefix
    patterns = "|".join([re.escape(head), *HEAD_NAMES, *fit.dialect.heads])
    while True:
        inner = _below(prefix, name)
        is_backbone = prefix == fit.prefix and inner is not None and inner.partition(".")[0] in children
        if inner is not None and re.match(rf"({re.escape(head) if is_backbone else patterns})\.", inner):
            return inner
        if not prefix:
            return ""
        prefix = prefix.rpartition(".")[0]


def _below(prefix: str, name: str) -> str | None:
    """Return a name without its prefix; None if it has another one."""
    if not prefix:
        return name
    return name[len(prefix) + 1 :] if name.startswith(prefix + ".") else None


def _relative(prefix: str, name: str) -> str:
    """Return a name from the first part that differs from the prefix."""
    parts, above = name.split("."), prefix.split(".")
    same = next((i for i, part in enumerate(above) if i >= len(parts) or parts[i] != part), len(above))
    return ".".join(parts[same:])
