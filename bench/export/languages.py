"""A language model's route in llama.cpp, written as files: the GGUF file, and ``load.py`` that runs it."""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import models
from bench.core.errors import InputError, Unsupported
from bench.core.precisions import PRECISIONS
from bench.core.route_code import RouteName
from bench.core.runtimes import RUNTIMES
from bench.export.written import Exported, checked, moved_into
from bench.runtimes.language_route import LanguageOrder
from models.language_files import packaged_file

RUNTIME = "llama_cpp"
EXAMPLE = tuple(range(1000, 1008))
"""Tokens of the prompt whose answer ``load.py`` has to reproduce: any will do, in any vocabulary of some thousands."""
ANSWERED = 8
"""Tokens of that answer. They are greedy, and the arithmetic of one machine is the same in every process."""
ROOM = 2048
"""Tokens of prompt and answer together."""
MODEL = "model.gguf"


def export(name: str, route: RouteName, out: Path, *, threads: int) -> Exported:
    """Write ``route`` of the language model ``name`` into ``out`` and run what was written, without this suite.

    Raises:
        InputError: the folder cannot be written.
        Unsupported: the runtime has no export, or does not take the model.
    """
    if route.runtime != RUNTIME:
        raise Unsupported(f"language models are exported for {RUNTIMES[RUNTIME].title} ({RUNTIME}:PRECISION) only")
    spec = models.language_model(name)
    entry = RUNTIMES[RUNTIME].language_entry or ""
    module, _, function = entry.partition(":")
    prepare: Any = getattr(importlib.import_module(module), function)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{out.name}.partial-") as scratch:
            published = packaged_file(spec.location) if spec.origin == "package" else None
            work = Path(scratch, "work")
            order = LanguageOrder(
                name=name,
                checkpoint=work,  # not read: the model comes from its GGUF file
                gguf=published,
                layers=spec.layers,
                precision=PRECISIONS[route.precision],
                threads=threads,
                room=ROOM,
                files=work,
                fresh=True,
            )
            runtime = prepare(order)
            answer = runtime.answer(list(EXAMPLE), ANSWERED, ())
            runtime.close()
            files = Path(scratch, "files")
            files.mkdir()
            made = list(work.glob(f"*/{MODEL}"))
            shutil.copy(made[0] if made else str(published), files / MODEL)
            (files / "example.json").write_text(json.dumps({"prompt": EXAMPLE, "tokens": answer}) + "\n")
            (files / "load.py").write_text(LOAD.format(name=name, route=route, threads=threads, room=ROOM))
            (files / "requirements.txt").write_text(f"xllamacpp=={metadata.version('xllamacpp')}\n")
            moved_into(out, files)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written ({error.strerror}); give another folder.") from error
    return checked(out)


LOAD = '''"""{name} by {route}: generate(prompt, count) gives an answer; python load.py "TEXT" prints one."""
import json
import os
import sys
from pathlib import Path
import xllamacpp
os.chdir(Path(__file__).resolve().parent)
parameters = xllamacpp.CommonParams()
parameters.model.path = "model.gguf"
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = {threads}
parameters.n_ctx, parameters.n_parallel, parameters.verbosity = {room}, 1, -1
server = xllamacpp.Server(parameters)
def generate(prompt, count):
    """Greedy tokens after ``prompt``, a text or a list of tokens; and their text."""
    asked = {{"prompt": prompt, "n_predict": count, "temperature": 0, "cache_prompt": False, "n_probs": 1}}
    (choice,) = server.handle_completions(asked)["choices"]
    return [entry["id"] for entry in choice["logprobs"]["content"]], choice["text"]

if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(generate(sys.argv[1], 64)[1])
        raise SystemExit
    example = json.loads(Path("example.json").read_text())
    tokens, _ = generate(example["prompt"], len(example["tokens"]))
    same = sum(one == other for one, other in zip(tokens, example["tokens"]))
    print(f"{{same}} of {{len(example['tokens'])}} greedy tokens are those of the measured route")
    raise SystemExit(tokens != example["tokens"])
'''
