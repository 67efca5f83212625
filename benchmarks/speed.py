"""Speed of one run compared with the stock loop: epochs alternate, one process per loop; ratios of medians."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from benchmarks import stock
from headstart.config.resolve import resolve_settings
from headstart.reporter import NullReporter
from headstart.runs import runner
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import BeginLine, EpochLine
from headstart.storage.schemas.result import RESULT_FILE, RunResult

DEFAULT_EPOCHS = 10  # of `headstart train`


def ours(source: str, runs: Path, *, size: int, batch: int, epochs: int, device: str) -> list[dict[str, float]]:
    """Train one complete run, with record, TensorBoard and checkpoints; return times and speed of each epoch."""
    plan = resolve_settings(
        {
            "source": source,
            "device": device,
            "image_size": size,
            "batch_size": batch,
            "epochs": f"{epochs}ep",
            **stock.SETTINGS,
        }
    ).plan
    folder = runner.run_new(plan, runs, NullReporter())
    lines = list(read_lines(folder / "metrics.jsonl"))
    clock = next(line.time for line in lines if isinstance(line, BeginLine))
    epochs_measured = []
    seconds = RunResult.read(folder / RESULT_FILE).seconds
    for line in lines:
        if isinstance(line, EpochLine):
            epochs_measured.append(
                {"wall": line.time - clock, "logging": seconds.logging / seconds.training, **line.speed.to_json()}
            )
            clock = line.time
    return epochs_measured


def table(
    source: str,
    *,
    size: int = 128,
    batch: int = 32,
    rounds: int = 2,
    enlarge: int = 0,
    device: str = "cpu",
    workers: int = 2,
) -> list[str]:
    """Return the rows of the comparison; each loop has one warm-up epoch and `rounds` measured ones, alternating.

    The last run of headstart has the default length, and the logging overhead is that of this run: in a short run the
    first epoch, which is logged most, has too much weight.

    Args:
        source: photos with declared splits.
        size: image size in px.
        batch: batch size.
        rounds: measured epochs of each loop.
        enlarge: shorter side in px of enlarged copies of the photos; 0 uses the photos themselves.
        device: device of both loops.
        workers: DataLoader workers of the stock loop.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = stock.as_image_folders(source, Path(scratch) / "photos", enlarge)
        source = str(root) if enlarge else source
        settings = {"size": size, "batch": batch, "epochs": rounds + 1, "device": device, "workers": workers}
        plain, fast = stock.train_in_process(root, **settings), stock.train_in_process(root, **settings, fast=True)
        first: list[float] = []
        epochs: dict[str, list[tuple[float, float]]] = {
            "stock": [],
            "stock + channels_last + bf16": [],
            "headstart": [],
        }
        mfu: list[float] = []
        logging = 0.0
        for count in range(rounds + 1):
            for name, loop in (("stock", plain), ("stock + channels_last + bf16", fast)):
                epoch = next(loop)
                if count:
                    epochs[name].append((epoch.images_per_second, epoch.train_seconds + epoch.val_seconds))
            length = DEFAULT_EPOCHS if count == rounds else 3
            mine = ours(source, Path(scratch) / "runs", size=size, batch=batch, epochs=length, device=device)
            if count:
                first.append(mine[0]["wall"] / median(e["wall"] for e in mine[1:]))
                epochs["headstart"] += [(e["images_per_second"], e["wall"]) for e in mine[1:]]
                mfu += [e["mfu"] for e in mine[1:]]
                logging = mine[0]["logging"]
    rows = _rows(epochs, f"resnet18, {size} px, batch {batch}, {device}, each loop one process")
    rows.append(f"first epoch / a later epoch, with warm kernels: {median(first):.2f}")
    share = f"logging overhead {100 * logging:.1f} % of a run of {DEFAULT_EPOCHS} epochs"
    rows.append(f"MFU {100 * median(mfu):.0f} % of the measured matmul peak; {share}")
    return rows


def _rows(epochs: dict[str, list[tuple[float, float]]], title: str) -> list[str]:
    speed = {name: median(e[0] for e in values) for name, values in epochs.items()}
    whole = {name: median(e[1] for e in values) for name, values in epochs.items()}
    rows = [
        title,
        f"{'loop':<30}{'images/s':>10}{'ratio':>8}{'epoch s':>10}{'ratio':>8}",
    ]
    for name in epochs:
        rows.append(
            f"{name:<30}{speed[name]:>10.1f}{speed['headstart'] / speed[name]:>7.2f}x"
            f"{whole[name]:>10.1f}{whole[name] / whole['headstart']:>7.2f}x"
        )
    rows.append(
        "(ratio: headstart to that loop; an epoch includes validation, for headstart also record and checkpoints)"
    )
    return rows
