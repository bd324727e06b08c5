"""Warnings are errors in the suite's own tests. Not in a run of cases: hours of measuring must not end by one."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LIBRARIES = "ignore::DeprecationWarning:"
IGNORED = (LIBRARIES + "torch.*", LIBRARIES + "torchvision.*", LIBRARIES + "mlxtend.*")
"""Deprecations that libraries meet inside themselves are not ours to mend."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS):
            for line in IGNORED:  # the first marker is applied last, and wins
                item.add_marker(pytest.mark.filterwarnings(line))
            item.add_marker(pytest.mark.filterwarnings("error"))
