"""One scale and one background hold for a data set: they are found from its files, noted, and used by prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.config.model_file import read_preprocess
from headstart.data.conversion import BACKGROUNDS, OPAQUE, Conversion, choose_conversion, is_visible
from headstart.data.decode import decode
from headstart.data.hashing import hash_files
from headstart.data.pixel_store import PixelStore, open_store
from headstart.data.sources import read_index
from headstart.inference.predictor import Predictor
from tests.data.test_photo_files import deep_values, png, tiff
from tests.data.test_pixel_store import encoded, picture
from tests.messages import fields_of


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


def store_of(folder: Path, files: dict[str, bytes], **options: object) -> PixelStore:
    """Return the store of a folder to which files are added; its classes are cat and dog."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    images = read_index(str(folder))
    return open_store(images, hash_files(images), **{"side": 32, "threads": 2, **options})  # type: ignore[arg-type]


def logo(ink: int, alpha: int = 255, mode: str = "RGBA", seed: int = 0) -> bytes:
    """Return a square of one gray level on a transparent ground with hidden colors."""
    rng = np.random.default_rng(seed)
    opacity = np.zeros((32, 32), np.uint8)
    opacity[8:20, 8 + seed % 8 : 24] = alpha
    hidden = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    color = np.where(opacity[..., None] > 0, np.uint8(ink), hidden)
    if mode == "P":
        image = Image.fromarray((opacity > 0).astype(np.uint8))
        image.putpalette([90, 20, 160 + seed % 90, ink, ink, ink])
        return encoded(image, transparency=bytes([0, alpha]))
    rgba = Image.fromarray(np.dstack([color, opacity]))
    if mode == "LA":
        return encoded(Image.merge("LA", (rgba.getchannel("R"), rgba.getchannel("A"))))
    return encoded(rgba)


# --- scale -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("highest", "top"), [(40, 255), (255, 255), (256, 511), (4095, 4095), (4096, 8191), (65535, 65535)]
)
def test_scale_is_the_smallest_number_of_bits_that_holds_all_values(highest: int, top: int) -> None:
    assert choose_conversion([-1, 3, highest], [OPAQUE] * 3).max_value == top
    assert choose_conversion([-1, -1], [OPAQUE] * 2) == Conversion()


