"""The knobs of every method and wrapper, under the names that users write.

A class decorated with `@method` or `@wrapper` describes what people see in `rpat methods`: title,
source, objective, knobs with defaults and ranges. The implementation is the class of the same
name, without `Config`, in `rpat/methods/` or `rpat/wrappers/`. Standard library only; other
modules take these names from `rpat.config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar, dataclass_transform

from rpat.knobs import Section, knob, number, section

WRAPPER_ORDER = (
    "kd", "cure", "rpat", "awp", "clean-pass", "adr", "rebat", "rpat++", "wa", "swa",
)  # fmt: skip
"""Canonical nesting, innermost first: equal stacks have equal fingerprints."""

K = TypeVar("K")
METHODS: dict[str, type[MethodConfig]] = {}
WRAPPERS: dict[str, type[WrapperConfig]] = {}


class Knobs(Section):
    """Base of the knobs of a method or wrapper; the class attributes describe it to people."""

    __slots__ = ()
    NAME: ClassVar[str] = ""
    TITLE: ClassVar[str] = ""
    CITATION: ClassVar[str] = ""
    OBJECTIVE: ClassVar[str] = ""
    REFUSES: ClassVar[Mapping[str, str]] = {}
    """Wrappers that make no sense on this one, and `cutmix`, each with the reason."""
    LIVE_WEIGHTS: ClassVar[bool | None] = None
    """Whether the authors' attack computes the gradients to all parameters too, for nothing.

    None: a method's does not, and a wrapper's code attacks as its base does. One False in a stack
    outweighs: that code freezes the parameters, or asks for the images' gradient alone.
    """


class MethodConfig(Knobs):
    """Base of every method's knobs."""

    __slots__ = ()


class WrapperConfig(Knobs):
    """Base of the knobs of what stacks on any method."""

    __slots__ = ()


def _register(
    registry: dict[str, Any], name: str, facts: Mapping[str, Any]
) -> Callable[[type[K]], type[K]]:
    def decorate(cls: type[K]) -> type[K]:
        made = section(name)(cls)
        for attribute, value in {"NAME": name, **facts}.items():
            setattr(made, attribute, value)
        registry[name] = made
        return made

    return decorate


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(knob,))
def method(
    name: str, *, title: str, cite: str, objective: str, refuses: Mapping[str, str] | None = None
) -> Callable[[type[K]], type[K]]:
    """Register a method's knobs under the name that users write."""
    facts = {"TITLE": title, "CITATION": cite, "OBJECTIVE": objective, "REFUSES": refuses or {}}
    return _register(METHODS, name, facts)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(knob,))
def wrapper(
    name: str, *, title: str, cite: str, objective: str, refuses: Mapping[str, str] | None = None
) -> Callable[[type[K]], type[K]]:
    """Register the knobs of a wrapper under the name that `--with` takes."""
    facts = {"TITLE": title, "CITATION": cite, "OBJECTIVE": objective, "REFUSES": refuses or {}}
    return _register(WRAPPERS, name, facts)


NEEDS_LABELS = {
    "adr": "it needs the hard label that this wrapper replaces",
    "cutmix": "it needs the hard label that mixing replaces",
}


@method(
    "clean",
    title="Clean training",
    cite="-",
    objective="CE(z(x), y)",
    refuses={"rpat": "clean training makes no adversarial image to interpolate to"},
)
class CleanConfig(MethodConfig):
    """Natural training; the reference of Fig. 2."""


@method(
    "random",
    title="Random-noise training",
    cite="-",
    objective="CE(z(x + noise), y)",
    refuses={
        "rpat": "random-noise training makes no adversarial image to interpolate to",
        "attack.steps": "with steps it would be PGD-AT; leave --steps out, or name pgd-at",
    },
)
class RandomConfig(MethodConfig):
    """Training on uniform noise in the ball; the reference of Fig. 2."""


