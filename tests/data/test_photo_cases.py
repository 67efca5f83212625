"""Data sets that public fault reports describe, made small, from their folders to the pixels that are trained on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import folder as torchvision_folder

import headstart
from headstart.data.conversion import BACKGROUNDS, Conversion
from headstart.data.decode import decode
from headstart.data.folder import list_images
from headstart.data.hashing import fingerprint, hash_files
from headstart.data.pixel_store import PixelStore, open_store
from headstart.data.sources import read_index
from headstart.errors import DataError
from tests.data.test_conversion import logo
from tests.data.test_labeled_folder import CLASSES, grid, touch
from tests.data.test_photo_files import PACKED, chunk, png
from tests.data.test_pixel_store import encoded, picture
from tests.data.test_unusual_photos import tiff_file
from tests.messages import fields_of

FAST = {"image_size": 16, "stem": "small", "epochs": "1st", "batch_size": 4, "threads": 1, "precision": "fp32"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def photos(count: int, kind: str = "JPEG", suffix: str = ".jpg", names: tuple[str, ...] = CLASSES) -> dict[str, bytes]:
    """Return the files of class folders with `count` different photos each."""
    return {
        f"{name}/{i}{suffix}": encoded(picture(24, 20, seed=100 * number + i), kind)
        for number, name in enumerate(names)
        for i in range(count)
    }


def opened(root: Path, side: int = 48) -> tuple[tuple[str, ...], PixelStore]:
    """Return the keys of a folder and its store, in which no image is missing."""
    images = read_index(str(root))
    store = open_store(images, hash_files(images), side=side, threads=2)
    assert len(store.bad) == 0
    return images.keys, store


# --- photo files -----------------------------------------------------------------------------------------------------


def test_png_with_metadata_above_the_limits(tmp_path: Path) -> None:
    """Case 01: the pixels of such files are those that Pillow reads without the metadata."""
    large = {
        "cat/profile.png": chunk(b"iCCP", b"monitor\0\0" + PACKED),
        "dog/edited.png": chunk(b"zTXt", b"Raw profile type xmp\0\0" + PACKED),
        "dog/xmp.png": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + PACKED),
    }
    images = {name: picture(24, 20, seed=i) for i, name in enumerate(large, 500)}
    files = {name: (data := encoded(images[name]))[:33] + extra + data[33:] for name, extra in large.items()}
    keys, store = opened(write(tmp_path / "photos", {**photos(3, "PNG", ".png"), **files}))
    assert len(store) == 9
    for name, image in images.items():
        assert np.array_equal(store[keys.index(name)], np.asarray(image))


def test_twelve_bits_are_as_bright_as_the_same_photos_in_eight(tmp_path: Path) -> None:
    """Case 03: values up to 4,095 in PNG, TIFF and BigTIFF."""
    rng = np.random.default_rng(3)
    deep, eight = {}, {}
    for i in range(12):
        share = rng.random((20, 24, 1))
        share[0, 0] = 1
        values = np.rint(share * 4095).astype(np.uint16)
        data = (png(values), tiff_file(values, {262: (1,)}), tiff_file(values, {262: (1,)}, big=True, order="<"))[i % 3]
        deep[f"{CLASSES[i % 2]}/{i}.{('png', 'tif', 'tif')[i % 3]}"] = data
        eight[f"{CLASSES[i % 2]}/{i}.png"] = encoded(Image.fromarray(np.rint(share[..., 0] * 255).astype(np.uint8)))
    (_keys, of_deep), (_keys, of_eight) = (opened(write(tmp_path / n, f)) for n, f in (("d", deep), ("e", eight)))
    assert of_deep.conversion == Conversion(4095) and fields_of(of_deep.notes[0]) == {"count": 12, "top": 4095}
    assert of_eight.conversion == Conversion() and not of_eight.notes
    for i in range(12):
        assert np.abs(of_deep[i].astype(int) - of_eight[i]).max() <= 1


@pytest.mark.parametrize(("size", "quality"), [((9248, 6936), 30), ((12000, 9000), 20)])
def test_photo_of_a_phone_among_small_ones(tmp_path: Path, size: tuple[int, int], quality: int) -> None:
    """Case 05: 64 and 108 megapixels."""
    ramp = np.linspace(30, 220, size[0], dtype=np.float32).astype(np.uint8)
    large = Image.fromarray(np.broadcast_to(ramp, size[::-1]))
    files = {**photos(3), "cat/IMG.jpg": encoded(large, "JPEG", quality=quality)}
    keys, store = opened(write(tmp_path / "photos", files))
    shown = store[keys.index("cat/IMG.jpg")]
    assert shown.shape == (48, 64, 3) and np.abs(shown[..., 1].astype(float) - np.linspace(30, 220, 64)).max() < 4


def test_jpegs_as_browsers_name_them(tmp_path: Path) -> None:
    """Case 07: no class vanishes, and a folder is predicted as its files are."""
    files = {**photos(4, suffix=".jfif", names=("cat",)), **photos(4, suffix=".JPEG", names=("dog",))}
    kinds = (".jpg", ".jpe", ".pjpeg", ".jif", ".jfif", ".jpg_large", "")
    files |= {f"fox/{i}{kind}": encoded(picture(20, 20, seed=i), "JPEG") for i, kind in enumerate(kinds)}
    root = write(tmp_path / "photos", files)
    keys, store = opened(root)
    images = read_index(str(root))
    assert images.classes == ("cat", "dog", "fox") and np.bincount(images.labels).tolist() == [4, 4, len(kinds)]
    for name in CLASSES:
        assert [path.name for path in list_images(root / name)] == [Path(key).name for key in keys if name in key]
    assert np.array_equal(store[keys.index("fox/6")], decode(root / "fox/6"))


def test_black_and_white_logos_stay_visible(tmp_path: Path) -> None:
    """Case 08: one gray level behind all, on which both inks are seen; hidden colors do not count."""
    modes: tuple[str, ...] = ("RGBA", "LA", "P")
    files = {f"{name}/{i}.png": logo(ink, mode=modes[i % 3], seed=i)
             for name, ink in (("black", 0), ("white", 255)) for i in range(6)}  # fmt: skip
    keys, store = opened(write(tmp_path / "photos", files), side=32)
    background = store.conversion.background
    assert background in BACKGROUNDS and background not in (0, 255)
    for i, key in enumerate(keys):
        assert {*np.unique(store[i])} == {background, 0 if key.startswith("black") else 255}


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (grid("training", "validation", "testing"), {"train", "val", "test"}),
        (grid("train", "dev"), {"train", "val"}),
        (grid("train", "eval"), {"train", "val"}),
        (grid("seg_train", "seg_test", "seg_pred"), {"train", "test"}),
        ([*grid("train"), "test/0.jpg", "test/1.jpg"], {"train"}),
        (grid("TRAIN", "VALID"), {"train", "val"}),
        (grid("Train_Set", "Test_Set"), {"train", "test"}),
        (grid("1_train", "2_val", "3_test"), {"train", "val", "test"}),
    ],
)
def test_split_folders_of_other_names(tmp_path: Path, names: list[str], splits: set[str]) -> None:
    """Case 09."""
    images = read_index(str(touch(tmp_path, *names)))
    assert images.classes == CLASSES and set(images.splits) == splits


def test_links_into_a_store(tmp_path: Path) -> None:
    """Case 17: the same data as copies of the files, by classes, content and fingerprint."""
    for number, (name, data) in enumerate(photos(4).items()):
        stored = tmp_path / "store" / f"{number:02x}" / f"{number}-cat.jpg"
        write(tmp_path, {str(stored.relative_to(tmp_path)): data, f"copies/{name}": data})
        (tmp_path / "links" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "links" / name).symlink_to(os.path.relpath(stored, (tmp_path / "links" / name).parent))
    with pytest.raises(DataError) as caught:
        read_index(str(tmp_path / "links"))
    assert fields_of(caught.value.message)["count"] == 8 and "--allow-outside" in caught.value.hint
    links, copies = (read_index(str(tmp_path / name), allow_outside=True) for name in ("links", "copies"))
    assert links.keys == copies.keys and links.labels.tolist() == copies.labels.tolist()
    assert fingerprint(links, hash_files(links)) == fingerprint(copies, hash_files(copies))


@pytest.mark.parametrize("kind", ["folder", "image", "runs", "class"])
def test_names_that_are_not_utf8_leave_no_run(tmp_path: Path, kind: str) -> None:
    """Case 18."""
    odd = os.fsdecode(b"fotos_\xe9t\xe9")
    root = write(tmp_path / (odd if kind == "folder" else "photos"), photos(3))
    if kind in ("image", "class"):
        shutil.copytree(root / "cat", root / odd) if kind == "class" else (root / "cat/0.jpg").rename(
            root / "cat" / odd
        )
    runs = tmp_path / (odd if kind == "runs" else "runs")
    with pytest.raises(DataError if kind != "runs" else headstart.HeadstartError) as caught:
        headstart.train(root, runs=runs, quiet=True, **FAST)
    assert r"fotos_\xe9t\xe9" in str(fields_of(caught.value.message)["name"]) and not runs.exists()


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ([str(i) for i in range(1, 13)], [str(i) for i in range(1, 13)]),
        (["1.10", "1.9"], ["1.9", "1.10"]),
        (["img10", "img9", "img1"], ["img1", "img9", "img10"]),
        (["b", "B", "a"], ["B", "a", "b"]),
    ],
)
def test_classes_are_in_natural_order(tmp_path: Path, names: list[str], order: list[str]) -> None:
    """Case 19: the order of torchvision has the same classes."""
    images = read_index(str(touch(tmp_path, *(f"{name}/1.jpg" for name in names))))
    assert list(images.classes) == order
    assert sorted(images.classes) == torchvision_folder.find_classes(str(tmp_path))[0]


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "size", "more"),
    [
        (33, 32, {"head": "mlp:16"}),
        (5, 4, {"tuning": "frozen"}),
        (3, 2, {"tuning": "lp-ft", "epochs": "2ep", "head_epochs": "1ep"}),
    ],
)
def test_last_batch_of_one_photo(tmp_path: Path, count: int, size: int, more: dict[str, str]) -> None:
    """Case 27: at 32 px the last features of a ResNet are one pixel, which BatchNorm refuses in a batch of one."""
    files = {f"{split}/{CLASSES[i % 2]}/{i}.png": encoded(picture(32, 32, seed=1000 * k + i))
             for k, (split, n) in enumerate((("train", count), ("val", 4), ("test", 4))) for i in range(n)}  # fmt: skip
    settings = {
        **FAST,
        "image_size": 32,
        "stem": "imagenet",
        "network": "resnet18",
        "batch_size": size,
        "epochs": "1ep",
    }
    run = headstart.train(write(tmp_path / "photos", files), runs=tmp_path / "runs", quiet=True, **{**settings, **more})
    facts = json.loads((run.folder / "plan.json").read_text())["plan"]["facts"]
    assert facts["split_counts"]["train"] == count
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses and np.isfinite(losses).all()
