"""The schema's history: numbered functions, appended and never edited.

`LATEST` lets a reader see without importing sqlite-utils that nothing is pending.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("rpat")


@migrations()
def m001_runs_and_metrics(db: Database) -> None:
    """The first release: runs, attempts, journals read so far, metrics, evaluations.

    Metrics are keyed by (series, step) in a table without row ids: about 20 bytes a point.
    `latest_best` is kept by the ingest so that lists and tables never scan points.
    """
    for statement in _M001.split(";"):
        if statement.strip():
            db.execute(statement)


_M001 = """
create table runs (
    n integer primary key,
    id text not null unique,
    uid text not null unique,
    kind text not null,
    parent text,
    name text not null default '',
    note text not null default '',
    sweep text not null default '',
    archived integer not null default 0,
    method text not null,
    rpat integer not null,
    lam real,
    dataset text not null,
    source text not null,
    norm text not null,
    model text not null,
    seed integer not null,
    epochs integer not null,
    fingerprint text not null,
    group_key text not null,
    data_key text not null default '',
    config text not null,
    device text not null,
    snapshot text not null default '',
    priority integer not null default 50,
    state text not null,
    reason text not null default '',
    slot text not null default '',
    attempt integer not null default 0,
    epoch integer not null default 0,
    step integer not null default 0,
    steps integer not null default 0,
    created real not null,
    started real,
    ended real
) strict;
create index runs_by_state on runs (state, priority desc, n);
create index runs_by_group on runs (group_key);

create table tags (
    run integer not null references runs (n) on delete cascade,
    tag text not null,
    primary key (run, tag)
) strict, without rowid;

create table dependencies (
    run integer not null references runs (n) on delete cascade,
    needs text not null,
    checkpoint text not null default '',
    primary key (run, needs)
) strict, without rowid;

create table transitions (
    id integer primary key,
    run integer not null references runs (n) on delete cascade,
    old text not null,
    new text not null,
    t real not null,
    reason text not null,
    evidence text not null
) strict;
create index transitions_by_run on transitions (run);

create table launches (
    run integer primary key references runs (n) on delete cascade,
    host text not null,
    boot text not null,
    pid integer not null,
    started text not null,
    t real not null
) strict;

create table attempts (
    run integer not null references runs (n) on delete cascade,
    number integer not null,
    from_step integer,
    trainer text,
    attendant text,
    device text not null default '',
    began real,
    ready real,
    ended real,
    ending text not null default '',
    word text not null default '',
    exit_code integer,
    signal text not null default '',
    error_reason text not null default '',
    error_message text not null default '',
    primary key (run, number)
) strict, without rowid;

create table journals (
    run integer not null references runs (n) on delete cascade,
    attempt integer not null,
    file text not null,
    offset integer not null,
    seq integer not null,
    primary key (run, attempt, file)
) strict, without rowid;

create table events (
    run integer not null references runs (n) on delete cascade,
    attempt integer not null,
    file text not null,
    seq integer not null,
    t real not null,
    kind text not null,
    body text not null,
    primary key (run, attempt, file, seq)
) strict, without rowid;

create table series (
    id integer primary key,
    run integer not null references runs (n) on delete cascade,
    name text not null,
    unique (run, name)
) strict;

create table points (
    series integer not null references series (id) on delete cascade,
    step integer not null,
    epoch integer not null,
    value real,
    primary key (series, step)
) strict, without rowid;

create table latest_best (
    series integer primary key references series (id) on delete cascade,
    step integer not null,
    epoch integer not null,
    value real,
    max_value real,
    max_epoch integer,
    min_value real,
    min_epoch integer,
    points integer not null
) strict;

