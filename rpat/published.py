"""The numbers printed in Tables 1 to 4 of the RPAT paper, under this package's names.

`paper_tables.toml` keeps the rows as printed; the maps below translate them. Standard library
only.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

DATASET_NAMES = {
    "CIFAR-10": "cifar10",
    "CIFAR-100": "cifar100",
    "Tiny-ImageNet": "tiny-imagenet",
}
MODEL_NAMES = {
    "ResNet-18": "resnet18",
    "PreActResNet-18": "preactresnet18",
    "WideResNet-34-10": "wrn-34-10",
}
METHOD_NAMES = {
    "PGD-AT": "pgd-at",
    "TRADES": "trades",
    "MART": "mart",
    "Consistency-AT": "consistency-at",
    "WA": "wa",
    "MMA": "mma",
    "AWP": "awp",
    "GAIRAT": "gairat",
    "KD+SWA": "kd+swa",
    "EWAT": "ewat",
    "MAIL": "mail-at",
    "TE": "te",
    "SOVR": "sovr",
    "ReBAT": "rebat",
    "ADR": "adr",
    "CURE": "cure",
    "RPAT++": "rpat++",
}
RPAT_SUFFIX = "+RPAT"
"""What the paper adds to a method's name; `RPAT++` is a method's own name, not a suffix."""


class Published(NamedTuple):
    """One printed row: accuracies in percent at the best checkpoint, some also at the last.

    `rpat` says that the regulariser stands on top of `method`; `rpat++` is a method by itself
    and has it False, as its runs have.
    """

    table: int
    name: str
    venue: str
    dataset: str
    norm: str
    model: str
    method: str
    rpat: bool
    cutmix: bool
    clean: float
    aa: float
    mean: float
    nrr: float
    pgd20: float | None = None
    clean_final: float | None = None
    pgd20_final: float | None = None
    aa_final: float | None = None

    def measures(self, checkpoint: str = "best") -> dict[str, float | None]:
        """Return what is printed for a checkpoint; Mean and NRR are printed for best only."""
        if checkpoint == "final":
            final = {"clean": self.clean_final, "pgd20": self.pgd20_final, "aa": self.aa_final}
            return final | {"mean": None, "nrr": None}
        best = {"clean": self.clean, "pgd20": self.pgd20, "aa": self.aa}
        return best | {"mean": self.mean, "nrr": self.nrr}


@cache
def rows() -> tuple[Published, ...]:
    """Return every printed row, in the paper's order."""
    import tomllib
    from importlib import resources

    text = resources.files("rpat").joinpath("paper_tables.toml").read_text(encoding="utf-8")
    return tuple(_translate(row) for row in tomllib.loads(text)["row"])


def find(
    dataset: str, norm: str, model: str, method: str, rpat: bool, cutmix: bool = False
) -> Published | None:
    """Return the printed row of an experiment, or None where the paper has none."""
    return _index().get((dataset, norm, model, method, rpat, cutmix))


@cache
def _index() -> dict[tuple[str, str, str, str, bool, bool], Published]:
    return {(r.dataset, r.norm, r.model, r.method, r.rpat, r.cutmix): r for r in rows()}


def _translate(row: dict[str, Any]) -> Published:
    printed = row["method"]
    measures = ("clean", "pgd20", "aa", "mean", "nrr", "clean_final", "pgd20_final", "aa_final")
    return Published(
        table=row["table"],
        name=printed,
        venue=row["venue"],
        dataset=DATASET_NAMES[row["dataset"]],
        norm=row["norm"],
        model=MODEL_NAMES[row["model"]],
        method=METHOD_NAMES[printed.removesuffix(RPAT_SUFFIX)],
        rpat=printed.endswith(RPAT_SUFFIX),
        cutmix=row["cutmix"],
        **{key: float(row[key]) for key in measures if key in row},
    )
