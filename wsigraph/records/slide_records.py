"""The records that pass between stages.

Frozen dataclasses that check themselves: a record that exists is consistent. They hold numpy arrays or anything that
reads like one, and know nothing of torch, dask or files. Comparison is by identity; arrays have no single truth value.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Size
from wsigraph.records.display import RecordDisplay
from wsigraph.records.faults import refuse


class LazyArray(Protocol):
    """An array that may be on disk, such as a zarr or numpy array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> Any:
        """Element type."""

    def __getitem__(self, index: Any, /) -> Any:
        """Return the indexed part as a numpy array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One resolution of a slide file.

    Attributes
    ----------
    size : Size
        Pixels.
    downsample : Fraction
        Level-0 pixels spanned by one pixel of this level.
    tile : Size
        Native tile, in pixels of this level; the read unit that costs least.
    """

    size: Size
    downsample: Fraction
    tile: Size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SlideInfo(RecordDisplay):
    """Metadata of a slide: everything that is known without reading its pixels.

    Attributes
    ----------
    slide_id : str
        Name of the slide in outputs and manifests.
    path : str
        File; never part of a record's hash.
    sha256 : str
        Digest of the file's bytes (of the sorted instances for a DICOM series).
    vendor, reader : str
        Format as the reader names it, and the reader plugin that opened it.
    mpp : float
        Level-0 pixel size, um/px.
    mpp_source : str
        Where `mpp` comes from, e.g. ``"aperio.MPP"`` or ``"given"``.
    file_mpp : float or None
        What the file states, even when overruled.
    levels : tuple of Level
        From the finest to the coarsest; the first has downsample 1.
    associated : tuple of str
        Names of associated images (label, macro, thumbnail ...).
    warnings : tuple of str
        Warnings for the user, e.g. that a given mpp differs from the file's.
    origin : tuple of (int, int)
        Where pixel (0, 0) is on the file's plane, (x, y) in level-0 pixels: the corner of the scanned area.
    plane : Size or None
        Pixels of that plane at level 0; None where all of it is scanned.
    z, n_z : int
        The focal plane that is read, from 1, and how many the file holds.
    window : tuple of int or None
        Levels of 16-bit samples that became 0 and 255; None for 8 bits.
    icc : str
        Name of the ICC colour profile; empty where the file holds none.
    is_icc_applied : bool
        Whether pixels are converted by it.
    """

    slide_id: str
    path: str
    sha256: str
    vendor: str
    reader: str
    mpp: float
    mpp_source: str
    file_mpp: float | None
    levels: tuple[Level, ...]
    associated: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    origin: tuple[int, int] = (0, 0)
    plane: Size | None = None
    z: int = 1
    n_z: int = 1
    window: tuple[int, int] | None = None
    icc: str = ""
    is_icc_applied: bool = False

    def __post_init__(self) -> None:
        refuse(
            "SlideInfo",
            {
                "slide_id is empty": not self.slide_id,
                f"mpp is {self.mpp}, expected a positive number": not self.mpp > 0,
                "levels is empty": not self.levels,
                "the first level's downsample is not 1": bool(self.levels) and self.levels[0].downsample != 1,
            },
        )

    def facts(self) -> dict[str, str]:
        """Return what identifies the record and how large it is, by name."""
        size = self.levels[0].size
        return {
            "slide": self.slide_id,
            "size": f"{size.width} x {size.height} px",
            "pixel size": f"{self.mpp:g} um/px from {self.mpp_source}",
            "levels": str(len(self.levels)),
            "vendor": self.vendor,
            "reader": self.reader,
            **({"origin": "x {}, y {} px on the plane".format(*self.origin)} if self.plane else {}),
            **({"window": f"{self.window[0]} to {self.window[1]}"} if self.window else {}),
            **({"focal plane": f"{self.z} of {self.n_z}"} if self.n_z > 1 else {}),
            "warnings": str(len(self.warnings)),
        }


