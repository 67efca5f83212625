"""Documents on every kind of folder say what is true of it: several data sets, ablations, failed runs, any split."""

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from headstart.cli.main import main
from headstart.config.run_config import RunConfig
from headstart.config.study_file import read_study, write_study
from headstart.config.study_request import build_study_spec
from headstart.experiment.ablation_grid import DEPTHS, NORMS, SHORTCUTS, ablation_spec, write_ablation
from headstart.experiment.ablation_summary import read_ablation_result
from headstart.figures.documents import markdown
from headstart.figures.documents.build import build_document
from headstart.figures.documents.data_words import ALL_SPLITS, own_search_words, seed_effect_words
from headstart.figures.documents.model import Document, DocumentTable, Paragraph, SourceList
from headstart.figures.documents.write import write_documents
from headstart.i18n import translated
from headstart.report.page import read_inputs
from headstart.report.series import group_by_recipe
from headstart.storage.files import write_json
from headstart.storage.journal import Journal
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.split_counts import SplitCounts
from headstart.storage.schemas.study import TRAIN_AND_VAL, RunRole, Stage
from headstart.storage.schemas.verdict import EvaluationImages
from tests.files import read_json
from tests.handmade import epoch_line, evaluation, probe_line, run_result, run_role, seal, write_run_files
from tests.messages import values_of
from tests.verdicts import arm_result, contrast, seed_result, verdict

CATS = {
    "source": "/photos/cats",
    "fingerprint": "c" * 8,
    "class_names": ("maine coon", "siamese"),
    "class_counts": {"maine coon": 61, "siamese": 39},
    "split_counts": SplitCounts(train=70, val=13, test=17),
}
DOGS = {
    "source": "/photos/dogs",
    "fingerprint": "d" * 8,
    "class_names": ("beagle", "poodle", "pug"),
    "class_counts": {"beagle": 90, "poodle": 80, "pug": 82},
    "split_counts": SplitCounts(train=180, val=34, test=38),
}
DECLARED = ["none", "train", "train+test", TRAIN_AND_VAL, ALL_SPLITS, ""]


def plan_of(data: dict[str, object], **settings: object) -> RunConfig:
    base = {"network": "resnet18", "start": "scratch", "precision": "fp32", **data}
    return RunConfig().changed(**{"crop": 0.08, **base, **settings})  # type: ignore[arg-type]


def document_on(folder: Path, **values: object) -> Document:
    return build_document(read_inputs(folder), [], "png", **values)  # type: ignore[arg-type]


def text_of(document: Document) -> str:
    """Return the document as Markdown without its escapes."""
    return re.sub(r"\\(?=\W)", "", markdown.render(document, Path()).decode())


def body_of(document: Document) -> str:
    """Return the paragraphs of the document, without tables."""
    texts = [block.text for block in document.blocks if isinstance(block, Paragraph)]
    return "\n".join(map(translated, texts))


def tables_of(document: Document) -> dict[str, DocumentTable]:
    return {block.key: block for block in document.blocks if isinstance(block, DocumentTable)}


def test_runs_on_two_data_sets_with_two_networks_have_both(tmp_path: Path) -> None:
    write_run_files(tmp_path / "a", plan_of(CATS), result=run_result(test=evaluation()))
    write_run_files(
        tmp_path / "b", plan_of(DOGS, network="resnet50", norm="none", seed=1), result=run_result(test=evaluation())
    )
    document = document_on(tmp_path)
    assert {"cats", "dogs", 2} <= set(values_of(document.title))
    body = body_of(document)
    for words in (
        "cats: 100 images in 2 classes",
        "dogs: 252 images in 3 classes",
        "resnet18",
        "resnet50 without norm",
    ):
        assert body.count(words) >= 1
    for counts in ((70, 13, 17), (180, 34, 38)):
        assert any(set(map(str, counts)) <= set(re.findall(r"\d+", line)) for line in body.split(". "))
    rows = [table.rows for key, table in tables_of(document).items() if key.startswith("classes")]
    assert [[tuple(row) for row in of_one] for of_one in rows] == [
        [(name, str(count)) for name, count in data["class_counts"].items()] for data in (CATS, DOGS)
    ]
    assert len(tables_of(document)["arms"].rows) == 2


