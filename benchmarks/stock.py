"""The stock training loop: that of PyTorch's transfer-learning tutorial, without tuning.

It uses ImageFolder, RandomResizedCrop, DataLoader with two workers and torchvision's resnet18 in fp32; optionally also
channels_last and bf16, which readers of the tutorial could add with three lines.

    python -m benchmarks.stock FOLDER --size 128 --batch 32 --epochs 3 [--fast] [--device cuda] [--workers 8]

trains in a process of its own, prints a JSON line for each epoch and waits for an input line before the next, so that
loops can alternate.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from headstart.config.plan_values import CommonSettings
from headstart.data import sources

SETTINGS: CommonSettings = {  # of headstart, for the recipe of the stock loop
    "optimizer": "sgd",
    "lr": 0.01,
    "weight_decay": 1e-4,
    "schedule": "cosine",
    "crop": 0.08,
    "jitter": 0.0,
    "head_init": "torch",
}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True)
class StockEpoch:
    """Seconds and scores of one epoch."""

    train_seconds: float
    val_seconds: float
    images: int
    correct: int
    evaluated: int

    @property
    def images_per_second(self) -> float:
        """Training images per second."""
        return self.images / self.train_seconds


def as_image_folders(source: str, target: Path, enlarge: int = 0) -> Path:
    """Write a data set with declared splits as `target/<split>/<class>/`, the layout of ImageFolder; return `target`.

    The photos are links, or with `enlarge` copies with that shorter side in px (JPEG, quality 90).
    """
    index = sources.read_index(source)
    for path, label, split, key in zip(index.paths, index.labels, index.splits, index.keys, strict=True):
        folder = target / split / index.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        photo = folder / key.replace("/", "__")
        if enlarge:
            write_enlarged(path, photo, enlarge)
        else:
            photo.symlink_to(path)
    return target


def write_enlarged(path: Path, target: Path, side: int) -> None:
    """Write a copy of a photo with a shorter side of `side` px (JPEG, quality 90)."""
    with Image.open(path) as image:
        scale = side / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(target, "JPEG", quality=90)


def train(
    root: Path,
    *,
    size: int,
    batch: int,
    epochs: int,
    lr: float,
    seed: int = 0,
    fast: bool = False,
    frozen: bool = False,
    weights: dict[str, torch.Tensor] | None = None,
    evaluation_splits: tuple[str, ...] = ("val",),
    device: str = "cpu",
    workers: int = 2,
) -> Iterator[StockEpoch]:
    """Train torchvision's resnet18 with SGD and a cosine schedule; yield each epoch.

    `fast` uses channels_last and bf16. `frozen` trains the last layer alone, as the tutorial does ("ConvNet as fixed
    feature extractor").
    """
    torch.manual_seed(seed)
    training, evaluation = _loaders(root, size, batch, evaluation_splits, workers)
    network = torchvision.models.resnet18(num_classes=len(training.dataset.classes))
    if weights is not None:
        network.load_state_dict({k: v for k, v in weights.items() if not k.startswith("fc.")}, strict=False)
    layout = torch.channels_last if fast else torch.contiguous_format
    network = network.to(device, memory_format=layout)
    if frozen:
        network.requires_grad_(False)
        network.fc.requires_grad_(True)
    optimizer = torch.optim.SGD(
        [p for p in network.parameters() if p.requires_grad], lr, momentum=0.9, weight_decay=1e-4
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(training))

    def forward(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=fast):
            return network(images.to(device, memory_format=layout)).float()

    for _ in range(epochs):
        begin = time.perf_counter()
        network.train()
        images_seen, running = 0, 0.0
        for images, labels in training:
            optimizer.zero_grad()
            loss = F.cross_entropy(forward(images), labels.to(device))
            loss.backward()
            optimizer.step()
            schedule.step()
            running += loss.item()
            images_seen += len(labels)
        trained = time.perf_counter()
        network.eval()
        correct = evaluated = 0
        with torch.no_grad():
            for loader in evaluation:
                for images, labels in loader:
                    correct += int((forward(images).argmax(1) == labels.to(device)).sum())
                    evaluated += len(labels)
        yield StockEpoch(trained - begin, time.perf_counter() - trained, images_seen, correct, evaluated)


def train_in_process(root: Path, **settings: object) -> Iterator[StockEpoch]:
    """Call `train` in a process of its own, without memory settings and warm kernels of this one; yield each epoch."""
    command = [sys.executable, "-m", "benchmarks.stock", str(root)]
    for name, value in settings.items():
        command += [f"--{name}"] * value if isinstance(value, bool) else [f"--{name}", str(value)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        for _ in range(int(str(settings["epochs"]))):
            child.stdin.write("\n")
            child.stdin.flush()
            yield StockEpoch(**json.loads(child.stdout.readline()))


def _loaders(
    root: Path, size: int, batch: int, evaluation_splits: tuple[str, ...], workers: int
) -> tuple[DataLoader, list[DataLoader]]:
    augmented = transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    plain = transforms.Compose(
        [
            transforms.Resize(round(size * 256 / 224)),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    training = DataLoader(ImageFolder(root / "train", augmented), batch_size=batch, shuffle=True, num_workers=workers)
    evaluation = [
        DataLoader(ImageFolder(root / name, plain), batch_size=batch, num_workers=workers) for name in evaluation_splits
    ]
    return training, evaluation


def main() -> None:
    """Train one epoch per line of the standard input."""
    parser = argparse.ArgumentParser(prog="benchmarks.stock")
    parser.add_argument("root", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--frozen", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    options = vars(parser.parse_args())
    loop = train(options.pop("root"), lr=0.01, **options)
    for _ in sys.stdin:
        if (epoch := next(loop, None)) is None:
            break
        print(json.dumps(asdict(epoch)), flush=True)


if __name__ == "__main__":
    main()
