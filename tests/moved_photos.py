"""Photos of two classes for tests of data that is moved, and settings of short runs on them."""

from pathlib import Path

import numpy as np
from PIL import Image

SETTINGS = {
    "network": "timm:test_resnet",
    "image_size": 16,
    "batch_size": 4,
    "epochs": "2st",
    "threads": 1,
    "precision": "fp32",
}


def write_photos(root: Path, count: int = 8) -> Path:
    """Write photos into the class folders `cat` and `dog`, and return the root."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root
