"""The doors: each command a few lines. Flags are made from the fields of the plan."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from cyclopts import (
    App,
    CycloptsError,
    Group,
    Parameter,
)

from headstart.cli.options import switch, usage, with_plan_flags, with_study_flags
from headstart.cli.render import as_csv, as_table
from headstart.config import start_spec
from headstart.config.resolve import checkpoint_interval, resolve_settings
from headstart.console import ConsoleReporter
from headstart.engines import checked, require_listener
from headstart.errors import DataError, HeadstartError, UsageError, as_headstart_error
from headstart.storage.folders import require_model
from headstart.text import printable

if TYPE_CHECKING:
    from headstart.config.study_file import StudySpec

app = App(
    name="headstart",
    help="Should my classifier start from pretrained weights? Answered by an experiment.",
    help_epilogue="Begin with `headstart compare PHOTOS`, a folder with one folder of photos per class; look at it "
    "with `headstart board`. Every command takes --debug: an error then comes with its traceback.",
    help_format="plaintext",
    version_flags=["--version"],
    group_parameters=Group("Parameters", sort_key=0),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
RUNS = Path("runs")
WHERE = "Folder of class folders, manifest, or built-in: digits, digits:0-5"
Data = Annotated[str, Parameter(help=f"{WHERE}.")]
Model = Annotated[Path, Parameter(help="A run, its model folder, or a folder of runs (the best by val).")]
Json = Annotated[bool, switch("Print the result as JSON.")]
EngineName = Annotated[
    str,
    Parameter(
        help="Where runs happen: local, one after the other; processes, side by side; ray, on a cluster; auto, "
        "the faster of the first two, measured once."
    ),
]
Address = Annotated[
    str, Parameter(help="ray: the cluster's address [default: one on this machine].", show_default=False)
]
SaveEvery = Annotated[
    str | None, Parameter(help="Checkpoint this often, e.g. 1ep or 50st [default: as often as costs 1 % of the time].")
]


@app.command(sort_key=0)
@with_study_flags
def compare(
    source: Annotated[str | None, Parameter(help=f"{WHERE} [default: digits].")] = None,
    *,
    arm: Annotated[
        list[str] | None,
        Parameter(
            help="START[+TUNING][+HEAD][@OPTIMIZER], once for each arm, e.g. scratch, imagenet+frozen.", negative=""
        ),
    ] = None,
    vary: Annotated[
        list[str] | None, Parameter(help="FIELD=a,b,c crosses the arms with these values; repeatable.", negative="")
    ] = None,
    study: Annotated[
        Path | None, Parameter(help="A study.toml to carry out, or a study's folder to go on with.")
    ] = None,
    config: Annotated[Path | None, Parameter(help="Settings of the plan from a TOML file; flags win over it.")] = None,
    preset: Annotated[str | None, Parameter(help="demo, digits, quick or lab; a file and flags win over it.")] = None,
    runs: Annotated[Path, Parameter(help="Where the study's folder is made.")] = RUNS,
    engine: EngineName = "auto",
    address: Address = "",
    dry_run: Annotated[bool, switch("Check everything, print what would be done and stop.")] = False,
    require_winner: Annotated[bool, switch("Exit with 2 where the verdict has no winner.")] = False,
    json: Json = False,
    **settings: Any,
) -> None:
    """Answer by an experiment: paired arms, rates searched, one verdict with its interval."""
    from headstart.config.study_file import read_study
    from headstart.config.study_request import build_study_spec, reject_extra_options

    checked(engine, address)
    varied = dict(_varied(text) for text in vary or ())
    given = {name: value for name, value in settings.items() if value is not None}
    wanted = verdict = None
    if study is not None and study.is_dir() and not dry_run:
        reject_extra_options(study, source, arm, varied, config, preset, given)
        folder, verdict = study, _finished(study)
    else:
        wanted = build_study_spec(source, arm or (), varied, study, config, preset, settings)
        _require_there(wanted)
    if verdict is None:
        require_listener(address)
        from headstart.engines import factory
        from headstart.experiment import planning
        from headstart.experiment import study as studies

        with ConsoleReporter() as reporter:
            if wanted is not None:
                wanted = planning.resolve_study(wanted, engine, reporter)
                asked = given if study is None else None
                if dry_run:
                    print("\n".join(planning.describe_plan(wanted, asked, reporter, engine)))
                    return
                folder = planning.begin(wanted, asked, runs, reporter, engine)
            with factory.opened(engine, read_study(folder).plan, reporter, address) as chosen:
                verdict = studies.run_study(folder, chosen, reporter)
    _print_study(folder, verdict, json)
    if require_winner:
        from headstart.experiment import best_model

        best_model.require(verdict)


@app.command(sort_key=1)
@with_plan_flags
def train(
    source: Annotated[str | None, Parameter(help=f"{WHERE} [default: the file's, or digits].")] = None,
    *,
    config: Annotated[Path | None, Parameter(help="Settings from a TOML file; flags win over it.")] = None,
    preset: Annotated[str | None, Parameter(help="digits, quick or lab; a file and flags win over it.")] = None,
    runs: Annotated[Path, Parameter(help="Where run folders are made.")] = RUNS,
    save_every: SaveEvery = None,
    dry_run: Annotated[bool, switch("Print the plan as TOML and stop.")] = False,
    json: Json = False,
    **settings: Any,
) -> None:
    """Train one run: curves in TensorBoard while it goes, the best model as files at the end."""
    draft = resolve_settings({"source": source, **settings}, file=config, preset=preset)
    if dry_run:
        print(draft.plan.to_toml(), end="")
        return
    every = checkpoint_interval(save_every)
    from headstart.data import require

    require(draft.plan.data.source)  # before torch is imported: a wrong path is told at once
    start_spec.require(draft.plan.arm.start)
    from headstart.runs import runner

    with ConsoleReporter() as reporter:
        for name, value, origin in draft.table():
            reporter.say(f"  {name} = {value} ({origin})")
        folder = runner.start(draft.plan, runs, reporter, save_every=every)
    _print_run(folder, json)


@app.command(sort_key=2)
def resume(
    folder: Annotated[Path, Parameter(help="The folder of a run, or of a study.")],
    /,
    *,
    force_new: Annotated[bool, switch("Start a new run of the same plan beside it.")] = False,
    save_every: SaveEvery = None,
    engine: EngineName = "auto",
    address: Address = "",
    json: Json = False,
) -> None:
    """Go on with a run or a study that was stopped, bit for bit as if it had not been."""
    if not folder.exists():
        raise DataError(f"{folder} does not exist.", "Name the folder of a run, or of a study.")
    if (folder / "study.toml").is_file():
        if odd := [name for name, given in (("force-new", force_new), ("save-every", save_every)) if given]:
            raise UsageError(f"--{odd[0]} belongs to a run, and {folder} is a study.", "Leave it out.")
        compare(study=folder, engine=engine, address=address, json=json)
        return
    if not (folder / "plan.json").exists():
        raise DataError(f"{folder} is neither a run nor a study.", "Name the folder of one.")
    if engine != "auto" or address:
        raise UsageError(f"--engine belongs to a study, and {folder} is a run.", "Leave it out.")
    every = checkpoint_interval(save_every)
    from headstart.runs import runner

    with ConsoleReporter() as reporter:
        if force_new:
            folder = runner.start(runner.plan_of(folder), folder.absolute().parent, reporter, save_every=every)
        else:
            runner.resume(folder, reporter, save_every=every)
    _print_run(folder, json)


@app.command(sort_key=3)
def predict(
    model: Model,
    images: Annotated[list[Path], Parameter(help="Image files or folders.")],
    /,
    *,
    json: Json = False,
    csv: Annotated[bool, switch("Print CSV, with the probability of every class.")] = False,
) -> None:
    """Say what is on images, with a trained model."""
    if json and csv:
        raise UsageError("--json and --csv exclude each other.", "Choose one.")
    from headstart.data import require_images

    require_model(model)  # before torch is imported: a wrong path is told at once
    require_images(images)
    from headstart.inference.predictor import Predictor, require_read

    predictor = Predictor(model)
    with ConsoleReporter() as reporter:
        if predictor.who:
            reporter.say(predictor.who)
        found = list(predictor.predict(images, reporter))
    require_read(found)
    if json:
        _print_json([p.to_json(predictor.classes) for p in found])
    else:
        print(as_csv(found, predictor.classes) if csv else as_table(found), end="")
    if unread := [p for p in found if p.error]:
        what = f"{len(unread)} of the {len(found)} images could not be read."
        raise DataError(what, "Look for the rows without a class.")


@app.command(sort_key=4)
def evaluate(
    model: Model,
    data: Data,
    /,
    *,
    split: Annotated[str, Parameter(help="train, val, test, all; auto: the photos it has not seen.")] = "auto",
    classes: Annotated[str | None, Parameter(help="Only these classes: a,b,c.")] = None,
    skip_bad: Annotated[bool, switch("Leave out photos that cannot be decoded.")] = False,
    allow_outside: Annotated[bool, switch("Let a manifest or a link name files outside its own folder.")] = False,
    json: Json = False,
) -> None:
    """Accuracy of a model on labelled photos, with its interval and the confusion matrix."""
    from headstart.data import require

    require_model(model)  # before torch is imported: a wrong path is told at once
    require(data)
    from headstart.inference import evaluate as evaluation

    chosen = [name.strip() for name in (classes or "").split(",") if name.strip()]
    how: dict[str, Any] = {"split": split, "classes": chosen, "skip_bad": skip_bad, "allow_outside": allow_outside}
    with ConsoleReporter() as reporter:
        found = evaluation.evaluate(model, data, reporter, **how)
    if json:
        _print_json(found)
    else:
        print("\n".join(evaluation.sentences(found)))


@app.command(sort_key=5)
def board(
    folder: Annotated[Path, Parameter(help="A folder of runs.")] = RUNS,
    /,
    *,
    port: Annotated[int, Parameter(help="Port; 0 takes any that is free.")] = 6006,
) -> None:
    """Open TensorBoard on a folder of runs; Ctrl-C ends it."""
    from contextlib import suppress

    from headstart.cli.tensorboard import legend, serve

    with suppress(KeyboardInterrupt):
        for line in legend(folder):
            print(line, file=sys.stderr)
        serve(folder, port, lambda url: print(url, flush=True))


@app.command(sort_key=5)
def report(folder: Annotated[Path, Parameter(help="A study's folder, a run's, or one with runs in it.")], /) -> None:
    """Draw a study, a run, or runs that were copied together, as one page: report.html in their folder."""
    from headstart.report import page

    print(page.write(folder))


@app.command(sort_key=5)
@with_plan_flags
def diagnose(
    folder: Annotated[Path | None, Parameter(help="A run's folder, or a study's.")] = None,
    /,
    *,
    ablation: Annotated[
        str | None, Parameter(help=f"Instead: train shortcut x norm x depth on these photos. {WHERE}.")
    ] = None,
    seeds: Annotated[int, Parameter(help="ablation: seeds of each network.")] = 1,
    runs: Annotated[Path, Parameter(help="ablation: where its folder is made.")] = RUNS,
    engine: EngineName = "auto",
    json: Json = False,
    **settings: Any,
) -> None:
    """Report whether the training of a run or a study is healthy, or run an ablation of the network."""
    given = {name: value for name, value in settings.items() if value is not None}
    checked(engine)
    if (folder is None) == (ablation is None):
        raise UsageError("diagnose wants a folder, or --ablation and photos.", "Try `headstart diagnose runs/NAME`.")
    if ablation is not None:
        from headstart.experiment import ablation as factorial

        with ConsoleReporter() as reporter:
            found = factorial.compare(ablation, given, runs, reporter, engine=engine, seeds=seeds)
        if json:
            _print_json(found)
        else:
            print("\n".join(map(printable, found["sentences"])))
        return
    usual = {"seeds": (seeds, 1), "runs": (runs, RUNS), "engine": (engine, "auto")}
    if odd := [*given, *(name for name, (value, default) in usual.items() if value != default)]:
        raise UsageError(f"--{odd[0].replace('_', '-')} belongs to --ablation.", "Leave it out.")
    from headstart.results import diagnosis

    assert folder is not None  # noqa: S101  (one of the two was given)
    diagnoses = diagnosis.diagnose(folder)
    if json:
        _print_json([one.to_json() for one in diagnoses])
    else:
        print("\n".join(diagnosis.sentences(diagnoses)))


@app.command(sort_key=6)
def repair(folder: Annotated[Path, Parameter(help="A run's folder, or a study's.")], /) -> None:
    """Make the TensorBoard files of a run, or of a study's runs and means, anew from the records."""
    if (folder / "study.toml").is_file():
        from headstart.experiment import study

        print("\n".join(map(str, study.repair(folder))))
        return
    from headstart.runs import runner

    print(runner.repair(folder))