@method(
    "pgd-at",
    title="PGD-AT",
    cite="Madry et al., ICLR 2018",
    objective="CE(z(x'), y)",
)
class PgdAtConfig(MethodConfig):
    """Adversarial training on PGD examples."""

    LIVE_WEIGHTS = True


@method(
    "trades",
    title="TRADES",
    cite="Zhang et al., ICML 2019",
    objective="CE(z(x), y) + beta * KL(p(x) || p(x'))",
)
class TradesConfig(MethodConfig):
    """Knobs of TRADES."""

    beta: float = knob("weight of the KL term", default=6.0, low=0)


@method(
    "mart",
    title="MART",
    cite="Wang et al., ICLR 2020",
    objective="BCE(z(x'), y) + beta * mean (1 - p_y(x)) KL(p(x) || p(x'))",
    refuses=NEEDS_LABELS,
)
class MartConfig(MethodConfig):
    """Knobs of MART. The original uses beta 5; 6 is the value of the RPAT benchmark (D14)."""

    beta: float = knob("weight of the misclassification-aware KL term", default=6.0, low=0)


@method(
    "consistency-at",
    title="Consistency-AT",
    cite="Tack et al., AAAI 2022",
    objective="CE(z(X'), Y) + lam * JS_T(z(x1'), z(x2')),  X = two augmentations of x",
    refuses={"cutmix": "it compares two views of an image; mixed, they show different images"},
)
class ConsistencyAtConfig(MethodConfig):
    """Knobs of Consistency-AT. The original's own CIFAR-10 command adds AutoAugment (D20)."""

    LIVE_WEIGHTS = True
    lam: float = knob("weight of the consistency term", default=1.0, low=0)
    temperature: float = knob("of both softmaxes", default=0.5, above=0)


@method(
    "mma",
    title="MMA",
    cite="Ding et al., ICLR 2020",
    objective="c CE(z(x), y) + (1-c) mean [hinged CE at the margin, or CE(z(x), y) where wrong]",
    refuses=NEEDS_LABELS,
)
class MmaConfig(MethodConfig):
    """Knobs of MMA. Which d_max the compared rows used is not published; 32/255 is plausible."""

    d_max: float = knob("largest margin that is enlarged", default=32 / 255, above=0, high=5)
    eps_min: float = knob("smallest radius of the attack", default=0.005, above=0, high=5)
    clean_coeff: float = knob("weight c of the clean loss; 0 is OMMA", default=1 / 3, low=0, high=1)
    search_steps: int = knob("halvings of the margin search", default=10, low=1)
    search_mode: str = knob(
        "BatchNorm in the margin search, as in the authors' code: train",
        default="train",
        choices=("train", "eval"),
    )


@method(
    "gairat",
    title="GAIRAT",
    cite="Zhang et al., ICLR 2021",
    objective="mean_i w(kappa_i) CE(z(x'_i), y_i),  kappa: iterates of PGD still correct",
    refuses=NEEDS_LABELS,
)
class GairatConfig(MethodConfig):
    """Knobs of GAIRAT. Its ResNet-18 lambda is not published; -1 is the code's default."""

    LIVE_WEIGHTS = True
    lam: float = knob("lean of the weights (lambda); large means equal", default=-1.0)
    weight: str = knob(
        "form of the weights", default="tanh", choices=("tanh", "sigmoid", "discrete")
    )
    burn_in: float = knob("part of the run with equal weights", default=0.5, low=0, high=1)


@method(
    "ewat",
    title="EWAT",
    cite="Kim et al., ICML 2021 AML workshop",
    objective="mean_i (base + H_i / mean H) CE(z(x'_i), y_i),  H: entropy of p(x')",
)
class EwatConfig(MethodConfig):
    """Knobs of EWAT. No code was published; the normalisation is uncertain."""

    base: float = knob("weight that every image keeps; 0: proportional", default=1.0, low=0)
    normalise: bool = knob("divide by base + 1, so that weights have mean 1", default=False)


