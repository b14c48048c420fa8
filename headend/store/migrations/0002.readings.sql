-- Readings. Bulk tables carry no foreign keys, and their partition key is inside every unique key.

create table partitioned_table (
    table_name  text primary key,
    span_days   integer not null check (span_days > 0)
);

-- Create the range partitions of every partitioned table that cover [p_from, p_to].
create function ensure_partitions(p_from date, p_to date) returns void language plpgsql as $$
declare
    t record;
    origin constant date := date '2000-01-03';
    starts date;
    name text;
begin
    for t in select table_name, span_days from partitioned_table loop
        starts := origin + ((p_from - origin) / t.span_days) * t.span_days;
        while starts <= p_to loop
            name := t.table_name || '_' || to_char(starts, 'YYYYMMDD');
            if to_regclass(name) is null then
                perform pg_advisory_xact_lock(hashtext('ensure_partitions'));
                if to_regclass(name) is null then
                    execute format(
                        'create table %I partition of %I for values from (%L) to (%L)',
                        name, t.table_name, starts, starts + t.span_days);
                end if;
            end if;
            starts := starts + t.span_days;
        end loop;
    end loop;
end $$;

create table profile_day (
    meter_id    bigint not null,
    channel     text not null,
    day         date not null,
    interval_s  integer not null check (interval_s > 0 and 86400 % interval_s = 0),
    energy_wh   bigint[] not null,
    quality     smallint[] not null,
    revision    integer not null default 0,
    source      text not null,
    stored_at   timestamptz not null,
    primary key (meter_id, channel, day),
    check (array_length(energy_wh, 1) = array_length(quality, 1)),
    check (array_position(energy_wh, null) is null and array_position(quality, null) is null)
) partition by range (day);
comment on table profile_day is
    'one row per meter, channel (OBIS) and local day; exactly day length / interval elements, Wh before the multiplier; missing is quality 5';

create table profile_day_revision (
    meter_id     bigint not null,
    channel      text not null,
    day          date not null,
    revision     integer not null,
    interval_s   integer not null,
    energy_wh    bigint[] not null,
    quality      smallint[] not null,
    source       text not null,
    stored_at    timestamptz not null,
    replaced_at  timestamptz not null,
    primary key (meter_id, channel, day, revision)
) partition by range (day);

create view interval_reading as
    select p.meter_id, p.channel, p.day, i.position - 1 as interval_no, p.interval_s,
           case when q.quality = 5 then null else i.energy_wh end as energy_wh, q.quality, p.revision
    from profile_day p
    cross join lateral unnest(p.energy_wh) with ordinality as i (energy_wh, position)
    join lateral unnest(p.quality) with ordinality as q (quality, position) on q.position = i.position;

create table register_reading (
    meter_id     bigint not null,
    obis         text not null,
    measured_at  timestamptz not null,
    value        bigint not null,
    unit         text not null,
    quality      smallint not null default 0,
    source       text not null,
    primary key (meter_id, obis, measured_at)
) partition by range (measured_at);

create table meter_event (
    meter_id     bigint not null,
    occurred_at  timestamptz not null,
    event_code   text not null,
    detail       jsonb not null default '{}',
    source       text not null,
    primary key (meter_id, occurred_at, event_code)
) partition by range (occurred_at);

create table coverage (
    meter_id     bigint not null,
    channel      text not null,
    day          date not null,
    expected     smallint not null,
    present      smallint not null,
    attempts     integer not null default 0,
    cause        text,
    state        text not null check (state in ('complete', 'retrying', 'given_up')),
    updated_at   timestamptz not null,
    primary key (meter_id, channel, day)
) partition by range (day);
comment on table coverage is 'what is present per meter, channel and day, and why the rest is not; gap reports never scan readings';

insert into partitioned_table values
    ('profile_day', 7), ('profile_day_revision', 28), ('register_reading', 28), ('meter_event', 28), ('coverage', 28);
