"""Checkpoint dialects: how tools name the tensors of a network, and what they save beside it.

A network in a file is found by its names: some prefix, followed by the names of the network in one of `DIALECTS`. So
`module.encoder_q.` and other prefixes need no row. `ROLES` decides between several networks that fit. `COMPANIONS`
lists what may be left out, with a note.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from headstart.i18n import Message, ngettext
from headstart.models.structure import PROJECTION_NAMES

Spelling = tuple[str, Callable[[re.Match[str]], str]]

# Parts of a name that wrappers insert anywhere: DataParallel, torch.compile, FSDP, activation checkpoints, Fabric.
WRAPPERS = frozenset({
    "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"
})  # fmt: skip
HEAD_NAMES = ("fc", "classifier", "head", "last_linear", "linear")


@dataclass(frozen=True)
class Dialect:
    """Names that a tool gives to the tensors of a network.

    Attributes:
        name: The tool, in English.
        spellings: Patterns of torchvision's names, and the tool's names for them; every name must match one. Empty for
            the network's own names.
        heads: Patterns of the first part of the names of the head's tensors, in addition to `HEAD_NAMES`.
        projection: The name of projections in shortcuts, if it is not the network's; only without `spellings`.
    """

    name: str
    spellings: tuple[Spelling, ...] = ()
    heads: tuple[str, ...] = ()
    projection: str = ""

    def spell(self, name: str) -> str | None:
        """Return the tool's name of a network's tensor; None if the tool has none."""
        if self.projection:
            return with_projection(name, self.projection)
        if not self.spellings:
            return name
        usual = with_projection(name, PROJECTION_NAMES[0])
        for pattern, replacement in self.spellings:
            if match := re.match(pattern, usual):
                return replacement(match) + usual[match.end() :]
        return None


def with_projection(name: str, projection: str) -> str:
    """Return a tensor's name with `projection` for `downsample` and `shortcut`."""
    return ".".join(projection if part in PROJECTION_NAMES else part for part in name.split("."))


def _children(first_stage: int, prefix: str = "") -> tuple[Spelling, ...]:
    """Return the names of a ResNet's tensors in `nn.Sequential(*resnet.children())`."""
    return (
        (r"conv1\.", lambda _match: f"{prefix}0."),
        (r"bn1\.", lambda _match: f"{prefix}1."),
        (r"layer(\d+)\.", lambda match: f"{prefix}{int(match[1]) - 1 + first_stage}."),
    )


_TRANSFORMERS_RESNET: tuple[Spelling, ...] = (
    (r"conv1\.", lambda _match: "embedder.embedder.convolution."),
    (r"bn1\.", lambda _match: "embedder.embedder.normalization."),
    (
        r"layer(\d+)\.(\d+)\.downsample\.([01])\.",
        lambda match: (
            f"encoder.stages.{int(match[1]) - 1}.layers.{match[2]}.shortcut."
            f"{('convolution', 'normalization')[int(match[3])]}."
        ),
    ),
    (
        r"layer(\d+)\.(\d+)\.(conv|bn)(\d+)\.",
        lambda match: (
            f"encoder.stages.{int(match[1]) - 1}.layers.{match[2]}.layer.{int(match[4]) - 1}."
            f"{'convolution' if match[3] == 'conv' else 'normalization'}."
        ),
    ),
)

# In this order; the first with which the network is complete is used.
DIALECTS = (
    Dialect("the network's own names (PyTorch, torchvision, timm, Lightning, MMPretrain)"),
    *(Dialect(f"own names with {name}", projection=name) for name in PROJECTION_NAMES),
    Dialect("transformers' ResNet", _TRANSFORMERS_RESNET),
    Dialect("fastai: a body and a head", _children(4, "0."), heads=("1",)),
    Dialect("the children of a ResNet", _children(4), heads=(r"\d+",)),
    Dialect("the children of a ResNet without max pooling", _children(3), heads=(r"\d+",)),
)


@dataclass(frozen=True)
class Role:
    """Role of one of several networks in a file, known from a part of its name.

    Attributes:
        pattern: The part of the name, completely.
        rank: The network of the lowest rank is used; 1 is that of names without a role.
    """

    pattern: str
    rank: int


_OPTIMIZER = r"(.*_)?(optim|optims|optimizer|optimizers|opt|scaler|amp|scheduler|schedulers|lr_schedulers?)(_.*)?"
USUAL_RANK = 1
ROLES = (
    # MMEngine and Lightning write the moving average to state_dict, and the other weights to these keys.
    Role(r"ema_state_dict|current_model_state", 2),
    # timm, torchvision and others evaluate the moving average; DINO publishes the teacher, which is one too.
    Role(r"(.*_)?(ema|averaged|swa|shadow|teacher)(_.*)?", 0),
    # The second encoder of MoCo, BYOL, solo-learn, lightly, PyTorch Lightning Bolts.
    Role(r".*_k|(.*_)?(momentum|target)(_.*)?", 2),
    Role(_OPTIMIZER, 3),
)


