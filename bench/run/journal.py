"""Every outcome, appended to ``results/journal.jsonl`` before the next case starts, so that nothing measured is lost.

A line is a JSON object with the journal's schema, its kind, and a checksum over the rest. There are four kinds: a run
begins (with all that its JSON says of it), a case has an outcome, an outcome of an earlier run is taken, a smaller
batch was tried than the one that was asked for. The JSON of a run can be made of them alone (``bench.run.rebuild``).
What does not check out (torn by a kill, a flipped bit, another schema) is never believed: it is left out, and named
with its line.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from io import FileIO
from pathlib import Path
from types import FrameType
from typing import Any

from bench.core.errors import InputError
from bench.core.records import Outcome, Scalar, outcome_from_json, to_json

SCHEMA = 2
"""Version of the lines: 1 had no runs and no kinds."""


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A run has been prepared and is about to measure."""

    run: str
    marks: Mapping[str, str]
    """Hashes of what shapes its numbers, by their names: see ``resume.marks``."""
    facts: Mapping[str, Any]
    """The ``halfbyte`` section of its JSON, as far as it is known then."""
    commit: Mapping[str, Scalar]
    """Facts about the checkout, from pytest-benchmark."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One finished case."""

    run: str
    outcome: Outcome
    fingerprint: str
    case_seconds: float
    at: float
    """Seconds since the run was made."""
    test: Mapping[str, Any] | None = None
    """Names of the test that asked for the case, as pytest-benchmark has them; None where another case needed it."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A test of ``run`` took the outcome of ``case`` from the earlier run ``source``."""

    run: str
    source: str
    case: str
    at: float
    test: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Tried:
    """Result of a smaller batch than the one that was asked for: no row of its run."""

    run: str
    outcome: Outcome
    fingerprint: str
    case_seconds: float


Line = RunStart | Entry | Taken | Tried
KINDS: dict[str, type[Line]] = {"run": RunStart, "outcome": Entry, "taken": Taken, "tried": Tried}


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A line that is left out, counted from 1."""

    number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Contents of a journal, oldest first."""

    lines: tuple[Line, ...] = ()
    damaged: tuple[Damage, ...] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(line for line in self.lines if isinstance(line, Entry))

    @property
    def finished(self) -> tuple[Entry | Tried, ...]:
        """Every outcome, of cases that a test asked for and of smaller batches."""
        return tuple(line for line in self.lines if isinstance(line, Entry | Tried))

    @property
    def starts(self) -> dict[str, RunStart]:
        """The first line of each run, by the run's name."""
        return {line.run: line for line in self.lines if isinstance(line, RunStart)}


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within the block Ctrl-C does nothing; it is made up for at its end. Elsewhere than in the main thread: nothing.

    Blocks may lie within one another: the outermost one makes up for it.
    """
    if threading.current_thread() is not threading.main_thread():  # Python gives signals to no other
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting and callable(before):
        before(*waiting[-1])


class Journal:
    """The file of one results folder. Lines that the disk did not take are kept and tried again with the next one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start: bytes = b""
        self._unwritten: list[bytes] = []

    @property
    def unwritten(self) -> int:
        """Number of lines that are not on the disk."""
        return len(self._unwritten)

    def append(self, line: Line) -> None:
        """Write one line and wait until it is on the disk.

        Raises:
            OSError: the disk does not take it. The file is as it was before.
        """
        encoded = _encoded(line)
        if isinstance(line, RunStart):
            self._start = encoded
        self._unwritten.append(encoded)
        self.flush()

    def flush(self) -> None:
        """Write the lines that are not on the disk yet, all or none.

        Raises:
            OSError: the disk does not take them.
        """
        if self._unwritten:
            with uninterrupted():  # else a line is on the disk and still waits to be written
                _append(self.path, b"".join(self._unwritten))
                self._unwritten.clear()

    def rescue(self, folder: Path) -> Path:
        """Write the lines that are not in the journal to a file in ``folder``, to be appended to it later.

        Raises:
            OSError: that folder does not take them either.
        """
        path = folder / f"halfbyte-journal-{os.getpid()}.jsonl"
        path.unlink(missing_ok=True)
        _append(path, b"".join(dict.fromkeys((self._start, *self._unwritten))))
        return path

    def rescued(self, error: OSError) -> str:
        """Line for the user after ``error``: where the lines are that the journal lacks, and what to do."""
        lacking = f"{self.path} lacks its last {self.unwritten} lines ({error.strerror or error})"
        try:
            file = self.rescue(Path(tempfile.gettempdir()))
        except OSError as second:
            return f"{lacking}, and {second.filename or 'the temporary folder'} did not take them ({second.strerror})."
        return f"{lacking}: they are in {file}. Make room, then `cat {file} >> {self.path}`."

    def read(self) -> Contents:
        """All whole lines, and why the others are none.

        Raises:
            InputError: the file cannot be read.
        """
        lines: list[Line] = []
        damaged: list[Damage] = []
        *whole, last = self._bytes().split(b"\n")
        for number, text in enumerate([*whole, last], start=1):
            if not text.strip():
                continue
            try:
                lines.append(_decoded(text))
            except ValueError as error:
                torn = number > len(whole)
                damaged.append(Damage(number=number, reason="torn, it has no end" if torn else str(error)))
        return Contents(lines=tuple(lines), damaged=tuple(damaged))

    def repair(self) -> str | None:
        """Cut away a last line that a kill has torn, so that the next one begins on its own. Returns what was done.

        Raises:
            InputError: the file cannot be read or written.
        """
        content = self._bytes()
        if not content or content.endswith(b"\n"):
            return None
        kept = content.rfind(b"\n") + 1
        number, torn = content.count(b"\n") + 1, len(content) - kept
        try:
            if _whole(content[kept:]):
                _append(self.path, b"")
                return f"{self.path}: line {number} lacked its end, which was added"
            os.truncate(self.path, kept)
        except OSError as error:
            raise self._unusable(error) from None
        return f"{self.path}: line {number} was torn, its {torn} bytes were cut away"

    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> InputError:
        reason = error.strerror or error
        return InputError(
            f"journal {self.path} cannot be used ({reason}): make it a file to read and write, or move it"
        )


