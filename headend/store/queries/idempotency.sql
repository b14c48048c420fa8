-- name: claim
insert into idempotency_key (client, key, request, body_sha256, created_at)
values (%(client)s, %(key)s, %(request)s, %(body_sha256)s, clock_timestamp())
on conflict (client, key) do nothing
returning key

-- name: find
select request, body_sha256, status, response from idempotency_key
where client = %(client)s and key = %(key)s

-- name: keep
update idempotency_key set status = %(status)s, response = %(response)s
where client = %(client)s and key = %(key)s and status is null
