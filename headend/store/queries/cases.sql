-- name: open
insert into "case" (kind, subject_key, usage_point_id, account_id, meter_id, owner, detail, opened_at, due_at)
values (%(kind)s, %(subject_key)s, %(usage_point_id)s, %(account_id)s, %(meter_id)s, %(owner)s,
        %(detail)s, %(at)s, %(due_at)s)
on conflict (kind, subject_key) where closed_at is null
    do update set detail = "case".detail || excluded.detail
returning case_id

-- name: close
update "case" set closed_at = %(at)s, closed_by = %(closed_by)s, outcome = %(outcome)s
where kind = %(kind)s and subject_key = %(subject_key)s and closed_at is null
returning case_id

-- name: list_open
select * from "case"
where closed_at is null
  and (%(usage_point_id)s::bigint is null or usage_point_id = %(usage_point_id)s)
order by opened_at, case_id
limit 1000
