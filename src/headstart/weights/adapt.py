"""Adapt the tensors of a weights file to a network's names and shapes, and note what was changed and left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from headstart.errors import ModelFileError, UsageError
from headstart.i18n import Message, _, join, ngettext
from headstart.models.structure import head_name
from headstart.text import join_first, join_list
from headstart.weights.architectures import Identity, identify
from headstart.weights.dialects import DIALECTS
from headstart.weights.files import WeightsFile
from headstart.weights.matching import (
    Fit,
    Names,
    Surroundings,
    best_fits,
    find_fits,
    has_shapes,
    is_complete,
    is_required,
    select,
    surroundings,
    take_unnamed_head,
)
from headstart.weights.torch_file import MAX_NAMES_SHOWN

_MATCH_NETWORK = _("Set --network, --shortcut, --norm and --stem as for the network in the file.")
MIN_MATCH = 0.5  # share of the tensors from which a network is an incomplete one, not another one


def adapt_weights(
    file: WeightsFile, network: nn.Module, *, label: str, num_classes: int, key: str = ""
) -> tuple[dict[str, Tensor], list[Message]]:
    """Return the backbone's tensors in float32 under the network's own names, and notes on what was changed.

    The network is found by its names in one of `dialects.DIALECTS`, below any prefix. The head is left out, and so is
    what no layer needs. A missing `num_batches_tracked` is 0.

    Args:
        file: The weights file.
        network: Gives names and shapes only; it may be on the meta device.
        label: Name of the network in messages.
        num_classes: Classes of the new head.
        key: Part of the prefix of the network, where the file has several; "" for the usual one.

    Raises:
        UsageError: No network in the file has this key.
        ModelFileError: A tensor is missing, unexpected, of another shape, of integers or not finite.
    """
    head = head_name(network)
    tensors = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(head + ".")}
    expected = {name: tensor.shape for name, tensor in tensors.items()}
    names = Names.of(file.state, [*expected, head + "."])
    state = {bare: file.state[stored] for bare, stored in names.stored.items()}
    fits = all_fits = find_fits(state, expected)
    if key:
        fits = select(fits, key)
        if not any(is_complete(fit, expected) for fit in fits):
            raise _unknown_key_error(file, key, label)
    complete = [fit for fit in fits if is_complete(fit, expected)]
    fitting = [fit for fit in complete if has_shapes(fit, expected, state)]
    fit = (
        _choose(file.path, fitting, state, label)
        if fitting
        else _closest(complete or fits, state, file.containers, len(expected))
    )
    others = [other for other in all_fits if other is not fit and is_complete(other, expected)]
    around = surroundings(fit, state, head=head, expected=expected, others=others)
    if is_complete(fit, expected):
        take_unnamed_head(around, fit, state, network.get_submodule(head))
    _require_fit(file, fit, around, state, expected, label)
    _require_unique(file, fit, names)
    if different := _different_shapes(fit, state, expected):
        found = identify(state, expected)
        raise (
            _other_network_error(file.path, found, label)
            if found
            else _shape_error(file.path, different, label, _channels(fit, state, expected))
        )
    counter = torch.zeros((), dtype=torch.long)  # the only tensor that may be missing
    backbone = {}
    for name, like in tensors.items():
        tensor = state[fit.names[name]] if name in fit.names else counter
        backbone[name] = _as_finite(file.path, name, tensor, like)
    return backbone, _notes(file, fit, fitting, around, names, num_classes)


def _choose(path: Path, fitting: list[Fit], state: Mapping[str, Tensor], label: str) -> Fit:
    """Return the network to use. Raises ModelFileError if several are as good."""
    best = best_fits(fitting, state)
    if len(best) > 1:
        prefixes = [_shown(fit.prefix) for fit in best]
        raise ModelFileError(
            ngettext(
                "{path} contains {count} network that fits {network}, under {prefixes}.",
                "{path} contains {count} networks that fit {network}, under {prefixes}.",
                len(best),
                path=path,
                network=label,
                prefixes=join_list(prefixes),
            ),
            _("Select one with --weights-key {key:shell}.", key=prefixes[0]),
        )
    return best[0]


def _closest(fits: list[Fit], names: Iterable[str], containers: Sequence[str], count: int) -> Fit:
    """Return the most complete network, for messages; without any, the dict with the most tensors as one."""
    if fits and len(fits[0].names) >= MIN_MATCH * count:
        return fits[0]
    counts = Counter(next((c for c in containers if name.startswith(c + ".")), "") for name in names)
    return Fit(DIALECTS[0], counts.most_common(1)[0][0] if counts else "", {})


def _shown(prefix: str) -> str:
    return prefix or "."


def _unknown_key_error(file: WeightsFile, key: str, label: str) -> UsageError:
    first = list(dict.fromkeys(name.rpartition(".")[0].partition(".")[0] or name for name in file.state))
    return UsageError(
        _("{path} has no weights under {key} that fit {network}.", path=file.path, key=key, network=label),
        _("Leave out --weights-key, or name a key of the file ({keys}).", keys=join_first(first, MAX_NAMES_SHOWN)),
    )


def _require_fit(
    file: WeightsFile,
    fit: Fit,
    around: Surroundings,
    state: Mapping[str, Tensor],
    expected: Mapping[str, torch.Size],
    label: str,
) -> None:
    missing = [name for name in expected if is_required(name) and name not in fit.names]
    if not missing and not around.unexpected:
        return
    if found := identify(state, expected):
        raise _other_network_error(file.path, found, label)
    pruned = any(f"{fit.prefix}.{name}_orig".lstrip(".") in state for name in missing)
    raise ModelFileError(
        _(
            "{path} does not fit {network}: {mismatch} of {count} tensors.",
            path=file.path,
            network=label,
            mismatch=_mismatch(
                [name for name in missing if name not in around.unexpected],
                [name for name in around.unexpected if name not in expected],
            ),
            count=len(expected),
        ),
        _mismatch_hint(fit, missing, around.unexpected, expected, pruned=pruned),
    )


def _mismatch_hint(
    fit: Fit, missing: Sequence[str], unexpected: Sequence[str], expected: Iterable[str], *, pruned: bool
) -> Message:
    if pruned:
        return _("Make its pruning permanent with torch.nn.utils.prune.remove, and save its state_dict() again.")
    if any("flat_param" in name for name in unexpected):
        return _("It has the flat parameters of FSDP: save its full state dict (StateDictType.FULL_STATE_DICT).")
    if missing and not fit.names:
        return _("Use --network timm:NAME or PATH.py:NAME for the network in the file, or other weights.")
    if missing:
        return _MATCH_NETWORK
    inside = {name.partition(".")[0] for name in expected} & {name.partition(".")[0] for name in unexpected}
    if inside:
        return _("Use --network timm:NAME or PATH.py:NAME for a network whose blocks have these tensors.")
    return _("Use --network for a network with these tensors, or save the file without them.")


def _other_network_error(path: Path, found: Identity, label: str) -> ModelFileError:
    return ModelFileError(
        _("{path} has the weights of {found}, not of {network}.", path=path, found=found.title, network=label),
        found.hint,
    )


def _mismatch(missing: list[str], unexpected: list[str]) -> Message:
    """Return how many tensors are missing and unexpected, with examples."""
    first = _("{count} missing ({names})", count=len(missing), names=join_first(missing, MAX_NAMES_SHOWN))
    second = _("{count} unexpected ({names})", count=len(unexpected), names=join_first(unexpected, MAX_NAMES_SHOWN))
    if missing and unexpected:
        return _("{first} and {second}", first=first, second=second)
    return first if missing else second


def _require_unique(file: WeightsFile, fit: Fit, names: Names) -> None:
    """Raise ModelFileError if two names of different tensors differ only by wrappers."""
    for name, bare in fit.names.items():
        first = file.state[names.stored[bare]]
        for key in names.repeated.get(bare, ()):
            other = file.state[key]
            if first.shape != other.shape or not torch.equal(first, other):
                raise ModelFileError(
                    _("{path} contains {name} twice, once as {key}.", path=file.path, name=name, key=key),
                    _("Keep one of the two networks in the file."),
                )


def _different_shapes(fit: Fit, state: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> list[Message]:
    return [
        _("{tensor}: {shape}, not {expected}", tensor=name, shape=str(tuple(shape)), expected=str(tuple(required)))
        for name, required in expected.items()
        if name in fit.names and (shape := state[fit.names[name]].shape) != required
    ]


def _channels(fit: Fit, state: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> int:
    """Return the channels of the images of a network in a file, if it differs in nothing else; else 0."""
    shapes = [(state[fit.names[name]].shape, shape) for name, shape in expected.items() if name in fit.names]
    other = [(stored, shape) for stored, shape in shapes if stored != shape]
    (stored, shape), count = other[0], len(other)
    is_first = count == 1 and len(shape) == 4 and shape[1] == 3 and stored[:1] + stored[2:] == shape[:1] + shape[2:]
    return stored[1] if is_first else 0


def _shape_error(path: Path, different: list[Message], label: str, channels: int) -> ModelFileError:
    message = ngettext(
        "{path} does not fit {network}: {count} tensor has another shape ({mismatches}).",
        "{path} does not fit {network}: {count} tensors have another shape ({mismatches}).",
        len(different),
        path=path,
        network=label,
        mismatches=join_first(different, MAX_NAMES_SHOWN),
    )
    if channels:
        return ModelFileError(message, _channels_hint(channels))
    return ModelFileError(message, _MATCH_NETWORK)


def _channels_hint(channels: int) -> Message:
    """Return what to do with a network for images of other channels: those of 1 and 4 have a known order."""
    reason = ngettext(
        "The network in the file is for images of {count} channel, and headstart trains on 3",
        "The network in the file is for images of {count} channels, and headstart trains on 3",
        channels,
    )
    if code := {1: "w.repeat(1, 3, 1, 1) / 3", 4: "w[:, :3].clone()"}.get(channels):
        return _("{reason}: use other weights, or convert this tensor w in Python: {code}.", reason=reason, code=code)
    return _("{reason}: use other weights.", reason=reason)


def _as_finite(path: Path, name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    """Return a copy in the expected dtype. Raises ModelFileError for another kind of numbers, NaN or infinity."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        raise ModelFileError(
            _("{name} in {path} is not a dense array of real numbers.", name=name, path=path),
            _("Save dense, unquantized weights."),
        )
    if name.endswith("num_batches_tracked") and tensor.is_floating_point():
        tensor = torch.zeros_like(expected)  # a counter cast to floating point is not exact: treat it as missing
    if tensor.is_floating_point() != expected.is_floating_point():
        raise ModelFileError(
            _(
                "{name} in {path} is {dtype}, but {expected} is required.",
                name=name,
                path=path,
                dtype=str(tensor.dtype),
                expected=str(expected.dtype),
            ),
            _("Save unquantized weights."),
        )
    copied = tensor.to(expected.dtype, copy=True).contiguous()  # the file is memory-mapped and may change
    if copied.is_floating_point() and not torch.isfinite(copied).all():
        raise ModelFileError(
            _("{name} in {path} contains NaN or infinite numbers.", name=name, path=path),
            _("Use an earlier file: this training had diverged."),
        )
    return copied


