"""The package's own nucleus network as a detector of group ``wsigraph.nuclei``.

The part of a window that holds tissue, with a margin, is decoded and shown to the network by one thread. It follows
from the global grid and the tissue alone, so a nucleus does not depend on chunks or threads; windows run in parallel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.geometry import um2_to_px
from wsigraph.graph.feature.detect import DetectedNuclei
from wsigraph.graph.feature.nucleus_instances import find_instances, mean_in_instances
from wsigraph.graph.feature.nucleus_weights import load_nucleus_network
from wsigraph.graph.one_thread import one_thread

WINDOW_PX, MARGIN_PX = 640, 32
"""Inner side of a window and its margin, pixels of the network."""
MULTIPLE_PX = 64
"""Both sides of what is shown are multiples of this: torch prepares its kernels anew for every shape."""


class NetworkDetector:
    """Nuclei by the shipped network, or by weights of the same layers.

    Parameters
    ----------
    weights : Path or str, optional
        File written by ``pipelines.train_nuclei``; the shipped weights if left out.
    device : str
        Device of torch that runs the network.
    """

    name = "network"
    window_px, margin_px, multiple_px = WINDOW_PX, MARGIN_PX, MULTIPLE_PX

    def __init__(self, weights: Path | str | None = None, device: str = "cpu") -> None:
        network, self.card = load_nucleus_network(weights)
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.mpp = self.card.mpp
        self.types = self.card.types
        self.digest, self.least_type = self.card.found_by(), self.card.least_type

    def detect(self, window: NDArray[np.uint8]) -> DetectedNuclei:
        """Return the nuclei of a window uint8 (h, w, 3)."""
        card = self.card
        nucleus, centre, logits = self.maps(window)
        instances, _, mean = find_instances(
            nucleus,
            centre,
            round(255 * card.least_nucleus),
            round(255 * card.least_centre),
            um2_to_px(card.least_area_um2, card.mpp),
            round(255 * card.least_probability),
        )
        kinds = mean_in_instances(instances, logits, len(mean)) / np.float32(card.type_temperature)
        raised = np.exp(kinds - kinds.max(axis=1, initial=-np.inf, keepdims=True))
        return DetectedNuclei(
            instances=instances,
            probability=(mean / 4080).astype(np.float32),
            type_probability=raised / raised.sum(axis=1, keepdims=True),
        )

    def maps(self, window: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """Return the maps of a window.

        Parameters
        ----------
        window : uint8 (h, w, 3)
            At the pixel size of the card; h and w are multiples of 16.

        Returns
        -------
        nucleus, centre : uint8 (h, w)
            Probability of nucleus and height of the centre map, 255 is 1.
        types : float32 (T, h / 2, w / 2)
            Logit of each type; the mean over a nucleus decides.
        """
        with torch.inference_mode(), one_thread(blas=False):
            # (h, w, 3) in memory is a channels-last (1, 3, h, w)
            image = torch.from_numpy(np.ascontiguousarray(window)).to(self.device).permute(2, 0, 1)[None].float() / 255
            maps, kinds = self.network(image)
            both = (torch.sigmoid(maps[0]) * 255).round().to(torch.uint8).cpu().numpy()
            types: NDArray[np.float32] = kinds[0].cpu().numpy()
        return both[0], both[1], types


def network(weights: str | None = None, device: str = "cpu") -> NetworkDetector:
    """Return the detector; what the entry point ``wsigraph.nuclei: network`` names."""
    return NetworkDetector(weights, device)