def _finished(study: Path) -> dict[str, Any] | None:
    """The verdict of a study of which nothing is left to do, and a word on that; None for one to go on with."""
    from headstart.analysis.status import ended
    from headstart.config.study_file import read_study

    if verdict := ended(study, read_study(study)):
        with ConsoleReporter() as reporter:
            reporter.say(f"The study {study} is finished: nothing is done again, and this is its verdict.")
    return verdict


def _require_there(declared: StudySpec) -> None:
    """Raise the error of what a study names and is not there, before torch is imported: it is told at once."""
    from headstart.data import require

    require(declared.plan.data.source)
    for cell in declared.cells:
        start = cell.plan(declared.plan).arm.start
        if start.startswith("source:"):
            require(start.removeprefix("source:"))
        else:
            start_spec.require(start)


def _varied(text: str) -> tuple[str, list[str]]:
    """`lr=0.1,0.01` is ("lr", ["0.1", "0.01"])."""
    name, sign, values = text.partition("=")
    if not sign or not values.strip(","):
        raise UsageError(f"--vary {text!r} names no values.", "Write it as --vary lr=0.1,0.01.")
    return name.strip(), [value.strip() for value in values.split(",") if value.strip()]


def _print_study(folder: Path, verdict: dict[str, Any], as_json: bool) -> None:
    from headstart.analysis.wording import paragraph
    from headstart.cli.render import study_table

    if as_json:
        _print_json({"folder": str(folder), **verdict})
        return
    said = verdict["sentences"]
    print(study_table(verdict), end="\n\n")
    print("\n".join(map(printable, [*said.get("others", ()), *said.get("notes", ())])), end="\n\n")
    print(f"{printable(paragraph(said))}\n{folder}")
    print(f"Report: {folder / 'report.html'}")


