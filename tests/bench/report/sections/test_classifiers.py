"""Tables of a network: a route that is slower than the reference says why."""

from __future__ import annotations

from typing import Any

from bench.core.runtimes import REASON_KEY, Reason
from bench.report.printers.markdown import document
from bench.report.sections.classifiers import classifiers_section

REASON = Reason(kind="weights converted at each call", operator="aten::mul", share=0.43)


def test_a_slower_route_names_its_reason_and_a_faster_one_does_not(make: Any, content_of: Any) -> None:
    texts = {REASON_KEY: str(REASON)}
    rows = [
        make.inference([4e-3] * 30),
        make.inference([9e-3] * 30, precision="nf4", texts=texts),
        make.inference(
            [1e-3] * 30, precision="bf16", texts={REASON_KEY: str(Reason(**{**vars(REASON), "share": 0.2}))}
        ),
    ]
    section = classifiers_section(content_of(*rows))
    assert section is not None
    text = document([section])
    (line,) = [line for line in text.splitlines() if REASON.kind in line]
    assert {"nf4 eager", "weights converted at each call, 43 % (aten::mul)"} <= {
        cell.strip().strip("*") for cell in line.split("|")
    }
