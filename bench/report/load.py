"""Read the JSON of a run, and refuse by name what is not one."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.core.errors import InputError
from bench.core.quality import unpack
from bench.core.records import SCHEMA, Failure, Machine, Measurement, from_json

_MEASUREMENT_FIELDS = frozenset(item.name for item in dataclasses.fields(Measurement))


Facts = TypeVar("Facts", "DatasetFacts", "LanguageModelFacts", "TextFacts")


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """Facts of a run about a data set. Mean and standard deviation are in [0, 1] units, one value a channel."""

    name: str
    spec: str
    classes: tuple[str, ...] = ()
    train_images: int | None = None
    test_images: int | None = None
    held_out: int | None = None
    flip: bool | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    usual_mean: tuple[float, ...] | None = None
    usual_std: tuple[float, ...] | None = None
    digest: str = ""
    augmented_by: str | None = None
    """The recipe whose augmentation the picture shows."""
    augmented_png: str | None = None
    """The 3x3 picture of augmented training images: PNG in base64."""
    test_labels: tuple[int, ...] | None = None
    """Classes of all test images, in their order; None where the file does not carry them."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelFacts:
    """Facts of a run about a language model."""

    name: str
    source: str | None = None
    parameters: int | None = None
    caveat: str | None = None
    """Caveat that every figure of it has to be read with."""
    random: bool = False
    digest: str | None = None
    problem: str | None = None
    """Reason why it could not be had; None where it could."""


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """Facts of a run about a text that prompts and perplexity come from."""

    name: str
    digest: str = ""
    characters: int | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One file: what ran where, and every outcome."""

    label: str
    machine: Machine
    commit: str | None
    """Commit of the checkout; with ``-dirty`` where it had changes."""
    code: str | None
    """Hash of what shaped the numbers beyond the case: only runs of one code are joined. Else the commit."""
    command: str
    started: str
    seconds: float | None
    budget: str
    datasets: tuple[DatasetFacts, ...]
    measurements: tuple[Measurement, ...]
    failures: tuple[Failure, ...]
    case_seconds: Mapping[str, float]
    resumed: int
    """Measurements that an interrupted run had taken before, and that this one took over."""
    deselected: int
    """Cases of the run's budget and options that `-k` and the like left out."""
    foreign: int
    """Benchmarks of the same file that are not cases of this suite, and are left out."""
    predictions: Mapping[str, tuple[int, ...]]
    """Predicted classes of the first test images, by the digest that rows name; empty in files of earlier versions."""
    language_models: tuple[LanguageModelFacts, ...] = ()
    texts: tuple[TextFacts, ...] = ()
    max_drop: str | None = None
    """Text of the run's ``--max-drop``; None where it was not given."""

    @property
    def experiments(self) -> frozenset[str]:
        """Experiments of all cases, measured or failed."""
        measured = [outcome.case.experiment for outcome in self.measurements]
        return frozenset((*measured, *(outcome.case.experiment for outcome in self.failures)))


def load_all(paths: Sequence[Path]) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """The runs that can be used, in the order given, and one line for each file that cannot."""
    distinct = dict.fromkeys(paths)
    names = Counter(path.name for path in distinct)
    runs, refused = [], []
    for path in distinct:
        try:
            runs.append(load(path, label=path.name if names[path.name] == 1 else path.as_posix()))
        except InputError as error:
            refused.append(str(error))
    return tuple(runs), tuple(refused)


def load(path: Path, label: str | None = None) -> Run:
    """The run in the JSON file ``path``.

    Raises:
        InputError: the file is missing, empty, cut short, not from this suite, of a newer schema, or holds a number
            that is not finite.
    """
    content = _parse(path, _read(path))
    suite = content.get("halfbyte") if isinstance(content, dict) else None
    if not isinstance(suite, dict) or type(suite.get("schema")) is not int:
        raise InputError(f"{path} is not a run of this suite (no 'halfbyte' section): write one with `nox -s bench`.")
    if suite["schema"] > SCHEMA:
        raise InputError(
            f"{path} has schema {suite['schema']}, this checkout reads up to {SCHEMA}: update the checkout."
        )
    try:
        return _run(label or path.name, content, suite)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise InputError(f"{path} does not hold what a run holds: {reason[:300]}. Run the suite again.") from error


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: name a JSON file written by `nox -s bench`.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name the JSON files in it.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file: name a JSON file written by `nox -s bench`.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    if not text.strip():
        raise InputError(f"{path} is empty: the run that should have written it did not end.")
    return text


