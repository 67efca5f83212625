"""Every check finds the fault that is planted for it, and is silent on clean data."""

import hashlib
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.stats import binomtest
from torchvision.models import ResNet18_Weights, resnet18

from headstart.audit.check import check_data
from headstart.audit.evaluation_size import half_width
from headstart.audit.finding import SEVERITY
from headstart.audit.pretraining import imagenet_classes, pretraining_classes
from headstart.audit.registry import AUDIT_CHECKS
from headstart.errors import DataError
from headstart.factories import load_factory
from headstart.i18n import Message
from headstart.reporter import NullReporter
from headstart.storage.schemas.audit import CheckStatus
from tests.audit.pictures import (
    SIDE,
    audited,
    large_enough,
    picture,
    plan_of,
    random_name,
    seed_of,
    statuses,
    two_classes,
    write_pictures,
)

SMALL = "test-size"  # few pictures are enough for the other checks
CLEAN = {CheckStatus.PASS.value, CheckStatus.NOT_CHECKED.value}


def faults(folder: Path, **settings: object) -> dict[str, str]:
    """Return the checks of small data that do not pass, without that of its size."""
    found = statuses(audited(folder, **settings)[0])
    return {
        code: status for code, status in found.items() if status not in CLEAN and code not in (SMALL, "small-classes")
    }


def test_every_row_has_a_function() -> None:
    for check in AUDIT_CHECKS.values():
        assert callable(load_factory(check.factory))
    assert set(SEVERITY) == set(CheckStatus)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_enough(tmp_path_factory.mktemp("clean"))


def test_clean_data_passes(clean: Path) -> None:
    result, data = audited(clean, slow=True)
    assert {code: s for code, s in statuses(result).items() if s not in CLEAN} == {}
    assert set(statuses(result)) == set(AUDIT_CHECKS)
    assert result.splits is not None and (result.splits.test, result.declared) == (100, "train+test")
    assert len(data.near) == 0


def test_digits_pass() -> None:
    result, _ = audited("digits:0-3")
    assert {code: s for code, s in statuses(result).items() if s not in CLEAN} == {}
    near = {code: s for code, s in statuses(result).items() if code.startswith("near-")}
    assert len(near) == 3 and set(near.values()) == {"not-checked"}  # 8 px are too small to be compared


def test_unreadable_files_are_all_listed(tmp_path: Path) -> None:
    two_classes(tmp_path)
    whole = (tmp_path / "whole.jpg", tmp_path / "dog" / "truncated.jpg")
    picture(7, 300).save(whole[0], quality=90)
    content = whole[0].read_bytes()
    whole[0].unlink()
    (tmp_path / "dog" / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "dog" / "empty.jpg").write_bytes(b"")
    (tmp_path / "cat" / "page.jpg").write_text("<html><body>404</body></html>")
    (tmp_path / "cat" / "zeros.png").write_bytes(bytes(2000))
    result, _ = audited(tmp_path)
    row = result.row("unreadable")
    assert (row.status, row.count) == (CheckStatus.FAIL, 4)
    expected = ["cat/page.jpg", "cat/zeros.png", "dog/empty.jpg", "dog/truncated.jpg"]
    assert [example.image for example in row.examples] == expected
    assert all(example.image in example.detail for example in row.examples)
    assert len([line for line in row.lines() if ".jpg" in line or ".png" in line]) == 4
    assert audited(tmp_path, skip_bad=True)[0].row("unreadable").status is CheckStatus.WARN


