"""The Content-Security-Policy of pages: only their own style sheets and scripts apply, and nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable


def content_security_policy(styles: Iterable[str], scripts: Iterable[str] = ()) -> str:
    """Return the policy of a page with these contents of `style` and `script` elements, and of no others.

    Browsers ignore style attributes and handlers of events in attributes under it. Data in `script` elements of another
    type are not run, and need no hash.
    """
    parts = ["default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'"]
    for name, contents in (("style-src", styles), ("script-src", scripts)):
        if hashes := list(map(_hash, contents)):
            parts.append(" ".join([name, *hashes]))
    return "; ".join(parts)


def _hash(content: str) -> str:
    """Return the source expression of an element's content, which the parser of HTML gives plain line ends."""
    text = content.replace("\r\n", "\n").replace("\r", "\n")
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
