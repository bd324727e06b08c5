"""The table of language models, and what a reference of the user's own means."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import LANGUAGE_MODELS, ModelError, language_model


def test_names_agree_with_the_table() -> None:
    assert all(name == spec.name for name, spec in LANGUAGE_MODELS.items())
    assert language_model("smollm2-135m") is LANGUAGE_MODELS["smollm2-135m"]


def test_only_the_drawn_one_is_random_and_what_figures_need_saying_is_said() -> None:
    assert [name for name, spec in LANGUAGE_MODELS.items() if spec.random] == ["llama3-8b-shape"]
    assert all(spec.caveat for spec in LANGUAGE_MODELS.values())
    assert "4-bit already" in str(LANGUAGE_MODELS["smollm2-135m"].caveat)


def test_a_folder_is_found_by_its_path(tmp_path: Path) -> None:
    spec = language_model(str(tmp_path))
    assert (spec.origin, spec.location, spec.caveat) == ("folder", str(tmp_path), None)


def test_owner_and_name_are_of_the_hub() -> None:
    spec = language_model("meta-llama/Meta-Llama-3-8B-Instruct")
    assert (spec.origin, spec.location) == ("hub", "meta-llama/Meta-Llama-3-8B-Instruct")


def test_an_unknown_name_is_no_key() -> None:
    with pytest.raises(KeyError):
        language_model("smollm3")


@pytest.mark.parametrize("reference", ["./nowhere", "/no/such/folder", "a/b/c"])
def test_what_is_neither_folder_nor_hub_id_is_refused(reference: str) -> None:
    with pytest.raises(ModelError, match="there is no such folder, and a hub id reads OWNER/NAME"):
        language_model(reference)


def test_a_file_is_refused() -> None:
    with pytest.raises(ModelError, match="is a file: give the folder"):
        language_model(__file__)
