"""Import the modules of a user's own network from their pinned text, without `sys.path`.

The modules of one network are in a package of their own, whose name contains the hash of the code. Networks whose files
have the same names therefore do not conflict, a module is executed once in a process, and what is executed is exactly
what was hashed. Absolute imports between the files are rewritten to that package.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath
from types import CodeType, ModuleType

from headstart.models.user_code import UserCode

_PREFIX, _MAIN = "headstart_user_", "_main_file"
_codes: dict[str, UserCode] = {}  # by package, of this process


def import_main(code: UserCode) -> ModuleType:
    """Return the module of a network's main file, which is executed if it has not been in this process.

    Raises what the file raises.
    """
    package = _PREFIX + code.sha256[:16]
    _codes.setdefault(package, code)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
    return importlib.import_module(f"{package}.{_main_name(code)}")


def _main_name(code: UserCode) -> str:
    """Return the name of the main module: that of its file, if it can be imported and no package has the same."""
    name = code.main.removesuffix(".py")
    is_package = any(file.startswith(f"{name}/") for file in code.files)
    return _MAIN if is_package or not name.isidentifier() else name


def is_user_file(filename: str) -> bool:
    """Return True if a file name in a traceback is that of a file of a network."""
    return any(str(code.folder / file) == filename for code in _codes.values() for file in code.files)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the packages in `_codes`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module of a network; None for any other module."""
        package, _unused, name = fullname.partition(".")
        code = _codes.get(package)
        if code is None:
            return None
        if name == _MAIN:
            loader = _Loader(code, package, code.main)
            return importlib.machinery.ModuleSpec(fullname, loader, origin=loader.path)
        relative = PurePosixPath(*name.split(".")) if name else PurePosixPath()
        init = str(relative / "__init__.py")
        is_package = not name or init in code.files or any(file.startswith(f"{relative}/") for file in code.files)
        file = init if is_package else f"{relative}.py"
        if name and not is_package and file not in code.files:
            return None
        loader = _Loader(code, package, file if name else "")
        return importlib.machinery.ModuleSpec(fullname, loader, origin=loader.path, is_package=is_package)


class _Loader(importlib.abc.InspectLoader):
    """Loads one file of a network; a folder without `__init__.py` is an empty package."""

    def __init__(self, code: UserCode, package: str, file: str) -> None:
        self._code, self._package, self._file = code, package, file
        self.path = str(code.folder / file)

    def get_source(self, fullname: str) -> str:
        """Return the text of the file."""
        return self._code.files.get(self._file, "")

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled file, with imports from the package of the network."""
        tree = _Imports(self._package, self._code.module_names()).visit(ast.parse(self.get_source(fullname)))
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the file."""
        module.__file__ = self.path
        super().exec_module(module)


class _Imports(ast.NodeTransformer):
    """Replaces absolute imports of a network's own modules by imports from its package."""

    def __init__(self, package: str, modules: frozenset[str]) -> None:
        self._package, self._modules = package, modules - sys.stdlib_module_names

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        """Rewrite `from blocks import Block`."""
        if not node.level and node.module and node.module.partition(".")[0] in self._modules:
            node.module = f"{self._package}.{node.module}"
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.Import]:
        """Rewrite `import blocks` to `import PACKAGE.blocks as blocks`, and `import nets.a` likewise."""
        statements: list[ast.Import] = []
        for alias in node.names:
            top = alias.name.partition(".")[0]
            names = [alias]
            if top in self._modules:
                names = [
                    ast.alias(f"{self._package}.{alias.name}", alias.asname or (None if "." in alias.name else top))
                ]
                if alias.asname is None and "." in alias.name:  # binds the package as well
                    names.append(ast.alias(f"{self._package}.{top}", top))
            statements += [ast.copy_location(ast.Import([name]), node) for name in names]
        return statements
