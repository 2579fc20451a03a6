"""Train the nucleus network that the package ships.

    python -m pipelines.train_nuclei --dsb FOLDER --histolytics FOLDER [--unlabelled FILE ...] [--out PATH] [--seed N]

`FOLDER` of ``--dsb`` holds the stained images of the 2018 Data Science Bowl (CC0) as ``NAME.png`` with
``NAME_nuclei.png`` and ``index.csv``; that of ``--histolytics`` the folder ``histolytics/data`` of the PyPI package
(BSD-3). After a first round on these, the network labels the tissue of ``--unlabelled`` itself, as the mean over the
eight symmetries, and is trained on with it. No other network's labels enter.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from pipelines.nucleus_measures import (
    LEAST_AREA_PX,
    LEAST_CENTRE,
    LEAST_NUCLEUS,
    MPP,
    THRESHOLDS,
    Pair,
    choose_temperature,
    choose_threshold,
    f1,
    held_out,
    held_out_pairs,
    is_pink,
    quality,
    scan,
    type_logits,
    type_scores,
)
from pipelines.nucleus_own_labels import labelled_again
from pipelines.nucleus_training_images import (
    NEST_CUT,
    NEST_SCALE,
    NUCLEUS_PX,
    UNDRAWN,
    Source,
    dsb2018,
    labelled,
    median_diameter,
    nest_crop,
    sample,
    stroma_crop,
)
from wsigraph.graph.feature.nucleus_network import NucleusNetwork
from wsigraph.graph.feature.nucleus_weights import save_nucleus_network

SIDE, BATCH = 256, 8
LEAST_TYPE = 0.5
"""Probability under which a type is unknown."""


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
        # a type counts alike however many pixels it has in the batch
        rare = torch.bincount(kind[kind >= 0], minlength=kinds.shape[1]).float().clamp_min(200)
        entropy = entropy + 0.25 * cross_entropy(kinds, kind, 1 / rare, ignore_index=-1, label_smoothing=0.1)
    return entropy + 0.5 * dice


def channels_last(network: NucleusNetwork) -> NucleusNetwork:
    """Return the network with its weights in the order in which its convolutions are fastest."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def train(
    network: NucleusNetwork, sources: list[Source], steps: int, rate: float, rng: np.random.Generator
) -> NucleusNetwork:
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
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        decay = min(0.997, (step + 1) / (step + 10))
        with torch.no_grad():
            for average, current in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
                if average.is_floating_point():
                    average.lerp_(current, 1 - decay)
                else:
                    average.copy_(current)
        running += float(value.detach())
        if (step + 1) % 100 == 0:
            print(
                f"  step {step + 1}/{steps}, loss {running / 100:.4f}, {time.process_time() - start:.0f} CPU s",
                flush=True,
            )
            running = 0.0
    return mean


def drawn_sources(options: argparse.Namespace) -> list[Source]:
    """Return the sources with drawn nuclei, without what is held out."""
    sources: list[Source] = []
    for name, rgb, instances in dsb2018(options.dsb):
        if is_pink(rgb) or held_out(name):
            continue
        scale = NUCLEUS_PX / median_diameter(instances)
        area = instances.size * scale**2 / SIDE**2
        sources += labelled(rgb, instances, scale=scale, weight=min(area, 4.0) + 0.15, recolour=0.55)
    weight = sum(source.weight for source in sources)
    nest, inst, kind = nest_crop(options.histolytics)
    left = np.s_[:, :NEST_CUT]
    crops = [(0.3, (nest[left], inst[left], kind[left])), (0.2, stroma_crop(options.histolytics))]
    for share, (rgb, instances, types) in crops:
        sources += labelled(
            rgb, instances, scale=NEST_SCALE, weight=share * weight, recolour=0.2, types=types, ground=UNDRAWN
        )
    return sources


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dsb", type=Path, required=True)
    parser.add_argument("--histolytics", type=Path, required=True)
    parser.add_argument("--unlabelled", type=Path, nargs="*", default=[])
    parser.add_argument("--slide-mpp", type=float, default=0.25, help="pixel size of a slide that states none, um/px")
    parser.add_argument("--teacher", type=Path, help="InstanSeg file that labels in place of the network")
    parser.add_argument("--steps", type=int, nargs=2, default=(1800, 3200))
    parser.add_argument("--first", type=Path, help="the first round's weights, FILE.first.pt: go on from there")
    parser.add_argument("--trained", type=Path, help="both rounds' weights, FILE.second.pt: set thresholds alone")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    start = time.process_time()
    sources, checks = drawn_sources(options), held_out_pairs(options.dsb, options.histolytics)
    mean = channels_last(NucleusNetwork(norm=True))
    if options.trained is not None:
        mean.load_state_dict(torch.load(options.trained, weights_only=True))
    else:
        mean = train_twice(mean, sources, checks, options)
    finish(channels_last(mean.folded()), checks, options)
    print(f"{time.process_time() - start:.0f} CPU s in all")


