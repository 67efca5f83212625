"""The cyclopts application, and parameters that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter

from headstart.cli.options import switch
from headstart.config.run_config import DataConfig
from headstart.engines.registry import engine_choices
from headstart.text import capitalize

RUNS = Path("runs")
DATA_FORMS = capitalize(str(DataConfig.model_fields["source"].description))

Data = Annotated[str, Parameter(help=f"{DATA_FORMS}.")]
Model = Annotated[Path, Parameter(help="Run, its model folder, or a folder of runs (the best by val).")]
Json = Annotated[bool, switch("JSON output.")]
EngineName = Annotated[
    str,
    Parameter(help=f"Where runs execute: {'; '.join(f'{name}, {place}' for name, place in engine_choices().items())}."),
]
Address = Annotated[
    str, Parameter(help="ray: address of the cluster [default: a cluster on this machine].", show_default=False)
]
SaveEvery = Annotated[
    str | None,
    Parameter(help="Checkpoint interval, e.g. 1ep or 50st [default: as often as costs 1 % of the time]."),
]

app = App(
    name="headstart",
    help="Compare pretrained weights with training from scratch in an experiment.",
    help_epilogue="Start with `headstart compare PHOTOS`, where PHOTOS has one folder per class, and watch it with "
    "`headstart board`. With --debug every command prints the traceback of an error.",
    help_format="plaintext",
    version_flags=["--version"],
    group_parameters=Group("Parameters", sort_key=0),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
