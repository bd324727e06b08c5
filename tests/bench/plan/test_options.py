"""One table of options: pytest's, the document's and the plan's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.plan.options import OPTIONS, add_options, markdown, read

ROOT = Path(__file__).resolve().parents[3]


def test_the_document_has_the_table() -> None:
    assert markdown() in (ROOT / "docs" / "options.md").read_text()


def test_the_readme_names_no_other_option() -> None:
    """Of those that begin a row of a table there."""
    rows = re.findall(r"^\| (`--[^|]*)", (ROOT / "README.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"--[\w-]+", row)}
    assert named <= {option.name for option in OPTIONS}


def test_pytest_knows_each_with_its_default() -> None:
    added: dict[str, Any] = {}
    add_options(lambda name, **settings: added.update({name: settings}))
    assert list(added) == [option.name for option in OPTIONS]
    assert all(f"Default: {option.default_in_words}." in added[option.name]["help"] for option in OPTIONS)
    assert added["--isolation"]["choices"] == ("process", "none")
    assert added["--resume"]["action"] == "store_true"


def test_values_are_checked_and_converted() -> None:
    given = {"batch_sizes": "1,32,1", "seeds": "2,0", "repeats": 3, "device": "cpu"}
    values = read(given.get)
    assert set(values) == {option.key for option in OPTIONS}
    assert (values["batch_sizes"], values["seeds"], values["repeats"]) == ((32, 1), (0, 2), 3)
    assert (values["dataset"], values["track"], values["models"]) == ("auto", ("tensorboard",), None)


def test_a_refusal_names_the_option() -> None:
    with pytest.raises(InputError, match="--batch-sizes 1,x is not a list of whole numbers, like 1,32"):
        read({"batch_sizes": "1,x"}.get)
