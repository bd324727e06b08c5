"""How far two runs of the same thing differ here: what every difference in the report has to be read with."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.contents import SHORT, Contents
from bench.report.frame import rows_of, rows_without
from bench.report.language_lines import OF_MACHINE, ONE_CPU_PROCESS, of_language
from bench.report.markdown import bullets, escape, number
from bench.report.noise import Noise, noises
from bench.report.rows import ONE_PROCESS, PLACE, is_meaningless

TEXT = (
    "The same network was timed in processes called A and B in turn, which differ in nothing else: what tells them "
    "apart is noise of this machine."
)


def headline(contents: Contents) -> str:
    """The floor in one line, or that there is none; empty where all figures are smoke's, which mean nothing."""
    rows = [row for row in rows_without(contents.frame, OF_MACHINE) if not is_meaningless(row)]
    if not rows:
        return ""
    found = _found(contents)
    if not found:
        decoding = f", decoding on a CPU a factor of {ONE_CPU_PROCESS:g}" if of_language(contents.experiments) else ""
        return (
            "No noise floor was measured: how far two processes of the same row differ here is not known, and fixed "
            f"margins stand for it ({_percent(ONE_PROCESS - 1)}{decoding})."
        )
    bare = any(row["noise floor [1]"] is None for row in rows)
    floor = max(noise.floor for noise in found)
    told = f"Noise floor: two processes that measured the same thing came up to {_percent(floor)} apart"
    return f"{told}{', where it was measured' if bare else ''} ([more](#noise-floor))."


def _found(contents: Contents) -> list[Noise]:
    return [noise for noise in noises(rows_of(contents.frame, "noise")) if not is_meaningless(noise.first)]


def section(contents: Contents) -> str:
    """Empty where no noise was measured, as in files of earlier versions; smoke's figures mean nothing."""
    found = _found(contents)
    if not found:
        return ""
    return "\n\n".join(("## Noise floor", TEXT, bullets([_line(noise, found) for noise in found]), _rule(found)))


def _line(noise: Noise, others: Sequence[Noise]) -> str:
    row, ratio = noise.first, noise.ratio
    names = [name for name in PLACE if len({other.first[name] for other in others}) > 1]
    where = "".join(f", {SHORT.get(name, name)} {escape(str(row[name]))}" for name in names)
    interval = f" ({ratio.interval.low:.3f} to {ratio.interval.high:.3f})" if ratio.interval else ""
    spread = f", with a standard deviation of {_percent(noise.spread)}" if noise.spread is not None else ""
    disturbed = f" While it ran: {escape(str(row['disturbed']))}." if row["disturbed"] else ""
    return (
        f"{escape(row['model'])}, batch {row['batch size']}{where}: A takes {ratio.value:.3f}{interval} times as long "
        f"as B, over {noise.processes} processes each. One process of A and one of B come up to "
        f"{_percent(noise.floor)} apart{spread}.{disturbed}"
    )


def _rule(found: Sequence[Noise]) -> str:
    floor = max(noise.floor for noise in found)
    told = f"**Differences below {_percent(floor)} between rows that one process measured each are noise here.**"
    margin = max(ONE_PROCESS - 1, floor)
    return (
        f"{told} No sentence of this report calls such rows faster or slower unless their intervals lie "
        f"{_percent(margin)} apart; rows of several processes go by their intervals alone."
    )


def _percent(share: float) -> str:
    """Per cent; differences beyond a doubling as a factor."""
    return f"{number(100 * share, 2)} %" if share < 1 else f"a factor of {number(1 + share, 2)}"
