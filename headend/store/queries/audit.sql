-- name: record
insert into audit_event (at, real_at, actor, action, subject, detail)
values (%(at)s, clock_timestamp(), %(actor)s, %(action)s, %(subject)s, %(detail)s)

-- name: about
select * from audit_event where subject = %(subject)s order by audit_id desc limit %(limit)s
