-- name: insert
insert into supply_order (
    usage_point_id, account_id, meter_id, link_id, action, purpose, state, priority, reason,
    requested_by, idempotency_key, not_before, not_after, deadline_at, next_attempt_at,
    appliances_off, decision_id, payment_id, notice_cycle_id, created_at, created_real_at)
values (
    %(usage_point_id)s, %(account_id)s, %(meter_id)s, %(link_id)s, %(action)s, %(purpose)s,
    'requested', %(priority)s, %(reason)s, %(requested_by)s, %(idempotency_key)s, %(not_before)s,
    %(not_after)s, %(deadline_at)s, coalesce(%(not_before)s, %(at)s), %(appliances_off)s,
    %(decision_id)s, %(payment_id)s, %(notice_cycle_id)s, %(at)s, clock_timestamp())
returning *

-- name: add_event
insert into supply_order_event (order_id, event_no, from_state, to_state, at, real_at, actor, detail)
select %(order_id)s, coalesce(max(event_no), 0) + 1, %(from_state)s, %(to_state)s, %(at)s,
       clock_timestamp(), %(actor)s, %(detail)s
from supply_order_event where order_id = %(order_id)s

-- name: get
select * from supply_order where order_id = %(order_id)s

-- name: lock
select * from supply_order where order_id = %(order_id)s for update

-- name: find_by_key
select * from supply_order where idempotency_key = %(idempotency_key)s

-- name: lock_open
select * from supply_order
where usage_point_id = %(usage_point_id)s and state <> all(%(final)s)
order by order_id for update

-- name: has_unsent
select exists (select from supply_order
               where usage_point_id = %(usage_point_id)s and state = any(%(unsent)s)) as waiting

-- name: move
update supply_order set
    state = %(to_state)s,
    next_attempt_at = coalesce(%(next_attempt_at)s, next_attempt_at),
    attempts = coalesce(%(attempts)s, attempts),
    refusal_codes = coalesce(%(refusal_codes)s, refusal_codes),
    evidence_grade = coalesce(%(evidence_grade)s, evidence_grade),
    evidence = evidence || coalesce(%(evidence)s, '{}'::jsonb),
    meter_id = coalesce(%(meter_id)s, meter_id),
    link_id = coalesce(%(link_id)s, link_id),
    lease_holder = case when %(keep_lease)s then lease_holder else %(lease_holder)s end,
    lease_until = case when %(keep_lease)s then lease_until
                       else clock_timestamp() + make_interval(secs => %(lease_s)s) end,
    fence = fence + (%(lease_holder)s::text is not null)::int,
    finished_at = case when %(final)s then %(at)s else finished_at end,
    finished_real_at = case when %(final)s then clock_timestamp() else finished_real_at end
where order_id = %(order_id)s and state = %(from_state)s and fence = %(fence)s
returning *

-- name: await_read_back
update supply_order set next_attempt_at = %(next_attempt_at)s, attempts = %(attempts)s,
    lease_holder = null, lease_until = null
where order_id = %(order_id)s and state = 'outcome_unknown' and fence = %(fence)s
returning *

-- name: with_field_and_heard
-- Given to a crew, and since then the meter that serves the usage point was heard.
select o.order_id
from supply_order o
join meter_installation i on i.usage_point_id = o.usage_point_id and i.valid_to is null
join meter_contact c on c.meter_id = i.meter_id
where o.state = 'with_field'
  and c.last_heard_at > (select max(e.at) from supply_order_event e where e.order_id = o.order_id)
  and not exists (select from restraint r where r.usage_point_id = o.usage_point_id
                    and r.kind = 'field_lock' and r.lifted_at is null)
order by o.order_id
limit %(limit)s

-- name: hasten
update supply_order set next_attempt_at = %(at)s
where meter_id = %(meter_id)s and state in ('queued', 'outcome_unknown')
  and next_attempt_at > %(at)s
  and (not_before is null or not_before <= %(at)s)
  and (lease_until is null or lease_until < clock_timestamp())
returning order_id, state, link_id

-- name: notify
select pg_notify('supply_order', %(payload)s)

