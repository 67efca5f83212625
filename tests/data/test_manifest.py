"""Tables of images: the index that they give, and what is refused before anything is trained."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from headstart.data.sources import read_index
from tests.data.test_sources import ROOT, pairs, refused, touch
from tests.messages import fields_of, values_of


def manifest(root: Path, text: str | bytes, name: str = "list.csv") -> Path:
    touch(root, "x/1.jpg", "x/2.jpg", "y/3.jpg", "y/4.jpg")
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return root / name


def test_csv_with_bom_crlf_blank_lines_and_numeric_labels(tmp_path: Path) -> None:
    header, rows = (
        "\ufeffpath,label,split,group",
        ["x/1.jpg,10,train,p", "", "./x//2.jpg, 2 ,Train,", "y/3.jpg,2,valid,NA"],
    )
    images = read_index(str(manifest(tmp_path, "\r\n".join([header, *rows, "y/4.jpg,2,test,nan", ""]))))
    assert pairs(images) == [("x/1.jpg", "10"), ("x/2.jpg", "2"), ("y/3.jpg", "2"), ("y/4.jpg", "2")]
    assert images.classes == ("2", "10")
    assert images.splits == ("train", "train", "val", "test") and images.groups == ("p", "", "NA", "nan")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "ndjson", "parquet"])
def test_every_format_gives_the_same_index(tmp_path: Path, ending: str) -> None:
    rows = [("x/1.jpg", 1, "a"), ("x/2.jpg", 2, ""), ("y/3.jpg", 1, "b"), ("y/4.jpg", 2, None)]
    touch(tmp_path, *(row[0] for row in rows))
    path = tmp_path / f"list.{ending}"
    table = pd.DataFrame(rows, columns=["path", "label", "group"])
    if ending == "parquet":
        pytest.importorskip("pyarrow")
        table.to_parquet(path)
    elif ending in ("csv", "tsv"):
        table.to_csv(path, index=False, sep="," if ending == "csv" else "\t")
    else:
        path.write_text("".join(json.dumps(dict(zip(table.columns, row, strict=True))) + "\n" for row in rows))
    images = read_index(str(path))
    assert pairs(images) == [("x/1.jpg", "1"), ("x/2.jpg", "2"), ("y/3.jpg", "1"), ("y/4.jpg", "2")]
    assert images.groups == ("a", "", "b", "") and images.root == tmp_path


def test_parquet_labels_stored_as_floats(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    touch(tmp_path, "1.jpg", "2.jpg")
    pd.DataFrame({"path": ["1.jpg", "2.jpg"], "label": [1.0, 2.0]}).to_parquet(tmp_path / "list.parquet")
    assert read_index(str(tmp_path / "list.parquet")).classes == ("1", "2")


def test_repeated_rows_and_unknown_columns_are_noted(tmp_path: Path) -> None:
    text = "path,label,spilt\nx/1.jpg,a,0\nx/1.jpg,a,0\n./x/1.jpg,a,1\ny/3.jpg,b,0\n"
    images = read_index(str(manifest(tmp_path, text)))
    assert images.keys == ("x/1.jpg", "y/3.jpg")
    assert [fields_of(note) for note in images.notes] == [
        {"column": "spilt", "manifest": "list.csv", "choice": "split"},
        {"count": 2, "manifest": "list.csv"},
    ]


@pytest.mark.parametrize(
    ("text", "fields", "hint"),
    [
        ("pth,label\nx/1.jpg,a\n", {"name": "path"}, {"choice": "pth", "role": "path"}),
        ("where,label\nx/1.jpg,a\n", {"name": "path"}, {"part0": "where", "part1": "label", "role": "path"}),
        ("path,label\nx/1.jpg,a\nx/2.jpg\n", {"number": 3, "column": "label"}, {"column": "label"}),
        ("path,label\nx/1.jpg,a\n,b\n", {"number": 3, "column": "path"}, {"column": "path"}),
        ("path,label\nx/1.jpg,a\n../../etc/passwd,b\n", {"number": 3, "path": "../../etc/passwd"}, {}),
        ("path,label\n/etc/passwd,a\nx/1.jpg,b\n", {"number": 2, "path": "/etc/passwd"}, {}),
        ("path,label\nx/../../y.jpg,a\n", {"number": 2, "path": "x/../../y.jpg"}, {}),
        ("path,label\nC:\\a.jpg,a\n", {"number": 2, "path": "C:\\a.jpg"}, {"path": "a.jpg"}),
        ("path,label\nx/1.jpg,a,b,c\n", {"line": 2, "count": 4, "width": 2}, {}),
        ("x/1.jpg,a\nx/2.jpg,b\n", {"name": "x/1.jpg"}, {"header": "path,label"}),
        ("x/1.jpg a\nx/2.jpg b\n", {"name": "x/1.jpg"}, {"header": "path label"}),
        (
            "path,class,target\nx/1.jpg,a,1\n",
            {"part0": "'class'", "last": "'target'", "role": "label"},
            {"role": "label"},
        ),
        ("path,label\n..\\a.jpg,a\n", {"number": 2, "path": "..\\a.jpg"}, {}),
        ("path,label\nx/1.jpg,a\nx/1.jpg,b\n", {"path": "x/1.jpg", "first": 2, "second": 3}, {}),
        (
            "path,label,split\nx/1.jpg,a,train\nx/2.jpg,b,tset\n",
            {"number": 3, "split": "tset"},
            {"choice": "test"},
        ),
        ("path,label, label\nx/1.jpg,a,a\n", {"column": "label"}, {}),
    ],
)
def test_manifests_that_are_refused(
    tmp_path: Path, text: str, fields: dict[str, object], hint: dict[str, object]
) -> None:
    error = refused(manifest(tmp_path, text))
    assert fields_of(error.message) == {"manifest": "list.csv", **fields}
    assert fields_of(error.hint) == hint
    assert ("--allow-outside" in error.hint) == (fields.keys() == {"number", "path"} and not hint)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("path,label\nx/1.jpg,a\nx/7.jpg,b\nz/8.jpg,b\n", [2, 3, "list.csv", ROOT, "x/7.jpg", "z/8.jpg"]),
        ("path,label\nx,a\nx/1.jpg,b\n", [1, 2, "list.csv", ROOT, "x"]),
    ],
)
def test_missing_files_of_a_manifest_are_counted_and_named(tmp_path: Path, text: str, values: list[object]) -> None:
    expected = [tmp_path if value is ROOT else value for value in values]
    assert values_of(refused(manifest(tmp_path, text)).message) == expected


def test_manifests_without_rows_are_refused(tmp_path: Path) -> None:
    empty, no_rows = (refused(manifest(tmp_path, text)) for text in ("", "path,label\n"))
    assert fields_of(empty.message) == fields_of(no_rows.message) == {"manifest": "list.csv"}
    assert "path,label" in empty.hint and "path,label" not in no_rows.hint


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("{", {"reason"}),
        ("[" * 100_000, {"reason"}),
        ("[1]", set()),
        ('{"path": "x/1.jpg", "label": ["a"]}', {"column"}),
    ],
)
def test_json_lines_that_are_refused(tmp_path: Path, line: str, names: set[str]) -> None:
    error = refused(manifest(tmp_path, '{"path": "x/2.jpg", "label": 1}\n' + line + "\n", "list.jsonl"))
    fields = fields_of(error.message)
    assert {"manifest": "list.jsonl", "number": 2}.items() <= fields.items()
    assert fields.keys() - {"manifest", "number"} == names and fields.get("column", "label") == "label"


def test_paths_spelt_as_on_another_system_are_converted(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg", unicodedata.normalize("NFD", "x/é.jpg"), unicodedata.normalize("NFC", "y/ü.jpg"))
    rows = ["x\\1.jpg,a", unicodedata.normalize("NFC", "x\\é.jpg,a"), unicodedata.normalize("NFD", "y/ü.jpg,b")]
    path = tmp_path / "list.csv"
    path.write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    images = read_index(str(path))
    assert len(images) == 3 and all(file.is_file() for file in images.paths)
    assert [fields_of(note) for note in images.notes] == [{"count": 3, "manifest": "list.csv"}]


def test_manifest_never_reads_outside_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "outside/1.jpg", "outside/2.jpg")
    path = manifest(tmp_path / "root", "path,label\nlink.jpg,a\nx/1.jpg,b\n")
    (path.parent / "link.jpg").symlink_to(tmp_path / "outside/1.jpg")
    assert fields_of(refused(path).message) == {"manifest": "list.csv", "path": "link.jpg"}
    assert len(read_index(str(path), allow_outside=True)) == 2
    path = manifest(tmp_path / "root", "path,label\nfolder/2.jpg,a\nx/1.jpg,b\n")
    (path.parent / "folder").symlink_to(tmp_path / "outside")
    assert fields_of(refused(path).message) == {"manifest": "list.csv", "path": "folder/2.jpg"}
    absolute = tmp_path / "outside/1.jpg"
    path = manifest(tmp_path / "root", f"path,label\n../outside/2.jpg,a\n{absolute},b\n")
    images = read_index(str(path), allow_outside=True)
    assert images.keys == ("../outside/1.jpg", "../outside/2.jpg")
    assert all(p.is_file() for p in images.paths)


def test_missing_files_of_100_000_rows_are_counted(tmp_path: Path) -> None:
    rows = 100_000
    folders = [tmp_path / f"d{i}" for i in range(10)]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "d0" / "0.jpg").touch()
    for i in range(1, rows):
        os.link(tmp_path / "d0" / "0.jpg", folders[i % 10] / f"{i}.jpg") if i < 2000 else None
    lines = (f"d{i % 10}/{i}.jpg,{i % 7}" for i in range(rows))
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(lines))
    assert values_of(refused(tmp_path / "list.csv").message)[:2] == [98_000, 100_000]
