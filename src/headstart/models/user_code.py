"""The source files of a user's own network, written `PATH.py:NAME`: read, hash and pin them.

The files are the one that the path names, and those in its folder that it imports, directly or through others. Nothing
is executed here, and nothing needs torch: see `models.user_network` for building the network.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from headstart.errors import UsageError
from headstart.i18n import _
from headstart.path_names import expanded
from headstart.text import end_sentence, join_first, suggestion

CODE_FOLDER = "code"  # in the folder of a run, and in its model folder
MAX_CODE_BYTES = 500_000  # of all files: each job for another process contains them, and 2 MB take 1.2 GB to parse
_MAX_NAME_BYTES = 250  # of a file without its suffix
_MAX_PARTS = 200  # of a dotted name: the time that Python needs for one grows with the square
_LONG_NAME = re.compile(rf"\b(?:\w++\s*+\.\s*+){{{_MAX_PARTS}}}")
MAX_NAMES_SHOWN = 6

_FORM = re.compile(r"(?P<path>.+\.py):(?P<name>[^\W\d]\w*)", re.DOTALL)
_HINT = _("Name a class or function in a Python file, as in --network my.py:MyNetwork.")


@dataclass(frozen=True)
class UserCode:
    """Source files of a network.

    Attributes:
        main: Name of the file that defines the network.
        files: Text by path relative to the folder of `main`, with `/` between its parts.
        folder: Folder of the files, for tracebacks; not a part of the content.
    """

    main: str
    files: Mapping[str, str]
    folder: Path

    @property
    def sha256(self) -> str:
        """Hash of the names and texts of the files."""
        return hashlib.sha256(json.dumps([self.main, sorted(self.files.items())]).encode()).hexdigest()

    def module_names(self) -> frozenset[str]:
        """Return the names of the modules and packages at the top level of the folder."""
        return frozenset(PurePosixPath(path).parts[0].removesuffix(".py") for path in self.files)


# Code by the path of its main file; None outside `pinned`.
_pinned: ContextVar[dict[str, UserCode] | None] = ContextVar("pinned user code", default=None)
_is_importing: ContextVar[bool] = ContextVar("importing user code", default=False)


@contextmanager
def importing() -> Iterator[None]:
    """Refuse trainings and predictions within the block, in which the file of a network is imported or constructed."""
    token = _is_importing.set(True)
    try:
        with redirect_stdout(sys.stderr):  # results are written to standard output
            yield
    finally:
        _is_importing.reset(token)


@contextmanager
def pinned(codes: Mapping[str, UserCode] | None = None) -> Iterator[None]:
    """Read the code of each network at most once within the block, so that a change of its files has no effect.

    Args:
        codes: Code by network, which is used in place of the files.

    Raises:
        UsageError: The file of a network is being imported; see `importing`.
    """
    if _is_importing.get():
        raise UsageError(
            _("The file of the network uses headstart when it is imported."),
            _("Put its program under `if __name__ == '__main__':`."),
        )
    inherited = _pinned.get() or {}
    given = {_split(network)[0]: code for network, code in (codes or {}).items()}
    token = _pinned.set({**inherited, **given})
    try:
        yield
    finally:
        _pinned.reset(token)


def pin(network: str, code: UserCode) -> None:
    """Use this code for a network until the end of the enclosing `pinned` block, if there is one."""
    if (codes := _pinned.get()) is not None:
        codes[_split(network)[0]] = code


def is_pinned(sha256: str) -> bool:
    """Return True if code with this hash is pinned: this process, or the one that sent the job, runs it."""
    return any(code.sha256 == sha256 for code in (_pinned.get() or {}).values())


def is_user_network(network: str) -> bool:
    """Return True for a network `PATH.py:NAME`, and for a path without a name."""
    return network.endswith(".py") or _FORM.fullmatch(network) is not None


def definition(network: str) -> str:
    """Return NAME of a network `PATH.py:NAME`."""
    return _split(network)[1]


def label(network: str) -> str:
    """Return the name of a network without the folder of its file: `my.py:NAME`."""
    if not is_user_network(network):
        return network
    path, name = _split(network)
    return f"{Path(path).name}:{name}"


def absolute_network(network: str) -> str:
    """Return a network with the path of its file made absolute."""
    if not is_user_network(network):
        return network
    return ":".join(_split(network))


def network_name(source: Callable[..., object]) -> str:
    """Return `PATH.py:NAME` of a class or function.

    Raises:
        UsageError: It is not defined at the top level of a file, for example in a notebook.
    """
    name = getattr(source, "__qualname__", "")
    if not name:
        raise UsageError(
            _("The network is an object of the class {name}.", name=type(source).__name__),
            _("Pass the class itself, without arguments: network={name}.", name=type(source).__name__),
        )
    try:
        path = inspect.getsourcefile(source) or ""
    except (TypeError, OSError):
        path = ""
    if not name.isidentifier() or not path.endswith(".py") or not Path(path).is_file():
        raise UsageError(
            _("{network} is not defined at the top level of a Python file.", network=name or repr(source)),
            _("Write it to a file, in a notebook with %%writefile my.py, and import it from there."),
        )
    return f"{Path(path).absolute()}:{name}"


def require_network(network: str) -> None:
    """Raise the error of a user's own network that does not exist, without torch; see `code_of`."""
    if is_user_network(network):
        code_of(network)


def sha256_of(network: str) -> str:
    """Return the hash of a network's code; "" for a network that is not a user's own. Errors are those of `code_of`."""
    return code_of(network).sha256 if is_user_network(network) else ""


