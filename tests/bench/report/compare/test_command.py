from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.report.__main__ import main
from bench.report.compare.document import document

HOSTILE = "a|b`c\n# d\r\n<e>\\*[f](g)"


def write(make: Any, folder: Path, *outcomes: Any, **suite: Any) -> str:
    return str(make.write(folder / "run.json", outcomes, **suite))


def test_the_exit_status_tells_the_verdict(make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(make, tmp_path / "old", make.inference(weight_bytes=1000))
    assert main(["compare", old, old]) == 0
    assert capsys.readouterr().out.startswith("**No regression found. 1 case in both runs. ")
    new = write(make, tmp_path / "new", make.inference(weight_bytes=1001))
    assert main(["compare", old, new]) == 1
    assert capsys.readouterr().out.startswith("**Regression: 2 exact quantities. 1 case in both runs. ")
    assert main(["compare", new, old]) == 0


def test_incomparable_runs_are_refused_unless_asked_for(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write(make, tmp_path / "old", make.inference())
    new = write(make, tmp_path / "new", make.inference(), machine=make.machine(driver="600.1", cores=4))
    assert main(["compare", old, new]) == 2
    refusal = capsys.readouterr().out
    assert refusal.startswith("**Not comparable: cores and driver not the same in both runs. Nothing was compared")
    rows = make.table(refusal, "condition")
    assert [(row["condition"], row["OLD"], row["NEW"]) for row in rows] == [
        ("cores", "2", "4"),
        ("driver", "–", "600.1"),
    ]
    assert "## Times" not in refusal
    assert main(["compare", old, new, "--anyway"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("**Not comparable (cores and driver not the same), compared anyway. No regression found.")
    assert "Every figure below has to be read with that." in told
    assert make.table(told, "condition") == rows
    assert "## Times" in told


@pytest.mark.parametrize("content", ["", "{", '{"benchmarks": []}', None])
def test_bad_input_is_one_line(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    good, bad = write(make, tmp_path / "old", make.inference()), tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content)
    for pair in ([good, str(bad)], [str(bad), good]):
        assert main(["compare", *pair]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1
        assert "bad.json" in captured.err


def test_the_markdown_goes_where_it_should(make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(make, tmp_path / "old", make.inference())
    out = tmp_path / "new folder" / "compared.md"
    assert main(["compare", old, old, "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [out.read_text().splitlines()[0], f"comparison: {out}"]
    assert main(["compare", old, old, "--out", str(tmp_path)]) == 2
    assert "name another file with --out" in capsys.readouterr().err


def test_times_stand_in_the_table(noisy: Any, repeats: Any, compared: Any, make: Any) -> None:
    old, new = (repeats(seconds) for seconds in ([0.01] * 6, [0.012, 0.0121, 0.0122, 0.0123, 0.0124, 0.0125]))
    text = document(compared(old, new))
    row = make.table(text, "NEW / OLD")[0]
    assert (row["outcome"], row["what"]) == ("worse", "PyTorch fp32 eager, batch 1, latency")
    assert (row["OLD"], row["NEW"], row["NEW / OLD"][:4]) == ("10.0 ms (6)", "12.2 ms (6)", "1.22")
    assert text.startswith("**Regression: 1 timed row. 1 case in both runs. Of 2 timed rows: 1 worse and 1 same.**")


def test_rows_that_cannot_be_told_are_in_the_first_line(repeats: Any, compared: Any) -> None:
    first = document(compared(repeats([0.01] * 4), repeats([0.02] * 4))).splitlines()[0]
    assert first == "**No regression found. 1 case in both runs. Of 2 timed rows: 2 cannot tell.**"


def test_no_name_breaks_the_markdown(make: Any, compared: Any) -> None:
    """Names of networks, options and data, messages and versions are text, whatever they hold."""
    hostile = {"model": HOSTILE, "dataset": HOSTILE, "options": ((HOSTILE, HOSTILE),)}
    old = [make.inference(), make.inference(weight_bytes=10, **hostile), make.inference(recipe=HOSTILE, model="x")]
    new = [
        make.inference(),
        make.inference(weight_bytes=11, **{**hostile, "options": (*hostile["options"], ("z", HOSTILE))}),
        make.failure("crashed", HOSTILE, recipe=HOSTILE, model="x"),
    ]
    suites = [
        {
            "machine": make.machine(cpu=version, versions={"torch": version}),
            "datasets": [make.dataset(), make.dataset(name=HOSTILE, spec=HOSTILE, digest=version)],
            "commit": HOSTILE,
        }
        for version in (HOSTILE, HOSTILE + "2")
    ]
    for anyway in (False, True):
        text = document(compared(old, new, old=suites[0], new=suites[1], anyway=anyway))
        tables = [line for line in text.splitlines() if line.startswith("|")]
        widths = [len(line.split("|")) for line in tables]
        headings = [index for index, line in enumerate(tables) if set(line) <= set("|:-")]
        for start, end in zip(headings, [*(index - 1 for index in headings[1:]), len(tables)], strict=True):
            assert set(widths[start - 1 : end]) == {widths[start]}
        assert not any(sign in text for sign in ("<e>", "b`c", "](g)"))
        assert not any(line.startswith("# d") for line in text.splitlines())
        assert text.splitlines()[0].startswith("**Not comparable")
        assert "data set a&#124;b" in text.splitlines()[0]


def test_comparing_needs_no_torch_and_no_matplotlib(make: Any, tmp_path: Path) -> None:
    path = write(make, tmp_path, *(make.inference(repeat=repeat) for repeat in range(5)))
    program = (
        "import sys; from bench.report.__main__ import main; "
        f"assert main(['compare', {path!r}, {path!r}]) == 0; "
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    checkout = Path(bench.__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", program], cwd=checkout, check=True, env={**os.environ, "PYTHONPATH": "."})
