"""Images of every depth and mode as 8-bit RGB, by values worked out from the formats' definitions."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.decode import UnknownWhiteError, to_rgb

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def rgb_of(path: Path) -> np.ndarray:
    with Image.open(path) as image, warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = to_rgb(image)
    assert converted.mode == "RGB"
    return np.asarray(converted)


def grey_tiff(path: Path, data: bytes, *, side: int, bits: int, white_is_zero: bool, order: str = "<") -> None:
    """Uncompressed TIFF of one strip, written by hand: Pillow writes neither 12 bits nor inverted grey."""
    tags = [(256, side), (257, side), (258, bits), (259, 1), (262, 0 if white_is_zero else 1), (273, 0), (277, 1),
            (278, side), (279, len(data))]  # fmt: skip
    begin = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, begin if tag == 273 else value) for tag, value in tags)
    head = b"II*\0" if order == "<" else b"MM\0*"
    path.write_bytes(head + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4) + data)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bit_grey_is_its_eight_bit_twin(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / f"deep{suffix}")
    assert (rgb_of(tmp_path / f"deep{suffix}") == GREY[..., None]).all()


def test_sixteen_bits_are_rounded_to_the_nearest(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 32767, 32768, 65406, 65407, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert rgb_of(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0, 1, 127, 128, 254, 255, 255]


@pytest.mark.parametrize(("order", "white_is_zero"), [("<", False), ("<", True), (">", False)])
def test_sixteen_bit_tiff_of_either_byte_order_and_polarity(tmp_path: Path, order: str, white_is_zero: bool) -> None:
    deep = GREY.astype(np.uint16) * 257
    data = (65535 - deep if white_is_zero else deep).astype(f"{order}u2").tobytes()
    grey_tiff(tmp_path / "deep.tif", data, side=16, bits=16, white_is_zero=white_is_zero, order=order)
    assert (rgb_of(tmp_path / "deep.tif") == GREY[..., None]).all()


def test_twelve_bit_tiff_has_the_white_of_twelve_bits(tmp_path: Path) -> None:
    """Two pixels are three bytes: 0x000 and 0xFFF, then 0x800 and 0x7FF."""
    grey_tiff(tmp_path / "deep.tif", bytes.fromhex("000fff8007ff"), side=2, bits=12, white_is_zero=False)
    assert rgb_of(tmp_path / "deep.tif")[..., 0].tolist() == [[0, 255], [128, 127]]


def test_portable_grey_with_a_white_of_its_own(tmp_path: Path) -> None:
    values = np.array([0, 250, 500, 1000], ">u2")
    (tmp_path / "deep.pgm").write_bytes(b"P5 4 1 1000\n" + values.tobytes())
    assert rgb_of(tmp_path / "deep.pgm")[0, :, 0].tolist() == [0, 64, 128, 255]


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "bits.png")
    with Image.open(tmp_path / "bits.png") as image:
        assert image.mode == "1"
    assert (rgb_of(tmp_path / "bits.png") == np.where(GREY > 100, 255, 0)[..., None]).all()


@pytest.mark.parametrize("transparency", [3, bytes([0, 255, 128, 7])])
def test_a_palette_gives_its_colours_whatever_is_transparent(tmp_path: Path, transparency: int | bytes) -> None:
    colours = np.array([[9, 8, 7], [200, 100, 50], [0, 0, 255], [1, 2, 3]], np.uint8)
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8)).convert("L")
    palette = Image.frombytes("P", (2, 2), image.tobytes())
    palette.putpalette(colours.tobytes())
    palette.save(tmp_path / "palette.png", transparency=transparency)
    assert (rgb_of(tmp_path / "palette.png").reshape(4, 3) == colours).all()


def test_grey_with_transparency_is_its_grey(tmp_path: Path) -> None:
    Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(GREY.T.copy())]).save(tmp_path / "grey.png")
    assert (rgb_of(tmp_path / "grey.png") == GREY[..., None]).all()


def test_inks_darken_by_their_share(tmp_path: Path) -> None:
    inks = np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / "inks.tif")
    expected = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    assert np.abs(rgb_of(tmp_path / "inks.tif") - expected).max() <= 1


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_without_a_white_are_refused(tmp_path: Path, kind: type) -> None:
    Image.fromarray(GREY.astype(kind)).save(tmp_path / "deep.tif")
    with (
        Image.open(tmp_path / "deep.tif") as image,
        pytest.raises(UnknownWhiteError, match="save it with 8 or 16 bits"),
    ):
        to_rgb(image)
