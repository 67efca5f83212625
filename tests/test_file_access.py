"""Which modules open files without the layer that follows no links (`headstart.storage.contained`), and why.

Everything below a run, a study and the cache is opened by the layer. A new module that opens a file in another way is
an error here: use the layer, or add the module with its reason if it reads what the user has named.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "headstart"
METHODS = {"read_text", "read_bytes", "write_text", "write_bytes"}  # of Path
OPENING = {
    "open", "safe_open", "load_file", "save_file", "copyfile", "copytree", "copy2", "move", "memmap", "open_memmap",
    "ParquetFile", "savez", "savez_compressed", "savetxt", "loadtxt", "genfromtxt", "FileIO", "FileLock", "touch",
}  # fmt: skip
OPENING_OF = {(owner, name) for owner in ("np", "numpy") for name in ("load", "save", "fromfile")} | {
    ("torch", "load"), ("torch", "save"), ("shutil", "copy"), ("ET", "parse"), ("ElementTree", "parse"),
    ("os", "truncate"), ("parquet", "read_table"), ("parquet", "read_schema"), ("parquet", "read_metadata"),
    ("pandas", "read_csv"), ("pd", "read_csv"),
}  # fmt: skip
MODULES = {"zipfile", "tarfile"}
OPENERS_OF_OTHERS = {"contained", "Image", "webbrowser", "_tracker", "keep"}  # whose functions open no path of a run
PHOTOS, TABLES, WEIGHTS = "photos of the user", "tables of the user", "weights that the user has named"
PACKAGE = "files of the installed package"
SYSTEM = "files of the operating system"
LAYER, MEMORY = "the layer", "an archive in memory"
ALLOWED = {
    "artifacts/gallery.py": MEMORY,
    "audit/file_facts.py": PHOTOS,
    "audit/fix.py": "the new manifest that the user has named",
    "audit/pretraining.py": PACKAGE,
    "audit/weights_classes.py": WEIGHTS,
    "config/toml.py": "settings files that the user has named; those of studies go through the layer",
    "data/decode.py": PHOTOS,
    "data/hashing.py": PHOTOS,
    "data/image_formats.py": PHOTOS,
    "data/tables/csv_reader.py": TABLES,
    "data/tables/json_reader.py": TABLES,
    "data/tables/parquet_reader.py": TABLES,
    "engines/transfer.py": MEMORY,
    "engines/worker.py": "the null device of a worker process",
    "figures/documents/docx.py": MEMORY,
    "hardware/cpu.py": SYSTEM,
    "hardware/devices.py": SYSTEM,
    "hardware/environment.py": SYSTEM,
    "models/user_code.py": "the source files of the user's own network",
    "report/page.py": PACKAGE,
    "report/svg/charts.py": PACKAGE,
    "results/training_log.py": "a log that the user has named",
    "storage/archive.py": LAYER,
    "storage/arrays.py": LAYER,
    "storage/contained.py": LAYER,
    "storage/descriptors.py": LAYER,
    "storage/locks.py": "the lock of a folder, after the layer has refused a link in its place",
    "streams.py": "the standard streams",
    "weights/download.py": "the caches of weights of other programs, which consist of links",
    "weights/files.py": WEIGHTS,
    "weights/hub.py": "the caches of weights of other programs, which consist of links",
    "weights/json_files.py": WEIGHTS,
    "weights/other_formats.py": WEIGHTS,
    "weights/pickle_outline.py": WEIGHTS,
    "weights/torch_file.py": WEIGHTS,
}


def used(path: Path) -> Iterator[str]:
    """Yield the names in a module that open files."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if node.module in MODULES or alias.name in OPENING)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            yield "open"
        elif isinstance(node, ast.Attribute):
            owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
            if node.attr in METHODS | OPENING and owner not in OPENERS_OF_OTHERS:
                yield node.attr
            elif (owner, node.attr) in OPENING_OF and ast.unparse(node.value) != "safetensors.torch":  # of bytes
                yield f"{owner}.{node.attr}"


MODULES_WITH_FILES = {
    str(path.relative_to(SOURCE)): names for path in sorted(SOURCE.rglob("*.py")) if (names := sorted(set(used(path))))
}


def test_only_named_modules_open_files_without_the_layer() -> None:
    assert MODULES_WITH_FILES.keys() - ALLOWED.keys() == set()


def test_named_modules_open_files() -> None:
    assert ALLOWED.keys() - MODULES_WITH_FILES.keys() == set()


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("open('a')", ["open"]),
        ("path.open('rb')", ["open"]),
        ("contained.open_file(a, b)", []),
        ("Path('a').read_text()", ["read_text"]),
        ("import zipfile", ["zipfile"]),
        ("from zipfile import ZipFile", ["ZipFile"]),
        ("np.load(path)", ["np.load"]),
        ("torch.load(path)", ["torch.load"]),
        ("shutil.move(a, b); shutil.copy(a, b)", ["move", "shutil.copy"]),
        ("Path('a').touch()", ["touch"]),
        ("pyarrow.parquet.read_table(path)", ["parquet.read_table"]),
        ("from filelock import FileLock", ["FileLock"]),
        ("np.savez(path)", ["savez"]),
        ("from safetensors.torch import load_file", ["load_file"]),
        ("read = path.read_bytes", ["read_bytes"]),
        ("Image.open(file)", []),
    ],
)
def test_what_counts(code: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(code)
    assert sorted(used(tmp_path / "module.py")) == names
