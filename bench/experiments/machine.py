"""Experiments about the machine itself: its ceilings, and its noise floor (A/A)."""

from __future__ import annotations

import torch

from bench.core.budgets import BUDGETS
from bench.core.records import Case, Figure, Measurement
from bench.core.workspace import Workspace
from bench.measure import ceilings, clock, machine
from bench.measure.state import Watch

OF_A_MODEL = dict.fromkeys(
    ("coverage", "energy_joules_per_item", "peaks", "quality", "serialized_bytes", "weight_bytes"),
    "of a model, not of a machine",
)


def run_ceilings(case: Case, workspace: Workspace) -> Measurement:
    """Time large copies, large sums, and matrix products in every number format; ``seconds`` are those of the copies.

    The report relates every row to these ceilings.
    """
    asked, device = BUDGETS[case.budget].ceilings, torch.device(case.device)
    size = asked.cuda_bytes if device.type == "cuda" else asked.cpu_bytes
    clock.warm_up(ceilings.products("float32", asked.sides[0], device)[0], device)
    watch = Watch(device)
    watch()
    moved = {
        "copy": ceilings.copying(size, asked.rounds, device, watch),
        "sum": ceilings.summing(size, asked.rounds, device, watch),
    }
    products, reasons = _products(asked.sides, asked.rounds, device, watch)
    watch.last()
    rates = {**moved, **{f"product_{name}": rate for name, rate in products.items()}}
    return Measurement(
        case=case,
        seconds=moved["copy"].seconds,
        flags=machine.current_flags(),
        device_state=tuple(watch.states),
        figures={
            "bandwidth": Figure(value=max(rate.best for rate in moved.values()), unit="B/s", better="higher"),
            **{
                f"product_{name}": Figure(value=rate.best, unit="FLOP/s", better="higher")
                for name, rate in products.items()
            },
            **{f"{name}_work": Figure(value=rate.work, unit="B or FLOP") for name, rate in rates.items()},
        },
        series={f"{name}_seconds": rate.seconds for name, rate in rates.items()},
        absent={
            **OF_A_MODEL,
            "device_seconds": "work of milliseconds is timed by the wall clock, synchronised at both ends",
            **{f"figures.product_{name}": reason for name, reason in reasons.items()},
            **({"device_state": watch.why_absent} if watch.why_absent else {}),
        },
    )


def _products(
    sides: tuple[int, ...], rounds: int, device: torch.device, watch: Watch
) -> tuple[dict[str, ceilings.Rate], dict[str, str]]:
    """Rates by number format, and the reasons for those without one."""
    found: dict[str, ceilings.Rate] = {}
    reasons: dict[str, str] = {}
    for name in ceilings.FORMATS:
        reason = ceilings.why_not(name, device)
        try:
            if reason is None:
                found[name] = ceilings.multiplying(name, sides, rounds, device, watch)
        except RuntimeError as error:
            reason = f"torch has no such product here: {' '.join(str(error).split())[:200]}"
        if reason is not None:
            reasons[name] = reason
    return found, reasons