@method(
    "mail-at",
    title="MAIL-AT",
    cite="Wang et al., NeurIPS 2021",
    objective="mean_i w_i CE(z(x'_i), y_i),  w = sigmoid(slope (bias - PM)), PM = p_y - max p_k",
    refuses=NEEDS_LABELS,
)
class MailAtConfig(MethodConfig):
    """Knobs of MAIL on PGD-AT. The paper divides weights by their mean; its code times 3."""

    slope: float = knob("steepness of the weight", default=10.0, low=0)
    bias: float = knob("margin at which the weight is one half", default=-0.5, low=-1, high=1)
    normalise: str = knob("scale of the weights", default="mean", choices=("mean", "times3"))
    burn_in: float = knob("part of the run with equal weights", default=76 / 120, low=0, high=1)


@method(
    "mail-trades",
    title="MAIL-TRADES",
    cite="Wang et al., NeurIPS 2021",
    objective="CE(z(x), y) + beta mean_i w_i KL(p(x_i) || p(x'_i))",
    refuses=NEEDS_LABELS,
)
class MailTradesConfig(MethodConfig):
    """Knobs of MAIL on TRADES: only the KL term is weighted."""

    beta: float = knob("weight of the KL term", default=5.0, low=0)
    slope: float = knob("steepness of the weight", default=2.0, low=0)
    bias: float = knob("margin at which the weight is one half", default=0.0, low=-1, high=1)
    normalise: str = knob("scale of the weights", default="mean", choices=("mean", "times3"))
    burn_in: float = knob("part of the run with equal weights", default=76 / 120, low=0, high=1)


@method(
    "te",
    title="TE",
    cite="Dong et al., ICLR 2022",
    objective="base + w(epoch) mean_{i,c} (p_c - q_ic)^2,  q: running average of predictions",
    refuses={"cutmix": "its memory holds predictions of images as they are"},
)
class TeConfig(MethodConfig):
    """Knobs of temporal ensembling. The mean is over classes too: 300 is 30 a row for C = 10."""

    base: str = knob("what it stands on", default="pgd-at", choices=("pgd-at", "trades"))
    beta: float = knob("weight of the KL term over TRADES", default=6.0, low=0)
    weight: float = knob("weight of the pull after the ramp", default=300.0, low=0)
    momentum: float = knob("of the memory", default=0.9, low=0, high=0.9999)
    start: float = knob("part of the run before the pull", default=90 / 200, low=0, high=1)
    end: float = knob("part of the run after which it is full", default=150 / 200, low=0, high=1)


@method(
    "sovr",
    title="SOVR",
    cite="Kanai et al., ICML 2023",
    objective="mean: CE on most images, lam * OVR on the M % with the smallest margin",
    refuses=NEEDS_LABELS,
)
class SovrConfig(MethodConfig):
    """Knobs of SOVR. (40, 0.4) is recalled for PreActResNet-18, (30, 0.4) for WRN: uncertain."""

    percent: float = knob(
        "M: share of the batch that switches, in percent", default=40.0, low=0, high=100
    )
    lam: float = knob("weight of the one-vs-the-rest loss", default=0.4, low=0)


def alpha_word(value: Any) -> str | float:
    """Read RPAT's alpha: a number inside (0, 1), or `beta-` / `beta+` for a draw per batch."""
    if value in ("beta-", "beta+"):
        return str(value)
    alpha = number(value)
    if not 0.001 <= alpha <= 0.999:
        raise ValueError("write a number between 0.001 and 0.999, or beta- or beta+")
    return alpha


WEIGHTS = r"|[0-9a-f]{64}|run:[0-9a-f]{64}:(best|final)"
"""Nothing, the SHA-256 of a weights file, or the fingerprint of the run that makes them."""


def weights_word(value: Any) -> str:
    """Read which weights are meant; '' leaves it to the command that queues the run."""
    text = str(value)
    if not re.fullmatch(WEIGHTS, text):
        raise ValueError("write the SHA-256 of a weights file, or run:FINGERPRINT:best")
    return text


