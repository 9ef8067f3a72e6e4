"""Commands that explain: methods, presets, datasets, models, config."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rpat_tui.cli.output import HomeOption, JsonOption, console, plain_table, print_json, say


def methods(
    name: Annotated[str, typer.Argument(help="One method or wrapper; all if left out.")] = "",
    json: JsonOption = False,
) -> None:
    """List methods, or explain one.

    Objective, source and knobs of each method and of what stacks on it.
    """
    from rpat.config import METHODS, WRAPPERS
    from rpat.errors import ConfigError
    from rpat.knobs import unknown

    known: dict[str, Any] = {**METHODS, **WRAPPERS}
    if name and name not in known:
        raise ConfigError(f"method {unknown(name, known)}")
    chosen = [name] if name else list(known)
    facts = [_facts(known[word], word in WRAPPERS) for word in chosen]
    if json:
        print_json(facts)
    elif name:
        _explain(facts[0])
    else:
        _list_methods(facts)


def _list_methods(facts: list[dict[str, Any]]) -> None:
    """Print a line a method, or two where a line is too short for the objective."""
    out = console()
    if out.width >= 150:
        columns = ("name", "kind", "title", "source", "objective")
        table = plain_table(*columns)
        for fact in facts:
            table.add_row(*(str(fact[key]) for key in columns))
        out.print(table)
        return
    for fact in facts:
        say(f"{fact['name']:<15} {fact['kind']:<8} {fact['title']}, {fact['source']}")
        out.print(f"  {fact['objective']}")


def _facts(knobs: Any, is_wrapper: bool) -> dict[str, Any]:
    from rpat.knobs import fields

    return {
        "name": knobs.NAME,
        "kind": "wrapper" if is_wrapper else "method",
        "title": knobs.TITLE,
        "source": knobs.CITATION,
        "objective": knobs.OBJECTIVE,
        "about": (knobs.__doc__ or "").strip(),
        "refuses": dict(knobs.REFUSES),
        "knobs": [
            {
                "name": f"{knobs.NAME}.{field.name}",
                "default": field.default,
                "range": _range(field.metadata),
                "help": field.metadata["help"],
            }
            for field in fields(knobs)
        ],
    }


def _range(meta: Any) -> str:
    if meta["choices"]:
        return " | ".join(meta["choices"])
    parts = []
    if meta["low"] is not None:
        parts.append(f">= {meta['low']:g}")
    if meta["above"] is not None:
        parts.append(f"> {meta['above']:g}")
    if meta["high"] is not None:
        parts.append(f"<= {meta['high']:g}")
    return " and ".join(parts)


def _explain(fact: dict[str, Any]) -> None:
    out = console()
    out.print(fact["title"], style="bold", end="")
    out.print(f"  ({fact['kind']} '{fact['name']}', {fact['source']})")
    out.print(fact["objective"])
    say(f"\n{fact['about']}\n")
    for wrapper, reason in fact["refuses"].items():
        say(f"refuses {wrapper}: {reason}")
    for knob in fact["knobs"]:
        limits = f"  [{knob['range']}]" if knob["range"] else ""
        say(f"  {knob['name']:<20} {knob['default']!s:<8}{limits}  {knob['help']}")
    if fact["kind"] == "method":
        say(f"\nrpat run --method {fact['name']}")


def presets(
    name: Annotated[str, typer.Argument(help="One preset; all if left out.")] = "",
    delete: Annotated[
        bool, typer.Option("--delete", help="Forget this preset of your own.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List the named recipes, or explain one.

    Data set, network and norm remain arguments of a preset. Your own come first; rpat run
    --save-preset NAME and the form of rpat tui keep them.
    """
    from rpat import recipes
    from rpat.errors import ConfigError
    from rpat_tui import presets as kept

    own = kept.own()
    if delete:
        if not name:
            raise ConfigError("--delete needs the name of a preset")
        kept.delete(name)
        say(f"{name} is forgotten")
        return
    mine = [(key, preset) for key, preset in own.items() if name in ("", key)]
    found = list(recipes.presets().values()) if not name else []
    if name and not mine:
        found = [recipes.preset(name)]
    if json:
        keys = (
            "name",
            "method",
            "wrappers",
            "about",
            "note",
            "model",
            "dataset",
            "epochs",
            "cutmix",
        )
        print_json(
            [_own_preset(key, preset) for key, preset in mine]
            + [{key: getattr(p, key) for key in keys} | {"own": False} for p in found]
        )
    elif name and mine:
        say(f"{name}: {_command_of(mine[0][1])}")
        say(f"rpat run --preset {name}")
    elif name:
        _explain_preset(found[0])
    else:
        table = plain_table("preset", "what it is")
        for key, preset in mine:
            table.add_row(key, f"your own: {_command_of(preset)}")
        for p in found:
            table.add_row(p.name, p.about)
        console().print(table)


