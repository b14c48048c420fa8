-- name: find_usage_point
select usage_point_id from usage_point where usage_point_no = %(usage_point_no)s

-- name: place
insert into hold (usage_point_id, kind, valid_from, valid_to, owner, evidence)
select usage_point_id, %(kind)s, %(valid_from)s, %(valid_to)s, %(owner)s, %(evidence)s
from usage_point where usage_point_id = %(usage_point_id)s
returning *

-- name: end
update hold set ended_at = %(at)s, ended_by = %(ended_by)s
where hold_id = %(hold_id)s and ended_at is null
returning *

-- name: get
select * from hold where hold_id = %(hold_id)s

-- name: list_active
select * from hold
where ended_at is null and valid_from <= %(at)s and (valid_to is null or valid_to > %(at)s)
  and (%(usage_point_id)s::bigint is null or usage_point_id = %(usage_point_id)s)
order by hold_id desc limit %(limit)s

-- name: list_of_usage_point
select * from hold where usage_point_id = %(usage_point_id)s order by hold_id desc limit %(limit)s

-- name: accounts_of
select account_id from occupancy
where usage_point_id = %(usage_point_id)s and valid_to is null
order by account_id
