"""What a form holds, as data: its fields, what is wrong with them, the configs, the command.

A draft is only texts and switches. `resolve` turns it into exactly what `rpat run` would make of
the equivalent command, through the same functions. Nothing here draws, queues or asks a database.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rpat.config import DATASETS, METHODS, MODELS, NORMS, WRAPPERS, RunConfig
from rpat.errors import ConfigError
from rpat.knobs import number, show, unknown
from rpat.recipes import COMBINATIONS, TRAILED, presets, recipe
from rpat.sections import PASSES
from rpat_tui import presets as kept
from rpat_tui.compose import (
    PREREQUISITES,
    Request,
    assignments,
    compose,
    find_data,
    needs,
    read_seeds,
    request,
    with_prerequisites,
    words,
)
from rpat_tui.home import Home, data_folder, find_home, settings
from rpat_tui.store.index import Wish
from rpat_tui.wording import flat


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One line of the form."""

    name: str
    title: str
    option: str
    help: str
    key: str = ""
    """The value of the config that it sets; '' for what is no single one."""
    choices: Callable[[], Iterable[str]] = tuple
    is_list: bool = False
    """Whether it takes a comma list, each value an axis of the grid."""


@dataclass(frozen=True, slots=True)
class Group:
    """Fields that belong together, and the switches among them."""

    title: str
    fields: tuple[Field, ...]
    switches: tuple[str, ...] = ()


GROUPS = (
    Group(
        "What",
        (
            Field(name="preset", title="preset", option="--preset",
                  choices=lambda: [*own_presets(), *presets()],
                  help="a named recipe to start from; ctrl+o keeps this form as one"),
            Field(name="method", title="method", option="--method", is_list=True,
                  choices=lambda: [*METHODS, *COMBINATIONS],
                  help="what is trained; a list makes a run of each"),
            Field(name="lam", title="lam", option="--lam", key="rpat.lam", is_list=True,
                  help="weight of RPAT's term, from 0; a list makes a run of each"),
            Field(name="alpha", title="alpha", option="--alpha", key="rpat.alpha", is_list=True,
                  help="weight of the adversarial end, 0 to 1, or beta- or beta+; a list"),
            Field(name="form", title="form", option="--rpat-form", key="rpat.form",
                  choices=lambda: ("interp", "eq3"),
                  help="RPAT's term: interp (as released) or eq3 (as printed)"),
        ),
        ("rpat", "wa", "awp", "kd", "swa", "rebat", "rpat++", "adr", "cure", "clean-pass",
         "cutmix"),
    ),
    Group(
        "Data and network",
        (
            Field(name="dataset", title="data set", option="--dataset", is_list=True,
                  choices=lambda: DATASETS, help="images to train on; a list makes a run of each"),
            Field(name="data_dir", title="data dir", option="--data-dir",
                  help="folder of the data set; empty: the setting data_dir, else <home>/data"),
            Field(name="val_split", title="hold out", option="--val-split", key="data.val_n",
                  help="training images held out to select the best epoch on, from 0"),
            Field(name="model", title="network", option="--model", key="model.name", is_list=True,
                  choices=lambda: MODELS, help="a list makes a run of each"),
        ),
    ),
    Group(
        "Threat and attack",
        (
            Field(name="norm", title="norm", option="--norm", key="threat.norm", is_list=True,
                  choices=lambda: NORMS, help="norm of the perturbation: linf, l2, or both"),
            Field(name="epsilon", title="epsilon", option="--epsilon", key="threat.epsilon",
                  is_list=True, help="radius, in pixels on [0, 1]: write 8/255; a list"),
            Field(name="steps", title="steps", option="--steps", key="attack.steps",
                  help="gradient steps of the training attack, from 0"),
            Field(name="step_size", title="step size", option="--step-size",
                  key="attack.step_size", help="length of a step, in pixels on [0, 1]: 2/255"),
        ),
    ),
    Group(
        "Training",
        (
            Field(name="epochs", title="epochs", option="--epochs", key="schedule.epochs",
                  help="passes over the training images, from 1; the decays move along"),
            Field(name="batch_size", title="batch", option="--batch-size",
                  key="optim.batch_size", help="images a step, from 2"),
            Field(name="lr", title="rate", option="--lr", key="optim.lr",
                  help="initial learning rate, above 0"),
            Field(name="eval", title="at the end", option="--eval", key="eval.attack",
                  choices=lambda: PASSES, help="evaluation at the end: none, pgd (PGD-20) or aa"),
            Field(name="seeds", title="seeds", option="--seeds", key="seed", is_list=True,
                  help="0-2 or 0,3,7: a run of each"),
            Field(name="set", title="more", option="--set",
                  help="any other value, key=value, one a line: attack.start=zero"),
        ),
    ),
    Group(
        "Where and when",
        (
            Field(name="device", title="device", option="--device", key="device",
                  choices=lambda: ("auto", "cpu", "cuda:0"), help="auto, cpu or cuda:N"),
            Field(name="priority", title="priority", option="--priority",
                  help="a whole number; higher starts earlier"),
            Field(name="after", title="after", option="--after",
                  help="runs that must be done before: r0193, or names, with commas"),
            Field(name="retries", title="retries", option="--retries",
                  help="times to try again after a failure, from 0"),
            Field(name="tags", title="tags", option="--tag", help="words to find it by, a list"),
            Field(name="name", title="name", option="--name", help="a label for the run"),
            Field(name="note", title="note", option="--note", help="for a later reader"),
        ),
        ("reuse",),
    ),
)  # fmt: skip
"""The form, in the order in which people read it; a draft's texts have the names of its fields."""

