"""From a file to pixels: formats, sizes, bit depths, and why an image is refused.

Index, pixel array, inference and the classifier's preprocessing all decode here, so they accept the same images and
get the same pixels.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.PngImagePlugin import PngImageFile

from malaria_kedro.cells.deep import (
    BLACK_IS_ZERO,
    IN_PLANES,
    RGB,
    pieces_of_a_plane,
    read_deep_png,
    read_deep_tiff,
    tag_values,
    with_clear_colour,
)
from malaria_kedro.cells.plain_files import read_file
from malaria_kedro.cells.png import SIGNATURE, decode_plain_png
from malaria_kedro.cells.resizing import resize_cell
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.language import N_

logger = logging.getLogger(__name__)

# The documented formats only: among Pillow's others are some that start external programs (EPS).
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
# 5,000 px per side, 75 MB decoded: no crop of one cell but a whole slide or a decompression bomb. Pillow itself refuses
# from 179 million px on, which on many threads is gigabytes.
MAX_CELL_PIXELS = 25_000_000
MIN_SIDE = 16  # px; the smallest NIH cell has 40 px, and a smaller image shows no parasite

UNREADABLE, TOO_SMALL = N_("unreadable"), N_("too_small")  # refused: such an image has no pixels for the network
SEVERAL_PAGES, EXIF_ROTATED, FEW_BITS = "several_pages", "exif_rotated", "few_bits"  # the cell is used all the same

BIT_DEPTHS = (8, 10, 12, 14, 16)  # of cameras, whose values are stored in 16 bits
# A few dark crops do not mean another camera; beyond this share of the set they do, or a wrong exposure.
MAX_DIM_SHARE = 0.05

LOST_BITS = "Pillow's image of a file with 16-bit colours has lost half of the bits: give the file itself"
ALL_TRANSPARENT = N_("it is transparent everywhere: save it without transparency")

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WHITE_IS_ZERO, YCBCR = 0, 6
OLD_JPEG, TIFF_JPEG = 6, 7

Size = tuple[int, int] | tuple[None, None]  # width and height, px
AnyImage = str | Path | bytes | Image.Image | np.ndarray


class ImageError(MalariaKedroError, ValueError):
    """An image is refused.

    Attributes:
        reason: why, without the file's name.
        flag: ``unreadable`` or ``too_small``.
        size: width and height, px; None = unknown.
    """

    def __init__(self, reason: str, *, name: str = "", flag: str = UNREADABLE, size: Size = (None, None)) -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.reason, self.flag, self.size = reason, flag, size

    def named(self, source: object) -> ImageError:
        """Return the same refusal, with the path in its message where the source is one."""
        if not isinstance(source, str | Path):
            return self
        return ImageError(self.reason, name=str(source), flag=self.flag, size=self.size)


class BitDepthError(MalariaKedroError, ValueError):
    """A set of images has no single bit depth; the message says why and what to do."""


@dataclass(frozen=True, eq=False)  # because arrays have no single answer to ==
class DecodedImage:
    """An image as stored in its file, before resizing.

    Attributes:
        values: uint8 H×W×3, RGB, what is transparent laid over black; or, of a 16-bit image, the raw values, uint16
            H×W×C: grey (1), grey and alpha (2), RGB (3) or RGB and alpha (4).
        remarks: what is worth knowing, ``flag -> what it means here``: ``several_pages``, ``exif_rotated``.
    """

    values: np.ndarray
    remarks: Mapping[str, str]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""
        return self.values.shape[1], self.values.shape[0]

    @property
    def colours(self) -> np.ndarray:
        """The values without alpha, H×W×1 or H×W×3."""
        return self.values[..., : 1 if self.values.shape[2] < 3 else 3]

    @cached_property
    def peak(self) -> int | None:
        """The largest colour value of a 16-bit image, 0-65,535; None for 8-bit ones, whose range is known."""
        return None if self.values.dtype == np.uint8 else int(self.colours.max())

    @cached_property
    def sha256(self) -> str:
        """Sha256 of shape, type and values: equal pictures have equal ones, whatever their files are."""
        digest = hashlib.sha256(f"{self.values.shape} {self.values.dtype.name}".encode())
        digest.update(np.ascontiguousarray(self.values).data)
        return digest.hexdigest()

    def remarks_at(self, bit_depth: int | None) -> dict[str, str]:
        """Return the remarks, and ``few_bits`` where a 16-bit image is as dark as one of a camera of fewer bits is."""
        remarks = dict(self.remarks)
        if self.peak is not None and bit_depth is not None and bit_depth > 8 and not self.peak >> (bit_depth - 2):
            few = N_("its largest value, {value}, needs {needed} of {bits} bits or fewer")
            remarks[FEW_BITS] = few.format(value=self.peak, needed=bit_depth - 2, bits=bit_depth)
        return remarks

    def rgb(self, bit_depth: int | None = None) -> np.ndarray:
        """Return uint8 H×W×3, RGB.

        Args:
            bit_depth: bits that the values of a 16-bit image have, see ``find_bit_depth``; their lowest bits are
                dropped so that 8 stay. It changes nothing about an 8-bit image.

        Raises:
            ImageError: a 16-bit image without a bit depth, or with values beyond it.
        """
        if self.peak is None:
            return self.values
        if bit_depth is None:
            raise ImageError(
                "its 16-bit values have no known depth, and the classifier tells none: give the camera's "
                "(inference.bit_depth, malaria-kedro predict --bit-depth, bit_depth= in Python)",
                size=self.size,
            )
        check_bit_depth(bit_depth)
        if self.peak >> bit_depth:
            raise ImageError(
                f"its largest value, {self.peak}, is beyond {bit_depth} bits: it is of another camera than the depth "
                "(image.bit_depth, inference.bit_depth)",
                size=self.size,
            )
        colours = (self.colours >> (bit_depth - 8)).astype(np.uint8)
        rgb = np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours
        if self.values.shape[2] in (1, 3):
            return np.ascontiguousarray(rgb)
        alpha = self.values[..., -1]
        # Most programs write an opaque 65,535 beside the values of a 12-bit camera, and some 4,095.
        bits = 16 if (alpha >> bit_depth).any() else bit_depth
        layers = np.dstack([rgb, (alpha >> (bits - 8)).astype(np.uint8)])
        return np.array(_flat(Image.fromarray(layers, "RGBA")).convert("RGB"))


# --- from a file ------------------------------------------------------------------------------------------------


def open_image(source: AnyImage) -> DecodedImage:
    """Decode one image of at least 16 px per side and at most 25 million px.

    Formats are PNG, JPEG, TIFF and BMP, whatever the file's name. Grey and palette images become RGB, transparent
    pixels become black (the NIH cells are cut out on black), and CMYK is converted without a colour profile. 16-bit
    grey and RGB keep all of their bits, for ``DecodedImage.rgb``. The first of several pages is read
    (``several_pages``). Exif rotation is applied to TIFF, but not to PNG and JPEG (``exif_rotated``).

    Args:
        source: a file's path or its bytes; an image that Pillow has opened; or a uint8 H×W×3 array, RGB. Pillow keeps
            eight of the 16 bits of a colour: its image is refused if it still shows that, and accepted if it was
            converted or copied since.

    Raises:
        ImageError: the image is missing, empty, damaged, truncated, too large, too small, or has an unsupported format,
            mode or values. The message names the path, if there is one.
    """
    try:
        if isinstance(source, np.ndarray):
            image = _from_array(source)
        elif isinstance(source, Image.Image):
            image = _from_pillow(source)
        else:
            image = _from_bytes(source if isinstance(source, bytes) else read_file(source))
        if image.values.shape[2] in (2, 4) and not image.values[..., -1].any():
            raise ImageError(ALL_TRANSPARENT)
        if min(image.size) < MIN_SIDE:
            small = N_("{width} × {height} px: less than {least} a side")
            too_small = small.format(width=image.size[0], height=image.size[1], least=MIN_SIDE)
            raise ImageError(too_small, flag=TOO_SMALL, size=image.size)
        return image
    except MemoryError:
        raise
    except ImageError as error:
        raise error.named(source) from error.__cause__
    except Exception as error:  # Pillow's decoders raise many kinds; any of them means one unusable image
        raise ImageError(explain(error)).named(source) from error


def explain(error: Exception) -> str:
    """Return in a few words why an image cannot be read, the same in every run, and without the image's path."""
    if isinstance(error, Image.UnidentifiedImageError):
        unknown = N_("not a {formats} or {last} image, or its header is damaged")
        return unknown.format(formats=", ".join(FORMATS[:-1]), last=FORMATS[-1])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # Pillow names the buffer (<_io.BytesIO object at 0x…>): of no use, and another text in every run.
    said = " ".join(re.sub(r"<_io\.[^>]*>", "", str(error)).split())
    return said or type(error).__name__


