"""Outline a file that torch's safe unpickler refuses: which objects are in it, and which key has the weights.

Nothing is executed: every class and function that the pickle names is replaced by `Opaque`, and tensors have no values.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from headstart.weights.dialects import is_optimizer, rank_of

MAX_PICKLE_BYTES = 50_000_000  # of a compressed pickle, which torch.save does not write
MAX_EXPRESSION = 300  # characters of a place
OLD_FORMAT_PICKLES = 4  # magic number, protocol, system, content
TENSOR_FUNCTIONS = ("torch._utils._rebuild_", "torch._tensor._rebuild_from_type", "torch.FloatStorage")
ARRAY_FUNCTIONS = tuple(
    f"numpy.{core}.{name}" for core in ("core", "_core") for name in ("multiarray._reconstruct", "numeric._frombuffer")
)


@dataclass(frozen=True)
class Outline:
    """Content of a pickle.

    Attributes:
        weights: Python expressions behind the loaded content for each state dict or network, best first:
            `["state_dict"]`, `["model"].state_dict()`.
        objects: Python expressions behind the loaded content of objects that are no tensors: `["args"]`.
        is_network: The best weights are a whole network with its code.
        has_arrays: Some of the best weights are arrays of NumPy.
    """

    weights: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    is_network: bool = False
    has_arrays: bool = False


class Opaque:
    """Stands for an object of a class that is not imported."""

    qualified = ""  # module and name of the class
    content: object = None

    def __new__(cls, *_arguments: object, **_named: object) -> Opaque:
        """Return an object for any arguments."""
        return super().__new__(cls)

    def __init__(self, *_arguments: object, **_named: object) -> None:
        """Ignore the arguments of the class."""

    def __setstate__(self, content: object) -> None:
        """Keep the state of the object."""
        self.content = content

    def __setitem__(self, _key: object, _value: object) -> None:
        """Ignore an item."""

    def append(self, _value: object) -> None:
        """Ignore an element."""

    def extend(self, _values: object) -> None:
        """Ignore elements."""

    def __hash__(self) -> int:
        """Return the identity, so that the object can be a key."""
        return id(self)

    def __eq__(self, other: object) -> bool:
        """Return True for the same object."""
        return self is other

    @property
    def is_tensor(self) -> bool:
        """True for a tensor or parameter."""
        return self.qualified.startswith(TENSOR_FUNCTIONS)

    @property
    def is_array(self) -> bool:
        """True for an array of NumPy."""
        return self.qualified.startswith(ARRAY_FUNCTIONS)

    @property
    def is_network(self) -> bool:
        """True for a torch module."""
        return isinstance(self.content, Mapping) and "_modules" in self.content


class _Items(dict[object, object]):
    """Stands for the dicts of `collections`."""

    def __init__(self, *_arguments: object) -> None:
        """Ignore the arguments, such as the factory of a defaultdict."""


class _Outliner(pickle.Unpickler):
    """Builds containers and numbers; everything else becomes `Opaque`."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for a class or function."""
        if module == "collections" and name in {"OrderedDict", "defaultdict", "Counter"}:
            return _Items
        return type(name, (Opaque,), {"qualified": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> object:
        """Return a stand-in for the values of a tensor, or for a class of the old format."""
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":
            return pid[1]
        return Opaque()


def outline(path: Path) -> Outline:
    """Return what a file of torch.save contains; an empty outline if it cannot be read."""
    with suppress(Exception):  # damaged and hostile files raise many kinds of errors
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                member = next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
                if member.compress_type == zipfile.ZIP_STORED or member.file_size <= MAX_PICKLE_BYTES:
                    return _outline(_Outliner(io.BytesIO(archive.read(member))).load())
        else:
            with path.open("rb") as file:
                return _outline(_last_of(file))
    return Outline()


def _last_of(file: IO[bytes]) -> object:
    content: object = None
    for _unused in range(OLD_FORMAT_PICKLES):
        content = _Outliner(file).load()
    return content


def _outline(content: object) -> Outline:
    places = list(_places(content, "", "", set()))
    most = max((place.tensors for place in places), default=0)
    large = [place for place in places if place.is_network or place.tensors > most / 2]  # small ones are metrics
    weights = sorted(large, key=lambda place: place.order)
    expressions = tuple(
        f"{place.expression}.state_dict()" if place.is_network else place.expression for place in weights
    )
    objects = tuple(place.expression for place in places if not place.tensors and place.expression)
    if not weights:
        return Outline(expressions, objects)
    return Outline(expressions, objects, weights[0].is_network, weights[0].has_arrays)


@dataclass(frozen=True)
class _Place:
    expression: str
    name: str
    tensors: int = 0
    is_network: bool = False
    has_arrays: bool = False

    @property
    def order(self) -> tuple[int, bool, int]:
        return rank_of(self.name), self.is_network, -self.tensors


def _places(content: object, expression: str, name: str, seen: set[int]) -> Iterator[_Place]:
    """Return the state dicts, networks and objects in a content."""
    if id(content) in seen or len(expression) > MAX_EXPRESSION:
        return
    if not isinstance(content, Opaque) or not content.is_tensor:
        seen.add(id(content))  # each once: in a hostile file they contain each other many times
    if isinstance(content, Mapping):
        tensors = sum(isinstance(value, Opaque) and value.is_tensor for value in content.values())
        arrays = sum(isinstance(value, Opaque) and value.is_array for value in content.values())
        if tensors + arrays and not any(is_optimizer(part) for part in name.split(".")):
            yield _Place(expression, name, tensors + arrays, has_arrays=arrays > 0)
        for key, value in content.items():
            if isinstance(key, str | int):
                yield from _places(value, f"{expression}[{_quoted(key)}]", f"{name}.{key}".strip("."), seen)
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _places(value, f"{expression}[{number}]", f"{name}.{number}".strip("."), seen)
    elif isinstance(content, Opaque) and content.is_network:
        yield _Place(expression, name, 1, is_network=True)
    elif isinstance(content, Opaque) and not content.is_tensor and content.qualified:
        inner: list[_Place] = []
        if isinstance(content.content, Mapping):  # an object with a network: fastai's Learner
            for key, value in content.content.items():
                if isinstance(key, str) and key.isidentifier():
                    inner += _places(value, f"{expression}.{key}", f"{name}.{key}".strip("."), seen)
        networks = [place for place in inner if place.is_network]
        yield _Place(expression, name)
        yield from networks


def _quoted(key: str | int) -> str:
    return f'"{key}"' if isinstance(key, str) and key.isprintable() and not {'"', "\\"} & set(key) else repr(key)