create table evaluations (
    id integer primary key,
    run integer not null references runs (n) on delete cascade,
    attempt integer not null,
    seq integer not null,
    t real not null,
    step integer not null,
    checkpoint text not null,
    network text not null,
    epoch integer not null,
    weights text not null,
    selected_on text not null,
    attack text not null,
    norm text not null,
    epsilon real not null,
    steps integer not null,
    step_size real not null,
    restarts integer not null,
    split text not null,
    n integer not null,
    of_n integer not null,
    indices text not null,
    seed integer not null,
    dtype text not null,
    note text not null,
    state text not null,
    clean real,
    robust real,
    unique (run, attempt, seq)
) strict;
create index evaluations_by_run on evaluations (run, checkpoint, attack);
"""


@migrations()
def m002_jobs_beside_training(db: Database) -> None:
    """Evaluations and studies as jobs: what they measured, what the linter found in it.

    `wants` is what the worker shall queue once a training run is done; `stage` is where a job
    that has no epochs is.
    """
    for statement in _M002.split(";"):
        if statement.strip():
            db.execute(statement)


_M002 = """
alter table runs add column stage text not null default '';
alter table runs add column wants text not null default '';
create index runs_by_parent on runs (parent);
update runs set wants = 'aa' where kind = 'train' and state not in ('done', 'failed')
    and json_extract(config, '$.eval.attack') = 'aa';

alter table evaluations add column start text not null default '';
alter table evaluations add column bn text not null default 'eval';
alter table evaluations add column tf32 integer not null default 0;
alter table evaluations add column normalize text not null default '';
alter table evaluations add column differs text not null default '';
alter table evaluations add column batch_size integer not null default 0;
alter table evaluations add column seconds real;
alter table evaluations add column evidence text not null default '{}';
alter table evaluations add column file text not null default '';

create table studies (
    run integer not null references runs (n) on delete cascade,
    attempt integer not null,
    seq integer not null,
    t real not null,
    study text not null,
    checkpoint text not null,
    network text not null,
    body text not null,
    primary key (run, attempt, seq)
) strict, without rowid;

create table findings (
    run integer not null references runs (n) on delete cascade,
    rule text not null,
    checkpoint text not null,
    network text not null,
    level text not null,
    text text not null,
    do text not null,
    evidence text not null,
    primary key (run, rule, checkpoint, network)
) strict, without rowid;
"""


@migrations()
def m003_a_queue_that_people_steer(db: Database) -> None:
    """What people ask of the queue, what machines report, and where imported runs come from.

    `rank` reorders runs of one priority, `held` keeps one back, `holds` a slot or all of them.
    `retries` is how often a run may be queued again by itself, `retried` how often it was.
    Samples are keyed by time and not by step; they are copies of `monitor.jsonl`.
    """
    for statement in _M003.split(";"):
        if statement.strip():
            db.execute(statement)


_M003 = """
alter table runs add column rank real;
alter table runs add column held integer not null default 0;
alter table runs add column retries integer not null default 0;
alter table runs add column retried integer not null default 0;
alter table runs add column imported text not null default '';
alter table runs add column notified text not null default '';
alter table runs add column memory_mb integer;

create table holds (
    place text primary key,
    reason text not null,
    t real not null
) strict, without rowid;

create table samples (
    run integer not null references runs (n) on delete cascade,
    device text not null,
    name text not null,
    t real not null,
    value real,
    primary key (run, device, name, t)
) strict, without rowid;
"""


@migrations()
def m004_facts_of_the_home(db: Database) -> None:
    """What a database must know to be recognised: whose it is, how new, which ids were used."""
    db.execute(
        "create table facts (key text primary key, value text not null) strict, without rowid"
    )


@migrations()
def m006_the_list_of_runs(db: Database) -> None:
    """What a list of 100,000 runs needs to be sorted and watched without reading it all.

    `standings` repeats a run's newest numbers side by side, kept by triggers on `latest_best`.
    `runs_listed` has every short column of a run: configs are long, and no list reads them.
    `pulse` counts changes of what lists show; other commits leave it alone.
    """
    for statement in _M006.split(";;"):
        if statement.strip():
            db.execute(statement)


_STANDINGS = {
    "clean": "test/clean_acc", "pgd": "test/pgd_acc", "logit_mse": "test/logit_mse",
    "loss": "train/loss", "epoch_s": "time/epoch_s", "eval_s": "time/eval_s",
    "passes_s": "time/passes_per_s",
}  # fmt: skip
_NAMES = ", ".join(f"'{name}'" for name in _STANDINGS.values())
_NUMBERS = ", ".join(
    f"max(lb.value) filter (where s.name = '{name}')" for name in _STANDINGS.values()
)
_STAND = f"""
insert or replace into standings
    select s.run, {_NUMBERS},
        max(lb.max_value) filter (where s.name = 'test/pgd_acc'),
        max(lb.max_epoch) filter (where s.name = 'test/pgd_acc')
    from series s join latest_best lb on lb.series = s.id where s.name in ({_NAMES})
