"""What shapes a number besides the case: our code, the versions of the packages, the machine. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.core.errors import CodeChanged
from bench.core.records import Machine, Scalar, digest_of, to_json

ROOT = Path(__file__).resolve().parents[2]
UNMEASURED = ("report",)
"""Folders under bench/ whose code no number passes through."""
_SHOWN = 3


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
    """When a file was last written, and its size; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