FIELDS = {f.name: f for group in GROUPS for f in group.fields}
SWITCHES = {
    **{name: f"{cls.TITLE}: {cls.CITATION}" for name, cls in WRAPPERS.items()},
    "cutmix": "CutMix: a box of each image from another",
    "reuse": "take runs of the same config that are there instead of training again",
}
"""Switch -> its help; wrappers are stacked on the method."""

BY_KEY = {f.key: f.name for f in FIELDS.values() if f.key}
PLACES = ("data.dir", "data.source")
"""Keys that are found on the disk, never written."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What the form holds: a text for each field that is not empty, and the switches that are on.

    `set` has one `key=value` a line.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    on: frozenset[str] = frozenset()

    def text(self, name: str) -> str:
        """Return a field's text; '' where it is empty."""
        return self.texts.get(name, "").strip()

    def lines(self) -> list[str]:
        """Return the free `key=value` lines; those with # are remarks."""
        lines = (line.strip() for line in self.texts.get("set", "").splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    def stacked(self) -> list[str]:
        """Return the wrappers that are switched on."""
        return [name for name in WRAPPERS if name in self.on]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a draft comes to."""

    configs: tuple[RunConfig, ...] = ()
    """Everything that would be queued, prerequisites first; empty where something is wrong."""
    asked: tuple[RunConfig, ...] = ()
    """Those of them that no other waits for."""
    base: RunConfig | None = None
    """The recipe, before any change: where the defaults come from."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Field -> what is wrong with it; '' -> what is wrong with all of it."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Field -> the recipe's value, as people write it."""
    given: frozenset[str] = frozenset()
    """Switches that the preset or the method's name turns on."""
    differs: tuple[tuple[str, str, str], ...] = ()
    """Key, old and new values of what is not as the preset, or else the recipe, has it."""
    command: str = "rpat run"
    wish: Wish = field(default_factory=Wish)
    after: tuple[str, ...] = ()
    reuse: bool = False


# ----------------------------------------------------------------- from texts to configs


def resolve(draft: Draft, home: Home) -> Resolved:
    """Return the configs of a draft, or what is wrong with each field."""
    asked_for, draft = draft, with_own(draft)
    errors = _wrong_words(draft)
    base, given = _base(draft, errors)
    if base is not None:
        errors |= _wrong_values(draft, base, errors)
    errors |= _wrong_place(draft, home, errors)
    found = Resolved(
        base=base, errors=errors, defaults=_defaults(draft, base) | _brought(asked_for, draft),
        given=given | (draft.on - asked_for.on),
        command=shlex.join(command_words(asked_for, home)), after=words(draft.text("after")),
        reuse="reuse" in draft.on,
    )  # fmt: skip
    if errors:
        return found
    try:
        wanted = to_request(draft, home)
        configs, wish = compose(wanted), to_wish(draft)
    except ConfigError as error:
        return replace(found, errors={"": str(error)})
    needed = {fingerprint for config in configs for fingerprint, _ in needs(config)}
    asked = [config for config in configs if config.fingerprint() not in needed]
    differs = tuple(_differences(base, asked, draft)) if base is not None else ()
    return replace(found, configs=tuple(configs), asked=tuple(asked), differs=differs, wish=wish)


def own_presets() -> dict[str, Draft]:
    """Return one's own presets as drafts; none where their file cannot be read."""
    try:
        return {name: Draft(p.texts, frozenset(p.on)) for name, p in kept.own().items()}
    except ConfigError:  # `rpat presets` says why
        return {}


def with_own(draft: Draft) -> Draft:
    """Return a draft with everything that an own preset in it brings; what is typed is stronger."""
    base = own_presets().get(draft.text("preset")) if draft.text("preset") else None
    if base is None:
        return draft
    typed = {name: text for name, text in draft.texts.items() if text.strip() and name != "preset"}
    texts = {**base.texts, **typed}
    if lines := [*base.lines(), *draft.lines()]:
        texts["set"] = "\n".join(lines)
    return Draft(texts, base.on | draft.on)


def _brought(asked_for: Draft, whole: Draft) -> dict[str, str]:
    """Return the texts that an own preset brings, for the places that were left empty."""
    return {
        name: text.replace("\n", " ")
        for name, text in whole.texts.items()
        if text != asked_for.texts.get(name, "") and name not in ("preset", "set")
    }


def keep(name: str, draft: Draft) -> bool:
    """Keep a draft as an own preset; returns whether another one was replaced."""
    whole = with_own(draft)
    texts = {key: whole.text(key) for key in FIELDS if whole.text(key)}
    return kept.save(name, kept.Own(texts, tuple(sorted(whole.on))))


def to_request(draft: Draft, home: Home) -> Request:
    """Return what is asked for, as `rpat run` would read the equivalent command."""
    return request(home, **options(draft))


def options(draft: Draft) -> dict[str, Any]:
    """Return what a draft asks for, by the names of `compose.request`."""
    t = draft.text

    def whole(name: str) -> int | None:
        return int(t(name)) if t(name) else None

    return {
        "method": t("method"),
        "lam": t("lam"),
        "alpha": t("alpha"),
        "rpat_form": t("form"),
        "stack": draft.stacked(),
        "cutmix": "cutmix" in draft.on,
        "preset": t("preset"),
        "model": t("model"),
        "dataset": t("dataset"),
        "data_dir": t("data_dir") or None,
        "val_split": whole("val_split"),
        "norm": t("norm"),
        "epsilon": t("epsilon"),
        "steps": whole("steps"),
        "step_size": t("step_size") or None,
        "epochs": whole("epochs"),
        "batch_size": whole("batch_size"),
        "lr": number(t("lr")) if t("lr") else None,
        "seeds": t("seeds"),
        "evaluation": t("eval") or None,
        "changes": draft.lines(),
        "device": t("device") or None,
    }


TEXTS = {
    "method": "method", "lam": "lam", "alpha": "alpha", "rpat_form": "form", "preset": "preset",
    "model": "model", "dataset": "dataset", "data_dir": "data_dir", "val_split": "val_split",
    "norm": "norm", "epsilon": "epsilon", "steps": "steps", "step_size": "step_size",
    "epochs": "epochs", "batch_size": "batch_size", "lr": "lr", "seeds": "seeds",
    "evaluation": "eval", "device": "device",
}  # fmt: skip
"""Option of `rpat run`, by the names of `compose.request` -> field of the form."""


def of_options(given: Mapping[str, Any], **beside: str) -> Draft:
    """Return the draft of what `rpat run` was given; `beside` are fields that no config has."""
    texts = {
        name: written(given[key]) for key, name in TEXTS.items() if given.get(key) not in (None, "")
    } | {name: text for name, text in beside.items() if text}
    lines = list(given.get("changes") or ())
    lines += [f"{key}={given[key]}" for key in ("mode", "gpus") if given.get(key)]
    lines += ["compiled=true"] * bool(given.get("compiled"))
    if given.get("seed") is not None:
        texts["seeds"] = str(given["seed"])
    if lines:
        texts["set"] = "\n".join(lines)
    on = {*(given.get("stack") or ()), *(["rpat"] * bool(given.get("rpat")))}
    return Draft(texts, frozenset(on | ({"cutmix"} if given.get("cutmix") else set())))


def under(draft: Draft, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with what an own preset brings where they are not given."""
    base = options(draft)
    if given.get("seed") is not None:
        del base["seeds"]
    out = {
        key: base.get(key, value) if value in (None, "", False) else value
        for key, value in given.items()
    }
    for key in ("stack", "changes"):
        out[key] = [*base[key], *(given.get(key) or ())]
    return out | {"preset": base["preset"]}


def to_wish(draft: Draft) -> Wish:
    """Return what was written beside the config; raises `ConfigError`."""
    retries = draft.text("retries")
    return Wish(
        name=draft.text("name"), tags=words(draft.text("tags")), note=draft.text("note"),
        priority=int(draft.text("priority") or 50),
        retries=int(retries) if retries else settings()["retries"].value,
    )  # fmt: skip


def command_words(draft: Draft, home: Home) -> list[str]:
    """Return the words of the command that does what the form would."""
    out = ["rpat", "run"]
    for name, f in FIELDS.items():
        for value in _values(draft, name):
            out += [f"{f.option}={value}"] if value.startswith("-") else [f.option, value]
        if name == "method":
            for stacked in draft.stacked():
                out += ["--rpat"] if stacked == "rpat" else ["--with", stacked]
            out += ["--cutmix"] if "cutmix" in draft.on else []
    out += ["--reuse"] if "reuse" in draft.on else []
    return out if _is_default(home) else [*out, "--home", str(home.path)]


def _is_default(home: Home) -> bool:
    try:
        return find_home().path == home.path
    except ConfigError:
        return False


def _values(draft: Draft, name: str) -> Sequence[str]:
    """Return the values of a field's option, one for each time that it is given."""
    text = draft.text(name)
    if name == "set":
        return draft.lines()
    if name in ("tags", "after"):
        return words(text)
    if not text:
        return ()
    if FIELDS[name].is_list:
        return [",".join(words(text))] if words(text) else []
    if name == "lr":
        try:
            return [repr(number(text))]
        except ValueError:
            return [text]
    return [text]


# ----------------------------------------------------------------- what is wrong


def _wrong_words(draft: Draft) -> dict[str, str]:
    """Check each field by itself: words that must exist, numbers that must be whole."""
    errors: dict[str, str] = {}
    for name, known in (
        ("preset", presets()), ("method", [*METHODS, *COMBINATIONS]), ("dataset", DATASETS),
        ("model", MODELS), ("norm", NORMS),
    ):  # fmt: skip
        for word in words(draft.text(name)):
            if word not in known:
                errors.setdefault(name, unknown(word, known))
    for name, low in (("epochs", 1), ("retries", 0), ("priority", None), ("steps", 0),
                      ("batch_size", 2), ("val_split", 0)):  # fmt: skip
        if problem := _not_whole(draft.text(name), low):
            errors[name] = problem
    if not draft.text("method") and not draft.text("preset"):
        errors["method"] = "name a method, or a preset"
    try:
        read_seeds(draft.text("seeds"))
    except ConfigError as error:
        errors["seeds"] = str(error).partition(": ")[2]
    return errors


def _not_whole(text: str, low: int | None) -> str:
    if not text:
        return ""
    try:
        value = int(text)
    except ValueError:
        return "write a whole number"
    return "" if low is None or value >= low else f"it must be at least {low}"


def _base(draft: Draft, errors: dict[str, str]) -> tuple[RunConfig | None, frozenset[str]]:
    """Return the recipe that the names choose, its first one where they are lists."""
    known = presets().get(draft.text("preset"))

    def first(name: str, default: str) -> str:
        return next(iter(words(draft.text(name))), default) if name not in errors else default

    method = first("method", known.method if known else "")
    if not method:
        return None, frozenset()
    epochs = draft.text("epochs") if "epochs" not in errors else ""
    cutmix = bool(known and known.cutmix)
    stack = list(dict.fromkeys([*(known.wrappers if known else ()), *draft.stacked()]))
    try:
        config = recipe(
            method, stack,
            dataset=first("dataset", known.dataset if known else "cifar10"),
            model=first("model", known.model if known else ""), norm=first("norm", "linf"),
            epochs=int(epochs) if epochs else known.epochs if known else 0,
            cutmix="cutmix" in draft.on or cutmix,
        )  # fmt: skip
    except ConfigError as error:
        errors[""] = str(error)
        return None, frozenset()
    here = {w.NAME for w in config.wrappers} | ({"cutmix"} if cutmix else set())
    return config, frozenset(here - draft.on)


def _wrong_values(draft: Draft, base: RunConfig, known: Mapping[str, str]) -> dict[str, str]:
    """Try each value on the recipe."""
    errors: dict[str, str] = {}
    for key, name in BY_KEY.items():
        if name in known or name in ("norm", "model", "seeds", "epochs"):
            continue
        for value in words(draft.text(name)) if FIELDS[name].is_list else [draft.text(name)]:
            if problem := _refused(base, key, value) if value else "":
                errors.setdefault(name, problem)
    for line in draft.lines():
        try:
            ((key, value),) = assignments([line]).items()
        except ConfigError as error:
            errors.setdefault("set", str(error))
            continue
        if problem := _refused(base, key, value):
            errors.setdefault("set", problem)
    return errors


def _refused(base: RunConfig, key: str, value: str) -> str:
    try:
        base.override({key: value})
    except ConfigError as error:
        return str(error).removeprefix(f"{key}: ").removeprefix(f"{key} is ")
    return ""


def _wrong_place(draft: Draft, home: Home, known: Mapping[str, str]) -> dict[str, str]:
    """Say which data set is not where it is looked for."""
    preset = presets().get(draft.text("preset"))
    named = draft.text("data_dir") or None
    if "dataset" in known:
        return {}
    try:
        root = data_folder(home, named)
        given = named is not None or settings()["data_dir"].origin != "default"
        for name in words(draft.text("dataset")) or (preset.dataset if preset else "cifar10",):
            find_data(name, root, given)
    except ConfigError as error:
        return {"data_dir" if named else "dataset": str(error)}
    return {}


def _defaults(draft: Draft, base: RunConfig | None) -> dict[str, str]:
    """Return what an empty field stands for."""
    preset = presets().get(draft.text("preset"))
    out = {"dataset": preset.dataset if preset else "cifar10", "priority": "50"}
    if preset:
        out["method"] = preset.method
    if base is None:
        return out
    values = flat(base.to_dict())
    return out | {
        name: show(values[key]) for key, name in BY_KEY.items() if values.get(key, "") != ""
    }


# ----------------------------------------------------------------- what differs


def _differences(
    base: RunConfig, asked: Sequence[RunConfig], draft: Draft
) -> Iterator[tuple[str, str, str]]:
    preset = presets().get(draft.text("preset"))
    if preset is not None:
        base = recipe(
            preset.method, preset.wrappers, dataset=preset.dataset, model=preset.model,
            epochs=preset.epochs, cutmix=preset.cutmix,
        )  # fmt: skip
    old = flat(base.to_dict())
    new = [flat(config.to_dict()) for config in asked]
    for key in dict.fromkeys([*old, *(key for values in new for key in values)]):
        values = list(dict.fromkeys(_shown(one, key) for one in new))
        if values != [_shown(old, key)] and key not in PLACES:
            yield key, _shown(old, key), ", ".join(values)


def _shown(values: Mapping[str, Any], key: str) -> str:
    return (show(values[key]) or "–") if key in values else "–"


def decimal(text: str) -> str:
    """Return the decimals of what is written as fractions: `= 0.03137`; '' for all else."""
    parts = [part for part in words(text) if "/" in part]
    try:
        return "= " + ", ".join(f"{number(part):.5f}" for part in parts[:2]) if parts else ""
    except ValueError:
        return ""


# ----------------------------------------------------------------- from a run


def like(config: RunConfig, home: Home, *, tags: Sequence[str] = (), priority: int = 50) -> Draft:
    """Return the draft of which a run's config comes out again."""
    stack = [w.NAME for w in config.wrappers]
    if any(name in TRAILED for name in stack):
        stack = [name for name in stack if name != "clean-pass"]  # its recipe adds it
    on = frozenset(stack) | ({"cutmix"} if config.data.cutmix else set())
    texts = {"method": config.method.NAME, "dataset": config.data.name}
    given: dict[str, Any] = {
        "dataset": config.data.name, "norm": config.threat.norm, "cutmix": config.data.cutmix
    }  # fmt: skip
    base = recipe(config.method.NAME, stack, **given)
    if config.threat.norm != "linf":
        texts["norm"] = config.threat.norm
    if config.model.name != base.model.name:
        texts["model"] = config.model.name
    base = recipe(config.method.NAME, stack, model=texts.get("model", ""), **given)
    if config.schedule.epochs != base.schedule.epochs:
        texts["epochs"] = str(config.schedule.epochs)
        base = recipe(
            config.method.NAME, stack, model=texts.get("model", ""),
            epochs=config.schedule.epochs, **given,
        )  # fmt: skip
    changed = _changed(base, config)
    for key, value in changed.items():
        if key in BY_KEY:
            texts[BY_KEY[key]] = written(value)
    rest = {key: value for key, value in changed.items() if key not in BY_KEY}
    if _makes_again(base, changed, config):
        rest = {
            key: value for key, value in rest.items() if key not in {k for k, _, _ in PREREQUISITES}
        }
    texts["set"] = "\n".join(f"{key}={written(value)}" for key, value in rest.items())
    if config.data.dir and config.data.dir != str(data_folder(home)):
        texts["data_dir"] = config.data.dir
    texts["tags"] = ", ".join(tags)
    texts["priority"] = str(priority) if priority != 50 else ""
    return Draft({name: text for name, text in texts.items() if text}, on)


def _changed(base: RunConfig, config: RunConfig) -> dict[str, Any]:
    old, new = flat(base.to_dict()), flat(config.to_dict())
    return {
        key: value
        for key, value in new.items()
        if key not in (*PLACES, "schema", "method", "wrappers") and old.get(key) != value
    }


def _makes_again(base: RunConfig, changed: Mapping[str, Any], config: RunConfig) -> bool:
    """Return whether the same prerequisites come out where none are named."""
    named = {key for key, _, _ in PREREQUISITES}
    plain = base.override(
        {k: v for k, v in changed.items() if k not in named}
        | {"data.dir": config.data.dir, "data.source": config.data.source}
    )
    return with_prerequisites(plain)[-1].fingerprint() == config.fingerprint()


def written(value: Any) -> str:
    """Return a value so that it is read again as exactly the same."""
    if isinstance(value, tuple):
        return ",".join(map(written, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return text if "/" in (text := show(value)) and number(text) == value else repr(value)
    return str(value)
