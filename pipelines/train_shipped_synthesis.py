"""Train the generator that the package ships.

    python -m pipelines.train_shipped_synthesis --oral DIR [--histolytics DIR] [--out DIR] [--work DIR] [--seed N]
        [--painted N] [--device auto|cpu|cuda] [--config FILE] [--set KEY=VALUE]

After an interruption, the same command continues from its last checkpoint in ``--work``. For a larger model on a GPU:
``--set diffusion.canvas_px=128 --set diffusion.mpp=1 --set diffusion.channels=[64,128,192] --set diffusion.batch=128
--set diffusion.training_steps=20000``. What is held out is listed by ``pipelines/synthesis_training_images.py``;
``pipelines/score_synthesis.py`` scores the result.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pipelines.synthesis_training_images import paint_training_images, real_training_images
from wsigraph.cli.progress import progress_line
from wsigraph.config import load
from wsigraph.synthesis.diffusion.generator import SHIPPED, About, save_generator
from wsigraph.synthesis.diffusion.grid import sample_grid
from wsigraph.synthesis.diffusion.train import train


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--oral", type=Path, required=True, help="oral_tiles")
    parser.add_argument("--histolytics", type=Path, help="the data directory of the package histolytics")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--work", type=Path, default=Path("synthesis-training"))
    parser.add_argument("--painted", type=int, default=160, help="painted training images of 256 px")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--config", action="append", default=[], type=Path)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()

    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = load(options.config, options.overrides)
    real, held = real_training_images(options.oral, options.histolytics, settings)
    painted = paint_training_images(options.painted, settings, real, seed=options.seed)
    print(f"painted training images: {len(painted)}; device {device}", flush=True)
    started = time.process_time()
    with progress_line("synthesis") as progress:
        trained = train(
            [*painted, *real],
            settings.diffusion,
            seed=options.seed,
            out=options.work,
            device=device,
            progress=progress,
            on_checkpoint=sample_grid([*painted[:4], *held[:4]], options.work, device=device),
        )
    about = About(
        name="shipped",
        description="Tissue of a canvas from its graph; trained on painted tissue and on real tiles.",
        licence="MIT; trained on CC0 and BSD-3 images and on painted tissue",
        data=f"{len(painted)} painted training images; {len(real)} real ones: oral_tiles 400x (CC0; {len(held)} held "
        "out), histolytics crops (BSD-3), CMU-1-Small-Region (CC0)",
        seed=options.seed,
    )
    generator = save_generator(options.out, trained, settings.diffusion, about)
    print(f"{options.out}: {generator}, loss {generator.card.loss:.4f}, {time.process_time() - started:.0f} CPU s here")


if __name__ == "__main__":
    main()
