"""What a comparison can say of one quantity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

Outcome = Literal["worse", "better", "changed", "not told apart", "same", "cannot tell"]
ORDER: tuple[Outcome, ...] = ("worse", "better", "changed", "not told apart", "same", "cannot tell")
"""As tables list them. ``changed`` is neither worse nor better; ``same`` means that no change as large as the
threshold is left possible; ``not told apart`` that one may hide in the noise, or that not all of its signs agree."""


class Compared(Protocol):
    """Anything of which there is an outcome."""

    @property
    def outcome(self) -> Outcome: ...


def count(items: Iterable[Compared], outcome: Outcome) -> int:
    return sum(item.outcome == outcome for item in items)
