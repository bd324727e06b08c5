"""Every relative link and picture of the documents and of the committed reports leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *sorted(CHECKOUT.glob("*.md")),
    *sorted((CHECKOUT / "docs").glob("*.md")),
    *(CHECKOUT / folder / "README.md" for folder in ("reports", "results")),
    *sorted((CHECKOUT / "reports" / "published").rglob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href|srcset)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def links(text: str) -> list[str]:
    """Targets outside code that lead to no other host."""
    prose = re.sub(r"```.*?```|^(?: {4}|\t).*$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    found = [first or second for first, second in LINK.findall(prose)]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(text: str) -> set[str]:
    """As GitHub makes them: lower case, without punctuation, words joined by hyphens."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in HEADING.findall(text)}


def problems(document: Path) -> list[str]:
    text = document.read_text(encoding="utf-8")
    found = []
    for link in links(text):
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        if not target.exists():
            found.append(f"{link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8")):
            found.append(f"{link}: no such heading")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_relative_link_resolves(document: Path) -> None:
    assert problems(document) == []


def test_a_dead_link_picture_or_heading_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('# One, two\n\n[a](#one-two) [b](#three) ![c](c.png) <img src="d.svg"> `[e](e)` [f](https://f)\n')
    assert problems(page) == ["#three: no such heading", "c.png: no such file", "d.svg: no such file"]
