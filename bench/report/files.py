"""How the report writes a file."""

from __future__ import annotations

from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Written beside and renamed: a reader never sees half a file.

    Raises:
        OSError: the folder is missing or cannot be written to.
    """
    beside = path.with_name(f".{path.name}.partial")
    beside.write_bytes(content)
    beside.replace(path)
