"""Names in model cards are text: a Markdown parser finds only the structure of the card's own template."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from headstart.artifacts import model_card
from headstart.config.run_config import RunConfig
from headstart.experiment.best_model import export
from headstart.printable import printable
from tests.verdicts import arm_result, verdict

HOSTILE = ["![x](http://e.x/a.png)", "[x](http://e.x)", "<img src=x onerror=alert(1)>", "a\n\n# b", "a\n    code",
           "`x`", "\x1b[31mred", "**x**", "https://e.x/a", "a | b", "&lt;b&gt;", "a\\", "<!--", "$x$", "~~~",
           "  spaces  "]  # fmt: skip

LAST = "\U0001f600"  # of the classes in every order


def parsed(card: str) -> tuple[list[str], str, str]:
    """Return the kinds of a card's elements, its plain text, and its blocks of code."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(card)
    inline: list[Token] = [child for token in tokens for child in token.children or ()]
    text = "".join("\n" if child.type == "softbreak" else child.content for child in inline)
    code = "".join(token.content for token in tokens if token.type in ("code_block", "fence"))
    return [token.type for token in (*tokens, *inline) if token.nesting >= 0 and token.type != "text"], text, code


def card(name: str, second: str = "b", network: str = "resnet18") -> str:
    plan = RunConfig().changed(network=network, class_names=(name, second), start=f"file:{name}.pt")  # type: ignore[arg-type]
    setup = SimpleNamespace(plan=plan, start=SimpleNamespace(provenance=name, license=name))
    event = SimpleNamespace(epoch=1, val=SimpleNamespace(accuracy=0.5, n=3))
    return model_card.model_card(setup, event, whole=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", [(0, 1), (1, 0)])
def test_names_in_a_card_are_shown_as_they_are(name: str, place: tuple[int, int]) -> None:
    names, plain = [(name, LAST), ("aa", LAST)]
    (kinds, text, code), (expected, _text, expected_code) = (
        parsed(card(*(words[i] for i in place))) for words in (names, plain)
    )
    assert kinds == expected and code == expected_code
    shown = printable(names[place[0]])
    assert text.count(shown) >= 3 and f"initial weights: {shown}" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_names_in_the_card_of_a_study_are_shown_as_they_are(name: str, tmp_path: Path) -> None:
    cards = []
    for number, arm in enumerate((f"file:{name.replace('/', '')}", "file:plain")):
        folder = tmp_path / str(number)
        model = folder / "run-0" / "model"
        model.mkdir(parents=True)
        (model / "README.md").write_text("# card\n", encoding="utf-8")
        (model / "model.safetensors").touch()
        result = arm_result("imagenet")
        spec = result.spec.model_copy(update={"label": arm, "start": arm})
        arms = [result.model_copy(update={"spec": spec}), arm_result("scratch")]
        export(folder, verdict(arms))
        cards.append(parsed((folder / "model" / "README.md").read_text(encoding="utf-8")))
    assert cards[0][0] == cards[1][0] and cards[0][2] == cards[1][2] == ""
    assert printable(name.replace("/", "")).strip() in cards[0][1]


def test_code_of_a_card_has_no_control_characters(tmp_path: Path) -> None:
    network = f"{tmp_path}/a\x1b[31m.py:Net"
    _kinds, _text, code = parsed(card("a", network=network))
    assert r"from a\x1b[31m import Net" in code and "\x1b" not in code
