"""Every outcome, appended to ``results/journal.jsonl`` before the next case starts, so that nothing measured is lost.

One line an outcome: a JSON object with the schema, the fingerprint of what shaped the number, the seconds that the case
took, the outcome, and a checksum over the rest. A line that does not check out (torn by a kill, edited by hand) is left
out and counted, never believed.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.records import SCHEMA, Outcome, outcome_from_json, to_json


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One finished case, as the journal holds it."""

    outcome: Outcome
    fingerprint: str
    case_seconds: float


class Journal:
    """The file of one results folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged_lines = 0

    def append(self, entry: Entry) -> None:
        """Write one line and wait until it is on the disk."""
        line = json.dumps(_sealed(entry), separators=(",", ":"), allow_nan=False) + "\n"
        with self.path.open("ab+") as file:
            if not _ends_with_newline(file):
                line = "\n" + line  # a line torn by a kill must not swallow this one
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> Iterator[Entry]:
        """Whole lines of our schema, oldest first; ``damaged_lines`` counts those left out."""
        self.damaged_lines = 0
        if not self.path.is_file():
            return
        for line in self.path.read_bytes().splitlines():
            if not line.strip():
                continue
            try:
                yield _opened(json.loads(line))
            except (ValueError, KeyError, TypeError):
                self.damaged_lines += 1


def _sealed(entry: Entry) -> dict[str, Any]:
    body = {
        "schema": SCHEMA,
        "fingerprint": entry.fingerprint,
        "case_seconds": entry.case_seconds,
        "outcome": to_json(entry.outcome),
    }
    return {**body, "crc32": _checksum(body)}


def _opened(line: dict[str, Any]) -> Entry:
    checksum = line.pop("crc32")
    if line["schema"] != SCHEMA or checksum != _checksum(line):
        raise ValueError("another schema, or a damaged line")
    return Entry(
        outcome=outcome_from_json(line["outcome"]),
        fingerprint=line["fingerprint"],
        case_seconds=line["case_seconds"],
    )


def _checksum(body: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _ends_with_newline(file: Any) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")
