"""A graph in, annotated tissue out.

A graph of one canvas is painted at once, a larger one from overlapping canvases (``mosaic.py``). Every sample has noise
of its own, which seed and number decide, and is painted by itself with one thread: it is the same file whatever else
is painted beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import dask
import numpy as np
import torch

from wsigraph.config import Config, DiffusionConfig
from wsigraph.errors import SynthesisError
from wsigraph.geometry import Box, um2_to_px, um_to_px
from wsigraph.graph.feature.efficientnet import one_thread
from wsigraph.slide.map_boxes import Progress, n_threads
from wsigraph.slide.reader import read
from wsigraph.synthesis.diffusion.condition import collate
from wsigraph.synthesis.diffusion.denoiser import N_RASTER, STYLES, draw_raster, for_painting
from wsigraph.synthesis.diffusion.edit import Held, edit, hold, parse_edit
from wsigraph.synthesis.diffusion.generator import Generator, load_generator
from wsigraph.synthesis.diffusion.grid import to_image
from wsigraph.synthesis.diffusion.mosaic import glass_of, mosaic_chance, paint_mosaic
from wsigraph.synthesis.diffusion.sampling_loop import Unedited, denoise, draw_noise
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene, check_scene, of_labels, rasterise
from wsigraph.synthesis.diffusion.training_images import read_sheet, split
from wsigraph.synthesis.diffusion.writer import SyntheticTile

Style = Literal["painted", "real"]


def synthesize(
    scene: Scene,
    settings: Config | None = None,
    *,
    seed: int,
    n: int = 1,
    generator: Generator | None = None,
    edits: Sequence[str] = (),
    style: Style | None = None,
    raster: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Iterator[SyntheticTile]:
    """Paint tissue that a graph asks for.

    Parameters
    ----------
    scene : Scene
        The graph, of one canvas or larger.
    settings : Config, optional
        Section ``diffusion``: sampler, steps, guidance, overlap, and what an edit repaints.
    seed : int
        Decides all noise.
    n : int
        Samples.
    generator : Generator, optional
        The model; that of ``diffusion.path``, or the shipped one, where left out.
    edits : sequence of str
        Changes to the graph, e.g. ``remove node 12``.
    style : str, optional
        ``painted`` or ``real``; where left out, that of the graph before any edit (`domain`).
    raster : bool
        Give the model the mask beside the graph.
    device : str
        Where the network runs.
    progress : callable, optional
        Told ("synthesize", canvases done, canvases).

    Yields
    ------
    SyntheticTile
        Image, mask and graph.

    Raises
    ------
    SynthesisError
        If the graph is empty, names unknown classes, lies off the canvas or has too many nodes for the model, if an
        edit is not possible, or the generator does not load.
    """
    settings = settings or Config()
    options = settings.diffusion
    generator = generator or load_generator(options.path)
    trained = generator.config
    check_scene(scene)
    drawn, held = _edited(scene, edits, options, trained)
    assert drawn.labels is not None  # noqa: S101 - drawn above
    single = _fits(drawn, trained)
    if single:
        check_scene(drawn, max_nodes=trained.max_nodes)
    # of the graph before the edit: a tissue that is named in it makes real tissue no painting
    chosen = style or domain(scene)
    guidance = generator.card.guidance[chosen] if options.guidance is None else options.guidance
    options = options.model_copy(update={"guidance": guidance})
    network = for_painting(generator.network, half=options.half, device=device)
    asked: dict[str, Any] = {
        "sampler": options.sampler,
        "steps": options.steps,
        "guidance": guidance,
        "precision": str(network.unet.dtype).removeprefix("torch."),
        "style": chosen,
        "raster": raster,
        "edits": list(edits),
    }
    mask = drawn.class_map(drawn.labels)
    with one_thread():
        for number in range(n):
            if single:
                noise = _noise(drawn, seed, number)
                image = _paint_canvas(network, drawn, options, noise, chosen, raster, device, held)
                if progress is not None:
                    progress("synthesize", number + 1, n)
            else:
                noise = _noise(drawn, seed, number)
                # a GPU takes one group of canvases after the other
                threads = (settings.runtime.threads or n_threads()) if device == "cpu" else 1
                with dask.config.set(num_workers=threads):
                    image = paint_mosaic(
                        network,
                        drawn,
                        options,
                        noise,
                        style=STYLES.index(chosen),
                        raster=raster,
                        device=device,
                        rng=mosaic_chance(seed, number),
                        held=held,
                        progress=progress,
                    )
            yield SyntheticTile(
                image=image,
                mask=mask,
                graph=drawn,
                mpp=trained.mpp,
                seed=seed,
                number=number,
                model_id=generator.model_id,
                asked=asked,
            )


def domain(scene: Scene) -> Style:
    """Return what a graph was learned as.

    Parameters
    ----------
    scene : Scene
        The graph, before it is edited.

    Returns
    -------
    str
        ``real`` where a region is known by its optical density and not by its class, or none has a class; else
        ``painted``.
    """
    unknown = scene.classes == UNKNOWN
    is_measured = ~np.isnan(scene.density[:, :3]).any(axis=1)
    return "real" if (unknown & is_measured).any() or unknown.all() else "painted"


def scene_from_slide(
    slide: Path, settings: Config, *, box: Box | None = None, mpp: float | None = None, single: bool = False
) -> Scene:
    """Return the graph of real tissue.

    Parameters
    ----------
    slide : Path
        Slide file.
    settings : Config
        Section ``diffusion`` with the sizes of the generator; the others as far as they say how tissue is found.
    box : Box, optional
        Part of the slide, in pixels of its full resolution; all of it where left out.
    mpp : float, optional
        Pixel size of the slide, um/px, where the file states none.
    single : bool
        Cut the middle canvas out of the box, which must hold one.

    Returns
    -------
    Scene
        Regions of ``segment`` and ``coarsen`` with their optical density and label image, classes not known.

    Raises
    ------
    SynthesisError
        If the box lies outside the slide, is smaller than a canvas or holds no tissue.
    SlideError
        If the slide does not read.
    NoTissue
        If the slide holds no tissue.
    """
    options = settings.diffusion
    with read(slide, mpp=mpp) as opened:
        full = Box.whole(opened.size())
        scale = opened.info.mpp / options.mpp
    window = None
    if box is not None:
        if box.intersect(full) != box:
            raise SynthesisError(
                f"the box ends at ({box.x1}, {box.y1}), the slide at ({full.x1}, {full.y1}) px; choose a box inside"
            )
        window = Box(
            y0=round(box.y0 * scale), x0=round(box.x0 * scale), y1=round(box.y1 * scale), x1=round(box.x1 * scale)
        )
    sheet = read_sheet(slide, settings, mpp=mpp, box=window)
    image, labels = sheet.image, sheet.labels
    side = options.canvas_px
    if min(labels.shape) < side:
        raise SynthesisError(
            f"the box is {labels.shape[1]} x {labels.shape[0]} px at {options.mpp:g} um/px, expected at least the "
            f"canvas of {side} px; choose a box of at least {-(-side // scale):g} px at full resolution"
        )
    if single:
        top, left = (labels.shape[0] - side) // 2, (labels.shape[1] - side) // 2
        middle = np.s_[top : top + side, left : left + side]
        image, labels = image[middle], labels[middle]
    pieces, owner = split(np.ascontiguousarray(labels), min_px=um2_to_px(options.min_area_um2, options.mpp))
    if not len(owner):
        raise SynthesisError(
            f"the box holds no tissue, or specks below {options.min_area_um2:g} um2 alone; choose another"
        )
    return of_labels(pieces, sheet.classes[owner - 1], mpp=options.mpp, image=np.ascontiguousarray(image))


def _edited(
    scene: Scene, edits: Sequence[str], options: DiffusionConfig, trained: DiffusionConfig
) -> tuple[Scene, Held | None]:
    """Return the graph to paint, with its label image, and what an edit leaves as it was."""
    before = rasterise(scene, mpp=trained.mpp)
    changes = [parse_edit(text) for text in edits]
    if not changes:
        return before, None
    after = edit(before, changes, mpp=trained.mpp)
    if options.repaint_um is None:
        return after, None
    return after, hold(before, after, margin_um=options.repaint_um, mpp=trained.mpp)


def _fits(scene: Scene, trained: DiffusionConfig) -> bool:
    sides = [um_to_px(side, trained.mpp) for side in scene.size_um]
    if min(sides) < trained.canvas_px:
        raise SynthesisError(
            f"a graph of {scene.size_um[1]:g} x {scene.size_um[0]:g} um, expected at least the model's canvas of "
            f"{trained.canvas_px * trained.mpp:g} um; enlarge the graph's size"
        )
    return max(sides) == trained.canvas_px


def _noise(scene: Scene, seed: int, number: int) -> torch.Tensor:
    assert scene.labels is not None  # noqa: S101 - the caller drew them
    return draw_noise(*scene.labels.shape, seed=seed, number=number)


def _paint_canvas(
    network: Any,
    scene: Scene,
    options: DiffusionConfig,
    noise: torch.Tensor,
    style: str,
    raster: bool,
    device: str,
    held: Held | None,
) -> np.ndarray[Any, Any]:
    unedited = None
    if held is not None:
        keep = torch.from_numpy(held.keep)[None, None].to(device)
        empty = _on(glass_of(held.before), device)
        unedited = Unedited(collate([held.before]).to(device), _map(held.before, raster).to(device), keep, empty)
    painted = denoise(
        network,
        collate([scene]).to(device),
        _map(scene, raster).to(device),
        torch.tensor([STYLES.index(style)], device=device),
        noise.to(device),
        steps=options.steps,
        guidance=options.guidance or 0.0,
        sampler=options.sampler,
        glass=_on(glass_of(scene), device),
        unedited=unedited,
    )
    return np.asarray(to_image(painted)[0])


def _on(tensor: torch.Tensor | None, device: str) -> torch.Tensor | None:
    return None if tensor is None else tensor.to(device)


def _map(scene: Scene, raster: bool) -> torch.Tensor:
    """Return the map beside a graph, float (1, 9, h, w); zeros where it is not given."""
    if raster:
        return draw_raster(scene)[None]
    assert scene.labels is not None  # noqa: S101 - the caller drew them
    return torch.zeros(1, N_RASTER, *scene.labels.shape)