def test_data_sets_of_one_name_are_told_apart(tmp_path: Path) -> None:
    others = {**DOGS, "source": "/others/cats"}
    same_size = {**CATS, "fingerprint": "e" * 8}
    for number, data in enumerate((CATS, others, same_size)):
        write_run_files(tmp_path / str(number), plan_of(data, seed=number), result=run_result())
    names = values_of(document_on(tmp_path).title)
    assert {100, 252, "cccccccc", "eeeeeeee"} <= set(names)
    groups = group_by_recipe(read_inputs(tmp_path).runs)
    assert [len(runs) for runs in groups.values()] == [1, 1, 1]


def test_runs_of_one_plan_are_described_once(tmp_path: Path) -> None:
    for seed in range(3):
        source = f"/home/user{seed}/cats"  # the same images on three machines
        write_run_files(tmp_path / str(seed), plan_of({**CATS, "source": source}, seed=seed), result=run_result())
    document = document_on(tmp_path)
    body = body_of(document)
    assert [body.count(word) for word in ("100 images", "70 training images", "The network is")] == [1, 1, 1]
    assert list(tables_of(document))[:2] == ["classes", "arms"] and len(tables_of(document)["arms"].rows) == 1
    assert len(group_by_recipe(read_inputs(tmp_path).runs)) == 1


@pytest.mark.parametrize("fraction", [1.0, 0.1])
def test_share_of_the_images_is_said_of_those_that_were_there(tmp_path: Path, fraction: float) -> None:
    write_run_files(tmp_path, plan_of(CATS, fraction=fraction), result=run_result())
    (line,) = [line for line in body_of(document_on(tmp_path)).split(". ") if "training image" in line]
    assert ("70 training images (10 % of those in train)" in line) == (fraction < 1)
    assert ("%" in line) == (fraction < 1) and "70 training images" in line


@pytest.mark.parametrize(("best_epoch", "epochs"), [(0, 0), (0, 2), (2, 3)])
@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.DIVERGED])
def test_run_without_an_evaluated_epoch_has_no_best_one(
    tmp_path: Path, best_epoch: int, epochs: int, state: RunState
) -> None:
    test = evaluation(0.25, 40)
    result = run_result(state, best_epoch=best_epoch, epochs=epochs, val=evaluation(0.5, 20), test=test)
    write_run_files(tmp_path, plan_of(CATS), result=result)
    document = document_on(tmp_path)
    body, row = body_of(document), list(map(str, tables_of(document)["runs"].rows[0]))
    assert ("best epoch, 2," in body) == (best_epoch == 2) and "epoch, 0" not in body
    assert row[4] == ("2" if best_epoch else "–") and row[5:] == ["50.0", "25.0"]
    assert "25.0 %" in body and ("diverged" in body) == (state is RunState.DIVERGED)
    (sources,) = (block.sources for block in document.blocks if isinstance(block, SourceList))
    assert ("wilson1927" in {source.key for source in sources}) == bool(best_epoch)


def test_run_without_a_record_has_no_date(tmp_path: Path) -> None:
    write_run_files(tmp_path, plan_of(CATS), result=run_result())
    document = document_on(tmp_path)
    assert document.created is None and "1970" not in text_of(document)
    write_documents(tmp_path, ["docx"])
    assert (tmp_path / "report.docx").stat().st_size


