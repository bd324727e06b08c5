"""Language models: the rows of five experiments, taken together as one line a precision and mode.

A group holds the lines that may be compared: of one model, in one place, with one text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench.core.records import TRACE
from bench.report.markdown import escape
from bench.report.rows import (
    BASELINES,
    IDENTITY,
    ONE_PROCESS,
    PLACE,
    Row,
    Side,
    figure,
    grouped,
    side_of_one,
    throughput,
)
from bench.report.statistics import Estimate, Timing, quotient, speed_up

EXPERIMENTS = ("load", "prefill", "decode", "perplexity", "chat")
OF_MACHINE = ("ceilings", "noise")
"""Experiments that are about no model of the user's."""
WITHOUT_TEXT = ("load", "chat")
"""Experiments that the text does not enter: their rows belong to every text of their model."""
FP32, EAGER = BASELINES
SCENE = ("model", *PLACE, "seed")
"""What the rows of one group share, besides the text."""
COMPARABLE = tuple(name for name in IDENTITY if name not in ("precision", "mode"))
"""What two rows share that may be compared: prompts, text and its digest among the options."""
RANDOM = "random weights"

Text = tuple[str, str]
"""Name, and digest or nothing."""
Setting = tuple[int, int, int]
"""Batch size, tokens of each prompt, new tokens of each sequence: what a speed depends on. 0 is not told."""


@dataclass(frozen=True, kw_only=True)
class LanguageLine:
    """One model at one precision in one mode. Nothing of another mode stands in for what was not measured."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def precision(self) -> str:
        return str(self.first["precision"])

    @property
    def mode(self) -> str:
        return str(self.first["mode"])

    @property
    def name(self) -> str:
        return f"{self.precision} {self.mode}"

    def of(self, experiment: str) -> list[Row]:
        return [row for row in self.rows if row["experiment"] == experiment]

    def one(self, experiment: str) -> Row | None:
        return next(iter(self.of(experiment)), None)

    def at(self, experiment: str, wanted: Setting | None) -> Row | None:
        return next((row for row in self.of(experiment) if setting(row) == wanted), None)

    def known(self, column: str) -> float | None:
        """The first value of a column that every experiment fills alike, as the bytes of the weights."""
        return next((float(row[column]) for row in self.rows if row[column] is not None), None)

    @property
    def load_seconds(self) -> float | None:
        """Of the load's own process, else as another case of the line took it."""
        load = self.one("load")
        return float(load["median [s]"]) if load else self.known("cold load [s]")


