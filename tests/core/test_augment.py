"""Batched crop and flip against torchvision's, image by image."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional as TF

from rpat.config import DataConfig
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
