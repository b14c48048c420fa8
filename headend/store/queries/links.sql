-- name: lease
insert into link_lease as held (link_id, holder, fence, lease_until)
values (%(link_id)s, %(holder)s, 1, clock_timestamp() + make_interval(secs => %(lease_s)s))
on conflict (link_id) do update
    set holder = excluded.holder,
        fence = held.fence + (held.holder <> excluded.holder)::int,
        lease_until = excluded.lease_until
    where held.holder = excluded.holder or held.lease_until < clock_timestamp()
returning fence

-- name: endpoint
select endpoint from link where link_id = %(link_id)s

-- name: renew
update link_lease set lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
where holder = %(holder)s and link_id = any(%(link_ids)s) and lease_until > clock_timestamp()
returning link_id

-- name: release
delete from link_lease where holder = %(holder)s and link_id = any(%(link_ids)s)

-- name: move_concentrator
update link l set endpoint = %(endpoint)s
from concentrator c
where c.link_id = l.link_id and c.concentrator_no = %(concentrator_no)s
  and l.endpoint <> %(endpoint)s
returning l.link_id

-- name: holders
select distinct holder from link_lease where lease_until > clock_timestamp()

-- name: release_held
delete from link_lease where holder = any(%(holders)s)