"""
_OF = "and s.run = (select run from series where id = {}.series) group by s.run"
_WHEN = f"when (select name from series where id = {{}}.series) in ({_NAMES})"
_LISTED = (
    "n, id, state, method, rpat, lam, dataset, source, norm, model, seed, epoch, epochs, step, "
    "steps, priority, created, started, ended, name, sweep, group_key, data_key"
)
_BEAT = "begin update pulse set beats = beats + 1; end"

_M006 = f"""
create table standings (
    run integer primary key references runs (n) on delete cascade,
    {", ".join(f"{column} real" for column in _STANDINGS)},
    best_pgd real,
    best_epoch integer
) strict;;
{_STAND} group by s.run;;
create trigger standings_follow_new after insert on latest_best {_WHEN.format("new")}
    begin {_STAND} {_OF.format("new")}; end;;
create trigger standings_follow_changed after update on latest_best {_WHEN.format("new")}
    begin {_STAND} {_OF.format("new")}; end;;
create trigger standings_follow_dropped after delete on latest_best {_WHEN.format("old")}
    begin
        delete from standings where run = (select run from series where id = old.series);
        {_STAND} {_OF.format("old")};
    end;;
create index runs_listed on runs (kind, archived, {_LISTED});;
create table pulse (beats integer not null) strict;;
insert into pulse values (0);;
create trigger pulse_of_new_runs after insert on runs {_BEAT};;
create trigger pulse_of_runs after update of
    kind, archived, note, reason, parent, stage, slot, uid, {_LISTED} on runs {_BEAT};;
create trigger pulse_of_gone_runs after delete on runs {_BEAT};;
create trigger pulse_of_tags after insert on tags {_BEAT};;
create trigger pulse_of_gone_tags after delete on tags {_BEAT};;
create trigger pulse_of_standings after insert on standings {_BEAT};;
create trigger pulse_of_gone_standings after delete on standings {_BEAT};;
"""


@migrations()
def m007_the_numbers_of_tables(db: Database) -> None:
    """What tables report of each run, so that one of 10,000 runs need not work it out again.

    `reported` follows from evaluations, epochs' numbers and configs (`store.measured`); a run
    that is on the list `stale` has to be worked out anew. `flat_configs` has the config of a
    group, one key a line. A newer rule for what is reported must put every run on the list.
    """
    for statement in _M007.split(";;"):
        if statement.strip():
            db.execute(statement)


_SUBJECT = (
    "select p.n from runs j join runs p on p.uid = coalesce(j.parent, j.uid) "
    "where p.kind = 'train' and j.n = {}.run"
)
_SERIES = "(select {} from series where id = {}.series)"


def _stale(name: str, event: str, runs: str, when: str = "") -> str:
    condition = f"when {when} " if when else ""
    return (
        f"create trigger reported_{name} {event} {condition}"
        f"begin insert or ignore into stale {runs}; end;;"
    )


def _stale_by_epochs(name: str, event: str, row: str) -> str:
    named = _SERIES.format("name", row)
    return _stale(
        name, f"{event} on latest_best", f"select {_SERIES.format('run', row)}",
        f"{named} like '%/clean_acc' or {named} like '%/pgd_acc'",
    )  # fmt: skip


_M007 = f"""
create table reported (
    run integer not null references runs (n) on delete cascade,
    asked text not null,
    clean real,
    pgd20 real,
    aa real,
    marks text not null,
    primary key (run, asked)
) strict, without rowid;;
create table stale (run integer primary key references runs (n) on delete cascade) strict;;
create table flat_configs (group_key text primary key, lines text not null)
    strict, without rowid;;