def _parse(path: Path, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        content = text.strip()  # an object that is whole ends with its brace
        ended = error.msg.startswith("Extra data")
        open_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated") or not content.endswith("}")
        cut_short = content.startswith("{") and open_end and not ended
        what = "is cut short" if cut_short else "is not JSON"
        raise InputError(f"{path} {what} ({error.msg}, line {error.lineno}): use a whole file.") from None
    except RecursionError:
        raise InputError(f"{path} is not a run of this suite (nested too deeply).") from None
    except ValueError as error:
        raise InputError(f"{path} holds {error}, which is no measured number: measure those cases again.") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _run(label: str, content: Mapping[str, Any], suite: Mapping[str, Any]) -> Run:
    benchmarks = content["benchmarks"]
    commit = _text(suite.get("commit")) or _commit(content.get("commit_info") or {})
    ours = [benchmark for benchmark in benchmarks if "case" in benchmark.get("extra_info", {})]
    return Run(
        label=label,
        machine=from_json(Machine, suite["machine"]),
        commit=commit,
        code=_text(suite.get("fingerprint")) or commit,
        command=_text(suite.get("command")) or "",
        started=_text(suite.get("started")) or "",
        seconds=None if suite.get("seconds") is None else float(suite["seconds"]),
        budget=_text(suite.get("budget")) or "",
        datasets=tuple(_dataset(value) for value in suite.get("datasets", ())),
        measurements=tuple(_measurement(benchmark) for benchmark in ours),
        failures=tuple(from_json(Failure, value) for value in suite.get("failures", ())),
        case_seconds={str(key): float(value) for key, value in suite.get("case_seconds", {}).items()},
        resumed=int(suite.get("resumed") or 0),
        deselected=int(suite.get("deselected") or 0),
        foreign=len(benchmarks) - len(ours),
        predictions={str(key): tuple(unpack(value)) for key, value in (suite.get("predictions") or {}).items()},
        language_models=tuple(_known(LanguageModelFacts, value) for value in suite.get("language_models") or ()),
        texts=tuple(_known(TextFacts, value) for value in suite.get("texts") or ()),
        max_drop=_text(suite.get("max_drop")),
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _commit(info: Mapping[str, Any]) -> str | None:
    """Commit that pytest-benchmark found in the checkout."""
    commit = _text(info.get("id"))
    if commit is None or not re.fullmatch("[0-9a-f]{7,40}", commit):
        return None
    return f"{commit[:12]}-dirty" if info.get("dirty") else commit[:12]


def _measurement(benchmark: Mapping[str, Any]) -> Measurement:
    info = benchmark["extra_info"]
    record = {name: info[name] for name in _MEASUREMENT_FIELDS & info.keys()}
    if "seconds" not in record:
        record["seconds"] = benchmark["stats"]["data"]
    try:
        return from_json(Measurement, record)
    except ValueError as error:
        raise ValueError(f"benchmark {benchmark.get('fullname', '?')}: {error}") from error


def _dataset(value: Mapping[str, Any]) -> DatasetFacts:
    packed = value.get("test_labels")
    labels = None if packed is None else tuple(unpack(packed))
    facts = {key: item for key, item in value.items() if key != "test_labels"}
    return dataclasses.replace(_known(DatasetFacts, facts), test_labels=labels)


def _known(kind: type[Facts], value: Mapping[str, Any]) -> Facts:
    """Unknown keys are left out: a later version may say more of a thing without changing the schema."""
    names = {item.name for item in dataclasses.fields(kind)}
    return from_json(kind, {key: item for key, item in value.items() if key in names})
