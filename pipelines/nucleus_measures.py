"""How well a nucleus network does on held-out images of permissive licence: what its thresholds are chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.nucleus_training_images import (
    NEST_CUT,
    NEST_SCALE,
    NUCLEUS_PX,
    dsb2018,
    median_diameter,
    nest_crop,
    resized,
)
from wsigraph.graph.feature.nucleus_instances import find_instances, mean_in_instances
from wsigraph.graph.feature.nucleus_network import STRIDE, NucleusNetwork

Float = NDArray[np.float32]
Labels = NDArray[np.int32]
Pair = tuple[Float, Labels]
LEAST_NUCLEUS = 0.5
"""Least probability of a pixel of a nucleus: of 0.3 to 0.6, which have the same F1 within 0.001 on what is held out."""
LEAST_CENTRE = 0.05
"""Least height of a peak; the mean probability of a nucleus decides."""
LEAST_AREA_PX = 24
"""Least area of a nucleus, pixels of the network."""
MPP = 0.45
"""Pixel size at which slides are read, um/px.

In the one slide of permissive licence that states its pixel size, CMU-1, the median nucleus is 10.6 px wide at
0.5 um/px, 11.2 at 0.45 and 11.6 at 0.4; it is 12 px in the training images, which state none. At 0.4 um/px the network
alone costs 0.52 CPU s a mm2, at 0.45 it costs 0.41.
"""
WINDOW_SCALE = 0.5 / MPP
"""How much larger slides are shown than the 0.5 um/px at which the median nucleus of training is 6 um wide."""
THRESHOLDS = np.arange(0.1, 0.95, 0.02)
"""Mean probabilities of a nucleus that are tried."""


def held_out(name: str) -> bool:
    """Return whether an image of the first set is selected for thresholds: every sixth."""
    return int(name[:4], 16) % 6 == 0


def is_pink(rgb: NDArray[np.uint8]) -> bool:
    """Return whether an image is pink; there are four, all selected for thresholds."""
    red, green, blue = rgb.reshape(-1, 3).mean(0)
    return bool(red > blue - 12 and green < 140)


def maps_of(network: NucleusNetwork, image: NDArray[np.float32], flips: int = 1) -> NDArray[np.float32]:
    """Return nucleus and centre, float32 (2, h, w) in 0..1, as the mean over `flips` of the eight symmetries."""
    height, width = image.shape[1:]
    pad_y, pad_x = -height % STRIDE, -width % STRIDE
    padded = torch.from_numpy(np.pad(image, ((0, 0), (0, pad_y), (0, pad_x)), mode="reflect"))[None]
    total = torch.zeros(1, 2, *padded.shape[2:])
    with torch.inference_mode():
        for turn in range(flips):
            axes = [axis for bit, axis in ((1, 2), (2, 3)) if turn & bit]
            turned = torch.flip(padded, axes)
            turned = turned.transpose(2, 3) if turn & 4 else turned
            maps = torch.sigmoid(network(turned.contiguous(memory_format=torch.channels_last))[0])
            maps = maps.transpose(2, 3) if turn & 4 else maps
            total += torch.flip(maps, axes)
    return np.asarray(total[0, :, :height, :width] / flips, np.float32)


def instances_of(
    maps: NDArray[np.float32], centre: float = LEAST_CENTRE, nucleus: float = LEAST_NUCLEUS, mean: float = 0.0
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return instances, peaks and mean probabilities of two maps."""
    inside, middle = (np.round(part * 255).astype(np.uint8) for part in maps)
    least = [round(255 * part) for part in (nucleus, centre, mean)]
    return find_instances(inside, middle, least[0], least[1], LEAST_AREA_PX, least[2])


