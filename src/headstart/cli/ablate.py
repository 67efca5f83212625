"""The command `ablate`: train shortcut x norm x depth and report the effect of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from headstart.cli.app import RUNS, Address, Data, EngineName, Json, Log, Runs, command, reporter
from headstart.cli.options import AblationFlags, parameter
from headstart.cli.render import print_ablation
from headstart.config.new_place import NewPlace
from headstart.engines.registry import EngineChoice
from headstart.i18n import _
from headstart.telemetry.trackers.registry import require_trackers


@command(
    _("Train networks with and without shortcuts and normalization, at three depths; report the effect of each."),
    sort_key=5,
)
def ablate(
    source: Data,
    /,
    *,
    seeds: Annotated[int, parameter(_("Seeds of each network."))] = 1,
    runs: Runs = RUNS,
    engine: EngineName = "auto",
    address: Address = "",
    log: Log = None,
    json: Json = False,
    settings: AblationFlags = None,
) -> None:
    """Train networks with and without shortcuts and normalization, at three depths; report the effect of each."""
    from headstart.experiment.ablation_grid import ablation_spec
    from headstart.experiment.compare import compare

    chosen, trackers = EngineChoice(engine, address), require_trackers(log or ())
    spec = ablation_spec(source, settings or {}, seeds)
    with reporter() as output:
        result = compare(spec, runs, chosen, output, trackers=trackers)
    print_ablation(result, json)


def resume_ablation(
    folder: Path, engine: EngineChoice, trackers: Sequence[str], place: NewPlace | None, json: bool
) -> None:
    """Resume the ablation in a folder, and print its result."""
    from headstart.experiment import compare as orchestrator

    with reporter() as output:
        result = orchestrator.resume_ablation(folder, engine, output, trackers, place=place)
    print_ablation(result, json)