ONE_TEACHER = "both keep an averaged network; name one of them"


@wrapper(
    "rpat",
    title="RPAT",
    cite="Wang & Liu, ICCV 2025",
    objective="+ lam * MSE(z(x~), (1-alpha) z(x) + alpha z(x')),  x~ = x + alpha (x' - x)",
)
class RpatConfig(WrapperConfig):
    """Robust Perception: logits change evenly from the clean to the adversarial image."""

    lam: float = knob("weight of the term", default=1.0, low=0)
    alpha: str | float = knob(
        "weight of the adversarial end; beta- and beta+ draw min or max of (b, 1-b), "
        "b ~ Beta(0.75, 0.75), once a batch",
        default=0.5,
        parse=alpha_word,
    )
    form: str = knob(
        "interp: as released; eq3: as printed, larger by 1/(alpha (1-alpha))^2",
        default="interp",
        choices=("interp", "eq3"),
    )
    criterion: str = knob(
        "distance between the two logits (Fig. 4a)",
        default="mse",
        choices=("mse", "kl", "js", "cosine"),
    )
    start_epoch: int = knob("first epoch, from 0, in which the term is active", default=0, low=0)

    def check(self) -> None:
        """Eq. (3) is a statement about differences of logits: it needs the MSE."""
        if self.form == "eq3" and self.criterion != "mse":
            self.fail("criterion", "the eq3 form is defined for mse only")


@wrapper(
    "wa",
    title="WA",
    cite="Izmailov et al., UAI 2018; Rebuffi et al., 2021",
    objective="evaluates w_wa <- decay w_wa + (1 - decay) w, after every step",
)
class WaConfig(WrapperConfig):
    """Knobs of weight averaging; before its start the average is an exact copy."""

    decay: float = knob("of the average", default=0.999, low=0, high=1)
    start: float = knob("part of the run before it", default=105 / 200, low=0, high=1)


@wrapper(
    "awp",
    title="AWP",
    cite="Wu, Xia & Wang, NeurIPS 2020",
    objective="the gradient at w + gamma |w| g / |g|, g the ascent direction of the full loss",
)
class AwpConfig(WrapperConfig):
    """Knobs of adversarial weight perturbation; over TRADES the authors use 0.005 and 10 epochs."""

    gamma: float = knob("size of the perturbation, relative to each tensor", default=0.01, low=0)
    warmup: float = knob("part of the run before it", default=0.0, low=0, high=1)


@wrapper(
    "clean-pass",
    title="Clean pass",
    cite="Rice et al., ICML 2020 (code)",
    objective="a train-mode pass of the clean batch after the optimiser's step",
)
class CleanPassConfig(WrapperConfig):
    """Moves BatchNorm's statistics once more; part of the recipes of WA, ReBAT and RPAT++."""


@wrapper(
    "kd",
    title="KD",
    cite="Chen et al., ICLR 2021",
    objective="w_base base + w_natural KD(z(x'), z_T1(x')) + w_robust KD(z(x'), z_T2(x'))",
)
class KdConfig(WrapperConfig):
    """Knobs of distillation from two teachers, named by the SHA-256 of their weights."""

    LIVE_WEIGHTS = False
    natural: str = knob("weights of the naturally trained teacher", default="", parse=weights_word)
    robust: str = knob("weights of the robustly trained teacher", default="", parse=weights_word)
    w_base: float = knob("weight of the base's loss", default=0.3, low=0)
    w_natural: float = knob("weight of the natural teacher", default=0.1, low=0)
    w_robust: float = knob("weight of the robust teacher", default=0.6, low=0)
    temperature: float = knob("of the softened predictions", default=2.0, above=0)


@wrapper(
    "swa",
    title="SWA",
    cite="Izmailov et al., UAI 2018; Chen et al., ICLR 2021",
    objective="evaluates the uniform average of the epochs' weights",
)
class SwaConfig(WrapperConfig):
    """Knobs of stochastic weight averaging; BatchNorm's statistics are estimated anew."""

    LIVE_WEIGHTS = False
    start: float = knob("part of the run before it", default=55 / 200, low=0, high=1)