def _from_bytes(data: bytes) -> DecodedImage:
    if not data:
        raise ImageError(N_("the file is empty"))
    if (rgb := decode_plain_png(data)) is not None:
        return DecodedImage(rgb, {})
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.width, image.height)
            _check_tiff(image)
            remarks = _exif_remark(image)  # the first, for Pillow forgets a TIFF's orientation when it turns it
            deep = _read_deep(image, data)
            values = np.array(_eight_bit_rgb(image)) if deep is None else deep
            if _has_another_page(image):  # the last, for looking for it goes on to it
                remarks[SEVERAL_PAGES] = N_("only the first of several pages is read")
            return DecodedImage(values, remarks)
    except (Image.UnidentifiedImageError, LookupError, TypeError, ArithmeticError, struct.error) as error:
        # The latter are what damaged tags lead to, here and in Pillow.
        if not data.startswith(TIFF_STARTS):
            raise
        why = "a TIFF that is damaged or of a kind that is not read: save it as 8- or 16-bit grey or RGB"
        raise ImageError(why) from error


def _from_pillow(image: Image.Image) -> DecodedImage:
    _check_size(image.width, image.height)
    _check_tiff(image)
    remarks = _exif_remark(image)
    if image.mode.startswith("I;16"):
        if tag_values(image, Tag.BitsPerSample) == (12,):
            return DecodedImage(np.array(_eight_bit_rgb(image)), remarks)
        values = np.asarray(image).astype(np.uint16)[..., None]
        return DecodedImage(with_clear_colour(values, image.info.get("transparency")), remarks)
    if 16 in tag_values(image, Tag.BitsPerSample) or any(
        re.search(";16[BLN]", str(tile[3])) for tile in getattr(image, "tile", ())
    ):
        raise ImageError(LOST_BITS)
    if isinstance(image, PngImageFile) and not image.tile and image.mode in ("RGB", "RGBA", "LA"):
        _check_bits_of_loaded(image)
    return DecodedImage(np.array(_eight_bit_rgb(image)), remarks)


