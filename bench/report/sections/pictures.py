"""Pictures of the answer: speed against accuracy, memory, decoding; learning curves in the section on training."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from bench.report.choosing import Choice
from bench.report.content import Content
from bench.report.drawings.answer import answer_picture
from bench.report.drawings.bars import decoding_picture, memory_picture
from bench.report.drawings.curves import learning_curves
from bench.report.parts import Part, Picture, Pictures, Section, paragraph
from bench.report.results import grouped
from bench.report.seeds import training_groups

MOST = 8
"""Pictures of one kind: the tables have everything."""


def pictures_section(content: Content) -> Section | None:
    """Empty where nothing can be drawn."""
    if content.smoke:
        return None
    decoding = (
        picture_of(f"decoding-{word_of(one.model)}-{place + 1}.svg", decoding_picture(one), f"decoding of {one.model}")
        for place, (_, one) in enumerate(content.languages)
    )
    memory = (
        picture_of(
            f"memory-{word_of(one[0].model)}-{place + 1}.svg", memory_picture(one[-1]), f"memory of {one[0].model}"
        )
        for place, one in enumerate(content.networks)
    )
    limit = "Decoding, fastest first: | is what the memory's bandwidth allows for the bytes of that route."
    parts = _row(limit, decoding)
    parts += _row("Memory at the largest batch: weights, and behind them what is in use during a step.", memory)
    return Section(title="Pictures", parts=tuple(parts)) if parts else None


def answer_pictures(content: Content) -> list[Part]:
    """The picture that answers: a panel a network."""
    drawn = (_answer(content, choices, place) for place, choices in enumerate(content.networks))
    text = (
        "Each point is a route: colour and shape are its precision, filled if compiled. Bars are 95 %. Shaded: faster "
        f"than fp32 eager and within {content.margins.points} of its accuracy."
    )
    known = _row(text, drawn)
    return [*known[1:], *known[:1]] if known else []


def curves_section(content: Content) -> Section | None:
    """Learning curves by data set."""
    groups = training_groups(content.of("training"), content.datasets)
    drawn = [
        picture_of(
            f"learning-curves-{word_of(str(name))}-{place + 1}.svg", learning_curves(some), f"learning curves on {name}"
        )
        for place, (name, some) in enumerate(grouped(groups, lambda group: group.first.dataset).items())
    ]
    text = (
        "Blue is the training, taken while the epoch runs on augmented images, orange dashes the held-out images, the "
        "dotted line the test images. Bands run from the lowest seed to the highest."
    )
    parts = _row(text, drawn)
    return Section(title="Learning curves", parts=tuple(parts)) if parts else None


def _answer(content: Content, choices: Sequence[Choice], place: int) -> Picture | None:
    """At the batch size with most routes, the smallest of several."""
    choice = max(choices, key=lambda one: (len(one.candidates), -one.batch))
    text = f"accuracy against speed of {choice.model} at batch {choice.batch}"
    return picture_of(f"answer-{word_of(choice.model)}-{place + 1}.svg", answer_picture(choice, content.margins), text)


def _row(text: str, drawn: Iterable[Picture | None]) -> list[Part]:
    """The first of the pictures that there are; the others are not even drawn."""
    known = list(islice(filter(None, drawn), MOST))
    return [paragraph(text), Pictures(tuple(known))] if known else []


def picture_of(file: str, content: bytes | None, text: str) -> Picture | None:
    """A picture, if it could be drawn."""
    return Picture(file=file, content=content, text=text) if content else None


def word_of(name: str) -> str:
    """A name that any system takes as part of a file's."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:60] or "data"
