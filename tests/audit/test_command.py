"""The command `check`: rows, JSON, exit code, page."""

import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NoReturn

import jsonschema
import pytest

import headstart
from headstart.audit.page import write_audit_page
from headstart.audit.registry import AUDIT_CHECKS
from headstart.cli.main import main
from headstart.errors import DataError, UsageError
from headstart.i18n import verbatim
from headstart.report.page import MAX_BYTES
from headstart.storage.schemas.audit import AuditFile
from tests.audit.pictures import SIDE, audited, picture, random_name, statuses, two_classes, write_pictures
from tests.conftest import environment_for_processes
from tests.pages import PageReader, assert_is_closed

FLAGS = ["--image-size", str(SIDE), "--threads", "1"]
BAD_CLASS = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_classes(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    two_classes(tmp_path / "photos")
    (tmp_path / "photos" / "cat" / "bad.jpg").write_bytes(b"nothing")
    return tmp_path / "photos"


def test_rows_and_exit_code(faulty: Path, capsys) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["check", str(faulty), *FLAGS])
    output = capsys.readouterr()
    assert exit_info.value.code == 3 and len(output.err.splitlines()) >= 2
    lines = [line for line in output.out.splitlines() if re.match("(pass|warn|fail|not-checked) ", line)]
    assert len(lines) == len(AUDIT_CHECKS) and lines[0].startswith("fail")
    assert "cat/bad.jpg" in output.out and "\x1b" not in output.out
    (faulty / "cat" / "bad.jpg").unlink()
    main(["check", str(faulty), *FLAGS, "--quiet"])
    assert capsys.readouterr().err == ""


def test_built_in_images_are_named_if_no_folder_is_given(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def stop(*_arguments: object, **_options: object) -> NoReturn:
        raise UsageError(verbatim("stop"), verbatim("here"))

    monkeypatch.setattr("headstart.audit.run.audit", stop)
    said = []
    for words in (["check"], ["check", "digits"]):
        with pytest.raises(SystemExit):
            main(words)
        said.append("digits" in capsys.readouterr().err)
    assert said == [True, False]


def test_json_follows_its_schema(faulty: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["check", str(faulty), *FLAGS, "--json"])
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, AuditFile.model_json_schema(mode="serialization"))
    assert [row["check"] for row in printed["rows"]] == list(AUDIT_CHECKS)
    assert printed == headstart.check(faulty, image_size=SIDE, threads=1, quiet=True).to_json()
    assert (printed["images"], printed["classes"], printed["declared"]) == (25, {"cat": 13, "dog": 12}, "none")


def raise_error(error: Exception):
    def check(data: object) -> None:
        raise error

    return check


@pytest.mark.parametrize(
    "error", [RuntimeError("broken check"), DataError("Cached pixels have changed.", "Try again.")]
)
def test_a_check_that_raises_is_not_checked_and_the_others_are_made(
    error: Exception, photos: Path, monkeypatch
) -> None:
    expected = statuses(audited(photos)[0])
    monkeypatch.setattr("headstart.audit.class_checks.balance", raise_error(error))
    result, _ = audited(photos)
    assert statuses(result) == {**expected, "balance": "not-checked"}
    row = result.row("balance")
    assert row.error is error and str(error.args[0]) in row.sentence and row.hint
    monkeypatch.setattr("headstart.audit.class_checks.balance", raise_error(MemoryError()))
    with pytest.raises(MemoryError):
        audited(photos)


