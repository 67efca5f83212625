"""The code of a user's own network in the folder of a run, model or study: copy it, and whether it may be executed.

Code that came with a folder is executed only if this user began a run with it, or asks for it: `trusting`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from headstart.errors import DataError, ModelFileError, UsageError
from headstart.i18n import _, join
from headstart.models import user_code
from headstart.models.user_code import UserCode
from headstart.storage import run_index
from headstart.storage.contained import temp_suffix

_is_trusting: ContextVar[bool] = ContextVar("trusting", default=False)


@contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """Execute code that folders contain within the block, whoever wrote it, and from now on without asking.

    Args:
        trust: False to change nothing.
    """
    token = _is_trusting.set(trust or _is_trusting.get())
    try:
        yield
    finally:
        _is_trusting.reset(token)


def write_code(folder: Path, network: str) -> None:
    """Copy the code of a network to a new folder, in UTF-8; other networks than a user's own have none.

    The folder appears with all its files. One that exists is left as it is: it has the code of the same run.
    """
    if not user_code.is_user_network(network) or folder.exists():
        return
    code = user_code.code_of(network)
    scratch = folder.with_name(f"{folder.name}{temp_suffix()}")
    shutil.rmtree(scratch, ignore_errors=True)
    for relative, text in code.files.items():
        path = scratch / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    scratch.rename(folder)


def read_copy(folder: Path, network: str, sha256: str) -> UserCode:
    """Read the copy of a network's code that `write_code` has written.

    Args:
        folder: Folder of the copy.
        network: The network, whose path names the main file.
        sha256: Hash of the code.

    Raises:
        DataError: The copy is missing or was changed.
    """
    main = user_code.label(network).partition(":")[0]
    hint = _("Restore the folder from a copy; it must contain {file} and what it imports.", file=main)
    try:
        code = user_code.read_code(folder / main, is_copy=True)
    except UsageError as error:
        raise DataError(error.message, hint) from None
    if code.sha256 != sha256:
        raise DataError(_("The code in {folder} was changed after the run began.", folder=folder), hint)
    return code


def stored_code(folder: Path, network: str, sha256: str) -> dict[str, UserCode]:
    """Return the code of a network that a folder contains, for `user_code.pinned`; empty for other networks.

    Args:
        folder: Folder of the files.
        network: The network.
        sha256: Hash of its code.

    Raises:
        DataError: The code is missing or was changed.
        ModelFileError: This user has not run the code and does not trust it.
    """
    if not user_code.is_user_network(network):
        return {}
    code = read_copy(folder, network, sha256)
    if _is_trusting.get():
        run_index.add(folder, code=sha256)
    elif not user_code.is_pinned(sha256) and not run_index.knows_code(sha256):
        hint = _(
            "Read it. If you trust it, use predict, evaluate, inspect or resume with --trust (in Python "
            "trust=True): it is remembered."
        )
        raise ModelFileError(
            _("{folder} contains code that you have not run on this machine; it was not executed.", folder=folder),
            join([hint, run_index.fault()]),
        )
    return {network: code}


def network_in(folder: Path, network: str, sha256: str) -> str:
    """Return a network with the path of its copy in a folder; networks other than a user's own are returned as given.

    Arguments and errors are those of `stored_code`.
    """
    codes = stored_code(folder, network, sha256)
    if not codes:
        return network
    copy = f"{folder.absolute()}/{user_code.label(network)}"
    user_code.pin(copy, codes[network])  # what was checked is what is executed
    return copy
