"""Records of journals in words: what logs show of them, in commands and on screens."""

from __future__ import annotations

from typing import Any

from rpat_tui.glyphs import duration, figure

NAMES = {
    "aa": "AutoAttack", "fgsm": "FGSM", "apgd-ce": "APGD-CE", "apgd-t": "APGD-T",
    "fab-t": "FAB-T", "square": "Square",
}  # fmt: skip


def attack_name(e: dict[str, Any]) -> str:
    """Return an attack as papers write it."""
    if e["attack"] != "pgd":
        return str(NAMES.get(e["attack"], e["attack"]))
    restarts = f" x{e['restarts']}" if e.get("restarts", 1) > 1 else ""
    return f"PGD-{e['steps']}{restarts}"


def sentence(record: dict[str, Any]) -> str:
    """Return a journal record as a line for people; '' for what nobody wants to read."""
    kind = record["kind"]
    if kind == "begin":
        torch = record["versions"]["torch"]
        return f"begins at step {record['from_step']} on {record['device_name']}, torch {torch}"
    if kind == "notice" and record["what"] == "data":
        return f"{record['train']} training and {record['test']} test images ({record['source']})"
    if kind == "notice":
        return str(record.get("text", ""))
    if kind == "epoch":
        v = record["values"]
        parts = [f"epoch {record['epoch']}", f"loss {figure(v.get('train/loss'), 4)}"]
        for name, key, digits in (
            ("clean", "test/clean_acc", 2), ("PGD", "test/pgd_acc", 2),
            ("logit MSE", "test/logit_mse", 5), ("lr", "lr", 4),
        ):  # fmt: skip
            parts.append(f"{name} {figure(v.get(key), digits)}")
        return "  ".join([*parts, f"{duration(v.get('time/epoch_s'))}"])
    if kind == "log":
        return str(record.get("stage", ""))
    if kind == "eval":
        attack = attack_name(record)
        where = f"{record['checkpoint']} (epoch {record['epoch']})"
        return (
            f"{where}: clean {figure(record['clean'], 2)}  {attack} {figure(record['robust'], 2)}"
        )
    sentences = {
        "nonfinite": f"not finite: {', '.join(record.get('names', []))}",
        "stop": f"saved and stopped ({record.get('word', '')})",
        "end": "done",
        "error": f"{record.get('reason', '')}: {record.get('message', '')}",
    }
    return sentences.get(kind, "")
