"""Single layers: from which width and batch size on does each precision win?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.core.records import Case
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    layers = plan.layers
    if layers is None:
        return
    for kind, widths in layers.widths.items():
        for width, batch_size, mode in itertools.product(widths, layers.batch_sizes, layers.modes):
            for precision in layers.precisions:
                yield {"kind": kind, "width": width, "precision": precision, "mode": mode, "batch_size": batch_size}


def requested(plan: Plan, *, kind: str, **row: Any) -> tuple[Case, Case | None]:
    return plan.layer(kind, **row), None


def test_layers(measure: Any, plan: Plan, kind: str, width: int, precision: str, mode: str, batch_size: int) -> None:
    measure(*requested(plan, kind=kind, width=width, precision=precision, mode=mode, batch_size=batch_size))
