"""The sections of every run's config: data, network, threat, attack, optimiser, schedule, eval.

Radii and steps may be written as fractions (`8/255`) and are stored as floats; pixels live on
[0, 1]. What a section is about, its units and its limits stand with its fields. Standard library
only; other modules take these names from `rpat.config`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rpat.errors import ConfigError
from rpat.knobs import Section, knob, number, section

NORMS = ("linf", "l2")
MODELS = (
    "resnet8",
    "resnet18",
    "resnet26-bottleneck",
    "preactresnet18",
    "wrn-28-10",
    "wrn-34-10",
)
MODES = ("reference", "exact", "fast")
PASSES = ("none", "pgd", "aa")


class DatasetFacts(NamedTuple):
    """What is known about a data set before its files are opened."""

    title: str
    classes: int
    image_size: int
    n_train: int
    n_test: int
    known: bool = True


DATASETS = {
    "digits": DatasetFacts("Digits", 10, 32, 1437, 360),
    "cifar10": DatasetFacts("CIFAR-10", 10, 32, 50_000, 10_000),
    "cifar100": DatasetFacts("CIFAR-100", 100, 32, 50_000, 10_000),
    "tiny-imagenet": DatasetFacts("Tiny-ImageNet", 200, 64, 100_000, 10_000),
    "image-folder": DatasetFacts("Image folder", 0, 0, 0, 0, known=False),
}


# --------------------------------------------------------------------------- sections


@section("data")
class DataConfig(Section):
    """Which images, and what is done to them before the network sees them."""

    name: str = knob("data set", default="cifar10", choices=tuple(DATASETS))
    source: str = knob(
        "where the images come from",
        default="official",
        choices=("official", "image-folder", "embedded"),
    )
    dir: str = knob("folder that holds the data set", default="", identity=False)
    val_n: int = knob("training images held out to select on", default=0, low=0)
    train_n: int = knob("class-balanced subset of the training images; 0: all", default=0, low=0)
    test_n: int = knob("class-balanced subset of the test images; 0: all", default=0, low=0)
    augment: str = knob(
        "augmentation; autoaug: crop, flip, AutoAugment and Cutout; autoaug-late: only in the "
        "second half of the run, crop-flip before",
        default="crop-flip",
        choices=("none", "crop", "crop-flip", "autoaug", "autoaug-late"),
    )
    padding: int = knob(
        "pixels added on each side before the random crop", default=4, low=0, high=32
    )
    padding_mode: str = knob("what is padded", default="zero", choices=("zero", "reflect"))
    cutmix: bool = knob("CutMix: a box of each image from another", default=False, legacy=False)


@section("model")
class ModelConfig(Section):
    """The network. It takes images on [0, 1]; normalisation is its optional first layer."""

    name: str = knob("network", default="resnet18", choices=MODELS)
    normalize: str = knob(
        "statistics of the in-model normalisation",
        default="none",
        choices=("none", *list(DATASETS)[1:4]),
    )


@section("threat")
class ThreatConfig(Section):
    """The ball around each image that an adversary may use."""

    norm: str = knob("norm of the perturbation", default="linf", choices=NORMS)
    epsilon: float = knob("radius, in pixels on [0, 1]", default=8 / 255, low=0)

    def check(self) -> None:
        """Catch radii on the 0..255 scale."""
        limit = 1.0 if self.norm == "linf" else 5.0
        if self.epsilon > limit:
            whole = f"{self.epsilon:g}"
            raise ConfigError(
                f"threat.epsilon is {whole}; pixels live in [0, 1], so write {whole}/255, "
                f"not {whole}"
            )


def start_word(value: Any) -> str:
    """Read the name of a start distribution; `normal:SIGMA` carries its standard deviation."""
    text = str(value)
    if text in ("zero", "uniform", "box", "direction"):
        return text
    if text.startswith("normal:"):
        return f"normal:{number(text.removeprefix('normal:')):g}"
    raise ValueError("write zero, uniform, box, direction or normal:SIGMA")


def floor_word(value: Any) -> str:
    """Read how a gradient's norm is kept from zero: `max:TINY` or `add:TINY`."""
    kind, _, tiny = str(value).partition(":")
    if kind not in ("max", "add") or not tiny:
        raise ValueError("write max:TINY or add:TINY, for example max:1e-6")
    return f"{kind}:{number(tiny):g}"


