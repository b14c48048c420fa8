-- name: progress
select a.account_no, u.usage_point_no, m.meter_no, coalesce(b.balance_nano, 0) as balance_nano,
       coalesce(s.state, 'unknown') as supply_state,
       coalesce((select array_agg(r.kind order by r.kind) from restraint r
                 where r.usage_point_id = u.usage_point_id and r.lifted_at is null),
                '{}') as restraints,
       coalesce((select array_agg(distinct n.stage) from notice n
                 where n.usage_point_id = u.usage_point_id and n.delivered_at >= %(since)s),
                '{}') as notices,
       d.state as disconnect_state, coalesce(d.refusal_codes, '{}') as disconnect_codes,
       r.state as reconnect_state, coalesce(r.refusal_codes, '{}') as reconnect_codes,
       coalesce(x.refusal_codes, '{}') as decision_codes,
       c.planned_disconnect_at
from account a
join occupancy o on o.account_id = a.account_id and o.valid_to is null
join usage_point u using (usage_point_id)
join meter_installation i on i.usage_point_id = u.usage_point_id and i.valid_to is null
join meter m using (meter_id)
left join account_balance b on b.account_id = a.account_id
left join supply_state s on s.usage_point_id = u.usage_point_id
left join notice_cycle c on c.usage_point_id = u.usage_point_id and c.closed_at is null
left join lateral (
    select order_id, state, refusal_codes from supply_order q
    where q.usage_point_id = u.usage_point_id and q.action = 'disconnect'
      and q.created_at >= %(since)s order by order_id desc limit 1
) d on true
left join lateral (
    select state, refusal_codes from supply_order q
    where q.usage_point_id = u.usage_point_id and q.action = 'reconnect'
      and q.created_at >= %(since)s and q.order_id > coalesce(d.order_id, 0)
    order by order_id desc limit 1
) r on true
left join lateral (
    select refusal_codes, outcome from decision q
    where q.account_id = a.account_id and q.usage_point_id = u.usage_point_id
    order by decided_at desc, decision_id desc limit 1
) x on x.outcome = 'disconnect'
where a.account_no = any(%(account_nos)s)
order by a.account_no

-- name: completed_switchings
select q.order_id, a.account_no, m.meter_no, split_part(l.endpoint, '+', 1) as protocol,
       q.action, q.purpose, q.evidence_grade,
       e.at as sent_at, e.real_at as sent_real, q.finished_at, q.finished_real_at as finished_real,
       n.delivered_at as noticed_at, w.delivered_at as reminded_at,
       p.posted_real_at as paid_real
from supply_order q
join meter m using (meter_id)
join link l on l.link_id = q.link_id
join account a on a.account_id = q.account_id
join lateral (
    select at, real_at from supply_order_event v
    where v.order_id = q.order_id and v.to_state = 'sending' order by event_no limit 1
) e on true
left join lateral (
    select max(delivered_at) as delivered_at from notice k
    where k.cycle_id = q.notice_cycle_id and k.stage = 'disconnect_notice'
) n on true
left join lateral (
    select max(delivered_at) as delivered_at from notice k
    where k.cycle_id = q.notice_cycle_id and k.stage = 'reminder'
) w on true
left join payment p on p.payment_id = q.payment_id
where q.state = 'completed' and q.created_at >= %(since)s
order by q.finished_real_at

-- name: payments
select a.account_no, p.posted_real_at as posted_real
from payment p join account a using (account_id)
where p.posted_at >= %(since)s and p.posted_real_at is not null
order by p.posted_real_at

-- name: protocols
select split_part(l.endpoint, '+', 1) as protocol, count(*) as meters,
       coalesce(sum(c.present), 0)::bigint as readings
from meter m
join link l using (link_id)
left join lateral (
    select sum(present) as present from coverage v where v.meter_id = m.meter_id
) c on true
group by 1 order by 1

-- name: notices_delivered
select count(*) as notices from notice where delivered_at >= %(since)s

-- name: totals
select count(*) filter (where s.state = 'connected') as connected,
       count(*) filter (where s.state in ('disconnected', 'ready_for_reconnection')) as disconnected,
       count(*) filter (where s.state is null or s.state = 'unknown') as unknown,
       (select count(*) from notice_cycle where closed_at is null) as warned,
       (select count(*) from "case" where closed_at is null) as open_cases,
       (select count(*) from notice where delivered_at is not null) as notices_delivered
from meter_installation i
left join supply_state s using (usage_point_id)
where i.valid_to is null
