"""Greedy answers beside fp32's, token by token: where they part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.rows import Row, figure

TURNS = ("tokens_turn_1", "tokens_turn_2")


@dataclass(frozen=True, kw_only=True)
class Parting:
    """``tokens`` are alike before the answers part, over all turns; ``turn`` is where they do, None if they never do.

    After they have parted, later turns answer another conversation: they are not compared.
    """

    tokens: int
    turn: int | None

    @property
    def words(self) -> str:
        """For a cell of the table."""
        return f"never in {self.tokens}" if self.turn is None else str(self.tokens)


def parting(row: Row, reference: Row) -> Parting | None:
    """None where one of them has no tokens, or was allowed another number of them."""
    if figure(row, "max_new_tokens") != figure(reference, "max_new_tokens"):
        return None
    alike = 0
    for turn, name in enumerate(TURNS, start=1):
        ours, theirs = row["series"].get(name), reference["series"].get(name)
        if not ours or not theirs:
            return Parting(tokens=alike, turn=None) if alike else None
        same = _common(ours, theirs)
        alike += same
        if same < max(len(ours), len(theirs)):
            return Parting(tokens=alike, turn=turn)
    return Parting(tokens=alike, turn=None)


def _common(ours: Sequence[float], theirs: Sequence[float]) -> int:
    """Tokens that both begin with. Where one ends before the other, it parts by ending."""
    for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            return index
    return min(len(ours), len(theirs))
