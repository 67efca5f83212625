"""The ledger of test sets: which studies used the same images, whatever happens to its file."""

import os
from pathlib import Path

import pytest

from headstart.i18n import Message
from headstart.storage import ledger
from headstart.storage.journal import checked_object
from headstart.storage.schemas.ledger import LedgerLine, LedgerUse
from tests.messages import fields_of

SETS = [ledger.digest_of(contents) for contents in (["a", "b"], ["a", "b", "c"])]
STUDIES = [character * 64 for character in "123"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def enter(study: int, test_set: int = 0, use: LedgerUse = LedgerUse.VERDICT) -> Message:
    return ledger.enter(SETS[test_set], STUDIES[study], Path("runs/study"), use)


def lines(root: Path) -> list[LedgerLine]:
    text = (root / ledger.LEDGER_FILE).read_bytes().splitlines(keepends=True)
    return [LedgerLine.model_validate_json(checked_object(line) or b"") for line in text]


def test_a_set_is_known_by_the_contents_of_its_images() -> None:
    assert ledger.digest_of(["b", "a"]) == SETS[0] != SETS[1] and ledger.digest_of(["a", "a", "b"]) != SETS[0]


def test_a_study_counts_once_in_the_order_of_its_first_use(root: Path) -> None:
    assert ledger.uses_of(SETS[0]) == ledger.LedgerUses() and not root.exists()
    assert ledger.uses_of(SETS[0]).place(STUDIES[0]) == 1
    for study, use in ((0, LedgerUse.INTERIM_ANALYSIS), (1, LedgerUse.VERDICT), (0, LedgerUse.VERDICT)):
        for _ in range(2):
            assert not enter(study, use=use)
    assert not enter(2, test_set=1)
    assert ledger.uses_of(SETS[0]).studies == (STUDIES[0], STUDIES[1])
    assert [ledger.uses_of(SETS[0]).place(study) for study in STUDIES] == [1, 2, 3]
    assert [(line.study, line.use) for line in lines(root)] == [
        (STUDIES[0], "interim analysis"), (STUDIES[1], "verdict"), (STUDIES[0], "verdict"), (STUDIES[2], "verdict")
    ]  # fmt: skip
    assert {line.folder for line in lines(root)} == {str(Path("runs/study").absolute())}
    assert root.stat().st_mode & 0o777 == 0o700 and (root / ledger.LEDGER_FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(b"1" * 64, b"4" * 64, 1),
        lambda text: b"{}\n" + text.partition(b"\n")[2],
        lambda text: b"\xff\n" + text.partition(b"\n")[2],
        lambda text: b"[" * 100_000 + b"\n" + text.partition(b"\n")[2],
    ],
)
def test_a_damaged_line_is_named_and_kept(root: Path, damage) -> None:
    enter(0), enter(1)
    file = root / ledger.LEDGER_FILE
    file.write_bytes(text := damage(file.read_bytes()))
    uses = ledger.uses_of(SETS[0])
    assert uses.studies == (STUDIES[1],) and uses.is_readable and fields_of(uses.fault) == {"number": 1, "path": file}
    assert not enter(2) and file.read_bytes().startswith(text)
    assert ledger.uses_of(SETS[0]).studies == (STUDIES[1], STUDIES[2])


def test_a_line_that_a_crash_cut_does_not_damage_the_next(root: Path) -> None:
    enter(0), enter(1)
    file = root / ledger.LEDGER_FILE
    file.write_bytes(file.read_bytes()[:-20])
    assert not enter(2) and ledger.uses_of(SETS[0]).studies == (STUDIES[0], STUDIES[2])
    assert fields_of(ledger.uses_of(SETS[0]).fault)["number"] == 2


def make_file(root: Path) -> None:
    root.write_text("")


def make_link(root: Path) -> None:
    root.mkdir()
    (root.parent / "other").write_text("")
    (root / ledger.LEDGER_FILE).symlink_to(root.parent / "other")


def make_pipe(root: Path) -> None:
    root.mkdir()
    os.mkfifo(root / ledger.LEDGER_FILE)


def make_large(root: Path) -> None:
    root.mkdir()
    with (root / ledger.LEDGER_FILE).open("wb") as file:
        file.truncate(ledger.MAX_LEDGER_BYTES + 1)


@pytest.mark.parametrize("make", [make_file, make_link, make_pipe, make_large])
def test_a_ledger_that_cannot_be_used_is_a_note(root: Path, make) -> None:
    make(root)
    assert enter(0)
    uses = ledger.uses_of(SETS[0])
    assert uses.fault and not uses.is_readable and not uses.studies
    if make is make_link:
        assert not (root.parent / "other").read_text()