def _command_of(preset: Any) -> str:
    """Return the command that an own preset stands for."""
    import shlex

    from rpat_tui.draft import Draft, command_words
    from rpat_tui.home import find_home

    words = command_words(Draft(preset.texts, frozenset(preset.on)), find_home())
    return shlex.join(words)


def _own_preset(name: str, preset: Any) -> dict[str, Any]:
    """Return an own preset with the keys of the others, and its texts."""
    texts = dict(preset.texts)
    return {
        "name": name,
        "method": texts.get("method", ""),
        "wrappers": [word for word in preset.on if word not in ("cutmix", "reuse")],
        "about": _command_of(preset),
        "note": texts.get("note", ""),
        "model": texts.get("model", ""),
        "dataset": texts.get("dataset", ""),
        "epochs": int(texts["epochs"]) if texts.get("epochs", "").isdigit() else 0,
        "cutmix": "cutmix" in preset.on,
        "own": True,
        "fields": texts,
    }


def _explain_preset(preset: Any) -> None:
    """Say what a preset is, which published rows it trains, and its exact config."""
    import textwrap

    from rpat import published, recipes
    from rpat_tui.wording import describe

    say(f"{preset.name}: {preset.about}\n")
    say(textwrap.fill(preset.note, 96) + "\n")
    rpat = "rpat" in preset.wrappers
    rows = [
        row for row in published.rows()
        if (row.method, row.rpat, row.cutmix) == (preset.method, rpat, preset.cutmix)
    ]  # fmt: skip
    for row in rows if preset.name.startswith("paper/") else ():
        say(
            f"Table {row.table}: {row.dataset} {row.norm} {row.model}  "
            f"clean {row.clean:.2f}  AA {row.aa:.2f}  (published)"
        )
    config = recipes.recipe(
        preset.method, preset.wrappers, dataset=preset.dataset, model=preset.model,
        epochs=preset.epochs, cutmix=preset.cutmix,
    )  # fmt: skip
    say("")
    for line in describe(config):
        say(line)


