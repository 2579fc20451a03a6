"""A file must be large enough for the pixels that it claims."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from wsigraph.errors import TooLarge, UnreadableSlide
from wsigraph.geometry import Size
from wsigraph.records import Level
from wsigraph.slide.description import FileDescription
from wsigraph.slide.plausible_size import check_area, check_density


def described(height: int, width: int) -> FileDescription:
    return FileDescription(
        vendor="",
        mpp=0.25,
        scales=((1,),),
        levels=(Level(size=Size(height, width), downsample=Fraction(1), tile=Size(256, 256)),),
    )


def written(path: Path, n_bytes: int) -> Path:
    path.write_bytes(bytes(n_bytes))
    return path


def test_fewer_bytes_than_any_codec_writes_are_refused(tmp_path: Path) -> None:
    tiny = written(tmp_path / "tiny.tiff", 134)
    with pytest.raises(UnreadableSlide, match=r"claims 400000 x 400000 pixels in 134 bytes"):
        check_density(tiny, described(400_000, 400_000))
    # a white slide of 80,000 x 80,000 px in empty tiles of 256 px: eight bytes of index for each
    check_density(written(tmp_path / "white.tiff", 8 * 313 * 313), described(80_000, 80_000))
    # small pictures are not judged
    check_density(tiny, described(3000, 3000))


def test_more_pixels_than_allowed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match=r"service\.job_max_mpx"):
        check_area(tmp_path, described(2000, 2000), 3.0)
    check_area(tmp_path, described(2000, 2000), 4.0)
    check_area(tmp_path, described(2000, 2000), 0.0)
