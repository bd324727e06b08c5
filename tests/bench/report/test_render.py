from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bench
from bench.core.records import Cold, Peak
from bench.report.render import render


def seeds(make: Any, *accuracies: float, **changes: Any) -> list[Any]:
    return [make.training(value, value - 0.01, seed=seed, **changes) for seed, value in enumerate(accuracies)]


def test_training_stands_beside_what_the_note_published(make: Any, summary_of: Any) -> None:
    row = make.table(summary_of(*seeds(make, 0.64, 0.65, 0.66)), "published [%]")[0]
    assert row["model"] == "cnn_small"
    assert row["seeds"] == "3 (0, 1, 2)"
    assert (row["trained on [images]"], row["tested on [images]"]) == ("50,000", "10,000")
    # sqrt(0.65 * 0.35 / 10000 + 0.01^2 / 3) = 0.0075; the published seed adds sqrt(0.6486 * 0.3514 / 10000 + 0.01^2)
    assert row["test accuracy, corrected [%] ↑"] == "65.00 ± 0.75"
    assert row["between seeds [%]"] == "64.00 to 66.00, s 1.00"
    assert row["as the note measured [%] ↑"] == "64.00 ± 0.75"
    assert row["published [%]"] == "64.86"
    assert row["difference [points]"] == "-0.86 ± 1.34"
    assert row["published loss"] == "1.0315"


def test_a_training_that_is_not_the_published_one_is_not_compared(make: Any, summary_of: Any) -> None:
    shortened = seeds(make, 0.5, images=2_000)
    assert make.table(summary_of(*shortened), "published [%]")[0]["difference [points]"] == "shortened"
    other = [make.dataset(classes=list("0123456789"))]
    assert (
        make.table(summary_of(*seeds(make, 0.5), datasets=other), "published [%]")[0]["difference [points]"]
        == "other data"
    )


def test_held_out_recipes_show_chosen_and_last_epoch(make: Any, summary_of: Any) -> None:
    figures = {"test_accuracy_chosen": 0.66, "test_accuracy_last": 0.65, "validation_accuracy": 0.67, "chosen_epoch": 7}
    summary = summary_of(make.training(0.66, recipe="note4_cnn_small_heldout", figures=figures))
    row = make.table(summary, "chosen epoch")[0]
    assert row["chosen epoch"] == "7"
    assert row["test accuracy, chosen epoch [%] ↑"] == "66.00 ± 0.47"
    assert row["test accuracy, last epoch [%] ↑"] == "65.00 ± 0.48"
    assert "published [%]" not in summary


def test_inference_rows_hold_exactly_the_numbers(make: Any, summary_of: Any) -> None:
    peaks = (Peak(phase="load", kind="rss", bytes=12_000_000), Peak(phase="steady", kind="rss", bytes=3_000_000))
    row = make.inference([0.002] * 36 + [0.0024] * 36, peaks=peaks, cold=Cold(load=0.5, first_step=0.25))
    summary = summary_of(row, make.inference([0.001] * 30, mode="compiled", cold=Cold(compile=12.5)))
    eager, compiled = make.table(summary, "p50 [ms] ↓")
    assert eager["p50 [ms] ↓"] == "2.20 ± 0.20"
    assert eager["accuracy [%] ↑"] == "70.00 ± 0.46"
    assert eager["throughput [images/s] ↑"] == "1,234"
    assert eager["speed-up over fp32 eager [×] ↑"] == "baseline"
    assert compiled["speed-up over fp32 eager [×] ↑"] == "2.20 (2.00 to 2.40)"
    assert eager["weights [MB] ↓"] == "0.175"
    assert eager["steady peak, process [MB] ↓"] == "3.00"
    assert make.table(summary, "p95 [ms] ↓")[0]["p95 [ms] ↓"] == "2.40"
    assert "device, p50 [ms] ↓" not in summary
    memory = make.table(summary, "load [s] ↓")[0]
    assert memory["load peak, process [MB] ↓"] == "12.0"
    assert memory["load [s] ↓"] == "0.500"
    assert "fp32 compiled against fp32 eager, in 1 pair of rows: faster in 1 (2.20 ×). Compiling took 12.5 s" in summary


def test_rows_carry_their_marks_and_reasons(make: Any, summary_of: Any) -> None:
    absent = {"quality": "not trained in this budget"}
    summary = summary_of(
        make.inference([0.001] * 29 + [0.009], None, absent=absent, figures={"criterion_met": 0.0}),
    )
    row = make.table(summary, "p50 [ms] ↓")[0]
    assert row["accuracy [%] ↑"] == "not trained"
    assert row["marks"] == "unstable: spread and extremes; criterion not met"
    reason = make.table(summary, "field")[0]
    assert reason == {"experiment": "inference", "field": "quality", "reason": absent["quality"], "rows": "all 1"}


def test_only_what_can_be_told_apart_is_a_finding(make: Any, summary_of: Any) -> None:
    near = seeds(make, 0.65) + seeds(make, 0.655, model="other", recipe="user")
    assert "Most accurate" not in summary_of(*near)
    far = seeds(make, 0.65) + seeds(make, 0.75, model="other", recipe="user")
    assert "Most accurate on cifar10-jpeg, each network by its own recipe: other (user) with 75.00" in summary_of(*far)
    noisy = [0.001, 0.002] * 15
    alike = make.inference(noisy), make.inference(noisy[::-1], model="other")
    assert "Shortest latency" not in summary_of(*alike)


