"""Fixtures shared by all tests: a separate cache, no network except loopback, and images and weights of slow tests."""

import ipaddress
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("headstart", deadline=None)  # a slow machine is not a failure
hypothesis.settings.load_profile("headstart")
# the folder of images and weights for slow tests; by default `shared` beside the checkout
TEST_DATA = Path(os.environ.get("HEADSTART_TEST_DATA") or Path(__file__).parents[2] / "shared")
PHOTOS = TEST_DATA / "data" / "clothing"
WEIGHTS = TEST_DATA / "weights" / "cifar10-resnet18.safetensors"


def pytest_configure(config: pytest.Config) -> None:
    """Use one cache for the session: the machine is measured once, and the digits are decoded once.

    This is no fixture, because notebooks need it too.
    """
    caches = tempfile.TemporaryDirectory(prefix="headstart-tests-")
    patch = pytest.MonkeyPatch()
    patch.setenv("HEADSTART_CACHE", f"{caches.name}/cache")
    patch.setenv("HEADSTART_DATA", f"{caches.name}/data")
    patch.setenv("TORCH_HOME", f"{caches.name}/torch")
    patch.setenv("HF_HUB_OFFLINE", "1")
    startup = Path(caches.name) / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "docs" / "short_notebooks.py", startup)
    patch.setenv("IPYTHONDIR", f"{caches.name}/ipython")
    config.add_cleanup(caches.cleanup)
    config.add_cleanup(patch.undo)


@pytest.fixture(scope="session", autouse=True)
def _default_sigint_handler() -> Iterator[None]:
    """Enable SIGINT: a shell ignores it in background jobs, and their children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Fail a test that connects to another machine."""
    real = socket.socket.connect

    def connect(self: socket.socket, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0]
            try:
                is_local = ipaddress.ip_address(host).is_loopback
            except ValueError:
                is_local = host == "localhost"
            if not is_local:
                raise OSError(f"tests must not connect to {host}")
        return real(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield


@pytest.fixture
def clothing() -> Path:
    """Return the folder of the clothing images, or skip the test."""
    if not PHOTOS.is_dir():
        pytest.skip("HEADSTART_TEST_DATA names no folder with data/clothing")
    return PHOTOS


@pytest.fixture
def cifar_weights() -> Path:
    """Return the file of the pretrained weights, or skip the test."""
    if not WEIGHTS.is_file():
        pytest.skip("HEADSTART_TEST_DATA names no folder with weights/cifar10-resnet18.safetensors")
    return WEIGHTS


def environment_for_processes() -> dict[str, str]:
    """Return the environment variables for child processes."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
