"""Synthetic tissue from a graph: images, masks and the graph itself.

A graph of one canvas is painted at once, a larger one from overlapping canvases (``mosaic.py``). The noise of a sample
depends on the seed and the sample's number, and every sample is painted by itself with one thread. So a sample is the
same file however many are painted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import dask
import numpy as np

from wsigraph.config import Config, DiffusionConfig
from wsigraph.errors import SynthesisError
from wsigraph.geometry import Box, um2_to_px, um_to_px
from wsigraph.graph.device import find_device
from wsigraph.graph.one_thread import one_thread
from wsigraph.slide.map_boxes import Progress, n_threads
from wsigraph.slide.open_slide import open_slide
from wsigraph.synthesis.diffusion.denoiser import DOMAINS, Denoiser, inference_copy
from wsigraph.synthesis.diffusion.edit import EditMask, edit, mask_unedited, parse_edit
from wsigraph.synthesis.diffusion.generator import Generator, load_generator
from wsigraph.synthesis.diffusion.mosaic import mosaic_generator, paint_mosaic
from wsigraph.synthesis.diffusion.painter import Painter
from wsigraph.synthesis.diffusion.sampling_loop import draw_noise
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene, check_scene, rasterise, scene_from_labels
from wsigraph.synthesis.diffusion.training_images import read_training_image, split
from wsigraph.synthesis.diffusion.writer import SyntheticTile

Domain = Literal["painted", "real"]


def synthesize(
    scene: Scene,
    settings: Config | None = None,
    *,
    seed: int,
    n: int = 1,
    generator: Generator | None = None,
    edits: Sequence[str] = (),
    domain: Domain | None = None,
    raster: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> Iterator[SyntheticTile]:
    """Paint the tissue of a graph.

    Parameters
    ----------
    scene : Scene
        The graph, of one canvas or larger.
    settings : Config, optional
        Section ``diffusion``: sampler, steps, guidance, overlap, and how far an edit repaints.
    seed : int
        Seed of all noise.
    n : int
        Number of samples.
    generator : Generator, optional
        The model. By default the one that ``diffusion.path`` names, or the shipped one.
    edits : sequence of str
        Changes to the graph, e.g. ``remove node 12``.
    domain : str, optional
        ``painted`` or ``real``: what the tissue looks like. By default that of the graph before any edit
        (`infer_domain`).
    raster : bool
        Give the model the class map beside the graph.
    device : str, optional
        Where the network runs; ``runtime.device`` of the settings where left out.
    progress : callable, optional
        Called with ("synthesize", canvases done, canvases).

    Yields
    ------
    SyntheticTile
        Image, mask and graph.

    Raises
    ------
    ConfigError
        If this machine has no such device.
    SynthesisError
        If the graph is empty, names unknown classes, lies off the canvas or has too many nodes for the model, if an
        edit is not possible, or the generator does not load.
    """
    settings = settings or Config()
    device = find_device(device or settings.runtime.device)
    options = settings.diffusion
    generator = generator or load_generator(options.path)
    trained = generator.config
    check_scene(scene)
    drawn, edit_mask = _apply_edits(scene, edits, options, trained)
    assert drawn.labels is not None  # noqa: S101 - drawn above
    single = _fits_canvas(drawn, trained)
    if single:
        check_scene(drawn, max_nodes=trained.max_nodes)
    # inferred before the edit: one class named in an edit must not turn real tissue into painted tissue
    domain = domain or infer_domain(scene)
    guidance = generator.card.guidance[domain] if options.guidance is None else options.guidance
    options = options.model_copy(update={"guidance": guidance})
    network = inference_copy(generator.network, half=options.half, device=device)
    painter = Painter(
        network=network, steps=options.steps, guidance=guidance, sampler=options.sampler, device=device, batch=1
    )
    # on a GPU one group of canvases follows the other
    threads = (settings.runtime.threads or n_threads()) if device == "cpu" else 1
    mask = drawn.class_map(drawn.labels)
    masks = None if edit_mask is None else [edit_mask]
    domain_index = DOMAINS.index(domain)
    with one_thread():
        for number in range(n):
            noise = draw_noise(*drawn.labels.shape, seed=seed, number=number)
            if single:
                (image,) = painter.paint([drawn], noise, domain=domain_index, raster=raster, edit_masks=masks)
                if progress is not None:
                    progress("synthesize", number + 1, n)
            else:
                with dask.config.set(num_workers=threads):
                    image = paint_mosaic(
                        network,
                        drawn,
                        options,
                        noise,
                        domain=domain_index,
                        raster=raster,
                        device=device,
                        rng=mosaic_generator(seed, number),
                        edit_mask=edit_mask,
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
                request=_request(options, network, domain, raster, edits),
            )


def _request(
    options: DiffusionConfig, network: Denoiser, domain: Domain, raster: bool, edits: Sequence[str]
) -> dict[str, Any]:
    """Return what the files of a sample state about how it was painted."""
    return {
        "sampler": options.sampler,
        "steps": options.steps,
        "guidance": options.guidance,
        "precision": str(network.unet.dtype).removeprefix("torch."),
        "domain": domain,
        "raster": raster,
        "edits": list(edits),
    }


def infer_domain(scene: Scene) -> Domain:
    """Return the domain that a graph comes from.

    Parameters
    ----------
    scene : Scene
        The graph, before it is edited.

    Returns
    -------
    str
        ``real`` where a region has an optical density and no class, or no region has a class; else ``painted``.
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
        Section ``diffusion`` with the sizes of the generator; the other sections say how tissue is found.
    box : Box, optional
        Part of the slide, in pixels of its full resolution; all of it where left out.
    mpp : float, optional
        Pixel size of the slide, um/px, where the file states none.
    single : bool
        Cut the middle canvas out of the box, which must hold one.

    Returns
    -------
    Scene
        Regions of ``segment`` and ``coarsen`` with their optical density and label image, classes unknown.

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
    with open_slide(slide, settings.slide, mpp=mpp) as handle:
        full = Box.whole(handle.size())
        scale = handle.info.mpp / options.mpp
    window = None
    if box is not None:
        if box.intersect(full) != box:
            raise SynthesisError(
                f"the box ends at ({box.x1}, {box.y1}), the slide at ({full.x1}, {full.y1}) px; choose a box inside"
            )
        window = Box(
            y0=round(box.y0 * scale), x0=round(box.x0 * scale), y1=round(box.y1 * scale), x1=round(box.x1 * scale)
        )
    tissue = read_training_image(slide, settings, mpp=mpp, box=window)
    image, labels = tissue.image, tissue.labels
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
            f"the box holds no tissue, or only specks below {options.min_area_um2:g} um2; choose another box"
        )
    scene = scene_from_labels(pieces, tissue.classes[owner - 1], mpp=options.mpp, image=np.ascontiguousarray(image))
    return replace(scene, mark=tissue.mark)


def _apply_edits(
    scene: Scene, edits: Sequence[str], options: DiffusionConfig, trained: DiffusionConfig
) -> tuple[Scene, EditMask | None]:
    """Return the graph to paint, with its label image, and where the edits change nothing."""
    before = rasterise(scene, mpp=trained.mpp)
    changes = [parse_edit(text) for text in edits]
    if not changes:
        return before, None
    after = edit(before, changes, mpp=trained.mpp)
    if options.repaint_um is None:
        return after, None
    return after, mask_unedited(before, after, margin_um=options.repaint_um, mpp=trained.mpp)


def _fits_canvas(scene: Scene, trained: DiffusionConfig) -> bool:
    """Return whether a graph is of one canvas, False where it is larger."""
    sides = [um_to_px(side, trained.mpp) for side in scene.size_um]
    if min(sides) < trained.canvas_px:
        raise SynthesisError(
            f"a graph of {scene.size_um[1]:g} x {scene.size_um[0]:g} um, expected at least the model's canvas of "
            f"{trained.canvas_px * trained.mpp:g} um; enlarge the graph's size"
        )
    return max(sides) == trained.canvas_px
