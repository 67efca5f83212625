"""The code of a user's own network that a run, model or study folder contains, and whether it may be executed.

Code that came with a folder is executed only if this user began a run with it, or asks for it: `trusting`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from headstart.errors import ModelFileError
from headstart.i18n import _
from headstart.models import user_code
from headstart.models.user_code import UserCode
from headstart.storage import run_index

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
    code = user_code.read_copy(folder, network, sha256)
    if _is_trusting.get():
        run_index.add(folder, code=sha256)
    elif not user_code.is_pinned(sha256) and not run_index.knows_code(sha256):
        raise ModelFileError(
            _("{folder} contains code that you have not run on this machine; it was not executed.", folder=folder),
            _("Read it. If you trust it, repeat the command with --trust (trust=True in Python)."),
        )
    return {network: code}


def network_in(folder: Path, network: str, sha256: str) -> str:
    """Return a network with the path of its copy in a folder; networks other than a user's own are returned as given.

    Arguments and errors are those of `stored_code`.
    """
    if not stored_code(folder, network, sha256):
        return network
    return f"{folder.absolute()}/{user_code.label(network)}"
