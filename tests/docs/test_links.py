"""Links of the documentation lead to files and headings of this repository, images are small and have a text.

Links to other sites are never opened; `python -m tests.docs.external_links` lists them.
"""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from docs.pictures import IMAGES, MAX_IMAGE_BYTES
from tests.docs.markdown import ROOT, Link, Page, page_names, parse_page, read_page, slug
from tests.docs.repository import GIT, ignored, needs_repository

LOCAL_HOSTS = ("localhost", "127.0.0.1")
LINE_FRAGMENT = re.compile(r"L(\d+)(?:-L(\d+))?")


def target_file(page: Page, link: Link, root: Path) -> Path:
    """Return the file or folder of a relative link; a fragment alone is of the page itself."""
    path = unquote(urlsplit(link.target).path)
    return (root / page.name).parent / path if path else root / page.name


def link_faults(page: Page, root: Path = ROOT) -> list[str]:
    """Return what is wrong with the links and images of a page."""
    faults = []
    for link in page.links:
        fault = external_fault(link) if link.is_external else relative_fault(page, link, root)
        fault = fault or (image_fault(page, link, root) if link.is_image else "")
        if fault:
            faults.append(f"{page.name}:{link.line}: {link.target or 'link'} {fault}")
    return faults


def external_fault(link: Link) -> str:
    parts = urlsplit(link.target)
    is_local = parts.scheme == "http" and parts.hostname in LOCAL_HOSTS
    return "" if is_local or (parts.scheme == "https" and parts.netloc) else "is not https"


def relative_fault(page: Page, link: Link, root: Path) -> str:
    parts, target = urlsplit(link.target), target_file(page, link, root)
    if not link.target:
        return "has no target"
    if parts.path.startswith("/") or not target.resolve().is_relative_to(root.resolve()):
        return "is not inside the repository, relative to the page"
    if not target.exists():
        return "does not exist"
    if not parts.fragment:
        return ""
    if target.suffix == ".md":
        of_target = page if target == root / page.name else read_page(target.resolve(), root.resolve())
        return "" if unquote(parts.fragment) in of_target.anchors else "is no heading or anchor"
    if (lines := LINE_FRAGMENT.fullmatch(parts.fragment)) is None or target.is_dir():
        return "is no line of a file"
    count = len(target.read_text(encoding="utf-8").splitlines())
    return "" if all(1 <= int(number) <= count for number in lines.groups() if number) else "is beyond the file"


def image_fault(page: Page, link: Link, root: Path) -> str:
    if not link.text.strip():
        return "has no alternative text"
    if link.is_external:
        return ""
    target = target_file(page, link, root)
    if not target.is_file():
        return "is no file"
    size = target.stat().st_size
    return f"has {size:,} bytes, more than {MAX_IMAGE_BYTES:,}" if size > MAX_IMAGE_BYTES else ""


def pages() -> list[Page]:
    return [read_page(ROOT / name) for name in page_names()]


@pytest.mark.parametrize("name", page_names())
def test_links_and_images_of_the_page_are_valid(name: str) -> None:
    faults = link_faults(read_page(ROOT / name))
    assert not faults, "\n".join(faults)


@needs_repository
def test_linked_files_are_not_ignored() -> None:
    targets = [target_file(page, link, ROOT) for page in pages() for link in page.links if not link.is_external]
    assert targets and ignored((target.resolve() for target in targets), ROOT) == []


def test_every_picture_is_on_a_page() -> None:
    images = [(page, link) for page in pages() for link in page.links if link.is_image and not link.is_external]
    shown = {target_file(page, link, ROOT).resolve() for page, link in images}
    unused = sorted(path.name for path in IMAGES.iterdir() if path.resolve() not in shown)
    assert shown and unused == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Stop and resume", "stop-and-resume"),
        ("What's new in `plan.json`?", "whats-new-in-planjson"),
        ("Train & test", "train--test"),
        ("snake_case, a-b and Ärger 2", "snake_case-a-b-and-ärger-2"),
        ("±1 m² × 2", "1-m--2"),
        ("**Bold** and [a link](x.md)", "bold-and-a-link"),
    ],
)
def test_anchor_of_a_heading_is_that_of_github(heading: str, anchor: str) -> None:
    assert parse_page(f"## {heading}").anchors == {anchor}
    assert slug(anchor) == anchor