STAINS = {
    "h&e": ("hematoxylin", "eosin"),
    "h-dab": ("hematoxylin", "dab"),
    "h-aec": ("hematoxylin", "aec"),
    "pas": ("hematoxylin", "pas"),
    "alcian-blue": ("hematoxylin", "alcian_blue"),
    "perls": ("nuclear_fast_red", "prussian_blue"),
    "trichrome": ("aniline_blue", "ponceau_fuchsin"),
}
"""What a section may be stained with, and its two stains: first that of the nuclei, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class StainBasis(RecordDisplay):
    """Colours of the two stains and the fixed scales that non-linear features need.

    Attributes
    ----------
    vectors : float64 (2, 3)
        Unit optical-density vectors over (R, G, B): hematoxylin, eosin.
    max_concentration : float64 (2,)
        99th percentile of each stain's concentration over the sampled tissue, in optical density.
    nucleus_threshold : float
        Hematoxylin concentration above which a pixel may be nucleus, in optical density.
    source : str
        ``"macenko"`` where estimated from the slide, ``"reference"`` where the slide gave no usable estimate.
    name : str
        What the section is stained with, one of ``slide.stain``.
    """

    vectors: NDArray[np.float64]
    max_concentration: NDArray[np.float64]
    nucleus_threshold: float
    source: str
    name: str = "h&e"

    def __post_init__(self) -> None:
        refuse(
            "StainBasis",
            {
                f"vectors has shape {self.vectors.shape}, expected (2, 3)": self.vectors.shape != (2, 3),
                f"stain {self.name!r} is unknown": self.name not in STAINS,
                "max_concentration is not two positive numbers": self.max_concentration.shape != (2,)
                or not bool((self.max_concentration > 0).all()),
            },
        )

    @property
    def stains(self) -> tuple[str, str]:
        """Names of the two stains, as feature names spell them."""
        return STAINS[self.name]

    def facts(self) -> dict[str, str]:
        """Return what identifies the record and how large it is, by name."""
        return {
            "source": self.source,
            **{name: _vector(vector) for name, vector in zip(self.stains, self.vectors, strict=True)},
            "nucleus threshold": f"{self.nucleus_threshold:.3g}",
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TissueMap(RecordDisplay):
    """Tissue on one global low-power grid.

    Attributes
    ----------
    tissue : uint8 (h, w)
        1 where tissue is analysed, 0 elsewhere.
    artefact : uint8 (h, w)
        Reason code a pixel; 0 where there is none (codes: ``wsigraph.graph.tissue.artefact``).
    section : uint16 (h, w)
        Number of the tissue section, 1 upwards in raster order; 0 outside tissue.
    mpp : float
        Spacing of the low-power grid, um.
    stain : StainBasis
        Stains of the tissue.
    refusal : str
        Why the slide is no H&E section, where the work went on all the same; empty for all others.
    warnings : tuple of str
        What makes the mask doubtful.
    """

    tissue: NDArray[np.uint8]
    artefact: NDArray[np.uint8]
    section: NDArray[np.uint16]
    mpp: float
    stain: StainBasis
    refusal: str = ""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = {self.tissue.shape, self.artefact.shape, self.section.shape}
        refuse(
            "TissueMap",
            {
                f"tissue, artefact and section differ in shape: {sorted(shapes)}": len(shapes) != 1,
                "arrays are not two-dimensional": self.tissue.ndim != 2,
                f"mpp is {self.mpp}, expected a positive number": not self.mpp > 0,
            },
        )

    def facts(self) -> dict[str, str]:
        """Return what identifies the record and how large it is, by name."""
        height, width = self.tissue.shape
        return {
            "grid": f"{width} x {height} px",
            "pixel size": f"{self.mpp:g} um/px",
            "tissue": f"{self.tissue.mean() if self.tissue.size else 0.0:.1%}",
            "sections": str(int(self.section.max(initial=0))),
            "stain": self.stain.source,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SuperpixelLabels(RecordDisplay):
    """The partition of the tissue into superpixels.

    Attributes
    ----------
    labels : int32 (H, W), lazy
        0 outside tissue, else 1..N in raster order of first pixel.
    n_superpixels : int
        N.
    mpp : float
        Working pixel size, um/px.
    tissue : TissueMap
        The tissue that was partitioned.
    """

    labels: LazyArray
    n_superpixels: int
    mpp: float
    tissue: TissueMap

    def __post_init__(self) -> None:
        refuse(
            "SuperpixelLabels",
            {
                f"labels has {len(self.labels.shape)} axes, expected 2": len(self.labels.shape) != 2,
                f"labels holds {self.labels.dtype}, expected int32": np.dtype(self.labels.dtype) != np.int32,
                "n_superpixels is below 1": self.n_superpixels < 1,
                f"mpp is {self.mpp}, expected a positive number": not self.mpp > 0,
            },
        )

    @property
    def size(self) -> Size:
        """Size of the label image in working pixels."""
        return Size(int(self.labels.shape[0]), int(self.labels.shape[1]))

    def facts(self) -> dict[str, str]:
        """Return what identifies the record and how large it is, by name."""
        return {
            "superpixels": f"{self.n_superpixels:,}",
            "size": f"{self.size.width} x {self.size.height} px",
            "pixel size": f"{self.mpp:g} um/px",
        }


def _vector(values: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in values) + ")"
