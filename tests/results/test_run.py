"""A run that is read while it is in progress."""

from pathlib import Path

import headstart
from headstart.config.run_config import RunConfig
from headstart.storage.files import write_json
from headstart.storage.journal import Journal
from headstart.storage.schemas.result import RESULT_FILE, RunState
from tests.handmade import epoch_line, run_result, seal, write_run_files


def test_a_run_in_progress_is_read_again_until_it_has_ended(tmp_path: Path) -> None:
    write_run_files(tmp_path, RunConfig())
    with Journal(tmp_path / "metrics.jsonl") as journal:
        journal.append(epoch_line(1, 1))
    run = headstart.Run(tmp_path)
    assert len(run.history) == 1 and run.result is None and run.state is RunState.UNFINISHED
    with Journal(tmp_path / "metrics.jsonl", (tmp_path / "metrics.jsonl").stat().st_size) as journal:
        journal.append(epoch_line(2, 2))
    assert list(run.history["epoch"]) == [1, 2] and run.result is None
    write_json(tmp_path / RESULT_FILE, run_result(best_epoch=2, epochs=2).to_json())
    seal(tmp_path)
    assert run.state is RunState.FINISHED and run.result is not None and run.result.best_epoch == 2
    assert run.history is run.history and run.result is run.result  # read once
