"""What the notes claim of quantisation, and whether it holds on each machine: computed from the rows."""

from __future__ import annotations

from bench.report.contents import Contents
from bench.report.tables import claims_classifiers, claims_languages

TITLE = "## What the notes claim of quantisation"
TEXT = """\
Note 0 says that quantisation makes a model smaller, lets it compute less and so run faster, and uses the hardware
better. Here each claim is held against the rows of this report."""


def section(contents: Contents) -> str:
    """Empty where nothing was measured at all."""
    if not len(contents.frame):
        return ""
    parts = [*claims_classifiers.part(contents.inferences), *claims_languages.part(contents.languages)]
    if not parts:
        return f"{TITLE}\n\nCannot be judged: neither the inference of a classifier nor decoding was measured."
    return "\n\n".join(filter(None, (TITLE, TEXT, *parts)))
