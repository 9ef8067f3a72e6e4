"""What the loader makes of a batch: several views, late AutoAugment, and CutMix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from rpat.config import DataConfig
from rpat.data import autoaugment
from rpat.data.augment import crop_flip, draw
from rpat.data.cutmix import box, mix, outside, target
from rpat.data.dataset import Images
from rpat.data.loader import Batch, Loader, pixels
from rpat.errors import ConfigError
from rpat.losses import ce
from rpat.randomness import generator

FILE = Path(__file__).parents[1] / "vectors" / "vectors-core.json"
VECTORS = [v for v in json.loads(FILE.read_text("utf-8"))["vectors"] if v["method"] == "cutmix"]
BOXES = [v for v in VECTORS if v["id"].startswith("cutmix-box")]
LOSSES = [v for v in VECTORS if v["id"].startswith("cutmix-ce")]


def some_images(n: int = 40, size: int = 16) -> Images:
    """Return random images of 10 classes."""
    images = torch.randint(0, 256, (n, 3, size, size), generator=generator("cpu", 0, "images"))
    return Images(images.to(torch.uint8), torch.arange(n) % 10, torch.arange(n) + 1000)


def make(seed: int = 0, views: int = 1, epochs: int = 1, classes: int = 10, **values) -> Loader:
    """Return a loader of batches of 16 images."""
    config = DataConfig(name="digits", **values)
    return Loader(some_images(), 16, config, seed, "cpu", views, epochs, classes)


def assert_same(one: Batch, other: Batch) -> None:
    for part in ("x", "y", "index", "target"):
        assert torch.equal(getattr(one, part), getattr(other, part))


# --------------------------------------------------------------------------- views


@pytest.mark.parametrize("augment", ["none", "crop", "crop-flip"])
def test_one_view_is_the_crop_of_the_batch_with_the_target_of_the_labels(augment):
    source, config = some_images(), DataConfig(name="digits", augment=augment)
    for number, batch in enumerate(make(seed=3, augment=augment).epoch(2)):
        offsets = draw(config, len(batch.y), generator("cpu", 3, "augment", 2, number))
        moved = crop_flip(source.images, batch.index - 1000, offsets, 4, "zero")
        assert torch.equal(batch.x, pixels(moved))
        assert torch.equal(batch.target, batch.y)
        assert torch.equal(batch.y, source.labels[batch.index - 1000])


@pytest.mark.parametrize("augment", ["crop-flip", "autoaug"])
def test_two_views_are_two_augmentations_of_the_same_images(augment):
    both, single = make(views=2, augment=augment), make(augment=augment)
    assert len(both) == len(single)
    for two, one in zip(both.epoch(1), single.epoch(1), strict=True):
        n = len(one.y)
        assert two.x.shape == (2 * n, 3, 16, 16)
        assert torch.equal(two.x[:n], one.x)
        assert (two.x[n:] != one.x).flatten(1).any(1).float().mean() > 0.8
        assert torch.equal(two.index, one.index.repeat(2))
        assert torch.equal(two.y, one.y.repeat(2))
        assert torch.equal(two.target, two.y)


def test_a_further_view_has_draws_of_its_own_purpose():
    source, config = some_images(), DataConfig(name="digits")
    for number, batch in enumerate(make(seed=5, views=3).epoch(0)):
        n = len(batch.y) // 3
        for view in (1, 2):
            offsets = draw(config, n, generator("cpu", 5, f"augment/{view}", 0, number))
            moved = crop_flip(source.images, batch.index[:n] - 1000, offsets, 4, "zero")
            assert torch.equal(batch.x[view * n : (view + 1) * n], pixels(moved))


def test_without_augmentation_both_views_are_the_same():
    for batch in make(views=2, augment="none").epoch(0):
        first, second = batch.x.chunk(2)
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    "values",
    [
        {"views": 2},
        {"augment": "autoaug"},
        {"augment": "autoaug", "views": 2},
        {"augment": "autoaug-late", "epochs": 3},
        {"cutmix": True},
        {"cutmix": True, "augment": "autoaug"},
    ],
)
def test_starting_within_an_epoch_gives_the_same_batches(values):
    whole = list(make(**values).epoch(2))
    rest = list(make(**values).epoch(2, start=1))
    assert len(rest) == len(whole) - 1 == 2
    for one, other in zip(whole[1:], rest, strict=True):
        assert_same(one, other)


# --------------------------------------------------------------------------- AutoAugment


def test_autoaugment_follows_crop_and_flip():
    source, config = some_images(), DataConfig(name="digits", augment="autoaug")
    for number, batch in enumerate(make(augment="autoaug").epoch(0)):
        random = generator("cpu", 0, "augment", 0, number)
        offsets = draw(config, len(batch.y), random)
        moved = crop_flip(source.images, batch.index - 1000, offsets, 4, "zero")
        draws = autoaugment.draw(len(batch.y), 16, 16, random)
        assert torch.equal(batch.x, pixels(autoaugment.augment(moved, draws)))
        assert not torch.equal(batch.x, pixels(moved))


@pytest.mark.parametrize(("epochs", "first"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_late_autoaugment_begins_after_half_of_the_epochs(epochs, first):
    late, plain, auto = (
        make(epochs=epochs, augment=word) for word in ("autoaug-late", "crop-flip", "autoaug")
    )
    for epoch in range(epochs):
        expected = plain if epoch < first else auto
        for one, other in zip(late.epoch(epoch), expected.epoch(epoch), strict=True):
            assert_same(one, other)


# --------------------------------------------------------------------------- CutMix


@pytest.mark.parametrize("vector", BOXES, ids=lambda v: v["id"])
def test_the_box_is_the_printed_one(vector):
    values, expected = vector["inputs"], vector["expected"]
    size = values["H"], values["W"]
    found = box(*size, values["lam_drawn"], values["cx"], values["cy"])
    assert list(found) == expected["box_x1y1x2y2"]
    assert outside(*size, found) == pytest.approx(expected["lam_adjusted"], abs=1e-6)


@pytest.mark.parametrize("vector", LOSSES, ids=lambda v: v["id"])
def test_cross_entropy_with_the_mixed_target_is_the_mixture_of_both(vector):
    values, expected, lam = vector["inputs"], vector["expected"], vector["params"]["lam"]
    logits = torch.tensor(values["logits"], dtype=torch.float64)
    y_a, y_b = torch.tensor(values["y_a"]), torch.tensor(values["y_b"])
    mixed = target(y_a, y_b, logits.shape[1], lam, logits.dtype)
    found = ce(logits, mixed).item()
    assert found == pytest.approx(expected["loss"], abs=1e-6)
    assert ce(logits, y_a).item() == pytest.approx(expected["ce_a"], abs=1e-6)
    assert ce(logits, y_b).item() == pytest.approx(expected["ce_b"], abs=1e-6)
    assert found == pytest.approx(lam * ce(logits, y_a).item() + (1 - lam) * ce(logits, y_b).item())


def test_vectors_of_cutmix_are_all_seen():
    assert len(BOXES) == len(LOSSES) == 3
    assert len(VECTORS) == 6


def test_sides_are_truncated_and_the_first_axis_is_the_height():
    assert box(32, 16, 0.9, 16, 8) == (11, 6, 21, 10)  # int(10.1) = 10, int(5.06) = 5
    assert box(8, 8, 1.0, 4, 4) == (4, 4, 4, 4)


@pytest.mark.parametrize("size", [(16, 16), (8, 20)])
def test_a_mixed_batch_has_one_box_from_other_images_and_their_share_of_the_label(size):
    n = 12
    x = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 3, *size).contiguous()
    y = torch.arange(n)
    before = x.clone()
    for seed in range(20):
        mixed, distribution = mix(x, y, n, generator("cpu", seed, "mix"))
        assert torch.equal(x, before)
        torch.testing.assert_close(distribution.sum(1), torch.ones(n))
        counts = torch.stack([F.one_hot(row.long().flatten(), n).sum(0) for row in mixed])
        torch.testing.assert_close(distribution, counts / mixed[0].numel())
        strange = mixed != before
        places = strange.any(0)[0].nonzero()
        if len(places):
            low, high = places.amin(0), places.amax(0) + 1
            patch = mixed[:, 0, low[0] : high[0], low[1] : high[1]].flatten(1)
            assert (patch == patch[:, :1]).all()
            assert patch[:, 0].sort().values.tolist() == list(range(n))
            assert len(places) == (high - low).prod()


def test_the_box_covers_each_share_of_the_image():
    x, y = torch.zeros(2, 3, 32, 32), torch.tensor([0, 1])
    x[1] = 1
    areas = []
    for seed in range(600):
        mixed, _ = mix(x, y, 2, generator("cpu", seed, "share"))
        areas.append(mixed[0].mean().item())
    areas = torch.tensor([area for area in areas if area])
    assert 230 < len(areas) < 340  # a permutation of two exchanges them every other time
    assert areas.min() < 0.02
    assert areas.max() > 0.7
    assert areas.mean().item() == pytest.approx(0.31, abs=0.05)  # 1/2, less what is clipped


def test_cutmix_follows_crop_and_flip_and_keeps_the_labels():
    for number, (batch, plain) in enumerate(
        zip(make(cutmix=True).epoch(1), make().epoch(1), strict=True)
    ):
        x, distribution = mix(plain.x, plain.y, 10, generator("cpu", 0, "cutmix", 1, number))
        assert torch.equal(batch.x, x)
        assert torch.equal(batch.target, distribution)
        assert torch.equal(batch.y, plain.y)
        assert torch.equal(batch.index, plain.index)
        assert batch.target.shape == (len(batch.y), 10)
        assert batch.target.dtype == batch.x.dtype


def test_cutmix_with_several_views_is_refused():
    with pytest.raises(ConfigError, match=r"data\.cutmix is on.*compares 2 views"):
        make(cutmix=True, views=2)


def test_cutmix_needs_the_number_of_classes():
    with pytest.raises(ValueError, match="num_classes"):
        make(cutmix=True, classes=0)
    make(classes=0)
