"""Read from weights which classes they were trained on. Imports torch."""

from __future__ import annotations

from pathlib import Path

from headstart.config.model_file import MODEL_FILE
from headstart.errors import HeadstartError
from headstart.models.factory import pretrained_cfg
from headstart.weights.folder_settings import class_names, folder_settings
from headstart.weights.json_files import read_json


def classes_of_file(path: Path) -> tuple[str, ...]:
    """Return the class names in a weights file's metadata or in the JSON files beside it; () if there are none."""
    file, folder = (path / MODEL_FILE, path) if path.is_dir() else (path, path.parent)
    try:
        values = [
            _metadata(file),
            *(settings.values for settings in folder_settings(lambda name: read_json(folder / name))),
        ]
    except HeadstartError:
        return ()
    return next((names for names in map(class_names, values) if names), ())


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):  # a file of torch.save has no texts
        return {}


def timm_tag(name: str) -> str:
    """Return the tag of timm's weights `name`, also of a name without it; "" if timm does not know them."""
    try:
        return str(pretrained_cfg(name).tag or "")
    except HeadstartError:
        return ""
