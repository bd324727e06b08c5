"""Prefill: the time to the first token of prompts of a given length."""

from __future__ import annotations

import torch

from bench.core.errors import Unsupported
from bench.core.experiments import sampling_of
from bench.core.records import Case, Cold, Figure, Measurement
from bench.core.workspace import Workspace
from bench.experiments.language.generation import generate, prompts_of, warm_up
from bench.experiments.language.subject import load_model, measured, unwatched
from bench.measure import clock, memory
from bench.measure.state import Watch
from bench.measure.trace import traced


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time ``generate`` of one token, as a user waits for it.

    Raises:
        TooLittleMemory: the model does not fit.
        Unsupported: this machine or these versions cannot load it at the case's precision, or mode compiled was asked.
    """
    if case.mode != "eager":
        raise Unsupported("transformers compiles decode steps only: prefill runs eagerly in every mode")
    subject = load_model(case, workspace)
    prompts = prompts_of(case, workspace, subject).to(subject.device)

    def step() -> float:
        return generate(subject.model, prompts, 1, {}).first_token

    with torch.no_grad():  # as `generate` itself has it, and its users with it
        first = step()
        step()
        warm_up(step, subject.device)
        watch = Watch(subject.device)
        samples = clock.until(step, sampling_of(case), watch)
        watch.last()
        peaks = memory.steady_peaks(step, subject.device)
    measurement = Measurement(
        **measured(
            subject,
            seconds=samples.seconds,
            items_per_step=case.batch_size,
            cold=Cold(load=subject.load_seconds, first_step=first),
            peaks=tuple(peaks),
            device_state=tuple(watch.states),
            flags={"cache": "dynamic"},
            figures={
                "prompt_tokens": Figure(value=prompts.shape[1], unit="tokens", exact=True),
                "criterion_met": Figure(value=float(samples.criterion_met), unit="yes=1"),
            },
            absent={
                "device_seconds": "a token is timed from the call until it is on the host",
                "coverage": "see decode",
                **unwatched(watch),
            },
        )
    )
    with torch.no_grad():
        return traced(measurement, workspace, step)
