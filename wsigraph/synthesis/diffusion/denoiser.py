"""The network: pixels folded into cells, a U-Net that attends to the tokens of a graph, cells unfolded into pixels.

The U-Net is ``UNet2DConditionModel`` of diffusers. Its input is the noisy picture, the coordinates of every cell, a map
of classes and boundaries that may be absent, and the token of the node at each position (`rasterise_tokens`).
Coordinates let it find where the centre of a token is. The rasterised tokens also shift the mean of the linear
estimate (``prior.py``), so that the U-Net need not learn the mean colour of a region by attention. The graph
transformer is part of the network and is trained with it.

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
from wsigraph.synthesis.diffusion.condition import N_COORDINATES, GraphEncoder, Tokens, coordinates, rasterise_tokens
from wsigraph.synthesis.diffusion.prior import LinearPrior
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.schedule import load_diffusers, training_scheduler
from wsigraph.synthesis.simulation.layout import TISSUES

DOMAINS = ("painted", "real")
"""Domains of training images: painted tissue, or real slides. The domain is always an input of the model."""
GUIDANCE = {"painted": 4.0, "real": 1.5}
"""Guidance that suits each domain, for pictures during training and the card of a new generator; docs/synthesis.md says
how it was chosen."""
N_RASTER = len(TISSUES) + 2
"""Channels of the class map: one for each class, one for boundaries, and one that is 1 where the map is given."""
_N_SHOWN = 16
_N_NORM_GROUPS = 8


class Denoiser(nn.Module):
    """Velocity of a noisy picture, given a graph.

    Parameters
    ----------
    config : DiffusionConfig
        Sizes.
    """

    alphas_cumprod: Tensor

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
            down_block_types=tuple("CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
            # the finest attending level has attention on the way down only: on the way up it costs a third more time
            up_block_types=tuple(
                "CrossAttnUpBlock2D" if attends[level] and (level == 0 or attends[level - 1]) and level else "UpBlock2D"
                for level in reversed(range(levels))
            ),
            mid_block_type="UNetMidBlock2DCrossAttn",
            block_out_channels=config.channels,
            layers_per_block=1,
            cross_attention_dim=config.token_width,
            # the number of heads, in spite of diffusers' name
            attention_head_dim=config.heads,
            norm_num_groups=_N_NORM_GROUPS,
            num_class_embeds=len(DOMAINS),
        )
        self.show = nn.Linear(config.token_width, _N_SHOWN)
        self.colour = nn.Linear(config.token_width, 3)
        nn.init.zeros_(self.colour.weight)
        nn.init.zeros_(self.colour.bias)
        self.prior = LinearPrior(config.canvas_px, len(DOMAINS))
        self.register_buffer("alphas_cumprod", training_scheduler(config).alphas_cumprod, persistent=False)

    def forward(self, noisy: Tensor, timestep: Tensor, tokens: Tokens, raster: Tensor, domain: Tensor) -> Tensor:
        """Return the velocity.

        Parameters
        ----------
        noisy : float (B, 3, h, w)
            Pictures, -1 to 1, with noise.
        timestep : int64 (B,)
            0 to ``noise_levels`` - 1; higher is noisier.
        tokens : Tokens
            Graphs.
        raster : float (B, 9, h, w)
            Maps of `draw_raster`; zeros where not given.
        domain : int64 (B,)
            Index into `DOMAINS`.

        Returns
        -------
        float (B, 3, h, w)
            Prediction as diffusers' ``v_prediction``.
        """
        cells = nn.functional.pixel_unshuffle(noisy, self.fold)
        # half a cell is the finest position of a class that the network can use
        coarse = nn.functional.avg_pool2d(raster, self.fold // 2) if self.fold > 2 else raster
        class_map = nn.functional.pixel_unshuffle(coarse, 2)
        place = _grid(cells).expand(len(cells), -1, -1, -1)
        valid = nn.functional.pad(tokens.valid, (1, 0), value=True)
        token = self.encoder(tokens)
        shown = rasterise_tokens(self.show(token), tokens.owner, (cells.shape[-2], cells.shape[-1]))
        correction = self.unet(
            torch.cat([cells, place, class_map, shown], dim=1).to(self.unet.dtype),
            timestep,
            encoder_hidden_states=token.to(self.unet.dtype),
            encoder_attention_mask=valid,
            class_labels=domain,
        ).sample.to(noisy.dtype)
        colour = rasterise_tokens(self.colour(token), tokens.owner, (noisy.shape[-2], noisy.shape[-1]))
        linear: Tensor = self.prior(noisy, self.alphas_cumprod[timestep], domain, colour)
        return linear + nn.functional.pixel_shuffle(correction, self.fold)


def supports_bfloat16(device: str) -> bool:
    """Return whether a device has bfloat16 arithmetic: CUDA's GPUs, and some CPUs."""
    if device != "cpu":
        return device.startswith("cuda")
    # torch before 2.7 lacks get_capabilities
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def inference_copy(network: Denoiser, *, half: bool, device: str) -> Denoiser:
    """Return a copy of the network for inference.

    Parameters
    ----------
    network : Denoiser
        Weights; not changed.
    half : bool
        Compute the U-Net in bfloat16, where the device has it.
    device : str
        As `wsigraph.graph.device.find_device` returns it.

    Returns
    -------
    Denoiser
        In evaluation mode, on the device. Graph transformer and linear estimate stay in float32.
    """
    network = copy.deepcopy(network).eval().to(device)
    if half and supports_bfloat16(device):
        network.unet.to(torch.bfloat16, memory_format=torch.channels_last)
    return network


def draw_raster(scene: Scene) -> Tensor:
    """Return the class map of a graph, an optional input of the model.

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
    """Return the coordinate channels of a grid of cells, (1, C, h, w)."""
    height, width = cells.shape[-2:]
    y, x = (
        2.0 * (torch.arange(side, device=cells.device, dtype=cells.dtype) + 0.5) / side - 1 for side in (height, width)
    )
    place = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2) as (x, y)
    return coordinates(place).permute(2, 0, 1)[None]
