-- name: find
select a.account_id, a.account_no, a.name, a.phone, a.customer_class, a.payment_mode, a.tariff_id,
       t.tariff_code, a.agreement_signed_at, a.standing_close_consent_at, a.emergency_credit_nano, a.created_at
from account a join tariff t using (tariff_id)
where a.account_no = %(account_no)s

-- name: get
select a.account_id, a.account_no, a.name, a.phone, a.customer_class, a.payment_mode, a.tariff_id,
       t.tariff_code, a.agreement_signed_at, a.standing_close_consent_at, a.emergency_credit_nano, a.created_at
from account a join tariff t using (tariff_id)
where a.account_id = %(account_id)s

-- name: account_on
select a.account_id, a.account_no, a.name, a.phone, a.customer_class, a.payment_mode, a.tariff_id,
       t.tariff_code, a.agreement_signed_at, a.standing_close_consent_at, a.emergency_credit_nano, a.created_at
from occupancy o join account a using (account_id) join tariff t using (tariff_id)
where o.usage_point_id = %(usage_point_id)s
  and o.valid_from <= %(day)s and (o.valid_to is null or o.valid_to > %(day)s)

-- name: points
select p.usage_point_id, p.usage_point_no, p.address, p.time_zone, o.valid_from, o.valid_to, m.meter_no
from occupancy o
join usage_point p using (usage_point_id)
left join meter_installation i on i.usage_point_id = p.usage_point_id and i.valid_to is null
left join meter m on m.meter_id = i.meter_id
where o.account_id = %(account_id)s
order by o.valid_from desc, p.usage_point_id

-- name: balance
select account_id, balance_nano, estimated_nano, settled_through, actual_through, changed_at
from account_balance where account_id = %(account_id)s

-- name: make_balances
insert into account_balance (account_id, changed_at)
select wanted.account_id, %(changed_at)s
from unnest(%(account_ids)s::bigint[]) as wanted (account_id)
where not exists (select from account_balance b where b.account_id = wanted.account_id)
order by wanted.account_id
on conflict do nothing

-- name: lock_balances
select account_id, balance_nano, estimated_nano, settled_through, actual_through, changed_at
from account_balance where account_id = any(%(account_ids)s)
order by account_id
for no key update

-- name: add_to_balance
update account_balance
set balance_nano = balance_nano + %(difference_nano)s, changed_at = %(changed_at)s
where account_id = %(account_id)s
returning balance_nano
