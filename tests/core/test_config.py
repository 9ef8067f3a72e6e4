"""The config: parsed at the door, equal to its JSON, and an identity that must never drift."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rpat import published
from rpat.config import (
    DATASETS,
    METHODS,
    MODELS,
    NORMS,
    WRAPPER_ORDER,
    WRAPPERS,
    DataConfig,
    EvalConfig,
    MethodConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    ScheduleConfig,
    ThreatConfig,
    canonical,
    method,
)
from rpat.config import AttackConfig as AttackKnobs
from rpat.errors import ConfigError
from rpat.knobs import fields, knob, number, show, type_hints
from rpat.recipes import BENCH, COMBINATIONS, label, preset, preset_of_row, presets, recipe
from rpat.schedules import learning_rate, milestones

GOLDEN = {
    ("mart", "rpat", "cifar10", "linf"): (
        "39c7f8a98e9dbdc86560e9c3255b7fa380bde6c56bff818a18faf9f6f7fd2395",
        "eab70f28ac98e6a87cfd377ddae76f99b04160c3126c8b814bd449be5ec33e74",
    ),
    ("trades", "", "tiny-imagenet", "l2"): (
        "b28e9422b7edc67ba852dbfba153ff310b64199040599c2663f1a0466e17ea3a",
        "",
    ),
}
"""Recipe -> fingerprint and group. Runs of the past are found by these: never edit them."""

SECTIONS = {
    "data": DataConfig,
    "model": ModelConfig,
    "threat": ThreatConfig,
    "attack": AttackKnobs,
    "optim": OptimConfig,
    "schedule": ScheduleConfig,
    "eval": EvalConfig,
}

NO_IDENTITY = {
    "data.dir",
    "device",
    "gpus",
    "compiled",
    "log_every",
    "keep_every",
    "eval.attack",
    "eval.steps",
    "eval.aa_n",
    "eval.batch_size",
}
"""Where and how a run is carried out, not what it is."""

STARTS = {
    "linf": ["zero", "uniform", "normal:0.001"],
    "l2": ["zero", "box", "direction", "normal:0.5"],
}
WEIGHTS = ["", "0" * 64, f"run:{'1' * 64}:best", f"run:{'2' * 64}:final"]
WORDS = {
    "kd.natural": WEIGHTS,
    "kd.robust": WEIGHTS,
    "cure.start": WEIGHTS,
    "attack.floor": ["max:1e-06", "add:0.01"],
    "eval.floor": ["max:1e-06", "add:0.01"],
    "rpat.alpha": [0.5, 0.125, "beta-", "beta+"],
    "rpat.criterion": ["mse"],  # the eq3 form takes no other
    "mode": ["reference", "exact", "fast"],
    "device": ["auto", "cpu", "cuda:1"],
}
HIGH = {"threat.epsilon": 1.0}


def knobs_of(config: RunConfig) -> dict[str, tuple[object, dataclasses.Field]]:
    """Return every knob of a config by its dotted name, with the section that holds it."""
    found = {}
    parts = [("", config), (config.method.NAME, config.method)]
    parts += [(w.NAME, w) for w in config.wrappers]
    parts += [(name, getattr(config, name)) for name in SECTIONS]
    for name, part in parts:
        for field in fields(part):
            if "help" in field.metadata:
                found[f"{name}.{field.name}" if name else field.name] = (part, field)
    return found


def values_of(name: str, part: object, field: dataclasses.Field, norm: str) -> st.SearchStrategy:
    """Return values that a knob allows, told from its declaration."""
    meta = field.metadata
    if name in WORDS:
        return st.sampled_from(WORDS[name])
    if field.name == "start" and meta["parse"]:
        return st.sampled_from(STARTS[norm])
    if meta["choices"]:
        return st.sampled_from(meta["choices"])
    assert not meta["parse"], f"tell WORDS what {name} may be"
    low = meta["low"] if meta["low"] is not None else meta["above"]
    high = HIGH.get(name, meta["high"])
    if field.name == "step_size" and norm == "linf":
        high = 1.0  # a step on the scale of the pixels
    numbers = st.floats(low, high, allow_nan=False, allow_infinity=False).filter(
        lambda value: meta["above"] is None or value > meta["above"]
    )
    kind = type_hints(type(part))[field.name]
    return {
        bool: st.booleans(),
        str: st.text(max_size=8),
        int: st.integers(int(low or 0), int(high or 10**6)),
        float: numbers,
    }.get(kind, st.lists(numbers, max_size=3).map(tuple))


def fits(name: str, stack: list[str], wrapper: str) -> bool:
    """Return whether neither a wrapper nor what it joins refuses the other."""
    parts = [METHODS[name], *(WRAPPERS[w] for w in stack)]
    refused = any(wrapper in part.REFUSES for part in parts)
    return not refused and not set(stack) & set(WRAPPERS[wrapper].REFUSES)


@st.composite
def configs(draw) -> RunConfig:
    """A config with every knob anywhere in its range."""
    name = draw(st.sampled_from(sorted(METHODS)))
    stack: list[str] = []
    for wrapper in draw(st.lists(st.sampled_from(sorted(WRAPPERS)), unique=True, max_size=5)):
        if fits(name, stack, wrapper):
            stack.append(wrapper)
    norm = draw(st.sampled_from(NORMS))
    config = recipe(name, stack, norm=norm)
    changes = {
        key: draw(values_of(key, part, field, norm))
        for key, (part, field) in knobs_of(config).items()
        if key != "threat.norm"
    }
    if any("cutmix" in part.REFUSES for part in (config.method, *config.wrappers)):
        changes["data.cutmix"] = False
    if "attack.steps" in config.method.REFUSES:
        changes["attack.steps"] = 0
    if changes["gpus"] > 1:
        changes["device"] = "auto"  # one card is not several
    if changes["mode"] == "reference":
        changes["compiled"] = False
    return config.override(changes)


@settings(max_examples=60)
@given(config=configs())
def test_a_config_equals_itself_after_a_way_through_json(config):
    values = config.to_dict()
    text = json.dumps(values, allow_nan=False)
    again = RunConfig.from_dict(json.loads(text))
    assert again == config
    assert again.to_dict() == values
    assert json.dumps(again.to_dict()) == text
    assert again.fingerprint() == config.fingerprint()
    assert again.group() == config.group()


@settings(max_examples=60)
@given(config=configs())
def test_a_config_cannot_be_changed_in_place(config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 3
    assert hash(config) == hash(RunConfig.from_dict(config.to_dict()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        del config.seed
    assert config.seed == RunConfig.from_dict(config.to_dict()).seed


@settings(max_examples=60)
@given(config=configs())
def test_a_copy_of_a_config_equals_it_and_one_with_a_change_does_not(config):
    for again in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert again == config
        assert hash(again) == hash(config)
        assert repr(again) == repr(config)
    other = dataclasses.replace(config, seed=(config.seed + 1) % 2**31)
    assert other != config
    assert other.group() == config.group()
    assert f"seed={other.seed}" in repr(other)


def test_a_section_is_checked_however_it_is_made():
    with pytest.raises(ConfigError, match="seed is -1; it must be at least 0"):
        dataclasses.replace(recipe("trades"), seed=-1)
    with pytest.raises(TypeError, match="RunConfig needs 'method'"):
        RunConfig()
    with pytest.raises(TypeError, match="OptimConfig has no field 'rate'"):
        OptimConfig(rate=0.1)
    assert DataConfig() != ModelConfig()


# ------------------------------------------------------------- identity


@pytest.mark.parametrize(("key", "expected"), GOLDEN.items(), ids=lambda key: key[0])
def test_old_fingerprints_are_kept_for_ever(key, expected):
    name, stack, dataset, norm = key
    config = recipe(name, [stack] if stack else [], dataset=dataset, norm=norm)
    config = config.override({"mode": "reference"})  # the only one that there was
    fingerprint, group = expected
    assert config.fingerprint() == fingerprint
    assert not group or config.group() == group


def other_value(name: str, part: object, field: dataclasses.Field) -> object:
    """Return an allowed value that differs from the present one."""
    value, meta = getattr(part, field.name), field.metadata
    special = {
        "attack.floor": "max:0.5",
        "eval.floor": "add:0.5",
        "attack.start": "zero",
        "eval.start": "zero",
        "rpat.alpha": 0.25,
        "device": "cpu",
        "data.dir": "elsewhere",
        "kd.natural": "0" * 64,
        "kd.robust": f"run:{'0' * 64}:best",
        "cure.start": "0" * 64,
    }
    if name in special:
        return special[name]
    if meta["choices"]:
        return next(choice for choice in meta["choices"] if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.5
    assert isinstance(value, tuple), f"tell this test another value of {name}"
    return (*value[:-1], value[-1] / 2)


def all_knobs():
    """Return every knob of every method and wrapper once, with a config that has it."""
    found = {}
    for name, knobs in {"pgd-at": METHODS["pgd-at"], **METHODS}.items():
        stacks = [[]] + [[w] for w in WRAPPERS if w not in knobs.REFUSES]
        for stack in stacks:
            config = recipe(name, stack)
            for key in knobs_of(config):
                found.setdefault(key, config)
    return sorted(found.items())


@pytest.mark.parametrize(("name", "config"), all_knobs(), ids=lambda value: str(value)[:24])
def test_a_knob_is_part_of_the_identity_unless_it_says_otherwise(name, config):
    part, field = knobs_of(config)[name]
    assert field.metadata["identity"] == (name not in NO_IDENTITY)
    if name == "threat.norm":
        return  # it has no other value that goes with the rest
    changed = config.override({name: other_value(name, part, field)})
    assert changed != config
    assert (changed.fingerprint() == config.fingerprint()) == (name in NO_IDENTITY)
    assert (changed.group() == config.group()) == (name in NO_IDENTITY or name == "seed")


def test_the_identity_tells_methods_wrappers_and_norms_apart():
    several = [
        recipe(name, stack, norm=norm)
        for name, knobs in METHODS.items()
        for stack in ((), ("rpat",))
        for norm in NORMS
        if not (stack and "rpat" in knobs.REFUSES)
    ]
    assert len({config.fingerprint() for config in several}) == len(several)
    assert len({config.group() for config in several}) == len(several)


def test_seeds_of_one_experiment_are_one_group():
    runs = [recipe("mart").override({"seed": seed}) for seed in range(3)]
    assert len({run.fingerprint() for run in runs}) == 3
    assert len({run.group() for run in runs}) == 1


def test_a_knob_added_later_keeps_the_old_fingerprints(monkeypatch):
    monkeypatch.setattr("rpat.config.METHODS", dict(METHODS))

    @method("toy", title="Toy", cite="-", objective="0")
    class OldConfig(MethodConfig):
        """Before."""

        weight: float = knob("a weight", default=1.0)

    @method("toy", title="Toy", cite="-", objective="0")
    class NewConfig(MethodConfig):
        """After."""

        weight: float = knob("a weight", default=1.0)
        power: float = knob("added later", default=2.0, legacy=1.0)

    base = recipe("pgd-at")
    old = dataclasses.replace(base, method=OldConfig())
    assert dataclasses.replace(base, method=NewConfig(power=1)).fingerprint() == old.fingerprint()
    assert dataclasses.replace(base, method=NewConfig()).fingerprint() != old.fingerprint()
    METHODS.pop("toy", None)


# ------------------------------------------------------------- wrong requests


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"threat.epsilonn": 0.1}, "threat.epsilonn: 'epsilonn' is not known; did you mean 'epsi"),
        ({"treat.epsilon": 0.1}, "treat.epsilon: 'treat' is not known; did you mean 'threat'?"),
        ({"sed": 1}, "sed: 'sed' is not known; did you mean 'seed'?"),
        ({"rpat.lam": 1}, "rpat.lam: 'rpat' is not part of this run; add --rpat"),
        ({"mart.beta": 1}, "mart.beta: 'mart' is not this run's method; use --method mart"),
        ({"attack.start": "unifrom"}, "attack.start is 'unifrom'; write zero, uniform, box"),
        ({"attack.start": "box"}, "attack.start is box; linf takes zero, uniform, normal"),
        ({"eval.start": "direction"}, "eval.start is direction; linf takes zero, uniform"),
        ({"attack.bn": "trian"}, "attack.bn: 'trian' is not known; did you mean 'train'?"),
        ({"attack.floor": "1e-6"}, "attack.floor is '1e-6'; write max:TINY or add:TINY"),
        (
            {"attack.step_size": 2},
            r"attack.step_size is 2; pixels live in \[0, 1\], so write 2/255",
        ),
        ({"threat.epsilon": 8}, r"threat.epsilon is 8; pixels live in \[0, 1\], so write 8/255"),
        ({"threat.epsilon": "-8/255"}, "threat.epsilon is -0.0313725; it must be at least 0"),
        ({"threat.epsilon": "8/0"}, "threat.epsilon is '8/0'; expected a number or a fraction"),
        ({"threat.epsilon": "nan"}, "threat.epsilon is nan; write a finite number"),
        ({"threat.epsilon": True}, "threat.epsilon is True; expected a number"),
        ({"optim.lr": 0}, "optim.lr is 0; it must be above 0"),
        ({"optim.momentum": 1.5}, "optim.momentum is 1.5; it must be at most 1"),
        ({"optim.batch_size": 1}, "optim.batch_size is 1; it must be at least 2"),
        ({"optim.batch_size": "many"}, "optim.batch_size is 'many'; expected a whole number"),
        ({"optim.batch_size": 8.0}, "optim.batch_size is 8.0; expected a whole number"),
        ({"attack.closing_forward": "maybe"}, "closing_forward is 'maybe'; write true or false"),
        ({"data.dir": 3}, "data.dir is 3; expected a text"),
        ({"schedule.milestones": 0.5}, "schedule.milestones is 0.5; expected a list"),
        ({"schedule.milestones": [0.5, 1.5]}, "schedule.milestones is 1.5; it must be at most 1"),
        ({"schedule.epochs": 0}, "schedule.epochs is 0; it must be at least 1"),
        ({"attack": 3}, "attack=3: name one value inside it, or use its option"),
        ({"method": "mart"}, "method=mart: name one value inside it, or use its option"),
        ({"mode": "quick"}, "mode: 'quick' is not known; choose one of exact, fast, reference"),
        ({"device": "gpu"}, "device is gpu; write auto, cpu or cuda:N"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named_with_the_remedy(changes, text):
    with pytest.raises(ConfigError, match=text):
        recipe("pgd-at").override(changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"method": "trade"}, "method: 'trade' is not known; did you mean 'trades'?"),
        ({"method": None}, "method: 'None' is not known; choose one of clean, consi"),
        ({"wrappers": ["rpta"]}, "wrappers: 'rpta' is not known; did you mean 'rpat'?"),
        ({"wrappers": ["rpat", "rpat"]}, "wrappers are rpat, rpat; name each once"),
        ({"schema": 99}, "schema is 99; this version of rpat reads schema 1"),
        ({"optm": {}}, "optm: 'optm' is not known; did you mean 'optim'?"),
        ({"optim": {"lrr": 1}}, "optim.lrr: 'lrr' is not known; did you mean 'lr'?"),
        ({"optim": 3}, "optim must be a table of keys, not 3"),
        ({"trades": {"beta": 1}}, "trades: 'trades' is not this run's method"),
        ({"rpat": {"lam": 1}}, "rpat: 'rpat' is not part of this run"),
    ],
    ids=str,
)
def test_a_wrong_file_is_named_with_the_remedy(changes, text):
    with pytest.raises(ConfigError, match=text):
        RunConfig.from_dict(recipe("pgd-at").to_dict() | changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rpat.alpha": 0}, "rpat.alpha is 0; write a number between 0.001 and 0.999, or beta-"),
        ({"rpat.alpha": "beta"}, "rpat.alpha is 'beta'; expected a number"),
        ({"rpat.lam": -1}, "rpat.lam is -1; it must be at least 0"),
        (
            {"rpat.form": "eq3", "rpat.criterion": "kl"},
            "rpat.criterion is kl; the eq3 form is defined for mse only",
        ),
    ],
    ids=str,
)
def test_a_wrong_knob_of_rpat_is_named_with_the_remedy(changes, text):
    with pytest.raises(ConfigError, match=text):
        recipe("pgd-at", ["rpat"]).override(changes)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"method": "matr"}, "--method 'matr' is not known; did you mean 'mart'?"),
        ({"dataset": "cifar-10"}, "--dataset 'cifar-10' is not known; did you mean 'cifar10'?"),
        ({"model": "resnet-18"}, "--model 'resnet-18' is not known; did you mean 'resnet18'?"),
        ({"norm": "linff"}, "--norm 'linff' is not known; did you mean 'linf'?"),
        ({"wrappers": ["rpt"]}, "--with 'rpt' is not known; did you mean 'rpat'?"),
        ({"wrappers": ["rpat", "rpat"]}, "--with rpat is given twice; name it once"),
    ],
    ids=str,
)
def test_a_recipe_names_the_nearest_word(arguments, text):
    with pytest.raises(ConfigError, match=text):
        recipe(**{"method": "pgd-at"} | arguments)


def test_every_error_is_one_line():
    with pytest.raises(ConfigError) as caught:
        recipe("pgd-at").override({"attack.stepz": 3})
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------- values


@given(a=st.integers(-1000, 1000), b=st.integers(1, 1000))
def test_fractions_are_read_as_numbers(a, b):
    assert number(f"{a}/{b}") == a / b
    assert number(f" {a} / {b} ") == a / b


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_they_are_written(value):
    assert number(repr(value)) == value
    assert number(value) == value


@given(pixels=st.integers(1, 254))
def test_radii_are_shown_as_they_are_written(pixels):
    shown = show(pixels / 255)
    assert shown == f"{pixels}/255" or (len(shown) <= 4 and "/" not in shown)  # 51/255 is 0.2
    assert number(shown) == pixels / 255
    config = recipe("pgd-at").override({"threat.epsilon": f"{pixels}/255"})
    assert config.threat.epsilon == pixels / 255


def test_a_value_may_be_written_as_text():
    config = recipe("pgd-at", ["rpat"]).override(
        {
            "attack.steps": "7",
            "attack.closing_forward": "yes",
            "schedule.milestones": "1/2,0.75",
            "rpat.alpha": "1/5",
            "attack.start": "normal:1e-3",
            "attack.floor": "max:0.000001",
        }
    )
    assert config.attack.steps == 7
    assert config.attack.closing_forward is True
    assert config.schedule.milestones == (0.5, 0.75)
    assert config.wrapper("rpat").alpha == 0.2
    assert config.attack.start == "normal:0.001"
    assert config.attack.floor == "max:1e-06"


@given(order=st.permutations(WRAPPER_ORDER))
def test_wrappers_in_any_order_give_the_canonical_one(order):
    names = [name for name in order if name in WRAPPERS]
    expected = [name for name in WRAPPER_ORDER if name in WRAPPERS]
    assert canonical(names) == expected


def test_every_wrapper_has_a_place_in_the_canonical_order():
    assert set(WRAPPERS) <= set(WRAPPER_ORDER)
    assert len(set(WRAPPER_ORDER)) == len(WRAPPER_ORDER)


def test_every_knob_has_a_help_text():
    classes = [*SECTIONS.values(), *METHODS.values(), *WRAPPERS.values(), RunConfig]
    for cls in classes:
        assert cls.__doc__
        for field in fields(cls):
            if cls is RunConfig and field.name in (*SECTIONS, "method", "wrappers"):
                continue
            assert len(field.metadata["help"]) > 3, (cls, field.name)


# ------------------------------------------------------------- schedules


def test_the_papers_lengths_decay_where_the_papers_say():
    assert milestones(recipe("pgd-at", epochs=110).schedule) == [100, 105]
    assert milestones(recipe("pgd-at", epochs=200).schedule) == [100, 150]
    assert recipe("pgd-at").schedule.epochs == 110


def test_milestones_that_lie_close_together_stay_apart():
    assert milestones(ScheduleConfig(epochs=10, milestones=(0.01, 0.02))) == [1, 2]


@pytest.mark.parametrize("epochs", range(1, 31))
@pytest.mark.parametrize("points", [(100 / 110, 105 / 110), (0.5, 0.75)], ids=["bench", "half"])
def test_short_runs_pass_through_every_stage(epochs, points):
    schedule = ScheduleConfig(epochs=epochs, milestones=points)
    found = milestones(schedule)
    assert found == sorted(found)
    assert all(point >= 1 for point in found)
    rates = [learning_rate(0.1, schedule, epoch, 1.0) for epoch in range(epochs)]
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    if epochs > len(points):
        assert len(set(found)) == len(found)
        assert found[-1] < epochs
        assert len(set(rates)) == len(points) + 1


@given(
    epochs=st.integers(1, 300),
    points=st.lists(st.floats(0.01, 1), max_size=3),
    batches=st.integers(1, 400),
    epoch=st.integers(0, 300),
)
def test_both_granularities_agree_but_for_the_last_batch_before_a_milestone(
    epochs, points, batches, epoch
):
    assume(epoch < epochs)
    by_epoch = ScheduleConfig(epochs=epochs, milestones=tuple(points))
    by_step = dataclasses.replace(by_epoch, granularity="iteration")
    for i in (0, batches - 1):
        fraction = (i + 1) / batches
        one, other = (learning_rate(1.0, s, epoch, fraction) for s in (by_epoch, by_step))
        if fraction == 1.0:
            other_epoch = learning_rate(1.0, by_epoch, epoch + 1, 0.0)
            assert other == other_epoch
        else:
            assert other == one
        assert math.isfinite(one)


# ------------------------------------------------------------- presets and printed rows


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("norm", NORMS)
def test_every_preset_is_a_valid_config(name, norm):
    found = preset(name)
    config = recipe(
        found.method,
        found.wrappers,
        dataset=found.dataset,
        model=found.model,
        norm=norm,
        epochs=found.epochs,
        cutmix=found.cutmix,
    )
    assert RunConfig.from_dict(config.to_dict()) == config
    assert config.threat.norm == norm
    assert config.data.cutmix == found.cutmix == name.endswith("+cutmix")
    assert found.about
    family = name.partition("/")[0]
    long = "wrn-34-10" if found.cutmix else "preactresnet18"
    expected = {
        "paper": ("resnet18", 110, "cifar10") if found.method in BENCH else (long, 200, "cifar10"),
        "release": ("resnet26-bottleneck", 200, "cifar10"),
        "digits": ("resnet8", 6, "digits"),
    }[family]
    assert (config.model.name, config.schedule.epochs, config.data.name) == expected


def test_an_unknown_preset_names_the_nearest_one():
    with pytest.raises(ConfigError, match="did you mean 'paper/trades'"):
        preset("paper/trade")


COMMON = [*(name for name in METHODS if name not in BENCH), "adr", "cure"]
"""The compared methods that share one recipe."""

LONG = ["wa", "awp", "kd+swa", "rebat", "rpat++"]
"""The combinations of Tables 3 and 4 that stand on the ReBAT code base."""


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", [*BENCH, *COMMON, *LONG])
def test_every_recipe_has_the_papers_radius_and_optimiser(name, norm):
    config = recipe(name, norm=norm)
    radius, step = {"linf": (8, 2), "l2": (128, 15)}[norm]
    assert config.threat.epsilon == radius / 255
    assert config.attack.step_size == config.eval.step_size == step / 255
    assert config.attack.steps == (0 if name in ("clean", "random") else 10)
    assert (config.optim.lr, config.optim.momentum, config.optim.weight_decay) == (0.1, 0.9, 5e-4)
    assert config.optim.batch_size == 128
    assert config.eval.steps == 20
    assert config.eval.start == {"linf": "uniform", "l2": "box"}[norm]
    assert config.eval.order == "clip-project"
    assert (config.data.padding, config.data.augment) == (4, "crop-flip")
    assert not config.data.cutmix


def test_every_method_and_combination_belongs_to_one_family():
    assert sorted([*BENCH, *COMMON, *LONG]) == sorted([*METHODS, *COMBINATIONS])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", BENCH)
def test_the_benchmark_recipes_have_the_papers_numbers(name, norm):
    config = recipe(name, norm=norm)
    assert config.eval.selection_steps == 10
    assert config.attack.bn == "eval"
    assert config.data.padding_mode == "zero"
    assert config.model == ModelConfig(name="resnet18", normalize="none")
    assert milestones(config.schedule) == [100, 105]
    assert (config.schedule.decay, config.schedule.granularity) == (10, "epoch")
    assert milestones(recipe(name, epochs=200).schedule) == [100, 150]
    starts = {
        "clean": "zero",
        "random": {"linf": "uniform", "l2": "direction"}[norm],
        "pgd-at": {"linf": "uniform", "l2": "box"}[norm],
        "trades": "normal:0.001",
        "mart": "normal:0.001",
        "consistency-at": {"linf": "uniform", "l2": "box"}[norm],
    }
    assert config.attack.start == starts[name]
    if name in ("trades", "mart"):
        assert config.method.beta == 6
        assert config.attack.order == "project-clip"
        assert config.attack.floor == "add:1e-08"
        assert config.attack.reduction == {"trades": "sum", "mart": "mean"}[name]
    if name in ("pgd-at", "consistency-at") and norm == "l2":
        assert config.attack.order == "clip-project"
        assert (config.attack.reduction, config.attack.floor) == ("mean", "max:1e-06")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", COMMON)
@pytest.mark.parametrize("stack", [[], ["rpat"]], ids=["alone", "rpat"])
def test_the_compared_methods_share_one_recipe(name, norm, stack):
    config = recipe(name, stack, norm=norm)
    assert (config.schedule.epochs, milestones(config.schedule)) == (200, [100, 150])
    assert (config.schedule.decay, config.schedule.granularity) == (10, "epoch")
    assert config.attack.bn == "eval"
    assert not config.attack.closing_forward
    assert config.model == ModelConfig(name="preactresnet18", normalize="none")
    assert config.data.padding_mode == "zero"
    assert config.eval.selection_steps == 10
    assert "clean-pass" not in [w.NAME for w in config.wrappers]
    gaussian = name in ("mail-at", "mail-trades", "cure") or (name, norm) == ("te", "l2")
    starts = {"linf": "uniform", "l2": "direction" if name == "mma" else "box"}
    assert config.attack.start == ("normal:0.001" if gaussian else starts[norm])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("stack", [[], ["rpat"]], ids=["alone", "rpat"])
def test_the_recipes_of_the_rebat_code_base_have_its_numbers(name, norm, stack):
    if name == "rpat++" and stack:
        return  # RPAT++ has the term in its own
    config = recipe(name, stack, norm=norm)
    distilled = name == "kd+swa"
    assert config.schedule.epochs == 200
    assert milestones(config.schedule) == ([50, 150] if distilled else [100, 150])
    assert config.schedule.decay == (1.5 if name in ("rebat", "rpat++") else 10)
    assert config.schedule.granularity == ("epoch" if distilled else "iteration")
    assert config.model == ModelConfig(name="preactresnet18", normalize="cifar10")
    assert config.data.padding_mode == ("zero" if distilled else "reflect")
    assert config.eval.selection_steps == (20 if name == "awp" or distilled else 10)
    assert config.attack.bn == "train"
    assert config.attack.closing_forward == (not distilled)
    assert not config.attack.double_forward
    assert (config.wrapper("clean-pass") is not None) == (not distilled)
    starts = {"linf": "uniform", "l2": "box" if distilled else "direction"}
    assert config.attack.start == starts[norm]
    if not distilled:
        assert (config.attack.order, config.attack.floor) == ("project-clip", "add:1e-10")


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize("name", LONG)
def test_the_rebat_code_base_normalises_with_one_set_of_statistics(name, dataset):
    assert recipe(name, dataset=dataset).model.normalize == "cifar10"


def test_averages_and_burn_ins_begin_where_their_papers_say():
    def begins(name, part, key):
        config = recipe(name)
        knobs = config.wrapper(part) or config.method
        return round(getattr(knobs, key) * config.schedule.epochs)

    assert [begins(name, name, "start") for name in ("wa", "rebat", "rpat++")] == [105] * 3
    assert begins("kd+swa", "swa", "start") == 55
    assert begins("awp", "awp", "warmup") == 0
    assert begins("te", "te", "start") == 90
    assert begins("te", "te", "end") == 150
    assert begins("gairat", "gairat", "burn_in") == 100  # 60 of 120
    assert begins("mail-at", "mail-at", "burn_in") == 127  # 76 of 120


@pytest.mark.parametrize("name", ["rebat", "rpat++"])
def test_a_wide_network_with_cutmix_decays_by_four_and_pulls_twice(name):
    config = recipe(name, model="wrn-34-10", cutmix=True)
    assert config.schedule.decay == 4
    assert config.wrapper(name).beta == 2
    assert config.attack.double_forward
    assert config.data.cutmix
    narrow, plain = recipe(name, cutmix=True), recipe(name, model="wrn-34-10")
    for other in (narrow, plain):
        assert (other.schedule.decay, other.wrapper(name).beta) == (1.5, 1)
    assert narrow.attack.double_forward
    assert not plain.attack.double_forward


def test_the_compared_methods_have_their_papers_values():
    assert recipe("cure").method.beta == 1
    assert recipe("trades").method.beta == 6
    awp, kd = recipe("awp").wrapper("awp"), recipe("kd+swa").wrapper("kd")
    assert awp.gamma == 0.01
    assert (kd.w_base, kd.w_natural, kd.w_robust, kd.temperature) == (0.3, 0.1, 0.6, 2)
    assert recipe("wa").wrapper("wa").decay == 0.999
    adr, cure = recipe("adr").wrapper("adr"), recipe("cure").wrapper("cure")
    assert (adr.tau_high, adr.tau_low, adr.lam_low, adr.lam_high) == (2.5, 2.0, 0.7, 0.95)
    assert adr.decay == 0.995
    assert (cure.percent, cure.alpha, cure.gamma, cure.rate, cure.decay) == (30, 0.1, 1, 0.2, 0.999)
    mail, pulled = recipe("mail-at").method, recipe("mail-trades").method
    assert (mail.slope, mail.bias, mail.normalise) == (10, -0.5, "mean")
    assert (pulled.slope, pulled.bias, pulled.beta) == (2, 0, 5)
    te, sovr = recipe("te").method, recipe("sovr").method
    assert (te.base, te.momentum, te.weight) == ("pgd-at", 0.9, 300)
    assert (sovr.percent, sovr.lam) == (40, 0.4)
    assert recipe("consistency-at").method.temperature == 0.5


@pytest.mark.parametrize("name", COMBINATIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_a_published_combination_is_a_method_with_its_stack(name, norm):
    method, stack = COMBINATIONS[name]
    config = recipe(name, norm=norm)
    assert config == recipe(method, stack, norm=norm)
    assert method == config.method.NAME
    assert set(stack) <= {w.NAME for w in config.wrappers} <= {*stack, "clean-pass"}
    assert label(config) == name


def test_the_label_of_a_run_is_its_published_name():
    for name in (*METHODS, *COMBINATIONS):
        assert label(recipe(name)) == name
        if f"paper/{name}+rpat" in presets():
            assert label(recipe(name, ["rpat"])) == name
    assert label(recipe("trades", ["awp"])) == "awp+trades"
    assert label(recipe("trades", ["wa", "awp", "rpat"])) == "wa+awp+trades"
    assert label(recipe("pgd-at", ["swa"])) == "swa+pgd-at"


@pytest.mark.parametrize("outer", ["adr", "rebat", "rpat++"])
def test_two_averaged_teachers_are_refused_in_either_order(outer):
    for other in {"wa", "rebat", "rpat++", "adr"} - {outer}:
        for stack in ([outer, other], [other, outer]):
            with pytest.raises(ConfigError, match="both keep an averaged network"):
                recipe("pgd-at", stack)
    recipe("pgd-at", [outer, "swa", "awp"])


@pytest.mark.parametrize("name", METHODS)
def test_what_is_refused_is_refused_with_its_reason(name):
    for wrapper in WRAPPERS:
        reason = METHODS[name].REFUSES.get(wrapper)
        if reason is None:
            assert recipe(name, [wrapper]).wrapper(wrapper) is not None
        else:
            with pytest.raises(ConfigError, match=f"{wrapper} on '{name}': {reason}"):
                recipe(name, [wrapper])
    if reason := METHODS[name].REFUSES.get("cutmix"):
        with pytest.raises(ConfigError, match=f"cutmix on '{name}': {reason}"):
            recipe(name, cutmix=True)
    else:
        assert recipe(name, cutmix=True).data.cutmix


@pytest.mark.parametrize(
    "name", ["mart", "mma", "gairat", "mail-at", "mail-trades", "sovr", "adr", "consistency-at"]
)
def test_methods_that_need_the_label_of_each_image_refuse_mixed_ones(name):
    with pytest.raises(ConfigError, match=r"data\.cutmix on"):
        recipe(name, cutmix=True)


@pytest.mark.parametrize("word", ["0" * 63, "run:abc:best", f"run:{'0' * 64}:last", "best.pt"])
@pytest.mark.parametrize("key", ["kd.natural", "kd.robust", "cure.start"])
def test_weights_are_named_by_content_or_by_the_run_that_makes_them(key, word):
    config = recipe("trades", [key.partition(".")[0]])
    with pytest.raises(ConfigError, match="write the SHA-256 of a weights file, or run:FINGER"):
        config.override({key: word})
    for good in WEIGHTS:
        config.override({key: good})


def test_rpat_is_on_from_the_first_epoch_with_weight_one():
    rpat = recipe("pgd-at", ["rpat"]).wrapper("rpat")
    assert (rpat.lam, rpat.alpha, rpat.form, rpat.criterion) == (1.0, 0.5, "interp", "mse")
    assert rpat.start_epoch == 0


def test_each_printed_row_has_a_preset_that_leads_back_to_it():
    for row in published.rows():
        found = preset(preset_of_row(row.method, row.rpat, row.cutmix))
        config = recipe(
            found.method,
            found.wrappers,
            dataset=row.dataset,
            model=row.model,
            norm=row.norm,
            cutmix=found.cutmix,
        )
        rpat = config.wrapper("rpat") is not None
        key = (config.data.name, config.threat.norm, config.model.name, label(config), rpat)
        assert published.find(*key, cutmix=config.data.cutmix) is row


def test_a_row_that_no_recipe_trains_has_no_preset():
    assert preset_of_row("vat", False) == ""
    assert preset_of_row("clean", True) == ""
    assert preset_of_row("rpat++", True) == ""
    assert preset_of_row("trades", False, cutmix=True) == ""


def test_the_data_sets_and_networks_of_the_papers_are_known():
    assert {row.dataset for row in published.rows()} <= set(DATASETS)
    assert {row.model for row in published.rows()} <= set(MODELS)
    assert {row.norm for row in published.rows()} <= set(NORMS)


def test_every_preset_says_what_is_published_and_what_is_not():
    for name, found in presets().items():
        assert len(found.note) > 40, name
        assert "\n" not in found.note


def test_averages_follow_slowly_on_paper_and_quickly_on_digits():
    for name in ("wa", "rebat", "rpat++", "adr"):
        paper, small = (recipe(name, dataset=d).wrapper(name).decay for d in ("cifar10", "digits"))
        assert paper == (0.995 if name == "adr" else 0.999)
        assert small == 0.97
