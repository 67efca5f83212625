"""Invalid studies: exit code, message and hint, no traceback, no training and no folder."""

import re
import shutil
from pathlib import Path
from unittest.mock import ANY

import pytest

from headstart.cli.main import main
from headstart.config.start_spec import start_forms
from headstart.config.study_file import FIRST_SEARCH_SEED, read_study
from headstart.config.study_request import build_study_spec
from headstart.engines import factory
from headstart.experiment.ablation_grid import ABLATION_FILE
from headstart.storage.files import SCHEMA_VERSION
from tests.cli.test_train_errors import ENOENT, as_texts, failure, write_images
from tests.files import read_json
from tests.messages import values_of

PLAN = ["--network", "timm:test_resnet", "--image-size", "32", "--epochs", "1st", "--batch-size", "4"]
PLAN += ["--threads", "1", "--precision", "fp32", "--cache-resolution", "1"]
ARMS = ["--arm", "scratch", "--arm", "scratch@adam"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bad")
    write_images(root / "good", cat=12, dog=12)
    write_images(root / "one-class", cat=12)
    (root / "text.safetensors").write_text("nothing of use, and longer than a header")
    rows = [
        f"good/{label}/{i}.png,{label},{'test' if i == 0 and label == 'cat' else 'val' if i < 3 else 'train'}\n"
        for label in ("cat", "dog")
        for i in range(12)
    ]
    (root / "one-test.csv").write_text(f"path,label,split\n{''.join(rows)}")
    arms = 'schema_version = 1\n[protocol]\narms = ["scratch", "scratch@adam"]\n'
    (root / "good.toml").write_text(arms)
    (root / "key.toml").write_text(f"{arms}seedz = 3\n")
    (root / "plan-key.toml").write_text(f'{arms}[plan.recipe]\noptimiser = "adam"\n')
    (root / "section.toml").write_text(f"{arms}[plan.recipee]\nlr = 1.0\n")
    (root / "part.toml").write_text(arms.replace("[protocol]", "[protocl]"))
    (root / "protocol-value.toml").write_text("protocol = 3\n")
    (root / "recipe-value.toml").write_text(f"{arms}[plan]\nrecipe = 3\n")
    (root / "schema.toml").write_text(arms.replace("schema_version = 1", "schema_version = 99"))
    (root / "rules.toml").write_text('optimizer = "adam"\ntime_budget = "20m"\n')
    (root / "no.toml").write_text("lr = = 3\n")
    (root / "empty.toml").write_text("")
    return root


# name -> (source, further arguments of `compare`, exit code, values of the message, flags and names in message or
# hint); `@` is the folder of the files, and ANY a text of pydantic
INVALID_STUDIES: dict[str, tuple[str, list[str], int, list[str], list[str]]] = {
    "unknown start": (
        "@/good", ["--arm", "scratch", "--arm", "imagnet"], 2, ["imagnet", "imagenet"], [", ".join(start_forms())],
    ),
    "unknown tuning": (
        "@/good", ["--arm", "scratch", "--arm", "imagenet+frosen"], 2, ["imagenet+frosen", "frosen", "frozen"], [],
    ),
    "unknown optimizer": ("@/good", ["--arm", "scratch", "--arm", "scratch@adm"], 2, ["scratch@adm", "adam"], []),
    "empty arm": ("@/good", ["--arm", "scratch", "--arm", ""], 2, [""], []),
    "misspelled arm": ("@/good", ["--arm", "scrtch"], 2, ["scrtch", "scratch"], ["--arm", "--vary"]),
    "two misspelled arms": (
        "@/good", ["--arm", "scrtch", "--arm", "imagnet"], 2, ["scrtch", "scratch", "imagnet", "imagenet"], [],
    ),
    "unknown initialization": ("@/good", [*ARMS, "--arm", "scratch:kaimin"], 2, ["kaimin", "kaiming"], []),
    "statistics of an unknown start": ("@/good", [*ARMS, "--arm", "stats:imagnet"], 2, ["imagnet", "imagenet"], []),
    "one arm": ("@/good", ["--arm", "scratch"], 2, [], ["--arm", "--vary"]),
    "duplicate arm": ("@/good", ["--arm", "scratch", "--arm", "scratch"], 2, ["scratch"], []),
    "invalid weights": ("@/good", ["--arm", "scratch", "--arm", "file:@/text.safetensors"], 6,
                        ["@/text.safetensors"], []),
    "missing weights": ("@/good", ["--arm", "scratch", "--arm", "file:@/no.pth"], 3, ["@/no.pth", ENOENT], []),
    "missing source": ("@/good", ["--arm", "scratch", "--arm", "source:@/none"], 3, ["@/none"], []),
    "missing images": ("@/god", ARMS, 3, ["@/god"], ["'good'"]),
    "rule in a settings file": (
        "@/good", [*ARMS, "--config", "@/rules.toml"], 2, ["time_budget", "@/rules.toml"],
        ["--time-budget", "study.toml"],
    ),
    "one class": ("@/one-class", ARMS, 3, ["@/one-class", "cat"], []),
    "empty class": (
        "@/good", [*ARMS, "--fractions", "0.05,1"], 3, ["2", "0.05", "'cat' (8)", "'dog' (8)"], ["0.06", "--classes"],
    ),
    "too few test images": ("@/one-test.csv", ARMS, 3, ["1", "2"], []),
    "fraction in words": ("@/good", [*ARMS, "--fractions", "half"], 2, ["fractions", "half", ANY], []),
    "fraction above 1": ("@/good", [*ARMS, "--fractions", "2"], 2, [], ["ractions", " 1"]),
    "vary unknown field": ("@/good", [*ARMS, "--vary", "momentun=0,0.9"], 2, ["momentun", "momentum"], []),
    "vary without values": ("@/good", [*ARMS, "--vary", "momentum"], 2, ["momentum"], ["--vary lr=0.1,0.01"]),
    "vary with an invalid value": (
        "@/good", [*ARMS, "--vary", "momentum=0,much"], 2, ["scratch,momentum=much", "momentum", "much", ANY], [],
    ),
    "vary a field with a flag": ("@/good", [*ARMS, "--vary", "epochs=1ep,2ep"], 2, ["epochs", "--budgets"], []),
    "several optimizers": (
        "@/good", [*ARMS, "--optimizer", "sgd,adam"], 2, ["--optimizer", "sgd, adam"], ["--vary optimizer=sgd,adam"],
    ),
    "repeated optimizer": (
        "@/good", [*ARMS, "--opt", "sgd", "--optimizer=adam"], 2, ["--optimizer", "sgd, adam"],
        ["--vary optimizer=sgd,adam"],
    ),
    "several rates": (
        "@/good", [*ARMS, "--lr", "0.01,0.1"], 2, ["--lr", "0.01, 0.1"], ["--vary lr=0.01,0.1"],
    ),
    "several values of a field with two words": (
        "@/good", [*ARMS, "--backbone-lr", "0.1,1"], 2, ["--backbone-lr", "0.1, 1"], ["--vary backbone-lr=0.1,1"],
    ),
    "several numbers of seeds": ("@/good", [*ARMS, "--seeds", "3,5"], 2, ["--seeds", "3, 5"], []),
    "field that a study sets": ("@/good", [*ARMS, "--start", "imagenet"], 2, ["--start"], ["--arm"]),
    "vary a field of an arm": (
        "@/good", [*ARMS, "--vary", "optimizer=sgd,adam"], 2, ["scratch@adam", "optimizer"], [],
    ),
    "unknown metric": (
        "@/good", [*ARMS, "--metric", "balance"], 2, ["metric", "balance", "accuracy, balanced", "balanced"], [],
    ),
    "metric of no mean": (
        "@/good", [*ARMS, "--metric", "macro-f1"], 2, ["metric", "macro-f1", "accuracy, balanced"], [],
    ),
    "no seeds": ("@/good", [*ARMS, "--seeds", "0"], 2, ["seeds", "0", ANY], [" 1"]),
    "seeds in words": ("@/good", [*ARMS, "--seeds", "few"], 2, ["seeds", "few", ANY], []),
    "grid in words": (
        "@/good", [*ARMS, "--grid", "small,large"], 2, ["grid", "small", ANY, "grid", "large", ANY], [],
    ),
    "empty grid": ("@/good", [*ARMS, "--grid", ","], 2, ["grid", ","], [" 0"]),
    "margin of 100 points": ("@/good", [*ARMS, "--margin", "100pt"], 2, ["margin", "100pt", "'100pt'"], ["1pt"]),
    "margin in words": ("@/good", [*ARMS, "--margin", "big"], 2, ["margin", "big", "'big'"], ["1pt"]),
    "target in per cent": ("@/good", [*ARMS, "--target", "75"], 2, ["target", "75", ANY], [" 1"]),
    "unknown primary": (
        "@/good", [*ARMS, "--primary", "scratch vs adam"], 2, ["scratch vs adam", "scratch, scratch@adam"], [],
    ),
    "budget in per cent": ("@/good", [*ARMS, "--budgets", "20%"], 2, ["20%"], ["10ep"]),
    "unknown search": (
        "@/good", [*ARMS, "--search", "shard"], 2, ["search", "shard", "shared, per-seed, off", "shared"], [],
    ),
    "no survivors": ("@/good", [*ARMS, "--survivors", "0"], 2, ["survivors", "0", ANY], []),
    "misspelled flag": ("@/good", [*ARMS, "--sedes", "3"], 2, ["--sedes", "--seeds"], []),
    "reserved seed": (
        "@/good", [*ARMS, "--seed", "1748392011"], 2, ["1748392011", str(FIRST_SEARCH_SEED)], ["--seed"],
    ),
    "last seed reserved": (
        "@/good", [*ARMS, "--seed", "999999996"], 2, ["999999996", str(FIRST_SEARCH_SEED)], ["--seed"],
    ),
    "many faults": (
        "@/good", [*ARMS, "--seeds", "0", "--survivors", "x", "--metric", "f1"], 2,
        ["seeds", "0", ANY, "metric", "f1", "accuracy, balanced", "survivors", "x", ANY], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID_STUDIES)
def test_invalid_study_is_an_error_before_any_training(name: str, files: Path, tmp_path: Path, capsys) -> None:
    source, words, expected, values, texts = INVALID_STUDIES[name]
    arguments = [word.replace("@/", f"{files}/") for word in (source, *words)]
    code, message, hint = failure(["compare", *arguments, *PLAN, "--runs", tmp_path / "runs"], capsys)
    assert code == expected, (message, hint)
    assert as_texts(values_of(message), files) == values
    for text in texts:
        assert text in f"{message} {hint}"
    assert not (tmp_path / "runs").exists()


# name -> (file, exit code, values of the message, names in message or hint); ANY is a text of tomllib
INVALID_FILES: dict[str, tuple[str, int, list[str], list[str]]] = {
    "protocol that is no table": ("protocol-value.toml", 2, ["@/protocol-value.toml", "protocol"], ["[protocol]"]),
    "recipe that is no table": ("recipe-value.toml", 2, ["@/recipe-value.toml", "plan.recipe"], ["[plan.recipe]"]),
    "newer schema": ("schema.toml", 3, ["@/schema.toml", "99", str(SCHEMA_VERSION)], []),
    "unknown field": ("key.toml", 2, ["seedz", "seeds"], []),
    "unknown field of the plan": ("plan-key.toml", 2, ["optimiser", "optimizer"], []),
    "unknown section of the plan": ("section.toml", 2, ["recipee", "recipe"], []),
    "unknown top-level section": ("part.toml", 2, ["@/part.toml", "protocl", "protocol"], []),
    "invalid TOML": ("no.toml", 2, ["@/no.toml", ANY], ["line 1"]),
    "empty file": ("empty.toml", 2, ["arms"], []),
    "missing file": ("none.toml", 3, ["@/none.toml", ENOENT], []),
    "folder without study": ("good", 3, ["@/good/study.toml", ENOENT], []),
}


@pytest.mark.parametrize("name", ["unknown start", "missing weights", "missing source", "missing images"])
def test_missing_inputs_of_arms_are_reported_before_the_machine_is_measured(
    name: str, files: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(factory, "choose_threads", lambda *_: pytest.fail("the machine was measured first"))
    source, arms, expected, *_ = INVALID_STUDIES[name]
    words = [source, *arms, "--network", "resnet18", "--runs", str(tmp_path / "runs")]
    assert failure(["compare", *(word.replace("@/", f"{files}/") for word in words)], capsys)[0] == expected


@pytest.mark.parametrize("name", INVALID_FILES)
def test_invalid_study_file_is_an_error(name: str, files: Path, tmp_path: Path, capsys) -> None:
    file, expected, values, texts = INVALID_FILES[name]
    code, message, hint = failure(["compare", "--study", files / file, "--runs", tmp_path / "runs"], capsys)
    assert code == expected, (message, hint)
    assert as_texts(values_of(message), files) == values
    for text in texts:
        assert text in f"{message} {hint}"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("more", [["--seeds", "3"], ["digits"], ["--arm", "scratch"], ["--vary", "lr=1,2"]])
def test_options_beside_a_study_are_an_error(more: list[str], files: Path, tmp_path: Path, capsys) -> None:
    words = ["compare", "--study", files / "good.toml", *more, "--runs", tmp_path / "runs"]
    code, message, _ = failure(words, capsys)
    assert code == 2 and values_of(message) == [files / "good.toml"]
    assert not (tmp_path / "runs").exists()


def test_learning_rate_set_by_the_user_is_not_searched(files: Path, tmp_path: Path) -> None:
    arms = ("scratch", "scratch@adam")
    (tmp_path / "rate.toml").write_text("lr = 0.02\n")
    (tmp_path / "other.toml").write_text("momentum = 0.5\n")
    good = files / "good"
    spec = build_study_spec(good, arms, None, None, tmp_path / "rate.toml", None, {})
    assert not spec.searches_lr and spec.plan.recipe.lr == 0.02
    assert build_study_spec(good, arms, None, None, tmp_path / "other.toml", None, {}).searches_lr
    assert build_study_spec(good, arms, None, None, tmp_path / "rate.toml", None, {"search": "shared"}).searches_lr
    text = 'schema_version = 1\n[protocol]\narms = ["scratch", "scratch@adam"]\n'
    (tmp_path / "study.toml").write_text(f"{text}[plan.recipe]\nlr = 0.02\n")
    assert not read_study(tmp_path / "study.toml").searches_lr
    (tmp_path / "study.toml").write_text(f'{text}search = "per-seed"\n[plan.recipe]\nlr = 0.02\n')
    assert read_study(tmp_path / "study.toml").searches_lr


def test_flags_of_a_run_are_rejected_for_a_study_and_vice_versa(files: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "study").mkdir()
    shutil.copy(files / "good.toml", tmp_path / "study" / "study.toml")
    for words in (["--force-new"], ["--save-every", "1ep"]):
        code, message, _ = failure(["resume", tmp_path / "study", *words], capsys)
        assert code == 2 and values_of(message) == [words[0].removeprefix("--"), tmp_path / "study"]
    (tmp_path / "plan.json").write_text("{}")
    code, message, _ = failure(["resume", tmp_path, "--engine", "processes"], capsys)
    assert code == 2 and values_of(message) == ["engine", tmp_path]
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / ABLATION_FILE).write_text("{}")
    code, message, _ = failure(["resume", tmp_path / "ablation", "--force-new"], capsys)
    assert code == 2 and values_of(message) == ["force-new", tmp_path / "ablation"]
    code, message, _ = failure(["resume", tmp_path / "ablation"], capsys)
    assert code == 3 and str(tmp_path / "ablation" / ABLATION_FILE) in values_of(message)


def test_study_cannot_be_changed_after_it_began(files: Path, tmp_path: Path, capsys) -> None:
    words = ["compare", str(files / "good"), *ARMS, *PLAN, "--seeds", "1", "--search", "off", "--engine", "local"]
    main([*words, "--runs", str(tmp_path)])
    (folder,) = tmp_path.iterdir()
    file = folder / "study.toml"
    main(["resume", str(folder)])  # unchanged: already finished
    verdict, runs = read_json(folder / "verdict.json"), sorted(folder.glob("*/plan.json"))
    written = file.read_text()
    assert "seeds = 1\n" in written
    file.write_text(written.replace("seeds = 1\n", "seeds = 2\n"))
    for words in (["resume", folder], ["compare", "--study", folder]):
        code, message, hint = failure(words, capsys)
        assert code == 2 and values_of(message) == [file] and f"--study {file}" in hint
    assert read_json(folder / "verdict.json") == verdict and sorted(folder.glob("*/plan.json")) == runs
    assert read_study(file).protocol.seeds == 2  # as the hint says: a new study
    file.write_text(re.sub(r"^hash = .*\n", "", written, flags=re.MULTILINE))
    code, message, hint = failure(["resume", folder], capsys)
    assert code == 2 and values_of(message) == [file] and " hash" in message and f"--study {file}" in hint
    for schema in ("", "schema_version = 99\n"):
        file.write_text(re.sub(r"^schema_version = .*\n", schema, written, flags=re.MULTILINE))
        code, message, hint = failure(["resume", folder], capsys)
        found = "99" if schema else "None"
        assert code == 3 and values_of(message) == [file, found, SCHEMA_VERSION] and hint.values == {}
    file.write_text(f"# a remark changes nothing\n{written}")
    main(["resume", str(folder)])
    capsys.readouterr()
    main(["compare", "--study", str(folder), "--dry-run"])
    assert re.search(r"\b2 runs\b", capsys.readouterr().out)
    shutil.rmtree(folder)
