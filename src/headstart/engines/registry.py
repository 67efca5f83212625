"""The engines, one row each, and checks of an engine's name and address. Nothing here needs torch."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from headstart.errors import ResourceError, UsageError


@dataclass(frozen=True)
class EngineSpec:
    """One engine.

    Args:
        place: Where its runs execute, in words.
        factory: Import path of a function from `EngineSettings` to an engine.
        parallel: It executes several runs at a time.
        has_address: It connects to a cluster at an address.
    """

    place: str
    factory: str
    parallel: bool = True
    has_address: bool = False


ENGINES = {
    "local": EngineSpec("one after the other", "headstart.engines.local:create", parallel=False),
    "processes": EngineSpec("in parallel", "headstart.engines.processes:create"),
    "ray": EngineSpec("on a cluster", "headstart.engines.ray:create", has_address=True),
}
AUTO = "auto"
AUTO_SERIAL, AUTO_PARALLEL, *_ = ENGINES  # the two engines from which `auto` selects
CONNECT_TIMEOUT_S = 5.0  # time for an address to accept a connection


def engine_choices() -> dict[str, str]:
    """Return where the runs of each engine execute, in words; `auto` included."""
    automatic = f"{AUTO_PARALLEL} if measured to be at least as fast as {AUTO_SERIAL}, else {AUTO_SERIAL}"
    return {name: spec.place for name, spec in ENGINES.items()} | {AUTO: automatic}


def validate_engine_name(name: str, address: str = "") -> str:
    """Return the name of an engine if it is valid.

    Raises:
        UsageError: The engine is unknown, or an address is given for an engine other than Ray.
    """
    if name not in (choices := engine_choices()):
        raise UsageError(f"There is no engine {name!r}.", f"Choose one of {', '.join(choices)}.")
    if address and not (name in ENGINES and ENGINES[name].has_address):
        raise UsageError("An address is valid only for a Ray cluster.", "Add --engine ray, or remove --address.")
    return name


@dataclass(frozen=True)
class EngineChoice:
    """An engine by name, and the cluster that it connects to.

    Args:
        name: `local`: one run after the other; `processes`: as many processes as are faster on this machine; `ray`: a
            Ray cluster; `auto`: the faster of `local` and `processes`.
        address: Address of the Ray cluster; "" starts a cluster on this machine.

    Raises:
        UsageError: The engine is unknown, or an address is given for an engine other than Ray.
    """

    name: str = AUTO
    address: str = ""

    def __post_init__(self) -> None:
        """Check name and address."""
        validate_engine_name(self.name, self.address)


def require_listener(address: str) -> None:
    """Raise ResourceError if nothing listens at `address`, since Ray itself waits for minutes.

    Args:
        address: `host:port` or `ray://host:port`. Other addresses ("", `auto`) are resolved by Ray and not checked.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise ResourceError(
            f"Nothing listens at {address} ({error}).", "Start a cluster with `ray start --head`, or check the address."
        ) from None
