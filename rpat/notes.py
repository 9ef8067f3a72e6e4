"""What is published about each experiment, and what is not: read beside its preset."""

BENCH_NOTE = """
The paper's appendix was not available: 110 epochs (100/105) follow its citation of Pang et al.,
the rest its public code. Whether the printed rows used ResNet-18 or the code's 26-layer
bottleneck network is not known (release/*).
"""

QUOTED = """
The printed row is quoted, not all from one recipe: do not expect to match it exactly.
"""

NOTES = {
    "clean": BENCH_NOTE,
    "random": BENCH_NOTE,
    "pgd-at": BENCH_NOTE,
    "trades": BENCH_NOTE,
    "mart": BENCH_NOTE,
    "consistency-at": BENCH_NOTE
    + """
Augmentation of the printed rows: crop and flip here, as the code's default; Consistency-AT's
own command adds AutoAugment (data.augment=autoaug-late).
""",
    "wa": QUOTED
    + """
Decay 0.999 from epoch 105; divisor 10 is inferred.
""",
    "awp": QUOTED
    + """
gamma 0.01 from the first epoch, selection by PGD-20. The original rotates CIFAR-100 images by
up to 15 degrees and uses CIFAR-100's own statistics: not done here.
""",
    "kd+swa": QUOTED
    + """
The original trains on 45,000 images and selects on the other 5,000 (--val-split 5000) and
computes statistics inside the network with its own constants.
""",
    "rebat": """
Published: PreActResNet-18, CIFAR-10: divisor 1.5, beta 1; WRN-34-10 with CutMix: divisor 4,
beta 2. WRN without CutMix, CIFAR-100 and l_2 are not documented.
""",
    "rpat++": """
As released: its term replaces ReBAT's (keep_rebat_kl adds it). beta and divisor for WRN-34-10,
CIFAR-100 and l_2 are not published; the paper's 'decay factor 0.5' is read as divisor 1.5 as in
the code (2.0 is the literal reading).
""",
    "mma": QUOTED
    + """
d_max of the row is not stated (12, 20 or 32/255 in the original); the original uses WRN-28-4,
lr 0.3 and selection by average margin.
""",
    "gairat": QUOTED
    + """
lambda for ResNet-18 is not published; the original's recipe has 120 epochs.
""",
    "ewat": QUOTED
    + """
No code was published; the exact weight is uncertain (ewat.base).
""",
    "mail-at": QUOTED
    + """
The original: lr 0.01, weight decay 3.5e-3, 120 epochs (100 in its text).
""",
    "mail-trades": """
No printed row. The original: lr 0.01, weight decay 3.5e-3, 120 epochs.
""",
    "te": QUOTED
    + """
PGD-AT + TE; the weight 300 is for the mean over classes, also at C = 100.
""",
    "sovr": QUOTED
    + """
(M, lambda) = (40, 0.4) recalled for PreActResNet-18, (30, 0.4) for WRN-34-10, (50, 0.6) for
CIFAR-100: set them with --set.
""",
    "adr": QUOTED
    + """
The row is the student over PGD-AT without averaging. The authors use Nesterov momentum and
train-mode crafting (--set attack.bn=train); CIFAR-100 and Tiny-ImageNet anneal other
temperatures.
""",
    "cure": QUOTED
    + """
Over TRADES with beta 1 as in the paper (its code: 5); p/alpha/gamma 50/0.3/0.5 for WRN-34-10,
20/0.2/1.0 for PreActResNet-18; weight decay 5e-3 in the paper, 5e-4 in the code.
""",
}
"""Method or combination -> published settings that differ, and open questions."""
