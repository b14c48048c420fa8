-- name: channel
select channel_code, name, minimum_amount_nano, maximum_amount_nano, pending_limit_s, fault_since, cash,
       clearing_number
from payment_channel where channel_code = %(channel_code)s

-- name: find
select p.payment_id, p.channel_code, p.channel_reference, p.account_id, a.account_no, p.amount_nano, p.state,
       p.paid_at, p.posted_at, p.posted_real_at, p.batch_id, p.reversal_batch_id, p.balance_after_nano
from payment p join account a using (account_id)
where p.channel_code = %(channel_code)s and p.channel_reference = %(channel_reference)s

-- name: get
select p.payment_id, p.channel_code, p.channel_reference, p.account_id, a.account_no, p.amount_nano, p.state,
       p.paid_at, p.posted_at, p.posted_real_at, p.batch_id, p.reversal_batch_id, p.balance_after_nano
from payment p join account a using (account_id)
where p.payment_id = %(payment_id)s

-- name: add_pending
insert into payment (channel_code, channel_reference, account_id, amount_nano, state, paid_at)
values (%(channel_code)s, %(channel_reference)s, %(account_id)s, %(amount_nano)s, 'pending', %(paid_at)s)
on conflict (channel_code, channel_reference) do nothing
returning payment_id

-- name: mark_posted
update payment
set state = 'posted', batch_id = %(batch_id)s, posted_at = %(posted_at)s, posted_real_at = %(posted_real_at)s,
    balance_after_nano = %(balance_after_nano)s
where payment_id = %(payment_id)s and state = 'pending'

-- name: mark_reversed
update payment set state = 'reversed', reversal_batch_id = %(reversal_batch_id)s
where payment_id = %(payment_id)s and state = 'posted'

-- name: mark_failed
update payment set state = 'failed' where payment_id = %(payment_id)s and state = 'pending'

-- name: last
select p.payment_id, p.channel_code, p.channel_reference, p.account_id, a.account_no, p.amount_nano, p.state,
       p.paid_at, p.posted_at, p.posted_real_at, p.batch_id, p.reversal_batch_id, p.balance_after_nano
from payment p join account a using (account_id)
where p.account_id = %(account_id)s
order by p.paid_at desc, p.payment_id desc
limit %(limit)s

-- name: pending
select p.payment_id, p.channel_code, p.channel_reference, p.account_id, a.account_no, p.amount_nano, p.state,
       p.paid_at, p.posted_at, p.posted_real_at, p.batch_id, p.reversal_batch_id, p.balance_after_nano
from payment p join account a using (account_id)
where p.account_id = %(account_id)s and p.state = 'pending'
order by p.paid_at desc, p.payment_id desc
