-- name: usage_point
select u.usage_point_id, u.usage_point_no, u.address, u.time_zone, a.account_id, a.account_no, m.meter_no
from usage_point u
left join occupancy o on o.usage_point_id = u.usage_point_id and o.valid_to is null
left join account a on a.account_id = o.account_id
left join meter_installation i on i.usage_point_id = u.usage_point_id and i.valid_to is null
left join meter m on m.meter_id = i.meter_id
where u.usage_point_no = %(usage_point_no)s

-- name: numbers
select 'usage_point' as kind, usage_point_id as id, usage_point_no as number
from usage_point where usage_point_id = any(%(usage_points)s)
union all
select 'account', account_id, account_no from account where account_id = any(%(accounts)s)
union all
select 'meter', meter_id, meter_no from meter where meter_id = any(%(meters)s)

-- name: orders_of_payment
-- By usage point, because that is what orders are indexed by.
select s.order_id, u.usage_point_no, s.action, s.state, s.refusal_codes
from (select distinct usage_point_id from occupancy where account_id = %(account_id)s) o
join supply_order s using (usage_point_id)
join usage_point u using (usage_point_id)
where s.payment_id = %(payment_id)s
order by s.order_id
