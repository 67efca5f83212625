"""Measure the memory of a call in a process of its own."""

import subprocess
import sys
from typing import NamedTuple

_PROGRAM = """
import re, resource, time
from pathlib import Path
{setup}

def peak():  # ru_maxrss includes that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

before, begin, name = peak(), time.monotonic(), "-"
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (8 << 30), -1))  # do not disturb the machine
try:
    {call}
except Exception as error:
    name = type(error).__name__
print(peak() - before, time.monotonic() - begin, name)
"""


class Cost(NamedTuple):
    """What a call took, and the name of the class of its error, or "-"."""

    megabytes: float
    seconds: float
    error: str


def cost(setup: str, call: str) -> Cost:
    """Return what `call` takes after `setup`, in a process of its own."""
    program = _PROGRAM.format(setup=setup, call=call)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    megabytes, seconds, error = done.stdout.split()[-3:]
    return Cost(float(megabytes), float(seconds), error)
