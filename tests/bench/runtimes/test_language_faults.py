"""Language models in each runtime: a full disk fails by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.precisions import PRECISIONS
from bench.core.runtimes import why_not
from bench.runtimes.language_route import LanguageOrder
from models.language_files import folder_of, packaged_file
from tests.bench.runtimes.test_language_runtimes import ROUTES, SPEC, prepared
from tests.runs import small_disk_at

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module", autouse=True)
def _every_runtime_is_installed() -> None:
    for runtime, precision in ROUTES:
        reason = why_not(runtime, precision, "native", "cpu", kind="languages")
        if reason:
            pytest.skip(reason)


@pytest.fixture
def order(language_data: Path, tmp_path: Path) -> LanguageOrder:
    return LanguageOrder(
        name=SPEC.name,
        checkpoint=folder_of(SPEC, language_data / "cache", lambda line: None),
        gguf=packaged_file(SPEC.location),
        layers=SPEC.layers,
        precision=PRECISIONS["fp32"],
        threads=1,
        room=64,
        files=tmp_path / "disk" / "converted",
        fresh=False,
    )


@pytest.mark.parametrize(("runtime", "precision"), ROUTES)
def test_a_full_disk_is_no_fault_of_the_model(
    order: LanguageOrder, tmp_path: Path, runtime: str, precision: str
) -> None:
    """OpenVINO's has room for the GGUF files that Python writes: the model's weights are then written in C++."""
    with small_disk_at(tmp_path / "disk", "180m" if runtime == "openvino" else "20m") as disk:
        with pytest.raises(OSError, match=r"No space left|Not enough free space"):
            prepared(runtime, replace(order, precision=PRECISIONS[precision]))
        assert not list(disk.rglob("*.partial"))