def match_counts(instances: Labels, mean: Labels, truth: Labels) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Return probability and whether it is the highest in an outline, of each detection; and the number of outlines."""
    n = len(mean)
    size = np.bincount(instances.ravel(), minlength=n + 1)[1:]
    y, x = np.indices(instances.shape)
    cy = (np.bincount(instances.ravel(), y.ravel(), n + 1)[1:] / np.maximum(size, 1)).round().astype(int)
    cx = (np.bincount(instances.ravel(), x.ravel(), n + 1)[1:] / np.maximum(size, 1)).round().astype(int)
    owner = truth[cy, cx]
    order = np.argsort(-mean, kind="stable")
    hit = np.zeros(n, bool)
    matched: set[int] = set()
    for index in order:
        if owner[index] > 0 and owner[index] not in matched:
            hit[index] = True
            matched.add(int(owner[index]))
    return mean / 4080, hit, len(np.unique(truth[truth > 0]))


def variants(image: Float) -> list[Float]:
    """Return an image as it is, paler, darker and blurred."""
    blurred = np.asarray(ndimage.gaussian_filter(image, (0, 1.0, 1.0)), np.float32)
    return [image, image**0.6, image**1.5, blurred]


def pixels_of(image: Float) -> NDArray[np.uint8]:
    """Return an image float32 (3, h, w) as uint8 (h, w, 3)."""
    return np.round(image.transpose(1, 2, 0) * 255).astype(np.uint8)


def scan(network: NucleusNetwork, pairs: Sequence[Pair], *, spoiled: bool = False) -> NDArray[np.float64]:
    """Return recall and precision at each of `THRESHOLDS`, float64 (T, 2), over images with drawn nuclei."""
    means, hits, total = [], [], 0
    for image, truth in pairs:
        for shown in variants(image) if spoiled else [image]:
            instances, _, mean = instances_of(maps_of(network, shown))
            probability, hit, n = match_counts(instances, mean, truth)
            means.append(probability)
            hits.append(hit)
            total += n
    value, right = np.concatenate(means), np.concatenate(hits)
    selected = value >= THRESHOLDS[:, None]
    n_hits = (selected & right).sum(axis=1)
    return np.stack([n_hits / max(total, 1), n_hits / np.maximum(selected.sum(axis=1), 1)], axis=1)


def f1(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the harmonic mean of recall and precision, float64 (T,)."""
    return np.asarray(2 * rates.prod(axis=1) / np.maximum(rates.sum(axis=1), 1e-9))


def choose_threshold(network: NucleusNetwork, checks: dict[str, list[Pair]]) -> float:
    """Return the mean probability with the best F1 over the held-out images of which all nuclei were drawn.

    Each is shown as it is, paler, darker and blurred, at its size and enlarged as slides are. Purple and pink images
    count alike, and so do both sizes: the four pink images look most like the sections that the network is for. The
    crop of histolytics has no say: its labels miss nuclei, so a high threshold looks better there than it is.
    """
    looks = []
    for name in ("purple", "pink"):
        for scale in (1.0, WINDOW_SCALE):
            pairs = [resized(pixels_of(image), truth, scale) for image, truth in checks[name]]
            looks.append(f1(scan(network, pairs, spoiled=True)))
    return float(THRESHOLDS[int(np.mean(looks, axis=0).argmax())])


def panoptic_quality(instances: Labels, truth: Labels) -> tuple[float, int, int, int]:
    """Return the sum of IoU over pairs of IoU above 0.5, and the numbers of pairs, detections and outlines."""
    n, m = int(instances.max(initial=0)), int(truth.max(initial=0))
    joint = np.bincount((instances.astype(np.int64) * (m + 1) + truth).ravel(), minlength=(n + 1) * (m + 1))
    joint = joint.reshape(n + 1, m + 1)
    union = joint.sum(axis=1, keepdims=True) + joint.sum(axis=0, keepdims=True) - joint
    overlap = (joint / np.maximum(union, 1))[1:, 1:]
    paired = overlap[overlap > 0.5]
    outlines = int((joint.sum(axis=0)[1:] > 0).sum())
    return float(paired.sum()), len(paired), int((joint.sum(axis=1)[1:] > 0).sum()), outlines


