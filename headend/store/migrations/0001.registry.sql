-- Places, devices and customers. Words as in IEC 61968: a usage point is where energy is delivered,
-- a meter is replaceable, an installation says which meter served which usage point and when.

create extension if not exists pg_trgm;

create table area (
    area_id         integer generated always as identity primary key,
    area_code       text not null unique,
    name            text not null,
    parent_area_id  integer references area
);

create table transformer_area (
    transformer_area_id    integer generated always as identity primary key,
    transformer_area_code  text not null unique,
    name                   text not null,
    area_id                integer not null references area,
    works_permitted        boolean not null default false
);
comment on column transformer_area.works_permitted is
    'a work permit is open on this area: nothing closes onto people who work there';

create table usage_point (
    usage_point_id        bigint generated always as identity primary key,
    usage_point_no        text not null unique,
    transformer_area_id   integer not null references transformer_area,
    address               text not null,
    time_zone             text not null default 'Asia/Shanghai',
    expected_load_w       integer not null default 1000 check (expected_load_w >= 0)
);

-- A link is one wire: a concentrator, a serial gateway or a direct meter. All its traffic passes
-- the priority queue of the one process that holds its lease.
create table link (
    link_id   integer generated always as identity primary key,
    endpoint  text not null unique
);
comment on column link.endpoint is 'URL without secrets, e.g. dlms+tcp://127.0.0.1:4059';

create table link_lease (
    link_id      integer primary key references link,
    holder       text not null,
    fence        bigint not null,
    lease_until  timestamptz not null
);
comment on column link_lease.lease_until is 'real time: leases never use the business clock';

create table concentrator (
    concentrator_id  integer generated always as identity primary key,
    concentrator_no  text not null unique,
    link_id          integer not null references link
);

create table meter (
    meter_id             bigint generated always as identity primary key,
    meter_no             text not null unique,
    concentrator_id      integer references concentrator,
    link_id              integer not null references link,
    link_address         integer not null,
    model                text not null,
    logical_device_name  text not null,
    serial               text not null,
    client_address       integer not null default 1,
    authentication       text not null default 'gmac' check (
        authentication in ('none', 'lls', 'md5', 'sha1', 'gmac', 'sha256')),
    maximum_current_a    integer not null default 100 check (maximum_current_a > 0),
    remote_close         boolean not null default true,
    closes_directly      boolean not null default true,
    system_title         bytea check (octet_length(system_title) = 8),
    unique (link_id, link_address)
);
create unique index meter_system_title on meter (system_title) where system_title is not null;
comment on column meter.system_title is
    'by which a push names its sender; null: the pushes of this meter are a stranger''s';
comment on column meter.remote_close is 'false when the relay cannot be closed from afar: never cut such a meter';
comment on column meter.closes_directly is 'false when a remote close only arms the breaker';

-- Changes with every session, so it stays out of the meter row.
create table meter_contact (
    meter_id         bigint primary key,
    last_heard_at    timestamptz,
    last_failure_at  timestamptz,
    last_failure     text,
    failures_in_row  integer not null default 0
) with (fillfactor = 50);

create table meter_key (
    meter_id        bigint not null references meter,
    client_address  integer not null,
    key_id          text not null,
    kind            text not null check (kind in ('encryption', 'authentication', 'password', 'master')),
    wrapped_key     bytea not null,
    kek_id          text not null,
    primary key (meter_id, client_address, key_id, kind)
);

create table invocation_counter (
    meter_id          bigint not null,
    client_address    integer not null,
    key_id            text not null,
    next_counter      bigint not null default 0 check (next_counter <= 4294967296),
    received_counter  bigint,
    primary key (meter_id, client_address, key_id)
) with (fillfactor = 50);

create table meter_installation (
    installation_id      bigint generated always as identity primary key,
    meter_id             bigint not null references meter,
    usage_point_id       bigint not null references usage_point,
    valid_from           timestamptz not null,
    valid_to             timestamptz,
    multiplier           integer not null default 1 check (multiplier > 0),
    indication_start_wh  bigint,
    indication_end_wh    bigint,
    link_confirmed_at    timestamptz,
    check (valid_to is null or valid_to > valid_from)
);
create unique index meter_installation_open_meter on meter_installation (meter_id) where valid_to is null;
create unique index meter_installation_open_point on meter_installation (usage_point_id) where valid_to is null;
create index meter_installation_usage_point on meter_installation (usage_point_id, valid_from);
comment on column meter_installation.link_confirmed_at is
    'when somebody or something proved that this meter feeds this usage point; null is unconfirmed';

create table tariff (
    tariff_id    integer generated always as identity primary key,
    tariff_code  text not null unique,
    document     jsonb not null
);

create table account (
    account_id                 bigint generated always as identity primary key,
    account_no                 text not null unique,
    name                       text not null,
    phone                      text,
    customer_class             text not null default 'residential',
    payment_mode               text not null default 'prepaid' check (payment_mode in ('prepaid', 'postpaid')),
    tariff_id                  integer not null references tariff,
    agreement_signed_at        timestamptz,
    standing_close_consent_at  timestamptz,
    emergency_credit_nano      bigint not null default 0 check (emergency_credit_nano >= 0),
    created_at                 timestamptz not null
);
create index account_name_trgm on account using gin (name gin_trgm_ops);
comment on column account.account_no is '户号';
comment on column account.agreement_signed_at is 'prepaid supply agreement; null forbids disconnection for arrears';

create table occupancy (
    occupancy_id    bigint generated always as identity primary key,
    account_id      bigint not null references account,
    usage_point_id  bigint not null references usage_point,
    valid_from      date not null,
    valid_to        date,
    check (valid_to is null or valid_to > valid_from)
);
create unique index occupancy_open_point on occupancy (usage_point_id) where valid_to is null;
create index occupancy_account on occupancy (account_id, valid_from);
create index occupancy_usage_point on occupancy (usage_point_id, valid_from);
comment on table occupancy is 'which account at which usage point; a new occupant never inherits old debt';
