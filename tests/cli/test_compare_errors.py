"""Every bad declaration of a study: its exit code, two sentences, no traceback, nothing trained, no folder left."""

import shutil
from pathlib import Path

import pytest

from headstart.cli.main import main
from headstart.config.study_file import read_study
from headstart.config.study_request import build_study_spec
from headstart.engines import factory
from headstart.storage.files import read_json
from tests.cli.test_train_errors import failure, photos

PLAN = ["--network", "timm:test_resnet", "--image-size", "32", "--epochs", "1st", "--batch-size", "4"]
PLAN += ["--threads", "1", "--precision", "fp32", "--cache-resolution", "1"]
ARMS = ["--arm", "scratch", "--arm", "scratch@adam"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bad")
    photos(root / "good", cat=12, dog=12)
    photos(root / "one-class", cat=12)
    (root / "text.safetensors").write_text("nothing of use, and longer than a header")
    rows = [
        f"good/{label}/{i}.png,{label},{'test' if i == 0 and label == 'cat' else 'val' if i < 3 else 'train'}\n"
        for label in ("cat", "dog")
        for i in range(12)
    ]
    (root / "one-test.csv").write_text(f"path,label,split\n{''.join(rows)}")
    arms = 'schema = 1\n[protocol]\narms = ["scratch", "scratch@adam"]\n'
    (root / "good.toml").write_text(arms)
    (root / "key.toml").write_text(f"{arms}seedz = 3\n")
    (root / "plan-key.toml").write_text(f'{arms}[plan.recipe]\noptimiser = "adam"\n')
    (root / "section.toml").write_text(f"{arms}[plan.recipee]\nlr = 1.0\n")
    (root / "part.toml").write_text(arms.replace("[protocol]", "[protocl]"))
    (root / "rules.toml").write_text('optimizer = "adam"\ntime_budget = "20m"\n')
    (root / "no.toml").write_text("lr = = 3\n")
    (root / "empty.toml").write_text("")
    return root


# name -> (source, words of `compare` after it, exit code, what the two sentences name); `@` is the place of the files
DECLARED: dict[str, tuple[str, list[str], int, list[str]]] = {
    "unknown start": ("@/good", ["--arm", "scratch", "--arm", "imagnet"], 2, ["'imagnet'", "imagenet"]),
    "unknown tuning": ("@/good", ["--arm", "scratch", "--arm", "imagenet+frosen"], 2, ["'frosen'", "'frozen'"]),
    "unknown optimizer": ("@/good", ["--arm", "scratch", "--arm", "scratch@adm"], 2, ["'scratch@adm'", "'adam'"]),
    "arm of nothing": ("@/good", ["--arm", "scratch", "--arm", ""], 2, ["arm", "no start"]),
    "one arm, misspelt": ("@/good", ["--arm", "scrtch"], 2, ["There is no start 'scrtch' (did", "'scratch'?); a comp"]),
    "two arms, misspelt": ("@/good", ["--arm", "scrtch", "--arm", "imagnet"], 2, ["'scratch'", "'imagenet'"]),
    "unknown initialisation": ("@/good", [*ARMS, "--arm", "scratch:kaimin"], 2, ["'kaimin'", "'kaiming'"]),
    "statistics of nothing": ("@/good", [*ARMS, "--arm", "stats:imagnet"], 2, ["'imagnet'", "'imagenet'"]),
    "one arm": ("@/good", ["--arm", "scratch"], 2, ["two arms", "--vary"]),
    "an arm twice": ("@/good", ["--arm", "scratch", "--arm", "scratch"], 2, ["scratch", "twice"]),
    "no weights": ("@/good", ["--arm", "scratch", "--arm", "file:@/text.safetensors"], 6, ["text.safetensors"]),
    "weights not there": ("@/good", ["--arm", "scratch", "--arm", "file:@/no.pth"], 3, ["no.pth"]),
    "source not there": ("@/good", ["--arm", "scratch", "--arm", "source:@/none"], 3, ["none does not exist"]),
    "photos not there": ("@/god", ARMS, 3, ["god does not exist", "good"]),
    "rule among settings": ("@/good", [*ARMS, "--config", "@/rules.toml"], 2, ["Use --time-budget", "study.toml"]),
    "one class": ("@/one-class", ARMS, 3, ["only one class"]),
    "a class left empty": ("@/good", [*ARMS, "--fractions", "0.05,1"], 3, ["0.05", "'cat'", "or more"]),
    "too few test images": ("@/one-test.csv", ARMS, 3, ["1 test image", "2 classes"]),
    "fraction in words": ("@/good", [*ARMS, "--fractions", "half"], 2, ["fractions = half", "number"]),
    "more than all": ("@/good", [*ARMS, "--fractions", "2"], 2, ["ractions", "above 1"]),
    "vary what is not": ("@/good", [*ARMS, "--vary", "momentun=0,0.9"], 2, ["'momentun'", "'momentum'"]),
    "vary to no value": ("@/good", [*ARMS, "--vary", "momentum"], 2, ["'momentum'", "--vary lr=0.1,0.01"]),
    "vary to a bad value": ("@/good", [*ARMS, "--vary", "momentum=0,much"], 2, ["momentum = much", "number"]),
    "vary what has a flag": ("@/good", [*ARMS, "--vary", "epochs=1ep,2ep"], 2, ["'epochs'", "--budgets"]),
    "vary what an arm says": ("@/good", [*ARMS, "--vary", "optimizer=sgd,adam"], 2, ["'scratch@adam'", "optimizer"]),
    "unknown metric": ("@/good", [*ARMS, "--metric", "balance"], 2, ["metric = balance", "did you mean 'balanced'"]),
    "no seeds": ("@/good", [*ARMS, "--seeds", "0"], 2, ["seeds = 0", "1"]),
    "seeds in words": ("@/good", [*ARMS, "--seeds", "few"], 2, ["seeds = few"]),
    "grid in words": ("@/good", [*ARMS, "--grid", "small,large"], 2, ["grid = small", "grid = large"]),
    "grid of nothing": ("@/good", [*ARMS, "--grid", ","], 2, ["grid", "above 0"]),
    "tie that nothing is outside of": ("@/good", [*ARMS, "--margin", "100pt"], 2, ["100pt", "less than 100pt"]),
    "tie in words": ("@/good", [*ARMS, "--margin", "big"], 2, ["margin", "1pt"]),
    "target in per cent": ("@/good", [*ARMS, "--target", "75"], 2, ["target = 75", "less than 1"]),
    "primary of no arm": ("@/good", [*ARMS, "--primary", "scratch vs adam"], 2, ["scratch vs adam", "scratch@adam"]),
    "budget in per cent": ("@/good", [*ARMS, "--budgets", "20%"], 2, ["udgets", "10ep"]),
    "unknown search": ("@/good", [*ARMS, "--search", "shard"], 2, ["search = shard", "'shared'"]),
    "keep none": ("@/good", [*ARMS, "--survivors", "0"], 2, ["keep = 0"]),
    "misspelt flag": ("@/good", [*ARMS, "--sedes", "3"], 2, ["--sedes", "--seeds"]),
    "seed of a search": ("@/good", [*ARMS, "--seed", "1748392011"], 2, ["seed = 1748392011", "smaller --seed"]),
    "last seed of a search": ("@/good", [*ARMS, "--seed", "999999996"], 2, ["seed = 999999996", "smaller --seed"]),
    "many faults": ("@/good", [*ARMS, "--seeds", "0", "--survivors", "x", "--metric", "f1"], 2, ["seeds", "survivors", "metric"]),
}  # fmt: skip


@pytest.mark.parametrize("name", DECLARED)
def test_a_bad_study_is_refused_before_anything_trains(name: str, place: Path, tmp_path: Path, capsys) -> None:
    source, words, expected, named = DECLARED[name]
    given = [word.replace("@/", f"{place}/") for word in (source, *words)]
    code, what, hint = failure(["compare", *given, *PLAN, "--runs", tmp_path / "runs"], capsys)
    assert code == expected, (what, hint)
    for text in named:
        assert text in f"{what} {hint}"
    assert not (tmp_path / "runs").exists()


WRITTEN = {
    "unknown field": ("key.toml", 2, ["'seedz'", "did you mean 'seeds'"]),
    "unknown field of the plan": ("plan-key.toml", 2, ["'optimiser'", "did you mean 'optimizer'"]),
    "unknown section of the plan": ("section.toml", 2, ["'recipee'", "did you mean 'recipe'"]),
    "unknown part": ("part.toml", 2, ["'protocl'", "did you mean 'protocol'"]),
    "no TOML": ("no.toml", 2, ["no.toml", "line 1"]),
    "nothing": ("empty.toml", 2, ["arms"]),
    "no file": ("none.toml", 3, ["none.toml"]),
    "no study": ("good", 3, ["study.toml"]),
}


@pytest.mark.parametrize("name", ["unknown start", "weights not there", "source not there", "photos not there"])
def test_what_an_arm_lacks_is_told_before_the_machine_is_measured(
    name: str, place: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(factory, "settled", lambda *_: pytest.fail("it was measured first"))
    source, arms, expected, _ = DECLARED[name]
    words = [source, *arms, "--network", "resnet18", "--runs", str(tmp_path / "runs")]
    assert failure(["compare", *(word.replace("@/", f"{place}/") for word in words)], capsys)[0] == expected


@pytest.mark.parametrize("name", WRITTEN)
def test_a_bad_study_file_is_refused(name: str, place: Path, tmp_path: Path, capsys) -> None:
    file, expected, named = WRITTEN[name]
    code, what, hint = failure(["compare", "--study", place / file, "--runs", tmp_path / "runs"], capsys)
    assert code == expected, (what, hint)
    for text in named:
        assert text in f"{what} {hint}"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("more", [["--seeds", "3"], ["digits"], ["--arm", "scratch"], ["--vary", "lr=1,2"]])
def test_nothing_is_set_beside_a_study(more: list[str], place: Path, tmp_path: Path, capsys) -> None:
    """It would be passed over in silence otherwise."""
    words = ["compare", "--study", place / "good.toml", *more, "--runs", tmp_path / "runs"]
    code, what, _ = failure(words, capsys)
    assert code == 2 and "nothing can be set beside it" in what
    assert not (tmp_path / "runs").exists()


def test_a_rate_that_somebody_chose_is_not_searched(place: Path, tmp_path: Path) -> None:
    arms = ("scratch", "scratch@adam")
    (tmp_path / "rate.toml").write_text("lr = 0.02\n")
    (tmp_path / "other.toml").write_text("momentum = 0.5\n")
    good = place / "good"
    chosen = build_study_spec(good, arms, None, None, tmp_path / "rate.toml", None, {})
    assert not chosen.searched and chosen.plan.recipe.lr == 0.02
    assert build_study_spec(good, arms, None, None, tmp_path / "other.toml", None, {}).searched
    assert build_study_spec(good, arms, None, None, tmp_path / "rate.toml", None, {"search": "shared"}).searched
    text = 'schema = 1\n[protocol]\narms = ["scratch", "scratch@adam"]\n'
    (tmp_path / "study.toml").write_text(f"{text}[plan.recipe]\nlr = 0.02\n")
    assert not read_study(tmp_path / "study.toml").searched
    (tmp_path / "study.toml").write_text(f'{text}search = "per-seed"\n[plan.recipe]\nlr = 0.02\n')
    assert read_study(tmp_path / "study.toml").searched


def test_flags_of_a_run_and_of_a_study_are_not_mixed_up(place: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "study").mkdir()
    shutil.copy(place / "good.toml", tmp_path / "study" / "study.toml")
    for words in (["--force-new"], ["--save-every", "1ep"]):
        code, what, _ = failure(["resume", tmp_path / "study", *words], capsys)
        assert code == 2 and f"{words[0]} belongs to a run" in what
    (tmp_path / "plan.json").write_text("{}")
    code, what, _ = failure(["resume", tmp_path, "--engine", "processes"], capsys)
    assert code == 2 and "--engine belongs to a study" in what


def test_a_study_that_has_begun_keeps_to_what_was_declared(place: Path, tmp_path: Path, capsys) -> None:
    words = ["compare", str(place / "good"), *ARMS, *PLAN, "--seeds", "1", "--search", "off"]
    main([*words, "--runs", str(tmp_path)])
    (folder,) = tmp_path.iterdir()
    file = folder / "study.toml"
    main(["resume", str(folder)])  # unchanged, it is done
    verdict, runs = read_json(folder / "verdict.json"), sorted(folder.glob("*/plan.json"))
    written = file.read_text()
    assert "seeds = 1\n" in written
    file.write_text(written.replace("seeds = 1\n", "seeds = 2\n"))
    for words in (["resume", folder], ["compare", "--study", folder]):
        code, what, hint = failure(words, capsys)
        assert code == 2 and "not what was declared" in what and f"--study {file}" in hint
    assert read_json(folder / "verdict.json") == verdict and sorted(folder.glob("*/plan.json")) == runs
    assert read_study(file).protocol.seeds == 2  # as the cure says: a declaration of its own
    file.write_text(f"# a remark changes nothing\n{written}")
    main(["resume", str(folder)])
    capsys.readouterr()
    main(["compare", "--study", str(folder), "--dry-run"])
    assert "2 runs of" in capsys.readouterr().out
    shutil.rmtree(folder)
