from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from wsigraph.errors import MissingMpp
from wsigraph.geometry import Size
from wsigraph.records import Level
from wsigraph.slide import mpp
from wsigraph.slide.description import FileDescription, level_downsample, make_levels


def _described(
    stated: float | None, source: str | None = "aperio.MPP", y: float | None = None, power: float | None = None
) -> FileDescription:
    level = Level(size=Size(10, 10), downsample=Fraction(1), tile=Size(10, 10))
    return FileDescription(
        vendor="aperio",
        levels=(level,),
        scales=((1,),),
        mpp=stated,
        mpp_y=y,
        mpp_source=source,
        objective_power=power,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Aperio Image Library v11\r\n46000x32914|AppMag = 20|MPP = 0.4990|Left = 25.6", 0.499),
        ("x|MPP=0,25", 0.25),
        ("x|AppMag = 40|OriginalMPP = 0.25", None),
        ("x|MPP = unknown", None),
        ("x|MPP = nan", None),
        ("x|MPP = -0.25", None),
        ("", None),
    ],
)
def test_aperio_states_it_in_its_description(text: str, expected: float | None) -> None:
    assert mpp.from_aperio(text) == (None if expected is None else (expected, expected, "aperio.MPP"))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('PhysicalSizeX="0.25" PhysicalSizeY="0.25"', (0.25, 0.25)),
        ('PhysicalSizeX="0.25"', (0.25, 0.25)),
        ('PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.3" PhysicalSizeYUnit="\u00b5m"', (0.25, 0.3)),
        ('PhysicalSizeX="0.00025" PhysicalSizeXUnit="mm"', (0.25, 0.25)),
        ('PhysicalSizeX="0.25" PhysicalSizeXUnit="&#181;m"', (0.25, 0.25)),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel"', None),
        ('PhysicalSizeY="0.25"', None),
        ('SizeX="10"', None),
    ],
)
def test_ome_states_it_with_a_unit(attributes: str, expected: tuple[float, float] | None) -> None:
    xml = f'<OME xmlns="x"><Image><ome:Pixels Type="uint8" {attributes}/></Image><Pixels PhysicalSizeX="9"/></OME>'
    assert mpp.from_ome(xml) == (None if expected is None else (*expected, "ome.PhysicalSizeX"))


@pytest.mark.parametrize(
    ("x", "y", "unit", "expected"),
    [
        (20000.0, 20000.0, 3, (0.5, 0.5)),
        (50800.0, 25400.0, 2, (0.5, 1.0)),
        (3412.9692832764504, 3412.9692832764504, 3, (2.93, 2.93)),
        (96.0, 96.0, 1, None),
        (96.0, 96.0, 0, None),
        (0.0, 96.0, 2, None),
        (float("inf"), 96.0, 2, None),
    ],
)
def test_resolution_counts_with_a_real_unit_only(
    x: float, y: float, unit: int, expected: tuple[float, float] | None
) -> None:
    assert mpp.from_resolution(x, y, unit) == (None if expected is None else (*expected, "tiff.XResolution"))


@pytest.mark.parametrize("y", [0.5, 0.253, 0.247, 0.125])
def test_pixels_that_are_not_square_are_refused_with_both_sides(y: float) -> None:
    with pytest.raises(MissingMpp, match=rf"not square, 0.25 um along x and {y:g} along y \(aperio.MPP\)") as caught:
        mpp.settle_mpp("a.tiff", _described(0.25, y=y), None)
    assert "resample it to square pixels" in str(caught.value)


@pytest.mark.parametrize("y", [None, 0.25, 0.252, 0.248])
def test_pixels_are_square_within_one_percent(y: float | None) -> None:
    assert mpp.settle_mpp("a.tiff", _described(0.25, y=y), None) == (0.25, "aperio.MPP", ())


