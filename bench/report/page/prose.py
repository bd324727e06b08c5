"""Markdown of the summary as HTML: raw HTML escaped, pictures inside, headings with the ids that GitHub gives them."""

from __future__ import annotations

import base64
import functools
import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
_PLAIN = re.compile(r"(?:[^\W_]|[ .,:;±–+×%()↓↑/-])*")
"""Cells without any sign that Markdown or HTML gives a meaning to, as most: they stand as they are."""
_BREAK = "<br>"
_FOLD, _UNFOLD = re.compile("<details><summary>(.*)</summary>"), "</details>"
"""The only tags that sections write, the latter on lines of their own. Any other stays text."""


class Prose:
    """Renders one document piece by piece, and remembers its headings."""

    def __init__(self, pictures: Mapping[str, bytes]) -> None:
        self.title: str | None = None
        self.sections: list[tuple[str, str]] = []
        """Id and text of each heading of the second level."""
        self.last_heading: str | None = None
        """Id of the heading that what comes next stands under."""
        self._pictures = pictures
        self._ids: Counter[str] = Counter()
        self._parser = MarkdownIt("commonmark", {"html": False})
        self._parser.inline.ruler.before("autolink", "line_break", _line_break)
        self._parser.block.ruler.before("paragraph", "fold", _fold)
        rules: dict[str, Any] = cast(RendererHTML, self._parser.renderer).rules
        rules |= {"heading_open": self._heading, "image": self._image, "fold": self._folded}
        self._inline = functools.lru_cache(maxsize=2**16)(self._parser.renderInline)

    def html(self, markdown: str) -> str:
        rendered: str = self._parser.render(markdown)
        return rendered

    def inline(self, markdown: str) -> str:
        """The content of a cell."""
        return markdown if _PLAIN.fullmatch(markdown) else self._inline(markdown)

    def _heading(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        text = "".join(child.content for child in tokens[index + 1].children or ())
        key = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") or "section"
        seen = self._ids[key]
        self._ids[key] += 1
        key = f"{key}-{seen}" if seen else key
        level = tokens[index].tag
        if level == "h1" and self.title is None:
            self.title = text
        if level == "h2":
            self.sections.append((key, text))
        self.last_heading = key
        return f'<{level} id="{key}">'

    def _image(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        """A picture that is not at hand is its own description: nothing is ever loaded."""
        link, description = str(tokens[index].attrs["src"]), html.escape(tokens[index].content)
        content, suffix = self._pictures.get(link), f".{link.rpartition('.')[2]}"
        if content is None or suffix not in _TYPES:
            return f"<em>{description}</em>"
        data = base64.b64encode(content).decode()
        kind = ' class="drawing"' if suffix == ".svg" else ""
        return f'<img{kind} src="data:{_TYPES[suffix]};base64,{data}" alt="{description}">'

    def _folded(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        title = tokens[index].content
        return f"<details><summary>{self._inline(title)}</summary>\n" if title else "</details>\n"


def _line_break(state: StateInline, silent: bool) -> bool:
    if not state.src.startswith(_BREAK, state.pos):
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos += len(_BREAK)
    return True


def _fold(state: StateBlock, line: int, _: int, silent: bool) -> bool:
    """The line that begins or ends what is folded away, as a token with its title, or without one."""
    text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]
    opening = _FOLD.fullmatch(text)
    if not opening and text != _UNFOLD:
        return False
    if not silent:
        state.push("fold", "details", 1 if opening else -1).content = opening[1] if opening else ""
        state.line = line + 1
    return True
