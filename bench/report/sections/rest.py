"""Claims of the notes, single layers, failures and profiles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.core.records import Failure
from bench.report.claims import Claim, judged_claims
from bench.report.columns import words
from bench.report.content import MOST_ROWS, Content
from bench.report.formats import counted, listing, shortened
from bench.report.limits import why_slower
from bench.report.parts import Column, Fold, Part, Quantity, Section, Table, Value, paragraph
from bench.report.results import Result, Route, grouped

KINDS = {
    "error": "an exception",
    "out_of_memory": "out of memory",
    "timed_out": "out of time",
    "crashed": "its process died",
    "unsupported": "unsupported here",
}
COMMONEST = 10
"""Reasons of absent fields that are listed: measurements.csv has them all, row by row."""
_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_OPERATOR = re.compile(rf"(?P<name>.*) \| (?P<calls>\d+) \| (?P<seconds>{_NUMBER}) \| (?P<share>{_NUMBER})", re.DOTALL)


def claims_section(content: Content) -> Section | None:
    """Claims that this run can judge; the others in one line."""
    found = judged_claims(content)
    if content.smoke or not content.measured:
        return None
    parts: list[Part] = []
    if found.claims:
        table: Table[Claim] = Table(
            columns=(
                words("claim, by note", lambda one: one.claim),
                words("of", lambda one: one.about),
                words("verdict", lambda one: one.verdict),
                words("what the rows show", lambda one: one.shown),
            ),
            rows=found.claims,
        )
        parts.append(table)
    if found.open:
        parts.append(
            paragraph(
                f"This run cannot judge {counted(len(found.open), 'other claim')}; the budget full measures all: "
                "nox -s bench -- --budget full."
            )
        )
    return Section(title="Claims of the notes", parts=tuple(parts))


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer by one route at one width, over batch sizes."""

    results: tuple[Result, ...]

    @property
    def first(self) -> Result:
        return self.results[0]

    def at(self, batch: int) -> Value:
        found = next((one for one in self.results if one.case.batch_size == batch), None)
        return found.beside.same_mode if found else None

    @property
    def why_slower(self) -> str | None:
        """Named reason at the smallest batch size at which it is slower."""
        ordered = sorted(self.results, key=lambda one: one.case.batch_size)
        return next((reason for one in ordered if (reason := why_slower(one))), None)

    @property
    def wins(self) -> str | None:
        """Smallest batch size from which on it is faster at every larger one measured."""
        if any(one.hardly_converted for one in self.results):
            return "hardly converted"
        ordered = sorted(self.results, key=lambda one: one.case.batch_size)
        sides = [(one.case.batch_size, one.beside.same_mode_side) for one in ordered]
        last_loss = max((size for size, side in sides if side != "above"), default=0)
        lasting = [size for size, side in sides if side == "above" and size > last_loss]
        some = [str(size) for size, side in sides if side == "above"]
        return str(lasting[0]) if lasting else f"only at {', '.join(some)}" if some else "never here"


def layers_section(content: Content) -> Section | None:
    """Speed of single layers beside fp32 in the same mode, by width and batch size."""
    rows = [one for one in content.of("layers") if one.case.precision != "fp32" and one.option("width") is not None]
    if not rows:
        return None
    parts: list[Part] = [
        paragraph("Times as fast as PyTorch's fp32 in the same mode; a layer has as many outputs as inputs.")
    ]
    for members in grouped(rows, lambda one: (one.case.model, one.place)).values():
        model = members[0].case.model
        sizes = sorted({one.case.batch_size for one in members})
        layers = [Layer(results=tuple(some)) for some in grouped(members, _layer).values()]
        columns: tuple[Column[Layer], ...] = (
            words("route", lambda one: one.first.route.name),
            Column(quantity=Quantity(name="width", digits=1), value=lambda one: int(one.first.option("width") or 0)),
            *(
                Column(
                    quantity=Quantity(name=f"batch {size}", unit="×", better="higher"),
                    value=lambda one, size=size: one.at(size),  # type: ignore[misc]
                )
                for size in sizes[:5]
            ),
            words("wins from batch", lambda one: one.wins),
            words("where it is slower, its time goes to", lambda one: one.why_slower),
            Column(quantity=Quantity(name="error", unit="%", scale=100, better="lower", digits=2), value=_error),
        )
        title = f"{model}, {members[0].machine}" if len({one.place for one in rows}) > 1 else str(model)
        parts.append(Section(title=title, parts=(Table(columns=columns, rows=tuple(layers[:MOST_ROWS])),)))
    return Section(title="Single layers", parts=tuple(parts))


def _layer(result: Result) -> tuple[object, ...]:
    return (result.route, result.option("width"), result.case.image_size, result.case.seed)


