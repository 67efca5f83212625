"""Flags of other programs (timm, torchvision, Lightning, Ultralytics): accepted as aliases, or refused with advice.

A flag is an alias only where its values mean the same here.
"""

from __future__ import annotations

from dataclasses import dataclass

from headstart.config.run_config import FACTORIAL_FIELDS, STUDY_FIELDS
from headstart.config.study_config import StudyConfig
from headstart.i18n import Message, _

ALIASES: dict[str, tuple[str, ...]] = {  # accepted names of a flag, by field
    "source": ("--data", "--data-dir", "--data-path"),
    "runs": ("--project",),
    "network": ("--model", "--arch"),
    "epochs": ("--max-epochs",),
    "image_size": ("--imgsz", "--img-size"),
    "batch_size": ("--batch", "-b"),
    "optimizer": ("--opt",),
    "schedule": ("--sched",),
    "lr": ("--lr0", "--learning-rate"),
    "weight_decay": ("--wd",),
    "label_smoothing": ("--smoothing",),
    "clip": ("--clip-grad",),
}


@dataclass(frozen=True)
class Advice:
    """What to do instead of a flag of another program.

    Attributes:
        run: For the commands that train one recipe.
        study: For `compare`; None if it is the same.
    """

    run: Message
    study: Message | None = None


_FREEZE = Advice(_("Use --tuning frozen."), _("Use --arm imagenet+frozen."))
_OWN_WEIGHTS = Advice(_("Use --start file:PATH."), _("Use --arm file:PATH."))
_FOLDER = Advice(_("Use --runs FOLDER, in which each run makes its own folder."))
_WORKERS = Advice(_("Leave it out: decoded images are cached; --threads sets the number of compute threads."))
_HALF = Advice(_("Use --precision bf16."))
_AMP = Advice(_("Leave it out: --precision auto uses bf16 where it is faster."))
_SPLITS = Advice(_("Leave it out: splits are the folders train, val and test, or the column split of a manifest."))
_CHANNELS_LAST = Advice(_("Leave it out: it is always on."))
_DEVICE = Advice(_("Use --device cuda, or cuda:N for the GPU with that number."))
_LOG = Advice(_("Use --log wandb or --log mlflow; TensorBoard files are always written."))
_NO_DROPOUT = Advice(_("Leave it out: networks have no dropout; --label-smoothing and --weight-decay regularize."))
_NO_AUGMENTATION = Advice(_("Leave it out: images are augmented with --crop, --flip, --jitter, --mixup and --cutmix."))
_CLASSES = Advice(_("Leave it out: the classes are those of the data."))
ADVICE: dict[str, Advice] = {
    "--pretrained": Advice(_("Use --start imagenet."), _("Use --arm imagenet.")),
    "--weights": Advice(
        _("Use --start imagenet, or --start file:PATH for your own weights."),
        _("Use --arm imagenet, or --arm file:PATH for your own weights."),
    ),
    "--no-pretrained": Advice(_("Use --start scratch."), _("Use --arm scratch.")),
    "--initial-checkpoint": _OWN_WEIGHTS,
    "--checkpoint": _OWN_WEIGHTS,
    "--freeze": _FREEZE,
    "--freeze-backbone": _FREEZE,
    "--workers": _WORKERS,
    "-j": _WORKERS,
    "--num-workers": _WORKERS,
    "--amp": _AMP,
    "--amp-dtype": _HALF,
    "--no-amp": Advice(_("Use --precision fp32.")),
    "--channels-last": _CHANNELS_LAST,
    "--pin-mem": _WORKERS,
    "--train-split": _SPLITS,
    "--val-split": _SPLITS,
    "--half": _HALF,
    "--fp16": _HALF,
    "--bf16": _HALF,
    "--output": _FOLDER,
    "--output-dir": _FOLDER,
    "--save-dir": _FOLDER,
    "--name": _FOLDER,
    "--resume": Advice(_("Use `headstart resume RUN`."), _("Use `headstart resume STUDY`.")),
    "--log-wandb": _LOG,
    "--wandb": _LOG,
    "--logger": _LOG,
    "--gpus": _DEVICE,
    "--accelerator": _DEVICE,
    "--num-classes": _CLASSES,
    "--nc": _CLASSES,
    "--warmup-epochs": Advice(_("Use --warmup, e.g. --warmup 5ep.")),
    "--lr-scheduler": Advice(_("Use --schedule.")),
    "--color-jitter": Advice(_("Use --jitter.")),
    "--no-aug": Advice(_("Use --crop 1 --flip off.")),
    "--drop-path": _NO_DROPOUT,
    "--drop": _NO_DROPOUT,
    "--dropout": _NO_DROPOUT,
    "--reprob": _NO_AUGMENTATION,
    "--aa": _NO_AUGMENTATION,
    "--auto-augment": _NO_AUGMENTATION,
    "--hflip": Advice(_("Use --flip on, off or auto.")),
    "--input-size": Advice(_("Use --image-size with one number of px.")),
    "--model-ema": Advice(_("Use --ema with the decay, e.g. --ema 0.999.")),
    "--model-ema-decay": Advice(_("Use --ema with the decay, e.g. --ema 0.999.")),
}
_OF_MODELS = {  # for `predict` and `evaluate`, whose model has no flag
    **dict.fromkeys(
        ("-b", "--batch", "--batch-size", "-j", "--workers", "--num-workers"), _("Leave it out: it is not needed.")
    ),
    **dict.fromkeys(("--amp", "--half", "--fp16", "--bf16", "--precision"), _("Leave it out: models run in fp32.")),
    **dict.fromkeys(("--model", "--weights", "--checkpoint", "--arch"), _("Name the model first, without a flag.")),
    **dict.fromkeys(("--source", "--data", "--data-dir", "--images"), _("Name it after the model, without a flag.")),
    **dict.fromkeys(("--imgsz", "--img-size", "--image-size"), _("Leave it out: it is that of the model.")),
}


_OF_TENSORBOARD = dict.fromkeys(("--logdir", "--log-dir", "--logs"), _("Name the folder without a flag."))
_OF_STUDIES = frozenset(
    {"arm", *StudyConfig.model_fields} - {"arms", "fixed_fields", "further", "pooled_seeds", "pooled_left_out"}
)


def field_of(flag: str) -> str:
    """Return the name of the field that a flag, or its alias, would have."""
    by_alias = {alias: field for field, aliases in ALIASES.items() for alias in aliases}
    flag = flag.lower().replace("_", "-")
    return by_alias.get(flag, flag.strip("-").replace("-", "_"))


def advice(flag: str, command: str) -> Message | None:
    """Return what to do instead of a flag that a command does not have; None for a flag that is not known here.

    Args:
        flag: The flag as typed, with its dashes.
        command: Name of the command.
    """
    flag, field = flag.lower().replace("_", "-"), field_of(flag)
    if not flag.startswith("--"):
        flag = flag[:2]  # -j4 is -j with its value
    if command in ("predict", "evaluate"):
        return _OF_MODELS.get(flag)
    if command == "tensorboard":
        return _OF_TENSORBOARD.get(flag)
    if command == "compare" and field in STUDY_FIELDS:
        return STUDY_FIELDS[field]
    if command == "ablate" and field in FACTORIAL_FIELDS:
        return _("Leave it out: the ablation sets it for each of its networks.")
    if command in ("train", "ablate") and field in _OF_STUDIES:
        return _("Use `headstart compare`, which has {flag}.", flag=flag)
    if command not in ("compare", "train", "ablate") or flag not in ADVICE:
        return None
    known = ADVICE[flag]
    return known.study if command == "compare" and known.study is not None else known.run
