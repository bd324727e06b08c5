"""Mixed precision: what each layer costs where it alone is quantised, and which of them stay in floating point."""

from __future__ import annotations

from bench.core.quality import MOST_DROP, Layer, layers_in
from bench.report.columns import words
from bench.report.content import MOST_ROWS, Content
from bench.report.drawings.sensitivity import sensitivity_picture
from bench.report.parts import Column, Fold, Part, Picture, Pictures, Quantity, Section, Table, paragraph
from bench.report.results import Result, grouped
from bench.report.sections.pictures import MOST, picture_of, word_of

TEXT = """\
Each layer of these rows was quantised alone, on training images that calibrate nothing. The most sensitive stay in \
floating point until no more accuracy is lost than --max-drop allows. Speed, bytes and accuracy of the result are \
above, as int8_mixed."""


def sensitivity_section(content: Content) -> Section | None:
    """Empty where no row has mixed precision."""
    searched = [one for one in content.of("inference") if layers_in(one.first.texts)]
    if not searched:
        return None
    # The search is the same at each batch size but for which images fill a batch: the largest one is shown.
    rows = [
        max(some, key=lambda one: one.case.batch_size)
        for some in grouped(searched, lambda one: (one.network, one.route)).values()
    ]
    drawn = [_picture(one, place) for place, one in enumerate(rows[:MOST], start=1)]
    parts: list[Part] = [paragraph(TEXT), Pictures(tuple(picture for picture in drawn if picture))]
    for one in rows:
        layers = layers_in(one.first.texts)
        spared = [layer.name for layer in layers if layer.spared]
        parts.append(paragraph(f"{_title(one)}: {_kept(one)}{', '.join(spared) or 'none'}."))
        parts.append(Fold(title=f"Layers of {_title(one)}", parts=(_table(layers),)))
    return Section(title="Mixed precision", parts=tuple(parts))


def _picture(one: Result, place: int) -> Picture | None:
    name = f"sensitivity-{word_of(one.case.model)}-{place}.svg"
    return picture_of(name, sensitivity_picture(_title(one), layers_in(one.first.texts)), f"layers of {_title(one)}")


def _title(one: Result) -> str:
    return f"{one.case.model}, {one.route.name}"


def _kept(one: Result) -> str:
    allowed = one.option(MOST_DROP)
    limit = f"at most {100 * float(allowed):g} points may be lost on held-out images; " if allowed is not None else ""
    return f"{limit}in floating point: "


def _table(layers: tuple[Layer, ...]) -> Table[Layer]:
    return Table(
        columns=(
            words("layer", lambda layer: layer.name),
            Column(
                quantity=Quantity(name="KL", unit="nats", better="lower", digits=2, note="mean divergence from fp32"),
                value=lambda layer: layer.kl,
            ),
            Column(
                quantity=Quantity(name="labels changed", unit="%", scale=100, better="lower", digits=2),
                value=lambda layer: layer.changed,
            ),
            Column(
                quantity=Quantity(name="saves", unit="kB", scale=1e-3, better="higher", digits=3),
                value=lambda layer: layer.bytes_saved,
            ),
            words("kept in", lambda layer: "floating point" if layer.spared else "int8"),
        ),
        rows=layers[:MOST_ROWS],
    )
