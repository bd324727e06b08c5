"""The sections of summary.md, in the order in which they stand there."""

from __future__ import annotations

from bench.report.contents import Section
from bench.report.tables import absent, datasets, failures, findings, inference, machine, method, overview, training

SECTIONS: tuple[Section, ...] = (
    overview.section,
    findings.section,
    datasets.section,
    training.section,
    training.curves,
    inference.section,
    failures.section,
    machine.section,
    method.section,
    absent.section,
)
