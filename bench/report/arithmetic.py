"""How a training is fed and computed, in words: what the rungs of a ladder differ in."""

from __future__ import annotations

from bench.report.rows import BASELINES, Row

DATA_OPTIONS = frozenset(
    (
        *("train_images", "test_images", "epoch_images", "classes", "normalize", "weights", "weights_digest", "half"),
        *("target", "min_samples", "max_seconds"),
    )
)
"""Options that say what is learnt, from how much, and how long it is timed. All others say how it is computed."""
LOADER = "the notes' loop"
WORDS = {
    "channels_last": "channels last",
    "products": "small maps as matrix products",
    "fused": "fused optimiser",
}
"""Options by what they do, in the order in which they are named; others follow by their own names."""


def options_of(row: Row) -> dict[str, object]:
    """Options that say how the row's training is fed and computed, ``rung`` aside."""
    return {name: value for name, value in row["settings"].items() if name not in (*DATA_OPTIONS, "rung")}


def words_of(row: Row) -> tuple[str, ...]:
    """The pipeline first, then what it was made faster with."""
    options = options_of(row)
    workers = options.pop("workers", None)
    known = [word for name, word in WORDS.items() if options.pop(name, False)]
    others = [name.replace("_", " ") if value is True else f"{name} {value}" for name, value in options.items()]
    mode = [] if row["mode"] == BASELINES[1] else [row["mode"]]
    precision = [] if row["precision"] == BASELINES[0] else [row["precision"].replace("_", " ")]
    return (pipeline_words(row["pipeline"], workers), *known, *others, *mode, *precision)


def pipeline_words(pipeline: str | None, workers: object) -> str:
    if pipeline != "dataloader":
        return f"{pipeline or 'unknown'} pipeline"
    if workers is None:
        return LOADER
    return f"{LOADER}, {'1 worker' if workers == 1 else f'{workers} workers'}"


def added(words: tuple[str, ...], before: tuple[str, ...] | None) -> str:
    """What ``words`` have beyond those of the row before, as the name of a rung."""
    if before is None:
        return ", ".join(words)
    new = [word for word in words if word not in before]
    gone = [f"without {word}" for word in before[1:] if word not in words]
    start = [] if words[0] == before[0] else [words[0]]
    return ", ".join((*start, *(f"+ {word}" for word in new if word not in start), *gone)) or ", ".join(words)