def datasets(
    data_dir: Annotated[str | None, typer.Option("--data-dir", help="Folder to look in.")] = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List data sets and whether they are here."""
    from rpat.config import DATASETS
    from rpat.data.locate import DOWNLOADABLE, locate
    from rpat_tui.home import data_folder, find_home

    root = data_folder(find_home(home), data_dir)
    facts = []
    for name, known in DATASETS.items():
        found = locate(name, root)
        facts.append(
            {
                "name": name,
                "title": known.title,
                "classes": known.classes or None,
                "image_size": known.image_size or None,
                "train": known.n_train or None,
                "test": known.n_test or None,
                "source": found.source if found else None,
                "path": str(found.path) if found and found.source != "embedded" else None,
                "downloadable": name in DOWNLOADABLE,
            }
        )
    if json:
        print_json(facts)
        return
    table = plain_table("data set", "classes", "pixels", "train", "test", "here", right=(
        "classes", "pixels", "train", "test"))  # fmt: skip
    for f in facts:
        missing = "downloaded at the first run" if f["downloadable"] else "give it with --data-dir"
        here = f"{f['source']} {f['path'] or ''}".strip() if f["source"] else f"no: {missing}"
        sizes = (str(f[key] or "–") for key in ("classes", "image_size", "train", "test"))
        table.add_row(str(f["name"]), *sizes, here)
    console().print(table)
    say(f"\nlooked in {root}")


MODEL_FACTS = {
    "resnet8": ("8 layers, 16/32/64 channels", 78_042, "for CPUs and demonstrations"),
    "resnet18": ("basic blocks, CIFAR stem", 11_173_962, "Tables 1 and 2 of the paper"),
    "resnet26-bottleneck": ("bottleneck blocks", 13_958_986, "what the paper's code builds"),
    "preactresnet18": ("pre-activation, final BN", 11_172_170, "Tables 3 and 4"),
    "wrn-28-10": ("wide, 28 layers", 36_479_194, "weights of other code bases"),
    "wrn-34-10": ("wide, 34 layers", 46_160_474, "Tables 3 and 4"),
}
"""Network -> what it is, parameters with ten classes, where it belongs."""


def models(json: JsonOption = False) -> None:
    """List the networks."""
    facts = [
        {"name": name, "about": about, "parameters": count, "used_for": use}
        for name, (about, count, use) in MODEL_FACTS.items()
    ]
    if json:
        print_json(facts)
        return
    table = plain_table("network", "parameters", "what it is", "used for", right=("parameters",))
    for f in facts:
        table.add_row(str(f["name"]), f"{f['parameters']:,}", str(f["about"]), str(f["used_for"]))
    console().print(table)


def config(
    name: Annotated[str, typer.Argument(help="One setting; all if left out.")] = "",
    value: Annotated[str | None, typer.Argument(help="What it shall be from now on.")] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Take it out of the file.")] = False,
    project: Annotated[
        bool, typer.Option("--project", help="Write ./rpat.toml, not the user's own file.")
    ] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show each setting and its origin, or change one.

    Keys that are remapped are shown as well; [keys] in the files remaps them.
    """
    from rpat.errors import ConfigError
    from rpat_tui import configure
    from rpat_tui.home import config_files, settings
    from rpat_tui.settings import Value, setting

    if name:
        setting(name)
    if value is not None and unset:
        raise ConfigError(f"--unset takes {name} out of the file; leave '{value}' out")
    if value is not None or unset:
        if not name:
            raise ConfigError("--unset: name the setting; rpat config lists them")
        say(configure.put(name, value, project=project))
        return
    if project:
        raise ConfigError("--project says where a value is written; give a setting and a value")
    values = [v for v in settings(home=home).values() if name in ("", v.name)]
    if not name:
        values += [
            Value(f"keys.{wish.id}", ", ".join(wish.keys), str(wish.file), "a key of the UI")
            for wish in _remapped()
        ]
    if json:
        print_json([{"name": v.name, "value": v.value, "origin": v.origin} for v in values])
        return
    table = plain_table("setting", "value", "from", "what it is")
    for v in values:
        table.add_row(v.name, str(v.value) or "–", v.origin, v.help)
    console().print(table)
    if name:
        say(f"\ntakes {configure.takes(name)}")
        return
    say("\nread in this order, the later ones win: " + ", ".join(map(str, config_files())))


def _remapped() -> list[Any]:
    """Return the keys that the settings files change, judged; cheap where there are none."""
    from rpat_tui.home import config_files
    from rpat_tui.settings import read_toml

    tables = [read_toml(file).get("keys", {}) for file in config_files()]
    if not any(isinstance(v, dict) for table in tables for v in table.values()):
        return []
    from rpat_tui.screens.keymap import in_force, wishes

    in_force()
    return list(wishes())


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (methods, presets, datasets, models, config):
        app.command()(command)
