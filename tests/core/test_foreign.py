"""Weights of other code bases: the layouts that are recognised and the files that are refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pyautoattack
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from rpat import checkpoint, foreign
from rpat.config import MODELS
from rpat.errors import ConfigError
from rpat.foreign.__main__ import main
from rpat.models import BUILDERS
from rpat.models.normalize import STATISTICS, Normalized
from rpat.models.resnet import BasicBlock, Bottleneck, ResNet
from rpat.models.wide_resnet import WideResNet

State = dict[str, Tensor]


def hollow(network: Callable[[], nn.Module]) -> State:
    """Return a network's state full of zeros that take no memory."""
    with torch.device("meta"):
        state = network().state_dict()
    zeros = {True: torch.zeros(()), False: torch.zeros((), dtype=torch.int64)}
    return {k: zeros[v.is_floating_point()].expand(v.shape) for k, v in state.items()}


def of(name: str, classes: int = 10) -> State:
    return hollow(lambda: BUILDERS[name](classes, 1))


def small(seed: int = 0, classes: int = 10) -> State:
    """Return the weights of a resnet8 whose statistics are not those of a new one."""
    torch.manual_seed(seed)
    state = BUILDERS["resnet8"](classes, 1).state_dict()
    return {k: v + 0.1 * torch.rand(v.shape) if v.is_floating_point() else v + 3 for k, v in
            state.items()}  # fmt: skip


def renamed(state: State, *pairs: tuple[str, str]) -> State:
    for old, new in pairs:
        state = {key.replace(old, new): value for key, value in state.items()}
    return state