@wrapper(
    "rebat",
    title="ReBAT",
    cite="Wang et al., NeurIPS 2023",
    objective="WA, and + beta KL(p_wa(x') || p(x')) once the average is active",
    refuses={"wa": ONE_TEACHER},
)
class RebatConfig(WaConfig):
    """Knobs of ReBAT; its learning-rate divisor 1.5 is part of its recipe."""

    beta: float = knob("weight of the KL term", default=1.0, low=0)
    weighting: str = knob(
        "lr: beta grows as the learning rate falls, by (lr_max / lr - 1) / 2",
        default="fixed",
        choices=("fixed", "lr"),
    )


@wrapper(
    "rpat++",
    title="RPAT++",
    cite="Wang & Liu, ICCV 2025",
    objective="WA, and + beta KL(s[z_wa(x~) - (1-alpha) z_wa(x)] || s[alpha z(x')])",
    refuses={
        "rpat": "RPAT++ has Robust Perception in its own term",
        "rebat": ONE_TEACHER,
        "wa": ONE_TEACHER,
    },
)
class RpatPlusPlusConfig(WaConfig):
    """Knobs of RPAT++ as released: its term replaces ReBAT's (D3)."""

    beta: float = knob("weight of the term", default=1.0, low=0)
    alpha: float = knob("weight of the adversarial end", default=0.5, low=0.001, high=0.999)
    keep_rebat_kl: bool = knob("keep ReBAT's KL beside the term", default=False)


@wrapper(
    "adr",
    title="ADR",
    cite="Wu, Wang & Chen, ICLR 2024",
    objective="the label becomes lam_i P + (1 - lam_i) onehot(y), P from an averaged teacher",
    refuses={
        "wa": ONE_TEACHER,
        "rebat": ONE_TEACHER,
        "rpat++": ONE_TEACHER,
        "cutmix": "it rectifies hard labels, which mixing replaces",
    },
)
class AdrConfig(WrapperConfig):
    """Knobs of ADR: temperature and trust are annealed over the steps by a cosine.

    CIFAR-10 values; CIFAR-100: tau 1.5 to 1.0; Tiny-ImageNet: tau 2.0 to 1.5, lam 0.5 to 0.9.
    """

    LIVE_WEIGHTS = False
    tau_high: float = knob("first temperature", default=2.5, above=0)
    tau_low: float = knob("last temperature", default=2.0, above=0)
    lam_low: float = knob("first trust in the teacher", default=0.7, low=0, high=1)
    lam_high: float = knob("last trust in the teacher", default=0.95, low=0, high=1)
    decay: float = knob("of the teacher", default=0.995, low=0, high=1)


@wrapper(
    "cure",
    title="CURE",
    cite="Gowda, Zonooz & Arani, ICLR 2024",
    objective="+ gamma [KL(p_rev(x) || p(x)) + KL(p_rev(x') || p(x'))], gradients of few weights",
    refuses={"cutmix": "its prominence needs the hard label that mixing replaces"},
)
class CureConfig(WrapperConfig):
    """Knobs of CURE over TRADES (beta 1). Paper and code disagree; these follow the paper."""

    start: str = knob(
        "weights of the natural network to start from", default="", parse=weights_word
    )
    percent: float = knob(
        "p: weights below this percentile keep still", default=30.0, low=0, high=100
    )
    alpha: float = knob("natural share of the prominence", default=0.1, low=0, high=1)
    gamma: float = knob("weight of the conserving term", default=1.0, low=0)
    rate: float = knob("r: chance of a revision at a step", default=0.2, low=0, high=1)
    decay: float = knob("of the revision network", default=0.999, low=0, high=1)
    score: str = knob(
        "prominence: of both CEs (rgp), or of the total gradient (total)",
        default="rgp",
        choices=("rgp", "total"),
    )
