-- name: ensure_partitions
select ensure_partitions(%(first)s, %(last)s)

-- name: given_days
create temp table if not exists given_days (
    meter_id bigint, channel text, day date, interval_s integer, energy_wh bigint[],
    quality smallint[], present smallint
) on commit delete rows

-- name: clear_given_days
truncate given_days

-- name: copy_given_days
copy given_days (meter_id, channel, day, interval_s, energy_wh, quality, present)
from stdin (format binary)

-- name: changed_days
create temp table if not exists changed_days (
    meter_id bigint, channel text, day date, interval_s integer, energy_wh bigint[],
    quality smallint[], present smallint
) on commit delete rows

-- name: clear_changed_days
truncate changed_days

-- name: insert_days
insert into profile_day (meter_id, channel, day, interval_s, energy_wh, quality, source, stored_at)
select meter_id, channel, day, interval_s, energy_wh, quality, %(source)s, %(at)s
from given_days
order by meter_id, channel, day
on conflict (meter_id, channel, day) do nothing

-- Only rows that differ are locked: a lock alone would write every row read again.
-- name: lock_differing_days
select 1
from given_days g join profile_day p using (meter_id, channel, day)
where p.energy_wh <> g.energy_wh or p.quality <> g.quality or p.interval_s <> g.interval_s
order by p.meter_id, p.channel, p.day
for update of p

-- Interval by interval, the value given wins, except that a missing one never replaces one that is
-- there, nor our own estimate one that a meter gave (2: our estimate, 5: missing), and that an
-- actual value read again with the same result keeps the quality it had (0, 1: actual).
-- A day given at another interval length, or in another number of intervals, replaces the stored
-- day as a whole: there is no way to merge the two by position.
-- name: find_changed_days
insert into changed_days
select p.meter_id, p.channel, p.day, g.interval_s, merged.energy_wh, merged.quality, merged.present
from given_days g
join profile_day p using (meter_id, channel, day)
cross join lateral (
    select array_agg(case when takes then given_wh else stored_wh end order by position) as energy_wh,
           array_agg((case when takes then given_quality else stored_quality end)::smallint
                     order by position) as quality,
           count(*) filter (
               where case when takes then given_quality else stored_quality end <> 5
           )::smallint as present
    from (
        select position, given_wh, given_quality, stored_wh, stored_quality,
               stored_quality is null
               or (given_quality <> 5
                   and (given_quality <> 2 or stored_quality in (2, 5))
                   and not (given_wh = stored_wh and given_quality <= 1 and stored_quality <= 1)
                  ) as takes
        from unnest(g.energy_wh, g.quality) with ordinality as a (given_wh, given_quality, position)
        left join unnest(p.energy_wh, p.quality)
            with ordinality as b (stored_wh, stored_quality, position)
            using (position)
    ) parts
) merged_by_position
cross join lateral (
    select case when same_grid then merged_by_position.energy_wh else g.energy_wh end as energy_wh,
           case when same_grid then merged_by_position.quality else g.quality end as quality,
           case when same_grid then merged_by_position.present else g.present end as present
    from (select p.interval_s = g.interval_s
              and cardinality(p.energy_wh) = cardinality(g.energy_wh) as same_grid) grid
) merged
where (p.energy_wh <> g.energy_wh or p.quality <> g.quality or p.interval_s <> g.interval_s)
  and (p.energy_wh <> merged.energy_wh or p.quality <> merged.quality
       or p.interval_s <> g.interval_s)

-- name: keep_revisions
insert into profile_day_revision (meter_id, channel, day, revision, interval_s, energy_wh, quality,
                                  source, stored_at, replaced_at)
select p.meter_id, p.channel, p.day, p.revision, p.interval_s, p.energy_wh, p.quality, p.source,
       p.stored_at, %(at)s
from changed_days c join profile_day p using (meter_id, channel, day)
on conflict do nothing

-- name: revise_days
update profile_day p
set interval_s = c.interval_s, energy_wh = c.energy_wh, quality = c.quality,
    revision = p.revision + 1, source = %(source)s, stored_at = %(at)s
from changed_days c
where p.meter_id = c.meter_id and p.channel = c.channel and p.day = c.day

