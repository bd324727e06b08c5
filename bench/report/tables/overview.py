"""Title, what was run on what, and the warnings that must not be missed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bench.core.records import Machine
from bench.report.contents import Contents
from bench.report.gaps import Gap, gaps
from bench.report.language_lines import EXPERIMENTS, OF_MACHINE, of_language, of_language_alone
from bench.report.load import Run
from bench.report.markdown import bullets, escape, listing, number, unblocked
from bench.report.tables import ceilings, noise

TITLES: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset(EXPERIMENTS), "What the language models cost, and how well they predict"),
    (frozenset(("ladder", "training_step", "loading")), "How fast the classifiers train"),
    (
        frozenset(("ladder", "training_step", "loading", "pretraining", "transfer", "ablation", "speedrun")),
        "How the classifiers train, and how accurate they become",
    ),
    (frozenset(("layers",)), "What single layers cost"),
)
"""Titles of runs of these experiments alone; what is measured of the machine does not count."""


def section(contents: Contents) -> str:
    parts = [f"# {_title(contents.experiments)}", *_banner(contents.runs)]
    parts += [_run_line(contents, run) for run in contents.runs[:3]]
    if len(contents.runs) > 3:
        parts.append(
            f"{len(contents.runs) - 3} more files are named under [machine and versions](#machine-and-versions)."
        )
    parts += [line for run in contents.runs[:3] if (line := _left_out(contents, run))]
    parts += filter(None, [" ".join(filter(None, (noise.headline(contents), ceilings.headline(contents))))])
    if contents.refused:
        parts += ["Files that could not be used:", bullets([escape(line) for line in contents.refused])]
    return "\n\n".join(parts)


def _title(experiments: Collection[str]) -> str:
    told = frozenset(experiments) - set(OF_MACHINE)
    for alone, title in TITLES:
        if told and told <= alone:
            return title
    if not of_language(experiments):
        return "What the classifiers cost, and how accurate they are"
    return "What classifiers and language models cost, and how accurate they are"


def machine_name(machine: Machine) -> str:
    """The device, and the CPU beside it where that is another one."""
    return machine.cpu if machine.device == "cpu" else f"{machine.device_name} ({machine.cpu})"


def cores(machine: Machine) -> str:
    return "1 core" if machine.cores == 1 else f"{machine.cores} cores"


def _memory(machine: Machine) -> str:
    return "" if machine.memory_bytes is None else f"{number(machine.memory_bytes / 1e9)} GB memory, "


def _banner(runs: Sequence[Run]) -> list[str]:
    smoke = [run.label for run in runs if run.budget == "smoke"]
    if not smoke:
        return []
    which = "" if len(smoke) == len(runs) else f" in {listing([escape(label) for label in smoke])}"
    return [
        f"> **SMOKE RUN{which}: these figures mean nothing.** The smoke budget only proves that every path runs. "
        "Networks are hardly trained and hardly timed: neither quote nor compare any number of it."
    ]


def _run_line(contents: Contents, run: Run) -> str:
    """One run in a few sentences."""
    machine = run.machine
    versions = [f"{name} {machine.versions[name]}" for name in _packages(run) if name in machine.versions]
    several = len(set(contents.names.machines.values())) > 1
    where = (
        f"**{escape(machine_name(machine))}** ({cores(machine)}, {_memory(machine)}{escape(machine.platform)})"
        f"{f', here {contents.names.machine(run)}' if several else ''}"
    )
    images = [] if of_language_alone(run.experiments) else [item.name for item in run.datasets]
    data = [*images, *(item.name for item in run.texts)]
    return (
        f"{unblocked(escape(run.label))}: budget **{escape(run.budget)}** on {where}, device {escape(machine.device)}, "
        f"Python {escape(machine.python)}, {escape(', '.join(versions)) or 'versions not recorded'}"
        f"{f', commit {escape(run.commit)}' if run.commit else ''}. "
        f"Data: {escape(listing(data)) or 'none named'}. "
        f"{_when(run)}: {_counts(run)}."
    )


def _packages(run: Run) -> list[str]:
    """Those whose versions stand in the first paragraph: what the cases ran on. The machine table has them all."""
    libraries = {str(item.flags["library"]) for item in run.measurements if item.flags.get("library")}
    images = [] if of_language_alone(run.experiments) else ["torchvision"]
    models = ["transformers"] if of_language(run.experiments) else []
    return ["torch", *images, *models, *sorted(libraries - {"torch"}), "numpy"]


def _when(run: Run) -> str:
    """An interrupted run that was taken up again tells the time of its last part only."""
    started = escape(run.started) or "at a time not recorded"
    if run.resumed:
        took = f" and took {number(run.seconds)} s" if run.seconds is not None else ""
        return f"The last part of this run started {started}{took}"
    return f"Started {started}" + (f", took {number(run.seconds)} s" if run.seconds is not None else "")


def _left_out(contents: Contents, run: Run) -> str:
    """Which networks lack what others of the run have; nothing of smoke, which times next to nothing."""
    found = [] if run.budget == "smoke" else gaps(run)
    if not found:
        return ""
    where = f" of {escape(run.label)}" if len(contents.runs) > 1 else ""
    return f"Left out{where} by budget or selection: {'; '.join(map(_gap, found))}."


def _gap(gap: Gap) -> str:
    what = escape(listing(gap.precisions))
    sizes = f" at batch {listing([str(size) for size in gap.batch_sizes])}" if gap.batch_sizes else ""
    return f"{what}{sizes} of {'all but ' if gap.others else ''}{escape(listing(gap.models))}"


def _counts(run: Run) -> str:
    unsupported = sum(failure.kind == "unsupported" for failure in run.failures)
    taken_over = f" ({run.resumed} of them by an earlier, interrupted run)" if run.resumed else ""
    failed = len(run.failures) - unsupported
    left_out = f", {run.deselected} left out by selection" if run.deselected else ""
    return f"{len(run.measurements)} cases measured{taken_over}, {failed} failed, {unsupported} unsupported{left_out}"
