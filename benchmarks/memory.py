"""Peak anonymous memory of a run, in a process of its own; mapped pages of the store are not counted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from headstart import data


def anonymous(pid: int) -> int:
    """Bytes of anonymous resident memory of a process now (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def peak(source: str, size: int, classes: str) -> int:
    """The largest anonymous memory during a short run that decodes, measures, trains and judges, in bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        words = [
            "train",
            source,
            "--image-size",
            str(size),
            "--epochs",
            "12st",
            "--classes",
            classes,
            "--runs",
            f"{scratch}/runs",
        ]
        run = "from headstart.cli.main import main; main()"
        environment = {**os.environ, "HEADSTART_CACHE": f"{scratch}/cache"}  # nothing is decoded or measured yet
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([sys.executable, "-c", run, *words], env=environment, **quiet)
        found = 0
        while process.poll() is None:
            try:
                found = max(found, anonymous(process.pid))
            except (FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.02)
        if process.wait() != 0:
            raise RuntimeError(f"the run ended with exit code {process.returncode}")
    return found


def table(source: str, size: int) -> list[str]:
    """Two rows: a run on a few of the classes and one on all: the peak does not grow with the number of images."""
    listing = data.read(source)
    rows = []
    for classes in (listing.classes[:2], listing.classes):
        count = len(listing.pick(classes))
        found = peak(source, size, ",".join(classes))
        rows.append(f"peak anonymous memory at {size} px, {count:,} images: {found / 1e9:.2f} GB")
    return rows
