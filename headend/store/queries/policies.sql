-- name: effective_version
select version from policy_version
where policy_code = %(policy_code)s and effective_from <= %(at)s
order by effective_from desc, version desc limit 1

-- name: get_version
select * from policy_version where policy_code = %(policy_code)s and version = %(version)s

-- name: list_versions
select * from policy_version where policy_code = %(policy_code)s order by version desc

-- name: lock_policy
select pg_advisory_xact_lock(hashtext('policy_version'), hashtext(%(policy_code)s))

-- name: publish
insert into policy_version
    (policy_code, version, document, published_by, approved_by, effective_from)
select %(policy_code)s, coalesce(max(version), 0) + 1, %(document)s, %(published_by)s,
       %(approved_by)s, %(effective_from)s
from policy_version where policy_code = %(policy_code)s
returning *

-- name: ensure_first
insert into policy_version
    (policy_code, version, document, published_by, approved_by, effective_from)
values (%(policy_code)s, 1, %(document)s, %(published_by)s, %(approved_by)s, %(effective_from)s)
on conflict (policy_code, version) do nothing
returning version

-- name: lock_balances
select account_id from account_balance
where account_id = any(%(account_ids)s)
order by account_id for no key update

-- name: lock_cycles
-- Not "for update": whoever writes a notice twice in a transaction, as its delivery does, shares the
-- key of its cycle, and would wait for us while we wait for the notice.
select cycle_id from notice_cycle
where account_id = any(%(account_ids)s) and closed_at is null
order by cycle_id for no key update

-- name: lock_points
select u.usage_point_id from usage_point u
where u.usage_point_id in (select o.usage_point_id from occupancy o
                           where o.account_id = any(%(account_ids)s))
order by u.usage_point_id for no key update

-- name: lock_disconnects
-- A dispatcher that is just claiming one has it locked: whether it is sent is known after that.
select order_id from supply_order
where usage_point_id = any(%(usage_point_ids)s) and action = 'disconnect'
  and state in ('requested', 'quarantined', 'awaiting_approval', 'scheduled', 'queued')
order by order_id for no key update

-- name: accounts_of_shard
select account_id from account
where account_id > %(after_account_id)s and account_id %% %(shards)s = %(shard)s
order by account_id limit %(limit)s

-- name: facts
select a.account_id, a.account_no, o.usage_point_id, u.time_zone, a.customer_class, a.payment_mode,
       a.agreement_signed_at is not null and a.agreement_signed_at <= %(at)s as agreement_signed,
       a.emergency_credit_nano, b.balance_nano, b.estimated_nano, b.actual_through,
       exists (select from payment p join payment_channel pc using (channel_code)
               where p.account_id = a.account_id and p.state = 'pending'
                 and p.paid_at + make_interval(secs => pc.pending_limit_s) > %(at)s
              ) as payment_pending,
       (select exists (select from payment_channel where fault_since <= %(at)s)) as channel_at_fault,
       s.state as supply_state, mc.last_heard_at as meter_last_heard_at,
       exists (select from restraint r
               where r.usage_point_id = o.usage_point_id and r.kind = 'arrears'
                 and r.lifted_at is null) as arrears_restraint,
       (select case when so.state in ('sending', 'verifying', 'awaiting_customer', 'outcome_unknown')
                    then 'in_flight' else 'unsent' end
        from supply_order so
        where so.usage_point_id = o.usage_point_id
          and so.action = 'disconnect' and so.purpose = 'arrears'
          and so.state in ('sending', 'verifying', 'awaiting_customer', 'outcome_unknown',
                           'requested', 'quarantined', 'awaiting_approval', 'scheduled', 'queued')
        order by 1 limit 1) as open_disconnect,
       h.hold_kinds, h.hold_ended_at,
       c.cycle_id, c.account_id as cycle_account_id, c.opened_at as cycle_opened_at,
       c.planned_disconnect_at, c.expires_at, c.next_decision_at, c.refused_since,
       n.stage_names, n.stage_states, n.stage_delivered_at
from account a
join occupancy o on o.account_id = a.account_id and o.valid_from <= %(business_date)s
                and (o.valid_to is null or o.valid_to > %(business_date)s)
join usage_point u on u.usage_point_id = o.usage_point_id
left join account_balance b on b.account_id = a.account_id
left join supply_state s on s.usage_point_id = o.usage_point_id
left join meter_installation i on i.usage_point_id = o.usage_point_id and i.valid_to is null
left join meter_contact mc on mc.meter_id = i.meter_id
left join notice_cycle c on c.usage_point_id = o.usage_point_id and c.closed_at is null
left join lateral (
    select coalesce(array_agg(stage order by notice_id), '{}') as stage_names,
           coalesce(array_agg(state order by notice_id), '{}') as stage_states,
           coalesce(array_agg(case when state = 'delivered' then delivered_at end order by notice_id),
                    '{}') as stage_delivered_at
    from notice where cycle_id = c.cycle_id and reference = ''
) n on true
left join lateral (
    select coalesce(array_agg(kind order by kind) filter (
               where ended_at is null and valid_from <= %(at)s
                 and (valid_to is null or valid_to > %(at)s)), '{}') as hold_kinds,
           max(least(ended_at, valid_to)) filter (
               where least(ended_at, valid_to) <= %(at)s
                 and valid_from < least(ended_at, valid_to)) as hold_ended_at
    from hold where usage_point_id = o.usage_point_id
) h on true
where a.account_id = any(%(account_ids)s)
order by a.account_id, o.usage_point_id

-- name: record_decision
insert into decision (account_id, usage_point_id, business_date, decided_at, trigger, policy_code,
                      policy_version, row_index, outcome, facts, refusal_codes)
values (%(account_id)s, %(usage_point_id)s, %(business_date)s, %(decided_at)s, %(trigger)s,
        %(policy_code)s, %(policy_version)s, %(row_index)s, %(outcome)s, %(facts)s,
        %(refusal_codes)s)
returning *

-- name: record_refusals
update decision set refusal_codes = %(refusal_codes)s
where decision_id = %(decision_id)s and business_date = %(business_date)s

-- name: decided_on
select distinct account_id from decision
where account_id = any(%(account_ids)s) and business_date = %(business_date)s
  and trigger = %(trigger)s

-- name: get_decision
select * from decision where decision_id = %(decision_id)s

-- name: decisions_of_account
select * from decision where account_id = %(account_id)s
order by decided_at desc, decision_id desc limit %(limit)s
