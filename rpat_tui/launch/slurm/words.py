"""Slurm's words for states and reasons, and what they mean for a run."""

from __future__ import annotations

GONE = "GONE"
"""Our own: the cluster answers, and knows nothing of the job."""

WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
AGAIN = {
    "TIMEOUT": ("time limit", "ran out of time"),
    "DEADLINE": ("time limit", "ran into its deadline"),
    "PREEMPTED": ("preempted", "was preempted"),
    "NODE_FAIL": ("node failed", "its node failed"),
    "BOOT_FAIL": ("node failed", "its node did not boot"),
}
"""Ends that say nothing against the run: it goes on from its checkpoint. Cause and sentence."""

OVER = (*AGAIN, "COMPLETED", "FAILED", "CANCELLED", "OUT_OF_MEMORY", GONE)
"""States that are the end of a job; COMPLETING is not: its exit code is not final."""

ATTENTION = (
    "DependencyNeverSatisfied", "JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue",
    "launch failed requeued held", "launch_failed_requeued_held", "BadConstraints",
    "PartitionInactive", "AccountNotAllowed", "InvalidAccount", "InvalidQOS", "QOSNotAllowed",
)  # fmt: skip
"""Reasons that waiting does not cure."""

_REASONS = {
    "Priority": "other jobs come first",
    "Resources": "until nodes are free",
    "BeginTime": "for a moment, until it may start",
    "Dependency": "for another job",
    "JobHeldUser": "it is held: scontrol release lets it go",
    "JobHeldAdmin": "an administrator holds it",
    "ReqNodeNotAvail": "a node that it needs is not available",
    "NodeDown": "a node that it needs is down",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is closed",
    "PartitionTimeLimit": "its time limit is above the partition's: it never starts",
    "PartitionNodeLimit": "it asks for more than its partition has: it never starts",
    "BadConstraints": "no node can ever fit it",
    "Reservation": "for its reservation",
    "QOSMaxJobsPerUserLimit": "you run as many jobs as this QOS allows",
    "QOSMaxGRESPerUser": "you use as many GPUs as this QOS allows",
    "QOSGrpGRES": "this QOS uses all of its GPUs",
    "QOSMaxWallDurationPerJobLimit": "its time limit is above that of its QOS: it never starts",
    "AssocGrpGRES": "your account uses all of its GPUs",
    "AssocMaxJobsLimit": "your account runs as many jobs as it may",
    "AssocGrpCPUMinutesLimit": "your account has used up its time",
    "AssocGrpGRESMinutes": "your account has used up its GPU time",
    "Licenses": "for a licence",
    "Cleaning": "until its last turn is cleared away",
}


def is_waiting(state: str) -> bool:
    """Return whether a job waits in the cluster's queue."""
    return state in WAITING


def is_over(state: str) -> bool:
    """Return whether a job has ended for good."""
    return state in OVER


def is_trouble(node: str) -> bool:
    """Return whether the state of a node says that jobs lose it."""
    return any(word in node.lower() for word in ("down", "fail", "drain", "not resp"))


def waits(job: str, why: str) -> str:
    """Return the sentence about a job that waits; the same words for the same reason."""
    word = why.split(",")[0].strip("() ")
    known = _REASONS.get(word, "")
    if not word:
        return f"Slurm job {job} waits"
    sentence = f"Slurm job {job} waits: {word}" + (f" ({known})" if known else "")
    needs = word in ATTENTION or "never" in known
    return f"{sentence}; needs your attention" if needs else sentence
