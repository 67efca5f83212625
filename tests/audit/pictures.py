"""Made pictures whose faults are known."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from headstart.audit.audit_data import AuditData
from headstart.audit.check import check_data
from headstart.audit.finding import AuditResult
from headstart.audit.registry import AUDIT_CHECKS
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.reporter import NullReporter

SIDE = 32


def picture(number: int, side: int = SIDE) -> Image.Image:
    """Return a picture of its own: smooth color and detail, from the number."""
    draw = np.random.default_rng(number)
    coarse = Image.fromarray(draw.integers(0, 255, (5, 5, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    detail = Image.fromarray(draw.integers(0, 255, (side // 3, side // 3, 3), np.uint8)).resize((side, side))
    return Image.blend(coarse, detail, 0.4)


def write_pictures(folder: Path, names: dict[str, list[str]], side: int = SIDE) -> Path:
    """Write a picture of its own for each name, by folder."""
    number = 0
    for place, files in names.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name in files:
            picture(number, side).save(folder / place / name)
            number += 1
    return folder


def two_classes(folder: Path, count: int = 12, **more: list[str]) -> Path:
    """Write two classes of `count` pictures with random names, and other classes."""
    names = {label: [f"{random_name(100 * k + i)}.png" for i in range(count)] for k, label in enumerate(("cat", "dog"))}
    return write_pictures(folder, names | more)


def large_enough(folder: Path) -> Path:
    """Write two classes with a declared test of 100 images, which is large enough for every check."""
    names = {}
    for k, split in enumerate(("train", "test")):
        for m, label in enumerate(("cat", "dog")):
            names[f"{split}/{label}"] = [f"{random_name(200 * k + 100 * m + i)}.png" for i in range(40 + 10 * k)]
    return write_pictures(folder, names)


def random_name(number: int) -> str:
    return np.random.default_rng(number + 10**6).bytes(8).hex()


def seed_of(*words: object) -> int:
    """Return a number that depends on the words alone."""
    return zlib.crc32(repr(words).encode())


def plan_of(folder: Path | str, **settings: object) -> RunConfig:
    return resolve_settings({"source": str(folder), "image_size": SIDE, "threads": 1, **settings}).plan  # type: ignore[dict-item]


def audited(folder: Path | str, *, slow: bool = False, **settings: object) -> tuple[AuditResult, AuditData]:
    """Return the result of all checks; with `slow` also that of the one which takes most of the time."""
    checks = {code: check for code, check in AUDIT_CHECKS.items() if slow or code != "shortcuts"}
    return check_data(plan_of(folder, **settings), NullReporter(), checks=checks)


def statuses(result: AuditResult) -> dict[str, str]:
    return {row.check: row.status.value for row in result.rows}
