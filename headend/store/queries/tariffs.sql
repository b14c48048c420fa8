-- name: put
insert into tariff as stored (tariff_code, document)
values (%(tariff_code)s, %(document)s)
on conflict (tariff_code) do update set document = excluded.document
    where stored.document <> excluded.document
returning tariff_id

-- name: find
select document from tariff where tariff_code = %(tariff_code)s
