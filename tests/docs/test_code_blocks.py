"""Every code block of the documentation has a language, and is executed by a test or marked with the reason why not.

A mark is a comment on the line before the block: `<!-- not run: REASON -->` or `<!-- run: SCENARIO -->`. Without one
the language decides:

- `python`: the blocks of a page are executed in order and share their variables (`tests/docs/tiny_studies.py`).
- `console`, `bash`, `sh`: each command is checked without running it (`tests/docs/commands.py`).
- `toml`: read as a study or as a settings file. `json`: parsed.
- `text`: output. It is not checked, so it must not begin with a command that could be.
"""

import json
import re
import tomllib
from pathlib import Path, PurePosixPath

import pytest

import headstart
from headstart.config.resolve import resolve_settings
from headstart.config.study_file import read_study
from headstart.errors import HeadstartError
from tests import test_extending
from tests.docs.commands import CHECKS, console_faults, split_commands
from tests.docs.markdown import ROOT, Block, Page, page_names, parse_page, read_page
from tests.docs.tiny_studies import run_blocks

MIN_REASON_WORDS = 3
CONSOLE = ("console", "bash", "sh")
NEXT_COMMAND = re.compile(r"&&|;")
SCENARIOS = {"guide-python": "python"}  # language of the blocks by scenario; Python blocks without a mark run in it too
COVERED = {  # code of the blocks that another test executes, by page
    test_extending.PAGE.relative_to(ROOT).as_posix(): {
        code
        for recipe in test_extending.RECIPES.values()
        for code in (
            *(code for _name, code in test_extending.MODULE.findall(recipe)),
            *re.findall(r"```console\n(.+?)```", recipe, re.DOTALL),
        )
    }
}


def language_of(block: Block) -> str:
    """Return the language of a block; "console" for those of shells."""
    return "console" if block.language in CONSOLE else block.language


def is_covered(page: Page, block: Block) -> bool:
    """Return whether another test executes a block."""
    return block.code in COVERED.get(page.name, ())


def python_blocks(page: Page) -> list[Block]:
    """Return the Python blocks that are executed here."""
    blocks = [block for block in page.blocks if language_of(block) == "python" and not is_covered(page, block)]
    return [block for block in blocks if block.mark is None or block.mark.runs]


def block_faults(page: Page, folder: Path) -> list[str]:
    """Return what is wrong with the marks and languages of a page, and with the blocks that are no Python."""
    faults = [(mark.line, "the mark stands before no code block") for mark in page.loose_marks]
    for block in page.blocks:
        faults += [(block.line, fault) for fault in mark_faults(block)]
        if not block.language:
            faults.append((block.line, "it has no language: fence it and write one, such as console, python or text"))
        elif (block.mark is None or block.mark.runs) and not is_covered(page, block):
            faults += [(block.line, fault) for fault in code_faults(block, folder)]
    return [f"{page.name}:{line}: {fault}" for line, fault in sorted(faults)]


def mark_faults(block: Block) -> list[str]:
    """Return what is wrong with the mark of a block."""
    mark = block.mark
    if mark is None:
        return []
    if not mark.runs:
        words = mark.text.split()
        return [] if len(words) >= MIN_REASON_WORDS else [f"{mark.text!r} is no reason of three words or more"]
    if SCENARIOS.get(mark.text) != language_of(block):
        return [f"{mark.text!r} is no scenario of a {language_of(block)} block"]
    return []


def code_faults(block: Block, folder: Path) -> list[str]:
    """Return what is wrong with the code of a block; that of Python is executed elsewhere."""
    language = language_of(block)
    if language == "python":
        return []
    if language == "text":
        return text_faults(block.code)
    if language == "console":
        return console_faults(block.code)
    if language == "toml":
        return toml_faults(block.code, folder)
    if language == "json":
        try:
            json.loads(block.code)
        except json.JSONDecodeError as error:
            return [f"it is not JSON ({error})"]
        return []
    return [f"no test executes a {language} block: mark it"]


