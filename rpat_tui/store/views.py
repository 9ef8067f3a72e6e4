"""The views that are promised to people who write SQL: what each row is, what each column means.

The statements are in `migrations.py`. A view's name says its version; its columns never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """What a view's rows are, and its columns with unit and meaning."""

    rows: str
    columns: Mapping[str, str]


_RUN = "id of the run, as r0001"
_AT = "time, UTC"
_CHECKPOINT = "which weights: best, final, epoch:N"
_NETWORK = "online, or the average that was measured: wa, swa"

VIEWS: dict[str, View] = {
    "v1_runs": View(
        "a run, or a job about one (kind)",
        {
            "run": _RUN,
            "name": "name that somebody gave it; empty without one",
            "kind": "train, eval or study",
            "state": "queued, starting, running, pausing, paused, done, failed, stopped, lost",
            "reason": "why it is in this state",
            "archived": "1 when it was put away, else 0",
            "method": "method, without RPAT",
            "rpat": "1 with RPAT's term, else 0",
            "lam": "weight of RPAT's term; null without it",
            "dataset": "data set",
            "source": "official, image-folder or embedded images",
            "norm": "norm of the threat: linf or l2",
            "epsilon": "radius of the threat; pixels live in 0 to 1",
            "model": "network",
            "mode": "numeric mode: reference, exact or fast",
            "seed": "seed",
            "epoch": "epochs completed",
            "epochs": "epochs planned",
            "clean": "clean accuracy of the newest epoch, percent",
            "pgd": "accuracy under PGD of the newest epoch, percent",
            "logit_mse": "logit MSE of the newest epoch",
            "loss": "mean training loss of the newest epoch",
            "best_pgd": "highest accuracy under PGD of all epochs, percent",
            "best_epoch": "the first epoch that reached it",
            "created": "when it was queued, UTC",
            "started": "when it began, UTC",
            "ended": "when it ended, UTC",
            "seconds": "seconds from began to ended",
            "device": "device that was asked for",
            "attempts": "how often it was started",
            "tags": "tags, by commas; null without one",
            "note": "note",
            "sweep": "name of the sweep it was queued in",
            "parent": "run that a job is about; null for a run",
            "seed_group": "the same for runs that differ only in the seed",
            "uid": "identity that holds on every machine",
            "config": "complete config, JSON",
        },
    ),
    "v1_metrics": View(
        "one value of one metric of one run",
        {
            "run": _RUN,
            "name": "metric, as test/pgd_acc",
            "epoch": "epochs completed",
            "step": "optimiser steps completed",
            "value": "value, accuracies in percent; null where it was not finite",
        },
    ),
    "v1_summaries": View(
        "one metric of one run, all its points in one line",
        {
            "run": _RUN,
            "name": "metric, as test/pgd_acc",
            "last_epoch": "epoch of the newest value",
            "last": "newest value",
            "highest": "highest value",
            "highest_epoch": "the first epoch that reached it",
            "lowest": "lowest value",
            "lowest_epoch": "the first epoch that reached it",
            "points": "how many points there are",
        },
    ),
    "v1_results": View(
        "what `rpat table` makes its cells of: a run's test accuracies at a checkpoint",
        {
            "run": _RUN,
            "method": "method, without RPAT",
            "rpat": "1 with RPAT's term, else 0",
            "lam": "weight of RPAT's term; null without it",
            "dataset": "data set",
            "norm": "norm of the threat",
            "model": "network",
            "seed": "seed",
            "seed_group": "the same for runs that differ only in the seed",
            "checkpoint": _CHECKPOINT,
            "network": _NETWORK,
            "epoch": "epoch of these weights",
            "clean": "clean accuracy, percent",
            "pgd20": "accuracy under PGD-20, percent; null where it was not measured",
            "aa": "accuracy under AutoAttack, percent; null where it was not measured",
            "mean": "(clean + aa) / 2, percent",
            "nrr": "2 clean aa / (clean + aa), percent",
            "images": "fewest test images that one of the numbers rests on",
            "selected_on": "split on which the epoch was chosen; empty where none was",
        },
    ),
    "v1_evaluations": View(
        "one attack on one checkpoint, whoever carried it out",
        {
            "run": _RUN,
            "job": "id of the job that measured it; the run's own at its end",
            "checkpoint": _CHECKPOINT,
            "network": _NETWORK,
            "epoch": "epoch of these weights",
            "attack": "fgsm, pgd, aa, or one of AutoAttack's parts",
            "norm": "norm of the attack",
            "epsilon": "radius of the attack; pixels live in 0 to 1",
            "steps": "steps; 0 where the attack has none of its own",
            "step_size": "step size; pixels live in 0 to 1",
            "restarts": "restarts",
            "clean": "clean accuracy on these images, percent",
            "robust": "accuracy under the attack, percent",
            "images": "images attacked",
            "of_images": "images that the split has",
            "split": "train, val or test",
            "selected_on": "split on which the epoch was chosen; empty where none was",
            "differs": "settings that are not the run's own; empty where all are",
            "note": "remark of the attack, such as not standard",
            "state": "done, or how far it came",
            "seed": "seed of the attack",
            "dtype": "number format of the network",
            "weights": "SHA-256 of the weights",
            "at": _AT,
        },
    ),
    "v1_states": View(
        "one change of a run's state",
        {
            "run": _RUN,
            "old": "state before",
            "new": "state after",
            "reason": "why, for people",
            "cause": "why, in one stable word; null where none is needed",
            "at": _AT,
            "evidence": "what was seen, JSON",
        },
    ),
    "v1_attempts": View(
        "one start of a run",
        {
            "run": _RUN,
            "attempt": "number, from 1",
            "host": "machine",
            "device": "device",
            "from_step": "optimiser steps that were completed when it began",
            "began": "when the trainer began, UTC",
            "ended": "when it ended, UTC",
            "seconds": "seconds between both",
            "ending": "end, stop or forced; empty where it wrote none",
            "exit_code": "exit status of the trainer",
            "signal": "signal that ended it",
            "error_reason": "kind of error",
            "error_message": "message of the error",
        },
    ),
    "v1_findings": View(
        "one thing that the linter found in a run's numbers",
        {
            "run": _RUN,
            "rule": "rule",
            "level": "error, warning or note",
            "checkpoint": _CHECKPOINT + "; empty where it is about the run",
            "network": _NETWORK,
            "text": "what was found",
            "remedy": "what to do",
            "evidence": "the numbers behind it, JSON",
        },
    ),
    "v1_studies": View(
        "one study of a run's weights",
        {
            "run": _RUN,
            "job": "id of the job that made it",
            "study": "perception or smoothness",
            "checkpoint": _CHECKPOINT,
            "network": _NETWORK,
            "at": _AT,
            "record": "all that it found, JSON",
        },
    ),
    "v1_samples": View(
        "one look at the card and the processes of a run",
        {
            "run": _RUN,
            "device": "card or machine",
            "name": "what was looked at, as gpu/memory_mb",
            "at": _AT,
            "value": "value, in the unit of its name",
        },
    ),
    "v1_tags": View("one tag of one run", {"run": _RUN, "tag": "tag"}),
}


