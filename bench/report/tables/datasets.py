"""Data sets: their sizes, their statistics beside the usual constants, and what augmentation makes of them."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.contents import Contents
from bench.report.load import DatasetFacts
from bench.report.markdown import ABSENT, escape, integer, listing, table

CONSTANTS_TEXT = """\
Channel mean and standard deviation in units of [0, 1], computed from all pixels of the training images, beside the
constants that the notes use, which are CIFAR-10's."""


def section(contents: Contents) -> str:
    if not contents.datasets:
        return ""
    sizes = [_sizes(dataset) for dataset in contents.datasets]
    constants = [row for dataset in contents.datasets for row in _constants(dataset)]
    parts = ["## Data", table(sizes, left=("data set", "classes", "flipped in training", "digest"))]
    if constants:
        parts += [
            CONSTANTS_TEXT,
            table(constants, left=("data set", "statistic"), keep=("the notes'",)),
        ]
    return "\n\n".join([*parts, *_pictures(contents)])


def _sizes(dataset: DatasetFacts) -> dict[str, str]:
    return {
        "data set": dataset.name,
        "classes": f"{len(dataset.classes)}: {listing(dataset.classes, most=12)}" if dataset.classes else ABSENT,
        "training images": integer(dataset.train_images),
        "of them held out, where an epoch is chosen": integer(dataset.held_out),
        "test images": integer(dataset.test_images),
        "flipped in training": ABSENT
        if dataset.flip is None
        else "where the recipe flips"
        if dataset.flip
        else "never",
        "digest": dataset.digest or ABSENT,
    }


def _constants(dataset: DatasetFacts) -> list[dict[str, str]]:
    pairs = (("mean", dataset.mean, dataset.usual_mean), ("standard deviation", dataset.std, dataset.usual_std))
    return [
        {"data set": dataset.name, "statistic": name, "computed (R, G, B)": _triple(ours), "the notes'": _triple(usual)}
        for name, ours, usual in pairs
        if ours is not None
    ]


def _triple(values: Sequence[float] | None) -> str:
    return ABSENT if values is None else ", ".join(f"{value:.4f}" for value in values)


def _by(contents: Contents, dataset: DatasetFacts) -> str:
    """The recipe of the picture; an example, where nothing of the report was trained by it."""
    recipe = dataset.augmented_by
    if not recipe:
        return ""
    if recipe in set(contents.frame["recipe"]):
        return f" as recipe {escape(recipe)} does it"
    return f" as, for example, recipe {escape(recipe)} does it, by which nothing here was trained"


def _pictures(contents: Contents) -> list[str]:
    told = []
    for dataset in contents.datasets:
        name = escape(dataset.name)
        image = contents.picture("augmented", dataset.name, f"nine augmented training images of {name}")
        text = f"Nine training images of {name}, augmented{_by(contents, dataset)}, before they are normalised:"
        told += [text, image] if image else []
    return told
