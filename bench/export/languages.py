"""A language model's route, written as files: the runtime's model, and ``load.py`` that runs it."""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import models
from bench.core.errors import InputError, Unsupported
from bench.core.precisions import PRECISIONS
from bench.core.route_code import RouteName
from bench.core.runtimes import RUNTIMES
from bench.export.written import Exported, checked, moved_into
from bench.runtimes.language_route import CONVERSION, LanguageOrder
from models.language_files import folder_of, packaged_file

EXAMPLE = tuple(range(1000, 1008))
"""Tokens of the prompt whose answer ``load.py`` has to reproduce: any will do, in any vocabulary of some thousands."""
ANSWERED = 8
"""Tokens of that answer. They are greedy, and the arithmetic of one machine is the same in every process."""
ROOM = 2048
"""Tokens of prompt and answer together."""
MODEL = "model.gguf"


@dataclass(frozen=True, kw_only=True)
class Form:
    """Files of a runtime's language models."""

    begin: str
    """Lines of ``load.py`` from the files to ``generate``."""
    packages: tuple[str, ...]
    needs_checkpoint: bool = False
    """True if the runtime builds from the checkpoint that transformers loads, not from the GGUF file."""


def export(name: str, route: RouteName, out: Path, *, threads: int, data_dir: Path) -> Exported:
    """Write ``route`` of the language model ``name`` into ``out`` and run what was written, without this suite.

    Args:
        data_dir: its folder ``cache`` holds models that were expanded before.

    Raises:
        InputError: the folder cannot be written.
        ModelError: the model's files are not there.
        Unsupported: the runtime has no export, or does not take the model.
    """
    form = FORMS.get(route.runtime)
    if form is None:
        known = ", ".join(f"{RUNTIMES[each].title} ({each}:PRECISION)" for each in FORMS)
        raise Unsupported(f"language models are exported for {known} only")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{out.name}.partial-") as scratch:
            work, files = Path(scratch, "work"), Path(scratch, "files")
            files.mkdir()
            order = _order(name, route, form, work, threads=threads, data_dir=data_dir)
            answer = _answer(order, route)
            _copy(order, route, files)
            (files / "example.json").write_text(json.dumps({"prompt": EXAMPLE, "tokens": answer}) + "\n")
            values = {"threads": str(threads), "room": str(ROOM), "hint": _hint(route)}
            begin = form.begin
            for placeholder, value in values.items():
                begin = begin.replace(f"<{placeholder}>", value)
            title = (
                f'"""{name} by {route}: generate(prompt, count) gives an answer; python load.py \'TEXT\' prints one."""'
            )
            (files / "load.py").write_text(f"{title}\n{IMPORTS}{begin.lstrip()}{CHECK}")
            lines = [f"{package}=={metadata.version(package)}\n" for package in form.packages]
            (files / "requirements.txt").write_text("".join(lines))
            moved_into(out, files)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written ({error.strerror}); give another folder.") from error
    return checked(out)


def _order(name: str, route: RouteName, form: Form, work: Path, *, threads: int, data_dir: Path) -> LanguageOrder:
    spec = models.language_model(name)
    # A packaged model comes from its GGUF file: its checkpoint is expanded only where it is read.
    read = form.needs_checkpoint or spec.origin != "package"
    return LanguageOrder(
        name=name,
        checkpoint=folder_of(spec, data_dir / "cache", lambda line: None) if read else work,
        gguf=packaged_file(spec.location) if spec.origin == "package" else None,
        layers=spec.layers,
        precision=PRECISIONS[route.precision],
        threads=threads,
        room=ROOM,
        files=work,
        fresh=True,
    )


def _answer(order: LanguageOrder, route: RouteName) -> list[int]:
    """Greedy tokens of the route after the example, as it is measured."""
    module, _, function = (RUNTIMES[route.runtime].language_entry or "").partition(":")
    prepare: Any = getattr(importlib.import_module(module), function)
    runtime = prepare(order)
    answer: list[int] = runtime.answer(list(EXAMPLE), ANSWERED, ())
    runtime.close()
    return answer


def _hint(route: RouteName) -> str:
    """Number format of OpenVINO between what is compressed; empty for other runtimes."""
    if route.runtime != "openvino":
        return ""
    from bench.runtimes.openvino_language import hint_for

    return hint_for(PRECISIONS[route.precision])