@dataclass(frozen=True, kw_only=True)
class LanguageGroup:
    lines: tuple[LanguageLine, ...]
    text: Text | None
    """Where prompts and perplexity come from; None where neither was measured."""

    @property
    def first(self) -> Row:
        return self.lines[0].first

    @property
    def model(self) -> str:
        return str(self.first["model"])

    @property
    def rows(self) -> list[Row]:
        return [row for line in self.lines for row in line.rows]

    def of(self, experiment: str) -> list[Row]:
        return [row for row in self.rows if row["experiment"] == experiment]

    def settings(self, experiment: str) -> list[Setting]:
        """All that were measured, in order; the first is the headline."""
        return sorted({setting(row) for row in self.of(experiment)})

    def headline(self, experiment: str) -> Setting | None:
        return next(iter(self.settings(experiment)), None)

    def reference(self, row: Row) -> Row | None:
        """The fp32 row that ``row`` may be held against: eager, or compiled where there is no eager one."""
        key = [row[name] for name in COMPARABLE]
        alike = [other for other in self.rows if [other[name] for name in COMPARABLE] == key]
        exact = [other for other in alike if other["precision"] == FP32]
        return min(exact, key=lambda other: bool(other["mode"] != EAGER), default=None)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Notes that every row bears: what each figure of the model has to be read with."""
        of_model = [note for note in self.first["notes"] if not note.startswith(TRACE)]
        return tuple(note for note in of_model if all(note in row["notes"] for row in self.rows))

    @property
    def carried(self) -> str:
        """The caveats, up to their colon, as Markdown for the end of a title; empty if there are none."""
        return "".join(f"; {escape(note.split(':')[0])}" for note in self.caveats)

    @property
    def random(self) -> bool:
        return any(str(row["absent"].get("quality", "")).startswith(RANDOM) for row in self.rows)


def of_language(experiments: Collection[str]) -> bool:
    """Whether any of ``experiments`` is one of language models."""
    return not set(EXPERIMENTS).isdisjoint(experiments)


def of_language_alone(experiments: Collection[str]) -> bool:
    """Whether ``experiments`` are of language models, all of them: then no image was looked at."""
    of_models = set(experiments) - set(OF_MACHINE)
    return bool(of_models) and of_models <= set(EXPERIMENTS)


def language_groups(rows: Sequence[Row]) -> tuple[LanguageGroup, ...]:
    """The groups of ``rows``, which are of the five experiments, by model; baselines first among the lines."""
    ordered = sorted(rows, key=_order)
    return tuple(group for members in grouped(ordered, SCENE).values() for group in _groups(members))


ONE_CPU_PROCESS = 2.0
"""Decoding is some hundred short kernels a token, each waited for by all threads: on a CPU two processes of one case
were seen to differ by 1.9."""


def setting(row: Row) -> Setting:
    return (int(row["batch size"]), _count(row, "prompt_tokens"), _count(row, "new_tokens"))


def over(row: Row, baseline: Row) -> tuple[Estimate, Side]:
    """How many times faster than ``baseline``, and whether that shows, by the rule that ratios of the frame go by."""
    before: Timing = baseline["timing"]
    ratio = speed_up(before, row["timing"])
    return ratio, side(ratio, row, baseline)


def rates_over(row: Row, baseline: Row) -> tuple[Estimate, Side] | None:
    """How many times as many tokens a second as ``baseline``, by the same rule; None where one of them has no rate."""
    ours, theirs = throughput(row), throughput(baseline)
    if ours is None or theirs is None:
        return None
    ratio = quotient(ours, theirs)
    return ratio, side(ratio, row, baseline)


def wide_margin(*rows: Row) -> bool:
    """Whether one process measured one of ``rows`` on a CPU: they are told apart from `ONE_CPU_PROCESS` on alone."""
    return any(row["device"] == "cpu" for row in rows) and min(row["repeats"] for row in rows) < 2


def side(ratio: Estimate, *rows: Row) -> Side:
    """By the rule of the frame's ratios, with a margin of its own for decoding on a CPU."""
    margin = ONE_CPU_PROCESS if wide_margin(*rows) else ONE_PROCESS
    ends = ratio.interval
    found = {"from": ends.low if ends else None, "to": ends.high if ends else None}
    repeats = min(row["repeats"] for row in rows)
    floor = max(row.get("noise floor [1]") or 0.0 for row in rows)
    row = {
        "fewest processes": {"ratio": repeats},
        "noise floor [1]": floor,
        **{f"ratio {end} [1]": value for end, value in found.items()},
    }
    return side_of_one(row, "ratio", margin)


def bandwidth_limit(row: Row) -> float | None:
    """Tokens a second that memory allows a decoding row: those of a step over the time to read its fewest bytes."""
    bandwidth, step = row["bandwidth [B/s]"], figure(row, "bytes_per_step")
    return None if not bandwidth or not step else row["items per step"] * bandwidth / step


def _groups(rows: Sequence[Row]) -> list[LanguageGroup]:
    """One for each text. Rows that name no digest go with every text of their name."""
    read = [_text(row) for row in rows if row["experiment"] not in WITHOUT_TEXT]
    told = {name for name, digest in read if digest}
    texts: list[Text | None] = [text for text in dict.fromkeys(read) if text[1] or text[0] not in told]
    return [
        LanguageGroup(lines=_lines([row for row in rows if _belongs(row, text)]), text=text) for text in texts or [None]
    ]


def _text(row: Row) -> Text:
    return str(row["dataset"]), str(row["settings"].get("text_digest") or "")


def _belongs(row: Row, text: Text | None) -> bool:
    if text is None or row["experiment"] in WITHOUT_TEXT:
        return True
    name, digest = _text(row)
    return name == text[0] and digest in ("", text[1])


def _lines(rows: Sequence[Row]) -> tuple[LanguageLine, ...]:
    members = grouped(rows, ("precision", "mode")).values()
    return tuple(LanguageLine(rows=tuple(some)) for some in members)


def _count(row: Row, name: str) -> int:
    """As asked for, else as measured."""
    asked = row["settings"].get(name)
    return int(asked if asked is not None else figure(row, name) or 0)


def _order(row: Row) -> tuple[object, ...]:
    """By model and place, then baselines first; within a line by experiment, batch and prompt."""
    place = tuple(str(row[name]) for name in SCENE)
    variant = tuple((row[name] not in BASELINES, row[name]) for name in ("precision", "mode"))
    return (*place, *variant, EXPERIMENTS.index(row["experiment"]), setting(row), str(row["options"]))
