"""The graph as input of the network: one token for each region, and a transformer over the tokens.

A token encodes a region's class, centre, area, elongation and optical density; unknown values have encodings of their
own. Attention between two tokens has a bias, which a small network computes from whether the regions touch, how long
their boundary is relative to their size, and how far apart they are. The first token stands for the whole canvas; alone
it gives the unconditional model. Padding tokens take no part in attention. Tokens carry no position in the list of
nodes, so that the order of nodes changes nothing.

References
----------
Attention biased by the graph: Ying et al., "Do transformers really perform bad for graph representation?", 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsigraph.config import DiffusionConfig
from wsigraph.geometry import Size
from wsigraph.synthesis.diffusion.scene import Scene, draw_labels
from wsigraph.synthesis.simulation.layout import TISSUES

_OCTAVES = 4
_DENSITY_SCALE = (0.35, 0.15)
"""Scale of the mean and of the standard deviation of optical density; divided by it, they are about 1."""
N_COORDINATES = 2 + 4 * _OCTAVES
"""Channels of a position: its coordinates, and sines and cosines of them."""
_N_GEOMETRY = N_COORDINATES + 3
_N_DENSITY = 8
_N_PAIR = 3
_N_PLACES = 32
_HIDDEN = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokens:
    """A batch of graphs, padded to the same number of nodes.

    Attributes
    ----------
    classes : int64 (B, N)
        Index into ``TISSUES``; ``len(TISSUES)`` where unknown.
    geometry : float32 (B, N, 21)
        Position, size and elongation.
    density : float32 (B, N, 8)
        Mean (3) and standard deviation (3) of the optical density of R, G and B, and whether each of the two is known.
    pair : float32 (B, N, N, 3)
        Whether two regions touch, the length of their boundary relative to the size of the first, and their distance.
    valid : bool (B, N)
        False for padding.
    owner : int64 (B, 32, 32)
        1 + node at each position of the canvas, drawn from the nodes alone; 0 where there is none.
    """

    classes: Tensor
    geometry: Tensor
    density: Tensor
    pair: Tensor
    valid: Tensor
    owner: Tensor

    def to(self, device: torch.device | str) -> Tokens:
        """Return a copy on a device."""
        return Tokens(**{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})

    def unconditional(self) -> Tokens:
        """Return as many graphs without any node, for the unconditional model."""
        return Tokens(
            classes=self.classes,
            geometry=self.geometry,
            density=self.density,
            pair=self.pair,
            valid=torch.zeros_like(self.valid),
            owner=torch.zeros_like(self.owner),
        )

    def concatenate(self, other: Tokens) -> Tokens:
        """Return one batch of these graphs followed by the other's, padded to the same number of nodes."""
        return Tokens(
            **{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in self.__dataclass_fields__}
        )


def coordinates(place: Tensor) -> Tensor:
    """Return the channels of a position.

    Parameters
    ----------
    place : float (..., 2)
        Position as (x, y), from -1 to 1 over the canvas.

    Returns
    -------
    float (..., 18)
        The position, then sin(2^k pi x) and cos(2^k pi x) of both coordinates for k from 0 to 3.
    """
    octaves = math.pi * 2.0 ** torch.arange(_OCTAVES, device=place.device, dtype=place.dtype)
    angle = (place[..., None] * octaves).flatten(-2)  # (..., 2 x octaves)
    return torch.cat([place, angle.sin(), angle.cos()], dim=-1)


