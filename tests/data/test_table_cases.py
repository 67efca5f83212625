"""Tables of public fault reports, and more of the same kinds, compared with pandas, json and the csv module."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.data.frames import stored_source
from headstart.data.image_index import ImageIndex
from headstart.data.manifest import read_table
from headstart.data.sources import read_index
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError
from tests.data.test_sources import pairs, refused, touch
from tests.messages import fields_of, values_of

NAMES = ("disc", "ring", "bolt")
ROWS = [(f"img/{number:03d}.jpg", NAMES[number % 3]) for number in range(24)]
FRAME = pd.DataFrame(ROWS, columns=["path", "label"])


def write(root: Path, content: str | bytes, name: str = "list.csv") -> str:
    """Write a table beside the images of `ROWS`, and return its source."""
    touch(root, *(path for path, _label in ROWS))
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return str(root / name)


def table(rows: list[tuple[str, str]], separator: str = ",", header: str = "path,label") -> str:
    return header.replace(",", separator) + "\n" + "".join(separator.join(row) + "\n" for row in rows)


def labels_of(index: ImageIndex) -> list[str]:
    return [label for _path, label in pairs(index)]


# --- blanks behind separators, and names without endings -------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "label, path\n" + "".join(f"{label}, {path}\n" for path, label in ROWS),
        table([(path.removesuffix(".jpg"), label) for path, label in ROWS]),
        "path, label\n" + "".join(f'{path}, "{label}, warm"\n' for path, label in ROWS),
        table([(f"  {path}\t", f" {label}\u00a0") for path, label in ROWS]),
        table([(f"\u200e{path}\u200b", label) for path, label in ROWS]),
        table([(path.upper().removesuffix(".JPG") + " ", label) for path, label in ROWS], ";"),
        table([(path.replace("/", "%2F"), label) for path, label in ROWS]),
    ],
)
def test_blanks_and_missing_endings_do_not_hide_files(tmp_path: Path, text: str) -> None:
    frame = pd.read_csv(io.StringIO(text), sep=None, engine="python", skipinitialspace=True)
    expected = [label.strip(" \u00a0") for label in frame["label"]]
    index = read_index(write(tmp_path, text))
    assert list(index.keys) == [path for path, _label in ROWS] and labels_of(index) == expected


# --- stray quotes ----------------------------------------------------------------------------------------------------


def test_quotes_in_two_rows_are_refused_where_they_begin(tmp_path: Path) -> None:
    rows = [(path, f'"{label}' if number in (5, 15) else label, "train") for number, (path, label) in enumerate(ROWS)]
    for width, header in ((3, "path,label,split"), (2, "path,label")):
        text = header + "\n" + "".join(",".join(row[:width]) + "\n" for row in rows)
        assert len(list(csv.reader(io.StringIO(text)))) < len(rows), "the csv module loses rows"
        error = refused(write(tmp_path, text))
        assert fields_of(error.message).items() >= {"first": 7, "last": 17}.items()
        assert fields_of(error.hint) == {"line": 7}
        repaired = text.split("\n")
        for place in (6, 16):
            repaired[place] = repaired[place].replace('"', "")
        assert pairs(read_index(write(tmp_path, "\n".join(repaired)))) == ROWS


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ('img/005.jpg,"bolt', 7),  # never closed
        ('"img/005.jpg,bolt', 7),
        ('img/005.jpg,"3/4"" bolt', 7),
        ('img/005.jpg,"bolt" M8', 7),
    ],
)
def test_one_stray_quote_is_refused_with_its_line_and_reads_without_it(tmp_path: Path, row: str, line: int) -> None:
    lines = table(ROWS).split("\n")
    lines[6] = row
    error = refused(write(tmp_path, "\n".join(lines)))
    assert fields_of(error.message)["first"] == line == fields_of(error.hint)["line"]
    lines[6] = row.replace('"', "")
    assert len(read_index(write(tmp_path, "\n".join(lines)))) == len(ROWS)


@pytest.mark.parametrize(
    "caption",
    [
        "A man\nwith a hat, a dog, two",
        "A man\nwith a hat, a dog",
        "as in\n1.jpg, but brighter",
        "see\nimg/001.jpg",
        "one\n\nbolt, ring, disc\n",
        "left, right\nup, down",
        'He said "no",\nyes, and no',
    ],
)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
@pytest.mark.parametrize("ending", ["", ".jpg"])
def test_descriptions_with_line_breaks_are_read(
    tmp_path: Path, caption: str, order: tuple[int, int, int], ending: str
) -> None:
    rows = [(path.removesuffix(".jpg") + ending, label, f"{caption} {n}") for n, (path, label) in enumerate(ROWS)]
    text = io.StringIO()
    csv.writer(text).writerows([row[place] for place in order] for row in [("path", "label", "caption"), *rows])
    assert pairs(read_index(write(tmp_path, text.getvalue()))) == ROWS


@pytest.mark.parametrize("ending", ["", ".jpg"])
@pytest.mark.parametrize("header", ["path,label,note", "note,path,label", "path,note,label"])
@pytest.mark.parametrize("column", ["path", "label", "note"])
def test_stray_quotes_in_any_column_are_found(tmp_path: Path, ending: str, header: str, column: str) -> None:
    names = header.split(",")
    rows = [{"path": path.removesuffix(".jpg") + ending, "label": label, "note": "x y"} for path, label in ROWS]
    for number, quoted in ((5, '"{}'), (9, '{}"')):
        rows[number][column] = quoted.format(rows[number][column])
    text = header + "\n" + "".join(",".join(row[name] for name in names) + "\n" for row in rows)
    fields = fields_of(refused(write(tmp_path, text)).message)
    assert (fields["first"], fields["last"]) == (7, 11)


# --- one label in several spellings ----------------------------------------------------------------------------------


def labeled(root: Path, labels: list[str]) -> str:
    return write(root, table([(path, label) for (path, _label), label in zip(ROWS, labels, strict=False)]))


@pytest.mark.parametrize(
    ("labels", "merged"),
    [
        (["01", "1", "2", "2"], {"1", "01", "2"}),
        (["1,000", "1000", "2", "2"], {"1000", "2"}),
        (["a b", "a_b", "a-b", "c"], {"a b", "c"}),
        (["-0", "0", "1", "1"], {"0", "1"}),
        (["\u22121", "-1", "1", "1"], {"-1", "1"}),
        (["True", "1", "False", "0"], {"True", "1", "False", "0"}),
        (["\u0130zmir", "izmir", "c", "c"], {"izmir", "c"}),
    ],
)
def test_spellings_that_may_be_one_label_are_a_question(tmp_path: Path, labels: list[str], merged: set[str]) -> None:
    quoted = [f'"{label}"' for label in labels]
    error = refused(labeled(tmp_path, quoted))
    assert "--merge-labels" in error.hint and "--keep-labels" in error.hint
    source = str(tmp_path / "list.csv")
    assert labels_of(read_index(source, table=TableOptions(keep_labels=True))) == labels
    index = read_index(source, table=TableOptions(merge_labels=True))
    assert len(index.classes) == 2 and {*index.classes} <= {*merged, *labels}


LONG = "1234567890123456789012345678"  # as many digits as decimal numbers have by default


@pytest.mark.parametrize(
    "labels",
    [[f"{LONG}901", f"{LONG}902"], [f"0.{LONG}1", f"0.{LONG}2"], [f"-{LONG}11", f"-{LONG}12"]],
)
def test_long_numbers_are_the_same_only_if_all_digits_are(tmp_path: Path, labels: list[str]) -> None:
    assert {*labels_of(read_index(labeled(tmp_path, labels * 12)))} == {*labels}
    padded = f"-0{labels[0][1:]}" if labels[0].startswith("-") else f"0{labels[0]}"
    merged = read_index(labeled(tmp_path, [*labels, padded] * 8), table=TableOptions(merge_labels=True))
    assert len(merged.classes) == 2


def test_words_that_are_no_numbers_or_booleans_are_not_merged(tmp_path: Path) -> None:
    labels = ["True", "1", "2", "a1", "a_1", "ab"]
    assert labels_of(read_index(labeled(tmp_path, labels))) == labels


def test_labels_that_are_lists_of_others_are_noted(tmp_path: Path) -> None:
    for several in ("a|b", "a; b", "['a', 'b']", "a b", "a+b"):
        index = read_index(labeled(tmp_path, ["a", "b", f'"{several}"']))
        assert {*index.classes} == {"a", "b", several}
        assert [values_of(note) for note in index.notes] == [[1, "list.csv", repr(several)]]
    assert not read_index(labeled(tmp_path, ["a|c", "b", "b c"])).notes


def test_half_of_a_character_is_refused_with_its_line(tmp_path: Path) -> None:
    for name in ("label", "group"):
        rows = [{"path": path, "label": label, "group": "g"} for path, label in ROWS]
        rows[4][name] = "\ud83d"
        error = refused(write(tmp_path, "\n".join(map(json.dumps, rows)), "list.jsonl"))
        assert fields_of(error.message)["number"] == 5 and fields_of(error.message)["column"] == name


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "encoding"),
    [
        ("猫", "cp932"), ("ねこ", "cp932"), ("カメラ", "cp932"), ("고양이", "cp949"), ("Grün", "mac-roman"),
        ("été", "mac-roman"), ("кот", "koi8-r"), ("zażółć gęślą", "cp1250"),
    ],
)  # fmt: skip
def test_other_encodings_are_not_read_as_windows_1252(tmp_path: Path, label: str, encoding: str) -> None:
    rows = [*ROWS[:3], (ROWS[3][0], label)]
    error = refused(write(tmp_path, table(rows).encode(encoding)))
    assert fields_of(error.message) == {"manifest": "list.csv", "line": 5}
    assert pairs(read_index(write(tmp_path, table(rows)))) == rows


@pytest.mark.parametrize(
    "label",
    ["Übersicht", "ÜBERSICHT", "œuf", "„Wort“", "don’t", "20–30 µm", "m²", "½ l", "Brand®", "¿qué?", "«mot»", "Größe…"],
)
def test_western_words_are_read_as_windows_1252(tmp_path: Path, label: str) -> None:
    rows = [*ROWS[:3], (ROWS[3][0], label)]
    assert pairs(read_index(write(tmp_path, table(rows).encode("cp1252")))) == rows


@pytest.mark.parametrize(
    "text",
    [
        table(ROWS) + "\0" * 512,
        table(ROWS) + "\x1a",
        table(ROWS).replace("\n", "\r\r\n"),
        "\ufeff" + table(ROWS[:9]) + "\ufeff" + table(ROWS[9:]),  # two files in one
        table(ROWS[:9]) + "\ufeff" + "".join(f"{path},{label}\n" for path, label in ROWS[9:]),
        "| path | label |\n|------|:-----:|\n" + "".join(f"| {path} | {label} |\n" for path, label in ROWS),
        "+---+---+\n| path | label |\n+---+---+\n" + "".join(f"| {p} | {la} |\n" for p, la in ROWS) + "+---+---+\n",
        "".join(f'"{line}"\n' for line in table(ROWS).splitlines()),
        "sep=\\t\n" + table(ROWS, "\t"),
        FRAME.assign(n=range(24)).set_index("n").query("label != ''").to_csv(index_label=False),  # names of rows
        FRAME.set_index("path").rename_axis(None).to_csv(),
        '"label"\n' + "".join(f'"{path}" "{label}"\n' for path, label in ROWS),  # write.table of R
        "path,label\n" + "".join(f"{3 * n},{path},{label}\n" for n, (path, label) in enumerate(ROWS)),
    ],
)
def test_exports_are_the_same_table(tmp_path: Path, text: str) -> None:
    assert pairs(read_index(write(tmp_path, text))) == ROWS


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("{0} {1}", "path label"), ("{1};{0}", "label;path"), ("train,{0},{1}", "split,path,label"),
        ("{0}\t{1}\t0.5", "path\tlabel\tcolumn3"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["list.csv", "list.txt", "list.tsv"])
def test_table_without_a_header_is_refused_with_the_line_to_write(
    tmp_path: Path, line: str, header: str, name: str
) -> None:
    body = "".join(line.format(*row) + "\n" for row in ROWS)
    hint = fields_of(refused(write(tmp_path, body, name)).hint)
    assert hint == {"header": header}
    assert pairs(read_index(write(tmp_path, f"{hint['header']}\n{body}", name))) == ROWS


def test_json_under_another_name_is_refused_until_it_is_renamed(tmp_path: Path) -> None:
    text = FRAME.to_json(orient="records", lines=True)
    error = refused(write(tmp_path, text))
    assert ".jsonl" in error.hint
    (tmp_path / "list.csv").rename(tmp_path / "list.jsonl")
    assert pairs(read_index(str(tmp_path / "list.jsonl"))) == ROWS


# --- JSON ------------------------------------------------------------------------------------------------------------

OBJECTS = [{"path": path, "label": label} for path, label in ROWS]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + json.dumps(OBJECTS),
        "\n\n".join(map(json.dumps, OBJECTS)),
        "\n".join(json.dumps(row, indent=2) for row in OBJECTS),
        ",\n".join(map(json.dumps, OBJECTS)),
        json.dumps(OBJECTS, indent=1).encode("utf-16"),
    ],
)
@pytest.mark.parametrize("name", ["list.json", "list.ndjson"])
def test_json_of_all_layouts_is_a_table(tmp_path: Path, text: str | bytes, name: str) -> None:
    assert pairs(read_index(write(tmp_path, text, name))) == ROWS


@pytest.mark.parametrize("orient", ["columns", "split", "table"])
def test_other_layouts_of_pandas_are_refused_with_the_one_that_works(tmp_path: Path, orient: str) -> None:
    error = refused(write(tmp_path, FRAME.to_json(orient=orient), "list.json"))  # type: ignore[call-overload]
    touch(tmp_path, *FRAME["path"])
    code = error.hint[error.hint.index("table.to_json(") :].rstrip(".").replace("'list.", f"'{tmp_path}/list.")
    eval(code, {"table": FRAME})
    assert pairs(read_index(str(tmp_path / "list.jsonl"))) == ROWS


@pytest.mark.parametrize("value", [["x"], {"a": 1}, []])
def test_only_row_with_an_unused_list_is_a_row(tmp_path: Path, value: object) -> None:
    for names in (("path", "label"), ("where", "kind")):
        row = {names[0]: ROWS[0][0], names[1]: "a", "tags": value}
        source = write(tmp_path, json.dumps(row) + "\n", "list.jsonl")
        options = TableOptions() if names[0] == "path" else TableOptions(path_column="where", label_column="kind")
        table = read_table(Path(source), options)
        assert (table.rows, table.column(names[0]).values, table.column(names[1]).values) == (1, [ROWS[0][0]], ["a"])


def test_only_row_with_a_list_as_its_label_is_refused_with_its_line(tmp_path: Path) -> None:
    row = {"path": ROWS[0][0], "label": ["a"]}
    fields = fields_of(refused(write(tmp_path, "\n" + json.dumps(row), "list.jsonl")).message)
    assert (fields["number"], fields["column"]) == (2, "label")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (json.dumps(OBJECTS, indent=0)[:-40], 95),
        ("[\n" + "".join(json.dumps(row) + ",\n" for row in OBJECTS) + "]", 26),
        ('{"path": "img/000.jpg", "label": "a", "label": "b"}', 1),
        (json.dumps(OBJECTS[0]) + "\n\n" + str(OBJECTS[1]), 3),
    ],
)
def test_damaged_json_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    assert fields_of(refused(write(tmp_path, text, "list.jsonl")).message)["number"] == line


# --- Parquet and data frames -----------------------------------------------------------------------------------------


def test_formats_agree_on_dates_decimals_and_bytes(tmp_path: Path) -> None:
    days = pd.to_datetime(["2024-05-01", "2024-05-02"] * 12)
    values: dict[str, object] = {
        "days": days,
        "nullable": pd.array([1, 2] * 12, dtype="Int64"),
        "categories": pd.Categorical(["a", "b"] * 12),
        "strings": pd.array(["a", "b"] * 12, dtype="string"),
    }
    for name, column in values.items():
        frame = FRAME.assign(label=column)
        expected = [str(value).removesuffix(" 00:00:00") for value in frame["label"]]
        root = tmp_path / name
        touch(root, *FRAME["path"])
        frame.to_csv(root / "list.csv", index=False)
        frame.to_parquet(root / "list.parquet")
        absolute = frame.assign(path=[str(root / path) for path in frame["path"]])
        for source in (str(root / "list.csv"), str(root / "list.parquet"), stored_source(absolute, root / "runs")):
            assert labels_of(read_index(source, allow_outside=True)) == expected, (name, source)
    pq.write_table(
        pa.table({"path": FRAME["path"], "label": pa.array([1, 2] * 12, pa.decimal128(5, 2))}),
        tmp_path / "list.parquet",
    )
    touch(tmp_path, *FRAME["path"])
    assert read_index(str(tmp_path / "list.parquet")).classes == ("1", "2")
    texts = FRAME.assign(
        path=[str(tmp_path / path) for path in FRAME["path"]], label=FRAME["label"].str.encode("utf-8")
    )
    assert labels_of(read_index(stored_source(texts, tmp_path / "runs"), allow_outside=True)) == list(FRAME["label"])


@pytest.mark.parametrize("index", [["path"], ["label", "path"], None])
def test_index_of_a_frame_is_a_column_as_in_its_files(tmp_path: Path, index: list[str] | None) -> None:
    touch(tmp_path, *FRAME["path"])
    frame = FRAME.assign(path=[str(tmp_path / path) for path in FRAME["path"]])
    indexed = frame.set_index(index) if index else frame.set_index("path").rename_axis(None)
    indexed = indexed.assign(other=1)
    indexed.to_csv(tmp_path / "list.csv")
    indexed.to_parquet(tmp_path / "list.parquet")
    for source in (tmp_path / "list.csv", tmp_path / "list.parquet", stored_source(indexed, tmp_path / "runs")):
        assert pairs(read_index(str(source), allow_outside=True)) == [(path[4:], label) for path, label in ROWS]


@pytest.mark.parametrize(
    ("index", "columns"),
    [
        (["file"], ("image", "label")),
        (["file", "class"], ("image", "label")),
        (["target"], ("path", "class")),
        (["path"], ("image", "label")),
        (["split"], ("image", "label")),
        (["file"], ("where", "label")),
    ],
)
def test_index_is_no_column_of_a_frame_that_has_one(tmp_path: Path, index: list[str], columns: tuple[str, str]) -> None:
    touch(tmp_path, *FRAME["path"])
    frame = pd.DataFrame({columns[0]: [str(tmp_path / path) for path in FRAME["path"]], columns[1]: FRAME["label"]})
    levels = [["train"] * len(ROWS) if name == "split" else [f"{i}.jpg" for i in range(len(ROWS))] for name in index]
    frame.index = (
        pd.MultiIndex.from_arrays(levels, names=index) if len(index) > 1 else pd.Index(levels[0], name=index[0])
    )
    options = TableOptions(path_column="where" if columns[0] == "where" else "")
    found = read_index(stored_source(frame, tmp_path / "runs", options), allow_outside=True, table=options)
    assert pairs(found) == [(path[4:], label) for path, label in ROWS]
    assert {*found.splits} == {"train" if index == ["split"] else ""}


def test_index_that_the_user_names_is_the_column(tmp_path: Path) -> None:
    touch(tmp_path, *FRAME["path"])
    frame = FRAME.assign(image="wrong.jpg", file=[str(tmp_path / path) for path in FRAME["path"]])
    frame, options = frame.drop(columns="path").set_index("file"), TableOptions(path_column="file")
    found = read_index(stored_source(frame, tmp_path / "runs", options), allow_outside=True, table=options)
    assert pairs(found) == [(path[4:], label) for path, label in ROWS]


def hugging_face(path: Path, columns: dict[str, object]) -> Path:
    """Write a table as Hugging Face's datasets do, with the names of classes in its metadata."""
    features = {"label": {"names": NAMES, "_type": "ClassLabel"}}
    content = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(content, path)
    return path