def _copy(order: LanguageOrder, route: RouteName, files: Path) -> None:
    """The runtime's files, without what this suite wrote beside them."""
    if route.runtime == "llama_cpp":
        made = list(order.files.glob(f"*/{MODEL}"))
        shutil.copy(made[0] if made else str(order.gguf), files / MODEL)
        return
    if route.runtime == "onnxruntime":
        (folder,) = order.files.glob("onnx-*")
        shutil.copytree(folder, files, dirs_exist_ok=True, ignore=shutil.ignore_patterns(CONVERSION, "scratch"))
        return
    compressed = order.files / f"openvino-{route.precision}"
    base = order.files / "openvino-f16"
    for file in (compressed if compressed.is_dir() else base).glob("openvino_model.*"):
        shutil.copy(file, files)
    for file in base.glob("openvino_*tokenizer.*"):
        shutil.copy(file, files)


TITLE = '''"""{name} by {route}: generate(prompt, count) gives an answer; python load.py "TEXT" prints one."""
'''
IMPORTS = """\
import json
import os
import sys
from pathlib import Path
os.chdir(Path(__file__).resolve().parent)
"""
_LLAMA_CPP = """
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = "model.gguf"
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = <threads>
parameters.n_ctx, parameters.n_parallel, parameters.verbosity = <room>, 1, -1
server = xllamacpp.Server(parameters)
def generate(prompt, count):
    \"\"\"Greedy tokens after ``prompt``, a text or a list of tokens; and their text.\"\"\"
    asked = {"prompt": prompt, "n_predict": count, "temperature": 0, "cache_prompt": False, "n_probs": 1}
    (choice,) = server.handle_completions(asked)["choices"]
    return [entry["id"] for entry in choice["logprobs"]["content"]], choice["text"]
"""
_OPENVINO = """
import numpy
import openvino
import openvino_genai
settings = {"INFERENCE_PRECISION_HINT": "<hint>", "INFERENCE_NUM_THREADS": <threads>, "PERFORMANCE_HINT": "LATENCY"}
request = openvino.Core().compile_model("openvino_model.xml", "CPU", settings).create_infer_request()
tokenizer = openvino_genai.Tokenizer(".")
def generate(prompt, count):
    \"\"\"Greedy tokens after ``prompt``, a text or a list of tokens; and their text.\"\"\"
    ids = tokenizer.encode(prompt).input_ids.data[0].tolist() if isinstance(prompt, str) else list(prompt)
    request.reset_state()
    new, seen, tokens = ids, 0, []
    for _ in range(count):
        everything = seen + len(new)
        request.infer({
            "input_ids": numpy.array([new], dtype=numpy.int64),
            "attention_mask": numpy.ones((1, everything), dtype=numpy.int64),
            "position_ids": numpy.arange(seen, everything, dtype=numpy.int64)[None],
            "beam_idx": numpy.zeros(1, dtype=numpy.int32),
        })
        tokens.append(int(request.get_output_tensor(0).data[0, -1].argmax()))
        new, seen = tokens[-1:], everything
    return tokens, tokenizer.decode(tokens)
"""
_ONNX = """
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded
import numpy
import onnxruntime_genai
config = onnxruntime_genai.Config(".")
session = {"intra_op_num_threads": <threads>, "inter_op_num_threads": 1}
config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
model = onnxruntime_genai.Model(config)
def generate(prompt, count):
    \"\"\"Greedy tokens after ``prompt``, a text or a list of tokens; and their text.\"\"\"
    tokenizer = onnxruntime_genai.Tokenizer(model)
    ids = tokenizer.encode(prompt).tolist() if isinstance(prompt, str) else list(prompt)
    parameters = onnxruntime_genai.GeneratorParams(model)
    length = len(ids) + count
    parameters.set_search_options(do_sample=False, min_length=length, max_length=length)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(numpy.array([ids], dtype=numpy.int32))
    tokens = []
    for _ in range(count):
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
    return tokens, tokenizer.decode(numpy.array(tokens, dtype=numpy.int32))
"""
CHECK = """
if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(generate(sys.argv[1], 64)[1])
        raise SystemExit
    example = json.loads(Path("example.json").read_text())
    tokens, _ = generate(example["prompt"], len(example["tokens"]))
    same = sum(one == other for one, other in zip(tokens, example["tokens"]))
    print(f"{same} of {len(example['tokens'])} greedy tokens are those of the measured route")
    raise SystemExit(tokens != example["tokens"])
"""
FORMS = {
    "llama_cpp": Form(begin=_LLAMA_CPP, packages=("xllamacpp",)),
    "openvino": Form(begin=_OPENVINO, packages=("openvino", "openvino-genai", "openvino-tokenizers", "numpy")),
    "onnxruntime": Form(begin=_ONNX, packages=("onnxruntime-genai", "onnxruntime", "numpy"), needs_checkpoint=True),
}
"""Runtime -> form of its exported language models."""
