"""Images of Pillow and arrays as inputs, and the preprocessing as a function."""

import contextlib
import io
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

import headstart
from headstart.data.decode import decode
from headstart.inference.preprocessing import read_preprocessing
from tests.trained import trained

ORIENTATION = 0x0112
Inputs = dict[str, Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    return headstart.Run(trained(tmp_path_factory))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Image files of several kinds, larger and smaller than the input."""
    folder, draws = tmp_path_factory.mktemp("images"), np.random.default_rng(0)

    def noise(*shape: int) -> Image.Image:
        return Image.fromarray(draws.integers(0, 256, shape, dtype=np.uint8))

    exif = Image.Exif()
    exif[ORIENTATION] = 6
    noise(400, 700, 3).save(folder / "large.jpg")
    noise(300, 200, 3).save(folder / "turned.jpg", exif=exif)
    noise(90, 120, 4).save(folder / "transparent.png")
    noise(20, 15).save(folder / "gray.png")
    Image.fromarray(draws.integers(0, 2**16, (50, 40), dtype=np.uint16)).save(folder / "deep.png")
    noise(80, 80, 3).convert("P").save(folder / "palette.gif")
    return {path.name: path for path in sorted(folder.iterdir())}


def network_inputs(run: headstart.Run, images: list[object]) -> list[torch.Tensor]:
    """Return what the network of a predictor receives for images."""
    predictor, received = headstart.Predictor(run.folder), list[torch.Tensor]()
    predictor.model.network.register_forward_pre_hook(lambda _module, inputs: received.extend(inputs[0].clone()))
    assert not any(prediction.error for prediction in predictor.predict(images))  # type: ignore[arg-type]
    return received


def test_transform_is_what_the_network_receives(run: headstart.Run, files: Inputs) -> None:
    transform = run.transform()
    size = run.plan.recipe.image_size
    for path, received in zip(files.values(), network_inputs(run, list(files.values())), strict=True):
        with Image.open(path) as lazy:
            assert torch.equal(transform(lazy), received)
            assert lazy.load() and torch.equal(transform(path), received)  # still usable
        with Image.open(io.BytesIO(path.read_bytes())) as from_memory:
            assert torch.equal(transform(from_memory), received)
        assert torch.equal(transform(path.read_bytes()), received)
        assert received.shape == (3, size, size) and received.dtype == torch.float32


def test_predictions_of_pixels_are_those_of_files(run: headstart.Run, files: Inputs) -> None:
    paths = [files[name] for name in ("gray.png", "deep.png", "palette.gif")]  # opaque, and decoded at full size
    expected = run.predict(paths)
    assert [prediction.image for prediction in expected] == list(map(str, paths))
    positions = [f"image {i}" for i in range(len(paths))]
    arrays = [decode(path) for path in paths]
    with contextlib.ExitStack() as stack:
        loaded = [stack.enter_context(Image.open(path)) for path in paths]
        for image in loaded:
            image.load()
        copies = [image.copy() for image in loaded]
        for images, names in ((loaded, list(map(str, paths))), (copies, positions), (arrays, positions)):
            predictions = run.predict(images)
            assert [prediction.probabilities for prediction in predictions] == [p.probabilities for p in expected]
            assert [prediction.image for prediction in predictions] == names
    assert run.predict(arrays[0]) == run.predict([arrays[0]]) == run.predict(copies[0]) == run.predict(arrays[0][None])
    assert len(run.predict(np.stack([arrays[0], arrays[0]]))) == 2
    assert run.predict([]) == []


def test_files_and_pixels_can_be_mixed(run: headstart.Run, files: Inputs, tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 40), "red")
    predictions = run.predict(
        [image, tmp_path / "missing.png", files["gray.png"], b"no image", files["deep.png"].parent]
    )
    assert [bool(prediction.error) for prediction in predictions] == [False, True, False, True] + len(files) * [False]
    assert predictions[0].image == "image 0" and predictions[3].image == "image 3"
    damaged = Image.open(io.BytesIO(files["large.jpg"].read_bytes()[:2000]))
    assert run.predict(damaged)[0].error


@pytest.mark.parametrize(
    "array",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_arrays_that_are_no_images_are_errors(array: np.ndarray, run: headstart.Run) -> None:
    with pytest.raises(headstart.UsageError):
        run.predict(array)
    with pytest.raises(headstart.UsageError):
        run.transform()(array)


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        torch.zeros(8, 8, 3),
        torch.zeros(()),
        Image.new("RGB", (0, 9)),
        io.BytesIO(b"a\nb"),
        {"a.png": 1},
        pd.DataFrame({"path": ["a.png"]}),
        "",
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_are_no_images_are_errors(value: object, run: headstart.Run) -> None:
    for images in (value, [value]):
        with pytest.raises(headstart.UsageError):
            run.predict(images)
    with pytest.raises(headstart.UsageError):
        run.transform()(value)


def test_paths_that_cannot_exist_are_failed_predictions(run: headstart.Run) -> None:
    predictions = run.predict(["a\0b", "a" * 5000 + ".png"])
    assert [bool(prediction.error) for prediction in predictions] == [True, True]


def test_buffers_and_a_predictor_take_what_predict_takes(run: headstart.Run, files: Inputs) -> None:
    content = files["gray.png"].read_bytes()
    expected = run.predict(content)
    assert run.predict(bytearray(content)) == run.predict([memoryview(content)]) == expected
    predictor = headstart.Predictor(run.folder)
    assert list(predictor.predict(str(files["gray.png"]))) == run.predict(files["gray.png"])
    images = (image for image in (content, content))
    assert len(run.predict(images)) == 2


def test_paths_in_arrays_and_series_are_images(run: headstart.Run, files: Inputs) -> None:
    paths = [str(files["gray.png"]), str(files["large.jpg"])]
    expected = run.predict(paths)
    for several in (np.array(paths), np.array(paths, dtype=object), pd.Series(paths), pd.Series(paths, index=[7, 5])):
        assert run.predict(several) == expected
    assert run.predict(np.array(paths[0])) == run.predict(paths[0])


def test_transform_can_be_pickled_and_used_by_torchvision(run: headstart.Run, files: Inputs, tmp_path: Path) -> None:
    transform = pickle.loads(pickle.dumps(run.transform()))
    assert transform == run.transform() == headstart.Predictor(run.folder).preprocessing
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "gray.png").write_bytes(files["gray.png"].read_bytes())
    ((image, label),) = ImageFolder(str(tmp_path), transform=transform)
    assert label == 0 and torch.equal(image, transform(files["gray.png"].resolve()))
    with pytest.raises(headstart.ModelFileError):
        read_preprocessing(tmp_path)
