"""A classifier's route, written as files: the model, ``load.py`` that runs it, ``classify.py`` for an image."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import models
from bench.core.errors import InputError
from bench.core.precisions import MIXED, PRECISIONS
from bench.core.quality import Layer, layers_in
from bench.core.records import Case
from bench.core.route_code import RouteCode, RouteName, code_for
from bench.core.runtimes import RUNTIMES
from bench.core.workspace import Workspace
from bench.data.images import dataset_folder, load_dataset
from bench.data.pipelines import evaluation_batches
from bench.experiments.subject import Subject, calibration_batches, load_subject, normalization_of, reference_network
from bench.export.written import Exported, checked, moved_into
from bench.measure import machine

EXAMPLES = 16
"""Test images whose outputs ``load.py`` has to reproduce, rounded up to whole batches."""
TOLERANCE = {32: 1e-4, 19: 1e-2, 16: 2e-2, 8: 5e-2}
"""Bits of activations -> largest difference between two machines' outputs, as a share of the largest output.

Kernels of another processor add in another order; a value between two steps of a coarse format may then take the other
step."""
STATIC = ("int8_static", MIXED)
MODEL_FILES = {"onnxruntime": "model.onnx", "openvino": "model.xml"}

Array = npt.NDArray[np.float32]


def export(case: Case, out: Path, *, data_dir: Path) -> Exported:
    """Write the route of ``case`` into ``out`` and run what was written, in a process that cannot see this suite.

    Raises:
        InputError: data, network or weights cannot be used, or the folder cannot be written.
        Unsupported: the network cannot be converted.
    """
    machine.set_flags(threads=case.threads, device=case.device)
    size = case.image_size
    dataset = load_dataset(case.dataset, data_dir=data_dir, image_size=size, progress=lambda line: None)
    decoded = dataset_folder(case.dataset, data_dir=data_dir, image_size=size)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{out.name}.partial-") as scratch:
            space = Workspace(results=Path(scratch, "work"), data_dir=data_dir, decoded=decoded)
            files = Path(scratch, "files")
            files.mkdir()
            notes = _write(case, space, files, dataset.classes)
            moved_into(out, files)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written ({error.strerror}); give another folder.") from error
    done = checked(out)
    return replace(done, summary="\n".join([done.summary, *notes]))


def _write(case: Case, space: Workspace, files: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Returns: notes of the route."""
    subject = load_subject(case, space)
    subject.route.start()
    inputs = _examples(subject, case)
    batches = torch.split(torch.from_numpy(inputs), case.batch_size)
    with torch.inference_mode():
        run = subject.route.run
        outputs = np.concatenate([run(batch.to(subject.route.input_dtype)).float().numpy().copy() for batch in batches])
    np.save(files / "inputs.npy", inputs)
    np.save(files / "outputs.npy", outputs)
    route = RouteName.of(case)
    layers = layers_in(subject.route.texts())
    if layers:
        _write_table(layers, files / "sensitivity.csv")
    spared = [layer.name for layer in layers if layer.spared]
    code = code_for(
        route,
        side=case.image_size,
        batch_size=case.batch_size,
        threads=case.threads,
        any_batch=bool(subject.route.flags().get("runtime_any_batch", False)),
        spared=spared,
    )
    if code.writes_files:
        _copy_model(space.results / "converted" / case.row, files, MODEL_FILES[case.runtime])
    else:
        _write_network(case, space, files, subject)
    (files / "load.py").write_text(_load_script(case, code, outputs, len(classes)))
    (files / "classify.py").write_text(CLASSIFY)
    (files / "requirements.txt").write_text("".join(f"{line}\n" for line in _requirements(case, code)))
    mean, std = normalization_of(case, subject.dataset) or ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    about = {
        "route": str(route),
        "model": _reference(case),
        "image_size": case.image_size,
        "batch_size": case.batch_size,
        "classes": list(classes),
        "mean": list(mean),
        "std": list(std),
        "weights_sha256": subject.weights,
        "notes": list(subject.route.notes),
    }
    (files / "about.json").write_text(json.dumps(about, indent=2) + "\n")
    return subject.route.notes


def _write_table(layers: Sequence[Layer], file: Path) -> None:
    """The layers as CSV, most sensitive first."""
    with file.open("w", newline="") as opened:
        table = csv.writer(opened, lineterminator="\n")
        table.writerow(("layer", "kl_nats", "changed_share", "bytes_saved", "spared"))
        for layer in layers:
            kept = "yes" if layer.spared else "no"
            table.writerow((layer.name, f"{layer.kl:.6g}", f"{layer.changed:.4f}", layer.bytes_saved, kept))


