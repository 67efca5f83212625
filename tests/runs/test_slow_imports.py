"""A run does not import the packages that take as long as many training steps."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SLOW = ("torch._dynamo", "torch._inductor", "torchvision", "sklearn", "scipy.stats", "pandas", "timm", "ray")
PROGRAM = """
import sys
from headstart.cli.main import main

main(sys.argv[1:])
print(*[name for name in {slow!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_run_imports_no_slow_package(optimizer: str, tmp_path: Path) -> None:
    for number in range(24):
        image = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (10 * number, 0, 0)).save(image)
    settings = ["--image-size", "16", "--stem", "small", "--network", "resnet20", "--batch-size", "8", "--epochs", "1"]
    settings += ["--device", "cpu"]
    words = ["train", str(tmp_path / "photos"), "--runs", str(tmp_path / "runs"), "--optimizer", optimizer, *settings]
    program = PROGRAM.format(slow=SLOW)
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr.splitlines()[-1] == ""
