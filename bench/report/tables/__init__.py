"""The sections of summary.md, in the order in which they stand there."""

from __future__ import annotations

from bench.report.contents import Section
from bench.report.tables import (
    absent,
    claims,
    datasets,
    failures,
    findings,
    inference,
    language,
    layers,
    machine,
    method,
    overview,
    training,
)

SECTIONS: tuple[Section, ...] = (
    overview.section,
    findings.section,
    claims.section,
    datasets.section,
    training.section,
    training.curves,
    inference.section,
    layers.section,
    language.section,
    failures.section,
    machine.section,
    method.section,
    absent.section,
)
