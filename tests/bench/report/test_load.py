from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.report.__main__ import main
from bench.report.load import load, load_all


@pytest.fixture
def good(make: Any, tmp_path: Path) -> Path:
    path: Path = make.write(tmp_path / "good.json", [make.inference(), make.failure("crashed", "signal 11")])
    return path


def spoilt(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def spoil(text: str) -> str:
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return spoil


BAD: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda text: "", "is empty"),
    "truncated": (lambda text: text[: len(text) // 2], "is cut short"),
    "foreign": (lambda text: '{"benchmarks": []}', "is not a run of this suite"),
    "list": (lambda text: "[1, 2]", "is not a run of this suite"),
    "not-json": (lambda text: "name,value\n", "is not JSON"),
    "more-than-json": (lambda text: f"{text}\na line of a log", "is not JSON"),
    "newer": (spoilt(lambda content: content["halfbyte"].update(schema=3)), "schema 3, this checkout reads up to 2"),
    "nan": (lambda text: text.replace("1234.0", "NaN"), "holds NaN"),
    "infinite": (lambda text: text.replace("1234.0", "1e999"), "holds 1e999"),
    "no-machine": (spoilt(lambda content: content["halfbyte"].pop("machine")), "no 'machine'"),
    "no-benchmarks": (spoilt(lambda content: content.pop("benchmarks")), "no 'benchmarks'"),
    "damaged-predictions": (
        spoilt(lambda content: content["halfbyte"].update(predictions={"abc": "AAAA"})),
        "damaged labels",
    ),
    "no-base64": (
        spoilt(lambda content: content["halfbyte"]["datasets"][0].update(test_labels="?")),
        "does not hold what a run holds",
    ),
    "other-type": (
        spoilt(lambda content: content["benchmarks"][0]["extra_info"].update(weight_bytes="many")),
        "benchmark bench/test_case.py::test_case: not a Measurement",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line_that_names_it(good: Path, tmp_path: Path, name: str) -> None:
    spoil, reason = BAD[name]
    path = tmp_path / f"{name}.json"
    path.write_text(spoil(good.read_text()))
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_is_told_wherever_it_falls(tmp_path: Path) -> None:
    """Also within a number, a name or a word, whose rest the parser takes for an error of another kind."""
    text = json.dumps({"halfbyte": {"seconds": [1.25e-3, -2.5], "known": True, "why": None, "name": 'a "b" {c}'}})
    for end in range(1, len(text)):
        (tmp_path / "cut.json").write_text(text[:end])
        with pytest.raises(InputError, match="is cut short"):
            load(tmp_path / "cut.json")


def test_missing_files_folders_and_other_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image.json").write_bytes(b"\x89PNG\xff\xfe")
    for path, reason in (("absent.json", "does not exist"), (".", "is a folder"), ("image.json", "not a text file")):
        with pytest.raises(InputError, match=reason):
            load(tmp_path / path)


def test_the_good_files_are_used_and_the_bad_ones_named(good: Path, tmp_path: Path) -> None:
    runs, refused = load_all([tmp_path / "absent.json", good, good])
    assert [run.label for run in runs] == ["good.json"]
    assert refused == (f"{tmp_path / 'absent.json'} does not exist: name a JSON file written by `nox -s bench`.",)


def test_command_ends_with_2_only_if_no_file_can_be_used(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent, out = str(tmp_path / "absent.json"), tmp_path / "out"
    assert main(["render", absent, "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()
    assert main(["render", absent, str(good), "--out", str(out)]) == 0
    assert "absent.json does not exist" in capsys.readouterr().err
    assert "absent.json does not exist" in (out / "summary.md").read_text()


def test_a_folder_that_cannot_be_written_is_named(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(good), "--out", str(good)]) == 2
    assert "cannot hold the report" in capsys.readouterr().err


def test_samples_come_from_the_statistics_where_the_record_lacks_them(make: Any, tmp_path: Path) -> None:
    content = make.content([make.inference([0.5, 0.25])])
    del content["benchmarks"][0]["extra_info"]["seconds"]
    content["benchmarks"].append({"name": "someone's own", "stats": {"data": [1.0]}, "extra_info": {}})
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    run = load(path)
    assert [measurement.seconds for measurement in run.measurements] == [(0.5, 0.25)]
    assert run.foreign == 1


def test_files_of_one_name_keep_their_folders(make: Any, tmp_path: Path) -> None:
    paths = [make.write(tmp_path / name / "run.json", [make.inference()]) for name in ("a", "b")]
    runs, _ = load_all(paths)
    assert [run.label for run in runs] == [path.as_posix() for path in paths]


def test_predictions_and_true_classes_come_back(make: Any, tmp_path: Path) -> None:
    measurement = make.inference(labels=[9, 1, 2])
    run = load(make.write(tmp_path / "run.json", [measurement]))
    assert run.predictions == {measurement.quality.predictions.sha256: (9, 1, 2)}
    assert run.datasets[0].test_labels == tuple(range(10))


def test_a_file_of_an_earlier_version_has_none(make: Any, tmp_path: Path) -> None:
    content = make.content([make.inference()])
    del content["halfbyte"]["predictions"]
    (tmp_path / "run.json").write_text(json.dumps(content))
    run = load(tmp_path / "run.json")
    assert (run.predictions, run.datasets[0].test_labels) == ({}, None)


def test_language_models_and_texts_come_back_without_what_is_not_known(make: Any, tmp_path: Path) -> None:
    texts = [{"name": "python-topics", "digest": "ab", "characters": 12, "language": "English"}]
    models = [make.language_model(licence="Apache-2.0")]
    run = load(make.write(tmp_path / "run.json", [make.chat(said="Hi | `there`")], language_models=models, texts=texts))
    (facts,) = run.language_models
    assert (facts.name, facts.parameters, facts.random, facts.problem) == ("smollm2-135m", 134_515_008, False, None)
    assert [(text.name, text.digest, text.characters) for text in run.texts] == [("python-topics", "ab", 12)]
    assert run.measurements[0].texts["assistant 1"] == "Hi | `there`"
    earlier = load(make.write(tmp_path / "earlier.json", [make.inference()]))
    assert (earlier.language_models, earlier.texts) == ((), ())
