"""The command `ablate`: train shortcut x norm x depth and report the effect of each."""

from __future__ import annotations

from typing import Annotated

from headstart.cli.app import RUNS, Address, Data, EngineName, Json, Log, Runs, command, reporter
from headstart.cli.options import AblationFlags, parameter
from headstart.cli.render import print_json
from headstart.engines.registry import EngineChoice
from headstart.i18n import _, translated
from headstart.telemetry.trackers.registry import require_trackers
from headstart.text import printable


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
    if json:
        print_json(result.to_json())
    else:
        print("\n".join(printable(translated(sentence)) for sentence in result.sentences))