def _examples(subject: Subject, case: Case) -> Array:
    """Real test images in whole batches, (N, 3, side, side), normalised."""
    count = -(-EXAMPLES // case.batch_size) * case.batch_size
    images, _ = next(
        evaluation_batches(
            subject.dataset.test,
            normalize=subject.normalize,
            image_size=case.image_size,
            batch_size=count,
            device="cpu",
            indices=np.resize(np.arange(len(subject.dataset.test.labels)), count),
        )
    )
    array: Array = images.numpy()
    return array


def _copy_model(source: Path, files: Path, name: str) -> None:
    """The runtime's own files: the one called ``name`` and those with its stem, as weights are kept."""
    for file in source.glob(f"{Path(name).stem}.*"):
        shutil.copy(file, files / file.name)


def _write_network(case: Case, space: Workspace, files: Path, subject: Subject) -> None:
    """State dict in float32, source of the network, and calibration images where the conversion needs them."""
    torch.save(reference_network(case, space).state_dict(), files / "weights.pt")
    source = models.classifier(case.model).source
    package = Path(models.__file__).parent
    shutil.copytree(package, files / "models", ignore=shutil.ignore_patterns("__pycache__"))
    if source and case.model.rpartition(":")[0].endswith(".py"):
        shutil.copy(source, files / source.name)
    if case.precision in STATIC:
        batches = calibration_batches(subject.dataset, subject.normalize, case.image_size)
        np.save(files / "calibration.npy", np.concatenate([batch.numpy() for batch in batches]))


def _load_script(case: Case, code: RouteCode, outputs: Array, classes: int) -> str:
    """Text of ``load.py``: from the files to ``run``, and a check of its outputs."""
    title = RUNTIMES[case.runtime].title
    head = [f'"""{_reference(case)} at {case.precision} in {title} ({case.mode}): run(images) gives logits."""']
    head += ["import os", "from pathlib import Path", "import numpy", "os.chdir(Path(__file__).resolve().parent)"]
    body = code.load if code.writes_files else (*_network_lines(case, classes), *code.convert, *code.load)
    allowed = TOLERANCE[PRECISIONS[case.precision].activation_bits] * float(np.abs(outputs).max())
    return "\n".join([*head, *body, CHECK.format(batch=case.batch_size, allowed=f"{allowed:.3g}")])


def _network_lines(case: Case, classes: int) -> list[str]:
    size = "" if case.model in models.CLASSIFIERS else f", {case.image_size}"
    lines = [
        "import torch",
        "import models",
        'state = torch.load("weights.pt", weights_only=True)',
        f'network = models.classifier("{_reference(case)}"{size}).build({case.option("classes") or classes}).eval()',
        "network.load_state_dict(state)",
    ]
    if case.precision in STATIC:
        lines.append('calibration = torch.from_numpy(numpy.load("calibration.npy")).split(32)')
    return lines


def _reference(case: Case) -> str:
    """The network as the written files name it: a file of the user's own lies beside them."""
    target, _, name = case.model.rpartition(":")
    return f"{Path(target).name}:{name}" if target.endswith(".py") else case.model


def _requirements(case: Case, code: RouteCode) -> list[str]:
    """Packages of ``load.py`` with the versions that ran here, and what ``classify.py`` reads images with."""
    packages = dict.fromkeys((*code.packages, "numpy"))
    if not code.writes_files and case.model in models.CLASSIFIERS:
        module = models.classifier(case.model).factory
        if module.startswith(("torchvision", "models.vision_zoo")):
            packages["torchvision"] = None
    pinned = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in packages]
    return [*pinned, "pillow  # for classify.py alone"]


CHECK = """
if __name__ == "__main__":
    inputs, outputs = numpy.load("inputs.npy"), numpy.load("outputs.npy")
    logits = numpy.concatenate([run(part) for part in numpy.split(inputs, len(inputs) // {batch})])
    difference = float(abs(logits - outputs).max())
    print(f"largest difference from the measured route: {{difference:.2g}}, allowed {allowed}")
    raise SystemExit(difference > {allowed})
"""
CLASSIFY = '''"""python classify.py IMAGE...: the class of each image, by the model that load.py runs."""
import json
import sys
from pathlib import Path

import numpy
from PIL import Image

paths = [Path(name).resolve() for name in sys.argv[1:]]
missing = [path.name for path in paths if not path.is_file()]
if missing or not paths:
    sys.exit(f"no such image: {', '.join(missing)}" if missing else "give images: python classify.py IMAGE...")
from load import run  # changes to its own folder

about = json.loads(Path("about.json").read_text())
for path in paths:
    image = Image.open(path).convert("RGB")
    side, (width, height) = about["image_size"], image.size
    scale = side / min(width, height)
    image = image.resize((max(side, round(width * scale)), max(side, round(height * scale))), Image.BILINEAR)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    pixels = numpy.asarray(image.crop((left, top, left + side, top + side)), numpy.float32) / 255
    pixels = ((pixels - about["mean"]) / about["std"]).astype(numpy.float32).transpose(2, 0, 1)
    logits = run(numpy.repeat(pixels[None], about["batch_size"], axis=0))[0]
    chances = numpy.exp(logits - logits.max()) / numpy.exp(logits - logits.max()).sum()
    best = int(chances.argmax())
    name = about["classes"][best] if best < len(about["classes"]) else best
    print(f"{path.name}: {name} ({chances[best]:.0%})")
'''
