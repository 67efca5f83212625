"""Write settings as flags of the command line, for commands that are printed as advice."""

from __future__ import annotations

from collections.abc import Sequence

from headstart import shell
from headstart.config.duration import Duration
from headstart.storage.schemas.arm import Tuning

FlagSetting = str | float | bool | Duration | Tuning | Sequence[str | float | Duration]


def flag_words(name: str, value: FlagSetting) -> list[str]:
    """Return the words that set a field: `--lr 0.1`, `--skip-bad` or `--no-skip-bad`, a list as a repeated flag."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    values = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
    return [word for item in values for word in (f"--{flag}", str(item))]


def flag_text(name: str, value: FlagSetting) -> str:
    """Return `flag_words` as one text, quoted for a shell."""
    return shell.join(flag_words(name, value))
