"""Named weights from the network, once: hashed before they are used, and a failure that says how to do it by hand."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from headstart.errors import MissingWeightsError, ModelFileError, ResourceError

OFFLINE_TIMEOUT_S = 5.0  # seconds without an answer, or without a byte, until a machine counts as offline


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal; raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_hash(path: Path, expected: str, url: str) -> str:
    """The file's SHA-256, which must begin with `expected`; raises ModelFileError where it does not."""
    found = sha256_of(path)
    if not found.startswith(expected):
        raise ModelFileError(
            f"{path} is not what it should be: its sha256 is {found[:16]}…, expected {expected[:16]}….",
            f"Delete it and run again, or get it anew from {url}.",
        )
    return found


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps the SHA-256 that Hugging Face names on the way (X-Linked-Etag)."""

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
        """Note the hash, then redirect as ever."""
        tag = str(headers.get("X-Linked-Etag", "")).strip('"')
        if re.fullmatch(r"[0-9a-f]{64}", tag):
            self.sha256 = tag
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, path: Path, *, sha256: str = "") -> str:
    """Download `url` to `path`, whole or not at all; returns the file's SHA-256.

    `sha256` is what the hash must begin with; where it is "" and the server names one, that one counts. No retries: a
    machine without a network fails in seconds. Raises MissingWeightsError (offline: with the URL, the hash and the
    path), ModelFileError (another hash), ResourceError (no room, no permission).
    """
    partial = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            found, named = _download(url, partial)
            expected = sha256 or named
            if not found.startswith(expected):
                raise ModelFileError(
                    f"{url} delivered another file than expected: its sha256 is {found[:16]}…, not {expected[:16]}….",
                    "Try again later or from another network; something on the way may have replaced it.",
                )
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except _OfflineError as error:
        known = f"its sha256 begins with {sha256}" if sha256 else f"its sha256 stands on {_page(url)}"
        by_hand = f"Download it on a machine with a network ({known}), put it at {path} and run again"
        raise MissingWeightsError(
            f"{url} could not be fetched ({error}).",
            f"{by_hand}; or name weights that are here with --start file:PATH.",
            by_hand,
        ) from error
    except OSError as error:
        raise ResourceError(
            f"{path} could not be written ({error.strerror}).", "Make room or name another cache in HEADSTART_CACHE."
        ) from error
    return found


class _OfflineError(Exception):
    """The network did not deliver."""


def _page(url: str) -> str:
    return url.replace("/resolve/", "/blob/")


def _download(url: str, partial: Path) -> tuple[str, str]:
    """Write what `url` delivers to `partial`: (its SHA-256, the one the server names or "")."""
    if not url.startswith(("https://", "http://")):
        raise _OfflineError(f"{url.partition(':')[0]} is not http")
    if "huggingface" in url and os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        raise _OfflineError("HF_HUB_OFFLINE is set")
    redirects, digest = _Redirects(), hashlib.sha256()
    try:
        answer = urllib.request.build_opener(redirects).open(url, timeout=OFFLINE_TIMEOUT_S)
    except (OSError, http.client.HTTPException) as error:
        raise _OfflineError(getattr(error, "reason", None) or error) from error
    with answer, partial.open("wb") as file:
        length = answer.headers.get("Content-Length")
        while True:
            try:
                chunk = answer.read(1 << 20)
            except (OSError, http.client.HTTPException) as error:
                raise _OfflineError(f"the connection broke: {error}") from error
            if not chunk:
                break
            digest.update(chunk)
            file.write(chunk)
        if length is not None and file.tell() != int(length):
            raise _OfflineError(f"the connection broke after {file.tell()} of {length} bytes")
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), redirects.sha256