def code_of(network: str) -> UserCode:
    """Return the code of a network: that of the enclosing `pinned` block, else that of the files.

    Raises:
        UsageError: There is no such file or definition, or a file is not valid Python.
    """
    path, name = _split(network)
    codes = _pinned.get()
    code = codes.get(path) if codes is not None else None
    if code is None:
        code = read_code(Path(path))
        pin(network, code)
    _require_definition(code, name)
    return code


def read_code(path: Path) -> UserCode:
    """Read a file and the files in its folder that it imports.

    Args:
        path: The file.

    Raises:
        UsageError: There is no such file, a file is not valid Python, or the files are too large.
    """
    folder = path.absolute().parent
    files: dict[str, str] = {}
    pending = [path.name]
    while pending:
        relative = pending.pop()
        if relative not in files:
            files[relative] = text = _read(folder / relative, MAX_CODE_BYTES - sum(map(len, files.values())))
            try:
                pending += _imported_files(folder, relative, ast.parse(text))
            except (ValueError, RecursionError, MemoryError) as error:
                raise _invalid(folder / relative, error) from None
    return UserCode(path.name, dict(sorted(files.items())), folder)


def _split(network: str) -> tuple[str, str]:
    """Return path and name of a network. Raises UsageError without a name."""
    if (match := _FORM.fullmatch(network)) is not None:
        return str(expanded(match["path"]).absolute()), match["name"]
    path = Path(network)
    names = _definitions(ast.parse(_read(expanded(path), MAX_CODE_BYTES)))
    raise UsageError(
        _("{network} does not say which class of the file is the network.", network=network),
        _("Write {network}:{name}.", network=network, name=names[-1]) if names else _HINT,
    )


def _read(path: Path, limit: int) -> str:
    """Return the text of a Python file. Raises UsageError if it is too large or unreadable, or not valid Python."""
    try:
        if path.stat().st_size > limit:
            raise UsageError(
                _(
                    "{path} and the files that are imported with it have more than {limit:,} bytes of code.",
                    path=path,
                    limit=MAX_CODE_BYTES,
                ),
                _("Move the network to a folder of its own, with what it needs."),
            )
        text = importlib.util.decode_source(path.read_bytes())
        _require_short_names(path, text)
        ast.parse(text)
    except OSError as error:
        raise UsageError(_("{path} cannot be read ({reason}).", path=path, reason=error.strerror), _HINT) from None
    except SyntaxError as error:
        raise UsageError(
            _(
                "{path} is not valid Python: {reason}, line {line}.",
                path=path,
                reason=error.msg,
                line=error.lineno or 0,
            ),
            _("Correct the file; `python {path:shell}` shows the place.", path=path),
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _invalid(path, error) from None
    return text


def _require_short_names(path: Path, text: str) -> None:
    if _LONG_NAME.search(text):
        reason = _("a dotted name has {count} parts or more", count=_MAX_PARTS)
        raise UsageError(_("{path} is not valid Python ({reason}).", path=path, reason=reason), _HINT)


def _invalid(path: Path, error: Exception) -> UsageError:
    """Return the error on a file that the parser does not accept, such as one that is nested too deeply."""
    reason = str(error) or type(error).__name__
    return UsageError(_("{path} is not valid Python ({reason}).", path=path, reason=reason), _HINT)


def _definitions(tree: ast.Module) -> list[str]:
    """Return the names of the classes and functions at the top level of a file; of the functions if it has no class."""
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return classes or [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def _require_definition(code: UserCode, name: str) -> None:
    tree = ast.parse(code.files[code.main])
    if not {name, "*"}.isdisjoint(_top_level_names(tree)):
        return
    names = _definitions(tree)
    raise UsageError(
        end_sentence(
            _("{file} has no {name}{suggestion}", file=code.main, name=name, suggestion=suggestion(name, names))
        ),
        _("It defines {names}.", names=join_first(names, MAX_NAMES_SHOWN)) if names else _HINT,
    )


def _top_level_names(tree: ast.Module) -> Iterator[str]:
    """Yield every name that the top level of a file may bind, also within `if` and `try`."""
    for node in _outside_functions(tree.body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _outside_functions(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        yield node
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _outside_functions(ast.iter_child_nodes(node))


def _imported_files(folder: Path, relative: str, tree: ast.Module) -> Iterator[str]:
    """Yield the files in `folder` that a file imports, as relative paths."""
    package = PurePosixPath(relative).parent
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module_files(folder, PurePosixPath(), alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = PurePosixPath()
            if node.level:
                if node.level - 1 > len(package.parts):
                    raise UsageError(
                        _("{path} imports a module from outside its folder.", path=folder / relative),
                        _("Move the modules that the network needs to the folder of its file."),
                    )
                base = PurePosixPath(*package.parts[: len(package.parts) - node.level + 1])
            module = node.module or ""
            yield from _module_files(folder, base, module, is_relative=bool(node.level))
            for alias in node.names:  # the name may be a module
                name = f"{module}.{alias.name}" if module else alias.name
                yield from _module_files(folder, base, name, is_relative=bool(node.level))


def _module_files(folder: Path, base: PurePosixPath, name: str, *, is_relative: bool = False) -> Iterator[str]:
    """Yield the existing files of a module and of its parent packages."""
    parts = name.split(".") if name and name != "*" else []
    if parts and not is_relative and parts[0] in sys.stdlib_module_names:
        return
    if any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in parts):
        return  # no file has such a name
    for count in range(len(parts) + 1):
        module = base.joinpath(*parts[:count])
        candidates = [module / "__init__.py"]
        if count:
            candidates.append(module.with_name(f"{module.name}.py"))
        yield from (str(path) for path in candidates if path.parts[0] != "__init__.py" and (folder / path).is_file())