def in_words(damaged: tuple[Damage, ...]) -> list[str]:
    """Damaged lines by what is wrong with them: ``lines 3, 4 and 7: their checksum does not match``."""
    reasons: dict[str, list[int]] = {}
    for damage in damaged:
        reasons.setdefault(damage.reason, []).append(damage.number)
    return [f"{_numbered(numbers)}: {reason}" for reason, numbers in reasons.items()]


_SHOWN = 5


def _numbered(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"line {numbers[0]}"
    *first, last = map(str, numbers[:_SHOWN])
    if len(numbers) > _SHOWN:
        first, last = [*first, last], f"{len(numbers) - _SHOWN} more"
    return f"lines {', '.join(first)} and {last}"


def _encoded(line: Line) -> bytes:
    kind = next(name for name, of in KINDS.items() if isinstance(line, of))
    body = {"schema": SCHEMA, "kind": kind, **to_json(line)}
    return json.dumps({**body, "crc32": _checksum(body)}, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _decoded(text: bytes) -> Line:
    """The line that ``_encoded`` wrote.

    Raises:
        ValueError: it is not whole, or not of this schema.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("cut or altered, no JSON") from None
    checksum = body.pop("crc32", None) if isinstance(body, dict) else None
    if checksum is None or "schema" not in body:
        raise ValueError("not of a journal of this suite")
    if checksum != _checksum(body):
        raise ValueError("altered, the checksum does not match")
    if body["schema"] != SCHEMA:
        raise ValueError(f"of schema {body['schema']}, while this version writes and reads {SCHEMA}")
    try:
        return _line(KINDS[body["kind"]], body)
    except (KeyError, TypeError, ValueError):
        raise ValueError("a record of another version of the suite") from None


def _whole(text: bytes) -> bool:
    try:
        _decoded(text)
    except ValueError:
        return False
    return True


def _line(kind: type[Line], body: dict[str, Any]) -> Line:
    values = {item.name: body[item.name] for item in fields(kind)}
    if kind in (Entry, Tried):
        values["outcome"] = outcome_from_json(values["outcome"])
    return kind(**values)


def _checksum(body: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _append(path: Path, content: bytes) -> None:
    """Add whole lines to a file and wait for the disk; a file that cannot take all of them is left as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if not _ends_with_newline(file, size):
                content = b"\n" + content  # a torn line must not swallow this one
            while content:
                content = content[file.write(content) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def _ends_with_newline(file: FileIO, size: int) -> bool:
    if size == 0:
        return True
    file.seek(size - 1)
    return file.read(1) == b"\n"
