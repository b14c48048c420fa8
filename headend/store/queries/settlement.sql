-- name: ensure_partitions
select ensure_partitions(%(first)s::date, %(last)s::date)

-- name: insert_run
insert into settlement_run (business_date, shard, shards, started_at)
values (%(business_date)s, %(shard)s, %(shards)s, %(at)s)
on conflict (business_date, shard, shards) do nothing
returning run_id, business_date, shard, shards, started_at, finished_at

-- name: find_run
select run_id, business_date, shard, shards, started_at, finished_at
from settlement_run
where business_date = %(business_date)s and shard = %(shard)s and shards = %(shards)s

-- name: insert_chunks
insert into settlement_chunk (run_id, chunk_no, account_ids)
select %(run_id)s, chunk_no, array_agg(account_id order by account_id)
from (
    select account_id, (row_number() over (order by account_id) - 1) / %(chunk_accounts)s as chunk_no
    from (
        select distinct o.account_id
        from occupancy o
        where o.valid_from <= %(business_date)s
          and (o.valid_to is null or o.valid_to > %(business_date)s)
          and mod(o.account_id, %(shards)s) = %(shard)s
    ) occupied
) numbered
group by chunk_no

-- name: open_chunks
select chunk_no from settlement_chunk
where run_id = %(run_id)s and settled_at is null
order by chunk_no

-- name: claim_chunk
select run_id, chunk_no, account_ids from settlement_chunk
where run_id = %(run_id)s and chunk_no = %(chunk_no)s and settled_at is null
for update

-- name: finish_chunk
update settlement_chunk set batch_id = %(batch_id)s, settled_at = %(at)s
where run_id = %(run_id)s and chunk_no = %(chunk_no)s and settled_at is null

-- name: finish_run
update settlement_run set finished_at = %(at)s
where run_id = %(run_id)s and finished_at is null
  and not exists (select from settlement_chunk c where c.run_id = %(run_id)s and c.settled_at is null)

-- name: points
select o.account_id, o.usage_point_id, a.tariff_id, p.time_zone
from occupancy o
join account a using (account_id)
join usage_point p using (usage_point_id)
where o.account_id = any(%(account_ids)s)
  and o.valid_from <= %(day)s and (o.valid_to is null or o.valid_to > %(day)s)
order by o.account_id, o.usage_point_id

-- name: tariff_documents
select tariff_id, document from tariff where tariff_id = any(%(tariff_ids)s)

-- name: installations
select usage_point_id, meter_id, multiplier, valid_from, valid_to
from meter_installation
where usage_point_id = any(%(usage_point_ids)s)
  and valid_from < %(end)s and (valid_to is null or valid_to > %(start)s)
order by usage_point_id, valid_from

-- name: profiles
select meter_id, day, interval_s, revision, energy_wh, quality
from profile_day
where meter_id = any(%(meter_ids)s) and channel = %(channel)s and day between %(first)s and %(last)s
order by meter_id, day

-- name: indications
select meter_id, measured_at, value as value_wh
from register_reading
where meter_id = any(%(meter_ids)s) and obis = %(obis)s
  and measured_at between %(start)s and %(end)s and quality <= 1
order by meter_id, measured_at

-- A contact is off from a completed disconnect to the next completed reconnect, while a restraint
-- stands, and when the meter itself was last seen so.
-- name: interruptions
select usage_point_id, off_from, off_until
from (
    select d.usage_point_id, d.finished_at as off_from,
           (select min(r.finished_at) from supply_order r
            where r.usage_point_id = d.usage_point_id and r.action = 'reconnect'
              and r.state = 'completed' and r.finished_at > d.finished_at) as off_until
    from supply_order d
    where d.usage_point_id = any(%(usage_point_ids)s) and d.action = 'disconnect' and d.state = 'completed'
    union all
    select usage_point_id, placed_at, lifted_at
    from restraint where usage_point_id = any(%(usage_point_ids)s)
    union all
    select usage_point_id, observed_at, null
    from supply_state
    where usage_point_id = any(%(usage_point_ids)s) and state in ('disconnected', 'ready_for_reconnection')
) as interruption
where off_from < %(end)s and (off_until is null or off_until > %(start)s)
order by usage_point_id, off_from