def _print_run(folder: Path, as_json: bool) -> None:
    from headstart.results.summary import result_sentences
    from headstart.storage.files import read_json

    result = read_json(folder / "result.json")
    if as_json:
        _print_json({"folder": str(folder), **result})
    else:
        print("\n".join([*result_sentences(result), f"Model: {folder / 'model'}"]))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


def main(arguments: list[str] | None = None) -> None:
    """Run a command; raises SystemExit with its code where that is not 0.

    An error is one sentence what and one what to do, on stderr; its traceback appears with --debug only.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks is no reason to fail
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        app([word for word in words if word != "--debug"], exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _no_more(arguments)
        _leave(HeadstartError("Stopped; nothing was lost.", "Run the command again."), 130)
    except BrokenPipeError:  # whoever read the output has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if debug:
            raise
        known = _told(error)
        _no_more(arguments)
        _leave(known, known.exit_code)


def _no_more(arguments: list[str] | None) -> None:
    """In a process of our own, let a second Ctrl-C pass: it must not make an orderly end look like a crash."""
    if arguments is None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _told(error: Exception) -> HeadstartError:
    """Any error as one of ours."""
    if isinstance(error, CycloptsError):
        command = " ".join(["headstart", *(error.command_chain or ())])
        return UsageError(usage(error), f"See `{command} --help`.")
    return as_headstart_error(error)


def _leave(error: HeadstartError, code: int) -> NoReturn:
    print(f"{printable(error.message)}\n{printable(error.hint)}", file=sys.stderr)
    sys.exit(code)
