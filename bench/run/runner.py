"""Where a request is performed: what every place promises, and this process as one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.core.records import Case, Failure, Outcome, outcome_from_json
from bench.run import worker

Progress = Callable[[str], None]


class Runner(Protocol):
    """Performs one request somewhere and gives the reply of ``worker.perform``."""

    preload: tuple[str, ...]
    """Modules that a worker must find imported already."""

    def perform(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]: ...


class InlineRunner:
    """Performs requests in this process, for a debugger: no time limit, and a crash takes pytest along."""

    preload: tuple[str, ...] = ()

    def perform(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return worker.perform(request, progress)


@dataclass(frozen=True, kw_only=True)
class Performed:
    """What came of one case."""

    outcome: Outcome
    seconds: float = 0.0
    spent: tuple[Path, ...] = ()
    """Files that are of no use once the outcome is kept."""


def performed(case: Case, reply: Mapping[str, Any], seconds: float) -> Performed:
    """What a ``reply`` to the request to run ``case`` says."""
    if "failure" in reply:
        failure = Failure(case=case, kind=reply["failure"]["kind"], message=reply["failure"]["message"])
        return Performed(outcome=failure, seconds=seconds)
    spent = tuple(Path(file) for file in reply.get("spent", ()))
    return Performed(outcome=outcome_from_json(reply["answer"]), seconds=seconds, spent=spent)