NUMBERS = [NAMES.index(label) for _path, label in ROWS]


def test_class_names_and_paths_of_hugging_face_are_read(tmp_path: Path) -> None:
    touch(tmp_path, *FRAME["path"])
    images = [{"bytes": None, "path": path} for path in FRAME["path"]]
    source = hugging_face(tmp_path / "list.parquet", {"image": images, "label": NUMBERS})
    assert pairs(read_index(str(source))) == ROWS


@pytest.mark.parametrize("missing", [-1, None])
def test_images_without_a_label_are_no_class_of_hugging_face(tmp_path: Path, missing: int | None) -> None:
    touch(tmp_path, *FRAME["path"])
    numbers = pa.array([*NUMBERS[:-2], missing, missing], pa.int64())
    error = refused(hugging_face(tmp_path / "list.parquet", {"image": FRAME["path"], "label": numbers}))
    assert values_of(error.message) == ["23", "24", "list.parquet", "label"]


@pytest.mark.parametrize("number", [3, -2, 99])
def test_numbers_without_a_name_are_refused_with_their_row(tmp_path: Path, number: int) -> None:
    touch(tmp_path, *FRAME["path"])
    columns = {"image": FRAME["path"], "label": [*NUMBERS[:5], number, *NUMBERS[6:]]}
    fields = fields_of(refused(hugging_face(tmp_path / "list.parquet", columns)).message)
    assert (fields["number"], fields["value"], fields["last"]) == (6, str(number), 2)