def under(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def equal(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def refusal(content: object, *arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        foreign.recognise(content, *arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


# ------------------------------------------------------------------------- our own networks


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("classes", [10, 200])
def test_every_network_is_recognised_by_its_keys_and_shapes(name, classes):
    state = of(name, classes)
    found = foreign.recognise(state)
    assert (found.model, found.num_classes, found.normalize) == (name, classes, None)
    assert (found.origin, found.config, found.epoch, found.network) == (
        "state_dict",
        None,
        None,
        "",
    )
    assert list(found.state) == list(state)
    assert f"{name}, {classes} classes" in found.text
    assert foreign.recognise(state, name).model == name


def test_recognising_draws_no_random_numbers_and_building_neither():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    foreign.build(foreign.recognise(of("preactresnet18")), 64)
    assert torch.equal(before, torch.get_rng_state())


def test_a_built_network_owns_its_weights_and_can_learn():
    found = foreign.recognise(small())
    network = foreign.build(found, 32)
    assert equal(network.state_dict(), found.state)
    assert all(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        network.conv1.weight.zero_()
    assert found.state["conv1.weight"].any()
    assert foreign.build(found, 64).conv1.stride == (2, 2)
    with pytest.raises(ConfigError, match="28 pixels"):
        foreign.build(found, 28)


def own(**changes: object) -> dict[str, object]:
    config = {"model": {"name": "resnet8", "normalize": "cifar100"}, "seed": 3}
    content = {"schema": 1, "config": config, "network": "wa", "epoch": 7, "metrics": {}}
    return content | {"weights": under("net.", small())} | changes


def test_a_checkpoint_of_ours_brings_its_config_and_its_statistics():
    found = foreign.recognise(own())
    assert (found.origin, found.epoch, found.network) == ("rpat", 7, "wa")
    assert found.config["seed"] == 3
    assert found.normalize == STATISTICS["cifar100"]
    assert equal(found.state, small())
    assert isinstance(foreign.build(found, 32), Normalized)


def test_a_training_state_of_ours_is_accepted_with_a_remark():
    state = own(model=under("net.", small()), optimizer={"state": {0: {"m": torch.ones(2)}}}, t=9)
    del state["weights"], state["epoch"], state["network"]
    found = foreign.recognise(state)
    assert (found.origin, found.epoch, found.network) == ("rpat", None, "online")
    assert "a training state: the network as it was last saved" in found.text
    average = foreign.recognise(state | {"method": {"wa": under("net.", small(1))}}, key="method")
    assert (average.network, average.normalize) == ("method.wa", STATISTICS["cifar100"])


def test_a_checkpoint_of_ours_from_another_version_is_refused():
    assert "schema 9; this version reads 1" in refusal(own(schema=9))
    config = {"model": {"normalize": "cifar1000"}}
    assert "did you mean 'cifar100'" in refusal(own(config=config))


# ------------------------------------------------------------------ dictionaries and prefixes


@pytest.mark.parametrize(
    "path",
    ["state_dict", "model", "net", "model_state_dict", "weights", "ema", "swa", "state",
     "model.state_dict", "ema.module", "anything"],
)  # fmt: skip
def test_a_dictionary_around_the_network_is_taken_off(path):
    content: object = small()
    for word in reversed(path.split(".")):
        content = {word: content, "epoch": 3}
    found = foreign.recognise(content)
    assert equal(found.state, small())
    assert f"from key '{path}'" in found.text


PAIRS = [
    ("state_dict", "swa_state_dict"),
    ("model", "ema"),
    ("model_state_dict", "ema_state_dict"),
    ("net", "teacher"),
    ("student", "wa_model"),
    ("model.state_dict", "ema.state_dict"),
]


@pytest.mark.parametrize(("plain", "average"), PAIRS)
def test_of_several_networks_the_plain_one_is_taken_and_another_can_be_chosen(plain, average):
    content: dict[str, object] = {"optimizer": {"param_groups": []}}
    for path, state in ((average, small(1)), (plain, small(0))):
        first, _, second = path.partition(".")
        content[first] = {second: state} if second else state
    found = foreign.recognise(content)
    assert equal(found.state, small(0))
    assert f"also in the file: '{average}'" in found.text
    assert "whose optimiser is not used" in found.text
    for key in (average, average.partition(".")[0].partition("_")[0]):
        assert equal(foreign.recognise(content, key=key).state, small(1))


def test_a_choice_that_is_not_clear_is_left_to_the_user():
    content = {"netA": small(), "netB": small()}
    assert "under the keys netA, netB; name the key of one" in refusal(content)
    assert foreign.recognise(content, key="netB").model == "resnet8"
    assert "key 'netC' is not known; did you mean 'net" in refusal(content, "auto", "netC")
    assert "holds one network under no key" in refusal(small(), "auto", "ema")


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "net.", "backbone.", "_orig_mod.", "_orig_mod.module.model."]
)
def test_a_prefix_of_all_keys_is_removed(prefix):
    found = foreign.recognise({"state_dict": under(prefix, small())})
    assert equal(found.state, small())
    assert f"prefix '{prefix}' removed" in found.text


def test_the_average_of_torch_is_recognised():
    averaged = torch.optim.swa_utils.AveragedModel(nn.DataParallel(BUILDERS["resnet8"](10, 1)))
    found = foreign.recognise(averaged.state_dict())
    assert found.model == "resnet8"
    assert "an average of weights; prefix 'module.module.' removed" in found.text


def test_a_missing_first_layer_of_a_sequence_is_pointed_out():
    assert "its statistics are missing" in foreign.recognise(under("1.", small())).text


# ------------------------------------------------------------------ normalisation inside

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


@pytest.mark.parametrize("shape", [(3,), (3, 1, 1), (1, 3, 1, 1)])
@pytest.mark.parametrize(
    ("mean", "std", "prefix"),
    [
        ("mean", "std", ""),
        ("mu", "sigma", ""),
        ("normalize.mean", "normalize.std", ""),
        ("module.normalize.mean", "module.normalize.std", "module."),
        ("0.mean", "0.std", "1."),
        ("module.0.mean", "module.0.std", "module.1."),
        ("normalizer.new_mean", "normalizer.new_std", "model."),
    ],
)
def test_statistics_inside_the_network_are_found(mean, std, prefix, shape):
    statistics = {mean: torch.tensor(MEAN).view(shape), std: torch.tensor(STD).view(shape)}
    found = foreign.recognise(statistics | under(prefix, small()))
    assert found.normalize == (MEAN, STD)
    assert equal(found.state, small())
    assert (
        f"normalisation inside (mean 0.491 0.482 0.447, std 0.247 0.243 0.262; key '{mean}')"
        in (found.text)
    )


def test_the_copy_in_an_attacker_is_left_out():
    whole = under("model.", small()) | {
        "normalizer.new_mean": torch.tensor(MEAN),
        "normalizer.new_std": torch.tensor(STD),
    }
    inside = {k.replace("normalizer", "normalize"): v for k, v in whole.items()}
    found = foreign.recognise({"model": under("module.", whole | under("attacker.", inside))})
    assert equal(found.state, small())
    assert found.normalize == (MEAN, STD)
    assert "keys left out: attacker.* (a copy)" in found.text


@pytest.mark.parametrize(
    ("statistics", "words"),
    [
        ({"mean": [125.3, 123.0, 113.9], "std": [63.0, 62.1, 66.7]}, "on the 0..255 scale"),
        ({"mean": [0.5, 0.5, 0.5], "std": [63.0, 62.1, 66.7]}, "std is 63 62.1 66.7: "),
        ({"mean": [-0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}, "pixels live on [0, 1]"),
        ({"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.0, 0.2]}, "std is 0.2 0 0.2"),
        ({"mean": [0.5, 0.5, float("nan")], "std": [0.2, 0.2, 0.2]}, "mean is 0.5 0.5 nan"),
        ({"mean": [0.5, 0.5, 0.5]}, "one mean and one std, and there are: mean"),
        ({"mean": [0.5] * 3, "mu": [0.5] * 3, "std": [0.2] * 3}, "there are: mean, mu, std"),
    ],
)
def test_statistics_that_make_no_sense_are_refused(statistics, words):
    assert words in refusal(small() | {k: torch.tensor(v) for k, v in statistics.items()})


# ------------------------------------------------------------------ the layouts of public code


def test_names_of_torchvision_are_renamed():
    state = renamed(of("resnet18", 7), ("shortcut", "downsample"), ("linear.", "fc."))
    found = foreign.recognise(state)
    assert (found.model, found.num_classes) == ("resnet18", 7)
    assert list(found.state) == list(of("resnet18"))
    assert "pooling" in found.text


def test_the_release_of_rpat_is_a_bottleneck_network():
    found = foreign.recognise({"state_dict": under("module.", of("resnet26-bottleneck", 200))})
    assert (found.model, found.num_classes) == ("resnet26-bottleneck", 200)


@pytest.mark.parametrize("name", ["wrn-28-10", "wrn-34-10"])
def test_the_block_that_trades_never_uses_is_left_out(name):
    state = of(name)
    unused = renamed({k: v for k, v in state.items() if k.startswith("block1.")},
                     ("block1.", "sub_block1."))  # fmt: skip
    found = foreign.recognise(under("module.", state | unused))
    assert (found.model, list(found.state)) == (name, list(state))
    assert "keys left out: sub_block1.* (stored by TRADES and never used)" in found.text


def test_a_wide_network_may_call_its_last_layer_linear():
    state = renamed(of("wrn-34-10", 100), ("fc.", "linear."))
    assert list(foreign.recognise(state).state) == list(of("wrn-34-10"))


def test_counters_that_an_old_torch_did_not_store_are_set_to_zero():
    old = {k: v for k, v in small().items() if not k.endswith("num_batches_tracked")}
    found = foreign.recognise(old)
    assert found.state["bn1.num_batches_tracked"].dtype == torch.int64
    assert found.state["bn1.num_batches_tracked"] == 0
    assert "9 counters of BatchNorm set to 0" in found.text
    foreign.build(found, 32)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast_and_said_so(kind):
    found = foreign.recognise({k: v.to(kind) if v.ndim else v for k, v in small().items()})
    assert found.state["conv1.weight"].dtype == torch.float32
    assert f"{str(kind)[6:]} cast to float32" in found.text


class Normalize(nn.Module):
    """The normalisation of public code: its statistics are in the state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("std", torch.tensor(STD))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean[:, None, None]) / self.std[:, None, None]


class PreAct(nn.Module):
    """A pre-activation block in the names of KD+SWA."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(width)
        stride = 1 if inputs == width else 2
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        if stride == 2:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, 2, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        beside = self.shortcut(active) if hasattr(self, "shortcut") else x
        return self.conv2(F.relu(self.bn2(self.conv1(active)))) + beside


class Basic(nn.Module):
    """A basic block in the names of torchvision."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        stride = 1 if inputs == width else 2
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.downsample = None
        if stride == 2:
            shortcut = nn.Conv2d(inputs, width, 1, 2, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + beside)


class KdSwa(nn.Module):
    """PreActResNet-18 with its normalisation inside."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        for number, (inputs, width) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], 1):
            stage = nn.Sequential(PreAct(inputs, width), PreAct(width, width))
            self.add_module(f"layer{number}", stage)
        self.bn, self.linear = nn.BatchNorm2d(512), nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.normalize(x))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.linear(F.relu(self.bn(out)).mean((2, 3)))


class ResNet8(nn.Module):
    """Three basic blocks in the names of torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Basic(16, 16))
        self.layer2 = nn.Sequential(Basic(16, 32))
        self.layer3 = nn.Sequential(Basic(32, 64))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.fc(out.mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (KdSwa, "preactresnet18"),
        (lambda: nn.Sequential(Normalize(), nn.DataParallel(ResNet8())), "resnet8"),
        (ResNet8, "resnet8"),
    ],
    ids=["KD+SWA", "sequence", "bare"],
)
def test_logits_are_those_of_the_original_network(make, name, tmp_path):
    torch.manual_seed(4)
    original = make()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        original(2 * x)  # moves the running statistics
        found = foreign.load(saved(tmp_path / "a.pt", {"state_dict": original.state_dict()}))
        assert found.model == name
        assert (found.normalize is None) == (make is ResNet8)
        theirs, ours = original.eval()(x), foreign.build(found, 32).eval()(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_example_of_autoattack_is_a_resnet18():
    path = Path(pyautoattack.__file__).parent / "examples" / "model_test.pt"
    if not path.is_file():
        pytest.skip("this build of pyautoattack comes without its example's weights")
    found = foreign.load(path)
    assert (found.model, found.num_classes, found.normalize) == ("resnet18", 10, None)


# --------------------------------------------------------------------- networks that are refused


def residual(block: type, depths: tuple[int, ...], widths: tuple[int, ...], stem: int = 3) -> State:
    """Return the hollow state of another residual network."""

    def make() -> nn.Module:
        net = ResNet(block, widths, 1, 10, 1)
        for name, width, depth in zip(net.stages, widths, depths, strict=True):
            for _ in range(depth - 1):
                out = width * block.expansion
                getattr(net, name).append(block(out, width, 1))
        net.conv1 = nn.Conv2d(3, widths[0], stem, bias=False)
        return net

    return hollow(make)


FOUR, THREE = (64, 128, 256, 512), (16, 32, 64)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (lambda: residual(BasicBlock, (3, 4, 6, 3), FOUR), "this is ResNet-34; "),
        (lambda: residual(Bottleneck, (3, 4, 6, 3), FOUR), "this is ResNet-50; "),
        (lambda: residual(Bottleneck, (3, 4, 23, 3), FOUR), "this is ResNet-101; "),
        (lambda: residual(BasicBlock, (3, 3, 3), THREE), "this is ResNet-20 of three stages; "),
        (
            lambda: residual(BasicBlock, (2, 2, 2, 2), FOUR, 7),
            "this is ResNet-18 with a 7x7 stem, as for ImageNet; first difference from resnet18: "
            "conv1.weight is [64, 3, 7, 7], not [64, 3, 3, 3]",
        ),
        (
            lambda: hollow(lambda: WideResNet(40, 2, 10, 1)),
            "this is WRN-40-2 (6 blocks a group, 32 channels in the first); ",
        ),
        (lambda: hollow(lambda: WideResNet(28, 4, 10, 1)), "this is WRN-28-4 (4 blocks a group"),
    ],
)  # fmt: skip
def test_other_networks_are_refused_by_name(state, words):
    text = refusal(state())
    assert text.startswith(words)
    assert f"the networks here are {', '.join(MODELS)}" in text


def test_the_preactivation_network_of_consistency_at_is_refused_with_what_differs():
    state = of("preactresnet18")
    stem = {k.replace("layer1.0.bn1", "bn1"): v for k, v in state.items() if "layer1.0.bn1" in k}
    text = refusal({k: v for k, v in state.items() if not k.startswith("bn.")} | stem)
    assert text.startswith(
        "this is PreActResNet-18 with no BatchNorm before the last layer but one after the stem, "
        "as in Consistency-AT; first difference from preactresnet18: bn.weight is missing"
    )


def test_a_single_key_too_few_too_many_or_of_another_shape_is_named():
    state = of("resnet18")
    missing = {k: v for k, v in state.items() if k != "layer4.1.conv2.weight"}
    assert "from resnet18: layer4.1.conv2.weight is missing" in refusal(missing)
    assert "from resnet18: extra.bias is not known" in refusal(
        state | {"extra.bias": torch.zeros(2)}
    )
    assert "layer1.0.bn1.bias is [65], not [64]" in refusal(
        state | {"layer1.0.bn1.bias": torch.zeros(65)}
    )
    for key in ("linear.weight", "conv1.weight", "layer2.0.conv1.weight"):
        assert "first difference" in refusal(state | {key: torch.tensor(0.0)})
    headless = {k: v for k, v in state.items() if not k.startswith("linear.")}
    assert "no single last linear layer" in refusal(headless)


def test_an_unknown_network_is_refused_with_its_keys():
    text = refusal({"features.0.weight": torch.zeros(8, 3, 3, 3)})
    assert text.startswith("no network of rpat has keys like these (features.0.weight, …)")


def test_a_network_that_is_asked_for_must_be_there():
    text = refusal(of("preactresnet18"), "resnet18")
    assert text == (
        "these keys fit preactresnet18, not resnet18; "
        "leave --model out or write --model preactresnet18"
    )
    assert "--model 'resnet17' is not known; did you mean 'resnet18'?" in refusal(
        small(), "resnet17"
    )
    assert "first difference from wrn-28-10: " in refusal(
        hollow(lambda: WideResNet(16, 4, 10, 1)), "wrn-28-10"
    )


def test_weights_that_are_not_finite_or_not_dense_are_refused():
    bad = small()
    bad["layer2.0.conv1.weight"][0, 0, 0, :2] = float("nan")
    assert "layer2.0.conv1.weight has 2 of 4608 values that are NaN or infinite" in refusal(bad)
    whole = {k: v.to(torch.int8) for k, v in small().items()}
    assert "conv1.weight is int8" in refusal(whole)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "no network's tensors are in it (its keys: none at all)"),
        ({"acc": 1.0, "epoch": 3}, "(its keys: acc, epoch); save model.state_dict()"),
        ({"state": {0: {"m": torch.ones(2, 2)}}, "param_groups": []}, "the state of an optimiser"),
    ],
)
def test_a_dictionary_without_a_network_is_refused(content, words):
    assert words in refusal(content)


# ------------------------------------------------------------------------------------- files


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        foreign.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "there is no such file" in refused(tmp_path / "none.pt")
    saved(tmp_path / "best-online.pt", {})
    assert "this is a folder; name a file of weights in it: best-online.pt" in refused(tmp_path)


def test_a_damaged_file_is_refused(tmp_path):
    whole = saved(tmp_path / "whole.pt", small()).read_bytes()
    for number, data in enumerate([b"", b"<html></html>", whole[: len(whole) // 2]]):
        path = tmp_path / f"{number}.pt"
        path.write_bytes(data)
        assert "it is damaged or no file of torch.save" in refused(path)


class Malicious:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


def test_a_malicious_file_is_refused_and_nothing_in_it_is_executed(tmp_path):
    trap = tmp_path / "trap"
    path = saved(tmp_path / "evil.pt", {"state_dict": small(), "x": Malicious(trap)})
    text = refused(path)
    assert "it holds other objects than tensors (posix.mkdir)" in text
    assert "could run any code, so it is not done" in text
    assert "{k: v for k, v in model.state_dict().items()}" in text
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious(trap)))
    refused(tmp_path / "plain.pt")
    assert not trap.exists()


def test_a_whole_module_is_refused_with_the_remedy(tmp_path):
    text = refused(saved(tmp_path / "module.pt", nn.Linear(2, 2)))
    assert "torch.nn.modules.linear.Linear" in text
    assert "model.state_dict()" in text
    assert "it holds a Tensor, not a dictionary" in refused(saved(tmp_path / "t.pt", torch.ones(2)))


def test_a_torchscript_archive_is_refused_by_name(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    assert "it is a TorchScript archive" in refused(tmp_path / "script.pt")


def test_safetensors_are_read_where_the_name_says_so(tmp_path):
    save_file(under("module.", small()), tmp_path / "a.safetensors")
    found = foreign.load(tmp_path / "a.safetensors")
    assert (found.origin, found.model) == ("safetensors", "resnet8")
    assert equal(found.state, small())
    (tmp_path / "b.safetensors").write_bytes(b"no")
    assert "it is not a safetensors file" in refused(tmp_path / "b.safetensors")


# ------------------------------------------------------------------------------------ command


def test_the_command_says_as_json_what_a_file_holds(tmp_path, capsys):
    path = saved(tmp_path / "a.pt", own() | {"ema": small(5)})
    assert main([str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    found = foreign.load(path)
    assert told == {
        "model": "resnet8",
        "num_classes": 10,
        "normalize": [list(values) for values in STATISTICS["cifar100"]],
        "text": found.text,
        "origin": "rpat",
        "config": found.config,
        "epoch": 7,
        "network": "wa",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "digest": checkpoint.digest(found.state),
    }
    assert main([str(path), "auto", "ema"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == checkpoint.digest(small(5))


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    assert main([str(saved(tmp_path / "a.pt", small())), "resnet18"]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "these keys fit resnet8, not resnet18" in told.err
    assert main([]) == 2
    assert capsys.readouterr().err == "python -m rpat.foreign takes FILE [MODEL [KEY]]\n"
