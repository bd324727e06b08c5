from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bench
from bench.core.records import Peak
from bench.report.frame import tidy
from bench.report.measurements import csv_of, measurements
from bench.report.render import render


def table_of(run: Any) -> pd.DataFrame:
    return measurements(tidy([run]), [run])


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def test_figures_have_units_reasons_are_json_and_nothing_absent_is_zero(make: Any, run_of: Any) -> None:
    table = table_of(run_of(make.inference(accuracy=None, absent={"quality": "not trained"})))
    line = table.iloc[0]
    assert line["figure: throughput [images/s]"] == 1234.0
    assert line["absent"] == '{"quality": "not trained"}'
    assert line["quality [1]"] is None
    assert line["device median [s]"] is None
    assert "timing" not in table


def test_what_gave_no_measurement_is_a_row_with_its_kind_and_message(make: Any, run_of: Any) -> None:
    broken = [make.failure("crashed", "signal 11", model="net", repeat=repeat) for repeat in range(2)]
    run = run_of(make.inference(), make.failure("unsupported", "no compiler", mode="compiled"), *broken)
    table = read(csv_of(table_of(run)))
    assert list(table["outcome"]) == ["measured", "unsupported", "crashed"]
    assert list(table["message"].fillna("")) == ["", "no compiler", "signal 11"]
    assert list(table["repeats"]) == [1, 1, 2]
    assert list(table["model"]) == ["cnn_small", "cnn_small", "net"]
    assert list(table["row"]) == [run.measurements[0].case.row, *(item.case.row for item in run.failures[:2])]
    assert table["median [s]"].isna().tolist() == [False, True, True]


def test_a_run_in_which_everything_failed_has_a_table(make: Any, run_of: Any) -> None:
    table = read(csv_of(table_of(run_of(make.failure("timed_out", "after 60 s")))))
    assert table[["outcome", "message", "repeats"]].values.tolist() == [["timed_out", "after 60 s", 1]]


def test_every_number_reads_back_as_it_was(make: Any, run_of: Any) -> None:
    figures = {"third": 1 / 3, "tiny": 5e-324, "huge": 1.7976931348623157e308}
    peak = Peak(phase="steady", kind="rss", bytes=2**53 + 1)
    table = table_of(run_of(make.inference([0.1 + 0.2] * 30, 1 / 3, figures=figures, peaks=(peak,))))
    back = read(csv_of(table)).iloc[0]
    numbers = {name: value for name, value in table.iloc[0].items() if isinstance(value, float) and value == value}
    assert len(numbers) > 10
    assert {name: back[name] for name in numbers} == numbers
    assert str(2**53 + 1) in csv_of(table)


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t=", "＝"])
def test_no_text_is_a_formula(make: Any, run_of: Any, begin: str) -> None:
    text = f'{begin}HYPERLINK("x","y")'
    run = run_of(make.inference(model=text), make.failure("error", text))
    table = read(csv_of(table_of(run)))
    assert table["model"][0] == f"'{text}"
    assert table["message"][1] == f"'{text}"


def test_negative_numbers_stay_numbers(make: Any, run_of: Any) -> None:
    assert (
        read(csv_of(table_of(run_of(make.inference(figures={"change": -0.25})))))["figure: change [images/s]"][0]
        == -0.25
    )


def test_breaks_commas_and_quotes_stay_inside_their_cell(make: Any, run_of: Any) -> None:
    message = 'a,b;"c"\r\nd\re\x00\n| é'
    table = read(csv_of(table_of(run_of(make.inference(), make.failure("error", message)))))
    assert len(table) == 2
    assert table["message"][1] == 'a,b;"c"\nd\ne�\n| é'


def test_what_no_encoding_has_does_not_end_the_report(make: Any, tmp_path: Path) -> None:
    path = make.write(tmp_path / "run.json", [make.inference(model="half \ud800 a pair")])
    render([path], tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "measurements.csv")["model"][0] == "half ? a pair"


def test_the_order_is_that_of_the_cases_not_of_the_file(make: Any, run_of: Any) -> None:
    outcomes = [
        *(make.inference(batch_size=size, precision=name) for size in (8, 128) for name in ("bf16", "fp32")),
        *(make.failure("error", "no", batch_size=size) for size in (64, 8)),
    ]
    assert csv_of(table_of(run_of(*outcomes))) == csv_of(table_of(run_of(*outcomes[::-1])))


def test_every_column_is_documented(make: Any, run_of: Any) -> None:
    document = (Path(bench.__file__).resolve().parents[1] / "docs" / "measurements.md").read_text(encoding="utf-8")
    documented = {name for line in document.splitlines() if line.startswith("| `") for name in _named(line)}
    columns = set(table_of(run_of(make.inference(), make.training(), make.layer(), make.decode())))
    plain = {name for name in columns if not name.startswith("figure: ")}
    assert plain == documented - {"figure: NAME [UNIT]"}
    assert "figure: NAME [UNIT]" in documented


def _named(line: str) -> list[str]:
    return re.findall(r"`([^`]+)`", line.split("|")[1])


def test_json_cells_are_json(make: Any, run_of: Any) -> None:
    line = read(csv_of(table_of(run_of(make.inference(notes=("=a", "b")))))).iloc[0]
    assert json.loads(line["notes"]) == ["=a", "b"]
    assert json.loads(line["flags"]) == {"threads": 2, "compute": None}
