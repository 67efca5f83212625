"""Every check finds the fault that is planted for it, and is silent on clean data."""

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from torchvision.models import ResNet18_Weights

from headstart.audit.duplicates import relations
from headstart.audit.evaluation_size import half_width
from headstart.audit.finding import SEVERITY
from headstart.audit.pretraining import imagenet_classes, pretraining_classes
from headstart.audit.registry import AUDIT_CHECKS
from headstart.errors import DataError
from headstart.factories import load_factory
from headstart.storage.schemas.audit import CheckStatus
from tests.audit.pictures import SIDE, audited, picture, random_name, seed_of, statuses, two_classes, write_pictures

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


def test_clean_data_passes(tmp_path: Path) -> None:
    names = {f"{split}/{label}": [] for split in ("train", "test") for label in ("cat", "dog")}
    number = itertools.count()
    for place, files in names.items():
        files += [f"{random_name(next(number))}.png" for _ in range(50 if place.startswith("test") else 40)]
    result, data = audited(write_pictures(tmp_path, names))
    assert {code: s for code, s in statuses(result).items() if s not in CLEAN} == {}
    assert set(statuses(result)) == set(AUDIT_CHECKS)
    assert result.splits is not None and (result.splits.test, result.declared) == (100, "train+test")
    assert len(data.near) == 0


def test_digits_pass() -> None:
    result, _ = audited("digits:0-3")
    assert {code: s for code, s in statuses(result).items() if s not in CLEAN} == {}


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


def test_relations_agree_with_all_pairs() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        count = 8
        splits = [("train", "val", "test", "")[i] for i in draw.integers(0, 4, count)]
        labels, identity = draw.integers(0, 2, count).tolist(), draw.integers(0, 4, count).tolist()
        found = relations([list(range(count))], splits, labels, identity)
        differ = [(i, j) for i in range(count) for j in range(count) if identity[i] != identity[j]]
        test = {i for i, j in differ if splits[i] == "test" and splits[j] in ("train", "val")}
        val = {i for i, j in differ if splits[i] == "val" and splits[j] == "train"}
        kinds = {(identity[i], splits[i]) for i in range(count)}
        assert {identity[i] for i, _ in found.test} == {identity[i] for i in test}
        assert {identity[i] for i, _ in found.val} == {identity[i] for i in val}
        assert bool(found.labels) == any(labels[i] != labels[j] for i, j in differ)
        assert len(found.within) == len(kinds) - len({split for _, split in kinds})


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


def test_copies_in_test_count_once(tmp_path: Path) -> None:
    names = {f"{split}/{label}": [f"{random_name(k * 1000 + i)}.png" for i in range(50)]
             for k, (split, label) in enumerate(itertools.product(("train", "test"), ("cat", "dog")))}  # fmt: skip
    write_pictures(tmp_path, names)
    assert statuses(audited(tmp_path)[0])["test-size"] == "pass"
    files = sorted((tmp_path / "test" / "cat").iterdir())
    for copy in files[1:]:
        shutil.copy(files[0], copy)
    row = audited(tmp_path)[0].row("test-size")
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
    for start, count in (("imagenet", 2), ("timm:resnet18_cifar10", 1), ("timm:resnet18_cifar100", 0)):
        other = pretraining_classes(replace(data, plan=data.plan.changed(start=start)))
        assert (other.count, other.status is CheckStatus.NOT_CHECKED) == (count, start.endswith("100"))
