"""Every word about engines comes from a template of the catalog, but for errors that come from another process."""

import signal
from pathlib import Path

import pytest

from headstart.engines import processes
from headstart.engines.registry import ENGINES, engine_choices
from headstart.errors import DataError, InterruptedRunError
from headstart.i18n import Message, _, translated
from headstart.runs import job_protocol
from tests.pseudo_catalog import PseudoCatalog, words_left


def test_words_on_engines_are_in_the_catalog() -> None:
    for place in engine_choices().values():
        assert isinstance(place, Message) and words_left(translated(place, PseudoCatalog())) <= set(ENGINES), place


def test_words_on_a_lost_worker_are_in_the_catalog() -> None:
    title = job_protocol.job_title(job_protocol.encode_job(Path("1"), []))
    for ending in (_("by {signal}", signal="SIGKILL"), _("with exit code {code}", code=3)):
        error = processes._loss(title, ending)
        assert error.message == f"The process of an empty job ended {ending}, 3 times in a row."
        for text in (error.message, error.hint):
            assert words_left(translated(text, PseudoCatalog())) <= {"SIGKILL"}, text


def test_error_of_a_worker_keeps_its_english_text() -> None:
    error = DataError(_("There are {count} images in {{folder}}.", count=0), _("Add images."))
    with pytest.raises(DataError) as raised:
        job_protocol.decode_answer(job_protocol.error_answer(error))
    assert (raised.value.message, raised.value.hint) == (error.message, error.hint)
    assert translated(raised.value.message, PseudoCatalog()) == "⟦There are 0 images in {folder}.⟧"
    with pytest.raises(InterruptedRunError) as stopped:
        job_protocol.decode_answer(job_protocol.interruption_answer(signal.SIGTERM))
    assert stopped.value.exit_code == 143 and isinstance(stopped.value.hint, Message)
