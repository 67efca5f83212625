"""Validate the name of an engine and the address of a cluster."""

from __future__ import annotations

import socket

from headstart.errors import ResourceError, UsageError

ENGINES = {  # name: where its runs execute
    "local": "one after the other",
    "processes": "in parallel",
    "ray": "on a cluster",
    "auto": "processes if measured to be at least as fast as local, else local",
}
CONNECT_TIMEOUT_S = 5.0  # time for an address to accept a connection


def validate_engine_name(name: str, address: str = "") -> str:
    """Return the name of an engine if it is valid.

    Raises:
        UsageError: The engine is unknown, or an address is given for an engine other than Ray.
    """
    if name not in ENGINES:
        raise UsageError(f"There is no engine {name!r}.", f"Choose one of {', '.join(ENGINES)}.")
    if address and name != "ray":
        raise UsageError("An address is valid only for a Ray cluster.", "Add --engine ray, or remove --address.")
    return name


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