def _error(layer: Layer) -> Value:
    return max((error for one in layer.results if (error := one.figure("relative_error")) is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Cases that ended alike."""

    failures: tuple[Failure, ...]

    @property
    def first(self) -> Failure:
        return self.failures[0]


def failures_section(content: Content) -> Section:
    """Cases without a measurement, with their reasons; and fields that no result has."""
    failed = [one for one in content.failures if one.kind != "unsupported"]
    unsupported = [one for one in content.failures if one.kind == "unsupported"]
    parts: list[Part] = []
    if not content.failures:
        parts.append(paragraph("None: every case gave a measurement."))
    if failed:
        parts += [paragraph(f"{counted(len(failed), 'case')} failed. Logs lie under results/logs."), _missing(failed)]
    if unsupported:
        parts += [paragraph(f"{counted(len(unsupported), 'case')} cannot run here."), _missing(unsupported)]
    absent = _absent(content)
    if absent:
        parts.append(Fold(title="Fields that were not measured, and why: the commonest reasons", parts=(absent,)))
    return Section(title="Failures and what was not measured", parts=tuple(parts), menu="Failures, machine, method")


def _missing(failures: Sequence[Failure]) -> Table[Missing]:
    groups = grouped(failures, lambda one: (one.kind, one.case.experiment, one.message)).values()
    return Table(
        columns=(
            words("what", lambda one: KINDS[one.first.kind]),
            words("experiment", lambda one: one.first.case.experiment),
            words("models", lambda one: listing(_distinct(failure.case.model for failure in one.failures))),
            words("routes", lambda one: listing(_distinct(_route(failure) for failure in one.failures))),
            Column(quantity=Quantity(name="cases", digits=1), value=lambda one: len(one.failures)),
            words("reason", lambda one: shortened(one.first.message) or "no reason given"),
        ),
        rows=tuple(Missing(failures=tuple(some)) for some in list(groups)[:MOST_ROWS]),
    )


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _route(failure: Failure) -> str:
    return Route(failure.case.runtime, failure.case.precision, failure.case.mode).name


@dataclass(frozen=True, kw_only=True)
class Absent:
    reason: str
    fields: tuple[str, ...]
    results: int


def _absent(content: Content) -> Table[Absent] | None:
    """Reasons, each with the fields that it is about."""
    fields: dict[str, dict[str, None]] = {}
    counts: dict[str, int] = {}
    for one in content.results:
        for field, reason in one.first.absent.items():
            fields.setdefault(reason, {})[field] = None
        for reason in set(one.first.absent.values()):
            counts[reason] = counts.get(reason, 0) + 1
    rows = [Absent(reason=reason, fields=tuple(names), results=counts[reason]) for reason, names in fields.items()]
    if not rows:
        return None
    return Table(
        columns=(
            words("fields", lambda one: listing(one.fields, most=3)),
            Column(quantity=Quantity(name="rows", digits=1), value=lambda one: one.results),
            words("reason", lambda one: shortened(one.reason, 110)),
        ),
        rows=tuple(sorted(rows, key=lambda one: -one.results)[:COMMONEST]),
    )


@dataclass(frozen=True, kw_only=True)
class Operator:
    """``seconds`` of its own, without those of operators that it calls; ``share`` of all such time."""

    name: str
    calls: int
    seconds: float
    share: float


def operators(result: Result) -> list[Operator]:
    """Most expensive operators of the traced pass; texts that are no operator are left out."""
    texts = [text for name, text in result.first.texts.items() if name.startswith("operator ")]
    found = [match for text in texts if (match := _OPERATOR.fullmatch(text))]
    return [
        Operator(name=one["name"], calls=int(one["calls"]), seconds=float(one["seconds"]), share=float(one["share"]))
        for one in found
    ]


def profiles_section(content: Content) -> Section | None:
    """Most expensive operators of each traced case, folded away."""
    traced = [(one, found) for one in content.results if (found := operators(one))]
    if not traced:
        return None
    columns: tuple[Column[Operator], ...] = (
        words("operator", lambda one: one.name),
        Column(quantity=Quantity(name="calls", digits=1), value=lambda one: one.calls),
        Column(
            quantity=Quantity(name="self time", unit="ms", scale=1e3, better="lower"), value=lambda one: one.seconds
        ),
        Column(quantity=Quantity(name="share", unit="%", scale=100, digits=2), value=lambda one: one.share),
    )
    folds = [
        Fold(
            title=f"{one.case.experiment} of {one.case.model}, {one.route.name}, batch {one.case.batch_size}",
            parts=(Table(columns=columns, rows=tuple(found)),),
        )
        for one, found in traced[:100]
    ]
    text = (
        "Of one traced pass a case, never the timed one. Perfetto and TensorBoard open the traces in results/profiles."
    )
    return Section(title="Profiles", parts=(paragraph(text), *folds))