def _check_bits_of_loaded(image: PngImageFile) -> None:
    """Refuse a PNG that Pillow has loaded, which no longer tells its depth, unless its file says that it has 8 bits."""
    try:
        with open(image.filename, "rb") as file:
            start = file.read(25)
    except (OSError, ValueError):  # no file, or a bytes object's
        start = b""
    if start[:8] != SIGNATURE or start[12:16] != b"IHDR":
        raise ImageError(
            "Pillow has loaded this PNG, and no longer tells whether it had 16-bit colours: give the file itself, or, "
            'if it has 8 bits, image.convert("RGB")'
        )
    if start[24] == 16:
        raise ImageError(LOST_BITS)


def _from_array(array: np.ndarray) -> DecodedImage:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(f"an array must be uint8 H×W×3, RGB; this one is {array.dtype} {array.shape}")
    _check_size(array.shape[1], array.shape[0])
    return DecodedImage(np.array(array, order="C"), {})


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_CELL_PIXELS:
        raise ImageError(N_("{width} × {height} px are too many for one cell").format(width=width, height=height))


def _check_tiff(image: Image.Image) -> None:
    """Refuse what Pillow would read as something else."""
    tags = getattr(image, "tag_v2", None)
    if not tags:
        return
    bits, kinds = max(tag_values(image, Tag.BitsPerSample), default=1), tag_values(image, Tag.SampleFormat)
    if set(kinds) - {1}:
        kind = {2: "signed", 3: "floating-point"}.get(kinds[0], "undefined")
        raise ImageError(f"{bits}-bit values ({kind}) have no known range: save it as 8-bit RGB")
    colours, compression = tags.get(Tag.PhotometricInterpretation, WHITE_IS_ZERO), tags.get(Tag.Compression, 1)
    if colours == YCBCR and compression not in (OLD_JPEG, TIFF_JPEG):
        raise ImageError("a TIFF of YCbCr colours without JPEG compression is not read: save it as RGB")
    if bits > 8 and colours not in (BLACK_IS_ZERO, RGB):
        raise ImageError(f"a {bits}-bit TIFF that is neither RGB nor grey with 0 for black is not read: save it as one")
    if bits > 8 and tags.get(Tag.FillOrder, 1) != 1:
        raise ImageError(f"a {bits}-bit TIFF with its bits in reverse order is not read: save it in the usual one")
    planar, samples = tags.get(Tag.PlanarConfiguration, 1) == IN_PLANES, tags.get(Tag.SamplesPerPixel, 1)
    if planar and samples == 2 and max(tag_values(image, Tag.ExtraSamples), default=0) > 0:
        raise ImageError("a TIFF of grey and alpha in planes is not read: save it as RGB")
    if compression == OLD_JPEG:  # lies in no strips
        return
    pieces = tag_values(image, Tag.TileOffsets) or tag_values(image, Tag.StripOffsets)
    if len(pieces) < pieces_of_a_plane(tags) * (samples if planar else 1):
        raise ImageError("some of its strips or tiles are missing")


