"""Write and read the best model as a folder that torchvision and timm can open.

`model.safetensors` has torchvision's keys, `config.json` follows timm's hub layout (so `local-dir:` opens it),
`preprocess.json` describes the whole path from pixels to network input, and `README.md` is the model card.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from headstart.artifacts.model_card import SEPARATE_WEIGHTS, model_card, opening_code
from headstart.config.model_file import (
    BACKBONE_FILE,
    CONFIG_FILE,
    HEAD_FILE,
    MODEL_FILE,
    PREPROCESS_FILE,
    ModelConfig,
    ModelOrigin,
    Preprocess,
    PretrainedConfig,
    TrainingData,
    first_line,
    read_model_config,
    read_preprocess,
    settings_digest,
    unusable_model,
)
from headstart.config.run_config import NetworkConfig
from headstart.config.sealed_run import require_intact_model
from headstart.config.start_spec import short_start
from headstart.config.stored_code import stored_code, write_code
from headstart.data.conversion import Conversion
from headstart.errors import DataError, UsageError
from headstart.i18n import _, ngettext
from headstart.models import structure, user_network
from headstart.models.tensor_limit import TensorLimitError, limited_tensors
from headstart.models.user_code import CODE_FOLDER, pinned
from headstart.storage import contained
from headstart.storage.files import json_text
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.schemas.schema import StoredFile
from headstart.training.events import Epoch
from headstart.training.setup import TrainingSetup, make_network
from headstart.weights.files import tensor_bytes
from headstart.weights.model_weights import model_weights
from headstart.weights.starts import architecture_of


@dataclass(frozen=True)
class SavedModel:
    """A trained network with its class names and its preprocessing."""

    network: nn.Module
    classes: tuple[str, ...]
    size: int  # side of the input in px
    cache_side: int  # shorter side to which images are first reduced, as in training
    conversion: Conversion  # of image files to 8 bits and RGB, as in training
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    config: ModelConfig


@dataclass(frozen=True)
class SharedWeights:
    """A file of frozen tensors that the models of several runs have: `name` below `root`, and its size and hash."""

    root: Path
    name: str
    stored: StoredFile


def write_model(
    run: Path, state: dict[str, Tensor], setup: TrainingSetup, event: Epoch, backbone: SharedWeights | None = None
) -> None:
    """Write or replace the model folder of a run; each file is replaced atomically.

    Args:
        run: Folder of the run.
        state: State dict of the network, or of the head alone if `backbone` is given.
        setup: The setup of the run.
        event: The epoch of the weights.
        backbone: File of the frozen tensors. `state` becomes `head.safetensors` then, and `backbone.safetensors` is a
            link to this file, or a copy where links are not supported. `merge_weight_files` combines the two files.
    """
    contained.make_folder(run, MODEL_FOLDER)
    write_code(run, _inner(CODE_FOLDER), setup.plan.network.network)
    file, content = MODEL_FILE if backbone is None else HEAD_FILE, tensor_bytes(state)
    weights = {file: StoredFile.of(content)}
    contained.write(run, _inner(file), content)
    if backbone is not None:
        contained.remove(run, _inner(MODEL_FILE))
        contained.remove(run, _inner(BACKBONE_FILE))
        contained.copy(backbone.root, backbone.name, run, _inner(BACKBONE_FILE), link=True)
        weights[BACKBONE_FILE] = backbone.stored
    preprocess, config = _preprocess(setup), _config(setup, event.epoch, weights)
    origin = config.headstart.model_copy(update={"settings": settings_digest(config, preprocess)})
    contained.write(run, _inner(PREPROCESS_FILE), json_text(preprocess.to_json()))
    contained.write(run, _inner(CONFIG_FILE), json_text(config.model_copy(update={"headstart": origin}).to_json()))
    contained.write(run, _inner("README.md"), model_card(setup, event, whole=backbone is None))


def _inner(file: str) -> str:
    return contained.join(MODEL_FOLDER, file)


def merge_weight_files(root: Path, name: str = "") -> None:
    """Combine the two weight files of a model folder with a shared backbone into one.

    Args:
        root: The folder that contains the model folder.
        name: Name of the model folder below it; "" for the root.
    """
    files = {file: contained.join(name, file) for file in (MODEL_FILE, HEAD_FILE, BACKBONE_FILE, "README.md")}
    if not contained.is_file(root, files[MODEL_FILE]):
        content = tensor_bytes(model_weights(root, name).state)
        contained.write(root, files[MODEL_FILE], content)
        config = read_model_config(root, name)
        origin = config.headstart.model_copy(update={"weights": {MODEL_FILE: StoredFile.of(content)}})
        merged = config.model_copy(update={"headstart": origin})
        contained.write(root, contained.join(name, CONFIG_FILE), json_text(merged.to_json()))
        card = contained.read_text(root, files["README.md"])
        usage = opening_code(config.headstart.network, config.headstart.head, len(config.label_names))
        contained.write(root, files["README.md"], card.replace(SEPARATE_WEIGHTS, usage))
        contained.remove(root, files[HEAD_FILE])
        contained.remove(root, files[BACKBONE_FILE])


def saved_epoch(root: Path, name: str = "") -> int:
    """Return the epoch of the weights in a model folder; 0 without a model. Raises as `read_model_config`."""
    has_model = contained.is_file(root, contained.join(name, CONFIG_FILE))
    return read_model_config(root, name).headstart.epoch if has_model else 0


def read_model(root: Path, name: str = "") -> SavedModel:
    """Read a model folder.

    Nothing in the folder is executed but the code of a user's own network, which this user must have run or trust. No
    more memory is allocated than a small multiple of the size of its files.

    Args:
        root: The folder that the user has named, or the folder of a run.
        name: Name of the model folder below it; "" for the root.

    Raises:
        ModelFileError: A file is missing, damaged or malicious, has another schema version, or does not match the
            others.
        BrokenSealError: It is the model of a run, and has changed since the run ended.
    """
    require_intact_model(root, name)
    config, preprocess = read_model_config(root, name), read_preprocess(root, name)
    classes = config.label_names
    origin = config.headstart
    code = stored_code(root, contained.join(name, CODE_FOLDER), origin.network.network, origin.network_sha256)
    with pinned(code):
        network = _network(root, name, origin.network, origin.head, len(classes))
    if origin.settings != settings_digest(config, preprocess):
        files = {"config": CONFIG_FILE, "preprocess": PREPROCESS_FILE}
        raise unusable_model(root / name, _("{config} or {preprocess} has changed.", **files))
    if structure.description_of(network):
        user_network.adapt(network, origin.network.label, preprocess.size)
    return SavedModel(
        network=network.eval(),
        classes=classes,
        size=preprocess.size,
        cache_side=preprocess.cache_side,
        conversion=Conversion(preprocess.max_value, preprocess.background),
        mean=preprocess.mean,
        std=preprocess.std,
        config=config,
    )


def _network(root: Path, name: str, config: NetworkConfig, head: str, num_classes: int) -> nn.Module:
    """Build the network and load the weights in the folder."""
    folder = root / name
    try:
        state = model_weights(root, name).state
        if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
            raise unusable_model(folder, _("some weights are not finite."))
        widths = [num_classes, *(int(n) for n in head.partition(":")[2:] if n.isdecimal())]
        if not all(any(t.ndim and t.shape[0] == width for t in state.values()) for width in widths):
            reason = ngettext(
                "its weights do not match {count} class and the head {head}.",
                "its weights do not match {count} classes and the head {head}.",
                num_classes,
                head=head,
            )
            raise unusable_model(folder, reason)
        with limited_tensors(sum(tensor.nbytes for tensor in state.values())):
            network = make_network(config, head, num_classes, 0)
        network.load_state_dict(state)
    except TensorLimitError:
        reason = _("the network that it names is many times larger than its weights.")
        raise unusable_model(folder, reason) from None
    except DataError as error:
        raise unusable_model(folder, error.message) from None
    except UsageError as error:
        reason = _("its settings are invalid: {reason}", reason=error.message)
        raise unusable_model(folder, reason) from None
    except RuntimeError as error:  # load_state_dict lists the keys and shapes that do not match
        mismatches = [line.strip() for line in str(error).splitlines()[1:]]
        reason = _("{reason}.", reason=first_line(mismatches[0] if mismatches else error))
        raise unusable_model(folder, reason) from None
    return network


def _config(setup: TrainingSetup, epoch: int, weights: dict[str, StoredFile]) -> ModelConfig:
    plan, size = setup.plan, setup.plan.recipe.image_size
    names = plan.facts.class_names
    return ModelConfig(
        label_names=names,
        architecture=architecture_of(plan.network.network),
        num_classes=len(names),
        pretrained_cfg=PretrainedConfig(
            num_classes=len(names),
            input_size=(3, size, size),
            fixed_input_size=structure.fixed_size(setup.network) is not None,
            interpolation="bilinear",
            crop_pct=1.0,
            crop_mode="center",
            mean=setup.start.mean,
            std=setup.start.std,
            first_conv=structure.first_convolution(setup.network),
            classifier=structure.head_name(setup.network),
            license=setup.start.license,
        ),
        headstart=ModelOrigin(
            network=plan.network,
            network_sha256=plan.facts.network_sha256,
            head=plan.arm.head,
            start=short_start(plan.arm.start),
            provenance=setup.start.provenance,
            plan=plan.hash,
            epoch=epoch,
            weights=weights,
            data=TrainingData(
                fingerprint=plan.facts.fingerprint,
                seed=plan.seeding.seed,
                test_seed=plan.seeding.test_seed,
                fraction=plan.data.fraction,
                evaluate_on_val=plan.data.evaluate_on_val,
                near_duplicates_sha256=plan.facts.near_duplicates_sha256 if setup.split.is_drawn else "",
            ),
        ),
    )


def _preprocess(setup: TrainingSetup) -> Preprocess:
    recipe = setup.plan.recipe
    return Preprocess(
        steps=(
            "decode; divide 16-bit values by max_value and multiply by 255, at most 255; apply the EXIF orientation; "
            "convert to RGB, transparency on the gray level background",
            "reduce so that the shorter side is cache_side px and the longer at most four times that; "
            "never enlarge; do not resample an image whose shorter side is at most 1/8 above cache_side",
            "cut out the centered square",
            "resize to size x size, bilinear with antialiasing",
            "divide by 255, subtract mean, divide by std",
        ),
        cache_side=round(recipe.image_size * setup.plan.data.cache_resolution),
        size=recipe.image_size,
        max_value=setup.plan.facts.max_value,
        background=setup.plan.facts.background,
        mean=setup.start.mean,
        std=setup.start.std,
    )
