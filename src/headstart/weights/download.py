"""Download weight files once, and verify their hashes. Errors explain how to copy the file by hand."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, BinaryIO

from headstart.config.registry.starts import FILE_START
from headstart.config.start_spec import start_form
from headstart.errors import MissingWeightsError, ModelFileError, ResourceError
from headstart.i18n import Message, _, verbatim
from headstart.storage import contained
from headstart.storage.cache import remove_stale
from headstart.text import end_sentence, message_of

_local_only: ContextVar[bool] = ContextVar("local_only", default=False)
OFFLINE_TIMEOUT_S = 5.0  # without an answer, or without a byte, until the machine counts as offline


def sha256_of(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_hash(path: Path, expected: str, url: str) -> str:
    """Return the file's SHA-256. Raises ModelFileError if it does not begin with `expected`."""
    actual = sha256_of(path)
    if not actual.startswith(expected):
        raise ModelFileError(
            _(
                "{path} has the wrong sha256: {actual}…, expected {expected}….",
                path=path,
                actual=actual[:16],
                expected=expected[:16],
            ),
            _("Delete it and run again, or download it again from {url}.", url=url),
        )
    return actual


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects and saves the SHA-256 that Hugging Face sends with them (X-Linked-Etag)."""

    sha256 = ""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Save the hash, then redirect as the base class does."""
        tag = str(headers.get("X-Linked-Etag", "")).strip('"')
        if re.fullmatch(r"[0-9a-f]{64}", tag):
            self.sha256 = tag
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def no_downloads() -> Iterator[None]:
    """Let `fetch` raise MissingWeightsError at once within the block: only local weights are used."""
    token = _local_only.set(True)
    try:
        yield
    finally:
        _local_only.reset(token)


def fetch(url: str, path: Path, *, sha256: str = "") -> str:
    """Download a file completely or not at all, and return its SHA-256.

    There are no retries, so that a machine without a network fails in seconds.

    Args:
        url: What to download.
        path: Where to write it.
        sha256: First digits of the expected hash. If "", the hash that the server sends is expected, if it sends one.

    Raises:
        MissingWeightsError: The file could not be downloaded (no network, a timeout, or an HTTP error).
        ModelFileError: The file has another hash.
        ResourceError: The disk is full or not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent)
        # the folder is a cache of weights, which may consist of links; the file itself is new
        with contained.new_file(path.parent, path.name) as file:
            actual, sent = _download(url, file)
            expected = sha256 or sent
            if not actual.startswith(expected):
                raise ModelFileError(
                    _(
                        "The file from {url} has the wrong sha256: {actual}…, expected {expected}….",
                        url=url,
                        actual=actual[:16],
                        expected=expected[:16],
                    ),
                    _("Try again later or from another network."),
                )
    except _DownloadError as error:
        instructions = _instructions(error, url, path, sha256)
        local = start_form(FILE_START)
        hint = _("{instructions}; or use local weights with --start {start}.", instructions=instructions, start=local)
        raise MissingWeightsError(
            _("{url} could not be downloaded ({reason}).", url=url, reason=message_of(error)),
            end_sentence(instructions) if error.rejected else hint,
            instructions,
        ) from error
    except OSError as error:
        raise ResourceError(
            _("{path} could not be written ({reason}).", path=path, reason=error.strerror),
            _("Free some space, or set HEADSTART_CACHE to another folder."),
        ) from error
    return actual


class _DownloadError(Exception):
    """The file could not be downloaded; `rejected` is True for an HTTP error 4xx."""

    def __init__(self, reason: Message, *, rejected: bool = False) -> None:
        super().__init__(reason)
        self.rejected = rejected


def _instructions(error: _DownloadError, url: str, path: Path, sha256: str) -> Message:
    """Return what to do without the download, as a clause."""
    if error.rejected:
        return _("Open {page} and check that the file exists", page=_page(url))
    if sha256:
        return _(
            "Download it on a machine with internet access (its sha256 begins with {sha256}), copy it to {path} "
            "and run again",
            sha256=sha256,
            path=path,
        )
    return _(
        "Download it on a machine with internet access (its sha256 is on {page}), copy it to {path} and run again",
        page=_page(url),
        path=path,
    )


def _page(url: str) -> str:
    return url.replace("/resolve/", "/blob/")


def _download(url: str, file: BinaryIO) -> tuple[str, str]:
    """Download `url` into an empty file; return its SHA-256 and the one that the server sends, or ""."""
    if _local_only.get():
        raise _DownloadError(_("only local weights are used here"))
    if not url.startswith(("https://", "http://")):
        raise _DownloadError(_("{scheme} is not http", scheme=url.partition(":")[0]))
    if "huggingface" in url and os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        raise _DownloadError(_("{variable} is set", variable="HF_HUB_OFFLINE"))
    redirects, digest = _Redirects(), hashlib.sha256()
    try:
        response = urllib.request.build_opener(redirects).open(url, timeout=OFFLINE_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise _DownloadError(verbatim(f"HTTP {error.code} {error.reason}"), rejected=400 <= error.code < 500) from error
    except (OSError, http.client.HTTPException) as error:
        raise _DownloadError(verbatim(str(getattr(error, "reason", None) or error))) from error
    with response:
        length = response.headers.get("Content-Length")
        while True:
            try:
                chunk = response.read(1 << 20)
            except (OSError, http.client.HTTPException) as error:
                raise _DownloadError(_("the connection broke: {reason}", reason=error)) from error
            if not chunk:
                break
            digest.update(chunk)
            file.write(chunk)
        if length is not None and file.tell() != int(length):
            raise _DownloadError(
                _("the connection broke after {received} of {length} bytes", received=file.tell(), length=length)
            )
    return digest.hexdigest(), redirects.sha256