-- name: cycle_states
select w.account_id, w.usage_point_id, d.tariff_id, d.tariff_effective, d.cycle_wh, d.cycle_estimated_wh
from unnest(%(account_ids)s::bigint[], %(usage_point_ids)s::bigint[], %(starts)s::date[])
     as w (account_id, usage_point_id, cycle_start)
cross join lateral (
    select a.tariff_id, a.tariff_effective, a.cycle_before_wh + a.energy_wh as cycle_wh,
           a.cycle_before_estimated_wh + a.estimated_wh as cycle_estimated_wh
    from account_day a
    where a.account_id = w.account_id and a.usage_point_id = w.usage_point_id
      and a.business_date >= w.cycle_start and a.business_date < %(before)s
      and a.unrated_reason is null
    order by a.business_date desc
    limit 1
) d

-- name: cycle_sums
select w.account_id, w.usage_point_id,
       coalesce(sum(a.energy_wh), 0)::bigint as cycle_wh,
       coalesce(sum(a.estimated_wh), 0)::bigint as cycle_estimated_wh
from unnest(%(account_ids)s::bigint[], %(usage_point_ids)s::bigint[], %(starts)s::date[])
     as w (account_id, usage_point_id, cycle_start)
left join account_day a
    on a.account_id = w.account_id and a.usage_point_id = w.usage_point_id
   and a.business_date >= w.cycle_start and a.business_date < %(before)s
group by w.account_id, w.usage_point_id

-- name: rated_days
select a.account_id, a.usage_point_id, a.meter_id, a.multiplier, a.tariff_id, a.tariff_effective,
       a.profile_revision, a.energy_wh, a.estimated_wh, a.cycle_before_wh, a.cycle_before_estimated_wh,
       a.cell_wh, a.charge_nano, a.estimated_nano, a.fixed_nano, a.worst_quality, a.unrated_intervals,
       a.actual_until, a.register_gap_wh, a.unrated_reason, a.rating_no, a.entry_key
from unnest(%(account_ids)s::bigint[], %(usage_point_ids)s::bigint[]) as w (account_id, usage_point_id)
join account_day a
    on a.account_id = w.account_id and a.usage_point_id = w.usage_point_id and a.business_date = %(day)s
order by a.account_id, a.usage_point_id

-- name: copy_days
copy account_day (
    account_id, usage_point_id, business_date, meter_id, multiplier, tariff_id, tariff_effective,
    profile_revision, energy_wh, estimated_wh, cycle_before_wh, cycle_before_estimated_wh, cell_wh,
    charge_nano, estimated_nano, fixed_nano, worst_quality, unrated_intervals, actual_until,
    register_gap_wh, unrated_reason, rating_no, entry_key
) from stdin (format binary)

-- name: make_rerated_days
create temp table if not exists rerated_day (like account_day) on commit delete rows

-- name: clear_rerated_days
truncate rerated_day

-- name: copy_rerated_days
copy rerated_day (
    account_id, usage_point_id, business_date, meter_id, multiplier, tariff_id, tariff_effective,
    profile_revision, energy_wh, estimated_wh, cycle_before_wh, cycle_before_estimated_wh, cell_wh,
    charge_nano, estimated_nano, fixed_nano, worst_quality, unrated_intervals, actual_until,
    register_gap_wh, unrated_reason, rating_no, entry_key
) from stdin (format binary)

-- name: replace_days
update account_day a
set meter_id = r.meter_id, multiplier = r.multiplier, tariff_id = r.tariff_id,
    tariff_effective = r.tariff_effective, profile_revision = r.profile_revision,
    energy_wh = r.energy_wh, estimated_wh = r.estimated_wh, cycle_before_wh = r.cycle_before_wh,
    cycle_before_estimated_wh = r.cycle_before_estimated_wh, cell_wh = r.cell_wh,
    charge_nano = r.charge_nano, estimated_nano = r.estimated_nano, fixed_nano = r.fixed_nano,
    worst_quality = r.worst_quality, unrated_intervals = r.unrated_intervals,
    actual_until = r.actual_until, register_gap_wh = r.register_gap_wh,
    unrated_reason = r.unrated_reason, rating_no = r.rating_no