def _notes(
    file: WeightsFile, fit: Fit, fitting: list[Fit], around: Surroundings, names: Names, num_classes: int
) -> list[Message]:
    """Return what was changed: names, numbers and head; and what was selected and left out."""
    path, notes = file.path.name, []
    if others := [_shown(other.prefix) for other in fitting if other is not fit]:
        notes.append(
            _(
                "{file} has weights under {used} and {others}; {used} is used, and --weights-key {other:shell} selects "
                "{other}.",
                file=path,
                used=_shown(fit.prefix),
                others=join_list(others),
                other=others[0],
            )
        )
    elif fit.prefix not in Names.of(file.containers, ()).stored:
        notes.append(
            _("The weights in {file} whose names begin with {prefix}. are used.", prefix=fit.prefix, file=path)
        )
    if changed := _renamed(file, fit, around, names):
        notes.append(
            ngettext(
                "{count:,} key of {file} was renamed.", "{count:,} keys of {file} were renamed.", changed, file=path
            )
        )
    used = [file.state[names.stored[bare]] for bare in fit.names.values()]
    dtypes = {str(t.dtype).removeprefix("torch.") for t in used if t.is_floating_point()} - {"float32"}
    notes += [
        _("Tensors of {file} were converted from {dtype} to float32.", file=path, dtype=dtype)
        for dtype in sorted(dtypes)
    ]
    if around.left_out:
        notes.append(_left_out(path, around))
    if widths := [t.shape[0] for name in around.head if (t := file.state[names.stored[name]]).ndim >= 2]:
        notes.append(
            ngettext(
                "The head with {count:,} output was replaced by a new one with {outputs}.",
                "The head with {count:,} outputs was replaced by a new one with {outputs}.",
                widths[-1],
                outputs=num_classes,
            )
        )
    return notes


def _renamed(file: WeightsFile, fit: Fit, around: Surroundings, names: Names) -> int:
    """Return how many tensors have other names in the network than in their dict in the file."""
    wanted = {bare: name for name, bare in fit.names.items()} | around.head
    return sum(
        not any(names.stored[bare] == (f"{container}.{name}" if container else name) for container in file.containers)
        for bare, name in wanted.items()
    )


def _left_out(path: str, around: Surroundings) -> Message:
    """Return what was left out, by kind."""
    kinds = [
        _("{number} ({names})", number=kind.describe(len(names)), names=join_first(_groups(names), MAX_NAMES_SHOWN))
        for kind, names in around.left_out.items()
    ]
    return _("Left out of {file}, because the network does not use them: {kinds}.", file=path, kinds=join(kinds, "; "))


def _groups(names: Iterable[str]) -> list[str]:
    """Return the first parts of names, or the last ones if the names have no first part in common."""
    names = list(names)
    first, last = (list(dict.fromkeys(n.split(".")[i] for n in names)) for i in (0, -1))
    return last if len(last) < len(first) else first