def test_traceback_of_a_check_is_printed_with_debug(photos: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("headstart.audit.class_checks.balance", raise_error(RuntimeError("broken check")))
    for flags, count in (([], 0), (["--debug", "--json"], 1)):
        main(["check", str(photos), *FLAGS, *flags])
        assert capsys.readouterr().err.count("Traceback") == count


def test_notes_of_the_fix_are_in_the_json_and_on_stderr(faulty: Path, capsys) -> None:
    folder = faulty.parent / "elsewhere"
    folder.mkdir()
    with pytest.raises(SystemExit) as exit_info:
        main(["check", str(faulty), *FLAGS, "--json", "--fix", str(folder / "fixed.csv")])
    output = capsys.readouterr()
    fixed = json.loads(output.out)["fixed"]
    assert exit_info.value.code == 3
    assert (fixed["path"], fixed["flags"]) == (str(folder / "fixed.csv"), ["--allow-outside"])
    assert fixed["left_out"] == ["cat/bad.jpg"] and any("cat/bad.jpg" in note for note in fixed["notes"])
    assert all(note in output.err for note in fixed["notes"])
    commands = re.findall(r"headstart (train|compare|check) (.+)", output.err)
    assert [name for name, _ in commands] == ["train", "compare", "check"]
    assert len({flags for _, flags in commands}) == 1
    main(["check", *shlex.split(commands[2][1]), *FLAGS, "--quiet"])  # its flags suffice


def test_next_step_of_the_json_names_no_hints_above(faulty: Path, capsys) -> None:
    errors = []
    for flags in ([], ["--json"]):
        with pytest.raises(SystemExit):
            main(["check", str(faulty), *FLAGS, *flags])
        errors.append(capsys.readouterr().err.splitlines()[-1])
    assert errors[0] != errors[1] and "above" not in errors[1] and "`hint`" in errors[1]


def test_python_reports_the_notes_of_the_fix(faulty: Path, capsys) -> None:
    paths = [faulty / "a.csv", faulty / "b.csv"]
    results = [
        headstart.check(faulty, image_size=SIDE, threads=1, fix=path, quiet=quiet)
        for path, quiet in zip(paths, (True, False), strict=True)
    ]
    error = capsys.readouterr().err
    for path, result in zip(paths, results, strict=True):
        assert result.fixed is not None and result.fixed.left_out == ("cat/bad.jpg",)
        assert all(note in str(result) for note in result.fixed.notes)
        assert (result.fixed.notes[-1] in error) == (path is paths[1])
        jsonschema.validate(result.to_json(), AuditFile.model_json_schema(mode="serialization"))


def test_built_in_data_cannot_be_fixed(tmp_path: Path) -> None:
    for source in ("digits", "digits:0-2"):
        with pytest.raises(UsageError):
            headstart.check(source, fix=tmp_path / "fixed.csv", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_check_imports_no_torch_and_its_manifest_trains(faulty: Path) -> None:
    manifest = faulty / "fixed.csv"
    code = (
        "import sys; from headstart.cli.main import main\n"
        f"try: main(['check', {str(faulty)!r}, *{FLAGS}, '--fix', {str(manifest)!r}])\n"
        "finally: print('LOADED', sorted(set(sys.modules) & {'torch', 'timm', 'torchvision'}))\n"
    )
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment_for_processes(), capture_output=True, text=True
    )
    assert process.returncode == 3 and "LOADED []" in process.stdout, process.stderr
    run = headstart.train(
        manifest, network="timm:test_resnet", image_size=SIDE, epochs="1st", threads=1, precision="fp32",
        runs=faulty.parent / "runs", quiet=True, min_per_class=3,
    )  # fmt: skip
    assert run.plan.facts.split_counts.train + run.plan.facts.split_counts.val + run.plan.facts.split_counts.test == 24


def test_data_frames_and_notebooks(faulty: Path) -> None:
    import pandas as pd

    files = sorted(faulty.rglob("*.png"))
    frame = pd.DataFrame({"path": files, "label": [file.parent.name for file in files]})
    result = headstart.check(frame, image_size=SIDE, threads=1, quiet=True)
    assert result.failed == () and result.image_count == 24
    assert result.data == result.to_json()["data"] == "data frame"
    table = Elements(result._repr_html_())
    assert PageReader(result._repr_html_()).faults == []
    assert table.tags.count("tr") == len(AUDIT_CHECKS)
    assert len(str(result).splitlines()) > len(AUDIT_CHECKS)


class Elements(HTMLParser):
    """The tags of a page and the values of their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for name, value in attrs if name in ("src", "href", "onerror")]


def test_page_shows_pairs_and_escapes_names(tmp_path: Path) -> None:
    two_classes(tmp_path / "photos", **{BAD_CLASS: [f"{random_name(i + 70)}.png" for i in range(4)]})
    copy = next((tmp_path / "photos" / "cat").iterdir()).read_bytes()
    for name in ("copy.png", f"{BAD_CLASS[:8]}.png"):
        (tmp_path / "photos" / BAD_CLASS / name).write_bytes(copy)
    (tmp_path / "photos" / BAD_CLASS / "<b>bad.jpg").write_bytes(b"nothing")
    result, data = audited(tmp_path / "photos", seed=7)
    write_audit_page(result, data, tmp_path / "check.html")
    text = (tmp_path / "check.html").read_text(encoding="utf-8")
    page = Elements(text)
    shown = [value for value in page.values if value.startswith("data:image/webp;base64,")]
    assert len(shown) == page.tags.count("img") >= 4
    assert all(value.startswith(("data:", "#")) for value in page.values)
    assert_is_closed(text)
    assert BAD_CLASS not in text and "<b>bad" not in text and "&lt;b&gt;bad.jpg" in text
    assert "http://" not in text.replace("http://www.w3.org/", "") and "https://" not in text
    assert f"seed {result.seed}" in text and result.seed == 7
    for row in result.rows:
        is_shown = row.status.value in ("fail", "warn")
        assert (f'id="{row.check}"' in text) == is_shown


def test_page_of_many_images_is_small(tmp_path: Path) -> None:
    names = {label: [f"{'x' * 180}{i}{label}.png" for i in range(3)] for label in ("cat", "dog")}
    write_pictures(tmp_path / "photos", names, side=200)
    for i in range(600):
        (tmp_path / "photos" / "cat" / f"{'y' * 200}{i}.png").write_bytes(f"bad {i}".encode())
        if i % 3 == 0:
            picture(i, 150).convert("L").save(tmp_path / "photos" / "dog" / f"{random_name(i)}.png")
    result, data = audited(tmp_path / "photos", image_size=128)
    write_audit_page(result, data, tmp_path / "check.html")
    assert 100_000 < (tmp_path / "check.html").stat().st_size <= MAX_BYTES
    assert result.row("unreadable").count == 600
