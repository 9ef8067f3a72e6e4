"""What a state is that fits none of our networks: its usual name and what differs.

Nothing here decides whether a state is taken; it only words the refusal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

Shapes = dict[str, tuple[int, ...]]

RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "ResNet-18",
    (False, (3, 4, 6, 3)): "ResNet-34",
    (True, (2, 2, 2, 2)): "ResNet-26 of bottleneck blocks",
    (True, (3, 4, 6, 3)): "ResNet-50",
    (True, (3, 4, 23, 3)): "ResNet-101",
    (True, (3, 8, 36, 3)): "ResNet-152",
}
"""(bottleneck blocks?, blocks of each stage) -> name."""


def refusal(shapes: Shapes, ours: Mapping[str, Shapes], model: str = "auto") -> str:
    """Return one line on why a state is refused: what it is and what differs from ours."""
    nearest = model if model != "auto" else _nearest(shapes, ours)
    what = _wide(shapes) or _residual(shapes)
    there = f"the networks here are {', '.join(ours)}"
    if not nearest:
        keys = ", ".join([key for key in shapes if not key.startswith("linear.")][:3] or shapes)
        return f"no network of rpat has keys like these ({keys}, …); {there}"
    difference = f"first difference from {nearest}: {first_difference(shapes, ours[nearest])}"
    if "linear.weight" not in shapes:
        difference = "there is no single last linear layer; " + difference
    return f"{f'this is {what}; ' if what else ''}{difference}; {there}"


def first_difference(shapes: Shapes, wanted: Shapes) -> str | None:
    """Return the first key that is missing, shaped differently or too many; None if all fit.

    Old versions of torch stored no `num_batches_tracked`; that is no difference.
    """
    for key, shape in wanted.items():
        if key not in shapes:
            if not key.endswith("num_batches_tracked"):
                return f"{key} is missing"
        elif shapes[key] != shape:
            return f"{key} is {list(shapes[key])}, not {list(shape)}"
    more = next((key for key in shapes if key not in wanted), None)
    return f"{more} is not known" if more else None


def _nearest(shapes: Shapes, ours: Mapping[str, Shapes]) -> str:
    """Return the network that shares most keys and shapes, or nothing where few are shared."""
    shared = {
        name: len(shapes.items() & wanted.items()) / max(len(shapes), len(wanted))
        for name, wanted in ours.items()
    }
    best = max(shared, key=lambda name: shared[name])
    familiar = {"conv1.weight", "layer1.0.conv1.weight", "block1.layer.0.conv1.weight"} & set(
        shapes
    )
    return best if shared[best] > 0.1 or len(familiar) > 1 else ""


def _wide(shapes: Shapes) -> str:
    """Name a wide residual network by its depth and width; empty where it is none."""
    conv = shapes.get("block1.layer.0.conv1.weight", ())
    if len(conv) != 4:
        return ""
    groups = _blocks(shapes, r"block(\d+)\.layer\.(\d+)\.")
    width = conv[0] / 16
    if len(set(groups)) != 1 or len(groups) != 3:
        return f"a wide residual network with {' + '.join(map(str, groups))} blocks"
    per = "block" if groups[0] == 1 else "blocks"
    name = f"WRN-{6 * groups[0] + 4}-{width:g}"
    return f"{name} ({groups[0]} {per} a group, {16 * width:g} channels in the first)"


def _residual(shapes: Shapes) -> str:
    """Name a residual network by its blocks and its stem; empty where it is none."""
    conv, stem = (shapes.get(key, ()) for key in ("layer2.0.conv1.weight", "conv1.weight"))
    if len(conv) != 4 or len(stem) != 4:
        return ""
    stages = _blocks(shapes, r"layer(\d+)\.(\d+)\.")
    bottleneck = "layer1.0.conv3.weight" in shapes
    preact = shapes.get("layer2.0.bn1.weight") == (conv[1],)
    name = RESNETS.get((bottleneck, stages), f"a ResNet of {' + '.join(map(str, stages))} blocks")
    if len(stages) == 3 and len(set(stages)) == 1 and not bottleneck:
        name = f"ResNet-{6 * stages[0] + 2} of three stages"
    if preact:
        name = f"PreAct{name}" if name.startswith("ResNet") else f"{name} with pre-activation"
    traits = [f"a {stem[2]}x{stem[3]} stem, as for ImageNet"] if stem[2:] == (7, 7) else []
    if stem[1] != 3:
        traits.append(f"images of {stem[1]} channel{'s' * (stem[1] > 1)}")
    if preact and "bn.weight" not in shapes:
        traits.append(
            "no BatchNorm before the last layer"
            + (" but one after the stem, as in Consistency-AT" if "bn1.weight" in shapes else "")
        )
    return name + (f" with {' and '.join(traits)}" if traits else "")


def _blocks(shapes: Shapes, pattern: str) -> tuple[int, ...]:
    """Return the number of blocks in each stage."""
    found = {match.groups() for key in shapes if (match := re.match(pattern, key))}
    counts = Counter(int(stage) for stage, _ in found)
    return tuple(counts[stage] for stage in sorted(counts))