def test_one_scale_for_files_of_16_bits_of_all_kinds(tmp_path: Path) -> None:
    dark, bright, color, translucent = (deep_values(n, top) for n, top in ((1, 900), (1, 4095), (3, 2000), (4, 3000)))
    translucent[..., 3] = 65535
    translucent[0, 0, 3] = 0  # its color, which is the highest value, is hidden
    files = {
        "cat/dark.png": png(dark),
        "cat/color.png": png(color),
        "cat/plain.jpg": encoded(picture(20, 20), "JPEG"),
        "dog/bright.tif": tiff(bright, 1, order=">"),
        "dog/color.tif": tiff(color // 2, 2, deflate=True, predictor=2),
        "dog/gray-alpha.tif": tiff(np.concatenate([dark, np.full_like(dark, 65535)], axis=2), 1, (2,)),
        "dog/gray-alpha.png": png(np.concatenate([bright, np.full_like(dark, 65535)], axis=2)),
        "dog/rgba.png": png(translucent),
    }
    store = store_of(tmp_path / "photos", files)
    assert store.conversion.max_value == 4095
    assert fields_of(store.notes[0]) == {"count": 7, "top": 4095}
    scaled = {name: np.rint(values / 4095 * 255) for name, values in (
        ("cat/color.png", color), ("cat/dark.png", dark), ("dog/bright.tif", bright), ("dog/color.tif", color // 2),
        ("dog/gray-alpha.png", bright), ("dog/gray-alpha.tif", dark), ("dog/rgba.png", translucent[..., :3]),
    )}  # fmt: skip
    keys = read_index(str(tmp_path / "photos")).keys
    for name, values in scaled.items():
        shown = store[keys.index(name)].astype(int)
        if name == "dog/rgba.png":
            assert (shown[0, 0] == store.conversion.background).all()
            shown, values = shown[1:], values[1:]
        assert np.array_equal(shown, np.broadcast_to(values, shown.shape)), name
    plain = keys.index("cat/plain.jpg")
    assert np.array_equal(store[plain], decode(tmp_path / "photos/cat/plain.jpg", 32))
    again = store_of(tmp_path / "photos", {})
    assert again.conversion == store.conversion and again.notes == store.notes


def test_found_conversion_does_not_depend_on_threads_or_on_the_size(tmp_path: Path) -> None:
    files = {f"{name}/{i}.png": png(deep_values(1, 900 + i)) for i in range(6) for name in ("cat", "dog")}
    stores = [store_of(tmp_path / "photos", files, side=side, threads=n) for side, n in ((32, 1), (8, 2), (16, 3))]
    assert {store.conversion for store in stores} == {Conversion(1023)}
    given = store_of(tmp_path / "photos", {}, conversion=Conversion(2047))
    assert given.conversion == Conversion(2047)
    assert np.abs(given[0].astype(int) * 2 - stores[0][0]).max() <= 1, "a given conversion has a store of its own"


# --- background ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inks", "background"), [((0,), 255), ((255,), 0), ((0, 255), 128), ((0, 128, 255), 64)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_background_keeps_all_images_visible(tmp_path: Path, inks: tuple[int, ...], background: int, mode: str) -> None:
    files = {
        f"{name}/{i}.png": logo(inks[i % len(inks)], mode=mode, seed=i) for i in range(6) for name in ("cat", "dog")
    }
    store = store_of(tmp_path / "photos", files)
    assert store.conversion == Conversion(background=background) and len(store.notes) == 1
    for i, name in enumerate(sorted(files)):
        assert (store[i][0, 0] == background).all(), "the hidden color does not count"
        assert (store[i][12, 20] == inks[int(Path(name).stem) % len(inks)]).all()


def test_images_of_which_nothing_is_left_are_noted(tmp_path: Path) -> None:
    files = {f"{name}/{i}.png": logo(255, seed=i) for i in range(3) for name in ("cat", "dog")}
    files["cat/nothing.png"] = logo(0, alpha=0)
    files["dog/faint.png"] = logo(255, alpha=8)
    store = store_of(tmp_path / "photos", files)
    assert store.conversion.background == 0
    assert [fields_of(note)["count"] for note in store.notes] == [8, 2]
    assert str(store.notes[1].values["names"]) == "cat/nothing.png, dog/faint.png"


def test_opaque_alpha_and_white_grounds_change_nothing(tmp_path: Path) -> None:
    opaque = picture(40, 30).convert("RGBA")
    store = store_of(tmp_path / "photos", {"cat/1.png": encoded(opaque), "dog/1.png": encoded(picture(40, 30, seed=1))})
    assert store.notes == () and store.conversion == Conversion()
    assert all(is_visible(OPAQUE, background) for background in BACKGROUNDS)


# --- from training to prediction -------------------------------------------------------------------------------------


def test_model_keeps_the_conversion_of_its_training_data(tmp_path: Path) -> None:
    files = {f"cat/{i}.png": logo(255, seed=i) for i in range(5)} | {f"dog/{i}.png": logo(0, seed=i) for i in range(5)}
    files |= {f"dog/deep{i}.png": png(deep_values(1, 1000 + i)) for i in range(4)}
    store_of(tmp_path / "photos", files)
    (tmp_path / "photos/bird").mkdir()
    for i in range(3):
        (tmp_path / f"photos/bird/{i}.jpg").write_bytes(b"damaged")
    settings = {"image_size": 16, "stem": "small", "epochs": "1st", "batch_size": 4, "threads": 1, "precision": "fp32"}
    settings["near_duplicates"] = "ignore"  # the logos are rectangles: each is a crop of the others
    run = headstart.train(tmp_path / "photos", runs=tmp_path / "runs", skip_bad=True, quiet=True, **settings)
    facts = json.loads((run.folder / "plan.json").read_text())["plan"]["facts"]
    assert (facts["max_value"], facts["background"], facts["class_names"]) == (1023, 128, ["cat", "dog"])
    stored = read_preprocess(run.folder / "model")
    assert (stored.max_value, stored.background) == (1023, 128)
    predictor = Predictor(run.folder)
    for name in ("cat/0.png", "dog/0.png", "dog/deep0.png"):
        path = tmp_path / "photos" / name
        expected = decode(path, stored.cache_side, Conversion(1023, 128))
        assert np.array_equal(predictor.load_image(path), expected)
        with Image.open(path) as image:
            assert np.array_equal(run.transform().pixels(image), expected)
    assert predictor.classes == ("cat", "dog")
    assert headstart.evaluate(run.folder, tmp_path / "photos", skip_bad=True).own
