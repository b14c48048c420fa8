-- Supply control. The order row is the state machine and the queue; every move is an event.

create table restraint (
    restraint_id    bigint generated always as identity primary key,
    usage_point_id  bigint not null references usage_point,
    kind            text not null,
    placed_at       timestamptz not null,
    placed_by       text not null,
    evidence        text not null,
    order_id        bigint,
    lifted_at       timestamptz,
    lifted_by       text
);
create unique index restraint_standing on restraint (usage_point_id, kind) where lifted_at is null;

create table supply_state (
    usage_point_id  bigint primary key,
    meter_id        bigint not null,
    state           text not null check (state in ('connected', 'disconnected', 'ready_for_reconnection', 'unknown')),
    output_state    boolean,
    control_state   smallint,
    control_mode    smallint,
    power_w         integer,
    source          text not null,
    observed_at     timestamptz not null
) with (fillfactor = 50);

create table supply_order (
    order_id          bigint generated always as identity primary key,
    usage_point_id    bigint not null references usage_point,
    account_id        bigint,
    meter_id          bigint not null references meter,
    link_id           integer not null references link,
    action            text not null check (action in ('disconnect', 'reconnect')),
    purpose           text not null,
    state             text not null,
    priority          smallint not null,
    reason            text not null,
    requested_by      text not null,
    idempotency_key   text not null unique,
    not_before        timestamptz,
    not_after         timestamptz,
    next_attempt_at   timestamptz not null,
    attempts          integer not null default 0,
    lease_holder      text,
    lease_until       timestamptz,
    fence             bigint not null default 0,
    appliances_off    boolean not null default false,
    refusal_codes     text[] not null default '{}',
    evidence_grade    smallint not null default 0,
    evidence          jsonb not null default '{}',
    decision_id       bigint,
    payment_id        bigint,
    notice_cycle_id   bigint,
    deadline_at       timestamptz,
    created_at        timestamptz not null,
    created_real_at   timestamptz not null,
    finished_at       timestamptz,
    finished_real_at  timestamptz
);
comment on column supply_order.next_attempt_at is 'business time';
comment on column supply_order.lease_until is 'real time';
create unique index supply_order_in_flight on supply_order (usage_point_id)
    where state in ('sending', 'verifying', 'awaiting_customer', 'outcome_unknown');
create unique index supply_order_successor on supply_order (usage_point_id)
    where state in ('requested', 'quarantined', 'awaiting_approval', 'scheduled', 'queued');
create index supply_order_queue on supply_order (priority, next_attempt_at)
    where state in ('scheduled', 'queued', 'sending', 'verifying', 'outcome_unknown', 'awaiting_customer');
create index supply_order_waiting_for_meter on supply_order (meter_id)
    where state in ('queued', 'outcome_unknown');
create index supply_order_usage_point on supply_order (usage_point_id, order_id desc);

create table supply_order_event (
    order_id    bigint not null references supply_order,
    event_no    integer not null,
    from_state  text,
    to_state    text not null,
    at          timestamptz not null,
    real_at     timestamptz not null,
    actor       text not null,
    detail      jsonb not null default '{}',
    primary key (order_id, event_no)
);
create trigger supply_order_event_append_only before update or delete on supply_order_event
    for each row execute function refuse_change();

create table supply_order_release (
    order_id     bigint not null references supply_order,
    released_by  text not null,
    released_at  timestamptz not null,
    primary key (order_id, released_by)
);

create table stop_switch (
    singleton   boolean primary key default true check (singleton),
    stopped     boolean not null,
    changed_by  text not null,
    reason      text not null,
    changed_at  timestamptz not null
);

create table outage (
    outage_id            bigint generated always as identity primary key,
    transformer_area_id  integer not null references transformer_area,
    kind                 text not null check (kind in ('planned', 'unplanned')),
    started_at           timestamptz not null,
    ended_at             timestamptz,
    cause                text
);

-- A case is something that a named person must settle.
create table "case" (
    case_id         bigint generated always as identity primary key,
    kind            text not null,
    subject_key     text not null,
    usage_point_id  bigint,
    account_id      bigint,
    meter_id        bigint,
    owner           text not null,
    detail          jsonb not null default '{}',
    opened_at       timestamptz not null,
    due_at          timestamptz,
    closed_at       timestamptz,
    closed_by       text,
    outcome         text
);
create unique index case_open on "case" (kind, subject_key) where closed_at is null;
