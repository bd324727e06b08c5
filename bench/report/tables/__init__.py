"""The sections of summary.md, in the order in which they stand there."""

from __future__ import annotations

from bench.report.contents import Section
from bench.report.tables import (
    ablations,
    absent,
    claims,
    datasets,
    failures,
    findings,
    inference,
    ladder,
    language,
    layers,
    loading,
    machine,
    method,
    overview,
    profiles,
    speedrun,
    training,
    training_claims,
    training_step,
    transfer,
)

SECTIONS: tuple[Section, ...] = (
    overview.section,
    findings.section,
    claims.section,
    training_claims.section,
    datasets.section,
    training.section,
    training.curves,
    ladder.section,
    training_step.section,
    loading.section,
    transfer.section,
    ablations.section,
    speedrun.section,
    inference.section,
    layers.section,
    language.section,
    profiles.section,
    failures.section,
    machine.section,
    method.section,
    absent.section,
)
