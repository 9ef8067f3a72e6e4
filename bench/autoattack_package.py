"""AutoAttack as rpat carries it out beside its package called directly: equal image for image?

    python bench/autoattack_package.py CIFAR10_FOLDER [--n 6] [--epsilon 0.5/255] [--norm linf]

The network is the naturally trained ResNet-18 that ships with pyautoattack, so the radius must be
small. Both sides take the full budgets, the same images, seed and batches.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pyautoattack
import torch

from rpat import assess, foreign
from rpat.attacks import autoattack
from rpat.attacks.ensembles import ensemble
from rpat.config import DataConfig, ThreatConfig
from rpat.data.dataset import load
from rpat.data.loader import pixels
from rpat.evaluate import full_precision
from rpat.jobs import EvalJob, ImagesConfig, SubjectConfig
from rpat.trial import Trial

EXAMPLE = Path(pyautoattack.__file__).parent / "examples" / "model_test.pt"


def main() -> None:
    """Run both and print what differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--n", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--epsilon", default="0.5/255")
    parser.add_argument("--norm", default="linf")
    a = parser.parse_args()
    job = EvalJob(
        subject=SubjectConfig(sha256="example"),
        data=DataConfig(name="cifar10", source="image-folder", dir=a.folder),
        threat=ThreatConfig(norm=a.norm, epsilon=a.epsilon),
        images=ImagesConfig(n=a.n), attacks=("aa",), batch_size=a.batch_size,
    )  # fmt: skip
    data = load(job.data)
    images = assess.chosen_images(job, data)
    net = foreign.build(foreign.load(EXAMPLE), 32).eval().requires_grad_(False)
    kept = pixels(images.images)

    def broken(trial: Trial, rows: torch.Tensor, x_adv: torch.Tensor) -> None:
        kept[rows] = x_adv

    with full_precision():
        clock = time.monotonic()
        trial = Trial(
            net, images, ensemble(job, "aa", 0, 10), batch_size=a.batch_size, broken=broken
        )  # fmt: skip
        state = trial.run()
        ours = time.monotonic() - clock
        x, y = pixels(images.images).contiguous(), images.labels
        clock = time.monotonic()
        direct = autoattack.package(net, job.threat, 10, job.seed, "cpu")
        x_adv, predicted = direct.run_standard_evaluation(x, y, batch_size=a.batch_size)
        theirs = time.monotonic() - clock
    print(f"images {images.index.tolist()}, {a.norm} {a.epsilon}, torch {torch.__version__}")
    print(f"clean {int(state.clean.sum())} of {a.n}, robust {int(state.robust.sum())} of {a.n}")
    print(f"decisions equal: {torch.equal(state.robust, (predicted == y).cpu())}")
    print(f"predictions equal: {torch.equal(state.predicted, predicted.cpu())}")
    print(f"adversarial images equal: {torch.equal(kept, x_adv.cpu())}")
    print(f"after each part: {state.bounds}")
    print(f"passes {trial.units:.0f}, seconds ours {ours:.0f}, package {theirs:.0f}")


if __name__ == "__main__":
    main()
