-- name: open_cycle
insert into notice_cycle (account_id, usage_point_id, opened_at, refused_since)
values (%(account_id)s, %(usage_point_id)s, %(at)s, %(refused_since)s)
on conflict (usage_point_id) where closed_at is null do nothing
returning *

-- name: open_cycle_of_usage_point
select * from notice_cycle where usage_point_id = %(usage_point_id)s and closed_at is null

-- name: lock_cycle
select * from notice_cycle where cycle_id = %(cycle_id)s for no key update

-- name: latest_cycle
select * from notice_cycle
where account_id = %(account_id)s and usage_point_id = %(usage_point_id)s
order by cycle_id desc limit 1

-- name: close_cycle
update notice_cycle set closed_at = %(at)s, close_reason = %(reason)s, next_decision_at = null
where cycle_id = %(cycle_id)s and closed_at is null
returning cycle_id

-- name: cancel_stages
update notice set state = 'cancelled'
where cycle_id = %(cycle_id)s and state = 'due' and reference = ''

-- name: fix_plan
update notice_cycle
set planned_disconnect_at = %(planned_disconnect_at)s, expires_at = %(expires_at)s,
    next_decision_at = %(next_decision_at)s
where cycle_id = %(cycle_id)s and closed_at is null

-- name: fix_plan_of_notices
update notice set planned_disconnect_at = %(planned_disconnect_at)s
where cycle_id = %(cycle_id)s and stage = 'disconnect_notice'

-- name: set_next_decision
update notice_cycle
set next_decision_at = %(next_decision_at)s, refused_since = %(refused_since)s
where cycle_id = %(cycle_id)s and closed_at is null

-- name: due_decisions
select * from notice_cycle
where closed_at is null and next_decision_at <= %(at)s
order by next_decision_at, cycle_id limit %(limit)s

-- name: next_decision_at
select min(next_decision_at) as at from notice_cycle where closed_at is null

-- name: plan
insert into notice (cycle_id, account_id, usage_point_id, stage, state, reference, due_at,
                    next_attempt_at, planned_disconnect_at, text_zh, text_en, recipient)
values (%(cycle_id)s, %(account_id)s, %(usage_point_id)s, %(stage)s, 'due', %(reference)s,
        %(due_at)s, %(due_at)s, %(planned_disconnect_at)s, %(text_zh)s, %(text_en)s, %(recipient)s)
on conflict (usage_point_id, cycle_id, stage, reference) do nothing
returning *

-- name: claim_due
with claimed as (
    select notice_id from notice
    where state = 'due' and next_attempt_at <= %(at)s
      and (claimed_until is null or claimed_until < clock_timestamp())
    order by next_attempt_at, notice_id
    limit %(limit)s
    for update skip locked
)
update notice
set attempts = attempts + 1,
    claimed_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
from claimed where notice.notice_id = claimed.notice_id
returning notice.*

-- name: rewrite
update notice
set text_zh = %(text_zh)s, text_en = %(text_en)s, planned_disconnect_at = %(planned_disconnect_at)s
where notice_id = %(notice_id)s and state = 'due'

-- name: record_delivery
update notice
set state = case state when 'due' then 'delivered' else state end,
    delivered_at = %(delivered_at)s, evidence = %(evidence)s, claimed_until = null, failure = null
where notice_id = %(notice_id)s and delivered_at is null
returning *

-- name: record_failure
update notice
set state = case when state = 'due' and %(next_attempt_at)s::timestamptz is null then 'failed'
                 else state end,
    next_attempt_at = coalesce(%(next_attempt_at)s, next_attempt_at),
    claimed_until = null, failure = %(failure)s
where notice_id = %(notice_id)s and delivered_at is null
returning *

-- name: get
select * from notice where notice_id = %(notice_id)s

-- name: notices_of_cycle
select * from notice where cycle_id = %(cycle_id)s order by due_at, notice_id

-- name: notices_of_account
select * from notice where account_id = %(account_id)s
order by due_at desc, notice_id desc limit %(limit)s

-- name: next_attempt_at
select min(next_attempt_at) as at from notice where state = 'due'

-- name: context
select a.account_id, a.account_no, a.customer_class, u.usage_point_id, u.time_zone, u.address,
       coalesce(a.phone, '') as recipient, b.balance_nano
from account a
join usage_point u on u.usage_point_id = %(usage_point_id)s
left join account_balance b using (account_id)
where a.account_id = %(account_id)s
