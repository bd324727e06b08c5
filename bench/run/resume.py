"""Results that a run takes from earlier ones, and the fingerprint of code, machine and data. No torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import CodeChanged
from bench.core.records import Failure, Machine, Measurement, Scalar, digest_of, to_json
from bench.core.workspace import sha256_of
from bench.run.journal import Contents, Entry, RunStart, Tried, in_words

ROOT = Path(__file__).resolve().parents[2]
UNMEASURED = ("report",)
"""Folders under bench/ whose code no number passes through."""
_SHOWN = 3
TRIED_AGAIN = "failed, and are tried again"
FILES_GONE = "without their files of weights or predicted labels, which are gone or altered"


class Sources:
    """The code that shapes the numbers of a run, as it was when this was made.

    Workers import a module when they need it: one that is edited while a run goes on would measure new code under the
    hash of the old.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._own: dict[tuple[Path, ...], str] = {}
        self._seen = self._look()
        self.code = code_digest(root)

    def watch(self, files: Iterable[Path]) -> str:
        """Hash of the files of a network of the user's own, which count from now on."""
        own = tuple(sorted(file.resolve() for file in files))
        self._seen |= {path: _stamp(path) for path in own}
        self._own[own] = digest_of_files(own, own[0].parent)
        return self._own[own]

    def check(self) -> None:
        """Look whether all is as it was: at times and sizes, and into the files only where those differ.

        Raises:
            CodeChanged: it is not.
        """
        now = self._look()
        if now == self._seen:
            return
        if not self._is_as_it_was():
            changed = sorted(path.name for path in now.keys() | self._seen if now.get(path) != self._seen.get(path))
            more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
            raise CodeChanged(
                f"code was edited while it was measured ({', '.join(changed[:_SHOWN])}{more}): what was finished "
                "before is kept, the case under way is not; run again, --resume takes nothing of other code"
            )
        self._seen = now

    def _look(self) -> dict[Path, tuple[int, int] | None]:
        own = [path for files in self._own for path in files]
        return {path: _stamp(path) for path in (*_shaping(self._root), *own)}

    def _is_as_it_was(self) -> bool:
        try:
            own = {files: digest_of_files(files, files[0].parent) for files in self._own}
            return code_digest(self._root) == self.code and own == self._own
        except OSError:  # a file that is gone
            return False


def code_digest(root: Path = ROOT) -> str:
    """Hash of the sources of ``models/`` and ``bench/`` that run inside a worker or decide what it does."""
    return digest_of_files(_shaping(root), root)


def digest_of_files(paths: Iterable[Path], root: Path) -> str:
    """First 16 hexadecimal digits of a SHA-256 over contents and names, those under ``root`` as seen from there."""
    total = hashlib.sha256()
    for path in paths:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        total.update(name.encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def marks(machine: Machine, flags: Mapping[str, Scalar], data_digests: Iterable[str], code: str) -> dict[str, str]:
    """Hashes of what shapes a number, each under the words that tell a user what differs."""
    return {
        "code": code,
        "machine or package versions": digest_of(to_json(machine)),
        "flags": digest_of(dict(flags)),
        "data": digest_of(sorted(data_digests)),
    }


def fingerprint(marks: Mapping[str, str]) -> str:
    """Outcomes of two runs may stand for each other only if this is the same for both."""
    return digest_of(dict(marks))


def _shaping(root: Path) -> list[Path]:
    sources = sorted([*root.glob("models/**/*.py"), *root.glob("bench/**/*.py")])
    return [path for path in sources if not set(path.relative_to(root).parts) & set(UNMEASURED)]


def _stamp(path: Path) -> tuple[int, int] | None:
    """Time of a file's last change and its size; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The trained weights that a case is to be measured with; no file where it needs none or there are none."""

    artefact: str | None = None
    sha256: str | None = None
    """Digest of the file ``artefact``: its name says how the weights were trained, not what they are."""
    untrained: str | None = None
    """Reason why there is no file although the case needs one; None where it needs none."""
    fresh: bool = True
    """True if they were trained in this run, so that no earlier measurement can have used them."""

    def allow(self, adopted: Measurement) -> bool:
        """True if a measurement of an earlier run is valid for these weights."""
        return not self.fresh and (self.artefact is None or adopted.weights_sha256 == self.sha256)


class Artefacts:
    """The files of trained weights in a folder: what is in each, read once for as long as it stays as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[str, int, int], str] = {}

    def sha256(self, name: str) -> str | None:
        """Digest of the file ``name``; None if it is not there."""
        file = self.folder / name
        try:
            status = file.stat()
            seen = (name, status.st_mtime_ns, status.st_size)
            if seen not in self._known:
                self._known[seen] = sha256_of(file)
        except OSError:
            return None
        return self._known[seen]

    def holds(self, measurement: Measurement) -> bool:
        """True if the file that a measurement names exists and is unchanged."""
        if measurement.artefact is None:
            return True
        digest = self.sha256(measurement.artefact)
        return digest is not None and digest == measurement.weights_sha256


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """Measurements that stand for cases of this run, by the ids of the cases, and what was left out."""

    entries: Mapping[str, Entry | Tried] = field(default_factory=dict)
    starts: Mapping[str, RunStart] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of cases, by reason."""
    damaged: tuple[str, ...] = ()
    """Lines of the journal that are none, and why."""

    def lines(self) -> list[str]:
        """For people: what can be taken from which runs, and what cannot."""
        runs = Counter(entry.run for entry in self.entries.values())
        origins = "; ".join(f"{number} of run {run}{self._begun(run)}" for run, number in runs.items())
        count = f"resuming: {len(self.entries)} measurements of this code, machine and data"
        return [
            f"{count} ({origins})" if origins else count,
            *(f"left out: {count} {reason}" for reason, count in self.left_out.items()),
            *(f"left out: {line}" for line in self.damaged),
        ]

    def _begun(self, run: str) -> str:
        start = self.starts.get(run)
        return f", begun {start.facts['started']}" if start and "started" in start.facts else ""


def adopt(contents: Contents, marks: Mapping[str, str], whole: Callable[[Measurement], bool]) -> Adoption:
    """The last measurement of each case that was taken under ``marks``.

    Args:
        whole: whether the files that a measurement speaks of are still there.
    """
    taken: dict[str, Entry | Tried] = {}
    left_out: dict[str, str] = {}
    for entry in contents.finished:
        if isinstance(entry, Tried) and isinstance(entry.outcome, Failure):
            continue  # nobody asked for it
        reason = _why_not(entry, marks, contents.starts.get(entry.run), whole)
        if reason:
            left_out[entry.outcome.case.id] = reason
        else:
            taken[entry.outcome.case.id] = entry
    return Adoption(
        entries=taken,
        starts=contents.starts,
        left_out=Counter(reason for case, reason in left_out.items() if case not in taken),
        damaged=tuple(in_words(contents.damaged)),
    )


def _why_not(
    entry: Entry | Tried, marks: Mapping[str, str], start: RunStart | None, whole: Callable[[Measurement], bool]
) -> str | None:
    if entry.fingerprint != fingerprint(marks):
        differing = [name for name, mark in marks.items() if start and start.marks.get(name) != mark]
        return f"of other {', '.join(differing or marks)}"
    if isinstance(entry.outcome, Failure):
        return TRIED_AGAIN
    return None if whole(entry.outcome) else FILES_GONE