def test_failures_stand_in_the_report_with_their_reasons(make: Any, summary_of: Any) -> None:
    summary = summary_of(
        make.failure("out_of_memory", "12 GB | of `8`\n<GPU>", model="net.py:Net"),
        *(make.failure("unsupported", "no compiler", mode="compiled", batch_size=size) for size in (1, 8)),
    )
    failed, unsupported = make.table(summary, "reason"), make.table(summary.split("cannot run here")[1], "reason")
    assert failed[0]["reason"] == "12 GB &#124; of &#96;8&#96;<br>&lt;GPU&gt;"
    assert failed[0]["model"] == "net.py:Net"
    assert (unsupported[0]["batch"], unsupported[0]["cases"]) == ("1, 8", "2")
    assert "Nothing: nothing was measured." in summary
    assert "## Inference" not in summary


def test_a_smoke_run_says_that_its_figures_mean_nothing(make: Any, summary_of: Any) -> None:
    summary = summary_of(make.inference(budget="smoke"), budget="smoke")
    assert "**SMOKE RUN: these figures mean nothing.**" in summary
    assert "Nothing: the smoke budget's figures mean nothing." in summary
    assert "SMOKE" not in summary_of(make.inference())


def test_user_names_break_neither_table_nor_path(make: Any, tmp_path: Path) -> None:
    name = "../a|b $x$/ü"
    spec = f"/data/{name}"
    path = make.write(
        tmp_path / "run.json",
        [make.training(dataset=spec, model=r"网$\net_1$.py:N|t")],
        datasets=[make.dataset(name=name, spec=spec), make.dataset(name="a-b-x-", spec="/other")],
    )
    summary = render([path], tmp_path / "out").summary.read_text()
    figures = sorted(file.name for file in (tmp_path / "out" / "figures").iterdir())
    assert figures == ["augmented-a-b-x.2.png", "augmented-a-b-x.png", "learning-curves-a-b-x.svg"]
    assert all(f"(figures/{file})" in summary for file in figures)
    assert "网&#36;&#92;net_1&#36;.py:N&#124;t" in summary


def test_two_machines_are_told_apart(make: Any, tmp_path: Path) -> None:
    paths = [
        make.write(tmp_path / "a.json", [make.inference()]),
        make.write(tmp_path / "b.json", [make.inference()], machine=make.machine(cpu="Another CPU")),
    ]
    summary = render(paths, tmp_path / "out").summary.read_text()
    assert [row["machine"] for row in make.table(summary, "p50 [ms] ↓")] == ["M1", "M2"]
    assert "Another CPU" in summary


def test_the_same_input_gives_the_same_bytes(make: Any, tmp_path: Path) -> None:
    path = make.write(tmp_path / "run.json", [*seeds(make, 0.64, 0.66), make.inference()])
    for name in ("one", "two"):
        render([path], tmp_path / name)
    one, two = ({file.name: file.read_bytes() for file in files(tmp_path / name)} for name in ("one", "two"))
    assert one == two
    assert set(one) == {
        "summary.md",
        "index.html",
        "measurements.csv",
        "augmented-cifar10-jpeg.png",
        "learning-curves-cifar10-jpeg.svg",
    }


def test_figures_of_an_earlier_report_go(make: Any, tmp_path: Path) -> None:
    render([make.write(tmp_path / "run.json", seeds(make, 0.64))], tmp_path / "out")
    (tmp_path / "out" / "figures" / "mine.png").write_bytes(b"")
    render([make.write(tmp_path / "run.json", [make.inference()], datasets=[])], tmp_path / "out")
    assert [file.name for file in (tmp_path / "out" / "figures").iterdir()] == ["mine.png"]


def test_the_method_is_linked_from_wherever_the_report_lies(make: Any, tmp_path: Path) -> None:
    from bench.report.render import _method_link

    checkout = Path(bench.__file__).resolve().parents[1]
    assert _method_link(checkout / "reports") == "../docs/method.md"
    assert _method_link(checkout / "reports" / "published" / "machine") == "../../../docs/method.md"
    assert _method_link(tmp_path) is None


def test_rendering_needs_no_torch(make: Any, tmp_path: Path) -> None:
    path = make.write(tmp_path / "run.json", [*seeds(make, 0.64), make.inference()])
    program = (
        "import sys; from bench.report.__main__ import main; "
        f"assert main(['render', {str(path)!r}, '--out', {str(tmp_path / 'out')!r}]) == 0; "
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    checkout = Path(bench.__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", program], cwd=checkout, check=True, env={**os.environ, "PYTHONPATH": "."})


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def test_cases_that_were_left_out_by_selection_are_counted(make: Any, tmp_path: Path) -> None:
    file = make.write(tmp_path / "run.json", [make.inference()], deselected=3)
    summary = render([file], tmp_path / "out").summary.read_text()
    assert "1 cases measured, 0 failed, 0 unsupported, 3 left out by selection." in summary


def test_one_process_does_not_make_a_network_the_fastest_by_a_tenth(make: Any, summary_of: Any) -> None:
    rows = [make.inference([0.001] * 30), make.inference([0.00105] * 30, model="other")]
    assert "Shortest latency" not in summary_of(*rows)
    again = [make.inference([0.001001] * 30, repeat=1), make.inference([0.001051] * 30, model="other", repeat=1)]
    assert "Shortest latency at 32 px, batch 1: cnn_small" in summary_of(*rows, *again)
