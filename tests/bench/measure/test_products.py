"""Products in a trace: FLOPs as torch counts them, each once, in the format of the operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import deform_conv2d

import models
from bench.measure.products import Product, _product, flops_in, flops_of, flops_of_network, main_format, products_of


def counted(network: nn.Module, images: torch.Tensor) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(images)
    return int(counter.get_total_flops())


def traced(network: nn.Module, images: torch.Tensor) -> list[Product]:
    with torch.inference_mode():
        return products_of(lambda: network(images))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 8, 3),
        nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(4, 8, (1, 5), padding=(0, 2), dilation=(1, 2)),
        nn.Conv2d(4, 8, 3, groups=4),
        nn.Conv2d(4, 8, 1),
    ],
    ids=["plain", "strided", "dilated", "grouped", "1x1"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolutions(layer: nn.Module, dtype: torch.dtype) -> None:
    images = torch.randn(3, 4, 11, 13)
    expected = counted(layer.float(), images)
    found = traced(layer.to(dtype), images.to(dtype))
    assert [product.flops for product in found] == [expected]
    assert found[0].format == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", ["cnn_small", "resnet14_cifar", "mobilenet_v2"])
def test_whole_networks(name: str) -> None:
    network = models.classifier(name).build(10).eval()
    images = torch.randn(2, 3, 32, 32)
    found = traced(network, images)
    assert sum(product.flops for product in found) == counted(network, images)
    assert main_format(found) == "float32"
    assert flops_in(found, 16) == 0
    assert flops_in(found, 32) == counted(network, images)


def test_an_operator_that_calls_another_counts_once() -> None:
    layer = nn.Linear(8, 16)
    found = traced(layer, torch.randn(5, 8))
    assert [(product.operator, product.flops) for product in found] == [("aten::addmm", 2 * 5 * 8 * 16)]


def test_int8_counts_as_int8_only_where_both_sides_are() -> None:
    left, right = torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 8, dtype=torch.int8)
    found = products_of(lambda: torch._int_mm(left, right))
    assert [(product.bits, product.format, product.flops) for product in found] == [(8, "int8", 2 * 32 * 16 * 8)]
    mixed = products_of(lambda: left.float() @ right.float())
    assert [product.bits for product in mixed] == [32]


@pytest.mark.parametrize(
    ("name", "dims", "types", "values", "flops"),
    [
        (
            "bitsandbytes::gemv_4bit",
            [[1, 3, 128], [4096, 1], [], [128], [16], []],
            ["c10::BFloat16", "unsigned char", "ScalarList", "float", "float", "Scalar"],
            ["", "", "[64, 128]", "", "", "64"],
            2 * 3 * 128 * 64,
        ),
        (
            "aten::_weight_int4pack_mm",
            [[3, 1024], [8, 8, 32, 4], [], [8, 64, 2]],
            ["c10::BFloat16", "int", "Scalar", "c10::BFloat16"],
            ["", "", "128", ""],
            2 * 3 * 1024 * 64,  # inputs are padded to whole tiles
        ),
    ],
)
def test_packed_weights_multiply_in_the_format_of_the_activations(
    name: str, dims: list[Any], types: list[str], values: list[str], flops: int
) -> None:
    """As CUDA's operators are traced, which no CPU has."""
    event = {"name": name, "args": {"Input Dims": dims, "Input type": types, "Concrete Inputs": values}}
    assert _product(event, "cuda") == Product(operator=name, flops=flops, format="bfloat16", bits=16)


@pytest.mark.parametrize(("device", "expected"), [("cpu", "bfloat16"), ("cuda", "float32")])
def test_a_cpu_rounds_to_bfloat16_before_4_bit_products(device: str, expected: str) -> None:
    """Whatever the layer's compute dtype is: bitsandbytes' kernel for AVX512-BF16 has no other."""
    dims, types = [[1, 128], [64, 64], [], [2, 64], [16], []], ["float", "unsigned char", "ScalarList", "float"]
    arguments = {"Input Dims": dims, "Input type": types, "Concrete Inputs": ["", "", "[64, 128]", ""]}
    found = _product({"name": "bitsandbytes::gemv_4bit", "args": arguments}, device)
    assert (found.format, found.flops) == (expected, 2 * 128 * 64)


def test_nothing_that_multiplies() -> None:
    found: list[Any] = products_of(lambda: torch.ones(3) + 1)
    assert found == []
    assert main_format(found) is None


class Runs(nn.Module):
    """Network that runs a function of the images (1, 3, 32, 32) and of one layer."""

    def __init__(self, run: Callable[[Tensor, Any], Tensor], layer: nn.Module | None = None) -> None:
        super().__init__()
        self.run, self.layer = run, layer

    def forward(self, images: Tensor) -> Tensor:
        return self.run(images, self.layer)


