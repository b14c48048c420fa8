-- Bulk insertion works in three steps on a temporary table of the rows given: which refer to
-- something unknown (unresolved), insertion of the others, and which are still not there because
-- another row holds their place (clashing). Each report is (row_no, field, value).

-- name: areas_given
create temp table if not exists given_areas (
    row_no integer, area_code text, name text, parent_area_code text
) on commit delete rows

-- name: areas_unresolved
select g.row_no, 'parent_area_code' as field, g.parent_area_code as value
from given_areas g
where g.parent_area_code is not null
  and not exists (select from area a where a.area_code = g.parent_area_code)
  and not exists (select from given_areas p where p.area_code = g.parent_area_code)

-- name: areas_insert
insert into area (area_code, name)
select area_code, name from given_areas where row_no <> all(%(bad)s) order by row_no
on conflict do nothing

-- name: areas_finish
update area a set parent_area_id = p.area_id
from given_areas g join area p on p.area_code = g.parent_area_code
where a.area_code = g.area_code and a.parent_area_id is null and g.row_no <> all(%(bad)s)

-- name: areas_clashing
select g.row_no, 'area_code' as field, g.area_code as value from given_areas g
where not exists (select from area a where a.area_code = g.area_code)

-- name: transformer_areas_given
create temp table if not exists given_transformer_areas (
    row_no integer, transformer_area_code text, name text, area_code text
) on commit delete rows

-- name: transformer_areas_unresolved
select g.row_no, 'area_code' as field, g.area_code as value
from given_transformer_areas g
where not exists (select from area a where a.area_code = g.area_code)

-- name: transformer_areas_insert
insert into transformer_area (transformer_area_code, name, area_id)
select g.transformer_area_code, g.name, a.area_id
from given_transformer_areas g join area a using (area_code)
order by g.row_no
on conflict do nothing

-- name: transformer_areas_clashing
select g.row_no, 'transformer_area_code' as field, g.transformer_area_code as value
from given_transformer_areas g
where not exists (
    select from transformer_area t where t.transformer_area_code = g.transformer_area_code)

-- name: usage_points_given
create temp table if not exists given_usage_points (
    row_no integer, usage_point_no text, transformer_area_code text, address text,
    time_zone text, expected_load_w integer
) on commit delete rows

-- name: usage_points_unresolved
select g.row_no, 'transformer_area_code' as field, g.transformer_area_code as value
from given_usage_points g
where not exists (
    select from transformer_area t where t.transformer_area_code = g.transformer_area_code)

-- name: usage_points_insert
insert into usage_point (usage_point_no, transformer_area_id, address, time_zone, expected_load_w)
select g.usage_point_no, t.transformer_area_id, g.address, g.time_zone, g.expected_load_w
from given_usage_points g join transformer_area t using (transformer_area_code)
order by g.row_no
on conflict do nothing

-- name: usage_points_clashing
select g.row_no, 'usage_point_no' as field, g.usage_point_no as value from given_usage_points g
where not exists (select from usage_point u where u.usage_point_no = g.usage_point_no)

-- name: concentrators_given
create temp table if not exists given_concentrators (
    row_no integer, concentrator_no text, endpoint text
) on commit delete rows

-- name: concentrators_unresolved
select g.row_no, 'endpoint' as field, g.endpoint as value
from given_concentrators g
join concentrator c using (concentrator_no)
join link l using (link_id)
where l.endpoint <> g.endpoint

-- name: concentrators_prepare
insert into link (endpoint) select distinct endpoint from given_concentrators
on conflict do nothing

-- name: concentrators_insert
insert into concentrator (concentrator_no, link_id)
select g.concentrator_no, l.link_id
from given_concentrators g join link l using (endpoint)
order by g.row_no
on conflict do nothing

-- name: concentrators_clashing
select g.row_no, 'concentrator_no' as field, g.concentrator_no as value from given_concentrators g
where not exists (select from concentrator c where c.concentrator_no = g.concentrator_no)

-- name: meters_given
create temp table if not exists given_meters (
    row_no integer, meter_no text, endpoint text, link_address integer, model text,
    logical_device_name text, serial text, concentrator_no text, client_address integer,
    authentication text, maximum_current_a integer, remote_close boolean, closes_directly boolean,
    system_title bytea
) on commit delete rows

-- name: meters_unresolved
select g.row_no,
       case when c.concentrator_id is null then 'concentrator_no' else 'endpoint' end as field,
       case when c.concentrator_id is null then g.concentrator_no else g.endpoint end as value
from given_meters g
left join concentrator c using (concentrator_no)
left join link l on l.link_id = c.link_id
where g.concentrator_no is not null
  and (c.concentrator_id is null or l.endpoint <> g.endpoint)