def write_made_study(folder: Path, declared: str, **settings: object) -> Path:
    """Write a study of two arms with one run each and a verdict on data with these declared splits."""
    values = {"seeds": 1, "epochs": "1ep", "search": "off", **settings}
    write_study(folder, build_study_spec("/photos/cats", ("scratch", "imagenet"), {}, None, None, None, values))
    for arm in ("scratch", "imagenet"):
        plan = plan_of(CATS, start=arm, patience=5, schedule="plateau")
        write_run_files(
            folder / f"{arm}-s0", plan, role=run_role(arm, budget="1ep"), result=run_result(test=evaluation())
        )
        with Journal(folder / f"{arm}-s0" / "metrics.jsonl") as journal:
            journal.append(epoch_line(1, 1, confusion=[[1, 0], [0, 1]]))
        seal(folder / f"{arm}-s0")
    arms = [arm_result(arm, [seed_result(run=f"{arm}-s0")]) for arm in ("scratch", "imagenet")]
    images = EvaluationImages(split="test", images=17, units=17, declared=declared)
    content = verdict(arms, evaluation=images, pooled=bool(settings.get("pooled_seeds")), n=1,
                      contrasts=[contrast("scratch", "imagenet")])  # fmt: skip
    content = content.model_copy(update={"exported": content.exported.model_copy(update={"run": "scratch-s0"})})
    write_json(folder / "verdict.json", content.to_json())
    return folder


@pytest.mark.parametrize("declared", DECLARED)
def test_splits_are_described_as_far_as_they_are_known(tmp_path: Path, declared: str) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    body = body_of(document_on(write_made_study(folder, declared)))
    assert ("about 15 %" in body.lower()) == (declared not in (ALL_SPLITS, ""))
    assert ("The data declares" in body) == (declared not in ("none", "train", ""))
    assert ("all three splits" in body) == (declared == ALL_SPLITS)
    unnamed = body.replace("declares train and val", "").replace("Val is used for", "").replace("(val)", "")
    named_val = [line for line in re.split(r"(?<=\.) ", unnamed) if re.search(r"without .* on val", line)]
    assert len(named_val) == (0 if declared == TRAIN_AND_VAL else 2)  # plateau and early stopping


def test_what_a_seed_does_depends_on_the_declared_splits() -> None:
    searches = {declared: translated(own_search_words(declared)) for declared in DECLARED}
    assert len(set(searches.values())) == 4
    assert "a part of train" not in searches[TRAIN_AND_VAL] and "draws" in searches[TRAIN_AND_VAL]
    assert "draws" not in searches[ALL_SPLITS] and "same for all" in searches[ALL_SPLITS]
    effects = {declared: translated(seed_effect_words(declared)) for declared in DECLARED}
    assert len({effects["none"], effects[ALL_SPLITS], effects[""]}) == 3 and "selection" not in effects[ALL_SPLITS]


@pytest.mark.parametrize("declared", DECLARED)
def test_search_of_each_seed_is_on_images_that_it_has(tmp_path: Path, declared: str) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    body = body_of(document_on(write_made_study(folder, declared, search="per-seed")))
    assert translated(own_search_words(declared)) in body and "its own a part" not in body


@pytest.mark.parametrize("seeds", [(), (0,)])
def test_pooled_study_was_declared_after_its_training(tmp_path: Path, seeds: Sequence[int]) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    write_made_study(folder, "")
    if seeds:
        spec = read_study(folder)
        write_study(folder, type(spec)(spec.protocol.model_copy(update={"pooled_seeds": seeds}), spec.plan))
    body = body_of(document_on(folder))
    assert ("before the first training step" in body) == (not seeds)
    assert ("after their training" in body) == bool(seeds)


def write_made_ablation(folder: Path, networks: int = 12, seeds: int = 2) -> Path:
    """Write the ablation with its first networks trained; accuracy and gradients depend on the network."""
    folder.mkdir()
    spec = ablation_spec("/photos/cats", {"epochs": "1ep", "threads": 1}, seeds)
    write_ablation(folder, spec)
    for number, variant in enumerate(spec.study.variants[:networks]):
        for seed in range(seeds):
            run = folder / f"run-{number}-s{seed}"
            plan = variant.plan(spec.study.plan).changed(**{**CATS, "source": None, "seed": seed, "crop": 0.08})
            role = RunRole(arm=variant.arm, stage=Stage.ABLATION, budget="1ep", fraction=1.0)
            write_run_files(run, plan, role=role, result=run_result(test=evaluation()))
            with Journal(run / "metrics.jsonl") as journal:
                for epoch in (0, 1):
                    journal.append(probe_line(epoch, epoch, block_gradient_norm={"a": 0.01 * (number + 1), "b": 1.0}))
                    if not epoch:
                        journal.append(epoch_line(1, 1, confusion=[[1, 0], [0, 1]]))
            (run / "artifacts").mkdir()
            logits = np.zeros((20, 2), np.float32)
            logits[: number + 1, 1] = 1.0  # correct
            np.savez(run / "artifacts" / "predictions.npz", image=np.arange(20).astype(str), split=["test"] * 20,
                     label=np.ones(20, np.int64), logits=logits, copy=np.zeros(20, bool),
                     unit=np.arange(20))  # fmt: skip
            seal(run)
    return folder


