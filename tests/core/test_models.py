"""The networks: sizes, shapes, names, initialisation and the normalisation layer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rpat.config import MODELS, ModelConfig
from rpat.errors import ConfigError
from rpat.models import BUILDERS, build
from rpat.models.normalize import STATISTICS

PARAMETERS = {
    ("resnet8", 10): 78_042,
    ("resnet18", 10): 11_173_962,
    ("resnet18", 100): 11_220_132,
    ("resnet18", 200): 11_271_432,
    ("resnet26-bottleneck", 10): 13_958_986,
    ("resnet26-bottleneck", 100): 14_143_396,
    ("resnet26-bottleneck", 200): 14_348_296,
    ("preactresnet18", 10): 11_172_170,
    ("preactresnet18", 100): 11_218_340,
    ("wrn-28-10", 10): 36_479_194,
    ("wrn-34-10", 10): 46_160_474,
}


def on_meta(name: str, classes: int = 10, size: int = 32) -> nn.Module:
    """Build a network without memory for its weights."""
    with torch.device("meta"):
        return build(ModelConfig(name=name), classes, size)


def test_every_configurable_name_has_a_builder_and_no_other():
    assert sorted(BUILDERS) == sorted(MODELS)


@pytest.mark.parametrize(("name", "classes"), PARAMETERS)
def test_a_network_has_the_published_number_of_parameters(name, classes):
    count = sum(p.numel() for p in on_meta(name, classes).parameters())
    assert count == PARAMETERS[name, classes]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("size", "classes"), [(32, 10), (64, 200)])
def test_a_network_gives_one_logit_per_class(name, size, classes):
    logits = on_meta(name, classes, size)(torch.empty(2, 3, size, size, device="meta"))
    assert logits.shape == (2, classes)


@pytest.mark.parametrize("name", MODELS)
def test_the_stem_halves_only_the_larger_images(name):
    strides = [on_meta(name, size=size).conv1.stride for size in (32, 64)]
    assert strides == [(1, 1), (2, 2)]


@pytest.mark.parametrize("name", MODELS)
def test_the_last_stage_sees_a_halving_for_every_later_stage(name):
    model = on_meta(name, size=64)
    sizes = []
    for part in model.children():
        part.register_forward_hook(lambda module, inputs, out: sizes.append(tuple(out.shape[2:])))
    model(torch.empty(1, 3, 64, 64, device="meta"))
    last = (32 >> (2 if name in ("resnet8", "wrn-28-10", "wrn-34-10") else 3),) * 2
    assert sizes[0] == (32, 32)
    assert [size for size in sizes if size][-1] == last


def test_an_image_size_without_a_stem_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r"28 pixels.*resnet18.*32 or 64.*resize"):
        build(ModelConfig(name="resnet18"), 10, 28)


@pytest.mark.parametrize("statistics", STATISTICS)
def test_normalising_inside_equals_normalising_outside(statistics):
    torch.manual_seed(3)
    inside = build(ModelConfig(name="resnet8", normalize=statistics), 10, 32).eval()
    torch.manual_seed(3)
    plain = build(ModelConfig(name="resnet8"), 10, 32).eval()
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in STATISTICS[statistics])
    torch.testing.assert_close(inside(x), plain((x - mean) / std), rtol=0, atol=0)


def test_statistics_of_the_normalisation_are_no_weights():
    model = build(ModelConfig(name="resnet8", normalize="cifar10"), 10, 32)
    assert all(key.startswith("net.") for key in model.state_dict())
    assert model.to(torch.float64).normalize.mean.dtype == torch.float64


@pytest.mark.parametrize("name", ["resnet8", "resnet26-bottleneck", "preactresnet18"])
def test_equal_seeds_give_equal_weights(name):
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        states.append(build(ModelConfig(name=name), 10, 32).state_dict())
    same = [torch.equal(states[0][key], states[1][key]) for key in states[0]]
    assert all(same)
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


def test_wrn_is_initialised_as_in_trades():
    torch.manual_seed(0)
    model = build(ModelConfig(name="wrn-34-10"), 10, 32)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 100_000:
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all()
            assert module.bias.eq(0).all()
    assert model.fc.bias.eq(0).all()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("resnet8", ["conv1.weight", "bn1.bias", "layer3.0.shortcut.1.weight", "linear.bias"]),
        ("resnet18", ["layer1.1.conv2.weight", "layer4.0.shortcut.0.weight", "linear.weight"]),
        ("resnet26-bottleneck", ["layer1.0.conv3.weight", "layer1.0.shortcut.0.weight"]),
        ("preactresnet18", ["layer2.0.shortcut.0.weight", "bn.weight", "linear.weight"]),
        ("wrn-28-10", ["block3.layer.3.conv2.weight", "fc.weight"]),
        ("wrn-34-10", ["block1.layer.0.convShortcut.weight", "bn1.weight", "fc.bias"]),
    ],
)
def test_weights_have_the_names_of_the_public_code(name, keys):
    assert set(keys) <= set(on_meta(name).state_dict())


def test_the_identity_shortcut_of_a_preactivation_block_is_the_raw_input():
    torch.manual_seed(0)
    block = build(ModelConfig(name="preactresnet18"), 10, 32).layer1[0].eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 64, 4, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_the_projection_shortcut_of_a_preactivation_block_is_activated():
    torch.manual_seed(0)
    block = build(ModelConfig(name="preactresnet18"), 10, 32).layer2[0].eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 64, 4, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(block(x), block.shortcut(block.bn1(x).relu()), rtol=0, atol=0)
