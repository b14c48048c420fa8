-- What `headend doctor` looks at besides what the services already tell. Reads only; leases are in
-- real time, so they are compared with the server's clock.

-- name: server
select current_setting('server_version') as version,
       clock_timestamp() as at,
       pg_database_size(current_database()) as size_bytes,
       current_setting('max_connections')::integer as connections_allowed,
       (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections,
       (select count(*) from account) as accounts,
       (select count(*) from meter) as meters

-- One of each kind under each key-encryption key: opening every one of a large fleet takes minutes.
-- name: key_sample
select distinct on (kek_id, kind) kek_id, kind, wrapped_key, count(*) over (partition by kek_id) as keys
from meter_key
order by kek_id, kind, meter_id

-- name: orders
select state,
       count(*) as orders,
       count(*) filter (where lease_until < clock_timestamp() - make_interval(secs => %(late_s)s)
                           or (lease_until is null
                               and next_attempt_at < %(now)s - make_interval(secs => %(late_s)s)))
           as stuck,
       min(order_id) filter (where lease_until < clock_timestamp() - make_interval(secs => %(late_s)s)
                                or (lease_until is null
                                    and next_attempt_at < %(now)s - make_interval(secs => %(late_s)s)))
           as first_stuck
from supply_order
where state in ('scheduled', 'queued', 'sending', 'verifying', 'outcome_unknown')
group by state
order by state

-- name: quarantined
select count(*) as orders from supply_order where state in ('quarantined', 'awaiting_approval')

-- name: leases
select count(*) as links,
       count(*) filter (where lease_until > clock_timestamp()) as held,
       count(distinct holder) filter (where lease_until > clock_timestamp()) as holders
from link_lease

-- name: runs
select count(*) filter (where state = 'failed' and business_date > %(since)s) as failed,
       min(kind || '/' || business_date || '/' || scope)
           filter (where state = 'failed' and business_date > %(since)s) as first_failed,
       count(*) filter (where state in ('due', 'running')
                          and due_at < %(now)s - make_interval(secs => %(late_s)s)) as late,
       min(due_at) filter (where state in ('due', 'running')) as oldest_due
from business_run
