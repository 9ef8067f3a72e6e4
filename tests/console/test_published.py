"""The paper's printed rows under our names."""

from __future__ import annotations

import pytest

from rpat import published
from rpat.config import DATASETS, MODELS, NORMS

METHOD_LABELS = {
    "pgd-at", "trades", "mart", "consistency-at", "mma", "gairat", "ewat", "mail-at", "te",
    "sovr", "wa", "awp", "kd+swa", "rebat", "rpat++", "adr", "cure",
}  # fmt: skip


def test_every_printed_row_is_read_and_no_two_name_the_same_experiment():
    rows = published.rows()
    keys = {(r.dataset, r.norm, r.model, r.method, r.rpat, r.cutmix) for r in rows}
    assert len(rows) == len(keys) == 89
    assert [sum(r.table == t for r in rows) for t in (1, 2, 3, 4)] == [24, 24, 26, 15]


def test_every_printed_name_becomes_a_name_that_users_write():
    for row in published.rows():
        assert row.dataset in DATASETS
        assert row.norm in NORMS
        assert row.model in MODELS
    assert {row.method for row in published.rows()} == METHOD_LABELS


def test_mean_and_nrr_follow_from_clean_and_aa_but_for_one_row():
    off = []
    for row in published.rows():
        mean = (row.clean + row.aa) / 2
        nrr = 2 * row.clean * row.aa / (row.clean + row.aa)
        if abs(mean - row.mean) > 0.001 or abs(nrr - row.nrr) > 0.001:
            off.append((row.table, row.dataset, row.norm, row.name))
    assert off == [(2, "cifar100", "l2", "MART")]


def test_the_suffix_is_the_regulariser_and_the_plus_plus_method_is_not():
    row = published.find("cifar10", "linf", "resnet18", "mart", rpat=True)
    assert row is not None
    assert (row.name, row.clean, row.aa_final) == ("MART+RPAT", 75.44, 47.3)
    plus = published.find("cifar10", "l2", "preactresnet18", "rpat++", rpat=False)
    assert plus is not None
    assert (plus.aa, plus.pgd20) == (71.26, None)


@pytest.mark.parametrize(("cutmix", "clean"), [(False, 85.25), (True, 86.66)])
def test_a_row_with_cutmix_is_a_row_of_its_own(cutmix, clean):
    row = published.find("cifar10", "linf", "wrn-34-10", "rebat", rpat=False, cutmix=cutmix)
    assert row is not None
    assert row.clean == clean


def test_what_the_paper_did_not_print_is_not_found():
    assert published.find("digits", "linf", "resnet8", "mart", rpat=False) is None


def test_the_last_epoch_is_printed_for_rpat_rows_only_and_without_mean():
    base = published.find("cifar10", "linf", "resnet18", "mart", rpat=False)
    rpat = published.find("cifar10", "linf", "resnet18", "mart", rpat=True)
    assert base is not None
    assert rpat is not None
    assert set(base.measures("final").values()) == {None}
    final = rpat.measures("final")
    assert (final["clean"], final["aa"], final["mean"]) == (75.95, 47.3, None)
