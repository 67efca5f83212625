"""Create the folder of a run, and begin its record."""

from __future__ import annotations

import time
from pathlib import Path

from headstart.artifacts import predictions
from headstart.config.plan_file import PlanFile, write_plan_file
from headstart.config.run_config import RunConfig
from headstart.config.stored_code import write_code
from headstart.hardware.environment import environment
from headstart.models.user_code import CODE_FOLDER
from headstart.storage import folders, run_index
from headstart.storage.schemas.metrics import BeginLine, ImageLine
from headstart.storage.schemas.study import RunRole, Stage
from headstart.telemetry.run_logger import RunLogger, run_name


def is_blind(role: RunRole | None) -> bool:
    """Return whether a run serves model selection only and must not be evaluated on test."""
    return role is not None and role.stage is Stage.SEARCH


def make_run_folder(plan: RunConfig, runs: Path, role: RunRole | None) -> Path:
    """Create a run folder under `runs` with its plan.json."""
    folder = folders.create_run(runs, run_name(plan, role), plan.seeding.seed)
    write_code(folder, CODE_FOLDER, plan.network.network)
    run_index.add(folder, plan.hash, plan.facts.network_sha256)
    machine = environment(plan.machine.device)
    write_plan_file(folder, PlanFile(hash=plan.hash, plan=plan, environment=machine, study=role))
    return folder


def begin_record(run_logger: RunLogger, samples: bytes) -> None:
    """Write the first lines of the record: the time, and a picture of training samples.

    Args:
        run_logger: The logger of the run.
        samples: The picture as a JPEG.
    """
    run_logger.write(BeginLine(time=time.time()))
    picture = predictions.write_samples(run_logger.folder, samples)
    run_logger.write(ImageLine(tag="samples/train", file=picture))
