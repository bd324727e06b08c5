"""Errors that name their cause. Standard library only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Input that cannot be used. The message is one line: what was given, what is allowed, what to do."""


class Unsupported(Exception):
    """This machine, library or network cannot do what the case asks; the message says why. Not a fault."""


class CodeChanged(InputError):
    """Code that shapes the numbers of a run was edited while it measured; the message names the files."""


class TooLittleMemory(MemoryError):
    """Too little memory for the case, found before anything is loaded; the message says how much there is."""


def unknown_name(what: str, given: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not in a table: the nearest known ones, then the whole list."""
    names = list(known)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return InputError(f"unknown {what} '{given}'.{hint} Known: {', '.join(names)}.")