insert into stale select n from runs where kind = 'train';;
{_stale("of_new_evaluations", "after insert on evaluations", _SUBJECT.format("new"))}
{
    _stale(
        "of_changed_evaluations",
        "after update on evaluations",
        f"{_SUBJECT.format('new')} union {_SUBJECT.format('old')}",
    )
}
{_stale("of_gone_evaluations", "after delete on evaluations", _SUBJECT.format("old"))}
{
    _stale(
        "of_new_runs",
        "after insert on runs",
        "values (new.n)",
        "new.kind = 'train' and exists (select 1 from runs where parent = new.uid)",
    )
}
{
    _stale(
        "of_changed_runs",
        "after update of uid, kind, parent, norm, config, imported, group_key, "
        "epoch, epochs on runs",
        "select n from runs where kind = 'train' and uid in (new.uid, new.parent, old.parent)",
        "(new.uid, new.kind, new.parent, new.norm, new.config, new.imported, new.group_key, "
        "new.epoch, new.epochs) is not (old.uid, old.kind, old.parent, old.norm, old.config, "
        "old.imported, old.group_key, old.epoch, old.epochs)",
    )
}
{
    _stale(
        "of_gone_jobs",
        "before delete on runs",
        "select n from runs where kind = 'train' and uid = old.parent",
    )
}
{_stale_by_epochs("of_new_epochs", "after insert", "new")}
{_stale_by_epochs("of_changed_epochs", "after update", "new")}
{_stale_by_epochs("of_gone_epochs", "after delete", "old")}
create trigger flat_configs_of_changed_runs after update of config, group_key on runs
    when (new.config, new.group_key) is not (old.config, old.group_key)
    begin delete from flat_configs where group_key in (new.group_key, old.group_key); end;;
create trigger flat_configs_of_gone_runs after delete on runs
    when not exists (select 1 from runs where group_key = old.group_key)
    begin delete from flat_configs where group_key = old.group_key; end;;
"""


@migrations()
def m009_views_for_sql(db: Database) -> None:
    """Views of version 1: what people who know only SQL, and Datasette, are promised.

    Their columns never change; what must change gets a view of version 2 beside them. What the
    columns mean is written in `views.py`.
    """
    for statement in _M009.split(";;"):
        if statement.strip():
            db.execute(statement)


def _time(column: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%SZ', {column}, 'unixepoch')"


# A job stands for the run that it is about; one about a file, or about a run that is not here,
# for itself. Written with `or`, so that a search for one run finds its jobs by their parent.
_ABOUT = """(
    (j.n = r.n and not exists (select 1 from runs q where q.uid = j.parent)) or j.parent = r.uid
)"""

# Results are made with windows, not groups: a condition on the run then reaches the innermost
# tables.
_M009 = f"""
create view v1_runs as
select r.id as run, r.name, r.kind, r.state, r.reason, r.archived,
    r.method, r.rpat, r.lam, r.dataset, r.source, r.norm,
    json_extract(r.config, '$.threat.epsilon') as epsilon,
    r.model, json_extract(r.config, '$.mode') as mode, r.seed, r.epoch, r.epochs,
    s.clean, s.pgd, s.logit_mse, s.loss, s.best_pgd, s.best_epoch,
    {_time("r.created")} as created, {_time("r.started")} as started, {_time("r.ended")} as ended,
    r.ended - r.started as seconds, r.device, r.attempt as attempts,
    (select group_concat(tag, ',') from (
        select tag from tags where tags.run = r.n order by tag)) as tags,
    r.note, r.sweep, (select p.id from runs p where p.uid = r.parent) as parent,
    r.group_key as seed_group, r.uid, r.config
from runs r left join standings s on s.run = r.n;;

create view v1_metrics as
select r.id as run, s.name, p.epoch, p.step, p.value
from runs r join series s on s.run = r.n join points p on p.series = s.id;;

create view v1_summaries as
select r.id as run, s.name, b.epoch as last_epoch, b.value as last,
    b.max_value as highest, b.max_epoch as highest_epoch,
    b.min_value as lowest, b.min_epoch as lowest_epoch, b.points