def train_twice(
    network: NucleusNetwork, sources: list[Source], checks: dict[str, list[Pair]], options: argparse.Namespace
) -> NucleusNetwork:
    """Train on drawn nuclei, then also on tissue that the network labels, and keep the weights of either round."""
    if options.first is None:
        mean = train(network, sources, options.steps[0], 3e-3, np.random.default_rng(options.seed))
        torch.save(mean.state_dict(), options.out.with_suffix(".first.pt"))
    else:
        mean = network
        mean.load_state_dict(torch.load(options.first, weights_only=True))
    report(mean.folded(), checks)
    if not options.unlabelled:
        return mean
    total = sum(source.weight for source in sources)
    own = labelled_again(mean.folded(), options.unlabelled, options.slide_mpp, total, options.teacher)
    mean = train(mean, [*sources, *own], options.steps[1], 1.5e-3, np.random.default_rng(options.seed + 1))
    torch.save(mean.state_dict(), options.out.with_suffix(".second.pt"))
    report(mean.folded(), checks)
    return mean


def report(network: NucleusNetwork, checks: dict[str, list[Pair]]) -> None:
    """Print recall, precision and F1 on what was held out, by threshold."""
    for name, pairs in checks.items():
        rates = scan(network, pairs)
        for threshold, (recall, precision), score in zip(THRESHOLDS[::4], rates[::4], f1(rates)[::4], strict=True):
            print(
                f"  {name} t {threshold:.2f} recall {recall:.3f} precision {precision:.3f} F1 {score:.3f}", flush=True
            )


def finish(network: NucleusNetwork, checks: dict[str, list[Pair]], options: argparse.Namespace) -> None:
    """Choose the thresholds on what was held out and write the weights."""
    logits, truth = type_logits(network, options.histolytics)
    temperature = choose_temperature(logits, truth)
    threshold = choose_threshold(network, checks)
    card = save_nucleus_network(
        network,
        options.out,
        least_nucleus=LEAST_NUCLEUS,
        least_centre=LEAST_CENTRE,
        least_probability=round(threshold, 4),
        least_area_um2=LEAST_AREA_PX * MPP**2,
        mpp=MPP,
        type_temperature=temperature,
        least_type=LEAST_TYPE,
        training={
            "data": "stained images of the 2018 Data Science Bowl (CC0); two crops of histolytics (BSD-3); "
            + ("labels of InstanSeg for " if options.teacher else "own labels of ")
            + ", ".join(path.name for path in options.unlabelled),
            "other networks": "InstanSeg brightfield_nuclei 0.1.1, some of whose training sets were for "
            "non-commercial use"
            if options.teacher
            else "none",
            "seed": str(options.seed),
            "steps": " + ".join(str(steps) for steps in options.steps),
        },
    )
    print(f"weights {card.digest}: least probability {threshold:.3f}, type temperature {temperature:.2f}")
    print(
        "types", {name: round(value, 3) for name, value in type_scores(logits, truth, temperature, LEAST_TYPE).items()}
    )
    for name, pairs in checks.items():
        print(name, {key: round(value, 3) for key, value in quality(network, pairs, threshold).items()})


if __name__ == "__main__":
    main()