@section("attack")
class AttackConfig(Section):
    """How training images are crafted. The differences between methods are data here."""

    steps: int = knob("gradient steps; 0 keeps the start", default=10, low=0)
    step_size: float = knob("length of a step, in pixels on [0, 1]", default=2 / 255, low=0, high=5)
    start: str = knob("start distribution", default="uniform", parse=start_word)
    order: str = knob(
        "after a step: project on the ball and clip to [0, 1], in which order",
        default="project-clip",
        choices=("clip-project", "project-clip"),
    )
    bn: str = knob("BatchNorm while crafting", default="eval", choices=("eval", "train"))
    reduction: str = knob(
        "of the ascended loss over the batch; matters with l_2",
        default="sum",
        choices=("sum", "mean"),
    )
    floor: str = knob("l_2: guard of the gradient's norm", default="add:1e-08", parse=floor_word)
    closing_forward: bool = knob("one more forward pass after the last step", default=False)
    double_forward: bool = knob("two forward passes a step", default=False)


@section("optim")
class OptimConfig(Section):
    """Stochastic gradient descent."""

    lr: float = knob("initial learning rate", default=0.1, above=0)
    momentum: float = knob("momentum (not Nesterov)", default=0.9, low=0, high=1)
    weight_decay: float = knob("weight decay, on all parameters", default=5e-4, low=0)
    batch_size: int = knob("images a step, over all devices", default=128, low=2)


@section("schedule")
class ScheduleConfig(Section):
    """Length of the run and its learning rate over time."""

    epochs: int = knob("epochs", default=110, low=1)
    milestones: tuple[float, ...] = knob(
        "decay points as fractions of the run", default=(100 / 110, 105 / 110), above=0, high=1
    )
    decay: float = knob(
        "the learning rate is divided by this at a milestone", default=10.0, above=0
    )
    granularity: str = knob(
        "when the learning rate changes", default="epoch", choices=("epoch", "iteration")
    )


@section("eval")
class EvalConfig(Section):
    """What is measured on held-out images, each epoch and at the end.

    What only the end of the run sees is no part of the experiment's identity: it can be measured
    again at any time, and every evaluation records its own settings.
    """

    attack: str = knob(
        "evaluation at the end of the run", default="pgd", choices=PASSES, identity=False
    )
    steps: int = knob("PGD steps of the final evaluation", default=20, low=1, identity=False)
    selection_steps: int = knob("PGD steps of each epoch's evaluation", default=10, low=1)
    step_size: float = knob(
        "length of a PGD step, in pixels on [0, 1]", default=2 / 255, above=0, high=5
    )
    start: str = knob("start distribution", default="uniform", parse=start_word)
    order: str = knob(
        "see attack.order", default="clip-project", choices=("clip-project", "project-clip")
    )
    reduction: str = knob("see attack.reduction", default="sum", choices=("sum", "mean"))
    floor: str = knob("see attack.floor", default="max:1e-06", parse=floor_word)
    aa_n: int = knob(
        "class-balanced subset that AutoAttack sees; 0: all test images",
        default=0,
        low=0,
        identity=False,
    )
    batch_size: int = knob("images a forward pass", default=500, low=1, identity=False)


SECTIONS: dict[str, type[Section]] = {
    "data": DataConfig,
    "model": ModelConfig,
    "threat": ThreatConfig,
    "attack": AttackConfig,
    "optim": OptimConfig,
    "schedule": ScheduleConfig,
    "eval": EvalConfig,
}
"""Section -> its class, in the order in which people read them."""
