"""The sections on how a study or runs were made, and on the limits of the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart import shell
from headstart.analysis.wording import length_words
from headstart.i18n import Message, _, ngettext
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.layout import SectionContent
from headstart.report.provenance import (
    DeclaredProtocol,
    Table,
    declared_protocol,
    environment_rows,
    run_tables,
    train_command,
)


@dataclass(frozen=True)
class ProtocolContent(SectionContent):
    """How the runs were made.

    Args:
        command_title: What `command` does.
        command: Command that repeats or continues the study or the runs.
        notes: Sentences on the protocol.
        declared: The declared protocol.
        tables: Tables of all runs.
        environment: Origin of data and weights, and the environment.
    """

    template = "protocol.html"

    command_title: Message
    command: str
    notes: Sequence[Message]
    declared: DeclaredProtocol | None
    tables: Sequence[Table]
    environment: Sequence[tuple[str, Message]]


@dataclass(frozen=True)
class LimitsContent(SectionContent):
    """What the result is limited to, in sentences."""

    template = "limits.html"

    sentences: Sequence[Message]


def study_section(inputs: PageInputs) -> ProtocolContent | None:
    """Return the protocol of a study, with or without a verdict; None for runs outside a study."""
    if isinstance(inputs, StudyInputs):
        verdict = inputs.verdict
        finding = _(
            "{arms}, {seeds}, {length}",
            arms=ngettext("{count} arm", "{count} arms", len(verdict.arms)),
            seeds=ngettext("one seed", "{count} paired seeds", verdict.n),
            length=length_words(verdict.budget),
        )
        command = f"headstart compare --study {shell.quote_path(inputs.folder / 'study.toml')}"
        return _content(inputs, finding, _("Repeat the study"), command, inputs.sentences.notes)
    if inputs.is_study:
        command = f"headstart resume {shell.quote_path(inputs.folder)}"
        return _content(inputs, _("As declared in study.toml"), _("Continue the study"), command)
    return None


def runs_section(inputs: PageInputs) -> ProtocolContent:
    """Return the settings of runs outside a study."""
    finding = _("The settings are in plan.json of each run")
    if len(inputs.runs) == 1 and (command := train_command(inputs.runs[0].run.folder)):
        return _content(inputs, finding, _("Repeat the run"), command)
    return _content(inputs, finding, _("Repeat this page"), f"headstart report {shell.quote_path(inputs.folder)}")


def _content(
    inputs: PageInputs, finding: Message, command_title: Message, command: str, notes: Sequence[Message] = ()
) -> ProtocolContent:
    return ProtocolContent(
        finding,
        command_title,
        command,
        notes,
        declared_protocol(inputs.folder),
        run_tables(inputs.runs, inputs.folder),
        environment_rows(inputs.runs),
    )


def limits_section(inputs: StudyInputs) -> LimitsContent:
    """Return what the result of a study is limited to."""
    return LimitsContent(_("Limits"), [inputs.sentences.limits])
