from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.report.render import render

Report = Callable[..., str]


@pytest.fixture
def report(make: Any, tmp_path: Path) -> Report:
    def report(*files: tuple[list[Any], dict[str, Any]]) -> str:
        paths = [make.write(tmp_path / f"{n}.json", outcomes, **suite) for n, (outcomes, suite) in enumerate(files)]
        return render(paths, tmp_path / "out").summary.read_text()

    return report


def rows(make: Any, milliseconds: float, **changes: Any) -> list[Any]:
    return [make.inference([milliseconds / 1e3] * 30, **changes)]


OLD = {"fingerprint": "a" * 16, "started": "2030-01-02T00:00:00+00:00", "commit": "aaa"}
NEW = {"fingerprint": "b" * 16, "started": "2030-01-03T00:00:00+00:00", "commit": "bbb"}


def test_a_step_of_one_machine_is_marked_in_the_order_of_time(make: Any, report: Report) -> None:
    summary = report((rows(make, 1.0), NEW), (rows(make, 2.0), OLD))
    (row,) = make.table(summary, "p50 before [ms]")
    assert row["step"] == "faster, 2.00 ×"
    assert (row["before"], row["after"]) == ("2030-01-02 aaa (M1)", "2030-01-03 bbb (M1)")
    assert (row["p50 before [ms]"], row["p50 after [ms] ↓"]) == ("2.00", "1.00")
    assert "Rows measured at more than one version: 1. Steps: 1, in 1 changes." in summary


def test_what_does_not_show_is_no_step(make: Any, report: Report) -> None:
    summary = report((rows(make, 1.0), OLD), (rows(make, 1.05), NEW))
    assert "Steps: 0, in 1 changes." in summary
    assert " step " not in summary.split("## History")[1].split("\n## ")[0].replace("*step*", "")


def test_bytes_are_exact(make: Any, report: Report) -> None:
    summary = report((rows(make, 1.0), OLD), (rows(make, 1.0, weight_bytes=87_252), NEW))
    assert make.table(summary, "p50 before [ms]")[0]["step"] == "weights 0.175 to 0.0873 MB"


def test_decoding_on_a_cpu_has_its_own_margin(make: Any, report: Report) -> None:
    assert "Steps: 0" in report(([make.decode(40)], OLD), ([make.decode(60)], NEW))
    assert "Steps: 1" in report(([make.decode(40)], OLD), ([make.decode(90)], NEW))


def test_other_hardware_is_no_history_but_stands_side_by_side(make: Any, report: Report) -> None:
    gpu = make.machine(device="cuda", device_name="Example GPU")
    summary = report((rows(make, 8.0), OLD), (rows(make, 1.0, device="cuda"), {**NEW, "machine": gpu}))
    assert "## History" not in summary
    section = summary.split("## Machines side by side")[1].split("\n## ")[0]
    (row,) = make.table(section, "M1 cpu, p50 [ms] ↓")
    assert (row["M1 cpu, p50 [ms] ↓"], row["M2 cuda, p50 [ms] ↓"]) == ("8.00", "1.00")
    assert "M2: Example GPU (Example CPU), 2 cores" in section


def test_other_versions_on_the_same_hardware_are_history(make: Any, report: Report) -> None:
    newer = make.machine(versions={"torch": "2.15.0"})
    summary = report((rows(make, 2.0), OLD), (rows(make, 1.0), {**NEW, "machine": newer}))
    assert make.table(summary, "p50 before [ms]")[0]["after"] == "2030-01-03 bbb (M2)"
    assert "## Machines side by side" not in summary


def test_one_version_has_no_history(make: Any, report: Report) -> None:
    assert "## History" not in report((rows(make, 2.0), OLD), (rows(make, 1.0, repeat=1), OLD))
