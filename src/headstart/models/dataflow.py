"""Describe what the layers of a network get as expressions of the layers before, and how two expressions differ.

Expressions are equal where the values are: a ReLU after a max-pooling is the same as before it, a second ReLU after
another changes nothing, and the order of the terms of an addition does not count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from headstart.i18n import Message, _
from headstart.models.tracing import ADDITION, MAX_POOLING, RELU, Trace


class Flow:
    """Expressions of what layers get, in terms of the layers of the reference."""

    def __init__(self, trace: Trace, names: Mapping[str, str], order: Sequence[str]) -> None:
        """Name the operations of layers.

        Args:
            trace: The operations.
            names: Names of the reference by the names of the network.
            order: Names of the reference, in its order.
        """
        self._operations = trace.operations
        self._names = {
            number: names.get(operation.layer, operation.layer)
            for number, operation in enumerate(trace.operations)
            if operation.layer
        }
        self.by_name = {name: number for number, name in reversed(self._names.items())}
        self._aliases: dict[int, str] = {-1: "images"}  # an input that a layer has had is named after this layer
        for name in order:
            if name in self.by_name:
                for number in self._operations[self.by_name[name]].inputs:
                    if number not in self._names:
                        self._aliases.setdefault(self._source(number), f"input of {name}")

    def input_of(self, name: str) -> str:
        """Return the expression of the input of a layer."""
        number = self.by_name[name]
        inputs = self._operations[number].inputs
        return ", ".join(self.expression(i, f"input of {name}") for i in inputs[:1])

    def expression(self, number: int, of: str = "") -> str:
        """Return what an operation gives; `of` is the alias that must not be used, because it is being described."""
        number = self._source(number)
        if number in self._names:
            return self._names[number]
        if (alias := self._aliases.get(number, of)) != of:
            return alias
        operation = self._operations[number]
        if operation.kind == RELU and operation.inputs[0] >= 0:
            inner = self._operations[operation.inputs[0]]
            if inner.kind == MAX_POOLING and not inner.layer:
                return f"{_name(inner.kind, inner.options)}({RELU}({self.expression(inner.inputs[0], of)}))"
        parts = sorted(self.expression(i, of) for i in operation.inputs)
        return f"{_name(operation.kind, operation.options)}({', '.join(parts)})"

    def _source(self, number: int) -> int:
        """Return the operation without a second ReLU after another, which changes nothing."""
        while number >= 0 and self._operations[number].kind == RELU:
            before = self._operations[number].inputs[0]
            if before < 0 or self._operations[before].kind != RELU:
                break
            number = before
        return number


def _name(kind: str, options: str) -> str:
    return f"{kind} [{options}]" if options else kind


def flow_fault(actual: str, expected: str, name: str) -> Message:
    """Return what two expressions differ in: in words where it has a name, else both of them."""
    counts = {kind: (actual.count(f"{kind}("), expected.count(f"{kind}(")) for kind in (RELU, ADDITION)}
    has_equal_parts = _parts(actual) == _parts(expected)
    own, other = counts[RELU]
    if has_equal_parts and own < other:
        return _("a ReLU is missing before it")
    if has_equal_parts and own > other:
        return _("an extra ReLU before it")
    own_rest, other_rest = _without_common_calls(actual, expected)
    if has_equal_parts and own_rest.startswith(f"{ADDITION}(") and other_rest.startswith(f"{RELU}({ADDITION}("):
        return _("the ReLU comes before the addition of the shortcut, not after it")
    if counts[ADDITION][0] < counts[ADDITION][1]:
        return _("the shortcut is not added before it")
    return _("gets {actual}; in {name} {expected}", actual=actual, name=name, expected=expected)


def _without_common_calls(first: str, second: str) -> tuple[str, str]:
    """Return two expressions without the operations around both of them."""
    while (
        (call := first.partition("(")[0]) == second.partition("(")[0] and first.endswith(")") and second.endswith(")")
    ):
        first, second = first[len(call) + 1 : -1], second[len(call) + 1 : -1]
    return first, second


def _parts(expression: str) -> Counter[str]:
    """Count the parts of an expression but for ReLU, in any order."""
    return Counter(expression.replace(f"{RELU}(", "(").replace("(", " ").replace(")", " ").replace(",", " ").split())


def mentions(expression: str, layers: Collection[str]) -> bool:
    """Return True if an expression has one of the layers."""
    return not set(re.split(r"[(), ]+", expression)).isdisjoint(layers)
