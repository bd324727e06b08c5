"""Language models: results of five experiments taken together, one line a route."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.core.records import TRACE
from bench.report.results import EAGER, LANGUAGE, OF_MACHINE, Result, Route, grouped, route_order

WITHOUT_TEXT = ("load", "chat")
"""Experiments that the text does not enter: their results belong to every text of their model."""
Setting = tuple[int, int, int]
"""Batch size, tokens of each prompt, new tokens of each sequence: what a speed depends on. 0 is not known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One model by one route."""

    route: Route
    results: tuple[Result, ...]

    def of(self, experiment: str) -> list[Result]:
        return [one for one in self.results if one.case.experiment == experiment]

    def one(self, experiment: str) -> Result | None:
        return next(iter(self.of(experiment)), None)

    @property
    def first(self) -> Result:
        return self.results[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Speech:
    """A language model in one place with one text: lines that may be compared."""

    lines: tuple[Line, ...]
    text: tuple[str, str] | None
    """Name and digest of the text of prompts and perplexity; None where neither was measured."""

    @property
    def first(self) -> Result:
        return self.lines[0].first

    @property
    def model(self) -> str:
        return self.first.case.model

    @cached_property
    def results(self) -> list[Result]:
        return [one for line in self.lines for one in line.results]

    @cached_property
    def headline(self) -> Setting | None:
        """Smallest batch and shortest prompt that were decoded."""
        found = sorted({setting(one) for one in self.results if one.case.experiment == "decode"})
        return found[0] if found else None

    def decoding(self) -> list[Result]:
        """Decoding at the headline's setting, the twin left out."""
        chosen = [one for one in self.results if one.case.experiment == "decode" and not one.is_twin]
        return [one for one in chosen if setting(one) == self.headline]

    def beside(self, result: Result, experiment: str) -> Result | None:
        """Another experiment of the route of ``result``: of its mode, else of another mode of the same precision, which
        has the same weights. First tokens are those of the same prompts."""
        alike = [
            line
            for line in self.lines
            if (line.route.runtime, line.route.precision) == (result.case.runtime, result.case.precision)
        ]
        ordered = sorted(alike, key=lambda line: (line.route != result.route, line.route.mode != EAGER))
        found = [one for line in ordered for one in line.of(experiment) if not one.is_twin]
        if experiment == "prefill":
            found = [one for one in found if setting(one)[:2] == setting(result)[:2]]
        return next(iter(found), None)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Notes that every result bears: what each figure of the model has to be read with."""
        own = [note for note in self.first.notes if not note.startswith(TRACE)]
        return tuple(note for note in own if all(note in one.notes for one in self.results))


def speeches(results: Sequence[Result]) -> list[Speech]:
    """Language models of ``results``, by model, place and text."""
    chosen = [one for one in results if one.case.experiment in LANGUAGE]
    return [speech for members in grouped(chosen, _scene).values() for speech in _speeches(members)]


def of_language_alone(experiments: Collection[str]) -> bool:
    """True if all ``experiments`` are of language models: then no image was looked at."""
    of_models = set(experiments) - set(OF_MACHINE)
    return bool(of_models) and of_models <= set(LANGUAGE)


def setting(result: Result) -> Setting:
    return (result.case.batch_size, _count(result, "prompt_tokens"), _count(result, "new_tokens"))


@dataclass(frozen=True, kw_only=True)
class Parting:
    """Greedy answers beside the reference's: ``tokens`` are alike before they part in ``turn``; None: they never do.

    After they have parted, later turns answer another conversation and are not compared.
    """

    tokens: int
    turn: int | None

    @property
    def text(self) -> str:
        return f"never in {self.tokens}" if self.turn is None else str(self.tokens)


def parting(result: Result, reference: Result) -> Parting | None:
    """None where one of them has no tokens, or was allowed another number of them."""
    if result.figure("max_new_tokens") != reference.figure("max_new_tokens"):
        return None
    alike = 0
    for turn, name in enumerate(("tokens_turn_1", "tokens_turn_2"), start=1):
        ours, theirs = result.first.series.get(name), reference.first.series.get(name)
        if not ours or not theirs:
            return Parting(tokens=alike, turn=None) if alike else None
        same = next((place for place, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
        same = min(len(ours), len(theirs)) if same is None else same
        alike += same
        if same < max(len(ours), len(theirs)):
            return Parting(tokens=alike, turn=turn)
    return Parting(tokens=alike, turn=None)


def bandwidth_limit(result: Result) -> float | None:
    """Tokens a second that memory allows: those of a step over the time to read its fewest bytes."""
    bandwidth, step = result.limits.bandwidth, result.figure("bytes_per_step")
    return None if not bandwidth or not step else result.first.items_per_step * bandwidth / step


def _scene(result: Result) -> tuple[object, ...]:
    return (result.case.model, *result.place, result.case.seed)


def _speeches(results: Sequence[Result]) -> list[Speech]:
    """One for each text. Results that name no digest go with every text of their name."""
    read = [_text(one) for one in results if one.case.experiment not in WITHOUT_TEXT]
    digested = {name for name, digest in read if digest}
    texts: list[tuple[str, str] | None] = [text for text in dict.fromkeys(read) if text[1] or text[0] not in digested]
    return [
        Speech(lines=_lines([one for one in results if _belongs(one, text)]), text=text) for text in texts or [None]
    ]


def _text(result: Result) -> tuple[str, str]:
    return result.dataset, str(result.option("text_digest") or "")


def _belongs(result: Result, text: tuple[str, str] | None) -> bool:
    if text is None or result.case.experiment in WITHOUT_TEXT:
        return True
    name, digest = _text(result)
    return name == text[0] and digest in ("", text[1])


def _lines(results: Sequence[Result]) -> tuple[Line, ...]:
    found = [Line(route=members[0].route, results=tuple(members)) for members in grouped(results, _route).values()]
    return tuple(sorted(found, key=lambda line: route_order(line.route)))


def _route(result: Result) -> Route:
    return result.route


def _count(result: Result, name: str) -> int:
    """Count that was asked for, else the measured one."""
    asked = result.option(name)
    return int(asked if asked is not None else result.figure(name) or 0)
