"""What the JSON of a run says besides its rows: the same for a run that ended and for one made of its journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.core.labels import digest, unpack
from bench.core.records import Failure, Measurement, Outcome, Predictions, to_json


def summary(
    facts: Mapping[str, Any],
    outcomes: Iterable[Outcome],
    case_seconds: Mapping[str, float],
    *,
    seconds: float,
    resumed: int,
    results: Path,
) -> dict[str, Any]:
    """The ``halfbyte`` section.

    Args:
        facts: what is known before the first case runs.
        results: the folder that predicted labels are read from.
    """
    known = list(outcomes)
    return {
        **facts,
        "seconds": seconds,
        "resumed": resumed,
        "failures": [to_json(outcome) for outcome in known if isinstance(outcome, Failure)],
        "case_seconds": dict(case_seconds),
        "predictions": predictions(known, results),
    }


def predictions(outcomes: Iterable[Outcome], results: Path) -> dict[str, str]:
    """Predicted labels of all outcomes by their digest, each once, for a report to pair rows by."""
    found: dict[str, str] = {}
    for outcome in outcomes:
        stored = outcome.quality.predictions if isinstance(outcome, Measurement) and outcome.quality else None
        if stored and stored.sha256 not in found:
            packed = packed_labels(stored, results)
            if packed is not None:  # a row without its labels is still a row
                found[stored.sha256] = packed
    return found


def packed_labels(stored: Predictions, results: Path) -> str | None:
    """The text of a file of predicted labels; None if it is gone or holds others."""
    try:
        packed = (results / stored.path).read_text()
        return packed if digest(unpack(packed)) == stored.sha256 else None
    except (OSError, ValueError):
        return None
