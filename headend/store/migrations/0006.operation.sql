-- Running the head-end: the business clock, what was due and done, audit, idempotency.

create table business_clock (
    singleton  boolean primary key default true check (singleton),
    mode       text not null check (mode in ('real', 'demo')),
    offset_s   double precision not null default 0
);
comment on table business_clock is 'business time = real time + offset; only a demo has an offset';

-- One row per thing that was due: it is what makes a run resumable and never done twice.
create table business_run (
    kind           text not null,
    business_date  date not null,
    scope          text not null,
    state          text not null check (state in ('due', 'running', 'done', 'failed')),
    due_at         timestamptz not null,
    started_at     timestamptz,
    finished_at    timestamptz,
    attempts       integer not null default 0,
    lease_holder   text,
    lease_until    timestamptz,
    detail         jsonb not null default '{}',
    primary key (kind, business_date, scope)
);
comment on column business_run.lease_until is
    'real time: until then the run belongs to its holder, or, without one, is left in peace';
create index business_run_open on business_run (due_at) where state in ('due', 'running');

create table audit_event (
    audit_id   bigint generated always as identity primary key,
    at         timestamptz not null,
    real_at    timestamptz not null,
    actor      text not null,
    action     text not null,
    subject    text not null,
    detail     jsonb not null default '{}'
);
create trigger audit_event_append_only before update or delete on audit_event
    for each row execute function refuse_change();

create table idempotency_key (
    client       text not null,
    key          text not null,
    request      text not null,
    body_sha256  bytea not null,
    status       smallint,
    response     jsonb,
    created_at   timestamptz not null,
    primary key (client, key)
);
create index audit_event_subject on audit_event (subject, audit_id desc);
