"""Single layers: from which width and batch size on does each precision win?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    layers = plan.layers
    if layers is None:
        return
    for repeat in range(plan.repeats):
        for kind, widths in layers.widths.items():
            for width, batch_size, mode in itertools.product(widths, layers.batch_sizes, layers.modes):
                for precision in layers.precisions:
                    yield {
                        "kind": kind,
                        "width": width,
                        "precision": precision,
                        "mode": mode,
                        "batch_size": batch_size,
                        "repeat": repeat,
                    }


def test_layers(
    measure: Any, plan: Plan, kind: str, width: int, precision: str, mode: str, batch_size: int, repeat: int
) -> None:
    measure(plan.layer(kind, width=width, precision=precision, mode=mode, batch_size=batch_size, repeat=repeat))
