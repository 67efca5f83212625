"""Files of figures: which there are, their formats and sizes, equal bytes, and errors before anything is written."""

import importlib.util
import re
import shutil
import zlib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from headstart.cli.main import main
from headstart.errors import DataError, UsageError
from headstart.factories import load_factory
from headstart.figures.draw import WrittenFigure, write_figures
from headstart.figures.options import FIGURE_FORMATS, FOLDER, MAX_DPI, MIN_DPI
from headstart.figures.registry import FIGURES, FigureSpec
from headstart.i18n import translated
from headstart.storage.contained import UnsafeFileError
from tests.figures.made import Made, write_run, write_runs, write_study
from tests.files import read_json
from tests.messages import values_of

CLASS = r"a_b$c^d$"
MADE = Made(classes=(CLASS, "b", "c"), epochs=2)
EVERY = [row.name for row in FIGURES]
TEXT = "{http://www.w3.org/2000/svg}text"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("figures") / "study", MADE)


@pytest.fixture(scope="module")
def written(study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, WrittenFigure]:
    output = tmp_path_factory.mktemp("written") / "new" / "folder"
    return {figure.name: figure for figure in write_figures(study, output, FIGURE_FORMATS, dpi=150)}


def names_of(folder: Path, output: Path) -> list[str]:
    return [figure.name for figure in write_figures(folder, output, dpi=MIN_DPI)]


@pytest.mark.parametrize("row", FIGURES, ids=lambda row: row.name)
def test_rows_resolve(row: FigureSpec) -> None:
    assert callable(load_factory(row.factory)) and re.fullmatch("[a-z-]+", row.name)


def test_study_has_every_figure_in_every_format(written: dict[str, WrittenFigure]) -> None:
    assert list(written) == EVERY
    for name, figure in written.items():
        assert {form: path.name for form, path in figure.files.items()} == {
            form: f"{name}.{form}" for form in FIGURE_FORMATS
        }
        folder = figure.files["png"].parent
        text = (folder / f"{name}.caption.txt").read_text(encoding="utf-8")
        assert text == f"{translated(figure.title)}\n\n{translated(figure.caption)}\n"
    assert len(list(folder.iterdir())) == 4 * len(EVERY)


def test_runs_without_a_verdict_have_the_figures_of_their_records(tmp_path: Path) -> None:
    of_verdict = {"verdict", "confusion-matrix", "learning-rate-grid"}
    runs = write_runs(tmp_path / "runs", MADE)
    (runs / "study.toml").unlink()
    assert names_of(runs, tmp_path / "out") == [name for name in EVERY if name not in of_verdict]
    for path in runs.glob("*-s1"):
        shutil.rmtree(path)
    assert names_of(runs, tmp_path / "out") == [name for name in EVERY if name not in of_verdict]


def test_single_run_has_its_confusion_matrix(tmp_path: Path) -> None:
    run = write_run(tmp_path, MADE, "scratch", 0, in_study=False)
    assert names_of(run, tmp_path / "out") == [name for name in EVERY if name not in ("verdict", "learning-rate-grid")]


def test_run_that_has_hardly_begun_has_no_figure(tmp_path: Path) -> None:
    run = write_run(tmp_path, Made(epochs=1), "scratch", 0, in_study=False)
    for file in ("metrics.jsonl", "result.json", "model/model.safetensors"):
        (run / file).unlink()
    assert names_of(run, tmp_path / "out") == []


def test_results_on_test_are_not_drawn_before_the_verdict(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "study", MADE)
    run = next(runs.glob("*-scratch-s0"))
    result = read_json(run / "result.json")

    def correct(folder: Path) -> set[object]:
        by_name = {figure.name: figure for figure in write_figures(folder, tmp_path / "out", dpi=MIN_DPI)}
        return set(values_of(by_name["confusion-matrix"].caption))

    assert result["val"]["n"] != result["test"]["n"]
    assert {"val", result["val"]["correct"]} <= correct(run)
    shutil.copytree(run, tmp_path / "copy")  # in no study
    assert {"test", result["test"]["correct"]} <= correct(tmp_path / "copy")


def test_equal_records_give_equal_bytes(study: Path, written: dict[str, WrittenFigure], tmp_path: Path) -> None:
    for figure in write_figures(study, tmp_path, FIGURE_FORMATS, dpi=150):
        for form, path in figure.files.items():
            assert path.read_bytes() == written[figure.name].files[form].read_bytes(), path.name


def test_png_has_the_resolution_and_the_width_of_the_text(written: dict[str, WrittenFigure]) -> None:
    for figure in written.values():
        with Image.open(figure.files["png"]) as image:
            assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
            assert image.width <= round(6.3 * 150) and image.height <= 9.7 * 150
    with Image.open(written["verdict"].files["png"]) as image:
        assert image.width == round(6.3 * 150)


def test_svg_is_valid_and_has_its_text(written: dict[str, WrittenFigure]) -> None:
    for figure in written.values():
        content = figure.files["svg"].read_text(encoding="utf-8")
        assert "<dc:date>" not in content
        root = ElementTree.fromstring(content)
        assert root.tag.endswith("svg")
    texts = [text.text for text in ElementTree.parse(written["confusion-matrix"].files["svg"]).iter(TEXT)]
    assert texts.count(CLASS) == 2 and "true class" in texts


