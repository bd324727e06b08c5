"""Decoding: time between tokens, new tokens per second, and the least work of a step in bytes and FLOPs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.core.precisions import COMPILED_MODES
from bench.core.records import Case, Figure, Measurement
from bench.core.runtimes import REASON_KEY
from bench.core.turns import Turns
from bench.core.workspace import Workspace
from bench.experiments.language.generation import prompts_of, warm_up
from bench.experiments.language.routes import LanguageRoute, reason_in, route_of
from bench.experiments.language.subject import measured, unwatched
from bench.experiments.modes import graph_figures
from bench.experiments.timing import peaks_of, replays, samples_of, why_no_energy
from bench.measure import memory
from bench.measure.energy import Reading, meter_of, seconds_of
from bench.measure.state import Watch
from bench.measure.trace import traced
from bench.runtimes.language_route import Generation

BLOCKS = 6
"""Blocks of each generation: the smallest number whose median has an interval of 95 %."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Samples of generations, timed until the case's criterion is met."""

    generations: tuple[Generation, ...]
    gaps: tuple[float, ...]
    """Seconds between consecutive tokens, of all generations."""
    block_seconds: tuple[float, ...]
    """Seconds of blocks of consecutive steps."""
    steps_per_block: int
    criterion_met: bool


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time generations token by token. Only new tokens count, and their number is forced.

    Raises:
        TooLittleMemory: the model does not fit.
        Unsupported: it cannot be loaded at the case's precision in its runtime, or not be compiled.
    """
    route = route_of(case, workspace)
    prompts = prompts_of(case, workspace, route).to(route.device)
    tokens = int(case.option("new_tokens") or 0)

    def step() -> Generation:
        return route.generate(prompts, tokens)

    with torch.no_grad():  # as in `generate` itself
        first = step()
        route.check_mode()
        watch = Watch(route.device)
        warm_up(step, route.device)
        decoded = _decode(step, case, watch, workspace.turns, route.device)
        watch.last()
        joules, unmetered = _energy(route, prompts, tokens, case.budget)
        peaks = peaks_of(step, case, route.device)
        ran = route.ran(prompts)
        share = route.python_share(prompts, decoded.generations)
        usual = statistics.median(decoded.gaps)
        reason = reason_in(route, prompts, tokens, usual, 1 - (share.value or 0.0))
    compiling = sum(max(0.0, gap - usual) for gap in first.gaps) if case.mode in COMPILED_MODES else None
    least = route.least_work(prompts)
    measurement = Measurement(
        **measured(
            route,
            seconds=decoded.gaps,
            items_per_step=case.batch_size,
            cold=replace(route.cold, compile=compiling, first_step=first.first_token),
            peaks=peaks,
            coverage=ran.coverage,
            device_state=tuple(watch.states),
            energy_joules_per_item=None if joules is None else joules / len(prompts),
            flags={"cache": first.cache or route.cache, "compute": ran.compute},
            figures={
                **_figures(case, decoded, prompts.shape[1], tokens),
                **({} if share.value is None else {"python_share": Figure(value=share.value, unit="share")}),
                **least.figures,
                **(graph_figures() if replays(case) else {}),
            },
            series={
                "block_seconds": decoded.block_seconds,
                "first_token_seconds": tuple(one.first_token for one in decoded.generations),
            },
            texts={REASON_KEY: str(reason)},
            absent={
                **ran.absent,
                "device_seconds": "a token is timed until it is on the host",
                **({"energy_joules_per_item": unmetered} if unmetered else {}),
                **({"python_share": share.problem} if share.problem else {}),
                **least.absent,
                **({"peaks.cuda_allocated": memory.REPLAYED} if replays(case) else {}),
                **unwatched(watch),
            },
        )
    )
    if not workspace.profile:
        return measurement
    with torch.no_grad():
        return traced(measurement, workspace, route.one_token(prompts) or step)


def _decode(
    step: Callable[[], Generation], case: Case, watch: Watch, turns: Turns | None, device: torch.device
) -> Decoded:
    """Time generations until the criterion is met. All have the same number of gaps and blocks.

    The first gap of a generation that replays CUDA graphs is left out: what prefill left is copied to their inputs.
    """
    generations: list[Generation] = []
    left_out = 1 if replays(case) else 0

    def gaps() -> tuple[float, ...]:
        found = step()
        generations.append(replace(found, gaps=found.gaps[left_out:]))
        return generations[-1].gaps

    found = samples_of(gaps, case, turns, watch, device)
    steps = max(1, len(generations[0].gaps) // BLOCKS)
    return Decoded(
        generations=tuple(generations),
        gaps=found.seconds,
        block_seconds=tuple(block for each in generations for block in block_sums(each.gaps, steps)),
        steps_per_block=steps,
        criterion_met=found.criterion_met,
    )


def block_sums(gaps: Sequence[float], steps: int) -> list[float]:
    """Seconds of whole blocks of ``steps`` gaps; the rest at the end is left out."""
    return [sum(gaps[begin : begin + steps]) for begin in range(0, len(gaps) - steps + 1, steps)]


def _figures(case: Case, decoded: Decoded, prompt_tokens: int, new_tokens: int) -> dict[str, Figure]:
    """Throughput and its facts. The first new token belongs to prefill and is in no block."""
    per_second = case.batch_size * decoded.steps_per_block / statistics.median(decoded.block_seconds)
    return {
        "throughput": Figure(value=per_second, unit="tokens/s", better="higher"),
        "prompt_tokens": Figure(value=prompt_tokens, unit="tokens", exact=True),
        "new_tokens": Figure(value=new_tokens, unit="tokens", exact=True),
        "steps_per_block": Figure(value=decoded.steps_per_block, unit="steps"),
        "criterion_met": Figure(value=float(decoded.criterion_met), unit="yes=1"),
    }


def _energy(route: LanguageRoute, prompts: Tensor, tokens: int, budget: str) -> tuple[float | None, str | None]:
    """Joules of a decode step, or the reason why unknown, from untimed generations without their prefill."""
    meter = meter_of(route.device)
    if not meter.counters:
        return None, meter.why_absent
    firsts: list[Reading] = []
    total, steps = 0.0, 0
    end = time.perf_counter() + seconds_of(route.device, budget)
    while meter.why_absent is None and time.perf_counter() < end:
        route.generate(prompts, tokens, lambda: firsts.append(meter.read()))
        total += meter.used(firsts[-1], meter.read()) or 0.0
        steps += tokens - 1
    joules = total / steps if total and meter.why_absent is None else None
    return joules, why_no_energy(meter, joules)