from runs r join series s on s.run = r.n join latest_best b on b.series = s.id;;

create view v1_evaluations as
select r.id as run, j.id as job, e.checkpoint, e.network, e.epoch, e.attack, e.norm, e.epsilon,
    e.steps, e.step_size, e.restarts, e.clean, e.robust, e.n as images, e.of_n as of_images,
    e.split, e.selected_on, e.differs, e.note, e.state, e.seed, e.dtype, e.weights,
    {_time("e.t")} as at
from runs r join runs j on {_ABOUT} join evaluations e on e.run = j.n;;

create view v1_results as
select m.run, r.method, r.rpat, r.lam, r.dataset, r.norm, r.model, r.seed,
    r.group_key as seed_group, m.checkpoint, m.network, m.epoch, m.clean, m.pgd20, m.aa,
    (m.clean + m.aa) / 2 as mean,
    case when m.clean + m.aa > 0 then 2 * m.clean * m.aa / (m.clean + m.aa)
        else m.clean + m.aa end as nrr,
    m.images, m.selected_on
from (
    select run, checkpoint, network, epoch, row_number() over same as line,
        coalesce(
            max(clean) filter (where attack = 'pgd') over same, max(clean) over same
        ) as clean,
        max(robust) filter (where attack = 'pgd') over same as pgd20,
        max(robust) filter (where attack = 'aa') over same as aa,
        min(images) over same as images, max(selected_on) over same as selected_on
    from (
        select run, checkpoint, network, epoch, attack, clean, robust, images, selected_on,
            row_number() over (
                partition by run, checkpoint, network, attack order by images desc, t desc, id desc
            ) as place
        from (
            select r.id as run, e.checkpoint, e.network, e.epoch, e.attack, e.clean, e.robust,
                e.n as images, e.selected_on, e.t, e.id, e.weights,
                first_value(e.weights) over (
                    partition by r.id, e.checkpoint, e.network
                    order by e.run = r.n desc, e.t desc, e.id desc
                ) as present
            from runs r join runs j on {_ABOUT} join evaluations e on e.run = j.n
            where r.kind = 'train' and not r.archived and e.state = 'done' and e.split = 'test'
                and e.norm = r.norm and e.epsilon = json_extract(r.config, '$.threat.epsilon')
                and e.differs = '' and e.dtype = 'float32' and e.bn = 'eval' and not e.tf32
                and e.restarts = 1
                and (e.attack = 'aa' or (e.attack = 'pgd' and e.steps = 20))
        )
        where weights = present
    )
    where place = 1
    window same as (partition by run, checkpoint, network)
) m join runs r on r.id = m.run
where m.line = 1;;

create view v1_states as
select r.id as run, t.old, t.new, t.reason, json_extract(t.evidence, '$.cause') as cause,
    {_time("t.t")} as at, t.evidence
from runs r join transitions t on t.run = r.n;;

create view v1_attempts as
select r.id as run, a.number as attempt,
    coalesce(json_extract(a.trainer, '$.host'), json_extract(a.attendant, '$.host')) as host,
    a.device, a.from_step, {_time("a.began")} as began, {_time("a.ended")} as ended,
    a.ended - a.began as seconds, a.ending, a.exit_code, a.signal, a.error_reason, a.error_message
from runs r join attempts a on a.run = r.n;;

create view v1_findings as
select r.id as run, f.rule, f.level, f.checkpoint, f.network, f.text, f.do as remedy, f.evidence
from runs r join findings f on f.run = r.n;;

create view v1_studies as
select r.id as run, j.id as job, s.study, s.checkpoint, s.network, {_time("s.t")} as at,
    s.body as record
from runs r join runs j on {_ABOUT} join studies s on s.run = j.n;;

create view v1_samples as
select r.id as run, s.device, s.name, {_time("s.t")} as at, s.value
from runs r join samples s on s.run = r.n;;