def rank_of(name: str) -> int:
    """Return the rank of a network by the parts of its prefix: 2 if a part has it, else the lowest."""
    matches = (
        next((role.rank for role in ROLES if re.fullmatch(role.pattern, part)), None) for part in name.split(".")
    )
    ranks = [rank for rank in matches if rank is not None]
    return max(ranks) if max(ranks, default=0) > USUAL_RANK else min(ranks, default=USUAL_RANK)


@dataclass(frozen=True)
class Companion:
    """Tensors that tools save beside a network, and that no layer of it needs.

    Attributes:
        describe: Returns how many tensors of this kind there are, in words.
        first: Pattern of the first part of their names beside the network; "" for any.
        last: Pattern of the last part of their names; "" for any.
    """

    describe: Callable[[int], Message]
    first: str = ""
    last: str = ""

    def matches(self, name: str) -> bool:
        """Return True if a tensor beside the network is of this kind."""
        first, last = name.partition(".")[0], name.rpartition(".")[2]
        return bool(re.fullmatch(self.first or ".*", first) and re.fullmatch(self.last or ".*", last))


COMPANIONS = (
    Companion(
        lambda n: ngettext("{count:,} counter of a profiler", "{count:,} counters of a profiler", n),
        last=r"total_ops|total_params|__flops__|__params__",
    ),
    Companion(
        lambda n: ngettext("{count:,} counter of a moving average", "{count:,} counters of a moving average", n),
        first=r".+",  # not a parameter of a layer
        last=r"n_averaged|num_updates|decay|initted",
    ),
    Companion(
        lambda n: ngettext("{count:,} tensor of a loss", "{count:,} tensors of a loss", n),
        first=r"(.*_)?(criterion|criteria|criterions|loss|losses|loss_fn|loss_func|loss_function)(_.*)?"
        r"|(class|pos|loss)_weights?",
    ),
    Companion(
        lambda n: ngettext("{count:,} tensor of the optimizer", "{count:,} tensors of the optimizer", n),
        first=_OPTIMIZER,
    ),
    Companion(
        lambda n: ngettext(
            "{count:,} tensor of the state of the training", "{count:,} tensors of the state of the training", n
        ),
        first=r"callbacks|loops|trainer|epoch|step|global_step|(.*_)?rng(_.*)?|best_.*|message_hub|meta",
    ),
    Companion(
        lambda n: ngettext("{count:,} tensor of a queue", "{count:,} tensors of a queue", n),
        first=r"(.*_)?queue\d*(_.*)?|memory_bank|memory|center|.*_center",
    ),
    Companion(
        lambda n: ngettext("{count:,} tensor of a projector", "{count:,} tensors of a projector", n),
        first=r"((online|target|momentum|base|student|teacher)_)?"
        r"(proj|projector|projectors|projection|proj_head|projection_head|projection_mlp|prototypes|mlp_head)"
        r"(_[qk]|_momentum)?|contrastive_head",
    ),
    Companion(
        lambda n: ngettext("{count:,} tensor of a predictor", "{count:,} tensors of a predictor", n),
        first=r"(.*_)?(predictor|prediction|prediction_head)(_.*)?",
    ),
    Companion(
        lambda n: ngettext("{count:,} tensor of a metric", "{count:,} tensors of a metric", n),
        first=r"(.*_)?(metric|metrics|acc|accuracy|acc[15]|auroc|f1|f1_score|confmat|confusion_matrix)",
    ),
    Companion(
        lambda n: ngettext("{count:,} tensor of an auxiliary head", "{count:,} tensors of auxiliary heads", n),
        first=r"aux|aux_classifier|aux_head|auxiliary_head|(.*_)?(classifiers|heads)|head_dist|AuxLogits",
    ),
    Companion(
        lambda n: ngettext("{count:,} tensor of a moving average", "{count:,} tensors of a moving average", n),
        first=r"(.*_)?(ema|averaged|averaging|swa|shadow)(_.*)?",
    ),
    Companion(
        lambda n: ngettext("{count:,} tensor of a second encoder", "{count:,} tensors of a second encoder", n),
        first=r".*_k|(.*_)?(momentum|target|student|teacher|online)(_.*)?",
    ),
    Companion(
        lambda n: ngettext("{count:,} value of the input's scale", "{count:,} values of the input's scale", n),
        first=r"mean|std|pixel_mean|pixel_std|normalize|normalizer|normalization|data_preprocessor|preprocess(or)?",
    ),
)


def companion_of(name: str) -> Companion | None:
    """Return the kind of a tensor beside the network; None if it is not known."""
    return next((companion for companion in COMPANIONS if companion.matches(name)), None)


def other_tensors(count: int) -> Message:
    """Return how many tensors of no known kind there are, in words."""
    return ngettext("{count:,} other tensor", "{count:,} other tensors", count)


def other_network(count: int) -> Message:
    """Return how many tensors of other networks that fit there are, in words."""
    return ngettext("{count:,} tensor of another network", "{count:,} tensors of another network", count)


def is_optimizer(name: str) -> bool:
    """Return True for the name of an optimizer's state."""
    return re.fullmatch(_OPTIMIZER, name) is not None