def text_faults(code: str) -> list[str]:
    """Return a fault for text whose first line is a command that a console block would have checked."""
    commands = NEXT_COMMAND.split(code.partition("\n")[0])
    programs = [PurePosixPath(words[0]).name for command in commands if (words := command.lstrip(" !$%").split())]
    return [f"{name} is a command: write console as its language" for name in programs if name in CHECKS][:1]


def toml_faults(code: str, folder: Path) -> list[str]:
    """Return what is wrong with a TOML block: its syntax, or the settings or the study that it declares."""
    try:
        names = set(tomllib.loads(code))
    except tomllib.TOMLDecodeError as error:
        return [f"it is not TOML ({error})"]
    file = folder / "block.toml"
    file.write_text(code)
    try:
        if names & {"protocol", "plan"}:
            read_study(file)
        else:
            resolve_settings({}, file=file)
    except HeadstartError as error:
        return [str(error)]
    return []


def pages_with_python() -> list[str]:
    return [name for name in page_names() if python_blocks(read_page(ROOT / name))]


@pytest.mark.parametrize("name", page_names())
def test_blocks_of_the_page_are_valid_or_marked(name: str, tmp_path: Path) -> None:
    faults = block_faults(read_page(ROOT / name), tmp_path)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", pages_with_python())
def test_python_blocks_of_the_page_run(name: str, tmp_path: Path) -> None:
    run_blocks(python_blocks(read_page(ROOT / name)), name, tmp_path)


@pytest.mark.parametrize("name", COVERED)
def test_blocks_that_another_test_executes_are_on_their_page(name: str) -> None:
    assert COVERED[name] and COVERED[name] <= {block.code for block in read_page(ROOT / name).blocks}


def faults_of(text: str, folder: Path) -> list[str]:
    return block_faults(parse_page(text), folder)


def test_blocks_have_their_lines_languages_and_marks() -> None:
    page = parse_page(
        "# A\n\n    headstart train\n\n<!-- not run: it takes hours -->\n```python title\nx = 1\n```\n\n"
        "- item\n\n  <!-- run: NAME -->\n\n  ~~~\n  code\n  ~~~\n\n<!-- not run: no block\nfollows -->\n\ntext\n"
    )
    blocks = [(block.line, block.language, block.code, block.mark and block.mark.text) for block in page.blocks]
    assert blocks == [
        (3, "", "headstart train\n", None), (7, "python", "x = 1\n", "it takes hours"), (15, "", "code\n", "NAME")
    ]  # fmt: skip
    assert [(mark.line, mark.runs, mark.text) for mark in page.loose_marks] == [(18, False, "no block\nfollows")]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("```bash\ncd a\n```", "console"),
        ("```Python title\nx = 1\n```", "python"),
        ("```text\nx = 1\n```", "text"),
        ("```\nx = 1\n```", ""),
        ("    x = 1\n", ""),
    ],
)
def test_language_of_a_block(text: str, language: str) -> None:
    (block,) = parse_page(text).blocks
    assert language_of(block) == language