def quality(network: NucleusNetwork, pairs: Sequence[Pair], threshold: float) -> dict[str, float]:
    """Return panoptic quality and pixel Dice over images with drawn nuclei."""
    total = np.zeros(4)
    pixels = np.zeros(3)
    for image, truth in pairs:
        instances, _, _ = instances_of(maps_of(network, image), mean=threshold)
        total += panoptic_quality(instances, truth)
        pixels += [((instances > 0) & (truth > 0)).sum(), (instances > 0).sum(), (truth > 0).sum()]
    overlap, n_pairs, n_found, n_drawn = total
    return {
        "pq": float(overlap / max((n_found + n_drawn) / 2, 1)),
        "detection": float(2 * n_pairs / max(n_found + n_drawn, 1)),
        "segmentation": float(overlap / max(n_pairs, 1)),
        "dice": float(2 * pixels[0] / max(pixels[1] + pixels[2], 1)),
    }


def type_logits(network: NucleusNetwork, folder: Path) -> tuple[Float, NDArray[np.int64]]:
    """Return mean logits (n, T) and true types (n,) of the nuclei drawn in the half crop that was not trained on."""
    rgb, instances, kind = nest_crop(folder)
    right = np.s_[:, NEST_CUT + 40 :]
    image, labels = resized(rgb[right], instances[right], NEST_SCALE)
    kinds = resized(rgb[right], kind[right], NEST_SCALE)[1]
    height, width = (length // STRIDE * STRIDE for length in labels.shape)
    image, labels, kinds = image[:, :height, :width], labels[:height, :width], kinds[:height, :width]
    with torch.inference_mode():
        logits = network(torch.from_numpy(np.ascontiguousarray(image))[None])[1][0].numpy()
    numbers, dense = np.unique(labels, return_inverse=True)
    whole: Labels = dense.reshape(labels.shape).astype(np.int32)
    n = len(numbers) - 1
    votes = np.stack(
        [np.bincount(whole.ravel(), (kinds == kind_number).ravel(), n + 1)[1:] for kind_number in (1, 2, 3)], axis=1
    )
    known = votes.sum(axis=1) > 0
    return mean_in_instances(whole, logits, n)[known], votes.argmax(axis=1)[known]


def type_scores(logits: Float, truth: NDArray[np.int64], temperature: float, least: float) -> dict[str, float]:
    """Return macro F1, accuracy and expected calibration error of types, and how many stay unknown."""
    probability = softmax(logits / temperature)
    best, sure = probability.argmax(axis=1), probability.max(axis=1)
    selected = sure >= least
    scores = []
    for kind in range(logits.shape[1]):
        right = (best == kind) & (truth == kind) & selected
        scores.append(2 * right.sum() / max(((best == kind) & selected).sum() + (truth == kind).sum(), 1))
    edges = np.digitize(sure, np.linspace(0, 1, 11)[1:-1])
    error = sum(abs(sure[edges == part].sum() - (best == truth)[edges == part].sum()) for part in range(10)) / max(
        len(sure), 1
    )
    return {
        "macro_f1": float(np.mean(scores)),
        "accuracy": float((best == truth).mean()),
        "ece": float(error),
        "unknown": float(1 - selected.mean()),
    }


def softmax(logits: Float) -> Float:
    """Return probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)


def choose_temperature(logits: Float, truth: NDArray[np.int64]) -> float:
    """Return the divisor of the logits with the least negative log likelihood."""
    tried = np.exp(np.linspace(np.log(0.2), np.log(4), 60))
    rows = np.arange(len(truth))
    costs = [-np.log(np.maximum(softmax(logits / divisor)[rows, truth], 1e-9)).mean() for divisor in tried]
    return float(tried[int(np.argmin(costs))])


def held_out_pairs(dsb: Path, histolytics: Path) -> dict[str, list[Pair]]:
    """Return the images selected for thresholds, by look, at 0.5 um/px."""
    checks: dict[str, list[Pair]] = {"purple": [], "pink": [], "histolytics": []}
    for name, rgb, instances in dsb2018(dsb):
        if is_pink(rgb) or held_out(name):
            pair = resized(rgb, instances, NUCLEUS_PX / median_diameter(instances))
            checks["pink" if is_pink(rgb) else "purple"].append(pair)
    nest, inst, _ = nest_crop(histolytics)
    right = np.s_[:, NEST_CUT + 40 :]
    checks["histolytics"].append(resized(nest[right], inst[right], NEST_SCALE))
    return checks
