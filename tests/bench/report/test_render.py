"""Files in, report out: one golden report a kind of run, and what holds of every report."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.core.records import Divergence, Peak
from bench.report.__main__ import main
from bench.report.parts import WIDEST
from bench.report.render import render
from tests.bench.report.conftest import TRUTH

GOLDEN = Path(__file__).parent / "golden"
"""Reports as they should be. To write them anew after a change that is meant: HALFBYTE_GOLDEN=write pytest …"""


def classifiers(make: Any) -> list[Any]:
    """Two routes in turns beside the reference and its twin, one of one process, an unsupported and a failed case."""
    wrong = (*TRUTH[:9], 0)
    divergence = Divergence(kl_mean=0.012, kl_standard_error=0.001, kl_p99=0.3, same_top=0.9, samples=10)
    peaks = (Peak(phase="load", kind="rss", bytes=12_000_000), Peak(phase="steady", kind="rss", bytes=3_000_000))
    native = {"runtime": "openvino", "mode": "native", "precision": "int8_static", "weight_bytes": 45_000}
    return [
        make.in_turns([[1.0] * 3] * 3, labels=TRUTH, peaks=peaks),
        make.in_turns([[1.01] * 3, [0.99] * 3, [1.0] * 3], labels=TRUTH, options=(("twin", True),)),
        make.in_turns([[4.0] * 3, [4.1] * 3, [3.9] * 3], labels=wrong, divergence=divergence, peaks=peaks, **native),
        make.in_turns([[2.0] * 3, [2.1] * 3, [2.0] * 3], labels=TRUTH, mode="compiled", peaks=peaks),
        make.inference([0.002] * 30, labels=TRUTH, precision="nf4", bits=(4, 32), shares=(0.9, 0.0)),
        make.failure("unsupported", "no compiler", precision="int8_static", mode="compiled"),
        make.failure("out_of_memory", "12 GB of 8", model="vit_b_16", batch_size=32),
        make.ceilings(1e10, float32=1e11),
    ]


def languages(make: Any) -> list[Any]:
    rows: list[Any] = []
    for precision, step, nats in (("fp32", 40.0, 1.0), ("bf16", 20.0, 1.001), ("nf4", 10.0, 1.2)):
        facts = {"precision": precision, "weight_bytes": {"fp32": 538e6, "bf16": 269e6, "nf4": 110e6}[precision]}
        facts["weight_bytes"] = int(facts["weight_bytes"])
        scored = [nats * (200 + place % 5) for place in range(40)]
        rows += [make.load_of(**facts), make.prefill(6 * step, **facts), make.decode(step, **facts)]
        rows += [make.perplexity(scored, [100] * 40, **facts), make.chat(said=f"I am {precision}.", **facts)]
    return rows


def trainings(make: Any) -> list[Any]:
    ladder = []
    for seed in range(3):
        for rung, (pipeline, seconds) in enumerate((("dataloader", 10.0), ("tensor", 5.0 + 0.1 * seed))):
            base = make.training(0.6 + 0.01 * rung, seconds=(seconds,) * 3, seed=seed)
            case = {"experiment": "ladder", "pipeline": pipeline, "options": (("rung", rung),)}
            ladder.append(_recased(base, **case))
    return [*(make.training(value, value - 0.01, seed=seed) for seed, value in enumerate((0.64, 0.65, 0.66))), *ladder]


def _recased(measurement: Any, **case: Any) -> Any:
    import dataclasses

    return dataclasses.replace(measurement, case=dataclasses.replace(measurement.case, **case))


KINDS = {"classifiers": classifiers, "languages": languages, "trainings": trainings}


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_is_as_it_should_be(make: Any, tmp_path: Path, kind: str) -> None:
    path = make.write(tmp_path / "run.json", KINDS[kind](make))
    text = render([path], tmp_path / "out").summary.read_text(encoding="utf-8")
    golden = GOLDEN / f"{kind}.md"
    if os.environ.get("HALFBYTE_GOLDEN") == "write":
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_no_table_is_too_wide_and_every_link_leads_somewhere(make: Any, tmp_path: Path, kind: str) -> None:
    text = render([make.write(tmp_path / "run.json", KINDS[kind](make))], tmp_path / "out").summary.read_text()
    assert max(line.count("|") - 1 for line in text.splitlines() if line.startswith("|")) <= WIDEST
    for figure in re.findall(r"\(figures/([^)]*)\)", text):
        assert (tmp_path / "out" / "figures" / figure).is_file()


def test_the_same_input_gives_the_same_bytes(make: Any, tmp_path: Path) -> None:
    path = make.write(tmp_path / "run.json", [*classifiers(make), *trainings(make)])
    for name in ("one", "two"):
        render([path], tmp_path / name)
    one, two = ({file.name: file.read_bytes() for file in files(tmp_path / name)} for name in ("one", "two"))
    assert one == two
    assert {"summary.md", "index.html", "measurements.csv", "answer-cnn_small-1.svg"} <= set(one)


def test_figures_of_an_earlier_report_go_and_nothing_else(make: Any, tmp_path: Path) -> None:
    render([make.write(tmp_path / "run.json", trainings(make))], tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "learning-curves-cifar10-jpeg-1.svg").exists()
    (tmp_path / "out" / "figures" / "mine.png").write_bytes(b"")
    render([make.write(tmp_path / "run.json", [make.inference()], datasets=[])], tmp_path / "out")
    assert [file.name for file in (tmp_path / "out" / "figures").iterdir()] == ["mine.png"]


def test_the_screen_is_printed_where_it_is_asked_for(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(make.write(tmp_path / "run.json", classifiers(make)))
    assert main(["render", path, "--out", str(tmp_path / "out"), "--screen"]) == 0
    assert "How to run it on this machine" in capsys.readouterr().out
    assert main(["render", path, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines() == [f"report: {tmp_path / 'out' / 'summary.md'}"]


def test_a_margin_changes_the_pick(make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(make.write(tmp_path / "run.json", classifiers(make)))
    for margin, route in (("1", "PyTorch fp32 eager"), ("90", "OpenVINO int8_static")):
        main(["render", path, "--out", str(tmp_path / "out"), "--screen", "--max-drop", margin])
        assert f"cnn_small: {route}." in capsys.readouterr().out
    assert main(["render", path, "--out", str(tmp_path / "out"), "--max-drop", "x"]) == 2


def test_two_machines_stand_side_by_side(make: Any, tmp_path: Path) -> None:
    paths = [
        make.write(tmp_path / "a.json", [make.inference([0.001] * 30)]),
        make.write(tmp_path / "b.json", [make.inference([0.002] * 30)], machine=make.machine(cpu="Another CPU")),
    ]
    text = render(paths, tmp_path / "out").summary.read_text()
    (row,) = make.table(text, "M2 cpu")
    assert (row["M1 cpu, ms ↓"], row["M2 cpu, ms ↓"]) == ("1.00", "2.00")


def test_steps_between_versions_are_told(make: Any, tmp_path: Path) -> None:
    facts = [
        {"fingerprint": name * 16, "commit": name * 8, "started": f"2030-01-0{day}T00:00:00"}
        for day, name in ((1, "a"), (2, "b"))
    ]
    paths = [
        make.write(tmp_path / f"{place}.json", [make.inference([seconds] * 30)], **fact)
        for place, (seconds, fact) in enumerate(zip((0.001, 0.002), facts, strict=True))
    ]
    text = render(paths, tmp_path / "out").summary.read_text()
    (row,) = make.table(text, "step")
    assert row["step"] == "slower, 0.50 ×"


def test_the_method_is_linked_from_wherever_the_report_lies(tmp_path: Path) -> None:
    from bench.report.render import _method_link

    checkout = Path(bench.__file__).resolve().parents[1]
    assert _method_link(checkout / "reports") == "../docs/method.md"
    assert _method_link(tmp_path) is None


def test_rendering_needs_no_torch(make: Any, tmp_path: Path) -> None:
    path = make.write(tmp_path / "run.json", classifiers(make))
    program = (
        "import sys; from bench.report.__main__ import main; "
        f"assert main(['render', {str(path)!r}, '--out', {str(tmp_path / 'out')!r}]) == 0; "
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    checkout = Path(bench.__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", program], cwd=checkout, check=True, env={**os.environ, "PYTHONPATH": "."})


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]
