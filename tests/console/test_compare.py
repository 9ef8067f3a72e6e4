"""Statistics of the tables, against sums done by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpat import published
from rpat.errors import ConfigError
from rpat_tui.compare import emphasis, mean_nrr, summarise, verdict
from rpat_tui.store.rows import Measurement
from rpat_tui.table import MEASURES


def measured(run="r0001", seed=0, clean=80.0, pgd20=50.0, aa=45.0, **changes):
    values = {
        "group": "a" * 64,
        "data": "d" * 64,
        "dataset": "cifar10",
        "norm": "linf",
        "model": "resnet18",
        "method": "mart",
        "rpat": False,
        "checkpoint": "best",
        "config": {"schedule.epochs": 110, "attack.steps": 10},
    }
    values |= {"run": run, "seed": seed, "clean": clean, "pgd20": pgd20, "aa": aa} | changes
    return Measurement(**values)


def only(measurements, **options):
    (row,) = summarise(measurements, **options).rows
    return row


# --------------------------------------------------------------------------- pooling


def test_mean_and_nrr_of_the_papers_first_row():
    mean, nrr = mean_nrr(82.92, 46.74)
    assert mean == pytest.approx(64.83)
    assert nrr == pytest.approx(59.782, abs=5e-4)


def test_the_ratio_of_two_zeros_is_zero():
    assert mean_nrr(0.0, 0.0) == (0.0, 0.0)


def test_two_seeds_give_their_mean_and_sample_deviation():
    row = only([measured("r1", 0, 80, 50, 40), measured("r2", 1, 82, 52, 44)])
    assert (row.n, row.runs) == (2, ("r1", "r2"))
    assert (row.clean.mean, row.aa.mean) == (81, 42)
    assert row.clean.std == pytest.approx(math.sqrt(2))
    assert row.aa.std == pytest.approx(math.sqrt(8))


def test_mean_and_nrr_are_averaged_over_seeds_not_taken_of_averages():
    row = only([measured("r1", 0, 80, 50, 40), measured("r2", 1, 60, 50, 60)])
    first, second = 2 * 80 * 40 / 120, 60.0
    assert row.nrr.mean == pytest.approx((first + second) / 2)
    assert row.nrr.mean != pytest.approx(mean_nrr(70, 50)[1])
    assert row.nrr.std == pytest.approx(abs(first - second) / math.sqrt(2))


def test_one_seed_has_no_spread():
    row = only([measured()])
    assert row.n == 1
    assert all(row.cell(measure).std is None for measure in MEASURES)


def test_a_measure_that_some_seeds_lack_counts_its_own_seeds():
    row = only([measured("r1", 0, aa=40.0), measured("r2", 1, aa=None), measured("r3", 2, aa=42.0)])
    assert (row.n, row.clean.n, row.aa.n, row.nrr.n) == (3, 3, 2, 2)
    assert row.aa.mean == 41
    assert row.marks == ("AA, Mean, NRR from 2 of 3 seeds",)


def test_without_the_robust_basis_mean_and_nrr_are_empty():
    row = only([measured(aa=None)])
    assert (row.aa, row.mean, row.nrr) == (None, None, None)
    assert row.pgd20.mean == 50


def test_pgd20_can_be_the_basis():
    row = only([measured(aa=None)], robust="pgd20")
    assert (row.robust, row.mean.mean) == ("pgd20", 65)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_a_missing_one(value):
    row = only([measured("r1", 0, clean=value), measured("r2", 1, clean=80.0)])
    assert (row.clean.mean, row.clean.std, row.clean.n) == (80.0, None, 1)
    assert only([measured(clean=value)]).clean is None


def test_a_seed_that_ran_twice_counts_once_by_its_newest_run():
    row = only([measured("r10000", clean=70.0), measured("r9999", clean=60.0)])
    assert (row.n, row.clean.mean, row.runs) == (1, 70.0, ("r10000",))
    assert row.marks == ("seed 0 ran 2 times: r10000 counts",)


def test_marks_of_all_seeds_are_kept_once_each():
    row = only([measured("r1", 0, marks=("subset",)), measured("r2", 1, marks=("x", "subset"))])
    assert row.marks == ("subset", "x")


@pytest.mark.parametrize(
    "other",
    [{"group": "b" * 64}, {"data": "e" * 64}, {"checkpoint": "final"}],
    ids=["group", "data", "checkpoint"],
)
def test_runs_of_another_group_data_set_or_checkpoint_are_not_pooled(other):
    table = summarise([measured("r1", 0), measured("r2", 1, **other)])
    assert [row.n for row in table.rows] == [1, 1]


def test_one_kind_of_checkpoint_can_be_asked_for():
    pair = [measured(), measured(checkpoint="final", clean=79.0)]
    assert only(pair, checkpoint="final").clean.mean == 79
    assert [row.checkpoint for row in summarise(pair).rows] == ["best", "final"]


@pytest.mark.parametrize("wrong", [{"robust": "pgd"}, {"checkpoint": "last"}])
def test_a_basis_or_checkpoint_nobody_knows_is_refused(wrong):
    with pytest.raises(ConfigError, match="is not known"):
        summarise([], **wrong)


percent = st.floats(0, 100)
seeds = st.lists(st.tuples(percent, percent, st.none() | percent), min_size=1, max_size=6)


@given(values=seeds, data=st.data())
def test_a_mean_lies_between_its_seeds_and_order_does_not_matter(values, data):
    runs = [measured(f"r{i:04d}", i, *value) for i, value in enumerate(values)]
    table = summarise(runs)
    (row,) = table.rows
    for measure, column in zip(("clean", "pgd20", "aa"), zip(*values, strict=True), strict=True):
        known = [value for value in column if value is not None]
        cell = row.cell(measure)
        assert (cell is None) == (not known)
        if cell:
            assert min(known) <= cell.mean <= max(known)
            assert (cell.std is None) == (len(known) == 1)
    assert summarise(data.draw(st.permutations(runs))) == table


# --------------------------------------------------------------------------- variants, order


def variants(*configs, **changes):
    runs = [measured(f"r{i}", group=str(i) * 64, config=c) for i, c in enumerate(configs)]
    return [row.variant for row in summarise(runs, **changes).rows]


def test_a_row_that_looks_like_no_other_has_no_variant():
    assert variants({"schedule.epochs": 2}) == [""]


def test_a_variant_names_only_what_differs_and_sorts_by_number():
    said = variants({"schedule.epochs": 110, "a.b": 1}, {"schedule.epochs": 2, "a.b": 1})
    assert said == ["epochs 2", "epochs 110"]


def test_a_variant_keeps_the_section_where_the_bare_key_is_ambiguous():
    said = variants(
        {"attack.steps": 7, "eval.steps": 20, "threat.epsilon": 8 / 255},
        {"attack.steps": 10, "eval.steps": 40, "threat.epsilon": 4 / 255},
    )
    assert said == [
        "attack.steps 7, eval.steps 20, epsilon 8/255",
        "attack.steps 10, eval.steps 40, epsilon 4/255",
    ]


def test_an_absent_key_is_the_default_of_older_runs():
    assert variants({"optim.nesterov": True}, {}) == ["nesterov default", "nesterov on"]


def test_different_images_are_named_by_their_fingerprint():
    pair = [measured(data="1a2b3c4d"), measured(data="")]
    assert {row.variant for row in summarise(pair).rows} == {"data 1a2b3c", "data unknown"}


def test_groups_whose_configs_read_alike_are_named_by_their_fingerprint():
    assert variants({}, {}) == ["group 000000", "group 111111"]


def test_best_and_final_of_a_group_carry_the_same_variant():
    runs = [measured(), measured(group="b" * 64, config={"schedule.epochs": 2})]
    runs.append(measured(checkpoint="final"))
    said = {(row.checkpoint, row.group[0]): row.variant for row in summarise(runs).rows}
    assert said["best", "a"] == said["final", "a"] == "steps 10, epochs 110"


def test_rpat_itself_is_no_variant_but_another_length_is():
    base = {"schedule.epochs": 110, "wrappers": []}
    rpat = {"schedule.epochs": 110, "wrappers": ["rpat"], "rpat.lam": 1.0}
    plain = measured(config=base)
    same = measured("r2", group="b" * 64, rpat=True, config=rpat)
    assert [row.variant for row in summarise([plain, same]).rows] == ["", ""]
    short = measured("r2", group="b" * 64, rpat=True, config=rpat | {"schedule.epochs": 2})
    assert [r.variant for r in summarise([plain, short]).rows] == ["epochs 110", "epochs 2"]


def test_rows_stand_in_the_papers_order():
    runs = []
    for method, rpat, norm, dataset in [
        ("awp", False, "linf", "cifar10"),
        ("mart", True, "linf", "cifar10"),
        ("mart", False, "linf", "cifar10"),
        ("pgd-at", False, "l2", "cifar10"),
        ("pgd-at", False, "linf", "cifar100"),
        ("pgd-at", False, "linf", "cifar10"),
        ("clean", False, "linf", "digits"),
    ]:
        group = f"{method}{rpat}{norm}{dataset}"
        runs.append(measured(group=group, method=method, rpat=rpat, norm=norm, dataset=dataset))
    found = [(r.dataset, r.norm, r.method, r.rpat) for r in summarise(runs).rows]
    assert found == [
        ("digits", "linf", "clean", False),
        ("cifar10", "linf", "pgd-at", False),
        ("cifar10", "linf", "mart", False),
        ("cifar10", "linf", "mart", True),
        ("cifar10", "linf", "awp", False),
        ("cifar10", "l2", "pgd-at", False),
        ("cifar100", "linf", "pgd-at", False),
    ]


# --------------------------------------------------------------------------- emphasis


def marked(runs):
    table = summarise(runs)
    return {
        (table.rows[i].method, table.rows[i].rpat, measure): marks
        for (i, measure), marks in emphasis(table).items()
    }


def test_bold_is_the_best_of_both_halves_and_underline_what_rpat_did_not_improve():
    found = marked(
        [
            measured(method="pgd-at", clean=82.0, pgd20=55.0, aa=46.0, group="1"),
            measured(method="pgd-at", clean=83.0, pgd20=51.0, aa=48.0, group="2", rpat=True),
            measured(method="mart", clean=78.0, pgd20=53.0, aa=49.0, group="3"),
            measured(method="mart", clean=75.0, pgd20=52.0, aa=49.0, group="4", rpat=True),
        ]
    )
    assert found == {
        ("pgd-at", True, "clean"): {"bold"},
        ("pgd-at", True, "mean"): {"bold"},
        ("pgd-at", True, "nrr"): {"bold"},
        ("mart", False, "clean"): {"underline"},
        ("mart", False, "aa"): {"bold", "underline"},
        ("mart", True, "aa"): {"bold"},
        ("mart", False, "mean"): {"underline"},
        ("mart", False, "nrr"): {"underline"},
    }


def test_the_final_checkpoint_is_never_emphasised():
    final = {"checkpoint": "final"}
    runs = [measured(group="1", **final), measured(group="2", rpat=True, clean=70.0, **final)]
    assert marked(runs) == {}


def test_an_rpat_row_of_another_length_is_no_counterpart():
    longer = measured(group="2", rpat=True, clean=70.0, config={"schedule.epochs": 2})
    assert {"underline"} not in marked([measured(group="1"), longer]).values()


def test_a_row_without_rival_is_not_bold():
    assert marked([measured()]) == {}
    assert marked([measured(group="1"), measured(group="2", norm="l2")]) == {}


# --------------------------------------------------------------------------- the paper


def test_a_row_stands_beside_the_papers_with_the_differences():
    row = only([measured(clean=78.93, aa=None)], paper=True)
    assert row.paper.name == "MART"
    assert set(row.diff) == {"clean", "pgd20"}
    assert row.diff["clean"] == pytest.approx(1.0)


def test_mean_on_another_basis_is_not_compared_with_the_papers():
    row = only([measured()], paper=True, robust="pgd20")
    assert set(row.diff) == {"clean", "pgd20", "aa"}
    assert row.printed()["nrr"] is None


def test_a_final_row_is_compared_with_the_papers_last_epoch_where_printed():
    final = {"checkpoint": "final"}
    assert only([measured(**final)], paper=True).paper is None
    row = only([measured(rpat=True, clean=75.95, **final)], paper=True)
    assert row.diff["clean"] == pytest.approx(0)
    assert set(row.diff) == {"clean", "pgd20", "aa"}


@pytest.mark.parametrize(("source", "named"), [("image-folder", True), ("embedded", False)])
def test_only_the_real_images_answer_to_the_paper(source, named):
    assert (only([measured(source=source)], paper=True).paper is not None) is named


def test_a_run_with_cutmix_answers_to_the_row_with_cutmix():
    place = {"model": "wrn-34-10", "method": "rebat"}
    row = only([measured(config={"data.augment": "crop-flip+cutmix"}, **place)], paper=True)
    assert row.paper.clean == 86.66


def test_holes_are_the_published_rows_that_no_run_answers_to():
    known = [r for r in published.rows() if r.dataset == "cifar10" and r.table == 1]
    table = summarise([measured()], paper=True, holes=True, published=known)
    assert [(r.method, r.rpat, r.n) for r in table.rows] == [
        ("pgd-at", False, 0),
        ("pgd-at", True, 0),
        ("trades", False, 0),
        ("trades", True, 0),
        ("mart", False, 1),
        ("mart", True, 0),
        ("consistency-at", False, 0),
        ("consistency-at", True, 0),
    ]
    assert all(r.clean is None and r.paper for r in table.rows if r.n == 0)
    finals = summarise([], paper=True, holes=True, published=known, checkpoint="final")
    assert all(row.rpat for row in finals.rows)


def test_half_a_point_is_ok_and_more_is_off():
    assert [verdict(d) for d in (0.5, -0.5, 0.51, -3.0)] == ["ok", "ok", "off", "off"]
    assert verdict(0.9, tolerance=1.0) == "ok"
    assert verdict(47.24 - 46.74) == "ok"