def test_a_given_size_overrules_both_sides_with_a_warning() -> None:
    assert mpp.settle_mpp("a.tiff", _described(0.25, y=0.5), 0.25) == (
        0.25,
        "given",
        (
            "the given pixel size of 0.25 um/px overrules the file's 0.25 um along x and 0.5 along y (aperio.MPP)",
        ),
    )  # fmt: skip


@pytest.mark.parametrize("given", [None, 2.5])
def test_a_size_that_contradicts_the_objective_is_a_warning(given: float | None) -> None:
    (warning,) = mpp.settle_mpp("a.svs", _described(2.5, power=40.0), given)[2]
    assert warning.startswith("the pixel size of 2.5 um/px does not fit the objective of 40 x: it is 100 um")
    assert mpp.settle_mpp("a.svs", _described(2.5, power=40.0), 0.25)[2] == (
        "the given pixel size of 0.25 um/px overrules the file's 2.5 (aperio.MPP)",
    )


def test_no_hint_shows_a_number_that_a_user_might_copy() -> None:
    sources = sorted(Path(mpp.__file__).parents[1].rglob("*.py"))
    assert sources
    number = re.compile(r"--mpp[ =]+[\d.]+|e\.g\. 0\.25")
    assert [path.name for path in sources if number.search(path.read_text(encoding="utf-8"))] == []


def test_absent_sizes_are_refused() -> None:
    message = r"^slide 'a.tiff' holds no pixel size; state it in the manifest's mpp column or with --mpp UM$"
    with pytest.raises(MissingMpp, match=message):
        mpp.settle_mpp("a.tiff", _described(None, None), None)
    assert mpp.settle_mpp("a.tiff", _described(None, None), 0.25) == (0.25, "given", ())


@pytest.mark.parametrize("stated", [0.0499, 20.01, 264.58, 896.0, 1e-9])
def test_absurd_sizes_are_refused(stated: float) -> None:
    with pytest.raises(MissingMpp, match=r"outside the credible 0.05 to 20; measure the right one and state it"):
        mpp.settle_mpp("a.tiff", _described(stated), None)
    with pytest.raises(MissingMpp, match=r"expected 0.05 to 20"):
        mpp.settle_mpp("a.tiff", _described(0.5), stated)
    settled, source, warnings = mpp.settle_mpp("a.tiff", _described(stated), 0.5)
    assert (settled, source, len(warnings)) == (0.5, "given", 1)


@pytest.mark.parametrize("given", [0.0, -0.5, float("nan"), float("inf")])
def test_a_given_size_that_is_no_size_is_refused(given: float) -> None:
    with pytest.raises(MissingMpp, match=r"expected 0.05 to 20"):
        mpp.settle_mpp("a.tiff", _described(0.5), given)


def test_the_bounds_themselves_are_credible() -> None:
    assert mpp.settle_mpp("a", _described(0.05), None) == (0.05, "aperio.MPP", ())
    assert mpp.settle_mpp("a", _described(20.0), None) == (20.0, "aperio.MPP", ())


@pytest.mark.parametrize(
    ("finest", "size", "expected"),
    [
        (Size(2500, 2500), Size(312, 312), Fraction(8)),
        (Size(32914, 46000), Size(8228, 11500), Fraction(4)),
        (Size(32914, 46000), Size(8229, 11500), Fraction(4)),
        (Size(3000, 3000), Size(1000, 1000), Fraction(3)),
        (Size(3000, 3000), Size(1200, 1200), Fraction(5, 2)),
        (Size(100, 3000), Size(25, 1200), Fraction(5, 2)),
        (Size(7, 7), Size(7, 7), Fraction(1)),
    ],
)
def test_downsamples_are_whole_where_rounding_explains_the_rest(finest: Size, size: Size, expected: Fraction) -> None:
    assert level_downsample(finest, size) == expected


def test_levels_count_from_the_first() -> None:
    levels = make_levels([(Size(100, 100), Size(16, 16)), (Size(50, 50), Size(16, 32))])
    assert [level.downsample for level in levels] == [1, 2]
    assert levels[1].tile == Size(16, 32)
