"""The wheel and the source distribution: complete, with valid metadata, and usable without the checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.docs.repository import ignored, needs_repository

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "headstart"
PROGRAM = """
import json, sys
from importlib import resources
from pathlib import Path
import headstart
assert headstart.__file__.startswith(sys.argv[1]), headstart.__file__
run = headstart.train("digits:0-1", epochs="2st", image_size=8, network="resnet20", runs="runs")
page = headstart.write_report(run)
assert "</html>" in Path(page).read_text(encoding="utf-8")
schema = resources.files("headstart.storage.schemas").joinpath("verdict.schema.json").read_text(encoding="utf-8")
assert json.loads(schema)["properties"]
"""


def run(*arguments: str | Path, **options: str | Path | dict[str, str]) -> None:
    result = subprocess.run(arguments, capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the wheel, built from the source distribution, and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def test_wheel_has_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    files = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip
    with zipfile.ZipFile(built[0]) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("headstart/")}
    assert packed == files
    assert {Path(name).suffix for name in packed} >= {".py", ".html", ".css", ".json", ".typed"}


def source_names(built: tuple[Path, Path]) -> set[str]:
    """Return the names of the files in the source distribution, relative to the root of the repository."""
    with tarfile.open(built[1]) as source:
        return {name.partition("/")[2] for name in source.getnames()}


def test_source_distribution_has_the_documentation(built: tuple[Path, Path]) -> None:
    names = source_names(built)
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages | {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "tests/test_package.py"} <= names


@needs_repository
def test_source_distribution_has_no_ignored_files(built: tuple[Path, Path]) -> None:
    assert ignored(ROOT / name for name in source_names(built)) == []


def test_metadata_is_valid(built: tuple[Path, Path]) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *built)


def test_installed_wheel_trains_and_reports(built: tuple[Path, Path], tmp_path: Path) -> None:
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, built[0])
    environment = {**os.environ, "PYTHONPATH": str(site)}
    run(sys.executable, "-P", "-c", PROGRAM, site, cwd=tmp_path, env=environment)
    run(sys.executable, "-P", "-m", "headstart", "--version", cwd=tmp_path, env=environment)
