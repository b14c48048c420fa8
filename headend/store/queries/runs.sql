-- name: plan
insert into business_run (kind, business_date, scope, state, due_at)
select kind, business_date, scope, 'due', due_at
from unnest(%(kinds)s::text[], %(dates)s::date[], %(scopes)s::text[], %(due)s::timestamptz[])
     as given (kind, business_date, scope, due_at)
order by kind, business_date, scope
on conflict do nothing

-- name: last_planned
select max(business_date) as business_date from business_run where kind = %(kind)s

-- name: last_done
select max(business_date) as business_date from business_run
where kind = %(kind)s and state = 'done'

-- A run left running without a lease goes back to due: its holder is dead, or too late to finish it.
-- A run waits for every unfinished run that it needs and that is due, of its own date (or of later
-- dates too), and for its own kind of earlier dates, since each day builds on the one before; but
-- no longer than its patience from when both are due.
-- name: claim_due
with candidate as (
    select r.kind, r.business_date, r.scope
    from business_run r
    left join unnest(%(dependents)s::text[], %(needs)s::text[], %(give_up_s)s::integer[],
                     %(later)s::boolean[]) as d (dependent, needs, give_up_s, later)
        on d.dependent = r.kind
    where r.state in ('due', 'running') and r.due_at <= %(now)s
      and (r.lease_until is null or r.lease_until < clock_timestamp())
      and (d.needs is null
           or not exists (
               select from business_run w
               where w.state in ('due', 'running') and w.due_at <= %(now)s
                 and greatest(r.due_at, w.due_at) + make_interval(secs => d.give_up_s) > %(now)s
                 and ((w.kind = d.needs
                       and (w.business_date = r.business_date
                            or d.later and w.business_date > r.business_date))
                      or (w.kind = r.kind and w.business_date < r.business_date))))
    order by r.due_at, r.kind, r.scope
    limit %(limit)s
    for update of r skip locked
)
update business_run r
set state = 'due', lease_holder = %(holder)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
from candidate c
where r.kind = c.kind and r.business_date = c.business_date and r.scope = c.scope
returning r.*

-- name: start
update business_run
set state = 'running', started_at = coalesce(started_at, %(at)s), attempts = attempts + 1,
    lease_holder = %(holder)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
where kind = %(kind)s and business_date = %(business_date)s and scope = %(scope)s
  and (state = 'due'
       or (state = 'running' and (lease_until is null or lease_until < clock_timestamp())))
returning *

-- name: extend_lease
update business_run set lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
where kind = %(kind)s and business_date = %(business_date)s and scope = %(scope)s
  and state = 'running' and lease_holder = %(holder)s

-- name: finish
update business_run
set state = 'done', finished_at = %(at)s, detail = %(detail)s, lease_holder = null,
    lease_until = null
where kind = %(kind)s and business_date = %(business_date)s and scope = %(scope)s
  and state = 'running' and lease_holder = %(holder)s

-- name: put_back
update business_run
set state = 'due', detail = %(detail)s, lease_holder = null,
    lease_until = clock_timestamp() + make_interval(secs => %(delay_s)s)
where kind = %(kind)s and business_date = %(business_date)s and scope = %(scope)s
  and state = 'running' and lease_holder = %(holder)s

-- name: fail
update business_run
set state = 'failed', finished_at = %(at)s, detail = %(detail)s, lease_holder = null,
    lease_until = null
where kind = %(kind)s and business_date = %(business_date)s and scope = %(scope)s
  and state = 'running' and lease_holder = %(holder)s

-- name: holders
select distinct lease_holder from business_run
where state in ('due', 'running') and lease_holder is not null

-- name: release_held
update business_run set lease_holder = null, lease_until = null
where state in ('due', 'running') and lease_holder = any(%(holders)s)

-- name: get
select * from business_run
where kind = %(kind)s and business_date = %(business_date)s and scope = %(scope)s

-- name: runs_of
select * from business_run where business_date = %(business_date)s order by kind, scope

-- name: next_due
select min(due_at) as due_at from business_run where state in ('due', 'running')

-- name: busy
select exists (
    select from business_run where state = 'running' or (state = 'due' and due_at <= %(now)s)
) as busy

-- name: clock
select mode, offset_s from business_clock

-- name: set_clock_mode
insert into business_clock as held (mode, offset_s) values (%(mode)s, 0)
on conflict (singleton) do update
    set mode = excluded.mode,
        offset_s = case when excluded.mode = 'demo' then held.offset_s else 0 end
returning mode, offset_s

-- name: advance_clock
update business_clock set offset_s = greatest(offset_s, %(offset_s)s)
where mode = 'demo'
returning mode, offset_s
