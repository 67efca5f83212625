"""List the links of the documentation to other sites, with their pages: `python -m tests.docs.external_links`."""

from tests.docs.markdown import ROOT, page_names, read_page


def main() -> None:
    """Print one line for each target: the target and the pages that link to it."""
    pages: dict[str, set[str]] = {}
    for name in page_names():
        for link in read_page(ROOT / name).links:
            if link.is_external:
                pages.setdefault(link.target, set()).add(name)
    for target, names in sorted(pages.items()):
        print(target, *sorted(names))


if __name__ == "__main__":
    main()
