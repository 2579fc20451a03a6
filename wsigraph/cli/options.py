"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.completion import encoders, named, nucleus_detectors, stains

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.endpoint import Endpoint
    from wsigraph.config import Config

ConfigFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings: a section file (superpixel.yaml), a file of several sections, or a directory. Repeatable.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, e.g. superpixel.spacing_um=40. Repeatable."),
]
Mpp = Annotated[
    float | None,
    typer.Option("--mpp", metavar="UM", help="Pixel size at full resolution, um/px; overrides the file."),
]
Features = Annotated[
    str | None,
    typer.Option(
        "--features",
        metavar="FILE|DIR",
        help="Feature files of TRIDENT, CLAM, STAMP or UNI2-h (.h5, .pt), with slides of the same names or alone.",
    ),
]
TilePx = Annotated[
    int | None,
    typer.Option(
        "--tile-px", min=1, metavar="N", help="Side of a tile in level-0 pixels, if a file does not state it."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else.")]
Out = Annotated[str, typer.Option("--out", metavar="DIR", help="Output directory; the files are in DIR/<slide>/.")]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME",
        help="Add the features of an image encoder, e.g. efficientnet_lite0.",
        autocompletion=encoders,
    ),
]
Nuclei = Annotated[
    str | None,
    typer.Option(
        "--nuclei",
        metavar="NAME",
        help="What finds nuclei: rule, network, none, or a plugin.",
        autocompletion=nucleus_detectors,
    ),
]
NucleiWeights = Annotated[
    str | None,
    typer.Option("--nuclei-weights", metavar="FILE", help="Weights for the network or the plugin of --nuclei."),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Continue with a slide that is not an H&E section or that the model was not made for; every output is "
        "marked.",
    ),
]
Stain = Annotated[
    str | None,
    typer.Option(
        "--stain",
        metavar="NAME",
        autocompletion=stains,
        help="What the section is stained with: h&e (the default), h-dab, h-aec, pas, alcian-blue, perls, trichrome. A "
        "model of another stain gives no prediction.",
    ),
]
Organ = Annotated[
    str | None,
    typer.Option(
        "--organ", metavar="NAME", help="Organ of the slides, compared with the model's card; also a manifest column."
    ),
]
Coordinates = Annotated[
    str | None,
    typer.Option(
        "--origin",
        metavar="bounds|plane",
        autocompletion=named("bounds", "plane"),
        help="What coordinates count from, of GeoJSON files and --roi: the corner of the scanned area, as QuPath shows "
        "it (the default), or of the file's whole plane.",
    ),
]
FocalPlane = Annotated[
    int | None,
    typer.Option("--z", min=1, metavar="N", help="Focal plane of a z-stack, from 1; the middle one by default."),
]
Roi = Annotated[
    str | None,
    typer.Option(
        "--roi",
        metavar="FILE",
        help="Use only the tissue inside these regions: QuPath GeoJSON, ImageScope XML or a label image (PNG, TIFF).",
    ),
]
TissueMask = Annotated[
    str | None,
    typer.Option("--tissue-mask", metavar="FILE", help="Take these regions as the tissue; a file as for --roi."),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=0, metavar="N", help="Number of threads; 0 uses all allowed cores.")
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where networks run: cpu (the default), cuda, cuda:1, mps, or auto, which is the first GPU there is.",
        autocompletion=named("cpu", "cuda", "mps", "auto"),
    ),
]
TimeColumn = Annotated[
    str | None,
    typer.Option("--time", metavar="COLUMN", help="Manifest column of follow-up in days; by default time_days."),
]
EventColumn = Annotated[
    str | None,
    typer.Option(
        "--event",
        metavar="COLUMN",
        help="Manifest column of the event: 0, 1, or 2 for a competing event; by default event.",
    ),
]
CompetingColumn = Annotated[
    str | None,
    typer.Option(
        "--competing", metavar="COLUMN", help="Manifest column of a competing event, e.g. death of any cause."
    ),
]


def read_endpoint(time: str | None, event: str | None, competing: str | None) -> Endpoint:
    """Return the columns that ``--time``, ``--event`` and ``--competing`` name."""
    from wsigraph.cohort.manifest.endpoint import Endpoint

    default = Endpoint()
    return Endpoint(time=time or default.time, event=event or default.event, competing=competing or "")


def forced(force: bool) -> dict[str, bool | None]:
    """Return the settings of ``--force``; None if it is not given, so that a settings file decides."""
    return {"slide.allow_non_he": True if force else None, "prediction.withhold": False if force else None}


def read_settings(files: list[str] | None, overrides: list[str] | None, spelled: Mapping[str, Any]) -> Config:
    """Return the settings of a command.

    Parameters
    ----------
    files, overrides : list of str or None
        Values of ``--config`` and ``--set``.
    spelled : mapping of str to value
        Settings that have an option of their own, e.g. ``{"runtime.threads": 2}``; None is left out. They override
        ``--set``.

    Returns
    -------
    Config
        Checked settings.

    Raises
    ------
    ConfigError
        If a file cannot be read, a key is unknown or a value is out of range.
    """
    from wsigraph.config import load

    given = [f"{key}={json.dumps(value)}" for key, value in spelled.items() if value is not None]
    return load([Path(file) for file in files or ()], [*(overrides or ()), *given])