create view v1_tags as
select r.id as run, t.tag from runs r join tags t on t.run = r.n
"""


@migrations()
def m010_runs_on_a_cluster(db: Database) -> None:
    """Which launcher a run belongs to, what it asks of a cluster, and the jobs that were made.

    A submission is a copy of `submissions/N.json` of the run and of what the cluster said of it
    last; `closed` is when the run's fate stopped to follow it.
    """
    for statement in _M010.split(";"):
        if statement.strip():
            db.execute(statement)


_M010 = """
alter table runs add column launcher text not null default '';
alter table runs add column resources text not null default '{}';

create table submissions (
    run integer not null references runs (n) on delete cascade,
    number integer not null,
    name text not null unique,
    after integer not null,
    t real not null,
    state text not null,
    job text not null default '',
    said text not null default '',
    why text not null default '',
    node text not null default '',
    trouble text not null default '',
    exit text not null default '',
    seen real,
    since real,
    missing real,
    asked text not null default '',
    asked_at real,
    closed real,
    primary key (run, number)
) strict, without rowid;
create index submissions_open on submissions (state);
"""


@migrations()
def m011_the_rows_of_tables(db: Database) -> None:
    """Rows of tables, pooled over seeds, so that a table of 10,000 runs need not pool them again.

    `pooled` follows from `reported`, `findings` and configs (`rpat_tui.pools`); a group on the
    list `stale_pools` has to be pooled anew, and rows that look alike are told apart anew where
    they are on the list `unnamed`. `fronts` has, of each finished run, the epochs that a rule
    `lex` may choose. All follow from what is known of each run, so every run goes on the list.
    """
    for statement in _M011.split(";;"):
        if statement.strip():
            db.execute(statement)


def _pool_is_stale(name: str, event: str, groups: str, when: str = "") -> str:
    condition = f"when {when} " if when else ""
    return (
        f"create trigger pooled_{name} {event} {condition}"
        f"begin insert or replace into stale_pools (group_key) {groups}; end;;"
    )


_OF_FINDING = (
    "select r.group_key from runs r where r.n = {}.run "
    "and exists (select 1 from reported k where k.run = r.n)"
)
_IN_POOLS = (
    "id, uid, kind, archived, seed, group_key, data_key, dataset, source, norm, model, method, rpat"
)
_NEW_IN_POOLS, _OLD_IN_POOLS = (
    ", ".join(f"{row}.{column}" for column in _IN_POOLS.split(", ")) for row in ("new", "old")
)
_CELL = "{0} real, {0}_std real, {0}_n integer,"
_M011 = f"""
create table pooled (
    asked text not null,
    group_key text not null,
    data_key text not null,
    dataset text not null,
    source text not null,
    norm text not null,
    model text not null,
    method text not null,
    rpat integer not null,
    cutmix integer not null,
    pair text not null,
    config text not null,
    n integer not null,
    runs text not null,
    sources text not null,
    {_CELL.format("clean")}
    {_CELL.format("pgd20")}
    {_CELL.format("aa")}
    {_CELL.format("mean_aa")}
    {_CELL.format("nrr_aa")}
    {_CELL.format("mean_pgd20")}
    {_CELL.format("nrr_pgd20")}
    marks_aa text not null,
    marks_pgd20 text not null,
    stamp_aa text not null,
    stamp_pgd20 text not null,
    seeds text not null,
    variant text not null default '',
    place integer not null default 0,
    primary key (asked, group_key, data_key)
) strict, without rowid;;
create table stale_pools (group_key text primary key, mixed integer not null default 0)
    strict, without rowid;;
