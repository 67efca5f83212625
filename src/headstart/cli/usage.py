"""Errors for invalid command lines: what is wrong, and what to type instead."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Sequence

from cyclopts import (
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from headstart.cli.foreign_flags import ALIASES, advice, field_of
from headstart.config.one_value import several_values_error
from headstart.config.run_config import plan_fields
from headstart.errors import UsageError
from headstart.i18n import Message, _, verbatim
from headstart.text import closest, end_sentence, join_list, suggestion


def usage_error(error: CycloptsError) -> UsageError:
    """Return the error of a command line that cyclopts has refused."""
    chain = error.command_chain or ()
    command = " ".join(["headstart", *chain])
    flag = "--help-all" if chain and chain[0] in ("check", "compare", "train") else "--help"  # the usual flags, or all
    hint = _("See `{command} {flag}`.", command=command, flag=flag)
    if isinstance(error, UnknownOptionError):
        return _unknown_flag(error, chain, hint)
    if isinstance(error, UnknownCommandError):
        names = [name for name in error.app or () if not name.startswith("-")]
        name = (error.unused_tokens or [""])[0]
        message = _("There is no command {name!r}{suggestion}", name=name, suggestion=suggestion(name, names))
        return UsageError(end_sentence(message), _("The commands are {names}.", names=join_list(names)))
    if isinstance(error, RepeatArgumentError):
        return _repeated_flag(error, chain)
    if isinstance(error, UnusedCliTokensError):
        words = list(error.unused_tokens or ())
        name, is_setting, value = words[0].partition("=")
        if is_setting:  # as Ultralytics writes settings
            hint = _("Write it as --{name} {value:shell}.", name=name, value=value)
        return UsageError(_("Unexpected argument {words}.", words=", ".join(map(repr, words))), hint)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.keyword or next((t.keyword for t in error.argument.tokens if t.keyword), error.argument.name)
        if name.startswith("-"):
            return UsageError(_("{flag} needs a value.", flag=name), hint)
        return UsageError(_("{argument} is missing.", argument=name), hint)
    return UsageError(verbatim(" ".join(str(error).split())), hint)


def _unknown_flag(error: UnknownOptionError, chain: Sequence[str], hint: Message) -> UsageError:
    """Return the error of a flag that a command does not have, with advice for a known flag of another program."""
    flag = (error.token.keyword or error.token.value).partition("=")[0]
    message = _("There is no flag {flag}.", flag=flag)
    if instead := advice(flag, chain[0] if chain else ""):
        return UsageError(message, instead)
    flags = [name for argument in error.argument_collection for name in argument.names]
    by_word = {name.strip("-"): name for name in flags}
    longer = next((name for name in flags if flag.strip("-") and name.startswith(flag)), "")
    if similar := longer or by_word.get(closest(flag.strip("-"), by_word, cutoff=0.7), ""):
        message = _("There is no flag {flag}. Did you mean {similar}?", flag=flag, similar=similar)
    return UsageError(message, hint)


def _repeated_flag(error: RepeatArgumentError, chain: Sequence[str]) -> UsageError:
    """Return the error of a flag that was given twice; its values may be meant to be compared."""
    flag = error.token.keyword or error.token.value
    field = field_of(flag)
    names = {f"--{field.replace('_', '-')}", *ALIASES.get(field, ())}
    values = list(dict.fromkeys(_values_of(names, error.root_input_tokens or ())))
    if field in plan_fields() and len(values) > 1:
        return several_values_error(field, values, in_study=chain[:1] == ("compare",))
    return UsageError(_("{flag} is given more than once.", flag=flag), _("Give it once."))


def _values_of(names: Container[str], words: Sequence[str]) -> Iterator[str]:
    """Yield the values of a flag in the words of a command line."""
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        name, is_together, value = word.partition("=")
        if name in names:
            yield value if is_together else following
