"""The engines, one row each, and checks of an engine's name and address. Nothing here needs torch."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from headstart.errors import ResourceError, UsageError
from headstart.i18n import Message, _


@dataclass(frozen=True)
class AddressSpec:
    """The address that an engine connects to.

    Args:
        description: What it is, for help.
        hint: What to do if nothing listens there.
    """

    description: Message
    hint: Message


@dataclass(frozen=True)
class EngineSpec:
    """One engine.

    Args:
        place: Where its runs execute, in words.
        factory: Import path of a function from `EngineSettings` to an engine.
        parallel: It executes several runs at a time.
        on_this_machine: All its runs execute on this machine, which decides how many run side by side.
        automatic: `auto` may select it. It selects the first such row that is parallel, or the first that is not.
        address: Its address; None if it has none.
    """

    place: Message
    factory: str
    parallel: bool = True
    on_this_machine: bool = True
    automatic: bool = False
    address: AddressSpec | None = None


ENGINES = {
    "local": EngineSpec(_("one after the other"), "headstart.engines.local:create", parallel=False, automatic=True),
    "processes": EngineSpec(_("in parallel"), "headstart.engines.processes:create", automatic=True),
    "ray": EngineSpec(
        _("on a cluster"),
        "headstart.engines.ray:create",
        on_this_machine=False,
        address=AddressSpec(
            _("address of the cluster [default: a cluster on this machine]"),
            _("Start a cluster with `ray start --head`, or check the address."),
        ),
    ),
}
AUTO = "auto"
CONNECT_TIMEOUT_S = 5.0  # time for an address to accept a connection


def automatic_engine(*, parallel: bool) -> str:
    """Return the name of the engine that `auto` selects for several runs at a time, or for one."""
    return next(name for name, spec in ENGINES.items() if spec.automatic and spec.parallel == parallel)


def engine_choices() -> dict[str, Message]:
    """Return where the runs of each engine execute, in words; `auto` included."""
    automatic = _(
        "{parallel}, or {serial} if one run on all cores is measured to be clearly faster",
        parallel=automatic_engine(parallel=True),
        serial=automatic_engine(parallel=False),
    )
    return {name: spec.place for name, spec in ENGINES.items()} | {AUTO: automatic}


def address_choices() -> dict[str, AddressSpec]:
    """Return the address of each engine that has one."""
    return {name: spec.address for name, spec in ENGINES.items() if spec.address is not None}


def validate_engine_name(name: str, address: str = "") -> str:
    """Return the name of an engine if it is valid.

    Raises:
        UsageError: The engine is unknown, or an address is given for an engine that has none.
    """
    if name not in (choices := engine_choices()):
        raise UsageError(
            _("There is no engine {name!r}.", name=name), _("Choose one of {choices}.", choices=", ".join(choices))
        )
    if address and name not in (with_address := address_choices()):
        raise UsageError(
            _("The engine {name} has no address.", name=name),
            _("Remove --address, or choose an engine that has one: {choices}.", choices=", ".join(with_address)),
        )
    return name


@dataclass(frozen=True)
class EngineChoice:
    """An engine by name, and the cluster that it connects to.

    Args:
        name: A row of `ENGINES`, or `auto`, which selects by measurement among the engines of this machine. The help of
            `headstart compare` describes each.
        address: Address of a cluster, for an engine that has one; "" for its default.

    Raises:
        UsageError: The engine is unknown, or an address is given for an engine that has none.

    Examples:
        >>> headstart.EngineChoice("ray", "auto").address
        'auto'
    """

    name: str = AUTO
    address: str = ""

    def __post_init__(self) -> None:
        """Check name and address."""
        validate_engine_name(self.name, self.address)


def require_listener(engine: EngineChoice) -> None:
    """Raise ResourceError if nothing listens at the address of an engine, which itself may wait for minutes.

    An address is `host:port` or `scheme://host:port`. Others ("", `auto`) are resolved by the engine and not checked.
    """
    address = engine.address
    host, _unused, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise ResourceError(
            _("Nothing listens at {address} ({reason}).", address=address, reason=error),
            address_choices()[engine.name].hint,
        ) from None
