"""Shared by all tests: a cache of their own, no network but the loopback, and small trained runs."""

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("headstart", deadline=None)  # a busy machine is no wrong answer
hypothesis.settings.load_profile("headstart")
PHOTOS = Path(__file__).parents[1].parent / "shared" / "data" / "clothing"
WEIGHTS = Path(__file__).parents[1].parent / "shared" / "weights" / "cifar10-resnet18.safetensors"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for the session: the machine is measured once, digits are decoded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_as_in_a_terminal() -> Iterator[None]:
    """A shell starts its background jobs with SIGINT ignored, and their children inherit that; ours must hear it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Any connection that leaves this machine fails the test that made it."""
    real = socket.socket.connect

    def connect(self: socket.socket, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0]
            try:
                inside = ipaddress.ip_address(host).is_loopback
            except ValueError:
                inside = host == "localhost"
            if not inside:
                raise OSError(f"the tests reach only this machine, not {host}")
        return real(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield


@pytest.fixture
def clothing() -> Path:
    if not PHOTOS.is_dir():
        pytest.skip("the clothing photos do not lie beside this checkout")
    return PHOTOS


@pytest.fixture
def cifar_weights() -> Path:
    if not WEIGHTS.is_file():
        pytest.skip("the pretrained weights do not lie beside this checkout")
    return WEIGHTS


def environment_for_processes() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
