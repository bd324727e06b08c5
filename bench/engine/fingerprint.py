"""What shapes a number besides the case: our code, the versions of the packages, the machine. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.records import Machine, Scalar, digest_of, to_json

ROOT = Path(__file__).resolve().parents[2]
UNMEASURED = ("report",)
"""Folders under bench/ whose code no number passes through."""


def code_digest(root: Path = ROOT) -> str:
    """Hash of the sources of ``models/`` and ``bench/`` that run inside a worker or decide what it does."""
    sources = sorted([*root.glob("models/**/*.py"), *root.glob("bench/**/*.py")])
    shaping = [path for path in sources if not set(path.relative_to(root).parts) & set(UNMEASURED)]
    return digest_of_files(shaping, root)


def digest_of_files(paths: Iterable[Path], root: Path) -> str:
    """First 16 hexadecimal digits of a SHA-256 over names and contents."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.relative_to(root).as_posix().encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def marks(machine: Machine, flags: Mapping[str, Scalar], data_digests: Iterable[str]) -> dict[str, str]:
    """Hashes of what shapes a number, each under the words that tell a user what differs."""
    return {
        "code": code_digest(),
        "machine or package versions": digest_of(to_json(machine)),
        "flags": digest_of(dict(flags)),
        "data": digest_of(sorted(data_digests)),
    }


def fingerprint(marks: Mapping[str, str]) -> str:
    """Outcomes of two runs may stand for each other only if this is the same for both."""
    return digest_of(dict(marks))
