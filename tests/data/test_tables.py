"""Tables as programs and people write them: each gives the index of a plain table, or is refused with its line."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from headstart.config.run_config import RunConfig
from headstart.data.frames import hold_out_val, stored_source
from headstart.data.image_index import ImageIndex
from headstart.data.sources import read_evaluation_index, read_index
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError, UsageError
from headstart.i18n import Message
from headstart.reporter import NullReporter
from tests.data.test_sources import pairs, refused, touch
from tests.messages import fields_of, values_of

FILES = ("x/1.jpg", "x/2.jpg", "y/3.jpg", "y/4.jpg")
PLAIN = [("x/1.jpg", "a"), ("x/2.jpg", "a"), ("y/3.jpg", "b"), ("y/4.jpg", "b")]
BODY = "x/1.jpg,a\nx/2.jpg,a\ny/3.jpg,b\ny/4.jpg,b\n"


def write(root: Path, content: str | bytes, name: str = "list.csv") -> str:
    touch(root, *FILES)
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return str(root / name)


def labeled(root: Path, labels: list[object], ending: str) -> str:
    """Write a table of as many images as labels, and return its source."""
    paths = [f"p/{number}.jpg" for number in range(len(labels))]
    touch(root, *paths)
    table, path = pd.DataFrame({"path": paths, "label": labels}), root / f"list.{ending}"
    if ending == "frame":
        table["path"] = [str(root / name) for name in paths]
        return stored_source(table, root / "runs")
    if ending == "parquet":
        table.to_parquet(path)
    elif ending == "csv":
        table.to_csv(path, index=False)
    else:
        rows = [json.dumps({"path": name, "label": label}) for name, label in zip(paths, labels, strict=True)]
        path.write_text("\n".join(rows))
    return str(path)


def read(source: str, **options: object) -> ImageIndex:
    return read_index(source, allow_outside="runs" in source, table=TableOptions(**options))  # type: ignore[arg-type]


def names_of(index: ImageIndex) -> list[str]:
    """Return the class of each image, in the order of the images."""
    return [index.classes[label] for label in index.labels]


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "path,label\n" + BODY,
        "sep=,\npath,label\n" + BODY,
        "sep=;\r\n" + ("path,label\n" + BODY).replace(",", ";"),
        '"sep=\t"\n' + ("path,label\n" + BODY).replace(",", "\t"),
        "\n\n  \n,,\npath,label\n" + BODY,
        "# made on Monday\n#\npath,label\n" + BODY,
        "#path,label\n" + BODY,
        "path,label,,\n" + BODY.replace("\n", ",,\n"),  # columns that a spreadsheet adds
        "path,label\n" + BODY.replace("\n", ",\n"),
        "path,label\n" + BODY + ",\n , \n\n",
        "path,label,note\n" + BODY,
        "path;label;note, if any\n" + BODY.replace("\n", ",\n").replace(",", ";", 1).replace(",", ";"),
        "path, label\n" + BODY.replace(",", ", "),
        "path\t label\n" + BODY.replace(",", " \t "),
        "path|label\n" + BODY.replace(",", "|"),
        '"path" "label"\n' + "".join(f'"{i}" "{path}" "{label}"\n' for i, (path, label) in enumerate(PLAIN, 1)),  # R
        '"","path","label"\n' + "".join(f'"{i}","{path}","{label}"\n' for i, (path, label) in enumerate(PLAIN, 1)),
        "path,label\r" + BODY.replace("\n", "\r"),
        "label,path\n" + "".join(f"{label},{path}\n" for path, label in PLAIN),
        'path,label\n"x/1.jpg" ,"a"\nx/2.jpg, "a" \ny/3.jpg,b\ny/4.jpg,b',
        'path,caption,label\nx/1.jpg,"two\nlines",a\n' + "".join(f"{path},,{label}\n" for path, label in PLAIN[1:]),
        "Photos of May;;\n\npath;label\n" + BODY.replace(",", ";"),
    ],
)
def test_spreadsheets_and_programs_write_the_same_table(tmp_path: Path, text: str) -> None:
    assert pairs(read_index(write(tmp_path, text))) == PLAIN


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_encodings_are_found_and_stated(tmp_path: Path, encoding: str, ending: str) -> None:
    labels = ["Grün", "Straße", "Grün", "Straße"]
    rows = list(zip(FILES, labels, strict=True))
    text = "path,label\n" + "".join(f"{path},{label}\n" for path, label in rows)
    if ending == "jsonl":
        text = "".join(f'{{"path": "{path}", "label": "{label}"}}\n' for path, label in rows)
    index = read_index(write(tmp_path, text.encode(encoding), f"list.{ending}"))
    assert pairs(index) == rows
    stated = [fields_of(note).get("encoding", fields_of(note).get("word")) for note in index.notes]
    expected: dict[str, list[object]] = {"utf-8": [], "utf-8-sig": [], "utf-32": ["UTF-32"], "cp1252": ["Grün"]}
    assert stated == expected.get(encoding, ["UTF-16"])


@pytest.mark.parametrize(
    "content", [b"PK\3\4", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"\x89PNG", b"\n<!DOCTYPE html>\n<p>"]
)
def test_other_files_are_named(tmp_path: Path, content: bytes) -> None:
    message = refused(write(tmp_path, content + b"\0" * 9)).message
    assert isinstance(message, Message) and message.values.keys() == {"manifest", "kind"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("path,label\nx/1.jpg,кот\nx/2.jpg,пес\n".encode("cp1251"), 2),
        ("path,label\nx/1.jpg,猫\nx/2.jpg,犬猫犬\n".encode("shift-jis"), 2),
        ("path,label\nx/1.jpg,Grün\n".encode() + "x/2.jpg,Weiß\n".encode("cp1252"), 3),
    ],
)
def test_other_encodings_are_refused_with_the_first_line(tmp_path: Path, content: bytes, line: int) -> None:
    assert fields_of(refused(write(tmp_path, content)).message) == {"line": line, "manifest": "list.csv"}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('path,label\nx/1.jpg,a\nx/2.jpg,"a\ny/3.jpg,b\ny/4.jpg,"b\n', {"first": 3, "last": 5}),
        ('path,label\nx/1.jpg,a\nx/2.jpg,"a\ny/3.jpg,b\ny/4.jpg,b"\n', {"first": 3, "last": 5}),
        ('\n\npath,label\nx/1.jpg,a\nx/2.jpg,"a\ny/3.jpg,b\n', {"first": 5}),
        ('path,label,note\nx/1.jpg,a,"5\nx/2.jpg,a,\ny/3.jpg,b,"\n', {"first": 2, "last": 4}),
        ('path,label\nx/1.jpg,"a" b\n', {"first": 2}),
        ('path,label\nx/1.jpg,"a\n' + "y/3.jpg,b\n" * 20_000, {"first": 2}),
    ],
)
def test_stray_quotes_are_refused_with_the_line_where_they_begin(
    tmp_path: Path, text: str, fields: dict[str, int]
) -> None:
    error = refused(write(tmp_path, text))
    found = fields_of(error.message)
    assert {name: found[name] for name in found if name in ("first", "last")} == fields
    assert fields_of(error.hint) == {"line": fields["first"]}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "frame"])
def test_label_with_a_line_break_is_refused_with_its_place(tmp_path: Path, ending: str) -> None:
    error = refused(labeled(tmp_path, ["a", "a\nb", "b", "b"], ending), allow_outside=ending == "frame")
    fields = fields_of(error.message)
    assert fields["number"] == (3 if ending == "csv" else 2) and fields["label"] == "a\nb"


def test_quotes_that_belong_to_a_label_are_kept(tmp_path: Path) -> None:
    text = 'path,label\nx/1.jpg,5" bolt\nx/2.jpg,"5"" bolt"\ny/3.jpg,"a, b"\ny/4.jpg,"a, b"\n'
    assert names_of(read_index(write(tmp_path, text))) == ['5" bolt'] * 2 + ["a, b"] * 2
    escaped = '"path","label"\n"x/1.jpg","5\\" bolt"\n"y/3.jpg","a \\"b\\""\n'  # write.table of R
    assert names_of(read_index(write(tmp_path, escaped))) == ['5" bolt', 'a "b"']


def test_too_long_value_is_refused_with_its_line(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "path,label\nx/1.jpg,a\nx/2.jpg," + "b" * 200_000 + "\n"))
    assert fields_of(error.message).items() >= {"line": 3, "limit": 131_072}.items()


def test_rows_that_end_early_are_counted(tmp_path: Path) -> None:
    index = read_index(
        write(tmp_path, "path,label,split\nx/1.jpg,a,train\nx/2.jpg,a\ny/3.jpg,b,train\ny/4.jpg,b,test\n")
    )
    assert index.splits == ("train", "", "train", "test")
    assert fields_of(index.notes[0]) == {"count": 1, "manifest": "list.csv"}


def test_array_of_json_objects_is_a_table(tmp_path: Path) -> None:
    rows = [{"path": path, "label": label} for path, label in PLAIN]
    assert pairs(read_index(write(tmp_path, json.dumps(rows, indent=1), "list.jsonl"))) == PLAIN


# --- columns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["image", "file", "filename", "filepath", "file_name", "Image Path", "Path"])
@pytest.mark.parametrize("label", ["label", "class", "target", "category", "Labels"])
def test_columns_are_found_by_their_usual_names(tmp_path: Path, path: str, label: str) -> None:
    index = read_index(write(tmp_path, f"{path},{label}\n{BODY}"))
    assert pairs(index) == PLAIN
    stated = [(fields_of(note)["column"], fields_of(note)["role"]) for note in index.notes]
    assert stated == [(path, "path")] + ([(label, "label")] if label != "label" else [])


def test_columns_are_named_by_options(tmp_path: Path) -> None:
    rows = "".join(f"{path},zz,{label},{path[0]},test\n" for path, label in PLAIN)
    source = write(tmp_path, f"where,label,dx,who,set\n{rows}")
    index = read(source, path_column="where", label_column="dx", group_column="who", split_column="set")
    assert pairs(index) == PLAIN and index.groups == ("x", "x", "y", "y") and set(index.splits) == {"test"}
    with pytest.raises(DataError) as caught:
        read(source, path_column="were")
    assert fields_of(caught.value.message)["name"] == "were" and fields_of(caught.value.hint) == {"choice": "where"}
    touch(tmp_path / "folder", "a/1.jpg", "b/1.jpg")
    for data in (str(tmp_path / "folder"), "digits"):
        with pytest.raises(UsageError):
            read(data, label_column="dx")
    with pytest.raises(UsageError):
        TableOptions(merge_labels=True, keep_labels=True)


def test_splits_are_found_only_if_all_values_are_splits(tmp_path: Path) -> None:
    rows = list(zip(FILES, "aabb", ["Train", "valid", "NA", "test"], strict=True))
    text = "".join(",".join(row) + "\n" for row in rows)
    assert read_index(write(tmp_path, "path,label,split\n" + text)).splits == ("train", "val", "", "test")
    text = text.replace("NA", "train")
    assert read_index(write(tmp_path, "path,label,subset\n" + text)).splits == ("train", "val", "train", "test")
    assert set(read_index(write(tmp_path, "path,label,subset\n" + text.replace("valid", "7"))).splits) == {""}


@pytest.mark.parametrize("one", ["1", "1.0", "true"])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "frame"])
def test_one_hot_columns_are_refused_with_a_line_that_makes_labels(tmp_path: Path, one: str, ending: str) -> None:
    kind = {"1": int, "1.0": float, "true": bool}[one]
    table = pd.DataFrame({"path": FILES, "a": [1, 1, 0, 0], "b": [0, 0, 1, 0], "c d": [0, 0, 0, 1]})
    table = table.astype(dict.fromkeys(("a", "b", "c d"), kind))
    touch(tmp_path, *FILES)
    path = tmp_path / f"list.{ending}"
    with pytest.raises(DataError) as caught:
        if ending == "frame":
            stored_source(table, tmp_path)
        elif ending == "parquet":
            table.to_parquet(path)
        elif ending == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_json(path, orient="records", lines=True)
        read_index(str(path))
    assert values_of(caught.value.message)[-3:] == ["'a'", "'b'", "'c d'"]
    selection = fields_of(caught.value.hint)["selection"]
    made = eval(f"table.{selection}.idxmax(axis=1)", {"table": table.replace({True: 1, False: 0})})
    assert list(made) == ["a", "a", "b", "c d"]


def test_several_labels_of_one_image_are_refused_with_the_line(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "path,a,b\nx/1.jpg,1,0\nx/2.jpg,1,1\n"))
    assert fields_of(error.message).items() >= {"number": 3, "count": 2}.items()


# --- labels ----------------------------------------------------------------------------------------------------------

NFC, NFD = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "frame"])
def test_numbers_and_booleans_are_the_same_classes_in_every_format(tmp_path: Path, ending: str) -> None:
    for number, (labels, expected) in enumerate(
        [
            ([1.0, 2.0, 2.0], ["1", "2", "2"]),
            ([1, 2, 2], ["1", "2", "2"]),
            ([0.5, 1.0, 1.5], ["0.5", "1.0", "1.5"]),
            ([True, False, True], ["true", "false", "true"]),
            (["True", "False", "TRUE"], ["true", "false", "true"]),
            (["true", "maybe", "true"], ["true", "maybe", "true"]),
            ([NFC, "b", NFD], [NFC, "b", NFC]),
            (["a\u00a0b", "a  b", "c"], ["a b", "a b", "c"]),
            ([" a ", "b", "a"], ["a", "b", "a"]),
            (["1.1", "1.10", "2"], None),
            (["1", "01", "2"], None),
            (["Cat", "cat", "dog"], None),
        ]
    ):
        source = labeled(tmp_path / str(number), labels, ending)
        if expected is None:
            with pytest.raises(DataError) as caught:
                read(source)
            assert "--merge-labels" in caught.value.hint and "--keep-labels" in caught.value.hint
        else:
            assert names_of(read(source)) == expected, labels


def test_one_number_in_two_spellings_is_one_class_unless_it_is_text_or_declared(tmp_path: Path) -> None:
    for ending in ("csv", "jsonl"):
        (tmp_path / f"list.{ending}").unlink(missing_ok=True)
        index = read(labeled(tmp_path, [1, 1.0, "1", 2], ending))
        assert names_of(index) == ["1", "1", "1", "2"]
    assert values_of(index.notes[0])[1:3] == ["list.jsonl", "'1' (2)"]
    source = labeled(tmp_path, ["1", "1.0", "2", "2"], "jsonl")
    kept = read(source)
    assert kept.classes == ("1", "1.0", "2") and values_of(kept.notes[0])[1:] == ["'1'", "'1.0'"]
    assert read(source, merge_labels=True).classes == ("1", "2")
    source = labeled(tmp_path, ["1", "1.0", "2", "2"], "csv")
    assert read_index(source, classes=["1", "1.0"]).classes == ("1", "1.0")
    assert read(source, keep_labels=True).classes == ("1", "1.0", "2")


def test_uncertain_spellings_are_merged_or_kept_on_request(tmp_path: Path) -> None:
    labels = ["Cat", "cat", "cat", "01", "1", "1.0"]
    source = labeled(tmp_path, labels, "csv")
    message = refused(source).message
    assert {"'01' (1)", "'1' (2)", "'Cat' (1)", "'cat' (2)"} <= set(values_of(message)) and 2 in values_of(message)
    assert names_of(read(source, merge_labels=True)) == ["cat"] * 3 + ["1"] * 3
    assert names_of(read(source, keep_labels=True)) == labels
    assert read_index(source, classes=["Cat", "cat"]).classes == ("Cat", "cat")
    assert read_index(labeled(tmp_path, ["a", "b", "Cat", "cat"], "csv"), classes=["a", "b"]).classes == ("a", "b")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "frame"])
def test_words_for_nothing_are_classes_with_a_note(tmp_path: Path, ending: str) -> None:
    words = ["NaN", "nan", "NA", "None", "null", "cat"]
    index = read(labeled(tmp_path, words, ending))
    assert names_of(index) == words
    assert [f"{word!r} (1)" for word in sorted(words[:5])] == sorted(values_of(index.notes[0])[1:])


@pytest.mark.parametrize("missing", [None, float("nan"), ""])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "frame"])
def test_missing_label_is_refused_with_its_place(tmp_path: Path, missing: object, ending: str) -> None:
    with pytest.raises(DataError) as caught:
        read(labeled(tmp_path, ["a", "b", missing], ending))
    assert fields_of(caught.value.message)["number"] == (4 if ending == "csv" else 3)


def test_labels_of_an_estimator_are_never_merged(tmp_path: Path) -> None:
    paths = [str(touch(tmp_path, f"{number}.jpg") / f"{number}.jpg") for number in range(40)]
    for path in paths:
        Path(path).write_text(path)
    frame = pd.DataFrame({"path": paths, "label": ["Cat", "cat", "1", "01"] * 10}, dtype=object)
    held_out = hold_out_val(frame, RunConfig().changed(near_duplicates="ignore"), 1, NullReporter())
    assert list(held_out["label"]) == list(frame["label"]) and set(held_out["split"]) == {"train", "val"}


# --- paths -----------------------------------------------------------------------------------------------------------


def table_of(paths: list[str]) -> str:
    return "path,label\n" + "".join(f"{path},{label}\n" for path, label in zip(paths, "aabb", strict=True))


@pytest.mark.parametrize(
    ("paths", "number"),
    [
        ([" x/1.jpg", "x/2.jpg ", "y /3.jpg", "y/4.jpg"], 3),
        (["x/1", "x/2", "y/3", "y/4"], 4),
        (["X/1.JPG", "x/2.Jpg", "y/3.jpg", "y/4.jpg"], 2),
        (["x\\1.jpg", "x\\2", "y/3.jpg", "y/4.jpg"], 2),
        ([f"file://ROOT/{name}" for name in FILES], None),
        (["C:\\me\\photos\\" + name.replace("/", "\\") for name in FILES], "C:/me/photos/"),
        (["\\\\server\\share\\" + name.replace("/", "\\") for name in FILES], "//server/share/"),
        (["/nowhere/photos/" + name for name in FILES], "/nowhere/photos/"),
        (["photos/" + name for name in FILES], "photos/"),
        (["./photos/" + name.removesuffix(".jpg") for name in FILES], "./photos/"),
        ([name.replace("/", "//") for name in FILES], None),
    ],
)
def test_paths_from_elsewhere_find_their_files(tmp_path: Path, paths: list[str], number: object) -> None:
    index = read_index(write(tmp_path, table_of(paths).replace("ROOT", str(tmp_path))))
    assert pairs(index) == PLAIN
    stated = {value for note in index.notes for value in values_of(note)}
    assert number is None or number in stated or (number == 2 and 1 in stated)
    assert bool(index.notes) == (number is not None)


def test_absolute_paths_in_the_folder_of_the_table_need_no_permission(tmp_path: Path) -> None:
    assert pairs(read_index(write(tmp_path, table_of([f"{tmp_path}/{name}" for name in FILES])))) == PLAIN


def test_names_without_their_folder_are_found_if_one_subfolder_has_all(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/{number}.jpg" for number in "1234"), "other/1.jpg")
    source = write(tmp_path, table_of(list("1234")))
    assert read_index(source).keys == tuple(f"images/{number}.jpg" for number in "1234")
    touch(tmp_path, *(f"other/{number}.jpg" for number in "1234"))
    assert fields_of(refused(source).hint) == {"path": "images/1"}


@pytest.mark.parametrize(
    ("files", "path", "hint"),
    [
        (["x/7.jpg", "x/7.png"], "x/7", {"first": "x/7.jpg", "second": "x/7.png"}),
        (["x/7.png"], "x/7.jpg", {"path": "x/7.png"}),
        (["x/A.jpg", "x/a.jpg"], "x/a.JPG", {"first": "x/A.jpg", "second": "x/a.jpg"}),
        ([], "C:\\me\\x\\7.jpg", {"path": "x/7.jpg"}),
        ([], "/nowhere/x/7.jpg", {"path": "x/7.jpg"}),
        (["x/7.jpg"], "'x/7.jpg'", {"path": "x/7.jpg"}),
        (["x/7.jpg"], "“x/7.jpg”", {"path": "x/7.jpg"}),
        ([], "Total", {"number": 3}),
    ],
)
def test_paths_that_are_not_clear_are_refused_with_what_is_there(
    tmp_path: Path, files: list[str], path: str, hint: dict[str, str]
) -> None:
    touch(tmp_path, *files)
    assert fields_of(refused(write(tmp_path, f"path,label\ny/3.jpg,b\n{path},a\n")).hint) == hint


def test_files_elsewhere_are_not_replaced_by_files_of_the_same_name(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", *FILES)
    source = write(tmp_path / "root", table_of([f"{tmp_path}/elsewhere/{name}" for name in FILES]))
    assert "--allow-outside" in refused(source).hint
    assert read_index(source, allow_outside=True).root == tmp_path / "elsewhere"


def test_frames_find_files_without_endings_as_tables_do(tmp_path: Path) -> None:
    touch(tmp_path, *FILES)
    frame = pd.DataFrame({"image": [f" {tmp_path}/{name[:-4]} " for name in FILES], "class": list("aabb")})
    index = read_index(stored_source(frame, tmp_path / "runs"), allow_outside=True)
    assert pairs(index) == PLAIN and [fields_of(note).get("column") for note in index.notes[:2]] == ["image", "class"]


# --- Hugging Face ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_imagefolder_metadata_gives_labels_and_splits(tmp_path: Path, ending: str) -> None:
    for split in ("train", "test"):
        touch(tmp_path / split, "1.jpg", "2.jpg", "3.jpg")
        table = pd.DataFrame({"file_name": ["1.jpg", "2.jpg"], "label": ["a", "b"], "text": ["one", "two"]})
        path = tmp_path / split / f"metadata.{ending}"
        table.to_csv(path, index=False) if ending == "csv" else table.to_json(path, orient="records", lines=True)
    index = read_index(str(tmp_path))
    assert pairs(index) == [("test/1.jpg", "a"), ("test/2.jpg", "b"), ("train/1.jpg", "a"), ("train/2.jpg", "b")]
    assert index.splits == ("test", "test", "train", "train") and index.root == tmp_path
    assert values_of(index.notes[-1]) == [2]
    assert all(path.is_file() for path in index.paths)


def test_metadata_without_labels_leaves_the_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, *FILES)
    expected = pairs(read_index(str(tmp_path)))
    (tmp_path / "metadata.csv").write_text("file_name,text\nx/1.jpg,one\n")
    index = read_index(str(tmp_path))
    assert pairs(index) == expected and len(index) == 4
    assert fields_of(index.notes[0]) == {"table": Path("metadata.csv")}
    (tmp_path / "metadata.csv").write_text("name,label\nx/1.jpg,one\n")  # another table
    assert pairs(read_index(str(tmp_path))) == expected
    (tmp_path / "metadata.csv").write_text("file_name,label\nx/1.jpg,one\ny/3.jpg,two\n")
    assert names_of(read_index(str(tmp_path))) == ["one", "two"]


@pytest.mark.parametrize("reading", ["outer", "inner"])
def test_metadata_without_labels_leaves_the_reading_of_the_folders(tmp_path: Path, reading: str) -> None:
    touch(tmp_path, *(f"{fold}/{name}/1.jpg" for fold in ("a", "b") for name in ("bottle", "img", "label")))
    expected = pairs(read_index(str(tmp_path), class_folders=reading))  # type: ignore[arg-type]
    (tmp_path / "metadata.csv").write_text("file_name,text\na/img/1.jpg,one\n")
    assert pairs(read_index(str(tmp_path), class_folders=reading)) == expected  # type: ignore[arg-type]
    assert len(expected) == 6
    if reading == "inner":  # the classes of a model decide
        assert pairs(read_evaluation_index(str(tmp_path), ("bottle", "img", "label"))) == expected


def test_notes_are_messages(tmp_path: Path) -> None:
    index = read_index(
        write(tmp_path, "sep=;\nimage;class;extra\n" + table_of(["x/1", "x/2", "y/3", "y/4"])[11:].replace(",", ";"))
    )
    assert len(index.notes) == 5 and all(isinstance(note, Message) for note in index.notes)


def test_all_rows_without_a_path_or_label_are_named(tmp_path: Path) -> None:
    rows = "".join(f"{i}.jpg,{'' if i in (3, 9, 10) else 'ab'[i % 2]}\n" for i in range(12))
    (tmp_path / "list.csv").write_text("path,label\n" + rows)
    touch(tmp_path, *(f"{i}.jpg" for i in range(12)))
    assert values_of(refused(tmp_path / "list.csv").message) == ["5", "11", "12", "list.csv", "label"]


def test_both_missing_columns_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("where,animal\n1.jpg,cat\n2.jpg,dog\n")
    assert values_of(refused(tmp_path / "list.csv").hint) == ["where", "animal", "path", "label"]
