"""Peak anonymous memory of a run in a process of its own; memory-mapped pages of the pixel store do not count."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from headstart.config.flag_words import flag_words
from headstart.data import sources


def anonymous(pid: int) -> int:
    """Return the current anonymous resident memory of a process in bytes (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def peak(source: str, size: int, classes: Sequence[str]) -> int:
    """Return the peak anonymous memory in bytes of a short run that decodes, calibrates, trains and evaluates."""
    with tempfile.TemporaryDirectory() as scratch:
        words = [
            "train",
            source,
            "--image-size",
            str(size),
            "--epochs",
            "12st",
            *flag_words("classes", classes),
            "--runs",
            f"{scratch}/runs",
        ]
        run = "from headstart.cli.main import main; main()"
        environment = {
            **os.environ,
            "HEADSTART_CACHE": f"{scratch}/cache",
        }  # empty, so that decoding and calibration are included
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([sys.executable, "-c", run, *words], env=environment, **quiet)
        peak_bytes = 0
        while process.poll() is None:
            try:
                peak_bytes = max(peak_bytes, anonymous(process.pid))
            except (FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.02)
        if process.wait() != 0:
            raise RuntimeError(f"the run ended with exit code {process.returncode}")
    return peak_bytes


def table(source: str, size: int) -> list[str]:
    """Return two rows, for two of the classes and for all: the peak does not grow with the number of images."""
    index = sources.read_index(source)
    rows = []
    for classes in (index.classes[:2], index.classes):
        count = len(index.pick(classes))
        peak_bytes = peak(source, size, classes)
        rows.append(f"peak anonymous memory at {size} px, {count:,} images: {peak_bytes / 1e9:.2f} GB")
    return rows
