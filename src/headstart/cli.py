"""The doors: each command a few lines. Flags are made from the fields of the plan."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Parameter

from headstart.errors import HeadstartError, UsageError
from headstart.plan import fields
from headstart.settings import settle

app = App(
    name="headstart",
    help="Should my classifier start from pretrained weights? Answered by an experiment.",
    version_flags=["--version"],
)


def _with_plan_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add one flag for each field of the plan to a command that takes them as **settings."""
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                _flag_type(field) | None, Parameter(help=field.description, group=section.capitalize(), negative="")
            ],
        )
        for name, (section, field) in fields().items()
        if name != "source"
    ]
    command.__signature__ = signature.replace(parameters=own + flags)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in own + flags}
    return command


def _flag_type(field: Any) -> Any:
    """bool and numbers as they are; everything else is text that the plan reads, with its own messages."""
    return field.annotation if field.annotation in (bool, int, float) else str


Data = Annotated[str, Parameter(help="Folder of class folders, manifest, or built-in: digits, digits:0-5.")]
Runs = Annotated[Path, Parameter(help="Where run folders are made.")]
Json = Annotated[bool, Parameter(help="Print the result as JSON.", negative="")]


@app.command
@_with_plan_flags
def train(
    source: Data = "digits",
    *,
    config: Annotated[Path | None, Parameter(help="Settings from a TOML file; flags win over it.")] = None,
    preset: Annotated[str | None, Parameter(help="digits, quick or lab; a file and flags win over it.")] = None,
    runs: Runs = Path("runs"),
    save_every: Annotated[
        str | None, Parameter(help="Checkpoint this often, e.g. 1ep or 50st (default: as often as costs 2 %).")
    ] = None,
    dry_run: Annotated[bool, Parameter(help="Print the plan as TOML and stop.", negative="")] = False,
    json: Json = False,
    **settings: Any,
) -> None:
    """Train one run: curves in TensorBoard while it goes, the best model as files at the end."""
    draft = settle({"source": source, **settings}, file=config, preset=preset)
    if dry_run:
        print(draft.plan.to_toml(), end="")
        return
    from headstart import run

    voice = _voice()
    for name, value, origin in draft.table():
        voice.say(f"  {name} = {value} ({origin})")
    try:
        folder = run.start(draft.plan, runs, voice, save_every=_duration(save_every))
    finally:
        voice.close()
    _print_run(folder, json)


@app.command
def resume(
    folder: Annotated[Path, Parameter(help="The run's folder.")],
    *,
    force_new: Annotated[bool, Parameter(help="Start a new run of the same plan beside it.", negative="")] = False,
    save_every: Annotated[str | None, Parameter(help="Checkpoint this often, e.g. 1ep or 50st.")] = None,
    json: Json = False,
) -> None:
    """Go on with a run that was stopped, bit for bit as if it had not been."""
    from headstart import run

    voice = _voice()
    try:
        if force_new:
            folder = run.start(run.plan_of(folder), folder.parent, voice, save_every=_duration(save_every))
        else:
            run.resume(folder, voice, save_every=_duration(save_every))
    finally:
        voice.close()
    _print_run(folder, json)


@app.command
def predict(
    model: Annotated[Path, Parameter(help="A run, its model folder, or a study.")],
    images: Annotated[list[Path], Parameter(help="Image files or folders.")],
    /,
    *,
    json: Json = False,
    csv: Annotated[bool, Parameter(help="Print CSV with every class's probability.", negative="")] = False,
) -> None:
    """Predict images with a trained model."""
    from headstart.use.predictor import Predictor, as_csv, as_table, require_images

    predictor = Predictor(model)
    found = list(predictor.predict(images))
    require_images(found)
    if json:
        _print_json([p.to_json(predictor.classes) for p in found])
    else:
        print(as_csv(found, predictor.classes) if csv else as_table(found), end="")


@app.command
def evaluate(
    model: Annotated[Path, Parameter(help="A run, its model folder, or a study.")],
    data: Data,
    /,
    *,
    split: Annotated[str, Parameter(help="train, val, test, all; auto: the unseen photos.")] = "auto",
    allow_outside: Annotated[
        bool, Parameter(help="Let a manifest name files outside its folder.", negative="")
    ] = False,
    json: Json = False,
) -> None:
    """Accuracy with its interval, and the confusion matrix, of a model on labelled photos."""
    from headstart.use import evaluate as evaluation

    voice = _voice()
    try:
        found = evaluation.evaluate(model, data, voice, split=split, allow_outside=allow_outside)
    finally:
        voice.close()
    if json:
        _print_json(found)
    else:
        print("\n".join(evaluation.sentences(found)))


@app.command
def board(
    folder: Annotated[Path, Parameter(help="A folder of runs.")] = Path("runs"),
    /,
    *,
    port: Annotated[int, Parameter(help="Port; 0 takes any that is free.")] = 6006,
) -> None:
    """Open TensorBoard on a folder of runs; Ctrl-C ends it."""
    from headstart.use.board import serve

    serve(folder, port, lambda url: print(url, flush=True))


@app.command
def repair(folder: Annotated[Path, Parameter(help="A run's folder.")], /) -> None:
    """Make a run's TensorBoard files anew from its record."""
    from headstart import run

    print(run.repair(folder))


def _voice() -> Any:
    from headstart.terminal import Terminal

    return Terminal()


def _duration(text: str | None) -> Any:
    from headstart.units import Duration

    try:
        return Duration.parse(text) if text else None
    except ValueError as error:
        raise UsageError(f"--save-every: {error}.", "Write for example 1ep or 50st.") from None


def _print_run(folder: Path, as_json: bool) -> None:
    from headstart.record import read_json
    from headstart.run import result_sentences

    result = read_json(folder / "result.json")
    if as_json:
        _print_json({"folder": str(folder), **result})
    else:
        print("\n".join([*result_sentences(result), f"Model: {folder / 'model'}"]))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code: one sentence what, one what to do, no traceback without --debug."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        app(words, exit_on_error=False, print_error=False)
    except KeyboardInterrupt:
        _leave("Stopped before training began; nothing was lost.", "Run the command again.", 130)
    except CycloptsError as error:
        _leave(_one_line(str(error)), "See `headstart COMMAND --help`.", UsageError.exit_code)
    except HeadstartError as error:
        if debug:
            raise
        _leave(error.what, error.cure, error.exit_code)
    except Exception as error:
        if debug:
            raise
        what = f"headstart failed in a way it did not expect ({type(error).__name__}: {_one_line(str(error))})."
        _leave(what, "Run it again with --debug and report what it prints.", 1)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _leave(what: str, cure: str, code: int) -> NoReturn:
    print(f"{what}\n{cure}", file=sys.stderr)
    sys.exit(code)