-- name: meters_prepare
insert into link (endpoint) select distinct endpoint from given_meters
on conflict do nothing

-- name: meters_insert
insert into meter (meter_no, concentrator_id, link_id, link_address, model, logical_device_name,
                   serial, client_address, authentication, maximum_current_a, remote_close,
                   closes_directly, system_title)
select g.meter_no, c.concentrator_id, l.link_id, g.link_address, g.model, g.logical_device_name,
       g.serial, g.client_address, g.authentication, g.maximum_current_a, g.remote_close,
       g.closes_directly, g.system_title
from given_meters g
join link l using (endpoint)
left join concentrator c using (concentrator_no)
where g.row_no <> all(%(bad)s)
order by g.row_no
on conflict do nothing

-- name: meters_finish
-- A title learnt later may be given to a meter that is there; one that it has stays.
update meter m set system_title = g.system_title
from given_meters g
where m.meter_no = g.meter_no and m.system_title is null and g.row_no <> all(%(bad)s)
  and not exists (select from meter o where o.system_title = g.system_title)
  and not exists (select from given_meters h
                  where h.system_title = g.system_title and h.row_no < g.row_no)

-- name: meters_clashing
with taken as (
    select g.row_no, g.meter_no, g.link_address, g.system_title,
           exists (select from meter o
                   where o.system_title = g.system_title and o.meter_no <> g.meter_no) as title
    from given_meters g
)
select row_no, case when title then 'system_title' else 'link_address' end as field,
       case when title then encode(system_title, 'hex') else link_address::text end as value
from taken t
where title or not exists (select from meter m where m.meter_no = t.meter_no)

-- name: installations_given
create temp table if not exists given_installations (
    row_no integer, meter_no text, usage_point_no text, valid_from timestamptz, multiplier integer,
    indication_start_wh bigint, link_confirmed_at timestamptz
) on commit delete rows

-- name: installations_unresolved
select g.row_no,
       case when m.meter_id is null then 'meter_no' else 'usage_point_no' end as field,
       case when m.meter_id is null then g.meter_no else g.usage_point_no end as value
from given_installations g
left join meter m using (meter_no)
left join usage_point u using (usage_point_no)
where m.meter_id is null or u.usage_point_id is null

-- name: installations_insert
insert into meter_installation (meter_id, usage_point_id, valid_from, multiplier,
                                indication_start_wh, link_confirmed_at)
select m.meter_id, u.usage_point_id, g.valid_from, g.multiplier, g.indication_start_wh,
       g.link_confirmed_at
from given_installations g
join meter m using (meter_no)
join usage_point u using (usage_point_no)
order by g.row_no
on conflict do nothing

-- name: installations_clashing
select g.row_no, 'meter_no' as field, g.meter_no as value
from given_installations g
join meter m using (meter_no)
join usage_point u using (usage_point_no)
where not exists (
    select from meter_installation i
    where i.meter_id = m.meter_id and i.usage_point_id = u.usage_point_id
      and i.valid_from = g.valid_from)

-- name: accounts_given
create temp table if not exists given_accounts (
    row_no integer, account_no text, name text, tariff_code text, created_at timestamptz,
    phone text, customer_class text, payment_mode text, agreement_signed_at timestamptz,
    standing_close_consent_at timestamptz, emergency_credit_nano bigint
) on commit delete rows

-- name: accounts_unresolved
select g.row_no, 'tariff_code' as field, g.tariff_code as value
from given_accounts g
where not exists (select from tariff t where t.tariff_code = g.tariff_code)

-- name: accounts_insert
insert into account (account_no, name, phone, customer_class, payment_mode, tariff_id,
                     agreement_signed_at, standing_close_consent_at, emergency_credit_nano,
                     created_at)
select g.account_no, g.name, g.phone, g.customer_class, g.payment_mode, t.tariff_id,
       g.agreement_signed_at, g.standing_close_consent_at, g.emergency_credit_nano, g.created_at
from given_accounts g join tariff t using (tariff_code)
order by g.row_no
on conflict do nothing

-- name: accounts_finish
insert into account_balance (account_id, changed_at)
select a.account_id, a.created_at
from given_accounts g join account a using (account_no)
where g.row_no <> all(%(bad)s)
order by a.account_id
on conflict do nothing

-- name: accounts_clashing
select g.row_no, 'account_no' as field, g.account_no as value from given_accounts g
where not exists (select from account a where a.account_no = g.account_no)

-- name: occupancies_given
create temp table if not exists given_occupancies (
    row_no integer, account_no text, usage_point_no text, valid_from date
) on commit delete rows

-- name: occupancies_unresolved
select g.row_no,
       case when a.account_id is null then 'account_no' else 'usage_point_no' end as field,
       case when a.account_id is null then g.account_no else g.usage_point_no end as value
