"""The robustness linter: each rule finds what it is for, keeps silent else, and never crashes."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpat.knobs import show
from rpat.recipes import recipe
from rpat_tui.linter import LEVELS, RULES, Evidence, attacks, lint, settings, surface, training

PAGE = Path(__file__).parents[2] / "docs" / "linter.md"

CONFIG = recipe("pgd-at", dataset="cifar10").to_dict()
"""PGD-AT on CIFAR-10: linf 8/255, no normalisation, PGD-10 of 2/255 each epoch."""


def row(id=3, robust=47.0, **changes):
    """Return PGD-20 of the best weights on all test images, as trained for."""
    values = {
        "id": id,
        "job": "r0007",
        "checkpoint": "best",
        "network": "online",
        "epoch": 4,
        "weights": "w" * 64,
        "attack": "pgd",
        "norm": "linf",
        "epsilon": 8 / 255,
        "steps": 20,
        "step_size": 2 / 255,
        "restarts": 1,
        "start": "uniform",
        "split": "test",
        "n": 10_000,
        "of_n": 10_000,
        "indices": "a" * 64,
        "seed": 0,
        "dtype": "float32",
        "bn": "eval",
        "tf32": False,
        "normalize": "",
        "differs": "",
        "selected_on": "val",
        "note": "",
        "clean": 82.0,
        "robust": robust,
        "evidence": {
            "gradient_norm": 0.12,
            "zero_gradients": 0.5,
            "losses": [1.1, 1.4, 1.5],
            "predicted_classes": 10,
        },
    }
    return values | changes


def aa(id=4, robust=44.0, **changes):
    bound = {"apgd-ce": 46.5, "apgd-t": 44.0, "fab-t": 44.0, "square": 44.0}
    values = {"attack": "aa", "steps": 0, "step_size": 0.0, "evidence": {"bound": bound}}
    return row(id, robust, **values | changes)


def fgsm(id=5, robust=55.0, **changes):
    return row(id, robust, **{"attack": "fgsm", "steps": 1, "step_size": 8 / 255} | changes)


def epochs(*points, split="test", prefix=""):
    """Return the curves of epochs given as (clean, PGD)."""
    return [
        {
            "epoch": number,
            "train/loss": 2.0,
            f"{prefix}{split}/clean_acc": clean,
            f"{prefix}{split}/pgd_acc": pgd,
        }
        for number, (clean, pgd) in enumerate(points, start=1)
    ]


GOOD = epochs((40.0, 25.0), (70.0, 40.0), (80.0, 46.0), (82.0, 48.0))


def evidence(*rows, **changes):
    """Return the evidence of a run with nothing to object to, but for what is given."""
    values = {
        "config": CONFIG,
        "classes": 10,
        "evaluations": list(rows),
        "epochs": GOOD,
        "nonfinite": [],
        "warnings": [],
        "state": "done",
        "selection": "test",
    }
    return Evidence(**values | changes)


def measured(**changes):
    """Return an evaluation with other measurements beside its accuracies."""
    return row(evidence=row()["evidence"] | changes)


def found(name, given_evidence):
    return list(RULES[name].check(given_evidence))


def only(name, given_evidence):
    (finding,) = found(name, given_evidence)
    return finding


NONFINITE = {"names": ["train/loss"], "step": 70, "epoch": 2, "attempt": 1}
WARNED = {"attack": "aa", "text": "randomized defense?", "eval": 4}
SUBSET = {"n": 1000, "of_n": 10_000, "indices": "b" * 64}
MASKED = {"apgd-ce": 46.5, "apgd-t": 44.0, "fab-t": 44.0, "square": 43.0}

CLEAN = evidence(row(), aa(), fgsm())

CASES = {
    "more-steps-not-stronger": (evidence(row(), row(6, 49.0, steps=50)), CLEAN),
    "aa-above-pgd": (evidence(row(), aa(robust=47.3)), CLEAN),
    "fgsm-above-clean": (evidence(fgsm(robust=83.0)), CLEAN),
    "aa-pgd-gap": (evidence(row(), aa(robust=38.0)), CLEAN),
    "square-finds-more": (evidence(row(), row(6, 40.0, attack="square")), CLEAN),
    "flat-loss": (evidence(measured(zero_gradients=30.0)), CLEAN),
    "loss-not-rising": (evidence(measured(losses=[1.4, 1.6, 1.4])), CLEAN),
    "collapse": (evidence(epochs=epochs((50.0, 20.0), (10.0, 10.0))), CLEAN),
    "robust-collapse": (evidence(epochs=epochs((70.0, 40.0), (85.0, 0.5))), CLEAN),
    "robust-overfitting": (evidence(epochs=epochs((80.0, 50.0), (84.0, 45.0))), CLEAN),
    "nonfinite": (evidence(nonfinite=[NONFINITE]), CLEAN),
    "epsilon-mismatch": (evidence(row(epsilon=16 / 255)), CLEAN),
    "normalization-mismatch": (evidence(row(normalize="cifar10")), CLEAN),
    "selected-on-test": (evidence(row(selected_on="test")), CLEAN),
    "bn-train": (evidence(row(bn="train")), CLEAN),
    "low-precision": (evidence(row(dtype="bfloat16")), CLEAN),
    "subset": (evidence(aa(**SUBSET)), CLEAN),
    "not-standard-aa": (evidence(aa(note="8 target classes: not standard")), CLEAN),
    "package-warning": (evidence(aa(), warnings=[WARNED]), CLEAN),
}
"""Rule -> evidence that triggers it, evidence that does not."""

EVERYTHING = evidence(
    *(given_row for triggers, _ in CASES.values() for given_row in triggers.evaluations),
    aa(9, evidence={"bound": MASKED}),
    row(10, 46.0, checkpoint="final", network="wa", selected_on="test"),
    epochs=[*epochs((50.0, 40.0), (85.0, 20.0)), {"epoch": 3, "train/loss": None}],
    nonfinite=[NONFINITE],
    warnings=[WARNED],
)
"""One run with most of what can be wrong."""


# --------------------------------------------------------------------------- every rule


def test_every_rule_has_a_case_and_every_case_a_rule():
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_finds_what_it_is_for(name):
    triggers, _ = CASES[name]
    finding = only(name, triggers)
    assert finding in lint(triggers)
    assert (finding.rule, finding.level) == (name, RULES[name].level)
    assert finding.do == RULES[name].do
    assert "\n" not in finding.do


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_silent_where_nothing_is_wrong(name):
    _, does_not = CASES[name]
    assert not found(name, does_not)


@pytest.mark.parametrize("name", RULES)
def test_a_finding_names_the_evaluations_that_it_rests_on(name):
    triggers, _ = CASES[name]
    finding = only(name, triggers)
    for id in finding.evidence["evaluations"]:
        assert f"evaluation {id} of r0007" in finding.text
    assert finding.evidence["jobs"] == (["r0007"] if finding.evidence["evaluations"] else [])


@pytest.mark.parametrize("name", RULES)
def test_the_numbers_of_the_evidence_stand_in_the_text(name):
    finding = only(name, CASES[name][0])
    for key, value in finding.evidence.items():
        if isinstance(value, float):
            forms = {f"{value:.2f}", f"{value:g}", show(value)}
            assert any(form in finding.text for form in forms), (key, value)


def test_a_run_that_is_well_has_no_finding():
    assert lint(CLEAN) == []


def test_a_run_of_which_nothing_is_known_has_no_finding():
    nothing = Evidence(
        config={}, classes=0, evaluations=[], epochs=[], nonfinite=[], state="", selection=""
    )
    assert lint(nothing) == []


def test_findings_are_ordered_by_level_then_rule_then_place():
    findings = lint(EVERYTHING)
    keys = [(LEVELS.index(f.level), f.rule, f.checkpoint, f.network) for f in findings]
    assert keys == sorted(keys)
    assert {f.level for f in findings} == set(LEVELS)


def test_a_rule_finds_one_thing_of_a_network_at_a_checkpoint():
    places = [(f.rule, f.checkpoint, f.network) for f in lint(EVERYTHING)]
    assert len(places) == len(set(places))
    assert ("selected-on-test", "best", "online") in places
    assert ("selected-on-test", "final", "wa") in places


def test_of_several_findings_the_worst_is_kept():
    several = evidence(row(), row(6, 46.0), aa(7, 47.5), aa(8, 47.3))
    finding = only("aa-above-pgd", several)
    assert finding.evidence["evaluations"] == [6, 7]
    assert finding.evidence["above"] == pytest.approx(1.5)


def test_a_worse_level_is_worse_than_any_number():
    nan = measured(gradient_norm=math.nan)
    zero = measured(zero_gradients=11.0)
    assert only("flat-loss", evidence(nan, zero)).level == "error"


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_evaluations_does_not_matter(draws):
    rows = list(EVERYTHING.evaluations)
    draws.shuffle(rows)
    assert lint(replace(EVERYTHING, evaluations=rows)) == lint(EVERYTHING)


def test_evidence_of_findings_is_plain_json():
    for finding in lint(EVERYTHING):
        text = json.dumps(finding.evidence, allow_nan=False)
        assert json.loads(text) == finding.evidence


def test_the_page_has_the_table_of_the_rules():
    ordered = sorted(RULES.values(), key=lambda rule: (LEVELS.index(rule.level), rule.name))
    table = [f"| `{r.name}` | {r.level} | {r.help} | {r.do} |\n" for r in ordered]
    assert "".join(table) in PAGE.read_text("utf-8")


# --------------------------------------------------------------------------- missing values


def torn(value, draws):
    """Return evidence of which keys are gone or None, at any depth."""
    if isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            fate = draws.random()
            if fate < 0.75:
                kept[key] = torn(item, draws)
            elif fate < 0.85:
                kept[key] = None
        return kept
    return [torn(item, draws) for item in value] if isinstance(value, list) else value


@given(st.integers(0, 2**32), st.sampled_from([EVERYTHING, *(t for t, _ in CASES.values())]))
def test_no_rule_crashes_on_missing_values(seed, whole):
    draws = random.Random(seed)
    parts = ("config", "evaluations", "epochs", "nonfinite", "warnings")
    broken = replace(whole, **{part: torn(getattr(whole, part), draws) for part in parts})
    for finding in lint(broken):
        assert finding.text
        assert finding.level in LEVELS
        json.dumps(finding.evidence, allow_nan=False)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_survives_each_single_key_missing(name):
    triggers, _ = CASES[name]
    for at, whole in enumerate(triggers.evaluations):
        for key in whole:
            for hole in ({}, {key: None}):
                broken = {k: v for k, v in whole.items() if k != key} | hole
                rows = [*triggers.evaluations]
                rows[at] = broken
                found(name, replace(triggers, evaluations=rows))


def test_a_file_from_elsewhere_is_held_against_no_config():
    foreign = row(checkpoint="file", epsilon=0.5 / 255, normalize="cifar10", epoch=None)
    assert lint(evidence(foreign, config={}, epochs=[], selection="")) == []


# --------------------------------------------------------------------------- attacks


def test_more_steps_may_leave_half_a_point_and_a_standard_error_more():
    limit = 0.5 + 100 * math.sqrt(2 * 0.48 * 0.52 / 10_000)
    assert attacks.MORE_STEPS == 0.5
    within = evidence(row(3, 48 - limit / 2 + 0.005), row(6, 48 + limit / 2 - 0.005, steps=50))
    beyond = evidence(row(3, 48 - limit / 2 - 0.005), row(6, 48 + limit / 2 + 0.005, steps=50))
    assert not found("more-steps-not-stronger", within)
    finding = only("more-steps-not-stronger", beyond)
    assert finding.evidence["limit"] == pytest.approx(limit, abs=1e-6)
    for told in ("PGD-50 leaves", "PGD-20 leaves", "10000 images", f"{limit:.2f}"):
        assert told in finding.text


def test_few_images_allow_a_larger_difference():
    few = {"n": 100, "of_n": 10_000}
    assert not found("more-steps-not-stronger", evidence(row(**few), row(6, 52.0, steps=50, **few)))


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "x" * 64},
        {"weights": ""},
        {"indices": "b" * 64},
        {"norm": "l2"},
        {"epsilon": 4 / 255},
        {"split": "val"},
        {"dtype": "bfloat16"},
        {"bn": "train"},
        {"tf32": True},
        {"normalize": "cifar10"},
        {"step_size": 4 / 255},
        {"step_size": 0.1 / 255},
        {"start": "zero"},
        {"steps": 20},
    ],
    ids=str,
)
def test_only_attacks_of_one_family_on_the_same_images_are_compared(changes):
    same, other = row(6, 60.0, steps=50), row(6, 60.0, **{"steps": 50} | changes)
    assert found("more-steps-not-stronger", evidence(row(), same, epochs=[]))
    assert not found("more-steps-not-stronger", evidence(row(), other, epochs=[]))


def test_fewer_restarts_may_leave_more():
    rows = (row(restarts=10), row(6, 60.0, steps=50, restarts=1))
    assert not found("more-steps-not-stronger", evidence(*rows, epochs=[]))


def test_finer_steps_along_a_way_as_long_count_as_more_steps():
    finer = row(6, 60.0, steps=50, step_size=1 / 255)
    assert found("more-steps-not-stronger", evidence(row(), finer))


def test_fgsm_stronger_than_pgd_counts_as_fewer_steps():
    finding = only("more-steps-not-stronger", evidence(row(), fgsm(robust=30.0)))
    assert "FGSM leaves 30.00 % (evaluation 5 of r0007)" in finding.text


def test_the_epochs_own_pgd_is_held_against_the_final_one():
    curves = epochs((40.0, 25.0), (70.0, 40.0), (80.0, 46.0), (82.0, 45.0))
    finding = only("more-steps-not-stronger", evidence(row(), epochs=curves))
    assert "PGD-10 leaves 45.00 % (epoch 4, while training of r0007)" in finding.text
    assert finding.evidence["evaluations"] == [3]


@pytest.mark.parametrize(
    "changes",
    [{"n": 1000}, {"split": "val"}, {"epsilon": 4 / 255}, {"epoch": 9}, {"network": "wa"}],
    ids=str,
)
def test_the_epochs_own_pgd_is_of_its_epoch_network_ball_and_all_test_images(changes):
    curves = epochs((82.0, 20.0), (82.0, 20.0), (82.0, 20.0), (82.0, 20.0))
    assert found("more-steps-not-stronger", evidence(row(), epochs=curves))
    assert not found("more-steps-not-stronger", evidence(row(**changes), epochs=curves))


def test_the_average_is_held_against_its_own_curve():
    curves = epochs(*[(82.0, 20.0)] * 4, prefix="wa/")
    (finding,) = found("more-steps-not-stronger", evidence(row(network="wa"), epochs=curves))
    assert finding.network == "wa"


def test_autoattack_may_stand_a_fifth_of_a_point_above_pgd():
    assert not found("aa-above-pgd", evidence(row(), aa(robust=47.2)))
    finding = only("aa-above-pgd", evidence(row(), aa(robust=47.21)))
    for told in ("47.21", "47.00", "0.21 points", "APGD-CE"):
        assert told in finding.text


def test_autoattack_is_never_compared_where_the_images_differ():
    assert not found("aa-above-pgd", evidence(row(), aa(robust=60.0, **SUBSET)))
    assert not found("aa-above-pgd", evidence(row(indices=None), aa(robust=60.0, indices=None)))
    assert not found("aa-pgd-gap", evidence(row(), aa(robust=30.0, evidence={}, **SUBSET)))


def test_weights_that_best_and_final_share_are_compared():
    shared = evidence(row(checkpoint="best"), aa(robust=60.0, checkpoint="final"))
    assert only("aa-above-pgd", shared).checkpoint == "final"


def test_fgsm_may_leave_the_clean_accuracy():
    assert not found("fgsm-above-clean", evidence(fgsm(robust=82.0)))
    assert "82.00" in only("fgsm-above-clean", evidence(fgsm(robust=82.01))).text


def test_a_gap_of_eight_points_is_still_usual():
    assert not found("aa-pgd-gap", evidence(row(), aa(robust=39.0, evidence={})))
    finding = only("aa-pgd-gap", evidence(row(), aa(robust=38.99, evidence={})))
    assert finding.evidence["gap"] == pytest.approx(8.01)
    assert "8.01 points" in finding.text


def test_pgd_of_few_steps_says_nothing_about_the_gap():
    assert not found("aa-pgd-gap", evidence(row(steps=19), aa(robust=30.0, evidence={})))


def test_autoattacks_first_part_stands_in_for_pgd():
    finding = only("aa-pgd-gap", evidence(aa(robust=38.0, **SUBSET)))
    assert "APGD-CE alone leaves 46.50 %" in finding.text


def test_square_may_take_a_fifth_of_a_point():
    assert not found("square-finds-more", evidence(row(), row(6, 46.8, attack="square")))
    finding = only("square-finds-more", evidence(row(), row(6, 46.79, attack="square")))
    assert "0.21 points" in finding.text


def test_square_is_held_against_the_strongest_gradient_attack():
    rows = (row(), row(6, 44.0, attack="apgd-t"), row(7, 44.5, attack="square"))
    assert not found("square-finds-more", evidence(*rows))


def test_square_says_nothing_beside_weak_attacks():
    rows = (fgsm(), row(6, 52.0, steps=5), row(7, 47.0, attack="square"))
    assert not found("square-finds-more", evidence(*rows))


def test_squares_part_of_autoattack_may_take_a_fifth_of_a_point():
    at = MASKED | {"square": 43.8}
    below = MASKED | {"square": 43.79}
    assert not found("square-finds-more", evidence(aa(evidence={"bound": at})))
    finding = only("square-finds-more", evidence(aa(evidence={"bound": below})))
    assert "44.00 %" in finding.text
    assert "43.79 %" in finding.text


# --------------------------------------------------------------------------- the loss surface


def test_a_tenth_of_the_images_may_have_no_gradient():
    assert surface.ZERO_GRADIENTS == 10
    assert not found("flat-loss", evidence(measured(zero_gradients=10.0)))
    assert "10.01 %" in only("flat-loss", evidence(measured(zero_gradients=10.01))).text


def test_a_gradient_of_norm_zero_is_an_error():
    finding = only("flat-loss", evidence(measured(gradient_norm=0.0, zero_gradients=None)))
    assert finding.level == "error"
    assert "mean norm 0" in finding.text


def test_a_gradient_norm_that_is_no_number_is_a_warning():
    assert only("flat-loss", evidence(measured(gradient_norm=math.nan))).level == "warning"
    journaled = evidence(measured(gradient_norm=None), nonfinite=[{"names": ["gradient_norm"]}])
    assert only("flat-loss", journaled).level == "warning"


def test_a_gradient_norm_that_nobody_measured_is_no_finding():
    assert not found("flat-loss", evidence(measured(gradient_norm=None)))


def test_a_loss_that_stays_does_not_rise():
    assert found("loss-not-rising", evidence(measured(losses=[1.5, 1.5])))
    assert not found("loss-not-rising", evidence(measured(losses=[1.5, 1.5001])))


@pytest.mark.parametrize("losses", [[], [1.0], [None, 1.0], [1.0, None], [math.nan, 0.5], None])
def test_a_loss_of_which_an_end_is_unknown_is_not_judged(losses):
    assert not found("loss-not-rising", evidence(measured(losses=losses)))


def test_a_ball_of_no_radius_leaves_the_loss_where_it_is():
    still = measured(losses=[1.5, 1.5]) | {"epsilon": 0.0}
    assert not found("loss-not-rising", evidence(still))


# --------------------------------------------------------------------------- training


def test_chance_and_a_fifth_of_it_is_collapse():
    assert training.CHANCE == 1.2
    assert found("collapse", evidence(epochs=epochs((50.0, 30.0), (12.0, 10.0))))
    assert not found("collapse", evidence(epochs=epochs((50.0, 30.0), (12.01, 10.0))))
    finding = only("collapse", evidence(epochs=epochs((1.2, 1.0)), classes=100))
    for told in ("1.20 %", "100 classes", "1.00 %"):
        assert told in finding.text
    assert not found("collapse", evidence(epochs=epochs((1.2, 1.0)), classes=0))


def test_a_young_run_may_be_at_chance():
    at_chance = [(10.0, 10.0)] * 4
    young = {"state": "running", "epochs": epochs(*at_chance)}
    assert not found("collapse", evidence(**young))
    assert found("collapse", evidence(**young | {"epochs": epochs(*at_chance, (10.0, 10.0))}))
    assert found("collapse", evidence(**young | {"epochs": epochs((30.0, 20.0), (10.0, 10.0))}))
    assert found("collapse", evidence(**young | {"state": "done"}))
    assert not found("collapse", evidence(epochs=[]))


def test_one_predicted_class_is_collapse_unless_all_images_are_of_it():
    one = measured(predicted_classes=1)
    assert only("collapse", evidence(one | {"clean": 30.0})).checkpoint == "best"
    assert not found("collapse", evidence(one | {"clean": 100.0}))
    assert not found("collapse", evidence(one | {"n": 1}))


def test_each_network_collapses_by_itself():
    finding = only("collapse", evidence(epochs=epochs((50.0, 9.0), (10.0, 9.0), prefix="wa/")))
    assert (finding.checkpoint, finding.network) == ("", "wa")


def test_robust_collapse_needs_more_than_fifteen_points_and_the_clean_accuracy():
    name = "robust-collapse"
    assert not found(name, evidence(epochs=epochs((80.0, 45.0), (84.0, 30.0))))
    finding = only(name, evidence(epochs=epochs((80.0, 45.0), (84.0, 29.99))))
    for told in ("45.00 %", "29.99 %", "15.01 points", "epoch 1", "epoch 2", "84.00 %"):
        assert told in finding.text
    assert found(name, evidence(epochs=epochs((80.0, 45.0), (79.5, 20.0))))
    assert not found(name, evidence(epochs=epochs((80.0, 45.0), (79.4, 20.0))))


def test_robust_overfitting_is_more_than_three_points_of_a_finished_run():
    name = "robust-overfitting"
    assert not found(name, evidence(epochs=epochs((80.0, 48.0), (84.0, 45.0))))
    beyond = epochs((80.0, 48.01), (84.0, 45.0))
    assert "3.01 points" in only(name, evidence(epochs=beyond)).text
    assert not found(name, evidence(epochs=beyond, state="running"))


def test_the_first_of_equal_maxima_is_the_best_epoch():
    equal = epochs((70.0, 48.0), (80.0, 48.0), (84.0, 40.0))
    assert only("robust-overfitting", evidence(epochs=equal)).evidence["best_epoch"] == 1


def test_a_robust_collapse_is_not_called_overfitting_too():
    assert not found("robust-overfitting", CASES["robust-collapse"][0])


def test_curves_are_read_on_the_split_that_selected():
    both = [
        a | b
        for a, b in zip(
            epochs((80.0, 50.0), (84.0, 45.0)),
            epochs((80.0, 45.0), (84.0, 46.0), split="val"),
            strict=True,
        )
    ]
    assert not found("robust-overfitting", evidence(epochs=both, selection="val"))
    assert "test PGD" in only("robust-overfitting", evidence(epochs=both)).text
    alone = epochs((80.0, 50.0), (84.0, 45.0), split="val")
    assert "val PGD" in only("robust-overfitting", evidence(epochs=alone)).text


def test_an_epoch_without_a_finite_loss_is_named():
    lost = [{"epoch": 1, "train/loss": 2.0}, {"epoch": 2, "train/loss": None}]
    finding = only("nonfinite", evidence(epochs=lost))
    assert "epoch 2" in finding.text
    assert finding.evidence["epochs"] == [2]


def test_an_event_is_told_with_its_place():
    text = only("nonfinite", evidence(nonfinite=[NONFINITE])).text
    for told in ("train/loss", "step 70", "epoch 2", "attempt 1"):
        assert told in text


# --------------------------------------------------------------------------- settings


def test_a_radius_is_told_as_people_write_it():
    text = only("epsilon-mismatch", evidence(row(epsilon=16 / 255))).text
    assert "linf 16/255" in text
    assert "linf 8/255" in text


def test_another_norm_is_worse_than_another_radius():
    rows = (row(epsilon=16 / 255), row(6, norm="l2", epsilon=128 / 255))
    finding = only("epsilon-mismatch", evidence(*rows))
    assert finding.evidence["norm"] == "l2"
    assert finding.evidence["evaluations"] == [6]


def test_rounding_of_a_radius_is_no_mismatch():
    assert not found("epsilon-mismatch", evidence(row(epsilon=0.0313725509)))


@pytest.mark.parametrize(("used", "trained"), [("", "none"), ("none", ""), ("cifar10", "cifar10")])
def test_no_normalisation_has_two_names(used, trained):
    config = {"model": {"normalize": trained}}
    assert not found("normalization-mismatch", evidence(row(normalize=used), config=config))


def test_a_normalisation_that_is_left_out_is_named():
    config = {"model": {"normalize": "cifar10"}}
    finding = only("normalization-mismatch", evidence(row(normalize=""), config=config))
    assert "normalises with none, the run trained with cifar10" in finding.text


def test_one_finding_names_all_evaluations_at_fault():
    rows = (row(10, bn="train"), aa(9, bn="train"), fgsm())
    finding = only("bn-train", evidence(*rows))
    assert finding.evidence["evaluations"] == [9, 10]
    assert "AutoAttack (evaluation 9 of r0007), PGD-20 (evaluation 10 of r0007)" in finding.text


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"dtype": "bfloat16"}, "bfloat16"), ({"tf32": True}, "TF32"), ({"tf32": 1}, "TF32")],
)
def test_few_bits_are_named(changes, told):
    assert told in only("low-precision", evidence(row(**changes))).text


def test_more_bits_than_needed_are_no_finding():
    assert settings.FULL_PRECISION == ("float32", "float64")
    assert not found("low-precision", evidence(row(dtype="float64", tf32=0)))


def test_a_subset_is_told_with_its_standard_error():
    finding = only("subset", evidence(aa(robust=50.0, **SUBSET)))
    assert "1000 of 10000 images, standard error 1.58 points" in finding.text
    assert finding.evidence["standard_error"] == pytest.approx(1.5811, abs=1e-4)
    assert not found("subset", evidence(row(**SUBSET)))


def test_each_distinct_warning_of_the_package_is_told_once():
    again = WARNED | {"text": "zero gradients"}
    finding = only("package-warning", evidence(aa(), warnings=[WARNED, again, WARNED]))
    assert finding.evidence["warnings"] == ["randomized defense?", "zero gradients"]
    assert finding.text.count("randomized defense?") == 1
    assert finding.checkpoint == "best"


def test_a_warning_of_an_evaluation_that_is_gone_stands_for_the_run():
    finding = only("package-warning", evidence(warnings=[WARNED]))
    assert (finding.checkpoint, finding.network) == ("", "")
    assert "randomized defense?" in finding.text
