"""The JSON of a run: samples replayed to pytest-benchmark, our own section, and the file itself.

pytest-benchmark times a function with the clock it is given. Ours stands still except when the function is "called":
then it moves by the next sample. Statistics, groups, ``--benchmark-json`` and ``--benchmark-compare`` then work on our
samples, which are stored exactly as they were taken.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.core.quality import digest, unpack
from bench.core.records import Failure, Measurement, Outcome, Predictions, to_json

if sys.platform != "win32":
    import fcntl

ROOT = Path(__file__).resolve().parents[2]
PROBE_BYTES = 64 * 1024
"""A folder that does not take so much is full: the least run writes more."""


class ResultFile:
    """The file of ``--benchmark-json``; no path where none is asked for."""

    def __init__(self, path: Path | None, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.written = False
        self.problem: str | None = None
        """Reason why it could not be written; None if it was, or was not tried."""
        self._lock: int | None = None

    def check(self) -> None:
        """Make the folder and see that it can be written to.

        Raises:
            InputError: the folder is a file, is full or cannot be written to, or the path is a folder.
        """
        probe = self.folder / f".probe-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                probe.write_bytes(bytes(PROBE_BYTES))
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"results folder {self.folder} cannot be written to ({reason}); "
                "name another with --benchmark-json FOLDER/run.json."
            ) from None
        if self.path and self.path.is_dir():
            raise InputError(f"--benchmark-json {self.path} is a folder; name a file in it, like {self.path}/run.json.")

    def lock(self) -> None:
        """Keep the folder to this run until ``release`` or its end: two would cut each other's lines of the journal.

        Raises:
            InputError: another run has it.
        """
        if sys.platform == "win32":
            return
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock = descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(
                f"results folder {self.folder} is in use by another run: wait until it has ended, or name another "
                "folder with --benchmark-json FOLDER/run.json."
            ) from None
        except OSError:  # a file system that knows no locks
            os.close(descriptor)

    def release(self) -> None:
        """Let the next run have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def claim(self) -> None:
        """Move the file of an earlier run aside."""
        if self.path and self.path.exists():
            # A run that measures nothing must not leave an older run's figures to be rendered as its own.
            os.replace(self.path, self.path.with_suffix(".previous.json"))

    def write(self, content: Mapping[str, Any]) -> None:
        """Write the file whole or not at all. A disk that does not take it is a ``problem``, not an exception."""
        if self.path is None or self.written:
            return
        try:
            write_whole(self.path, content)
            self.written, self.problem = True, None
        except OSError as error:
            self.problem = error.strerror or str(error)

    def report(self) -> list[str]:
        """Write the report beside the folder ``results`` that the file is in; lines of its first screen.

        A process of its own: pandas and matplotlib stay out of this one.
        """
        if self.path is None or not self.written:
            return []
        command = [sys.executable, "-m", "bench.report", "render", str(self.path), "--screen"]
        if self.path.parent.name != "results":
            return [f"report: {shlex.join([*command[:-1], '--out', 'DIR'])}"]
        out = self.path.parent.parent / "reports"
        done = subprocess.run([*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            return ["no report was written:", *(done.stderr or done.stdout).strip().splitlines()[-1:]]
        return done.stdout.splitlines()


class Elsewhere(os.PathLike[str]):
    """The null device, under the name of the file that the session writes itself: for pytest-benchmark."""

    def __init__(self, shown: Path) -> None:
        self.shown = shown

    def __fspath__(self) -> str:
        return os.devnull

    def __str__(self) -> str:
        return str(self.shown)


def write_whole(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as JSON to ``path``: whole and on the disk, or not at all.

    Raises:
        OSError: the disk does not take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            # Labels of the user's own tests are pytest-benchmark's to store: what is no JSON must not cost the rest.
            json.dump(content, file, indent=4, default=repr)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def bare(halfbyte: Mapping[str, Any], commit: Mapping[str, Any], written_at: str) -> dict[str, Any]:
    """A file as pytest-benchmark writes it, without a benchmark."""
    return {
        "machine_info": {},
        "commit_info": dict(commit),
        "benchmarks": [],
        "datetime": written_at,
        "version": "none",
        "halfbyte": dict(halfbyte),
    }


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
    labels: dict[str, str] = {}
    for outcome in outcomes:
        stored = outcome.quality.predictions if isinstance(outcome, Measurement) and outcome.quality else None
        if stored and stored.sha256 not in labels:
            packed = packed_labels(stored, results)
            if packed is not None:  # a row without its labels is still a row
                labels[stored.sha256] = packed
    return labels


def packed_labels(stored: Predictions, results: Path) -> str | None:
    """Text of a file of predicted labels; None if it is missing or its digest differs."""
    try:
        packed = (results / stored.path).read_text()
        return packed if digest(unpack(packed)) == stored.sha256 else None
    except (OSError, ValueError):
        return None


class ReplayClock:
    """The ``timer`` of every benchmark item. Reads 0, then the sample, so that the difference is exact."""

    def __init__(self) -> None:
        self._now: float | None = None
        self._samples: Iterator[float] = iter(())

    def __call__(self) -> float:
        if self._now is None:
            # A clock that stands still would make `benchmark(f)` calibrate for ever.
            raise RuntimeError("cases are measured by `measure(case)`; calling `benchmark` directly would time nothing")
        return self._now

    def replay(self, benchmark: Any, seconds: Sequence[float]) -> None:
        """Make ``seconds`` the rounds of the ``benchmark`` fixture."""
        self._samples = iter(seconds)
        try:
            benchmark.pedantic(self._step, setup=self._rewind, rounds=len(seconds))
        finally:
            self._now = None

    def _rewind(self) -> None:
        self._now = 0.0

    def _step(self) -> None:
        # --benchmark-cprofile calls the target once more, after the last sample: then the clock stays where it is.
        self._now = next(self._samples, self._now)
