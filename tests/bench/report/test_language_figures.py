from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report.frame import rows_of, tidy
from bench.report.language_figures import _draw, _rows, decoding_figure
from bench.report.language_lines import EXPERIMENTS, LanguageGroup, language_groups
from bench.report.render import render


def groups_of(run: Any) -> tuple[LanguageGroup, ...]:
    frame = tidy([run])
    return language_groups([row for name in EXPERIMENTS for row in rows_of(frame, name)])


def test_each_model_has_a_picture_that_goes_when_it_is_stale(make: Any, tmp_path: Path) -> None:
    hub = {"model": "meta-llama/Meta-Llama-3-8B"}
    outcomes = [
        make.decode(),
        make.decode(budget="full"),
        make.decode(20, precision="nf4"),
        make.decode(**hub),
        make.load_of(model="unsaid"),
    ]
    path = make.write(tmp_path / "run.json", outcomes)
    summary = render([path], tmp_path / "out").summary.read_text()
    figures = tmp_path / "out" / "figures"
    drawn = {file.name: file.read_bytes() for file in figures.glob("language-*")}
    assert set(drawn) == {"language-smollm2-135m.svg", "language-meta-llama-Meta-Llama-3-8B.svg"}
    assert all(summary.count(f"(figures/{name})") == 1 for name in drawn)
    render([path], tmp_path / "again")
    assert all((tmp_path / "again" / "figures" / name).read_bytes() == svg for name, svg in drawn.items())
    render([make.write(tmp_path / "run.json", [make.decode()])], tmp_path / "out")
    assert [file.name for file in figures.glob("language-*")] == ["language-smollm2-135m.svg"]


def test_dots_stand_at_the_throughput_and_bars_at_the_limit(make: Any, run_of: Any) -> None:
    unlimited = make.decode(20, precision="nf4", figures={"bytes_per_step": 0})
    (group,) = groups_of(run_of(make.decode(40, 0.5), make.decode(80, batch_size=4), unlimited))
    (axes,) = _draw([(group, _rows(group))]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fp32 eager", "nf4 eager"]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["memory limit"].get_xdata()) == [50.0]
    assert list(axes.containers[0].lines[0].get_xdata()) == [25.0, 50.0]
    assert axes.get_title(loc="left") == "smollm2-135m, batch 1"


def test_groups_of_one_model_are_panels(make: Any, run_of: Any) -> None:
    groups = groups_of(run_of(make.decode(), make.decode(budget="full"), make.prefill(budget="smoke")))
    picture = _draw([(group, _rows(group)) for group in groups if _rows(group)])
    assert [axes.get_title(loc="left").split(", ")[-1] for axes in picture.axes] == ["budget full", "budget quick"]
    assert decoding_figure([group for group in groups if not _rows(group)]) is None
