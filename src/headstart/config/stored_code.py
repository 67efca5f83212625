"""The code of a user's own network in the folder of a run, model or study: copy it, and whether it may be executed.

Code that came with a folder is executed only if this user began a run with it, or asks for it: `trusting`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from headstart.errors import DataError, ModelFileError
from headstart.i18n import _, join
from headstart.models import user_code
from headstart.models.user_code import UserCode
from headstart.storage import contained, run_index
from headstart.storage.contained import temp_suffix

MAX_COPY_BYTES = 4 * user_code.MAX_CODE_BYTES  # of its characters in UTF-8
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


def write_code(root: Path, name: str, network: str) -> None:
    """Copy the code of a network to a new folder, in UTF-8; other networks than a user's own have none.

    The folder appears with all its files. One that exists is left as it is: it has the code of the same run.

    Args:
        root: Folder that contains the new one, such as that of a run.
        name: Name of the new folder below it; the folder that contains it must exist.
        network: The network.

    Raises:
        UnsafeFileError: The folder, or one that contains it, is a link.
    """
    if not user_code.is_user_network(network) or contained.is_folder(root, name):
        return
    code = user_code.code_of(network)
    scratch = f"{name}.{secrets.token_hex(8)}{temp_suffix()}"
    contained.make_folder(root, scratch, exist_ok=False)
    for relative, text in code.files.items():
        file = contained.join(scratch, relative)
        contained.make_folder(root, file.rpartition("/")[0])
        contained.write(root, file, text)
    contained.rename(root, scratch, name)


def read_copy(root: Path, name: str, network: str, sha256: str) -> UserCode:
    """Read the copy of a network's code that `write_code` has written.

    The files are UTF-8, whatever encoding they declare. They are not parsed: this takes gigabytes for some files.

    Args:
        root: The folder that the user has named, or that of a run.
        name: Name of the folder of the copy below it.
        network: The network, whose path names the main file.
        sha256: Hash of the code.

    Raises:
        DataError: The copy is missing or was changed, is too large, or there is a link in it.
    """
    main, folder = user_code.label(network).partition(":")[0], root / name
    hint = _("Restore the folder from a copy; it must contain {file} and what it imports.", file=main)
    files: dict[str, str] = {}
    free = MAX_COPY_BYTES
    try:
        for file in contained.files_below(root, name):
            if file.endswith(".py"):
                content = contained.read_bytes(root, file, free)
                free -= len(content)
                files[file.removeprefix(f"{name}/")] = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            _("The code in {folder} cannot be read ({reason}).", folder=folder, reason=error), hint
        ) from None
    if main not in files:
        raise DataError(_("{path} does not exist.", path=folder / main), hint)
    code = UserCode(main, dict(sorted(files.items())), folder)
    if code.sha256 != sha256:
        raise DataError(_("The code in {folder} was changed after the run began.", folder=folder), hint)
    return code


def stored_code(root: Path, name: str, network: str, sha256: str) -> dict[str, UserCode]:
    """Return the code of a network that a folder contains, for `user_code.pinned`; empty for other networks.

    Args:
        root: The folder that the user has named, or that of a run.
        name: Name of the folder of the files below it.
        network: The network.
        sha256: Hash of its code.

    Raises:
        DataError: The code is missing or was changed.
        ModelFileError: This user has not run the code and does not trust it.
    """
    if not user_code.is_user_network(network):
        return {}
    code, folder = read_copy(root, name, network, sha256), root / name
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


def network_in(root: Path, name: str, network: str, sha256: str) -> str:
    """Return a network with the path of its copy in a folder; networks other than a user's own are returned as given.

    Arguments and errors are those of `stored_code`.
    """
    codes = stored_code(root, name, network, sha256)
    if not codes:
        return network
    copy = f"{(root / name).absolute()}/{user_code.label(network)}"
    user_code.pin(copy, codes[network])  # what was checked is what is executed
    return copy
