"""Texts that prompts and perplexity are taken from: prose that needs no network, or what is there. No torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InputError, unknown_name

PYTHON_TOPICS = "python-topics"
WIKITEXT_2 = "wikitext-2"
TEXTS = ("auto", PYTHON_TOPICS, WIKITEXT_2)
WIKITEXT_FILES = ("wiki.test.raw", "wiki.test.tokens")
"""The test split, as its archives name it."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """One text. Figures on texts of different digests are never compared."""

    name: str
    content: str

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of its UTF-8 bytes."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:16]


def load_text(given: str, data_dir: Path) -> Text:
    """The text of that name, or in that file; ``auto`` is ``wikitext-2`` if it is there, else ``python-topics``.

    That is the help that Python carries (``pydoc_data.topics``), in the order of its keys. It differs
    between versions of Python: its digest differs then.

    Raises:
        InputError: there is no such text, or it cannot be read.
    """
    found = _wikitext(data_dir)
    if given == WIKITEXT_2 and found is None:
        raise InputError(
            f"text {WIKITEXT_2} is not there: put {WIKITEXT_FILES[0]} of wikitext-2-raw-v1 into {data_dir / WIKITEXT_2}"
        )
    if given in (WIKITEXT_2, "auto") and found is not None:
        return Text(name=WIKITEXT_2, content=_read(found))
    if given in (PYTHON_TOPICS, "auto"):
        return Text(name=PYTHON_TOPICS, content=_python_topics())
    path = Path(given).expanduser()
    if not path.is_file():
        error = unknown_name("text", given, TEXTS)
        raise InputError(f"{error} A text file in UTF-8 will also do.")
    return Text(name=path.name, content=_read(path))


def _wikitext(data_dir: Path) -> Path | None:
    folders = sorted(path for path in data_dir.glob("wikitext-2*") if path.is_dir())
    return next((folder / file for folder in folders for file in WIKITEXT_FILES if (folder / file).is_file()), None)


def _python_topics() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def _read(path: Path) -> str:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"text {path} cannot be read ({error}): give a text file in UTF-8.") from error
    if not content.strip():
        raise InputError(f"text {path} is empty: give a text of some thousand words.")
    return content
