"""Warnings are errors in the suite's own tests. Not in a run of cases: hours of measuring must not end by one."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LIBRARIES = "ignore::DeprecationWarning:"
IGNORED = (
    *(LIBRARIES + f"{name}.*" for name in ("torch", "torchvision", "mlxtend")),
    *(f"ignore::UserWarning:{name}.*" for name in ("torch._inductor", "torchao", "bitsandbytes")),
    # Some torch from 2.9 on says so of the switches of TF32 that every torch has; 2.14 no longer does.
    "ignore:Please use the new API settings to control TF32 behavior:UserWarning",
)
"""Deprecations that libraries meet inside themselves, and what quantisation libraries say of layers that they leave out
or round, are not ours to mend."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS):
            item.add_marker(pytest.mark.filterwarnings("error", *IGNORED))  # in one marker the last one wins