def test_equal_headings_are_numbered_and_explicit_anchors_are_found() -> None:
    page = parse_page('# A\n\nA\n---\n\n## A\n\n<a id="one"></a>\n\ntext <a name="two"></a>\n\n    # code\n')
    assert page.anchors == {"a", "a-1", "a-2", "one", "two"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a small repository."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n## Part\n\n## Part\n")
    (tmp_path / "page.md").touch()  # the page that links
    (tmp_path / "code.py").write_text("a = 1\nb = 2\n")
    (tmp_path / "small.png").write_bytes(b"x" * MAX_IMAGE_BYTES)
    (tmp_path / "large.png").write_bytes(b"x" * (MAX_IMAGE_BYTES + 1))
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/other.md) [b](docs) [c](docs/other.md#part-1) [d](#top) [e](code.py#L1-L2)\n\n# Top",
        "[a][other] and [other]\n\n[other]: docs/other.md#part",
        "[a](https://example.org/x#y) <https://example.org> http://localhost:6006 and http://127.0.0.1:6006/.",
        "![text](small.png) [![text](small.png)](https://example.org) ![text](https://example.org/badge.svg)",
        '<p><a href="docs/other.md#other"><img src="small.png" alt="text"></a></p>',
        "`[a](nothing.md)`\n\n    [a](nothing.md)\n\n```text\nhttp://example.org [a](nothing.md)\n```\n",
    ],
)
def test_valid_links_are_accepted(text: str, root: Path) -> None:
    assert link_faults(parse_page(text), root) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("text\n[a](nothing.md)", 2),
        ("| a |\n|---|\n| [b](nothing.md) |", 3),
        ("[a](other.md)", 1),  # relative to the page, not to its folder
        ("[a](docs/other.md#nothing)", 1),
        ("[a](docs/other.md#part-2)", 1),
        ("[a](docs/other.md#Part)", 1),
        ("# Top\n\n- item\n- [a](#bottom)", 4),
        ("[a](code.py#L3)", 1),
        ("[a](code.py#a)", 1),
        ("[a](docs#L1)", 1),
        ("[a](/docs/other.md)", 1),
        ("[a](../outside.md)", 1),
        ("[a]()", 1),
        ("[a](http://example.org)", 1),
        ("see http://example.org/x.", 1),
        ("[a](mailto:someone@example.org)", 1),
        ("[a](//example.org)", 1),
        ("![](small.png)", 1),
        ("![text](large.png)", 1),
        ("![text](nothing.png)", 1),
        ("![text](docs)", 1),
        ("![](https://example.org/badge.svg)", 1),
        ('text\n\n<p>\n<img src="small.png">\n</p>', 4),
        ('<img src="nothing.png" alt="text">', 1),
        ('<picture><source srcset="nothing.png 2x"><img src="small.png" alt="text"></picture>', 1),
        ('<a href="nothing.md">a</a>', 1),
    ],
)
def test_invalid_links_are_faults(text: str, line: int, root: Path) -> None:
    (fault,) = link_faults(parse_page(text), root)
    assert fault.startswith(f"page.md:{line}: ")


@pytest.mark.skipif(GIT is None, reason="needs git")
def test_ignored_target_is_found(root: Path) -> None:
    assert GIT is not None
    with pytest.raises(RuntimeError, match="git repository"):
        ignored([root / "code.py"], root)
    subprocess.run([GIT, "init", "--quiet", str(root)], check=True)
    (root / ".gitignore").write_text("*.png\n")
    assert ignored([root / "code.py", root / "docs", root / "small.png"], root) == [str(root / "small.png")]
    subprocess.run([GIT, "-C", str(root), "add", "--force", "small.png"], check=True)
    assert ignored([root / "small.png"], root) == []
