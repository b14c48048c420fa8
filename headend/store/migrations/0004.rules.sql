-- Decisions and notices: who is warned and cut, by which row of which policy, on which facts.

create table policy_version (
    policy_code     text not null,
    version         integer not null,
    document        jsonb not null,
    published_by    text not null,
    approved_by     text not null,
    effective_from  timestamptz not null,
    primary key (policy_code, version)
);

create table decision (
    decision_id      bigint generated always as identity,
    account_id       bigint not null,
    usage_point_id   bigint not null,
    business_date    date not null,
    decided_at       timestamptz not null,
    trigger          text not null,
    policy_code      text not null,
    policy_version   integer not null,
    row_index        integer not null,
    outcome          text not null,
    facts            jsonb not null,
    refusal_codes    text[] not null default '{}',
    primary key (decision_id, business_date)
) partition by range (business_date);
create index decision_account on decision (account_id, decided_at desc);

-- A notice cycle begins when an account first falls due and ends with money, a cut, or a restart:
-- a hold ending, a reversal, a re-rating or a reconnection makes every earlier notice worthless.
create table notice_cycle (
    cycle_id               bigint generated always as identity primary key,
    account_id             bigint not null,
    usage_point_id         bigint not null,
    opened_at              timestamptz not null,
    planned_disconnect_at  timestamptz,
    expires_at             timestamptz,
    next_decision_at       timestamptz,
    refused_since          timestamptz,
    closed_at              timestamptz,
    close_reason           text
);
comment on column notice_cycle.planned_disconnect_at is
    'fixed when the disconnect notice is proven to be delivered: the instant that the customer was told';
comment on column notice_cycle.expires_at is 'planned_disconnect_at and its tolerance; a cut after it needs a new cycle';
comment on column notice_cycle.next_decision_at is 'business time of the next attempt to cut; null while notices are outstanding';
comment on column notice_cycle.refused_since is
    'first refusal without a break, carried from a cycle that expired to its successor';
create index notice_cycle_due on notice_cycle (next_decision_at) where closed_at is null;
create unique index notice_cycle_open on notice_cycle (usage_point_id) where closed_at is null;
create index notice_cycle_account on notice_cycle (account_id);

create table notice (
    notice_id              bigint generated always as identity primary key,
    cycle_id               bigint references notice_cycle,
    account_id             bigint not null,
    usage_point_id         bigint not null,
    stage                  text not null,
    state                  text not null check (state in ('due', 'delivered', 'failed', 'cancelled')),
    reference              text not null default '',
    due_at                 timestamptz not null,
    next_attempt_at        timestamptz not null,
    claimed_until          timestamptz,
    planned_disconnect_at  timestamptz,
    text_zh                text not null,
    text_en                text not null,
    recipient              text not null,
    attempts               integer not null default 0,
    delivered_at           timestamptz,
    failure                text,
    evidence               jsonb,
    unique nulls not distinct (usage_point_id, cycle_id, stage, reference)
);
comment on column notice.cycle_id is 'null when a switching that no cycle led to is told to the customer';
comment on column notice.reference is
    'what a notice outside the stages of its cycle is about, e.g. order:17; empty inside them';
comment on column notice.next_attempt_at is 'business time';
comment on column notice.claimed_until is 'real time: until then one process is delivering it';
create index notice_due on notice (next_attempt_at) where state = 'due';
create index notice_account on notice (account_id, due_at desc);

create table hold (
    hold_id         bigint generated always as identity primary key,
    usage_point_id  bigint not null references usage_point,
    kind            text not null,
    valid_from      timestamptz not null,
    valid_to        timestamptz,
    owner           text not null,
    evidence        text not null,
    ended_at        timestamptz,
    ended_by        text
);
create index hold_active on hold (usage_point_id) where ended_at is null;
create index hold_usage_point on hold (usage_point_id, hold_id desc);

insert into partitioned_table values ('decision', 28);