from given_occupancies g
left join account a using (account_no)
left join usage_point u using (usage_point_no)
where a.account_id is null or u.usage_point_id is null

-- name: occupancies_insert
insert into occupancy (account_id, usage_point_id, valid_from)
select a.account_id, u.usage_point_id, g.valid_from
from given_occupancies g
join account a using (account_no)
join usage_point u using (usage_point_no)
order by g.row_no
on conflict do nothing

-- name: occupancies_clashing
select g.row_no, 'usage_point_no' as field, g.usage_point_no as value
from given_occupancies g
join account a using (account_no)
join usage_point u using (usage_point_no)
where not exists (
    select from occupancy o
    where o.account_id = a.account_id and o.usage_point_id = u.usage_point_id
      and o.valid_from = g.valid_from)

-- name: meter_keys_given
create temp table if not exists given_meter_keys (
    row_no integer, meter_no text, client_address integer, key_id text, kind text,
    wrapped_key bytea, kek_id text
) on commit delete rows

-- name: meter_keys_unresolved
select g.row_no, 'meter_no' as field, g.meter_no as value from given_meter_keys g
where not exists (select from meter m where m.meter_no = g.meter_no)

-- name: meter_keys_insert
insert into meter_key (meter_id, client_address, key_id, kind, wrapped_key, kek_id)
select distinct on (m.meter_id, g.client_address, g.key_id, g.kind)
       m.meter_id, g.client_address, g.key_id, g.kind, g.wrapped_key, g.kek_id
from given_meter_keys g join meter m using (meter_no)
order by m.meter_id, g.client_address, g.key_id, g.kind, g.row_no desc
on conflict (meter_id, client_address, key_id, kind) do update
    set wrapped_key = excluded.wrapped_key, kek_id = excluded.kek_id

-- name: meter_keys_clashing
select null::integer as row_no, null as field, null as value where false

-- name: access
select m.meter_id, m.meter_no, m.link_id, m.link_address, m.model, m.client_address,
       m.authentication, m.logical_device_name, m.serial
from meter m where m.meter_id = %(meter_id)s

-- name: access_by_title
select m.meter_id, m.meter_no, m.link_id, m.link_address, m.model, m.client_address,
       m.authentication, m.logical_device_name, m.serial
from meter m where m.system_title = %(system_title)s

-- name: keys
select k.meter_id, k.key_id, k.kind, k.wrapped_key, k.kek_id
from meter_key k join meter m using (meter_id, client_address)
where k.meter_id = any(%(meter_ids)s)

-- name: concentrator_meters
select m.meter_id, m.meter_no, m.link_id, m.link_address, m.model, m.client_address,
       m.authentication, m.logical_device_name, m.serial, m.concentrator_id, m.maximum_current_a,
       i.usage_point_id, i.multiplier, i.valid_from, i.valid_to, u.time_zone, o.account_id,
       coalesce(h.failures_in_row, 0) as failures_in_row
from meter m
join meter_installation i using (meter_id)
join usage_point u using (usage_point_id)
left join occupancy o on o.usage_point_id = i.usage_point_id and o.valid_to is null
left join meter_contact h using (meter_id)
where m.concentrator_id = %(concentrator_id)s
  and (i.valid_to is null or i.valid_to > %(since)s)
order by m.meter_id, i.valid_from

-- name: installed_meter
select m.meter_id, m.meter_no, m.link_id, m.link_address, m.model, m.client_address,
       m.authentication, m.logical_device_name, m.serial, m.concentrator_id, m.maximum_current_a,
       i.usage_point_id, i.multiplier, i.valid_from, i.valid_to, u.time_zone, o.account_id,
       coalesce(h.failures_in_row, 0) as failures_in_row
from meter m
join meter_installation i using (meter_id)
join usage_point u using (usage_point_id)
left join occupancy o on o.usage_point_id = i.usage_point_id and o.valid_to is null
left join meter_contact h using (meter_id)
where m.meter_id = %(meter_id)s
  and i.valid_from <= %(at)s and (i.valid_to is null or i.valid_to > %(at)s)

-- name: find_installed
select m.meter_no, u.usage_point_no
from meter m
join meter_installation i using (meter_id)
join usage_point u using (usage_point_id)
where ((m.logical_device_name = %(name)s and %(name)s <> '')
       or (m.serial = %(serial)s and %(serial)s <> ''))
  and (i.valid_to is null or i.valid_to > %(at)s)
order by i.valid_from desc
limit 1

-- name: concentrator_ids
select concentrator_id from concentrator order by concentrator_id

-- name: meter_ids
select meter_no, meter_id from meter where meter_no = any(%(meter_nos)s)
