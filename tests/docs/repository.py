"""What git ignores in this repository."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

GIT = shutil.which("git")
needs_repository = pytest.mark.skipif(
    GIT is None or not (ROOT / ".git").exists(), reason="needs git, and a clone of the repository"
)


def ignored(paths: Iterable[Path], root: Path = ROOT) -> list[str]:
    """Return the paths that git ignores; they need not exist. A tracked file is not ignored.

    Raises:
        RuntimeError: Git fails, for example because `root` is in no repository.
    """
    assert GIT is not None
    text = "\0".join(sorted({str(path) for path in paths}))
    command = [GIT, "-C", str(root), "check-ignore", "--stdin", "-z"]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if result.returncode not in (0, 1):  # 1: it ignores none of them
        raise RuntimeError(result.stderr)
    return [path for path in result.stdout.split("\0") if path]
