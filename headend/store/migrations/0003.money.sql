-- Money: int64 nano-units of the currency. The ledger is append-only and every batch sums to zero.

create table payment_channel (
    channel_code          text primary key,
    name                  text not null,
    minimum_amount_nano   bigint not null default 10000000,
    maximum_amount_nano   bigint not null default 1000000000000000,
    pending_limit_s       integer not null default 1800,
    fault_since           timestamptz,
    cash                  boolean not null default false,
    clearing_number       integer unique check (clearing_number >= 100)
);
comment on column payment_channel.clearing_number is
    'number of the clearing account of a channel added by data; the built-in channels have theirs';

create table payment (
    payment_id         bigint generated always as identity primary key,
    channel_code       text not null references payment_channel,
    channel_reference  text not null,
    account_id         bigint not null references account,
    amount_nano        bigint not null check (amount_nano > 0),
    state              text not null check (state in ('pending', 'posted', 'failed', 'reversed')),
    paid_at            timestamptz not null,
    posted_at          timestamptz,
    posted_real_at     timestamptz,
    batch_id           bigint,
    reversal_batch_id  bigint,
    balance_after_nano bigint,
    unique (channel_code, channel_reference)
);
comment on column payment.balance_after_nano is 'balance of the account right after the posting, as on the receipt';
create index payment_account on payment (account_id, paid_at desc);

create table ledger_batch (
    batch_id       bigint generated always as identity primary key,
    kind           text not null,
    business_date  date not null,
    posted_at      timestamptz not null,
    detail         jsonb not null default '{}'
);

-- One row is one posting. Customer accounts have positive ids; internal accounts (revenue, clearing,
-- suspense) are negative and have no stored balance, which would serialise payments.
create table ledger_entry (
    account_id     bigint not null,
    business_date  date not null,
    entry_key      text not null,
    batch_id       bigint not null,
    kind           text not null,
    amount_nano    bigint not null,
    corrects       text,
    posted_at      timestamptz not null,
    primary key (account_id, business_date, entry_key)
) partition by range (business_date);
create index ledger_entry_batch on ledger_entry (batch_id);
comment on column ledger_entry.corrects is 'entry key of the entry that a re-rating corrects';

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'table % is append-only', tg_table_name using errcode = 'integrity_constraint_violation';
end $$;
create trigger ledger_entry_append_only before update or delete on ledger_entry
    for each row execute function refuse_change();
create trigger ledger_batch_append_only before update or delete on ledger_batch
    for each row execute function refuse_change();

create table account_balance (
    account_id       bigint primary key,
    balance_nano     bigint not null default 0,
    estimated_nano   bigint not null default 0 check (estimated_nano >= 0),
    settled_through  date,
    actual_through   timestamptz,
    changed_at       timestamptz not null
) with (fillfactor = 50);
comment on column account_balance.estimated_nano is 'charges in the balance that rest on estimated energy';
comment on column account_balance.actual_through is 'instant up to which every settled interval is an actual reading';

create table account_day (
    account_id                 bigint not null,
    usage_point_id             bigint not null,
    business_date              date not null,
    meter_id                   bigint,
    multiplier                 integer,
    tariff_id                  integer not null,
    tariff_effective           date,
    profile_revision           integer not null,
    energy_wh                  bigint not null,
    estimated_wh               bigint not null,
    cycle_before_wh            bigint not null,
    cycle_before_estimated_wh  bigint not null,
    cell_wh                    bigint[] not null,
    charge_nano                bigint not null,
    estimated_nano             bigint not null,
    fixed_nano                 bigint not null,
    worst_quality              smallint not null,
    unrated_intervals          smallint not null,
    actual_until               timestamptz not null,
    register_gap_wh            bigint,
    unrated_reason             text,
    rating_no                  integer not null,
    entry_key                  text not null,
    primary key (account_id, usage_point_id, business_date),
    check (unrated_reason is null or (charge_nano = 0 and energy_wh = 0))
) partition by range (business_date);
create index account_day_open on account_day (business_date, account_id)
    where worst_quality > 1 or unrated_reason is not null;
comment on table account_day is 'what was rated for an account, usage point and day, after the multiplier, and on what it rests';
comment on column account_day.profile_revision is
    'sum over the day''s meters of (profile revision + 1), less 1: grows with every revision; -1 when nothing was read';
comment on column account_day.cell_wh is 'energy by [tier][TOU period], in the order of the tariff version';
comment on column account_day.charge_nano is 'energy and fixed charges together; fixed_nano is the fixed part';
comment on column account_day.actual_until is 'start of the first interval that is not actual; the end of the day when all are';
comment on column account_day.register_gap_wh is
    'how far the register difference lies outside what the intervals allow; null when it could not be checked';
comment on column account_day.unrated_intervals is 'intervals that nothing is known of and nothing was charged for';
comment on column account_day.unrated_reason is
    'why nothing was charged: the day is open, not free; null when it was rated';
comment on column account_day.entry_key is 'ledger entry of the first rating; what a correction corrects';

create table settlement_run (
    run_id         bigint generated always as identity primary key,
    business_date  date not null,
    shard          integer not null,
    shards         integer not null,
    started_at     timestamptz not null,
    finished_at    timestamptz,
    unique (business_date, shard, shards)
);

create table settlement_chunk (
    run_id       bigint not null references settlement_run,
    chunk_no     integer not null,
    account_ids  bigint[] not null,
    batch_id     bigint,
    settled_at   timestamptz,
    primary key (run_id, chunk_no)
);

insert into partitioned_table values ('ledger_entry', 28), ('account_day', 28);

insert into payment_channel (channel_code, name, cash) values
    ('counter', '营业厅柜台 / counter', true),
    ('wechat', '微信支付 / WeChat Pay', false),
    ('alipay', '支付宝 / Alipay', false),
    ('bank', '银行代收 / bank', false);