-- name: cover_days
insert into coverage as held (meter_id, channel, day, expected, present, attempts, cause, state,
                              updated_at)
select g.meter_id, g.channel, g.day, cardinality(g.quality), coalesce(c.present, g.present), 1,
       case when coalesce(c.present, g.present) < cardinality(g.quality)
            then 'missing_in_meter' end,
       case when coalesce(c.present, g.present) < cardinality(g.quality)
            then 'retrying' else 'complete' end,
       %(at)s
from given_days g left join changed_days c using (meter_id, channel, day)
order by g.meter_id, g.channel, g.day
on conflict (meter_id, channel, day) do update
    set expected = excluded.expected,
        present = least(greatest(excluded.present, held.present), excluded.expected),
        attempts = held.attempts + 1,
        cause = case when greatest(excluded.present, held.present) < excluded.expected
                     then excluded.cause end,
        state = case when greatest(excluded.present, held.present) < excluded.expected
                     then 'retrying' else 'complete' end,
        updated_at = excluded.updated_at
    where held.state <> 'complete' or held.expected <> excluded.expected

-- name: profile_days
select meter_id, channel, day, interval_s, energy_wh, quality, revision, source, stored_at
from profile_day
where meter_id = any(%(meter_ids)s) and channel = %(channel)s
  and day between %(first)s and %(last)s
order by meter_id, day

-- name: store_registers
insert into register_reading (meter_id, obis, measured_at, value, unit, quality, source)
select meter_id, obis, measured_at, value, unit, quality, %(source)s
from unnest(%(meter_ids)s::bigint[], %(obis)s::text[], %(measured_at)s::timestamptz[],
            %(values)s::bigint[], %(units)s::text[], %(qualities)s::smallint[])
     as given (meter_id, obis, measured_at, value, unit, quality)
order by meter_id, obis, measured_at
on conflict do nothing

-- name: store_events
insert into meter_event (meter_id, occurred_at, event_code, detail, source)
select meter_id, occurred_at, event_code, detail, %(source)s
from unnest(%(meter_ids)s::bigint[], %(occurred_at)s::timestamptz[], %(codes)s::text[],
            %(details)s::jsonb[]) as given (meter_id, occurred_at, event_code, detail)
order by meter_id, occurred_at, event_code
on conflict do nothing

-- name: record_contacts
insert into meter_contact as held (meter_id, last_heard_at, last_failure_at, last_failure,
                                   failures_in_row)
select distinct on (meter_id)
       meter_id, case when failure is null then at end, case when failure is not null then at end,
       failure, (failure is not null)::int
from unnest(%(meter_ids)s::bigint[], %(at)s::timestamptz[], %(failures)s::text[])
     as given (meter_id, at, failure)
order by meter_id, at desc
on conflict (meter_id) do update
    set last_heard_at = greatest(held.last_heard_at, excluded.last_heard_at),
        last_failure_at = greatest(held.last_failure_at, excluded.last_failure_at),
        last_failure = coalesce(excluded.last_failure, held.last_failure),
        failures_in_row = case when excluded.last_heard_at is not null then 0
                               else held.failures_in_row + 1 end

-- name: record_gaps
insert into coverage as held (meter_id, channel, day, expected, present, attempts, cause, state,
                              updated_at)
select meter_id, channel, day, expected, 0, 1, cause, 'retrying', %(at)s
from unnest(%(meter_ids)s::bigint[], %(channels)s::text[], %(days)s::date[],
            %(expected)s::smallint[], %(causes)s::text[])
     as given (meter_id, channel, day, expected, cause)
order by meter_id, channel, day
on conflict (meter_id, channel, day) do update
    set attempts = held.attempts + 1, cause = excluded.cause, updated_at = excluded.updated_at
    where held.state <> 'complete'

-- name: missing_days
select meter.meter_id, due.day::date as day, coalesce(held.present, 0) as present, held.cause
from unnest(%(meter_ids)s::bigint[]) as meter (meter_id)
cross join generate_series(%(first)s::date, %(last)s::date, interval '1 day') as due (day)
left join coverage held
    on held.meter_id = meter.meter_id and held.channel = %(channel)s and held.day = due.day::date
   and held.day between %(first)s and %(last)s
where held.state is null or held.state = 'retrying'
order by meter.meter_id, day
