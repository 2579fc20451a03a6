"""Train the nucleus network that the package ships.

    python -m pipelines.train_nuclei --dsb FOLDER --histolytics FOLDER [--unlabelled FILE ...] [--out PATH] [--seed N]

`FOLDER` of ``--dsb`` holds the stained images of the 2018 Data Science Bowl (CC0) as ``NAME.png`` with
``NAME_nuclei.png`` and ``index.csv``; that of ``--histolytics`` the folder ``histolytics/data`` of the PyPI package
(BSD-3). After a first round on these, the network labels the tissue without outlines itself, as the mean over flips,
and is trained on with it. With ``--teacher`` (a TorchScript file of InstanSeg) the teacher labels it instead.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, cross_entropy

from pipelines.nucleus_training_images import (
    NEST_CUT,
    NEST_SCALE,
    NUCLEUS_PX,
    Source,
    at_sizes,
    dsb2018,
    in_strips,
    labelled,
    median_diameter,
    nest_crop,
    read_unlabelled,
    resized,
    sample,
)
from wsigraph.graph.feature.nucleus_instances import find_instances
from wsigraph.graph.feature.nucleus_network import STRIDE, NucleusNetwork

SIDE, BATCH = 256, 8
Pair = tuple[NDArray[np.float32], NDArray[np.int32]]


def loss(output: tuple[Tensor, Tensor], truth: Tensor) -> Tensor:
    """Return the weighted cross entropy of both maps, a Dice term and that of the types where they are known."""
    maps, kinds = output
    weight = truth[:, 2:3]
    target = truth[:, :2].clamp(0, 1)
    raised = weight * torch.cat([torch.ones_like(weight), 1 + 2 * target[:, 1:2]], dim=1)
    entropy = binary_cross_entropy_with_logits(maps, target, raised, reduction="sum") / weight.sum().clamp_min(1)
    inside = torch.sigmoid(maps[:, :1]) * weight
    dice = 1 - (2 * (inside * target[:, :1]).sum() + 1) / (inside.sum() + (target[:, :1] * weight).sum() + 1)
    kind = truth[:, 3, ::2, ::2].long() - 1
    if bool((kind >= 0).any()):
        entropy = entropy + 0.15 * cross_entropy(kinds, kind, ignore_index=-1)
    return entropy + 0.5 * dice


def train(network: NucleusNetwork, sources: list[Source], steps: int, rate: float, rng: np.random.Generator) -> NucleusNetwork:
    """Train a network and return the exponential mean of its weights."""
    network.train()
    mean = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    start, running = time.process_time(), 0.0
    for step in range(steps):
        images, truth = sample(sources, BATCH, SIDE, rng)
        value = loss(network(images.contiguous(memory_format=torch.channels_last)), truth)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        decay = min(0.997, (step + 1) / (step + 10))
        with torch.no_grad():
            for ours, theirs in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
                if ours.is_floating_point():
                    ours.lerp_(theirs, 1 - decay)
                else:
                    ours.copy_(theirs)
        running += float(value.detach())
        if (step + 1) % 100 == 0:
            print(f"  step {step + 1}/{steps}, loss {running / 100:.4f}, {time.process_time() - start:.0f} CPU s", flush=True)
            running = 0.0
    return mean


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


def instances_of(maps: NDArray[np.float32], centre: float = 0.3) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return instances and peaks of two maps."""
    nucleus, middle = (np.round(part * 255).astype(np.uint8) for part in maps)
    return find_instances(nucleus, middle, 128, round(255 * centre), 24)


def match_counts(instances: NDArray[np.int32], peak: NDArray[np.int32], truth: NDArray[np.int32], margin: int = 4):
    """Return for each detection its peak and whether it is the highest in an outline, and the number of outlines."""
    n = len(peak)
    size = np.bincount(instances.ravel(), minlength=n + 1)[1:]
    y, x = np.indices(instances.shape)
    cy = (np.bincount(instances.ravel(), y.ravel(), n + 1)[1:] / np.maximum(size, 1)).round().astype(int)
    cx = (np.bincount(instances.ravel(), x.ravel(), n + 1)[1:] / np.maximum(size, 1)).round().astype(int)
    owner = truth[cy, cx]
    order = np.argsort(-peak, kind="stable")
    hit = np.zeros(n, bool)
    seen: set[int] = set()
    for index in order:
        if owner[index] > 0 and owner[index] not in seen:
            hit[index] = True
            seen.add(int(owner[index]))
    return peak / 4080, hit, len(np.unique(truth[truth > 0]))


def scan(network: NucleusNetwork, pairs: list[Pair]) -> list[tuple[float, float, float, float]]:
    """Return threshold, recall, precision and F1 over images with drawn nuclei."""
    peaks, hits, total = [], [], 0
    for image, truth in pairs:
        instances, peak = instances_of(maps_of(network, image), 0.05)
        height, hit, n = match_counts(instances, peak, truth)
        peaks.append(height), hits.append(hit)
        total += n
    value, right = np.concatenate(peaks), np.concatenate(hits)
    rows = []
    for threshold in np.arange(0.05, 0.8, 0.05):
        kept = value >= threshold
        recall, precision = right[kept].sum() / total, right[kept].sum() / max(kept.sum(), 1)
        rows.append((float(threshold), float(recall), float(precision), float(2 * recall * precision / max(recall + precision, 1e-9))))
    return rows