@pytest.mark.parametrize(
    "text",
    [
        "```console\nheadstart compare photos/ --arm scratch --arm imagenet+frozen@adam --vary lr=0.1,0.01 -q\n```",
        "```console\nheadstart compare --study study.toml --engine ray --address auto   # a comment\n```",
        "```console\nheadstart train photos/ --epochs 10 --opt adamw --start run:RUN --log wandb --save-every 1ep\n```",
        "```console\nheadstart ablate photos/ --seeds 3 --start scratch:torch\nheadstart resume STUDY\n```",
        "```console\nheadstart predict STUDY photo.jpg more/ --json > out.json && headstart report STUDY\n```",
        "```console\nheadstart --help\nheadstart train --help-all\nheadstart resume --help-all\n```",
        "```console\nheadstart --version; headstart --install-completion\n```",
        "```console\nHEADSTART_CACHE=/tmp/x .venv/bin/headstart train \\\n  photos/ --lr 0.1\n```",
        "```console\n$ headstart train photos/\n  epoch 1: 50 %\n$ headstart tensorboard runs --port 6007\n```",
        "```console\nmake bench PHOTOS=photos.csv\nmake -k lint test\n```",
        "```console\ngit clone <this repository> && cd headstart\npip install -e '.[dev]' 'headstart[ray,wandb]'\n```",
        "```console\npython -m benchmarks.reference BASE HEAD\npython -m headstart train\npytest tests/optim\n```",
        "```console\npython -m venv .venv && . .venv/bin/activate\npython examples/two_starts.py\n```",
        '```toml\n[protocol]\narms = ["scratch", "imagenet"]\n[plan.recipe]\nepochs = "3ep"\n```',
        '```toml\nimage_size = 64\nepochs = "3ep"\n```',
        "```toml\n[recipe]\nlr = 0.1\n```",
        "<!-- not run: settings of another program -->\n```toml\n[tool.x]\na = 1\n```",
        '```json\n{"a": [1, 2]}\n```\n\n```text\noutput (\n```',
        "<!-- not run: it needs a cluster -->\n```console\nkubectl apply\n```",
        "```text\nheadstart-like output; of make\n```",
        "```console\nheadstart compare --study=examples/clothing/study.toml 2>/dev/null\n```",
        "```console\nheadstart train photos/ --epochs 3 > log.txt 2>&1 && headstart predict RUN a.jpg &> a.txt\n```",
        "```console\n!unzip -q a.zip && cd a && pip install -q .\n```",
        "<!-- not run: a part of a module -->\n```python\nx = undefined_name\n```",
        "<!-- run: guide-python -->\n```python\nx = 1\n```",
        "<!-- a comment without a mark -->\n```text\noutput\n```",
    ],
)
def test_valid_blocks_are_accepted(text: str, tmp_path: Path) -> None:
    assert faults_of(text, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("```console\nheadstart compare photos/ --pretrained\n```", 2),
        ("```console\nheadstart compare photos/ --arm scratch --arm imagenet+frosen\n```", 2),
        ("```console\nheadstart compare photos/ --seeds three\n```", 2),
        ("```console\nheadstart compare photos/ --vary lr\n```", 2),
        ("```console\nheadstart compare photos/ --engine rey\n```", 2),
        ("```console\nheadstart compare photos/ --study study.toml --seeds 3\n```", 2),
        ("```console\nheadstart compare --study examples/nothing.toml\n```", 2),
        ("```console\nheadstart compare --study=examples/nothing.toml\n```", 2),
        ("```console\nheadstart train photos/ --epochs 2 2>&1 nothing\n```", 2),
        ("```console\n!unzip -q a.zip && pip install '.[nothing]'\n```", 2),
        ("```console\nheadstart train photos/ --epochs\n```", 2),
        ("```console\nheadstart train photos/ --optimizer adm\n```", 2),
        ("```console\nheadstart train photos/ --preset nothing\n```", 2),
        ("```console\nheadstart train photos/ --save-every often\n```", 2),
        ("```console\nheadstart train photos/ --log nothing\n```", 2),
        ("```console\nheadstart train examples/nothing.csv\n```", 2),
        ("```console\nheadstart ablate photos/ --norm none\n```", 2),
        ("```console\nheadstart nothing\n```", 2),
        ("```console\nheadstart nothing --help\n```", 2),
        ("```console\nheadstart resume\n```", 2),
        ("```console\n$ headstart train\noutput\n$ headstart nothing\n```", 2),
        ("text\n\n    headstart train photos/\n", 3),
        ("```\nx = = 1\n```", 2),
        ("<!-- not run: it has no language -->\n```\noutput\n```", 3),
        ("```text\npip install .\n```", 2),
        ("```text\n$ .venv/bin/headstart train\n```", 2),
        ("```text\n!unzip -q a.zip && cd a && pip install -q .\n```", 2),
        ("```text\n! python -m venv .venv\n```", 2),
        ("- item\n\n  ```sh\n  cd x && headstart nothing\n  ```", 4),
        ("```console\nmake nothing\n```", 2),
        ("```console\nmake VENV\n```", 2),
        ("```console\npip install 'headstart[nothing]'\n```", 2),
        ("```console\npython -m benchmarks.nothing\n```", 2),
        ("```console\npython -m nothing.at.all\n```", 2),
        ("```console\npython examples/nothing.py\n```", 2),
        ("```console\npython -c 'x ='\n```", 2),
        ("```console\npython -m headstart nothing\n```", 2),
        ("```console\npytest tests/nothing\n```", 2),
        ("```console\nrm -rf runs\n```", 2),
        ("```console\nheadstart train 'photos\n```", 2),
        ("```console\n# only a comment\n```", 2),
        ("```toml\nx =\n```", 2),
        ("```toml\nimage_size = 64\nepoch = 3\n```", 2),
        ("```toml\nepoch = 3\n```", 2),
        ("```toml\n[receipe]\nlr = 0.1\n```", 2),
        ("```toml\n[protocl]\narms = ['scratch']\n```", 2),
        ("```toml\n[tool.x]\na = 1\n```", 2),
        ("```toml\n[recipe]\nlr = -1\n```", 2),
        ("```toml\n[protocol]\narms = []\n```", 2),
        ('```toml\n[protocol]\narms = ["scratch", "imagenet"]\nseed = 3\n```', 2),
        ("```json\n{'a': 1}\n```", 2),
        ("```yaml\na: 1\n```", 2),
        ("<!-- not run: no reason -->\n```text\noutput\n```", 3),
        ("<!-- not run: -->\n```text\noutput\n```", 3),
        ("<!-- run: nothing -->\n```python\nx = 1\n```", 3),
        ("<!-- run: guide-python -->\n```console\ncd x\n```", 3),
        ("<!-- not run: the mark is too early -->\n\ntext\n\n```text\noutput\n```", 1),
        ("```text\noutput\n```\n\n<!-- not run: there is no block -->\n", 5),
    ],
)
def test_invalid_blocks_are_faults(text: str, line: int, tmp_path: Path) -> None:
    (fault,) = faults_of(text, tmp_path)
    assert fault.startswith(f"page.md:{line}: ")