def rasterise_tokens(token: Tensor, owner: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an image whose pixels are the tokens of the nodes there.

    Parameters
    ----------
    token : float (B, 1 + N, C)
        The canvas, then every node.
    owner : int64 (B, k, k)
        1 + node at each position, 0 for the canvas.
    size : tuple of int
        Height and width of the result.

    Returns
    -------
    float (B, C, h, w)
        Interpolated bilinearly.
    """
    chosen = token.gather(1, owner.flatten(1)[..., None].expand(-1, -1, token.shape[-1]))  # (B, k * k, C)
    image = chosen.transpose(1, 2).reshape(len(chosen), chosen.shape[-1], *owner.shape[1:])
    return nn.functional.interpolate(image, size=size, mode="bilinear", align_corners=False)


def batch_scenes(scenes: Sequence[Scene], *, n_tokens: int | None = None) -> Tokens:
    """Return a batch of graphs.

    Parameters
    ----------
    scenes : sequence of Scene
        At least one; each of one canvas.
    n_tokens : int, optional
        Number of nodes to pad to; by default that of the largest graph.

    Returns
    -------
    Tokens
        On the CPU.
    """
    width = max([scene.n_nodes for scene in scenes] + [1]) if n_tokens is None else n_tokens
    parts = [_padded(scene, width) for scene in scenes]
    classes, geometry, density, pair, valid, owner = (np.stack(arrays) for arrays in zip(*parts, strict=True))
    return Tokens(
        classes=torch.from_numpy(classes),
        geometry=torch.from_numpy(geometry),
        density=torch.from_numpy(density),
        pair=torch.from_numpy(pair),
        valid=torch.from_numpy(valid),
        owner=torch.from_numpy(owner),
    )


def _padded(scene: Scene, width: int) -> tuple[NDArray[np.generic], ...]:
    n, (high, wide) = scene.n_nodes, scene.size_um
    classes = np.full(width, len(TISSUES), np.int64)
    classes[:n] = np.where(scene.classes < 0, len(TISSUES), scene.classes)
    geometry = np.zeros((width, _N_GEOMETRY), np.float32)
    place = 2.0 * scene.position_um / (wide, high) - 1.0
    diameter_um = np.sqrt(4.0 / np.pi * scene.area_um2)
    geometry[:n, :N_COORDINATES] = coordinates(torch.from_numpy(place)).numpy()
    geometry[:n, N_COORDINATES] = np.log2(8.0 * diameter_um / math.sqrt(high * wide))
    geometry[:n, N_COORDINATES + 1 :] = scene.shape
    density = np.zeros((width, _N_DENSITY), np.float32)
    known = ~np.isnan(scene.density)
    filled = np.where(known, scene.density, 0.0)
    density[:n, :3], density[:n, 3:6] = filled[:, :3] / _DENSITY_SCALE[0], filled[:, 3:] / _DENSITY_SCALE[1]
    density[:n, 6], density[:n, 7] = known[:, :3].all(axis=1), known[:, 3:].all(axis=1)
    pair = np.zeros((width, width, _N_PAIR), np.float32)
    source, target = scene.edge_index
    pair[source, target, 0] = 1.0
    pair[source, target, 1] = scene.boundary_um / (np.pi * diameter_um[source])
    pair[:n, :n, 2] = np.linalg.norm(place[:, None] - place[None], axis=-1)
    owner = draw_labels(scene, Size(_N_PLACES, _N_PLACES)).astype(np.int64)
    return classes, geometry, density, pair, np.arange(width) < n, owner


class GraphEncoder(nn.Module):
    """Transformer over the tokens of a graph.

    Parameters
    ----------
    config : DiffusionConfig
        Sizes.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        width = config.token_width
        self.classes = nn.Embedding(len(TISSUES) + 1, width)
        self.geometry = nn.Linear(_N_GEOMETRY, width)
        self.density = nn.Linear(_N_DENSITY, width)
        self.canvas = nn.Parameter(0.02 * torch.ones(width))
        self.bias = nn.Sequential(nn.Linear(_N_PAIR, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, config.token_heads))
        self.layers = nn.ModuleList(_Layer(width, config.token_heads) for _ in range(config.token_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tokens) -> Tensor:
        """Return the tokens that the network attends to.

        Parameters
        ----------
        tokens : Tokens
            A batch of graphs.

        Returns
        -------
        float (B, 1 + N, width)
            The canvas, then every node; 0 for padding.
        """
        node = self.classes(tokens.classes) + self.geometry(tokens.geometry) + self.density(tokens.density)
        canvas = self.canvas.expand(len(node), 1, -1)
        token = torch.cat([canvas, node], dim=1)  # (B, 1 + N, width)
        valid = nn.functional.pad(tokens.valid, (1, 0), value=True)
        bias = nn.functional.pad(self.bias(tokens.pair).permute(0, 3, 1, 2), (1, 0, 1, 0))  # (B, heads, 1 + N, 1 + N)
        bias = bias.masked_fill(~valid[:, None, None, :], float("-inf"))
        for layer in self.layers:
            token = layer(token, bias)
        return torch.where(valid[..., None], self.norm(token), 0.0)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, token: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.project(self.before(token)).chunk(3, dim=-1)
        )  # (B, heads, 1 + N, width / heads)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        token = token + self.merge(mixed.transpose(1, 2).flatten(-2))
        out: Tensor = token + self.narrow(nn.functional.gelu(self.wide(self.between(token))))
        return out