def run_code(source: Path) -> Path:
    """Run the program of a hint, and return the table that it writes."""
    fields = fields_of(refused(source).hint)
    exec(str(fields["code"]), {})
    return source.with_name(str(fields["target"]))


IMAGES: dict[str, list[object]] = {
    "without names": [{"bytes": path.encode(), "path": None} for path, _label in ROWS],
    "with names": [{"bytes": path.encode(), "path": f"{path[:-4]}.png"} for path, _label in ROWS],
    "only bytes": [{"bytes": path.encode()} for path, _label in ROWS],
    "binary": [b"\xff" + path.encode() for path, _label in ROWS],
}


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("column", ["image", "path"])
def test_images_inside_of_parquet_are_refused_with_code_that_unpacks_them(
    tmp_path: Path, kind: str, column: str
) -> None:
    touch(tmp_path, "0.jpg", "list/0.jpg")
    (tmp_path / "list.csv").write_text("other")
    masks = [{"bytes": b"\xff", "path": None}] * len(ROWS)
    columns = {column: IMAGES[kind], "label": NUMBERS, "mask": masks, "boxes": [[1, 2]] * len(ROWS)}
    made = run_code(hugging_face(tmp_path / "list.parquet", columns))
    assert (tmp_path / "list.csv").read_text() == "other", "no file is overwritten"
    assert [*pd.read_csv(made)] == ["label", "path"]
    index = read_index(str(made))
    contents = [path.read_bytes().removeprefix(b"\xff").decode() for path in index.paths]
    assert dict(zip(contents, labels_of(index), strict=True)) == dict(ROWS)
    assert {path.suffix for path in index.paths} == {".png" if kind == "with names" else ".jpg"}
    assert not (tmp_path / "0.jpg").read_bytes() and not (tmp_path / "list" / "0.jpg").read_bytes()


