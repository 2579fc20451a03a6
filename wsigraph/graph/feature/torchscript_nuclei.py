"""InstanSeg from a TorchScript file of the user, as a detector of group ``wsigraph.nuclei``.

``--nuclei instanseg --nuclei-weights FILE`` takes the file that InstanSeg's authors publish (brightfield_nuclei,
Apache-2.0): a module that maps an image to instance labels, and states its pixel size. Every channel is scaled by its
0.1 and 99.9 percentiles over the window, as the authors do. A TorchScript file is a program: load only files that you
trust.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.errors import ModelError, PluginError
from wsigraph.graph.one_thread import one_thread

WINDOW_PX, MARGIN_PX = 448, 32
"""Inner side of a window and its margin, pixels."""
_QUANTILES = (0.001, 0.999)


class InstanSegDetector:
    """Nuclei by an InstanSeg file.

    Parameters
    ----------
    weights : Path or str
        TorchScript file.
    device : str
        Device of torch that runs it.
    """

    name = "instanseg"
    window_px, margin_px = WINDOW_PX, MARGIN_PX

    def __init__(self, weights: Path | str, device: str = "cpu") -> None:
        try:
            with warnings.catch_warnings():
                # the file is TorchScript, whatever torch recommends for new ones
                warnings.simplefilter("ignore", DeprecationWarning)
                # InstanSeg uses such a tensor; torch says once a process that they are in beta, here unheard
                warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
                torch.zeros(1, 1).to_sparse_csr()
                self.module = torch.jit.load(str(weights), map_location=device).eval()  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"nucleus weights {weights} do not read ({reason}); expected a TorchScript file of InstanSeg"
            ) from None
        self.device = torch.device(device)
        self.mpp = float(getattr(self.module, "pixel_size", 0.5))

    def detect(self, window: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Return the nuclei of a window uint8 (s, s, 3)."""
        with torch.inference_mode(), one_thread(blas=False):
            image = torch.from_numpy(np.ascontiguousarray(window)).to(self.device).permute(2, 0, 1).float()
            low, high = (torch.quantile(image.flatten(1), level, dim=1)[:, None, None] for level in _QUANTILES)
            labels = self.module(((image - low) / (high - low).clamp_min(1e-3))[None])
            instances: NDArray[np.int32] = labels[0, 0].cpu().numpy().astype(np.int32)
        return instances


def instanseg(weights: str | None = None, device: str = "cpu") -> InstanSegDetector:
    """Return the detector; what the entry point ``wsigraph.nuclei: instanseg`` names.

    Raises
    ------
    PluginError
        If no file is given: none comes with the package.
    """
    if weights is None:
        raise PluginError(
            "nucleus detector 'instanseg' needs a file, none comes with the package; give InstanSeg's TorchScript "
            "file with --nuclei-weights FILE"
        )
    return InstanSegDetector(weights, device)
