"""Describe the best model of a run in Markdown: its origin, its input, and code that opens it."""

from __future__ import annotations

from collections.abc import Sequence

from headstart import markdown
from headstart.analysis.wording import arm_words
from headstart.config.run_config import NetworkConfig
from headstart.models.resnet import PUBLISHED
from headstart.models.user_code import CODE_FOLDER, is_user_network, label
from headstart.printable import printable
from headstart.training.events import Epoch
from headstart.training.setup import TrainingSetup

MAX_CARD_CLASSES = 50  # named in the heading of the model card
SEPARATE_WEIGHTS = """
The weights are in two files, `backbone.safetensors` (frozen) and `head.safetensors`; together they are the state dict.
"""


def model_card(setup: TrainingSetup, event: Epoch, *, whole: bool) -> str:
    """Return the model card of a run in Markdown.

    Args:
        setup: The setup of the run.
        event: The epoch of the weights.
        whole: Whether all weights are in one file, which timm and torchvision can open.
    """
    plan = setup.plan
    return f"""# {_escape(plan.network.label)} for {_escape(_class_list(plan.facts.class_names))}

Arm {_escape(arm_words(plan.arm_spec))}, seed {plan.seeding.seed}, epoch {event.epoch}: accuracy
{event.val.accuracy:.3f} on {event.val.n} validation images, which also selected this epoch.
{plan.facts.split_counts.train} training images.

- initial weights: {_escape(setup.start.provenance)}
- license of the initial weights: {_escape(setup.start.license)}
- input: {plan.recipe.image_size} x {plan.recipe.image_size} px, see `preprocess.json`
- order of the outputs: `label_names` in `config.json`{_other_order(plan.facts.class_names)}

```sh
headstart predict . photo.jpg
```
{opening_code(plan.network, plan.arm.head, len(plan.facts.class_names)) if whole else SEPARATE_WEIGHTS}"""


def _other_order(classes: Sequence[str]) -> str:
    """Return a warning if torchvision's `ImageFolder` has the classes in another order; it sorts them as text."""
    as_text = sorted(classes)
    if as_text == list(classes):
        return ""
    first = next(i for i, (ours, theirs) in enumerate(zip(classes, as_text, strict=True)) if ours != theirs)
    return (
        f".\n  torchvision's `ImageFolder` orders these classes otherwise: class {first} is {_escape(as_text[first])} "
        f"there,\n  and {_escape(classes[first])} here. Compare names, not numbers"
    )


def _escape(text: str) -> str:
    """Return untrusted text as Markdown that shows it, on one line."""
    return markdown.keep_edges(markdown.escape(printable(text)))


def _class_list(names: Sequence[str]) -> str:
    """Return the class names; of very many the first ones, and how many others there are."""
    others = len(names) - MAX_CARD_CLASSES
    return ", ".join(names) if others <= 1 else f"{', '.join(names[:MAX_CARD_CLASSES])} and {others:,} other classes"


def opening_code(network: NetworkConfig, head: str, classes: int) -> str:
    """Return code that opens the model with timm or torchvision; empty if they do not have this architecture."""
    if is_user_network(network.network) and head == "linear":
        main, _colon, name = printable(label(network.network)).rpartition(":")
        return f"""
```python
# {CODE_FOLDER}/{main}, with {CODE_FOLDER}/ on sys.path
from safetensors.torch import load_file
from {main.removesuffix(".py")} import {name}
model = {name}(num_classes={classes})
model.load_state_dict(load_file("model.safetensors"))
```
"""
    in_library = network.network in PUBLISHED or network.network.startswith("timm:")
    is_unchanged = network.shortcut == "on" and network.norm == "batch" and network.stem == "imagenet"
    if head != "linear" or not in_library or not is_unchanged:
        return ""
    text = """
```python
import timm
model = timm.create_model("local-dir:.", pretrained=True)
```
"""
    if not network.network.startswith("timm:"):
        text += f"""
```python
import torchvision
from safetensors.torch import load_file
model = torchvision.models.{network.network}(num_classes={classes})
model.load_state_dict(load_file("model.safetensors"))
```
"""
    return text