def test_rows_without_an_image_inside_of_parquet_keep_their_file_or_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "img/here.jpg")
    images = [{"bytes": b"x", "path": None}, {"bytes": None, "path": "img/here.jpg"}, None]
    source = hugging_face(tmp_path / "list.parquet", {"image": images, "label": [0, 1, 0]})
    made = run_code(source)
    assert fields_of(refused(made).message)["number"] == 4
    made.write_text(made.read_text().rpartition("disc,")[0])
    assert pairs(read_index(str(made))) == [("img/here.jpg", "ring"), ("list-images/0.jpg", "disc")]


# --- columns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [
        {"a": ["1", "", ""], "b": ["", "1", ""], "c": ["", "", "1"]},
        {"a": ["x", "", ""], "b": ["", "x", ""], "c": ["", "", "x"]},
        {"a": [0.9, 0.2, 0.1], "b": [0.1, 0.7, 0.1], "c": [0.0, 0.1, 0.8]},
        {"a": [True, False, False], "b": [False, True, False], "c": [False, False, True]},
    ],
)
def test_columns_of_classes_are_refused_with_a_line_that_makes_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: dict[str, list[object]]
) -> None:
    pd.DataFrame({"path": FRAME["path"][:3], **columns}).to_csv(tmp_path / "list.csv", index=False)
    touch(tmp_path, *FRAME["path"][:3])
    hint = refused(tmp_path / "list.csv").hint
    monkeypatch.chdir(tmp_path)
    exec(hint.split("`")[1], {})
    assert labels_of(read_index(str(tmp_path / "labeled.csv"))) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["train", "val", "eval"], ("train", "val", "test")),
        (["train_set", "test_set", "train_set"], ("train", "test", "train")),
        (["train2017", "val2017", ""], ("train", "val", "")),
    ],
)
def test_splits_are_named_as_folders_are(tmp_path: Path, values: list[str], expected: tuple[str, ...]) -> None:
    rows = [(path, "a", value) for (path, _l), value in zip(ROWS, values, strict=False)]
    rows += [(ROWS[9][0], "b", "train"), (ROWS[10][0], "a", "train")]
    text = "path,label,split\n" + "".join(",".join(row) + "\n" for row in rows)
    assert read_index(write(tmp_path, text)).splits == (*expected, "train", "train")