def _eight_bit_rgb(image: Image.Image) -> Image.Image:
    """Turn an image whose values have a known range into 8-bit RGB; what is 8-bit RGB is returned as it is, decoded."""
    if image.mode.startswith("I;16"):  # packed in 12 bits, as the file says
        image = Image.fromarray((np.asarray(image) >> 4).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ImageError(f"32-bit values (Pillow's mode {image.mode}) have no known range: save it as 8-bit RGB")
    elif image.mode in ("LAB", "HSV"):
        raise ImageError(f"{image.mode} colours are not read: save it as RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (0, 0):  # as in 32-bit BMPs whose fourth byte says nothing
            raise ImageError(ALL_TRANSPARENT)
        image = _flat(image)
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()  # what is damaged is found here, as in any conversion
    return image


def _flat(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)


def _read_deep(image: Image.Image, data: bytes) -> np.ndarray | None:
    """Return the values of a 16-bit image, uint16 H×W×C; None = it has 8 bits, or a known range."""
    if image.format == "PNG":
        return read_deep_png(image, data)
    values, orientation = read_deep_tiff(image, data), _orientation(image)
    if values is None:
        return None
    # As Pillow turns the 8-bit ones.
    if 5 <= orientation <= 8:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


# --- what is worth knowing --------------------------------------------------------------------------------------


def _exif_remark(image: Image.Image) -> dict[str, str]:
    if image.format == "TIFF":
        orientation = _orientation(image)
        return (
            {EXIF_ROTATED: N_("orientation {n} is applied").format(n=orientation)} if orientation in range(2, 9) else {}
        )
    try:
        wanted = image.getexif().get(Tag.Orientation, 1) if "exif" in image.info else 1
    except Exception:  # a damaged Exif block does not affect the pixels
        return {}
    return {} if wanted == 1 else {EXIF_ROTATED: N_("Exif orientation {n} is not applied").format(n=wanted)}


def _orientation(image: Image.Image) -> int:
    """Return the orientation of a TIFF, 1-8; 1 = as it lies."""
    return (tag_values(image, Tag.Orientation) or (1,))[0]


def _has_another_page(image: Image.Image) -> bool:
    # Looking for a second page and not counting them: a TIFF may have a hundred thousand.
    try:
        image.seek(1)
    except Exception as error:  # any other: there is one, and it is damaged, which does not affect the first
        return not isinstance(error, EOFError)
    return True


# --- how deep ---------------------------------------------------------------------------------------------------


def check_bit_depth(bit_depth: int | None) -> int | None:
    """Return a bit depth; ``BitDepthError``: it is none of 8, 10, 12, 14 and 16, and not None."""
    if bit_depth is not None and (isinstance(bit_depth, bool) or bit_depth not in BIT_DEPTHS):
        raise BitDepthError(f"a bit depth of {bit_depth!r} is none: give one of {', '.join(map(str, BIT_DEPTHS))}")
    return bit_depth


def find_bit_depth(peaks: Mapping[str, int], given: int | None = None) -> int | None:
    """Find how many bits the values of a set's 16-bit images have: once over the set, never image by image.

    A camera of 12 bits writes values up to 4,095 into files of 16 bits, and nothing in a file says so.

    Args:
        peaks: the largest value of each 16-bit image, by name.
        given: the depth that the user knows (``image.bit_depth``); None = the smallest that holds the largest peak.

    Returns:
        8, 10, 12, 14 or 16; None where the set has no 16-bit image.

    Raises:
        BitDepthError: values beyond the given depth, or images that plainly have another depth than the rest.
    """
    check_bit_depth(given)
    if not peaks:
        return None
    brightest = max(peaks, key=peaks.__getitem__)
    n, largest = len(peaks), peaks[brightest]
    needed = next(depth for depth in BIT_DEPTHS if not largest >> depth)
    if given is not None:
        if beyond := sum(1 for peak in peaks.values() if peak >> given):
            raise BitDepthError(
                f"image.bit_depth is {given}, and {beyond} of {n} 16-bit images have values beyond it, up to "
                f"{largest} in {brightest}: separate the cameras, or give {needed} if all are of one"
            )
        if needed < given:
            logger.warning(
                "the values of %d 16-bit images are taken for %d bits (image.bit_depth); the largest, %d, fits %d: "
                "they are dark if that is their depth",
                n,
                given,
                largest,
                needed,
            )
        else:
            logger.info("the values of %d 16-bit images have %d bits (image.bit_depth)", n, given)
        return given
    dim = [name for name, peak in peaks.items() if not peak >> (needed - 2)] if needed > BIT_DEPTHS[0] else []
    if len(dim) > MAX_DIM_SHARE * n:
        raise BitDepthError(
            f"the 16-bit images have no single depth: {brightest} has values up to {largest} ({needed} bits), "
            f"and all values of {len(dim)} of {n} images fit {needed - 2} bits or fewer (e.g. {dim[0]}, up to "
            f"{peaks[dim[0]]}): separate the cameras, or give image.bit_depth if all are of one"
        )
    logger.info("the values of %d 16-bit images have %d bits: the largest is %d", n, needed, largest)
    if dim:
        logger.warning(
            "%d of these images fit %d bits or fewer (e.g. %s, up to %d): taken for dark ones of the same camera",
            len(dim),
            needed - 2,
            dim[0],
            peaks[dim[0]],
        )
    return needed


def decode_cell(
    source: AnyImage, size: int, bit_depth: int | None = None, *, remark: Callable[[str], object] | None = None
) -> np.ndarray:
    """Decode one cell image and squish it to a square.

    Training and inference both use this function, so that their pixels agree. It accepts and refuses the same images as
    ``open_image``.

    Args:
        source: an image file or its bytes, an image that Pillow has opened, or a uint8 H×W×3 array.
        size: side of the result, px.
        bit_depth: bits of the values in a 16-bit image, see ``find_bit_depth``; not needed for 8-bit images.
        remark: called with a remark about the image, such as a rotation that is not applied.

    Returns:
        uint8, ``size × size × 3``, RGB, 0-255.

    Raises:
        ImageError: the image is refused; the message names the file, if there is one.
    """
    image = open_image(source)
    if remark:
        for meaning in image.remarks_at(bit_depth).values():
            remark(meaning)
    try:
        return resize_cell(image.rgb(bit_depth), size)
    except ImageError as error:
        raise error.named(source) from error.__cause__
