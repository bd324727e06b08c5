"""Machines with their versions, and the files that the report was made from."""

from __future__ import annotations

import math
from collections.abc import Callable

from bench.core.records import Machine
from bench.report.contents import Contents
from bench.report.load import Run
from bench.report.markdown import ABSENT, integer, number, table

FACTS: tuple[tuple[str, Callable[[Machine], str]], ...] = (
    ("device", lambda machine: f"{machine.device}: {machine.device_name}"),
    ("capability", lambda machine: machine.capability or ABSENT),
    ("device memory, GB", lambda machine: _gigabytes(machine.device_memory_bytes)),
    ("CPU", lambda machine: machine.cpu),
    ("cores", lambda machine: str(machine.cores)),
    ("memory, GB", lambda machine: _gigabytes(machine.memory_bytes)),
    ("CPU features", lambda machine: " ".join(machine.cpu_features) or ABSENT),
    ("platform", lambda machine: machine.platform),
    ("Python", lambda machine: machine.python),
    ("driver", lambda machine: machine.driver or ABSENT),
    ("CUDA", lambda machine: machine.cuda or ABSENT),
)

WORDS = ("file", "machine", "budget", "started", "commit", "fingerprint", "command")
FILES_TEXT = """\
Files of this report. Worker time is what the cases took in their processes; the rest of the wall time went to
starting them and to book-keeping. The fingerprint is a hash of code, machine and data: only rows of the same one are
joined or compared."""
RESUMED_TEXT = """\
Of a run that was interrupted and taken up again, the wall time is that of its last part, and so is the worker time,
unless it says that resumed cases are in it."""


def section(contents: Contents) -> str:
    machines = {contents.names.machine(run): run.machine for run in contents.runs}
    rows = [{"": title, **{name: fact(item) for name, item in machines.items()}} for title, fact in FACTS]
    packages = sorted({package for item in machines.values() for package in item.versions})
    rows += [
        {"": package, **{name: item.versions.get(package, ABSENT) for name, item in machines.items()}}
        for package in packages
    ]
    told = [row for row in rows if any(row[name] != ABSENT for name in machines)]
    runs = [_run(contents, run) for run in contents.runs]
    return "\n\n".join(
        (
            "## Machine and versions",
            table(told, left=("", *machines), keep=("",)),
            FILES_TEXT,
            *((RESUMED_TEXT,) if any(run.resumed for run in contents.runs) else ()),
            table(
                runs, left=("file", "machine", "budget", "started", "commit", "fingerprint", "command"), key=("file",)
            ),
        )
    )


def _gigabytes(size: int | None) -> str:
    return number(size / 1e9 if size is not None else None)


def _worker_time(run: Run) -> str:
    """Files of earlier versions count the resumed cases in, and do not tell which they are."""
    if not run.case_seconds:
        return ABSENT
    seconds = math.fsum(run.case_seconds.values())
    beyond = bool(run.resumed) and run.seconds is not None and seconds > run.seconds
    return f"{number(seconds)} (resumed cases in it)" if beyond else number(seconds)


def _run(contents: Contents, run: Run) -> dict[str, str]:
    return {
        "file": run.label,
        "machine": contents.names.machine(run),
        "budget": run.budget,
        "started": run.started or ABSENT,
        "wall [s]": number(run.seconds),
        "worker time [s]": _worker_time(run),
        "measured": integer(len(run.measurements)),
        "of them resumed": integer(run.resumed) if run.resumed else ABSENT,
        "not measured": integer(len(run.failures)),
        "left out, not of this suite": integer(run.foreign) if run.foreign else ABSENT,
        "commit": run.commit or ABSENT,
        "fingerprint": run.code[:8] if run.code else ABSENT,
        "command": run.command or ABSENT,
    }