-- name: claim_due
-- An expired lease of an order in flight means that its process died: whatever it had sent is
-- unknown, so the claimer reads back before anything else.
with due as (
    select o.order_id
    from supply_order o
    left join link_lease l on l.link_id = o.link_id
    where o.state in ('scheduled', 'queued', 'sending', 'verifying', 'outcome_unknown',
                      'awaiting_customer')
      and o.next_attempt_at <= %(at)s
      and (o.lease_until is null or o.lease_until < clock_timestamp())
      and (l.link_id is null or l.lease_until < clock_timestamp() or l.holder = %(holder)s)
      and not (
          o.state in ('scheduled', 'queued') and exists (
              select from supply_order f
              where f.usage_point_id = o.usage_point_id
                and f.state in ('sending', 'verifying', 'awaiting_customer', 'outcome_unknown')))
    order by o.priority, o.next_attempt_at, o.order_id
    limit %(limit)s
    for update of o skip locked
)
update supply_order o
set lease_holder = %(holder)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s),
    fence = o.fence + 1
from due where o.order_id = due.order_id
returning o.*

-- name: holders
select distinct lease_holder from supply_order
where lease_until > clock_timestamp() and lease_holder is not null
  and state in ('scheduled', 'queued', 'sending', 'verifying', 'outcome_unknown', 'awaiting_customer')

-- name: release_held
update supply_order set lease_until = null
where lease_holder = any(%(holders)s) and lease_until is not null
  and state in ('scheduled', 'queued', 'sending', 'verifying', 'outcome_unknown', 'awaiting_customer')

-- name: next_due
select min(next_attempt_at) as due from supply_order
where state in ('scheduled', 'queued', 'outcome_unknown')

-- name: count_in_flight
select count(*) as orders from supply_order
where state in ('sending', 'verifying')
   or (state in ('scheduled', 'queued', 'outcome_unknown') and next_attempt_at <= %(at)s)

-- name: events
select * from supply_order_event where order_id = %(order_id)s order by event_no

-- name: search
select * from supply_order
where (%(usage_point_id)s::bigint is null or usage_point_id = %(usage_point_id)s)
  and (%(account_id)s::bigint is null or account_id = %(account_id)s)
  and (%(states)s::text[] is null or state = any(%(states)s))
  and (%(before_order_id)s::bigint is null or order_id < %(before_order_id)s)
order by order_id desc limit %(limit)s

-- name: count_by_state
select action, state, count(*) as orders from supply_order group by action, state order by 1, 2

-- name: governor_lock
select pg_advisory_xact_lock(hashtext('headend.governor'))

-- name: switching_counts
-- A disconnect counts from when it was let through, unless it ended without reaching the meter.
with here as (
    select u.transformer_area_id from usage_point u where u.usage_point_id = %(usage_point_id)s
), counted as (
    select o.requested_by, o.purpose, u.transformer_area_id, u.expected_load_w
    from supply_order o
    join usage_point u using (usage_point_id)
    where o.action = 'disconnect' and o.created_at > %(since)s
      and o.state not in ('requested', 'quarantined', 'awaiting_approval',
                          'refused', 'cancelled', 'expired', 'superseded')
)
select count(*) filter (where purpose <> 'safety_isolation') as system,
       count(*) filter (where purpose <> 'safety_isolation' and requested_by = %(caller)s) as caller,
       count(*) filter (where purpose <> 'safety_isolation'
                          and transformer_area_id = (select transformer_area_id from here))
           as transformer_area,
       coalesce(sum(expected_load_w) filter (where purpose <> 'safety_isolation'), 0)::bigint
           as power_w,
       count(*) filter (where purpose = 'safety_isolation') as safety
from counted

-- name: add_release
insert into supply_order_release (order_id, released_by, released_at)
values (%(order_id)s, %(released_by)s, %(at)s)
on conflict do nothing

-- name: releases
select released_by from supply_order_release where order_id = %(order_id)s order by released_at

-- name: stop_switch
select stopped, changed_by, reason, changed_at from stop_switch

-- name: set_stop_switch
insert into stop_switch (stopped, changed_by, reason, changed_at)
values (%(stopped)s, %(changed_by)s, %(reason)s, %(at)s)
on conflict (singleton) do update
    set stopped = excluded.stopped, changed_by = excluded.changed_by,
        reason = excluded.reason, changed_at = excluded.changed_at