def held_out(name: str) -> bool:
    """Return whether an image of the first set is kept for thresholds: every sixth."""
    return int(name[:4], 16) % 6 == 0


def is_pink(rgb: NDArray[np.uint8]) -> bool:
    """Return whether an image is pink; there are four, all kept for thresholds."""
    red, green, blue = rgb.reshape(-1, 3).mean(0)
    return bool(red > blue - 12 and green < 140)


def drawn_sources(options: argparse.Namespace) -> tuple[list[Source], dict[str, list[Pair]]]:
    """Return the sources with drawn nuclei, and what is held out of them, by look."""
    sources: list[Source] = []
    checks: dict[str, list[Pair]] = {"purple": [], "pink": [], "histolytics": []}
    for name, rgb, instances in dsb2018(options.dsb):
        scale = NUCLEUS_PX / median_diameter(instances)
        if is_pink(rgb) or held_out(name):
            checks["pink" if is_pink(rgb) else "purple"].append(resized(rgb, instances, scale))
            continue
        area = instances.size * scale**2 / SIDE**2
        sources += labelled(rgb, instances, scale=scale, weight=min(area, 4.0) + 0.15, recolour=0.55)
    nest, inst, kind = nest_crop(options.histolytics)
    weight = 0.3 * sum(source.weight for source in sources)
    left, right = np.s_[:, :NEST_CUT], np.s_[:, NEST_CUT + 40 :]
    sources += labelled(nest[left], inst[left], scale=NEST_SCALE, weight=weight, recolour=0.1, types=kind[left])
    checks["histolytics"].append(resized(nest[right], inst[right], NEST_SCALE))
    return sources, checks


def labelled_again(network: NucleusNetwork, options: argparse.Namespace, total: float) -> list[Source]:
    """Return sources whose truth is the network's own mean over flips, and drawn ones whose gaps it marks as unsure."""
    images = [(path, *read_unlabelled(path, options.slide_mpp)) for path in options.unlabelled]
    sources: list[Source] = []
    for path, rgb, mpp in images:
        scale = mpp / 0.5
        if mpp == 0:  # no pixel size: from the size of the nuclei that are found
            scale = estimate_scale(network, rgb)
        image = resized(rgb, np.zeros(rgb.shape[:2], np.int32), scale)[0]
        maps = in_strips(lambda part: maps_of(network, part, 8), image)
        known = np.stack([maps[0], maps[1], np.ones_like(maps[0]), np.zeros_like(maps[0])])
        area = image.shape[1] * image.shape[2]
        n = instances_of(maps)[1].size
        print(f"  {path.name}: scale {scale:.2f}, {area / 4e6:.2f} mm2, {n} nuclei", flush=True)
        sources += at_sizes(image, known.astype(np.float32), area)
    weight = sum(source.weight for source in sources)
    return [Source(each.image, each.truth, 0.8 * total * each.weight / weight, 0.0) for each in sources]


def estimate_scale(network: NucleusNetwork, rgb: NDArray[np.uint8]) -> float:
    """Return the scale at which the median nucleus that the network finds is 6 um wide."""
    scale = 1.0
    for _ in range(3):
        image, _ = resized(rgb, np.zeros(rgb.shape[:2], np.int32), scale)
        part = image[:, :1024, :1024]
        instances, peak = instances_of(maps_of(network, part))
        if len(peak) < 20:
            return scale
        scale = float(np.clip(scale * NUCLEUS_PX / median_diameter(instances), 0.3, 2.0))
    return scale


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dsb", type=Path, required=True)
    parser.add_argument("--histolytics", type=Path, required=True)
    parser.add_argument("--unlabelled", type=Path, nargs="*", default=[])
    parser.add_argument("--slide-mpp", type=float, default=0.25, help="pixel size of a slide that states none, um/px")
    parser.add_argument("--steps", type=int, nargs=2, default=(2200, 3500))
    parser.add_argument("--first", type=Path, help="go on from the weights of the first round")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    start = time.process_time()
    sources, checks = drawn_sources(options)
    network = NucleusNetwork(norm=True).to(memory_format=torch.channels_last)
    if options.first is None:
        mean = train(network, sources, options.steps[0], 3e-3, np.random.default_rng(options.seed))
        torch.save(mean.state_dict(), options.out.with_suffix(".first.pt"))
    else:
        mean = copy.deepcopy(network)
        mean.load_state_dict(torch.load(options.first, weights_only=True))
    report(mean.folded(), checks)
    if options.unlabelled:
        sources += labelled_again(mean.folded(), options, sum(source.weight for source in sources))
        mean = train(mean, sources, options.steps[1], 1.5e-3, np.random.default_rng(options.seed + 1))
        torch.save(mean.state_dict(), options.out.with_suffix(".second.pt"))
        report(mean.folded(), checks)
    print(f"{time.process_time() - start:.0f} CPU s in all")


def report(network: NucleusNetwork, checks: dict[str, list[Pair]]) -> None:
    """Print recall and precision on what was held out, by threshold."""
    network = network.to(memory_format=torch.channels_last)
    for name, pairs in checks.items():
        for row in scan(network, pairs):
            print(name, "t {:.2f} recall {:.3f} precision {:.3f} F1 {:.3f}".format(*row), flush=True)


if __name__ == "__main__":
    main()
