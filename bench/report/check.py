"""Check that every committed report is, byte for byte, what its results produce."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import InputError
from bench.report.render import CHECKOUT, INPUTS, compose

PUBLISHED = CHECKOUT / "reports" / "published"


def differences(published: Path = PUBLISHED) -> list[str]:
    """One line for each file of the reports in the folders of ``published`` that is not what it should be.

    Raises:
        InputError: there is no report in ``published``.
    """
    folders = sorted(path for path in published.iterdir() if path.is_dir()) if published.is_dir() else []
    if not folders:
        raise InputError(f"{published} holds no report: write one with `python -m bench.report render FILE --out DIR`.")
    return [line for folder in folders for line in _of_report(folder)]


def _of_report(folder: Path) -> list[str]:
    try:
        composed = compose(inputs_of(folder), folder)
    except InputError as error:
        return [f"{folder}: {line}" for line in str(error).splitlines()]
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lines = [f"{folder}: {line}" for line in composed.refused]
    for name in sorted({*composed.files, *there}):
        if name not in there:
            lines.append(f"{folder / name} is missing")
        elif name not in composed.files:
            lines.append(f"{folder / name} is not of this report")
        elif there[name] != composed.files[name]:
            lines.append(f"{folder / name} differs from what its results produce")
    return lines


def inputs_of(folder: Path) -> Sequence[Path]:
    """The files that the report in ``folder`` says it was made from.

    Raises:
        InputError: it does not say, or names none.
    """
    manifest = folder / INPUTS
    names = manifest.read_text(encoding="utf-8").splitlines() if manifest.is_file() else []
    if not names:
        raise InputError(f"{manifest} names no file: render the report again into its folder.")
    return [CHECKOUT / name for name in names]