create table unnamed (
    asked text not null,
    dataset text not null,
    source text not null,
    norm text not null,
    model text not null,
    method text not null,
    primary key (asked, dataset, source, norm, model, method)
) strict, without rowid;;
create table fronts (
    split text not null,
    run integer not null references runs (n) on delete cascade,
    pgd real not null,
    epoch integer not null,
    found integer not null,
    clean real,
    pgd20 real,
    aa real,
    steps integer,
    marks text not null,
    primary key (split, run, pgd)
) strict, without rowid;;
create index fronts_by_run on fronts (run);;
insert or ignore into stale select n from runs where kind = 'train';;
{_pool_is_stale("of_new_findings", "after insert on findings", _OF_FINDING.format("new"))}
{
    _pool_is_stale(
        "of_changed_findings",
        "after update on findings",
        f"{_OF_FINDING.format('new')} union {_OF_FINDING.format('old')}",
    )
}
{_pool_is_stale("of_gone_findings", "after delete on findings", _OF_FINDING.format("old"))}
{
    _pool_is_stale(
        "of_changed_runs",
        f"after update of {_IN_POOLS} on runs",
        "values (new.group_key), (old.group_key)",
        f"({_NEW_IN_POOLS}) is not ({_OLD_IN_POOLS})",
    )
}
{_pool_is_stale("of_gone_runs", "after delete on runs", "values (old.group_key)")}
"""


@migrations()
def m012_turns_of_a_job(db: Database) -> None:
    """How many turns of a job have ended: what the cluster says of a job is about the next one."""
    db.execute("alter table submissions add column restarts integer")


@migrations()
def m014_the_usual_lex(db: Database) -> None:
    """What `lex:0.5` chooses is kept as other rules' outcome is, so every run goes on the list."""
    db.execute("insert or ignore into stale select n from runs where kind = 'train'")


@migrations()
def m015_packed_points(db: Database) -> None:
    """Points take 21 bytes instead of 25, are written faster, and are read as before.

    SQLite packs only rows with row ids without gaps, so series and step become one number, the
    row's; an epoch that follows from the step is not kept (`store.spans`). `points` becomes a view
    that takes rows, drops them and gives them another value: a worker of an older release that is
    still at work goes on. It joins by `cross join`, since SQLite cannot tell how few points the
    range of a series is. No key refers to a part of a number, so a trigger drops the points of a
    series that goes.

    Rows move by two hundred series at a time: the pages they leave are used again, and the file
    stays as large as it is. No step of a real run comes near the limit of 28 bits.
    """
    before, after = _M015
    for statement in before.split(";;"):
        db.execute(statement)
    last = db.execute("select max(id) from series").fetchone()[0] or 0
    for first in range(0, last + 1, 200):
        some = f"between {first} and {first + 199}"
        db.execute(_PACK_POINTS.format(some))
        db.execute(f"delete from points_of_before where series {some}")
    for statement in after.split(";;"):
        db.execute(statement)


_PACK_POINTS = """
insert into packed_points (at, epoch, value)
select (p.series << 28) + p.step, nullif(p.epoch, p.step / s.stride), p.value
from points_of_before p join series s on s.id = p.series
where p.series {} and p.step between 0 and 268435455 order by p.series, p.step
"""
_M015 = (
    """
drop view v1_metrics;;
alter table points rename to points_of_before;;
alter table series add column stride integer;;
create table packed_points (at integer primary key, epoch integer, value real) strict;;
update series set stride = (
    select p.step / p.epoch from series o join points_of_before p on p.series = o.id
    where o.run = series.run and o.name not like 'step/%' and p.epoch > 0 and p.step >= p.epoch
    limit 1
)
""",
    """
drop table points_of_before;;

create trigger points_of_gone_series after delete on series begin
    delete from packed_points
        where at between (old.id << 28) and (old.id << 28) + 268435455;
end;;

create view points as
select s.id as series, k.at & 268435455 as step,
    coalesce(k.epoch, (k.at & 268435455) / s.stride) as epoch, k.value
from series s cross join packed_points k
    on k.at between (s.id << 28) and (s.id << 28) + 268435455;;

create trigger points_that_come instead of insert on points begin
    insert into packed_points (at, epoch, value)
        select (s.id << 28) + new.step, nullif(new.epoch, new.step / s.stride), new.value
        from series s where s.id = new.series;
end;;

create trigger points_that_change instead of update of value on points begin
    update packed_points set value = new.value where at = (old.series << 28) + old.step;
end;;

create trigger points_that_go instead of delete on points begin
    delete from packed_points where at = (old.series << 28) + old.step;
end;;

create view v1_metrics as
select r.id as run, s.name, p.epoch, p.step, p.value
from runs r join series s on s.run = r.n join points p on p.series = s.id
""",
)
