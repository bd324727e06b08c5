"""Named reason for where the time of a row's step goes: its kinds, and how it stands among the row's texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["KINDS", "TEXT", "Kind", "Reason"]

Kind = Literal[
    "weights converted at each call",
    "fallback kernel",
    "rounding between operators",
    "conversion of layout or format",
    "host-bound",
    "too small a batch",
    "memory-bound",
    "arithmetic",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
TEXT = "reason"
"""Key of the line among a row's texts: ``kind | operator | share``."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Largest cause of a step's time."""

    kind: Kind
    operator: str
    """Most expensive operator of that kind."""
    share: float
    """Share of the step's time, from 0 to 1; of the memory's rate if the step is memory-bound."""

    def __str__(self) -> str:
        return f"{self.kind} | {' '.join(self.operator.replace('|', '/').split())} | {self.share:.4f}"

    @property
    def words(self) -> str:
        """For people: kind, share and operator."""
        return f"{self.kind}, {100 * self.share:.0f} % ({self.operator})"

    @staticmethod
    def read(text: str) -> Reason | None:
        """The reason that ``str`` wrote; None if ``text`` is none."""
        parts = text.split(" | ")
        kind = next((known for known in KINDS if known == parts[0]), None)
        if kind is None or len(parts) != 3:
            return None
        return Reason(kind=kind, operator=parts[1], share=float(parts[2]))
