"""The documents: every link inside the project leads somewhere."""

import re

import pytest
from support.processes import ROOT

DOCUMENTS = ["README.md", "conf/README.md", "conf/sql/README.md", "recmodel/CHANGELOG.md", "recmodel/README.md",
             "tests/benchmarks/README.md"]  # fmt: skip


def anchors(text: str) -> set[str]:
    """Those that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_resolve(name):
    document = ROOT / name
    links = re.findall(r"\]\((?!https?://)([^)#\s]*)#?([^)\s]*)\)", document.read_text(encoding="utf-8"))
    for path, anchor in links:
        target = document.parent / path if path else document
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"