# --- folders ---------------------------------------------------------------------------------------------------------


def test_files_in_several_subfolders_are_found_if_each_is_in_one(tmp_path: Path) -> None:
    text = "image_id,label\n" + "".join(f"{path[4:-4]},{label}\n" for path, label in ROWS)
    for number, (path, _label) in enumerate(ROWS):
        touch(tmp_path, f"part_{number // 12}/{path[4:]}")
    (tmp_path / "list.csv").write_text(text)
    index = read_index(str(tmp_path / "list.csv"))
    assert sorted((key[7:], label) for key, label in pairs(index)) == [(path[4:], label) for path, label in ROWS]
    touch(tmp_path, "part_1/000.jpg")
    error = refused(tmp_path / "list.csv")
    assert fields_of(error.message)["count"] == 1
    assert {"first": "part_0/000.jpg", "second": "part_1/000.jpg", "number": 2}.items() <= fields_of(error.hint).items()
    (tmp_path / "list.csv").write_text(text.replace("\n000,", "\npart_1/000.jpg,"))
    assert "part_1/000.jpg" in read_index(str(tmp_path / "list.csv")).keys
    (tmp_path / "list.csv").write_text(text.replace("\n000,", "\nnope,"))
    error = refused(tmp_path / "list.csv")
    assert (fields_of(error.message)["count"], fields_of(error.hint)["number"]) == (1, 2)


