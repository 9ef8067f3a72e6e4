"""Evaluations and studies as frozen values: plain values there and back, identity, overrides."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpat.config import AttackConfig, DataConfig, ThreatConfig
from rpat.errors import ConfigError
from rpat.jobs import ATTACKS, KINDS, STUDIES, EvalJob, ImagesConfig, StudyJob, SubjectConfig

SUBJECT = SubjectConfig(run="a" * 32)


def common():
    words = st.sampled_from(["best", "final", "epoch:1", "epoch:0012"])
    by_run = st.builds(
        SubjectConfig,
        run=st.text("0123456789abcdef", min_size=32, max_size=32),
        checkpoints=st.lists(words, min_size=1, unique=True).map(tuple),
        lam=st.floats(0, 10),
    )
    by_file = st.builds(
        SubjectConfig, sha256=st.just("b" * 64), file=st.text(), key=st.sampled_from(["", "ema"])
    )
    indices = st.lists(st.integers(0, 9999), unique=True, max_size=5).map(tuple)
    return {
        "subject": by_run | by_file,
        "threat": st.builds(ThreatConfig, epsilon=st.floats(0, 1)),
        "images": st.builds(ImagesConfig, n=st.integers(0, 100))
        | st.builds(ImagesConfig, indices=indices),
        "seed": st.integers(0, 2**31 - 1),
        "try_normalize": st.booleans(),
    }


EVALS = st.builds(
    EvalJob,
    attacks=st.lists(st.sampled_from(ATTACKS), min_size=1, unique=True).map(tuple),
    restarts=st.integers(1, 9),
    keep=st.booleans(),
    **common(),
)
STUDY_JOBS = st.builds(StudyJob, study=st.sampled_from(STUDIES), **common())


@settings(max_examples=60)
@given(EVALS | STUDY_JOBS)
def test_a_job_survives_json(job):
    values = json.loads(json.dumps(job.to_dict(), allow_nan=False))
    again = KINDS[job.KIND].from_dict(values)
    assert again == job
    assert again.fingerprint() == job.fingerprint()
    assert job.override({}) == job


@settings(max_examples=20)
@given(EVALS)
def test_place_and_titles_are_no_part_of_what_a_job_is(job):
    titles = {"method": "mart", "rpat": True, "lam": 1.0, "epochs": 7}
    subject = replace(job.subject, folder="elsewhere", file="moved.pt", **titles)
    data = replace(job.data, dir="elsewhere")
    other = replace(
        job, subject=subject, data=data, device="cpu", keep=not job.keep, differs="steps"
    )  # fmt: skip
    assert other.fingerprint() == job.fingerprint()


@pytest.mark.parametrize(
    "changes",
    [
        {"attack.steps": 50},
        {"threat.epsilon": "4/255"},
        {"images.n": 100},
        {"images.indices": "3,1"},
        {"numerics.dtype": "bfloat16"},
        {"model.normalize": "cifar10"},
        {"attacks": "pgd,aa"},
        {"restarts": 5},
        {"seed": 1},
        {"batch_size": 100},
        {"try_normalize": True},
    ],
    ids=str,
)
def test_what_is_measured_is_part_of_what_a_job_is(changes):
    job = EvalJob(subject=SUBJECT)
    changed = job.override(changes)
    assert changed != job
    assert changed.fingerprint() != job.fingerprint()
    assert changed.override(changes) == changed


def test_an_evaluation_and_a_study_are_never_the_same():
    jobs = [EvalJob(subject=SUBJECT), *(StudyJob(subject=SUBJECT, study=s) for s in STUDIES)]
    assert len({job.fingerprint() for job in jobs}) == 3
    other = replace(jobs[0], subject=SubjectConfig(run="b" * 32))
    assert other.fingerprint() != jobs[0].fingerprint()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"attack.stepz": 5}, "attack.stepz: 'stepz' is not known; did you mean 'steps'?"),
        ({"atack.steps": 5}, "atack.steps: 'atack' is not known; did you mean 'attack'?"),
        ({"restart": 5}, "restart: 'restart' is not known; did you mean 'restarts'?"),
        ({"attack": 5}, "attack: 'attack' is not known"),
        ({"attack.steps.more": 5}, "attack.steps.more: 'attack.steps' is not known"),
        ({"subject.run": "b"}, "subject.run: 'subject' is not known; choose one of"),
        ({"attack.steps": "five"}, "attack.steps is 'five'; expected a whole number"),
        ({"threat.epsilon": 8}, "so write 8/255, not 8"),
        ({"images.n": -1}, "images.n is -1; it must be at least 0"),
        ({"restarts": 0}, "restarts is 0; it must be at least 1"),
        ({"attacks": ""}, "--attack is empty; choose of fgsm, pgd"),
        ({"attacks": "pgd,pgd"}, "--attack pgd is given twice; name it once"),
        ({"attacks": "agpd-t"}, "--attack 'agpd-t' is not known; did you mean 'apgd-t'?"),
        ({"images.indices": "1,1"}, "images.indices names an image twice; name each once"),
        ({"images.n": 3, "images.indices": "1"}, "are both given; keep one of them"),
        ({"attack.double_forward": True}, "attack.double_forward is on; evaluation crafts as"),
        ({"numerics.dtype": "float16"}, "numerics.dtype: 'float16' is not known; did you mean"),
    ],
    ids=str,
)
def test_an_override_that_is_wrong_names_the_key_and_the_remedy(changes, text):
    with pytest.raises(ConfigError) as caught:
        EvalJob(subject=SUBJECT).override(changes)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_subject_is_a_run_or_a_file_and_names_its_weights():
    for values in ({}, {"run": "a", "sha256": "b"}):
        with pytest.raises(ConfigError, match="a job looks at a run or at a file"):
            SubjectConfig(**values)
    for word in ("last", "epoch:", "epoch:x", "best:3", ""):
        with pytest.raises(ConfigError, match="write best, final or epoch:N"):
            SubjectConfig(run="a", checkpoints=(word,))


def test_the_defaults_are_the_evaluation_of_a_run():
    job = EvalJob(subject=SUBJECT)
    assert job.attack == AttackConfig(steps=20, order="clip-project", floor="max:1e-06")
    assert (job.threat, job.data, job.attacks) == (ThreatConfig(), DataConfig(), ("pgd",))