def test_words_of_commands_are_those_of_a_shell() -> None:
    code = "A=1 B='2 3' cd 'a b' && x --y=1 | z > out.txt  # comment\n\n# comment\ngit clone <this repository> && y\n"
    assert split_commands(code) == [["cd", "a b"], ["x", "--y=1"], ["z"], ["git", "clone", "repository"], ["y"]]


def executed(text: str, folder: Path) -> dict[str, object]:
    page = parse_page(text)
    return run_blocks(python_blocks(page), page.name, folder)


def test_python_blocks_share_their_variables_and_marked_ones_are_left_out(tmp_path: Path) -> None:
    failing = "<!-- not run: it would fail -->\n```python\nx = 1 / 0\n```"
    text = f"```python\nx = 1\n```\n\n{failing}\n\n```python\ny = x + 1\n```\n"
    assert executed(text, tmp_path)["y"] == 2


def test_python_block_that_fails_is_an_error_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(NameError) as error:
        executed("# Page\n\n```python\nx = 1\n```\n\n```python\n\ny = unknown\n```\n", tmp_path)
    assert (str(error.traceback[-1].path), error.traceback[-1].lineno + 1) == ("page.md", 9)
    for call in ("train(epoch=1)", "train(epochs='long')", "compare(arms=['scratch', 'frozen'])", "Study('x', 'y')"):
        with pytest.raises((HeadstartError, TypeError)):
            executed(f"```python\nimport headstart\n\nheadstart.{call}\n```\n", tmp_path / call)
    with pytest.raises(NotImplementedError, match="not run"):
        executed("```python\nimport headstart\n\nheadstart.ablate('photos')\n```\n", tmp_path / "ablate")
    assert headstart.train.__module__ == "headstart.api.training"  # as before