@dataclass(frozen=True, slots=True)
class Question:
    """A question that the documentation answers, and Datasette offers."""

    name: str
    asks: str
    sql: str


QUESTIONS = (
    Question(
        "most_robust",
        "Which method is the most robust, on average over its seeds?",
        """select method, rpat, count(*) as seeds, round(avg(clean), 2) as clean,
    round(avg(aa), 2) as aa, round(min(aa), 2) as worst_seed
from v1_results
where checkpoint = 'best' and aa is not null
group by seed_group
order by avg(aa) desc""",
    ),
    Question(
        "overfitting",
        "How much PGD accuracy did each run lose after its best epoch?",
        """select run, method, rpat, seed, best_epoch, round(best_pgd, 2) as best_pgd,
    round(best_pgd - pgd, 2) as lost
from v1_runs
where kind = 'train' and state = 'done'
order by lost desc""",
    ),
    Question(
        "first_above_40",
        "After how many epochs was each run first above 40 % under PGD?",
        """select run, min(epoch) as epoch
from v1_metrics
where name = 'test/pgd_acc' and value > 40
group by run
order by epoch, run""",
    ),
    Question(
        "failures",
        "What went wrong, where, and at which epoch?",
        """select r.run, r.epoch, a.host, a.error_reason, a.error_message
from v1_attempts a join v1_runs r using (run)
where a.error_reason <> ''""",
    ),
)