def rows(images: Tensor, layer: Any) -> Tensor:
    """A recurrent layer over the rows of one channel: 32 steps of 32 features."""
    outputs: Tensor = layer(images[:, 0])[0]
    return outputs


COUNTED: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "matrix by vector": (lambda: Runs(lambda x, _: x[0, 0] @ x[0, 0, 0]), 2 * 32 * 32),
    "vector by vector": (lambda: Runs(lambda x, _: torch.dot(x[0, 0, 0], x[0, 0, 1])), 2 * 32),
    "vector added": (lambda: Runs(lambda x, _: torch.addmv(x[0, 0, 0], x[0, 0], x[0, 0, 1])), 2 * 32 * 32),
    "in place": (lambda: Runs(lambda x, _: x[0, 0].clone().addmm_(x[0, 1], x[0, 2])), 2 * 32**3),
    "batches added": (lambda: Runs(lambda x, _: torch.addbmm(x[0, 0], x[0], x[0])), 2 * 3 * 32**3),
    "einsum": (lambda: Runs(lambda x, _: torch.einsum("bchw,bdhw->bcd", x, x)), 2 * 9 * 32 * 32),
    "distances": (lambda: Runs(lambda x, _: torch.cdist(x[0, 0], x[0, 1])), 2 * 32 * 32 * (32 + 2)),
    "fewer keys than queries": (
        lambda: Runs(lambda x, _: functional.scaled_dot_product_attention(x, x[:, :1], x[:, :1], enable_gqa=True)),
        2 * 2 * 3 * 32**3,
    ),
    "transposed convolution": (lambda: nn.ConvTranspose2d(3, 8, 3, stride=2), 2 * 32 * 32 * 3 * 8 * 9),
    "transposed, in groups": (lambda: nn.ConvTranspose2d(3, 6, 2, groups=3), 2 * 32 * 32 * 3 * 2 * 4),
    "one side": (lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 8, 5)), 2 * 1020 * 3 * 8 * 5),
    "three sides": (lambda: nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 8, 2)), 2 * 2 * 31 * 31 * 8 * 8),
    "two recurrent layers, both ways": (
        lambda: Runs(rows, nn.LSTM(32, 64, num_layers=2, bidirectional=True, batch_first=True)),
        2 * 2 * 32 * ((32 + 64) + (128 + 64)) * 4 * 64,
    ),
}


@pytest.mark.parametrize("name", list(COUNTED))
def test_the_account_and_the_trace_are_arithmetic(name: str) -> None:
    build, expected = COUNTED[name]
    found = flops_of_network(build, (3, 32, 32))
    assert (found.total, found.why_doubtful) == (expected, None)
    assert sum(product.flops for product in traced(build().eval(), torch.rand(1, 3, 32, 32))) == expected


@torch.library.custom_op("halfbyte_test::gram", mutates_args=())
def gram(images: Tensor) -> Tensor:
    return images.flatten(1) @ images.flatten(1).T


UNCOUNTED: dict[str, tuple[Callable[[Tensor, Any], Tensor], str]] = {
    "an operator of the user's": (lambda x, _: gram(x), "halfbyte_test::gram"),
    "Fourier": (lambda x, _: torch.fft.fft2(x).real, "aten::_fft_c2c"),
    "bilinear": (lambda x, _: functional.bilinear(x[:, 0], x[:, 1], torch.ones(5, 32, 32)), "aten::_trilinear"),
    "deformable": (lambda x, _: deform_conv2d(x, torch.zeros(1, 18, 30, 30), torch.ones(4, 3, 3, 3)), "deform_conv2d"),
    "inverse": (lambda x, _: torch.linalg.inv(x[0, 0] + 40 * torch.eye(32)), "linalg_inv"),
    "sparse": (lambda x, _: torch.sparse.mm(torch.eye(32).to_sparse(), x[0, 0]), "sparse"),
    "numpy": (lambda x, _: torch.from_numpy(x.numpy()[0, 0] @ x.numpy()[0, 1]), "numpy"),
}


@pytest.mark.parametrize("name", list(UNCOUNTED))
def test_what_nothing_counts_is_named(name: str) -> None:
    run, operator = UNCOUNTED[name]
    found = flops_of_network(lambda: Runs(run), (3, 32, 32))
    assert any(operator in each for each in found.uncounted)
    assert found.why_doubtful is not None


def test_what_does_not_multiply_is_not_named() -> None:
    found = flops_of_network(lambda: Runs(lambda x, _: functional.normalize(x.flatten(1)).softmax(1)), (3, 32, 32))
    assert (found.total, found.why_doubtful) == (0, None)


def test_backward_counts_both_gradients() -> None:
    layer, inputs = nn.Linear(16, 8, bias=False), torch.rand(4, 16, requires_grad=True)
    assert flops_of(lambda: layer(inputs).sum().backward()).total == 3 * 2 * 4 * 16 * 8
