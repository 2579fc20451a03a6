"""A small U-Net that finds nuclei, in plain torch.

It reads RGB at 0.5 um/px. A strided convolution brings the image to 1 um/px at once, where most of the work is done; a
pixel shuffle brings the two maps back to 0.5 um/px::

    0.5 um/px   image (3)                                    nucleus, centre (2 x 4, shuffled)
    1 um/px     stem -> full      ------------- + ---------> out -> head -> type (3)
    2 um/px        down -> half   ------------- + ---> join
    4 um/px           down -> quarter --------- + ---> join
    8 um/px              down -> eighth --------^

`nucleus` is the logit that a pixel belongs to a nucleus, `centre` that of a bump with one maximum at each nucleus's
centroid, `type` the logits of the types. Batch normalisation is there in training only: `folded` joins it to the
convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle
from torch.nn.utils.fusion import fuse_conv_bn_eval

WIDTHS = (16, 32, 56, 72)
"""Channels at 1, 2, 4 and 8 um/px."""
N_MAPS = 2
"""Maps at full resolution: nucleus and centre."""
TYPES = ("inflammatory", "connective", "neoplastic")
"""Types that the network tells apart, in the order of its channels."""
STRIDE = 16
"""Side of a window must be a multiple of this, pixels."""


def _convolution(n_in: int, n_out: int, kernel: int = 3, stride: int = 1, *, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(n_in, n_out, kernel, stride, (kernel - 1) // 2, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(n_out))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


class NucleusNetwork(nn.Module):
    """The network; float32 images (b, 3, h, w) in 0..1, h and w multiples of `STRIDE`.

    Parameters
    ----------
    widths : tuple of int
        Channels at 1, 2, 4 and 8 um/px.
    n_types : int
        Number of types.
    norm : bool
        Batch normalisation after each convolution: for training.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, n_types: int = len(TYPES), *, norm: bool = False) -> None:
        super().__init__()
        full, half, quarter, eighth = widths
        self.widths, self.n_types = widths, n_types
        self.stem = _convolution(3, full, 4, 2, norm=norm)
        self.keep_1um = _convolution(full, full, norm=norm)
        self.down_2um = _convolution(full, half, stride=2, norm=norm)
        self.keep_2um = _convolution(half, half, norm=norm)
        self.down_4um = _convolution(half, quarter, stride=2, norm=norm)
        self.keep_4um = nn.Sequential(*[_convolution(quarter, quarter, norm=norm) for _ in range(2)])
        self.down_8um = _convolution(quarter, eighth, stride=2, norm=norm)
        self.keep_8um = nn.Sequential(*[_convolution(eighth, eighth, norm=norm) for _ in range(2)])
        self.up_4um, self.join_4um = nn.Conv2d(eighth, quarter, 1), _convolution(quarter, quarter, norm=norm)
        self.up_2um, self.join_2um = nn.Conv2d(quarter, half, 1), _convolution(half, half, norm=norm)
        self.up_1um, self.join_1um = nn.Conv2d(half, full, 1), _convolution(full, full, norm=norm)
        self.head = nn.Conv2d(full, 4 * N_MAPS + n_types, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (b, 2, h, w) of nucleus and centre, and logits (b, n_types, h / 2, w / 2) of the types."""
        full = self.keep_1um(self.stem(image - 0.5))
        half = self.keep_2um(self.down_2um(full))
        quarter = self.keep_4um(self.down_4um(half))
        eighth = self.keep_8um(self.down_8um(quarter))
        quarter = self.join_4um(quarter + interpolate(self.up_4um(eighth), scale_factor=2.0))
        half = self.join_2um(half + interpolate(self.up_2um(quarter), scale_factor=2.0))
        full = self.join_1um(full + interpolate(self.up_1um(half), scale_factor=2.0))
        head = self.head(full)
        return pixel_shuffle(head[:, : 4 * N_MAPS], 2), head[:, 4 * N_MAPS :]

    def folded(self) -> NucleusNetwork:
        """Return this network for inference, without batch normalisation."""
        result = NucleusNetwork(self.widths, self.n_types)
        self.eval()
        with torch.no_grad():
            for name, module in self.named_modules():
                if not isinstance(module, nn.Conv2d):
                    continue
                path, _, last = name.rpartition(".")
                siblings = self.get_submodule(path)
                norm = siblings[1] if isinstance(siblings, nn.Sequential) and last == "0" else None
                fused = fuse_conv_bn_eval(module, norm) if isinstance(norm, nn.BatchNorm2d) else module
                result.get_submodule(name).load_state_dict(fused.state_dict())
        return result.eval()