def pdf_texts(content: bytes) -> list[str]:
    """Return the texts of a PDF whose character codes are those of ASCII."""
    texts = []
    for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        try:
            stream = zlib.decompress(match[1])
        except zlib.error:
            continue
        for array in re.findall(rb"BT.*?ET", stream, re.DOTALL):
            parts = re.findall(rb"\(((?:\\.|[^()\\])*)\)", array, re.DOTALL)
            text = b"".join(re.sub(rb"\\(.)", rb"\1", part) for part in parts)
            texts.append(text.replace(b"\x00", b"").decode("latin-1"))
    return texts


def test_pdf_has_its_text_in_embedded_fonts_and_no_date(written: dict[str, WrittenFigure]) -> None:
    for figure in written.values():
        content = figure.files["pdf"].read_bytes()
        assert content.startswith(b"%PDF") and b"CreationDate" not in content
        assert b"/Subtype /Type3" not in content
        assert b"/FontFile2" in content or not re.search(rb"/Type /Font\b", content)
        assert b"/ToUnicode" in content or b"/FontFile2" not in content
    assert pdf_texts(written["confusion-matrix"].files["pdf"].read_bytes()).count(CLASS) == 2


@pytest.mark.parametrize("options", [{"formats": ["gif"]}, {"formats": []}, {"dpi": MIN_DPI - 1}, {"dpi": MAX_DPI + 1}])
def test_invalid_options_are_errors_before_anything_is_written(study: Path, tmp_path: Path, options: dict) -> None:
    with pytest.raises(UsageError) as error:
        write_figures(study, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert set(map(str, [*options.get("formats", []), *([options["dpi"]] if "dpi" in options else [])])) <= set(
        map(str, values_of(error.value.message))
    )


def test_missing_package_is_named(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "headstart.figures.options.find_spec", lambda name: None if name == "matplotlib" else real(name)
    )  # fmt: skip
    with pytest.raises(UsageError) as error:
        write_figures(study, tmp_path / "out")
    assert "matplotlib" in error.value.message and "pip install" in error.value.hint
    assert not (tmp_path / "out").exists()


def test_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        write_figures(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command_prints_the_paths(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(study, tmp_path / "study")
    main(["figures", str(copy), "--format", "png,svg", "--dpi", "72"])
    expected = [str(copy / "figures" / f"{name}.{form}") for name in EVERY for form in ("png", "svg")]
    assert capsys.readouterr().out.splitlines() == expected
    assert all(Path(path).is_file() for path in expected)


@pytest.mark.parametrize("words", [["--format", "png,gif"], ["--dpi", "9"]])
def test_command_with_invalid_options_is_a_usage_error(study: Path, tmp_path: Path, capsys, words: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["figures", str(study), "--output", str(tmp_path / "out"), *words])
    assert exit_info.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 2
    assert not (tmp_path / "out").exists()


def test_files_of_the_user_are_kept(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = {
        f"{name}.{suffix}": f"my {name}" for name in ("verdict", "weights") for suffix in ("txt", "png", "svg", "pdf")
    }
    for name, text in mine.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    main(["figures", str(study), "--output", str(tmp_path), "--dpi", "72", "--format", ".PNG,svg,PDF"])
    shown = capsys.readouterr()
    (tmp_path / "weights.caption.txt").write_text("my caption", encoding="utf-8")
    kept = {**{name.replace(".", "-1.") if "txt" not in name else name: text for name, text in mine.items()}}
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in kept} == kept
    assert all(name in shown.err for name in kept if "txt" not in name)
    main(["figures", str(study), "--output", str(tmp_path), "--dpi", "100", "--format", "png,svg,pdf"])
    assert (tmp_path / "weights.caption-1.txt").read_text(encoding="utf-8") == "my caption"
    names = {f"{name}.{suffix}" for name in EVERY for suffix in ("png", "svg", "pdf", "caption.txt")}
    assert {path.name for path in tmp_path.iterdir()} == names | set(kept) | {"weights.caption-1.txt"}
    assert capsys.readouterr().err.count("caption-1.txt") == 1


def test_command_without_data_is_a_data_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path, Made(epochs=1), "scratch", 0, in_study=False)
    for file in ("metrics.jsonl", "result.json", "model/model.safetensors"):
        (run / file).unlink()
    with pytest.raises(SystemExit) as exit_info:
        main(["figures", str(run)])
    assert exit_info.value.code == 3 and capsys.readouterr().out == ""


def test_error_of_the_disk_is_an_error_of_resources(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(root: Path, name: str, content: bytes | str) -> None:
        raise OSError(28, "No space left on device", str(root / name))

    monkeypatch.setattr("headstart.figures.keep.contained.write", full)
    with pytest.raises(SystemExit) as exit_info:
        main(["figures", str(study), "--output", str(tmp_path / "out"), "--dpi", "72"])
    assert exit_info.value.code == 5 and len(capsys.readouterr().err.splitlines()) == 2


def test_default_folder_of_a_copy_is_not_followed(study: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(study, tmp_path / "copy"))
    (tmp_path / "private").mkdir()
    (copy / FOLDER).symlink_to(tmp_path / "private")
    with pytest.raises(UnsafeFileError):
        write_figures(copy, dpi=MIN_DPI)
    with pytest.raises(SystemExit):
        main(["figures", str(copy)])
    assert list((tmp_path / "private").iterdir()) == []
    (copy / FOLDER).unlink()
    written = write_figures(copy, dpi=MIN_DPI)
    assert {path.parent for figure in written for path in figure.files.values()} == {copy / FOLDER}
    assert (copy / FOLDER / f"{written[0].name}.caption.txt").is_file()