def test_no_readable_image_is_an_error(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.jpg").write_text(f"no image {label}")
    with pytest.raises(DataError):
        audited(tmp_path)


def test_mistyped_files(tmp_path: Path) -> None:
    two_classes(tmp_path)
    picture(900).save(tmp_path / "cat" / "a.jpg", "PNG")
    picture(901).save(tmp_path / "cat" / "b.JPEG", "JPEG")
    picture(902).save(tmp_path / "dog" / "c.png", "WEBP")
    picture(903).save(tmp_path / "dog" / "d.jfif", "JPEG")
    picture(904).save(tmp_path / "dog" / "e", "PNG")
    result, data = audited(tmp_path)
    assert [example.image for example in result.row("mistyped").examples] == ["cat/a.jpg", "dog/c.png"]
    assert statuses(result)["mistyped"] == "warn" and statuses(result)["unreadable"] == "pass"
    formats = dict(zip(data.images.keys, (facts.format for facts in data.files), strict=True))
    assert (formats["cat/a.jpg"], formats["dog/c.png"], formats["dog/e"]) == ("PNG", "WEBP", "PNG")


def test_copies_across_declared_splits_fail_and_in_val_warn(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        two_classes(tmp_path / split)
        for file in (tmp_path / split).rglob("*.png"):
            picture(seed_of(split, file.name)).save(file)
    assert faults(tmp_path) == {}
    first = sorted((tmp_path / "val" / "cat").iterdir())[0]
    shutil.copy(first, tmp_path / "train" / "cat" / "copy.png")
    assert faults(tmp_path) == {"duplicates-across-splits": "warn"}
    shutil.copy(sorted((tmp_path / "test" / "dog").iterdir())[0], tmp_path / "train" / "dog" / "copy.png")
    result, _ = audited(tmp_path)
    row = result.row("duplicates-across-splits")
    assert (row.status, row.count, len(row.examples)) == (CheckStatus.FAIL, 2, 2)
    assert (row.examples[0].split, row.examples[0].other, row.examples[0].other_split) == (
        "test",
        "train/dog/copy.png",
        "train",
    )
    assert statuses(result)["near-duplicates-across-splits"] == "pass"


def test_copies_in_one_split_warn_and_under_two_labels_fail(tmp_path: Path) -> None:
    two_classes(tmp_path)
    first = sorted((tmp_path / "cat").iterdir())[0]
    shutil.copy(first, tmp_path / "cat" / "copy.png")
    assert faults(tmp_path) == {"duplicates": "warn"}
    shutil.move(tmp_path / "cat" / "copy.png", tmp_path / "dog" / "copy.png")
    result, _ = audited(tmp_path)
    row = result.row("duplicate-labels")
    assert (row.status, row.count) == (CheckStatus.FAIL, 1)
    assert {row.examples[0].label, row.examples[0].other_label} == {"cat", "dog"}


def test_saved_again_is_a_near_duplicate(tmp_path: Path) -> None:
    for split in ("train", "test"):
        two_classes(tmp_path / split)
        for file in (tmp_path / split).rglob("*.png"):
            picture(seed_of(split, file.name), 96).save(file)
    original = sorted((tmp_path / "test" / "cat").iterdir())[0]
    with Image.open(original) as image:
        image.resize((84, 84)).save(tmp_path / "train" / "cat" / "again.jpg", quality=85)
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "train" / "dog" / "mirrored.png")
    result, data = audited(tmp_path, image_size=64)
    row = result.row("near-duplicates-across-splits")
    assert (row.status, row.count) == (CheckStatus.FAIL, 1)
    assert row.examples[0].image == f"test/cat/{original.name}"
    assert statuses(result)["near-duplicate-labels"] == "warn"
    assert statuses(result)["duplicates-across-splits"] == "pass"
    members = [
        data.images.keys.index(key) for key in (row.examples[0].image, "train/cat/again.jpg", "train/dog/mirrored.png")
    ]
    assert len(set(data.clusters[members].tolist())) == 1
    assert len(set(data.clusters.tolist())) == len(data.images) - 2


def test_near_duplicates_that_are_ignored_are_named_with_the_flag(tmp_path: Path) -> None:
    two_classes(tmp_path, count=20)
    for file in tmp_path.rglob("*.png"):
        picture(seed_of(file.name), 64).save(file)
        with Image.open(file) as image:
            image.save(file.with_suffix(".jpg"), quality=70)
    kept = audited(tmp_path, image_size=48)[0]
    assert statuses(kept)["near-duplicates-across-splits"] == "pass"
    row = audited(tmp_path, image_size=48, near_duplicates="ignore")[0].row("near-duplicates-across-splits")
    assert row.status is CheckStatus.WARN and "--near-duplicates ignore" in row.hint


def test_images_that_a_fraction_leaves_out_are_in_no_split(tmp_path: Path) -> None:
    two_classes(tmp_path, count=20)
    for file in sorted((tmp_path / "cat").iterdir())[:8]:
        shutil.copy(file, file.with_name(f"copy-{file.name}"))
    for fraction in (1.0, 0.3):
        result, data = audited(tmp_path, fraction=fraction)
        within = [
            p
            for p in itertools.combinations(range(len(data.images)), 2)
            if data.content[p[0]] == data.content[p[1]] and data.split_of[p[0]] == data.split_of[p[1]] != ""
        ]
        assert result.row("duplicates").count == len(within) and (fraction == 1.0) == (len(within) == 8)  # fmt: skip


def test_small_classes_name_the_splits_that_exist(tmp_path: Path) -> None:
    for k, split in enumerate(("train", "val")):
        two_classes(tmp_path / split, count=6)
        for number, file in enumerate(sorted((tmp_path / split).rglob("*.png"))):
            picture(100 * k + number).save(file)
    row = audited(tmp_path)[0].row("small-classes")
    assert row.status is CheckStatus.PASS and "val" in row.sentence and "test" not in row.sentence
    assert "val" in audited(tmp_path)[0].row("test-size").sentence


def test_balance_and_small_classes(tmp_path: Path) -> None:
    two_classes(tmp_path, count=33, owl=[f"{random_name(i + 5000)}.png" for i in range(3)])
    result, _ = audited(tmp_path)
    assert statuses(result)["balance"] == "warn" and statuses(result)["splits"] == "pass"
    assert result.row("small-classes").count == 1
    (tmp_path / "owl" / f"{random_name(5000)}.png").unlink()
    failed = audited(tmp_path)[0]
    assert statuses(failed)["splits"] == "fail" and failed.splits is None
    assert "--min-per-class 3" in failed.row("splits").hint
    assert statuses(audited(tmp_path, min_per_class=3)[0])["splits"] == "pass"


@pytest.mark.parametrize(("correct", "count"), [(85, 100), (17, 20), (850, 1000)])
def test_interval_is_wilsons(correct: int, count: int) -> None:
    interval = binomtest(correct, count).proportion_ci(0.95, "wilson")
    assert half_width(correct / count, count) == pytest.approx((interval.high - interval.low) / 2, rel=1e-6)


def test_copies_in_test_count_once(clean: Path, tmp_path: Path) -> None:
    shutil.copytree(clean, tmp_path / "photos")
    files = sorted((tmp_path / "photos" / "test" / "cat").iterdir())
    for copy in files[1:]:
        shutil.copy(files[0], copy)
    row = audited(tmp_path / "photos")[0].row("test-size")
    assert (row.status, row.count) == (CheckStatus.WARN, 51)


def test_small_images_warn(tmp_path: Path) -> None:
    two_classes(tmp_path)
    assert faults(tmp_path, image_size=SIDE) == {}
    picture(99, 20).save(tmp_path / "cat" / "small.png")
    row = audited(tmp_path)[0].row("image-size")
    assert (row.status, row.count, row.examples[0].image) == (CheckStatus.WARN, 1, "cat/small.png")
    assert audited(tmp_path, image_size=128)[0].row("image-size").count == 25


def save_gray(file: Path, number: int) -> None:
    picture(number).convert("L").save(file)


def save_deep(file: Path, number: int) -> None:
    values = np.asarray(picture(number).convert("L")).astype(np.uint16) * 257
    Image.fromarray(values).save(file)


def save_transparent(file: Path, number: int) -> None:
    image = picture(number).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(file)


@pytest.mark.parametrize(
    ("check", "save"), [("gray", save_gray), ("deep", save_deep), ("transparent", save_transparent)]
)
def test_a_kind_of_one_class_warns_and_of_all_classes_does_not(check: str, save, tmp_path: Path) -> None:
    two_classes(tmp_path)
    files = {label: sorted((tmp_path / label).iterdir()) for label in ("cat", "dog")}
    for number, file in enumerate(files["cat"][:8]):
        save(file, number + 300)
    result, _ = audited(tmp_path)
    row = result.row(check)
    assert (row.status, row.count) == (CheckStatus.WARN, 8)
    assert {example.label for example in row.examples} == {"cat"}
    for number, file in enumerate(files["dog"][:8]):
        save(file, number + 400)
    row = audited(tmp_path)[0].row(check)
    assert (row.status, row.count) == (CheckStatus.PASS, 16)


def test_flat_images_warn(tmp_path: Path) -> None:
    two_classes(tmp_path)
    Image.new("RGB", (SIDE, SIDE), (10, 200, 30)).save(tmp_path / "cat" / "flat.jpg")
    Image.new("L", (SIDE, SIDE), 0).save(tmp_path / "dog" / "black.png")
    result, _ = audited(tmp_path)
    assert [example.image for example in result.row("flat").examples] == ["cat/flat.jpg", "dog/black.png"]
    assert statuses(result)["near-duplicates"] == "pass"


def test_class_names_of_imagenet(tmp_path: Path) -> None:
    assert list(imagenet_classes()) == ResNet18_Weights.DEFAULT.meta["categories"]
    write_pictures(tmp_path, {label: [f"{i}.png" for i in range(3)] for label in ("Golden_Retriever", "frog", "qqq")})
    result, data = audited(tmp_path)
    assert result.row("pretraining-classes").count == 2

    def row(start: str) -> tuple[int, bool]:
        other = pretraining_classes(replace(data, plan=data.plan.changed(start=start)))
        return other.count, other.status is CheckStatus.NOT_CHECKED

    for name in ("resnet50.a1_in1k", "vit_base_patch16_224.augreg_in21k_ft_in1k", "test_resnet"):
        assert row(f"timm:{name}") == (2, False)
    unknown = ("vit_base_patch16_clip_224.openai", "vit_base_patch16_224.augreg_in21k", "resnet50_clip", "no_network")
    for start in (*(f"timm:{name}" for name in unknown), "stats:imagenet", "scratch:xavier"):
        assert row(start) == (0, True), start
    assert row("imagenet") == (2, False)
    folder = tmp_path / "weights" / "cifar10-experiments"
    folder.mkdir(parents=True)
    for name, expected in (
        ("pets.pt", (0, True)), ("cifar-10_resnet.pt", (1, False)), ("cifar100.pt", (0, True)),
        ("resnet18-imagenet.pth", (2, False)), ("imagenet21k.pth", (0, True)), ("imagenet_cifar10.pt", (0, True)),
    ):  # fmt: skip
        (folder / name).touch()
        assert row(f"file:{folder / name}") == expected, name
    save_file({"a": torch.zeros(1)}, folder / "cifar10.safetensors", {"labels": "qqq,cat"})
    assert row(f"file:{folder / 'cifar10.safetensors'}") == (1, False)
    (folder / "config.json").write_text(json.dumps({"label_names": ["dog"]}))
    assert row(f"file:{folder / 'pets.pt'}") == (0, False)
    assert row(f"file:{folder}") == (0, False)


def planted_imagenet(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Write weights into torch's cache with the name that their hash asks for."""
    checkpoints = folder / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(resnet18().state_dict(), checkpoints / "new.pth")
    digest = hashlib.sha256((checkpoints / "new.pth").read_bytes()).hexdigest()[:8]
    url = f"https://download.pytorch.org/models/resnet18-{digest}.pth"
    monkeypatch.setattr(ResNet18_Weights.DEFAULT.value, "url", url)
    (checkpoints / "new.pth").rename(checkpoints / f"resnet18-{digest}.pth")
    monkeypatch.setenv("TORCH_HOME", str(folder))


def test_label_errors_use_imagenet_weights_that_are_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_classes(tmp_path / "photos", count=6)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    row = audited(tmp_path / "photos")[0].row("label-errors")
    assert row.status is CheckStatus.NOT_CHECKED and "headstart train digits --start imagenet --dry-run" in row.hint
    row = audited(tmp_path / "photos", start="timm:test_resnet")[0].row("label-errors")
    assert "--start timm:test_resnet --dry-run" in row.hint
    planted_imagenet(monkeypatch, tmp_path / "torch")
    steps: list[tuple[int, int]] = []

    class Progress(NullReporter):
        def progress(self, label: Message, done: int, total: int) -> None:
            if total == 24:  # two views of 12 images
                steps.append((done, total))

    for start in ("scratch", "stats:imagenet", "imagenet"):
        row = check_data(plan_of(tmp_path / "photos", start=start), Progress())[0].row("label-errors")
        assert row.status is not CheckStatus.NOT_CHECKED and "imagenet" in row.sentence
    assert steps[-1] == (24, 24)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    row = audited(tmp_path / "photos", start=f"file:{broken}")[0].row("label-errors")
    assert row.status is CheckStatus.NOT_CHECKED and str(broken) in row.sentence and row.hint


@pytest.mark.parametrize(("side", "size"), [(8, 8), (20, 20), (32, 32), (50, 32), (100, 96)])
def test_hint_on_small_images_names_a_size_that_enlarges_none(side: int, size: int, tmp_path: Path) -> None:
    two_classes(tmp_path, count=3)
    for number, file in enumerate(sorted(tmp_path.rglob("*.png"))):
        picture(number, side).save(file)
    row = audited(tmp_path, image_size=128)[0].row("image-size")
    assert row.status is CheckStatus.WARN and f"--image-size {size} " in row.hint
