"""Pictures of graphs of one canvas, painted in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsigraph.graph.one_thread import one_thread
from wsigraph.synthesis.diffusion.condition import Tokens, batch_scenes
from wsigraph.synthesis.diffusion.denoiser import N_RASTER, Denoiser, draw_raster
from wsigraph.synthesis.diffusion.edit import EditMask
from wsigraph.synthesis.diffusion.image_tensors import to_images
from wsigraph.synthesis.diffusion.sampling_loop import Unedited, denoise, draw_noise, glass_mask
from wsigraph.synthesis.diffusion.scene import Scene


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Painter:
    """A network and how it samples.

    Attributes
    ----------
    network : Denoiser
        Weights, in evaluation mode.
    steps : int
        Steps of the sampler.
    guidance : float
        Weight of the condition; see `wsigraph.synthesis.diffusion.sampling_loop.denoise`.
    sampler : str
        ``ddim`` or ``dpmsolver``.
    device : str
        ``cpu`` or ``cuda``.
    batch : int
        Canvases that go through the network together.
    """

    network: Denoiser
    steps: int
    guidance: float
    sampler: Literal["ddim", "dpmsolver"] = "ddim"
    device: str = "cpu"
    batch: int = 16

    def paint(
        self,
        scenes: Sequence[Scene],
        noise: Tensor,
        *,
        domain: int,
        graph: bool = True,
        raster: bool = False,
        edit_masks: Sequence[EditMask] | None = None,
    ) -> list[NDArray[np.uint8]]:
        """Return one picture for each graph.

        Parameters
        ----------
        scenes : sequence of Scene
            Graphs of one canvas, each with its label image (h, w).
        noise : float (n, 3, h, w)
            Standard normal; one for each graph.
        domain : int
            Index into ``DOMAINS``.
        graph : bool
            Give the model the graph. Without graph and map, it paints unconditionally.
        raster : bool
            Give the model the class map.
        edit_masks : sequence of EditMask, optional
            For edited graphs: the graph before the edit, and where its picture stays.

        Returns
        -------
        list of uint8 (h, w, 3)
            RGB.

        Notes
        -----
        On the CPU with one thread, so that the number of threads changes no pixel.
        """
        images: list[NDArray[np.uint8]] = []
        conditional = graph or raster
        with one_thread():
            for first in range(0, len(scenes), self.batch):
                rows = slice(first, first + self.batch)
                batch = scenes[rows]
                pictures = denoise(
                    self.network,
                    self._tokens(batch, graph),
                    self._raster(batch, raster),
                    torch.full((len(batch),), domain, device=self.device),
                    noise[rows].to(self.device),
                    steps=self.steps,
                    guidance=self.guidance if conditional else 0.0,
                    sampler=self.sampler,
                    glass=self._glass(batch) if conditional else None,
                    unedited=None if edit_masks is None else self._unedited(edit_masks[rows], graph, raster),
                )
                images += list(to_images(pictures))
        return images

    def _unedited(self, edit_masks: Sequence[EditMask], graph: bool, raster: bool) -> Unedited:
        before = [mask.before for mask in edit_masks]
        keep = torch.from_numpy(np.stack([mask.keep for mask in edit_masks]))[:, None]  # (B, 1, h, w)
        return Unedited(
            self._tokens(before, graph), self._raster(before, raster), keep.to(self.device), self._glass(before)
        )

    def _tokens(self, scenes: Sequence[Scene], graph: bool) -> Tokens:
        tokens = batch_scenes(scenes).to(self.device)
        return tokens if graph else tokens.unconditional()

    def _raster(self, scenes: Sequence[Scene], raster: bool) -> Tensor:
        """Return class maps, float (B, 9, h, w); zeros where the model is given none."""
        if raster:
            return torch.stack([draw_raster(scene) for scene in scenes]).to(self.device)
        labels = scenes[0].labels
        assert labels is not None  # noqa: S101 - the caller drew them
        return torch.zeros(len(scenes), N_RASTER, *labels.shape, device=self.device)

    def _glass(self, scenes: Sequence[Scene]) -> Tensor | None:
        """Return where each graph has no region, bool (B, 1, h, w); None where all cover the canvas."""
        masks = [glass_mask(scene) for scene in scenes]
        if all(mask is None for mask in masks):
            return None
        full = torch.zeros(1, 1, *next(mask for mask in masks if mask is not None).shape[-2:], dtype=torch.bool)
        return torch.cat([full if mask is None else mask for mask in masks]).to(self.device)


def draw_noises(scenes: Sequence[Scene], *, seed: int) -> Tensor:
    """Return the noise of samples 0, 1, ... of a seed, one for each graph, float32 (n, 3, h, w)."""
    noises = []
    for number, scene in enumerate(scenes):
        assert scene.labels is not None  # noqa: S101 - the caller drew them
        noises.append(draw_noise(*scene.labels.shape, seed=seed, number=number))
    return torch.cat(noises)