from rerated_day r
where a.account_id = r.account_id and a.usage_point_id = r.usage_point_id
  and a.business_date = r.business_date and a.business_date = %(day)s

-- Two ways into a change: a day that was not all actual is asked whether more is known by now; a day
-- that was, only when a revision of its readings was kept. Both are few.
-- name: changed_points
with candidate as (
    select d.account_id, d.usage_point_id, d.business_date, d.profile_revision, d.unrated_reason
    from account_day d
    where d.business_date between %(first)s and %(last)s
      and (d.worst_quality > 1 or d.unrated_reason is not null)
      and mod(d.account_id, %(shards)s) = %(shard)s
    union
    select d.account_id, d.usage_point_id, d.business_date, d.profile_revision, d.unrated_reason
    from profile_day_revision r
    join meter_installation i on i.meter_id = r.meter_id
    join occupancy o
        on o.usage_point_id = i.usage_point_id
       and o.valid_from <= r.day and (o.valid_to is null or o.valid_to > r.day)
       and mod(o.account_id, %(shards)s) = %(shard)s
    join account_day d
        on d.account_id = o.account_id and d.usage_point_id = o.usage_point_id
       and d.business_date = r.day and d.business_date between %(first)s and %(last)s
    where r.channel = %(channel)s and r.day between %(first)s and %(last)s
)
select c.account_id, c.usage_point_id, min(c.business_date) as first_day
from candidate c
join usage_point u using (usage_point_id)
cross join lateral (
    select coalesce(sum(p.revision + 1), 0) - 1 as profile_revision
    from meter_installation i
    join profile_day p
        on p.meter_id = i.meter_id and p.channel = %(channel)s and p.day = c.business_date
    where i.usage_point_id = c.usage_point_id
      and i.valid_from < (c.business_date + 1)::timestamp at time zone u.time_zone
      and (i.valid_to is null or i.valid_to > c.business_date::timestamp at time zone u.time_zone)
) known
where known.profile_revision <> c.profile_revision
   or c.unrated_reason in ('no_tariff_version', 'tariff_invalid', 'interval_straddles_period')
group by c.account_id, c.usage_point_id
order by c.account_id, c.usage_point_id

-- name: actual_through
select account_id,
       coalesce(min(actual_until) filter (where worst_quality > 1), max(actual_until)) as actual_through
from account_day
where account_id = any(%(account_ids)s) and business_date between %(first)s and %(last)s
group by account_id

-- name: make_balance_changes
create temp table if not exists balance_change (
    account_id bigint, amount_nano bigint, estimated_nano bigint, settled_through date,
    actual_through timestamptz
) on commit delete rows

-- name: clear_balance_changes
truncate balance_change

-- name: copy_balance_changes
copy balance_change (account_id, amount_nano, estimated_nano, settled_through, actual_through)
from stdin (format binary)

-- name: apply_changes
update account_balance b
set balance_nano = b.balance_nano + c.amount_nano,
    estimated_nano = b.estimated_nano + c.estimated_nano,
    settled_through = greatest(b.settled_through, c.settled_through),
    actual_through = coalesce(c.actual_through, b.actual_through),
    changed_at = %(at)s
from balance_change c
where b.account_id = c.account_id
returning b.account_id, b.balance_nano, c.amount_nano

-- name: calendar
select usage_point_id, business_date, energy_wh, estimated_wh, charge_nano, fixed_nano, worst_quality,
       unrated_reason, tariff_id, tariff_effective, meter_id, multiplier, rating_no, cell_wh
from account_day
where account_id = %(account_id)s and business_date between %(first)s and %(last)s
order by business_date, usage_point_id
