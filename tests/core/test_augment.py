"""Batched crop, flip and AutoAugment against torchvision's, image by image; Cutout."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms import functional as TF
from torchvision.transforms.autoaugment import _apply_op

from rpat.config import DataConfig
from rpat.data import autoaugment
from rpat.data.augment import Offsets, crop_flip, draw
from rpat.randomness import generator


def some_images(n: int = 8, size: int = 32) -> torch.Tensor:
    """Return random uint8 images `[N, 3, size, size]`."""
    random = generator("cpu", 0, "images")
    return torch.randint(0, 256, (n, 3, size, size), generator=random).to(torch.uint8)


@pytest.mark.parametrize(("mode", "torchvision_mode"), [("zero", "constant"), ("reflect",) * 2])
@pytest.mark.parametrize(("size", "padding"), [(32, 4), (64, 4), (32, 11)])
def test_the_gather_equals_pad_crop_and_flip_of_torchvision(mode, torchvision_mode, size, padding):
    images = some_images(size=size)
    positions = torch.tensor([5, 0, 3, 3, 7, 1, 2, 4, 6, 0, 1, 2])
    random = generator("cpu", 1, "offsets")
    offsets = draw(DataConfig(padding=padding), len(positions), random)
    assert 0 < offsets.flip.sum() < len(positions)
    ours = crop_flip(images, positions, offsets, padding, mode)
    for place, position in enumerate(positions):
        padded = TF.pad(images[position], [padding] * 4, padding_mode=torchvision_mode)
        top, left = offsets.top[place].item(), offsets.left[place].item()
        expected = TF.crop(padded, top, left, size, size)
        expected = TF.hflip(expected) if offsets.flip[place] else expected
        assert torch.equal(ours[place], expected)


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_the_corners_of_the_padding_are_right(mode):
    images = some_images(2)
    offsets = Offsets(torch.tensor([0, 8]), torch.tensor([8, 0]), torch.tensor([False, True]))
    ours = crop_flip(images, torch.arange(2), offsets, 4, mode)
    padded = TF.pad(images, [4] * 4, padding_mode={"zero": "constant"}.get(mode, mode))
    assert torch.equal(ours[0], padded[0, :, :32, 8:])
    assert torch.equal(ours[1], padded[1, :, 8:, :32].flip(-1))


def test_offsets_cover_their_range_evenly():
    offsets = draw(DataConfig(padding=2), 5000, generator("cpu", 0, "many"))
    for part in (offsets.top, offsets.left):
        counts = part.bincount()
        assert len(counts) == 5
        assert (counts - 1000).abs().max() < 150
    assert abs(offsets.flip.float().mean().item() - 0.5) < 0.03


def test_crop_alone_never_flips():
    offsets = draw(DataConfig(augment="crop"), 100, generator("cpu", 0, "crop"))
    assert not offsets.flip.any()
    assert len(offsets.top.unique()) > 1


def test_without_augmentation_images_stay_as_they_are():
    images = some_images()
    config = DataConfig(augment="none")
    offsets = draw(config, 8, generator("cpu", 0, "none"))
    assert torch.equal(crop_flip(images, torch.arange(8), offsets, 4, "zero"), images)


# --------------------------------------------------------------------------- AutoAugment

THEIRS = AutoAugment(AutoAugmentPolicy.CIFAR10)
USED = sorted({part[0] for policy in THEIRS.policies for part in policy} | {"ShearX"})


def varied_images(size: int) -> torch.Tensor:
    """Return noise, a ramp, few grey levels, low contrast, one colour and black, `[10, ...]`."""
    noise = some_images(5, size)
    ramp = torch.arange(size).mul(255 // (size - 1)).to(torch.uint8).expand(1, 3, size, size)
    black = torch.zeros_like(ramp)
    return torch.cat([noise, ramp, noise[:1] // 100 * 80, noise[:1] // 9 + 90, black + 77, black])


def their_result(image: torch.Tensor, name: str, size: float) -> torch.Tensor:
    return _apply_op(image, name, size, InterpolationMode.NEAREST, [128.0] * 3)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize(
    ("name", "sign"),
    [(name, 1) for name in USED] + [(name, -1) for name in USED if name in autoaugment.SIGNED],
)
def test_an_operation_on_a_group_equals_that_of_torchvision_on_each_image(name, sign, size):
    images = varied_images(size)
    for level in range(10):
        magnitude = sign * autoaugment.magnitude(name, level, size, size)
        ours = autoaugment.apply(images, name, magnitude)
        for image, found in zip(images, ours, strict=True):
            assert torch.equal(found, their_result(image, name, magnitude)), (level, magnitude)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (8, 12)])
def test_magnitudes_and_signs_are_those_of_torchvision(size):
    for name, (levels, signed) in THEIRS._augmentation_space(10, size).items():
        assert signed == (name in autoaugment.SIGNED)
        assert autoaugment.magnitude(name, None, *size) == 0
        if levels.ndim:
            ours = [autoaugment.magnitude(name, level, *size) for level in range(10)]
            assert ours == levels.float().tolist()


def test_with_its_draws_a_batch_equals_autoaugment_of_torchvision(monkeypatch):
    images = some_images(200)
    draws = autoaugment.draw(200, 32, 32, generator("cpu", 0, "batch"))
    stages = autoaugment.operations(draws, 32, 32)
    ours = autoaugment.carry_out(autoaugment.carry_out(images, stages[0]), stages[1])
    theirs = AutoAugment(AutoAugmentPolicy.CIFAR10, fill=[128.0] * 3)
    for place, image in enumerate(images):
        mine = draws.policy[place].item(), draws.chance[place], draws.positive[place].long()
        monkeypatch.setattr(theirs, "get_params", lambda _, mine=mine: mine)
        assert torch.equal(ours[place], theirs(image))
    assert not torch.equal(ours, images)


def test_images_without_an_operation_stay_as_they_are():
    images = some_images()
    assert autoaugment.carry_out(images, [autoaugment.NOTHING] * 8) is images
    chosen = [autoaugment.NOTHING] * 3 + [("Invert", 0.0)] + [autoaugment.NOTHING] * 4
    changed = autoaugment.carry_out(images, chosen)
    assert torch.equal(changed[3], 255 - images[3])
    assert torch.equal(changed[[0, 1, 2, 4, 5, 6, 7]], images[[0, 1, 2, 4, 5, 6, 7]])


def test_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match="no operation Swirl"):
        autoaugment.apply(some_images(), "Swirl", 0.0)


def test_sub_policies_are_even_and_their_operations_have_the_given_probability():
    n = 20_000
    draws = autoaugment.draw(n, 32, 32, generator("cpu", 0, "many"))
    counts = draws.policy.bincount()
    assert len(counts) == len(autoaugment.policies()) == 25
    assert (counts - n / 25).abs().max() < 120
    assert (draws.positive.float().mean(0) - 0.5).abs().max() < 0.015
    for part, stage in enumerate(autoaugment.operations(draws, 32, 32)):
        happened = torch.tensor([operation != autoaugment.NOTHING for operation in stage])
        for number, policy in enumerate(autoaugment.policies()):
            share = happened[draws.policy == number].float().mean().item()
            assert share == pytest.approx(policy[part][1], abs=0.07)


def test_the_square_is_clipped_at_the_borders():
    images = torch.ones(4, 3, 32, 32, dtype=torch.uint8)
    centre = torch.tensor([[16, 0, 31, 8], [16, 0, 20, 31]])
    found = autoaugment.cutout(images, centre, 16)
    for place, (rows, columns) in enumerate(
        [((8, 24), (8, 24)), ((0, 8), (0, 8)), ((23, 32), (12, 28)), ((0, 16), (23, 32))]
    ):
        expected = images[place].clone()
        expected[:, slice(*rows), slice(*columns)] = 0
        assert torch.equal(found[place], expected)


@pytest.mark.parametrize("size", [32, 64])
def test_the_square_has_half_the_side_comes_last_and_is_black(size):
    draws = autoaugment.draw(100, size, size, generator("cpu", 0, "squares"))
    bright = torch.full((100, 3, size, size), 200, dtype=torch.uint8)
    found = autoaugment.augment(bright, draws)
    half = size // 4
    for image, row, column in zip(found, *draws.centre.tolist(), strict=True):
        rows = slice(max(row - half, 0), row + half)
        columns = slice(max(column - half, 0), column + half)
        assert not image[:, rows, columns].any()


def test_the_centre_of_the_square_is_uniform_over_the_image():
    centre = autoaugment.draw(16_000, 8, 16, generator("cpu", 0, "centres")).centre
    for line, side in zip(centre, (8, 16), strict=True):
        counts = line.bincount()
        assert len(counts) == side
        assert (counts - 16_000 / side).abs().max() < 160


def test_autoaugment_crops_and_flips_with_the_same_draws():
    plain, auto = (
        draw(DataConfig(augment=word), 64, generator("cpu", 0, "same"))
        for word in ("crop-flip", "autoaug")
    )
    for part in ("top", "left", "flip"):
        assert torch.equal(getattr(plain, part), getattr(auto, part))


def test_torchvision_is_not_imported_before_autoaugment_needs_it():
    code = "import sys, rpat.data.loader; print([m for m in sys.modules if 'torchvision' in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
