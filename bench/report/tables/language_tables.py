"""The tables of one language model: every line stands in each, with – for what was not measured."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.cells import BASELINE, flag_cell, limit_cell, marks, ratio_of, scaled, throughput_cell, with_error
from bench.report.language_lines import FP32, LanguageGroup, LanguageLine, Setting
from bench.report.markdown import ABSENT, integer, megabytes, number, plus_minus, small_percent, table, unsigned_zero
from bench.report.parting import parting
from bench.report.perplexity import Change, change
from bench.report.rows import SPEED, Row, figure
from bench.report.tables.detail import PEAK_NAMES

SHOWN = ("precision", "mode")
WORDS = (*SHOWN, "library", "computes in", "rest", "key-value cache", "bitsandbytes kernels", "marks")
KEY = (*SHOWN, "batch", "prompt [tokens]", "new tokens")
NO_QUALITY = "random weights: no quality figure"
PEAKED = ("rss", "cuda_allocated", "cuda_reserved", "device_process")
MEMORY_TEXT = "**Memory and load.** Weights as they lie in memory, scales included"


def parts(group: LanguageGroup) -> list[str]:
    made = [f"{MEMORY_TEXT}.", _table([_memory(line, group) for line in group.lines])]
    made += [_speed_text(group), _table([_speed(line, group) for line in group.lines])]
    prefill, decode = (group.settings(name) for name in ("prefill", "decode"))
    if len(prefill) > 1:
        made += ["**First token by prompt length.**", _table(_every(group, "prefill"))]
    if len(decode) > 1:
        text = "**Decoding by batch size.** Tokens/s of all sequences together."
        made += [text, _table(_every(group, "decode"))]
    return made


def perplexity_change(group: LanguageGroup, row: Row) -> Change | None:
    """None for the row that others are held against."""
    reference = group.reference(row)
    return None if reference is None or reference is row else change(row, reference)


def _table(cells: Sequence[dict[str, str]]) -> str:
    return table(cells, left=WORDS, key=KEY)


def _identity(line: LanguageLine) -> dict[str, str]:
    return {"precision": line.precision, "mode": line.mode}


def _memory(line: LanguageLine, group: LanguageGroup) -> dict[str, str]:
    load, decode = line.one("load"), line.at("decode", group.headline("decode"))
    ran = decode or line.first
    return {
        **_identity(line),
        "load [s] ↓": number(line.load_seconds),
        **_peaks("load", load),
        "stays after loading [MB] ↓": megabytes(figure(load, "resident_bytes")) if load else ABSENT,
        **_peaks("steady", decode),
        "weights [MB] ↓": megabytes(line.known("weights [B]")),
        "of fp32's [%] ↓": BASELINE if line.precision == FP32 else small_percent(line.known("weights over fp32 [1]")),
        "files [MB]": megabytes(figure(load, "checkpoint_bytes")) if load else ABSENT,
        "parameters converted [%]": small_percent(line.known("converted parameters [1]")),
        "compile [s] ↓": number(decode["cold compile [s]"]) if decode else ABSENT,
        "library": flag_cell(ran, "library"),
        "computes in": flag_cell(ran, "compute"),
        "rest": flag_cell(ran, "rest"),
        "key-value cache": flag_cell(ran, "cache"),
        "bitsandbytes kernels": flag_cell(ran, "bitsandbytes_cpu_kernels"),
    }


def _peaks(phase: str, row: Row | None) -> dict[str, str]:
    return {
        f"{phase} peak, {PEAK_NAMES[kind]} [MB] ↓": ABSENT
        if row is None
        else megabytes(row[f"{phase} peak, {kind.replace('_', ' ')} [B]"])
        for kind in PEAKED
    }


def _speed_text(group: LanguageGroup) -> str:
    told = []
    for name, word in (("prefill", "First token"), ("decode", "Decoding")):
        headline = group.headline(name)
        told += [f"{word}: {setting_words(headline)}"] if headline else []
    return f"**Speed and quality.** {'. '.join(told) or 'No speed was measured'}."


def setting_words(setting: Setting) -> str:
    batch, prompt, new = setting
    told = [f"batch {batch}", f"prompts of {prompt} tokens" if prompt else "", f"{new} new tokens" if new else ""]
    return ", ".join(filter(None, told))


def _speed(line: LanguageLine, group: LanguageGroup) -> dict[str, str]:
    prefill, decode = (line.at(name, group.headline(name)) for name in ("prefill", "decode"))
    return {
        **_identity(line),
        "first token [ms] ↓": with_error(prefill, "median", scale=1e3) if prefill else ABSENT,
        **(_decoding(decode) if decode else {}),
        **_quality(line, group),
        "marks": _marks([("prefill", prefill), ("decode", decode)]),
    }


def _decoding(row: Row) -> dict[str, str]:
    return {
        "tokens/s ↑": throughput_cell(row),
        "speed-up over fp32 [×] ↑": BASELINE if row["precision"] == FP32 else ratio_of(row, SPEED),
        "between tokens, p50 [ms] ↓": with_error(row, "median", scale=1e3),
        "p95 [ms] ↓": with_error(row, "p95", scale=1e3),
        "share of limit [%] ↑": limit_cell(row),
        "energy [mJ/token] ↓": scaled(row["energy [J/item]"], 1e3),
    }


def _quality(line: LanguageLine, group: LanguageGroup) -> dict[str, str]:
    if group.random:
        return {"perplexity ↓": NO_QUALITY}
    scored, chat = line.of("perplexity"), line.one("chat")
    several = len({_cut(row) for row in group.of("perplexity")}) > 1
    return {
        "perplexity ↓": "; ".join(_perplexity(row, several) for row in scored) or ABSENT,
        "change to fp32 [%] ↓": "; ".join(_change(row, group) for row in scored) or ABSENT,
        "parts from fp32 after [tokens] ↑": _parting(chat, group) if chat else ABSENT,
    }


def _cut(row: Row) -> str:
    return f"context {integer(figure(row, 'context'))}, stride {integer(figure(row, 'stride'))}"


def _perplexity(row: Row, several: bool) -> str:
    found = plus_minus(row["quality [1]"], row["quality standard error [1]"])
    return f"{found} ({_cut(row)})" if several else found


def _change(row: Row, group: LanguageGroup) -> str:
    if group.reference(row) is row:
        return BASELINE if _has_others(group, "perplexity") else ABSENT
    found = perplexity_change(group, row)
    return ABSENT if found is None else change_words(found)


def change_words(found: Change) -> str:
    """In per cent with its sign: ``+28.5 ± 1.2``."""
    told = plus_minus(abs(found.ratio - 1), found.standard_error, 100)
    return unsigned_zero(f"{'-' if found.ratio < 1 else '+'}{told}")


def _parting(chat: Row, group: LanguageGroup) -> str:
    reference = group.reference(chat)
    if reference is chat:
        return BASELINE if _has_others(group, "chat") else ABSENT
    found = parting(chat, reference) if reference else None
    return ABSENT if found is None else found.words


def _has_others(group: LanguageGroup, experiment: str) -> bool:
    return len([line for line in group.lines if line.one(experiment)]) > 1


def _marks(rows: Sequence[tuple[str, Row | None]]) -> str:
    told = [f"{name}: {', '.join(found)}" for name, row in rows if row is not None and (found := marks(row))]
    return "; ".join(told) or ABSENT


def _every(group: LanguageGroup, experiment: str) -> list[dict[str, str]]:
    """One line for each setting of each line: precisions under one another, since they are what is compared."""
    rows = [
        (setting, line, row)
        for setting in group.settings(experiment)
        for line in group.lines
        if (row := line.at(experiment, setting)) is not None
    ]
    return [
        {**_setting(setting), **_identity(line), **_timed(row), **_peaks("steady", row)} for setting, line, row in rows
    ]


def _setting(setting: Setting) -> dict[str, str]:
    batch, prompt, new = setting
    return {"batch": str(batch), "prompt [tokens]": str(prompt), "new tokens": str(new) if new else ABSENT}


def _timed(row: Row) -> dict[str, str]:
    if row["experiment"] == "decode":
        return {**_decoding(row), "marks": "; ".join(marks(row)) or ABSENT}
    return {
        "first token [ms] ↓": with_error(row, "median", scale=1e3),
        "speed-up over fp32 [×] ↑": BASELINE if row["precision"] == FP32 else ratio_of(row, SPEED),
        "marks": "; ".join(marks(row)) or ABSENT,
    }
