"""Every word about engines comes from a template of the catalog, but for errors that come from another process."""

import inspect
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from headstart.config import plugins
from headstart.engines import processes
from headstart.engines.registry import ENGINES, address_choices, engine_choices
from headstart.engines.worker_protocol import WORKER_MESSAGE, JobMessage, StopMessage
from headstart.errors import DataError, HeadstartError, InterruptedRunError, MissingWeightsError, UsageError
from headstart.i18n import Message, _, translated, verbatim
from headstart.reporter import NullReporter
from headstart.runs import execute, job_protocol
from tests.messages import fields_of
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


def subclasses(kind: type[HeadstartError]) -> Iterator[type[HeadstartError]]:
    yield kind
    for subclass in kind.__subclasses__():
        yield from subclasses(subclass)


def make_error(kind: type[HeadstartError]) -> HeadstartError:
    """Return an error whose values are the names of its arguments."""
    if kind is InterruptedRunError:
        return InterruptedRunError(signal.SIGTERM, verbatim("hint"))
    names = list(inspect.signature(kind).parameters)
    return kind(*map(verbatim, names))


@pytest.mark.parametrize("kind", list(subclasses(HeadstartError)), ids=lambda kind: kind.__name__)
def test_every_error_is_carried_by_an_answer(kind: type[HeadstartError]) -> None:
    error = make_error(kind)
    with pytest.raises(HeadstartError) as raised:
        job_protocol.decode_answer(job_protocol.error_answer(error, "Traceback"))
    carried = raised.value
    expected = next(base for base in kind.__mro__ if base.__module__ == HeadstartError.__module__)
    assert type(carried) is expected  # classes of other modules are carried as their nearest public base class
    assert (carried.message, carried.hint, carried.exit_code) == (error.message, error.hint, error.exit_code)
    assert isinstance(carried.message, Message) and isinstance(carried.hint, Message)
    assert "Traceback" in carried.__notes__[0]
    if isinstance(error, MissingWeightsError):
        assert isinstance(carried, MissingWeightsError) and carried.instructions == error.instructions


@pytest.mark.parametrize("decode", [job_protocol.decode_job, job_protocol.decode_answer])
def test_text_of_another_version_is_an_error(decode: Callable[[str], object]) -> None:
    with pytest.raises(DataError) as raised:
        decode(json.dumps({"schema_version": 2, "field_of_version_2": 1}))
    fields = fields_of(raised.value.message)
    assert (fields["schema"], fields["supported"]) == (2, 1)


@pytest.mark.parametrize("answer_job", [execute.answer_job, execute.answer_job_in_worker])
def test_job_of_another_version_is_answered_with_an_error(answer_job: Callable[..., str], tmp_path: Path) -> None:
    job = json.loads(job_protocol.encode_job(tmp_path, []))
    with pytest.raises(DataError):
        job_protocol.decode_answer(answer_job(json.dumps({**job, "schema_version": 2}), NullReporter()))


def test_plugin_that_cannot_be_imported_is_the_answer_of_a_worker(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(plugins.VARIABLE, "a_plugin_that_does_not_exist")
    job = job_protocol.encode_job(tmp_path, [])
    with pytest.raises(UsageError) as raised:
        job_protocol.decode_answer(execute.answer_job_in_worker(job, NullReporter()))
    assert "a_plugin_that_does_not_exist" in raised.value.message and plugins.VARIABLE in raised.value.message


def test_wrong_plugin_fails_once_in_worker_processes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(plugins.VARIABLE, "a_plugin_that_does_not_exist")
    engine = processes.ProcessEngine(1, NullReporter())
    ((_index, answer),) = engine.run([job_protocol.encode_job(tmp_path, [])])
    engine.close()
    with pytest.raises(UsageError):
        job_protocol.decode_answer(answer)


def test_messages_to_a_worker_have_exactly_one_kind() -> None:
    for message in (JobMessage(job="{}"), StopMessage(signal_number=signal.SIGINT)):
        assert WORKER_MESSAGE.validate_json(message.model_dump_json()) == message
    for text in ("{}", '{"job": "{}"}', '{"kind": "job"}', '{"kind": "job", "job": "{}", "signal_number": 2}'):
        with pytest.raises(ValidationError):
            WORKER_MESSAGE.validate_json(text)


def test_words_on_addresses_are_in_the_catalog() -> None:
    for name, address in address_choices().items():
        for text in (address.description, address.hint):
            assert isinstance(text, Message) and words_left(translated(text, PseudoCatalog())) <= {name}, text