@pytest.mark.parametrize("prefix", ["", "C:\\me\\x\\", "/nowhere/x/", "old/place/"])
def test_one_missing_file_of_a_moved_table_is_named_with_its_line(tmp_path: Path, prefix: str) -> None:
    names = [f"{number}.png" for number in range(10)]
    touch(tmp_path, *((name if prefix else f"one/{name}") for name in names), "two/0.png")
    text = "path,label\n" + "".join(f"{prefix}{name},{number % 2}\n" for number, name in enumerate(names))
    (tmp_path / "list.csv").write_text(text + f"{prefix}nope.png,1\n")
    error = refused(tmp_path / "list.csv")
    fields = fields_of(error.message)
    assert (fields["count"], fields["folder"]) == (1, tmp_path if prefix else tmp_path / "one")
    assert fields_of(error.hint) == {"number": 12}
    (tmp_path / "list.csv").write_text(text)
    assert len(read_index(str(tmp_path / "list.csv"))) == 10


def test_table_in_a_folder_that_has_no_classes_is_named(tmp_path: Path) -> None:
    source = Path(write(tmp_path, table(ROWS), "labels.csv"))
    path = fields_of(refused(tmp_path).hint)["path"]
    assert path == str(source) and pairs(read_index(str(path))) == ROWS


def test_metadata_is_found_in_the_only_folder(tmp_path: Path) -> None:
    root = tmp_path / "data" / "train"
    touch(root, "1.jpg", "2.jpg")
    pd.DataFrame({"file_name": ["1.jpg", "2.jpg"], "label": ["a", "b"]}).to_csv(root / "metadata.csv", index=False)
    index = read_index(str(tmp_path))
    assert pairs(index) == [("data/train/1.jpg", "a"), ("data/train/2.jpg", "b")] and {*index.splits} == {"train"}


def touch_file(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


@pytest.mark.parametrize("name", ["t.csv.gz", "t.xlsx", "t.ods", "t.zip", "t.parquet", "t.csv"])
def test_files_of_other_kinds_are_named(tmp_path: Path, name: str) -> None:
    content = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    error = refused(touch_file(content)(tmp_path / name))
    assert ("git lfs pull" in error.hint) == name.endswith(("parquet", ".csv"))
    assert isinstance(error, DataError)
