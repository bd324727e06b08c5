"""How far two runs of the same thing differ here: what every difference in the report has to be read with."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.contents import SHORT, Contents
from bench.report.frame import rows_of
from bench.report.markdown import bullets, escape, number
from bench.report.noise import Noise, noises
from bench.report.rows import ONE_PROCESS, PLACE, is_meaningless

TEXT = (
    "The same network was timed in processes called A and B in turn, which differ in nothing else: what tells them "
    "apart is noise of this machine."
)


def section(contents: Contents) -> str:
    """Empty where no noise was measured, as in files of earlier versions; smoke's figures mean nothing."""
    found = [noise for noise in noises(rows_of(contents.frame, "noise")) if not is_meaningless(noise.first)]
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
