-- Counter 0 is never sent: a meter that starts with "last received 0" would refuse it.
-- name: reserve
insert into invocation_counter as held (meter_id, client_address, key_id, next_counter)
values (%(meter_id)s, %(client_address)s, %(key_id)s, 1 + %(count)s)
on conflict (meter_id, client_address, key_id) do update
    set next_counter = greatest(held.next_counter, 1) + %(count)s
returning next_counter - %(count)s as first

-- name: check_received
insert into invocation_counter as held (meter_id, client_address, key_id, received_counter)
values (%(meter_id)s, %(client_address)s, %(key_id)s, %(counter)s)
on conflict (meter_id, client_address, key_id) do update
    set received_counter = excluded.received_counter
    where held.received_counter is null or held.received_counter < excluded.received_counter
returning received_counter

-- name: raise_to
insert into invocation_counter as held (meter_id, client_address, key_id, next_counter)
values (%(meter_id)s, %(client_address)s, %(key_id)s, %(counter)s)
on conflict (meter_id, client_address, key_id) do update
    set next_counter = excluded.next_counter
    where held.next_counter < excluded.next_counter
