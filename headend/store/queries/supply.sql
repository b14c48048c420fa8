-- name: guard_row
select u.usage_point_id, u.usage_point_no, u.time_zone, u.expected_load_w, u.transformer_area_id,
       t.works_permitted,
       m.meter_id, m.link_id, i.link_confirmed_at is not null as meter_link_confirmed,
       m.remote_close, m.closes_directly, mc.last_heard_at as meter_last_heard_at,
       exists (select from "case" c where c.kind = 'identity_mismatch'
                 and c.meter_id = m.meter_id and c.closed_at is null) as identity_mismatch_open,
       a.account_id, a.customer_class, a.payment_mode,
       a.agreement_signed_at <= %(at)s as agreement_signed,
       coalesce(a.standing_close_consent_at <= %(at)s, false) as standing_close_consent,
       a.emergency_credit_nano,
       b.balance_nano, b.estimated_nano, b.actual_through as balance_as_of,
       coalesce((select sum(e.amount_nano) from ledger_entry e
                 where e.account_id = a.account_id and e.kind = 'correction'
                   and e.business_date >= %(corrections_since)s), 0)::bigint as corrections_nano,
       exists (select from payment p join payment_channel k using (channel_code)
               where p.account_id = a.account_id and p.state = 'pending'
                 and p.paid_at > %(at)s - make_interval(secs => k.pending_limit_s)) as payment_pending,
       exists (select from payment p join payment_channel k using (channel_code)
               where p.account_id = a.account_id and k.fault_since <= %(at)s
                 and p.paid_at > %(at)s - interval '400 days') as channel_at_fault,
       n.cycle_id, n.notice_delivered_at, n.planned_at, n.notice_expires_at,
       n.reminder_delivered_at,
       (select max(least(h.ended_at, h.valid_to)) from hold h
        where h.usage_point_id = u.usage_point_id
          and least(h.ended_at, h.valid_to) <= %(at)s) as cycle_restarted_at,
       coalesce((select array_agg(r.kind order by r.kind) from restraint r
                 where r.usage_point_id = u.usage_point_id and r.lifted_at is null),
                '{}') as restraints,
       coalesce((select array_agg(distinct h.kind order by h.kind) from hold h
                 where h.usage_point_id = u.usage_point_id and h.ended_at is null
                   and h.valid_from <= %(at)s and (h.valid_to is null or h.valid_to > %(at)s)),
                '{}') as holds,
       coalesce(s.state, 'unknown') as supply_state, s.source as supply_source,
       s.observed_at as supply_observed_at,
       coalesce((select stopped from stop_switch), false) as stop_switch_on
from usage_point u
join transformer_area t using (transformer_area_id)
left join meter_installation i on i.usage_point_id = u.usage_point_id and i.valid_to is null
left join meter m using (meter_id)
left join meter_contact mc using (meter_id)
left join supply_state s on s.usage_point_id = u.usage_point_id
left join lateral (
    select p.account_id from occupancy p
    where p.usage_point_id = u.usage_point_id
      and p.valid_from <= (%(at)s at time zone u.time_zone)::date
      and (p.valid_to is null or p.valid_to > (%(at)s at time zone u.time_zone)::date)
    order by p.valid_from desc, p.occupancy_id desc limit 1
) o on true
left join account a on a.account_id = o.account_id
left join account_balance b on b.account_id = a.account_id
left join lateral (
    select c.cycle_id,
           max(x.delivered_at) filter (where x.stage = 'disconnect_notice') as notice_delivered_at,
           c.planned_disconnect_at as planned_at, c.expires_at as notice_expires_at,
           max(x.delivered_at) filter (where x.stage = 'reminder') as reminder_delivered_at
    from notice_cycle c left join notice x using (cycle_id)
    where c.usage_point_id = u.usage_point_id and c.account_id = a.account_id
      and c.closed_at is null
    group by c.cycle_id
) n on true
where u.usage_point_id = %(usage_point_id)s

-- name: supply_state
select * from supply_state where usage_point_id = %(usage_point_id)s

-- name: record_state
insert into supply_state as known (
    usage_point_id, meter_id, state, output_state, control_state, control_mode, power_w, source,
    observed_at)
values (%(usage_point_id)s, %(meter_id)s, %(state)s, %(output_state)s, %(control_state)s,
        %(control_mode)s, %(power_w)s, %(source)s, %(at)s)
on conflict (usage_point_id) do update set
    meter_id = excluded.meter_id, state = excluded.state, output_state = excluded.output_state,
    control_state = excluded.control_state, control_mode = excluded.control_mode,
    power_w = excluded.power_w, source = excluded.source, observed_at = excluded.observed_at
    where excluded.observed_at >= known.observed_at
returning usage_point_id

-- name: place_local
insert into restraint (usage_point_id, kind, placed_at, placed_by, evidence)
select %(usage_point_id)s, 'local', %(at)s, %(source)s, 'contact seen open without an order of ours'
where not exists (select from restraint
                  where usage_point_id = %(usage_point_id)s and lifted_at is null)
  and not exists (select from supply_order
                  where usage_point_id = %(usage_point_id)s and state = any(%(open_states)s))
  and coalesce((select action from supply_order
                where usage_point_id = %(usage_point_id)s and state = 'completed'
                order by finished_real_at desc, order_id desc limit 1), 'reconnect') = 'reconnect'
on conflict do nothing
returning restraint_id

-- name: off_without_reason
-- Opened by us (the last completed order was a disconnect), and now neither restrained nor under way.
select s.usage_point_id from supply_state s
where s.state <> 'connected'
  and (%(usage_point_id)s::bigint is null or s.usage_point_id = %(usage_point_id)s)
  and not exists (select from restraint r
                  where r.usage_point_id = s.usage_point_id and r.lifted_at is null)
  and not exists (select from supply_order o
                  where o.usage_point_id = s.usage_point_id and o.state = any(%(open_states)s))
  and (select o.action from supply_order o
       where o.usage_point_id = s.usage_point_id and o.state = 'completed'
       order by o.finished_real_at desc, o.order_id desc limit 1) = 'disconnect'
order by s.usage_point_id
limit %(limit)s

-- name: lift_disproved
-- A disconnect that failed in doubt left its restraint; the contact is seen closed after all.
update restraint r set lifted_at = %(at)s, lifted_by = %(source)s
from supply_order o
where r.usage_point_id = %(usage_point_id)s and r.lifted_at is null
  and o.order_id = r.order_id and o.state = 'failed'

-- name: installed_meter
select m.meter_id, m.link_id
from meter_installation i join meter m using (meter_id)
where i.usage_point_id = %(usage_point_id)s and i.valid_to is null

-- name: lift_restraint
update restraint set lifted_at = %(at)s, lifted_by = %(lifted_by)s
where usage_point_id = %(usage_point_id)s and kind = %(kind)s and lifted_at is null
returning restraint_id

-- name: place_restraint
insert into restraint (usage_point_id, kind, placed_at, placed_by, evidence, order_id)
values (%(usage_point_id)s, %(kind)s, %(at)s, %(placed_by)s, %(evidence)s, %(order_id)s)
on conflict (usage_point_id, kind) where lifted_at is null do nothing
returning restraint_id

-- name: restraints
select restraint_id, kind, placed_at, placed_by, evidence, order_id from restraint
where usage_point_id = %(usage_point_id)s and lifted_at is null order by restraint_id

-- name: expected_identity
select logical_device_name, serial from meter where meter_id = %(meter_id)s

-- name: lock_usage_point
select 1 from usage_point where usage_point_id = %(usage_point_id)s for no key update
