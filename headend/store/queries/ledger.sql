-- name: ensure_partitions
select ensure_partitions(%(day)s::date, %(day)s::date)

-- name: open_batch
insert into ledger_batch (kind, business_date, posted_at, detail)
values (%(kind)s, %(business_date)s, %(posted_at)s, %(detail)s)
returning batch_id

-- name: copy_entries
copy ledger_entry (account_id, business_date, entry_key, batch_id, kind, amount_nano, corrects, posted_at)
from stdin (format binary)

-- name: page
select account_id, business_date, entry_key, batch_id, kind, amount_nano, corrects, posted_at
from ledger_entry
where account_id = %(account_id)s
  and (%(before_date)s::date is null or (business_date, entry_key) < (%(before_date)s, %(before_key)s))
order by business_date desc, entry_key desc
limit %(limit)s

-- name: entries_between
select account_id, business_date, entry_key, batch_id, kind, amount_nano, corrects, posted_at
from ledger_entry
where account_id = %(account_id)s and business_date between %(first)s and %(last)s
order by business_date, posted_at, entry_key

-- name: batch_entries
select account_id, business_date, entry_key, batch_id, kind, amount_nano, corrects, posted_at
from ledger_entry
where batch_id = %(batch_id)s
order by account_id, business_date, entry_key

-- name: balance_before
select coalesce(sum(amount_nano), 0)::bigint as balance_nano
from ledger_entry where account_id = %(account_id)s and business_date < %(day)s

-- name: imbalance
select coalesce(max(abs(batch_nano)), 0) as worst_batch_nano, coalesce(sum(batch_nano), 0) as total_nano
from (select sum(amount_nano) as batch_nano from ledger_entry group by batch_id) as batch

-- name: trial_balance
select least(account_id, 0) as account_id, sum(amount_nano) as amount_nano
from ledger_entry group by 1 order by 1

-- name: mismatches
select account_id, coalesce(b.balance_nano, 0) as balance_nano, coalesce(e.entries_nano, 0) as entries_nano
from account_balance b
full join (select account_id, sum(amount_nano) as entries_nano
           from ledger_entry where account_id > 0 group by account_id) e using (account_id)
where coalesce(b.balance_nano, 0) <> coalesce(e.entries_nano, 0)
order by account_id
limit %(limit)s