def test_ablation_has_its_networks_and_effects(tmp_path: Path) -> None:
    folder = write_made_ablation(tmp_path / "ablation")
    result = read_ablation_result(folder)
    assert result is not None
    document = document_on(folder, ablation=result)
    assert {12, "cats"} <= set(values_of(document.title))
    table = tables_of(document)["networks"]
    assert {tuple(row[:3]) for row in table.rows} == set(product(DEPTHS, SHORTCUTS, NORMS))
    assert [row[3] for row in table.rows] == [f"{100 * (number + 1) / 20:.1f}" for number in range(12)]
    assert [float(row[4]) for row in table.rows] == pytest.approx(
        [0.01 * (number + 1) for number in range(12)], rel=0.1
    )
    text = text_of(document)
    for effect in result.effects:
        assert re.sub(r"\\(?=\W)", "", markdown.escape(effect.sentence)) in text
    assert len(result.effects) == 12 and len(tables_of(document)["arms"].rows) == 12
    assert "no declared question" not in text and "are no study" not in text


@pytest.mark.parametrize(("networks", "seeds"), [(11, 1), (1, 2)])
def test_incomplete_ablation_has_no_effects(tmp_path: Path, networks: int, seeds: int) -> None:
    folder = write_made_ablation(tmp_path / "ablation", networks, seeds)
    assert read_ablation_result(folder) is None
    document = document_on(folder)
    assert networks in values_of(document.title) and "networks" not in tables_of(document)
    (words,) = [
        block.text for block in document.blocks if isinstance(block, Paragraph) and "not complete" in block.text
    ]
    assert networks * seeds in values_of(words)


def test_folder_without_an_ablation_has_no_result(tmp_path: Path) -> None:
    assert read_ablation_result(tmp_path) is None


@pytest.mark.parametrize("others", [0, 1, 2])
def test_runs_of_other_programs_are_named_as_left_out(
    tmp_path: Path, others: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run_files(tmp_path / "own", plan_of(CATS), result=run_result())
    with Journal(tmp_path / "own" / "metrics.jsonl") as journal:
        journal.append(epoch_line(1, 1))
    seal(tmp_path / "own")
    for number in range(others):
        with SummaryWriter(str(tmp_path / f"other-{number}")) as writer:
            writer.add_scalar("Accuracy/val", 0.5, 1)
    main(["report", str(tmp_path), "--format", "md"])
    shown = capsys.readouterr()
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert shown.out.splitlines() == [str(tmp_path / "report.md")]
    assert ("other programs" in text) == ("other programs" in shown.err) == bool(others)
    assert not others or f"{others} folder" in text


def test_figures_of_documents_leave_those_of_the_user(tmp_path: Path) -> None:
    write_run_files(tmp_path, plan_of(CATS), result=run_result())
    with Journal(tmp_path / "metrics.jsonl") as journal:
        journal.append(epoch_line(1, 1))
    seal(tmp_path)
    main(["figures", str(tmp_path), "--dpi", "100"])
    before = {path: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    write_documents(tmp_path, ["md", "tex"])
    assert before and {path: path.read_bytes() for path in (tmp_path / "figures").iterdir()} == before
    assert not list((tmp_path / "report-figures").glob("*.txt"))
    assert read_json(tmp_path / "result.json")
