"""The network: pixels folded into cells, a U-Net that attends to the tokens of a graph, cells unfolded into pixels.

The U-Net is diffusers' ``UNet2DConditionModel``. Beside the noisy picture it is given the coordinates of every cell,
without which it could hardly tell where a token's centre lies, and a map of classes and boundaries that may be absent.
At every place it is shown the token of the node that
the nodes alone draw there, and such a token also moves the mean of the linear estimate, which a network so shown need
not find by attention. The graph transformer is part of the network and learns with it.

References
----------
Cells instead of pixels: Hoogeboom et al., "Simple diffusion", 2023. U-Net: Rombach et al., 2022 (as in diffusers).
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsigraph.config import DiffusionConfig
from wsigraph.synthesis.diffusion.condition import N_COORDINATES, GraphEncoder, Tokens, coordinates, spread
from wsigraph.synthesis.diffusion.prior import LinearPrior
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.schedule import load_diffusers, training_scheduler
from wsigraph.synthesis.simulation.layout import TISSUES

STYLES = ("painted", "real")
"""What an example was cut from: painted tissue, or real slides. The model is always told."""
N_RASTER = len(TISSUES) + 2
"""Channels of the class map: one a class, one for boundaries, one that says the map is there."""
_N_SHOWN = 16
_N_NORM_GROUPS = 8


class Denoiser(nn.Module):
    """Velocity of a noisy picture, given a graph.

    Parameters
    ----------
    config : DiffusionConfig
        Sizes.
    """

    kept: Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        levels = len(config.channels)
        attends = [level >= levels - config.attention_levels for level in range(levels)]
        self.fold = config.unshuffle
        n_cell = 3 * self.fold**2
        self.encoder = GraphEncoder(config)
        self.unet: Any = load_diffusers().UNet2DConditionModel(
            sample_size=config.canvas_px // self.fold,
            in_channels=n_cell + N_COORDINATES + 4 * N_RASTER + _N_SHOWN,
            out_channels=n_cell,
            down_block_types=tuple("CrossAttnDownBlock2D" if each else "DownBlock2D" for each in attends),
            # on the finest of them the way down alone looks at the graph: two layers on the way up cost a third
            up_block_types=tuple(
                "CrossAttnUpBlock2D" if attends[level] and (level == 0 or attends[level - 1]) and level else "UpBlock2D"
                for level in reversed(range(levels))
            ),
            mid_block_type="UNetMidBlock2DCrossAttn",
            block_out_channels=config.channels,
            layers_per_block=1,
            cross_attention_dim=config.token_width,
            # diffusers' name; it is the number of heads
            attention_head_dim=config.heads,
            norm_num_groups=_N_NORM_GROUPS,
            num_class_embeds=len(STYLES),
        )
        self.show = nn.Linear(config.token_width, _N_SHOWN)
        self.colour = nn.Linear(config.token_width, 3)
        nn.init.zeros_(self.colour.weight)
        nn.init.zeros_(self.colour.bias)
        self.prior = LinearPrior(config.canvas_px, len(STYLES))
        self.register_buffer("kept", training_scheduler(config).alphas_cumprod, persistent=False)

    def forward(self, noisy: Tensor, level: Tensor, tokens: Tokens, raster: Tensor, style: Tensor) -> Tensor:
        """Return the velocity.

        Parameters
        ----------
        noisy : float (B, 3, h, w)
            Pictures, -1 to 1, with noise.
        level : int64 (B,)
            Level of the noise.
        tokens : Tokens
            Graphs.
        raster : float (B, 9, h, w)
            Maps of `draw_raster`; zeros where left out.
        style : int64 (B,)
            Index into `STYLES`.

        Returns
        -------
        float (B, 3, h, w)
            Prediction as diffusers' ``v_prediction``.
        """
        cells = nn.functional.pixel_unshuffle(noisy, self.fold)
        # classes at half a cell are as fine as the network can place them
        coarse = nn.functional.avg_pool2d(raster, self.fold // 2) if self.fold > 2 else raster
        given = nn.functional.pixel_unshuffle(coarse, 2)
        place = _grid(cells).expand(len(cells), -1, -1, -1)
        valid = nn.functional.pad(tokens.valid, (1, 0), value=True)
        token = self.encoder(tokens)
        shown = spread(self.show(token), tokens.owner, (cells.shape[-2], cells.shape[-1]))
        found = self.unet(
            torch.cat([cells, place, given, shown], dim=1).to(self.unet.dtype),
            level,
            encoder_hidden_states=token.to(self.unet.dtype),
            encoder_attention_mask=valid,
            class_labels=style,
        ).sample.to(noisy.dtype)
        colour = spread(self.colour(token), tokens.owner, (noisy.shape[-2], noisy.shape[-1]))
        linear: Tensor = self.prior(noisy, self.kept[level], style, colour)
        return linear + nn.functional.pixel_shuffle(found, self.fold)


def computes_half(device: str) -> bool:
    """Return whether a device calculates in bfloat16 itself: any graphics card of ours, and some processors."""
    if device != "cpu":
        return True
    # torch before 2.7 does not say
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def for_painting(network: Denoiser, *, half: bool, device: str) -> Denoiser:
    """Return the network as it paints fastest.

    Parameters
    ----------
    network : Denoiser
        Weights; they stay as they are.
    half : bool
        Compute the U-Net in bfloat16, where the device does.
    device : str
        ``cpu`` or ``cuda``.

    Returns
    -------
    Denoiser
        In evaluation mode, on the device. Graph transformer and linear estimate stay whole.
    """
    network = copy.deepcopy(network).eval().to(device)
    if half and computes_half(device):
        network.unet.to(torch.bfloat16, memory_format=torch.channels_last)
    return network


def draw_raster(scene: Scene) -> Tensor:
    """Return the map that may be given beside a graph.

    Parameters
    ----------
    scene : Scene
        With its label image (h, w).

    Returns
    -------
    float32 (9, h, w)
        Classes, boundaries between regions, and ones.
    """
    labels = scene.labels
    assert labels is not None  # noqa: S101 - the caller drew them
    classes = torch.from_numpy(scene.class_map(labels).astype(np.int64))
    raster = torch.ones(N_RASTER, *labels.shape)
    raster[: len(TISSUES)] = nn.functional.one_hot(classes, len(TISSUES) + 1)[..., 1:].permute(2, 0, 1)
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    raster[len(TISSUES)] = torch.from_numpy(edge.astype(np.float32))
    return raster


def _grid(cells: Tensor) -> Tensor:
    """Return the coordinate channels of a lattice of cells, (1, C, h, w)."""
    height, width = cells.shape[-2:]
    y, x = (
        2.0 * (torch.arange(side, device=cells.device, dtype=cells.dtype) + 0.5) / side - 1 for side in (height, width)
    )
    place = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2) as (x, y)
    return coordinates(place).permute(2, 0, 1)[None]
