"""What somebody may send as SQL who wants more than an answer about the models. Used for every text that is run as SQL.

Whatever is not refused must be harmless: its answer holds nothing but what stands in the statement or in the models.
"""

from __future__ import annotations

import json
from pathlib import Path

#: Relations that are no models, by every name that a table can have.
OUTSIDE = """
pg_authid
pg_catalog.pg_authid
"pg_catalog"."pg_authid"
peaceriver.pg_catalog.pg_authid
pg_class
pg_settings
pg_stat_activity
pg_shadow
pg_tables
information_schema.tables
"information_schema"."tables"
journal
public.journal
"journal"
actor
pending
shard_state
identity
migration
view.order
view."Order"
"view"."Order"
"view.Order"
journal_100
pg_temp.journal
only pg_authid
only journal
pg_authid *
U&"pg\\005fauthid"
"Order"."Order"
""".strip().splitlines()

#: Places in a statement where a relation may stand.
PLACES = """
select * from {t}
table {t}
select * from "Order", {t}
select * from "Order" join {t} on true
select * from "Order" natural join {t}
select * from "Order" cross join lateral (select * from {t}) as x
select * from ("Order" cross join {t})
select (select count(*) from {t})
select 1 where exists (select 1 from {t})
select 1 where 1 in (select 1 from {t})
select 1 where 1 = any (select 1 from {t})
select 1 where 1 not between (select count(*) from {t}) and 2
select count(*) from "Order" having (select count(*) from {t}) > 0
select 1 order by (select count(*) from {t})
select 1 limit (select count(*) from {t})
select 1 offset (select count(*) from {t})
select array(select 1 from {t})
select 1 union select 1 from {t}
select 1 except all (select 1 from {t})
values ((select count(*) from {t}))
with a as (select * from {t}) select * from a
with recursive a as (select 1 union all select 1 from {t}) select * from a
select case when (select count(*) from {t}) > 0 then 1 end
select coalesce(null, (select count(*) from {t}))
select count(*) filter (where (select count(*) from {t}) > 0) from "Order"
select sum(1) over (order by (select count(*) from {t}))
select sum(1) over w from "Order" window w as (partition by (select count(*) from {t}))
select string_agg('a', 'b' order by (select count(*) from {t})) from "Order"
select distinct on ((select count(*) from {t})) 1
select 1 from "Order" group by grouping sets (((select count(*) from {t})), ())
select count(*) from "Order" as a join "Order" as b on exists (select 1 from {t})
select * from generate_series(1, (select count(*) from {t}))
select * from unnest(array(select 1 from {t})) as x
select cast((select count(*) from {t}) as text)
select (array[1])[(select count(*) from {t})]
select 1 fetch first (select count(*) from {t}) rows only
select * from (select * from (select * from {t}) as a) as b
""".strip().splitlines()

#: A relation of the statement's own, called like one from outside, beside the one from outside.
SHADOWS = """
with {t} as (select * from {t}) select * from {t}
with a as (select * from {t}), {t} as (select 1 as one) select * from a
select (with {t} as (select 1 as one) select one from {t}), (select count(*) from {t})
select * from (with {t} as (select 1 as one) select * from {t}) as a, {t}
(with {t} as (select 1 as one) select * from {t}) union all select 1 from {t}
with a as (with {t} as (select 1 as one) select * from {t}) select * from a, {t}
with a as (select 1) select * from a cross join lateral (with b as (select * from {t}) select * from b) as c
select * from "Order" as {t}, lateral (select * from {t}) as a
with recursive a as (select 1 as n union all select n + 1 from a where n < (select count(*) from {t})) select * from a
with {t} (a) as (select 1) select {t}.a from {t} where exists (with b as (select 1) select 1 from "{t} ")
""".strip().splitlines()
SHADOWED = ("pg_authid", "pg_class", "journal", '"journal"')

#: Statements that are no SELECT, alone and behind one.
NO_READS = """
insert into "Order" values (1)
update "Order" set total = 0
delete from "Order"
merge into "Order" using "Order" as o on true when matched then delete
truncate "Order"
truncate journal
drop table journal
drop schema view cascade
create table t (a int)
create temp table t as select 1
create temporary table t (a int)
create view v as select 1
create function f() returns int language sql as 'select 1'
create extension dblink
create role evil superuser login
create index on journal (position)
create materialized view m as select 1
create table t as table journal
alter table journal add column a int
alter role peaceriver_reader superuser
alter system set fsync = off
alter database peaceriver set default_transaction_read_only = off
grant all on all tables in schema public to public
revoke all on schema view from peaceriver_reader
set role postgres
set role peaceriver_runner
set session authorization postgres
set statement_timeout = 0
set local statement_timeout = 0
set default_transaction_read_only = off
set transaction read write
set search_path = public
set constraints all deferred
reset all
reset role
reset session authorization
show all
show data_directory
explain select 1
explain analyze select 1
analyze
vacuum
vacuum full journal
copy journal to stdout
copy (select 1) to '/tmp/peaceriver-attack'
copy (select 1) to program 'id'
copy "Order" from program 'id'
do 'begin end'
do $$ begin perform pg_sleep(60); end $$
call f()
listen a
notify a
unlisten *
lock table journal
lock "Order" in access exclusive mode
prepare p as select 1
execute p
deallocate all
declare c cursor for select 1
fetch all from c
move all from c
close all
begin
start transaction read write
commit
rollback
abort
end
savepoint a
release a
prepare transaction 'a'
commit prepared 'a'
checkpoint
cluster
discard all
load 'auto_explain'
import foreign schema a from server b into c
refresh materialized view a
reindex database peaceriver
security label on table journal is 'a'
comment on table journal is 'a'
reassign owned by peaceriver_owner to peaceriver_reader
drop owned by peaceriver_owner
select 1 into t
select * into temp t from "Order"
select * into unlogged t from "Order"
with a as (insert into "Order" values (1) returning *) select * from a
with a as (update "Order" set total = 0 returning *) select * from a
with a as (delete from "Order" returning *) select * from a
with a as (delete from journal) select 1
with a as (merge into "Order" using "Order" as o on true when matched then delete returning *) select * from a
select * from (delete from "Order" returning *) as a
select * from "Order" for update
select * from "Order" for no key update
select * from "Order" for share
select * from "Order" for key share skip locked
select * from (select * from "Order" for update nowait) as a
""".strip().splitlines()

#: What must not be called, by every way to write a call.
CALLS = Path(__file__).with_name("calls.txt").read_text("utf-8").splitlines()
#: Places in a statement where a call may stand.
CALLING = ("select {c}", "select * from {c} as a", "select 1 where {c} is null", "select 1 order by {c}")

#: Words that say something of the server, and of who asks, without parentheses.
WHO = """
current_user
session_user
user
current_role
current_catalog
current_schema
current_date
current_time
current_timestamp
localtime
localtimestamp
system_user
""".strip().splitlines()

#: Expressions that reach beyond the models by a type, an operator or a column of the system's.
BEYOND = """
'pg_authid'::regclass
'pg_authid'::regclass::oid
'postgres'::regrole
1::oid
'a'::name
'<a/>'::xml
'a'::"char"
'a'::pg_catalog.text
'a'::"text"
'a'::view."Order"
'a'::"Order"
'a'::cstring
'a'::void
'a'::bytea
'1'::money
'1'::pg_lsn
'127.0.0.1'::inet
cast('pg_authid' as regclass)
regclass 'pg_authid'
oid '1'
pg_catalog.regclass 'pg_authid'
1 operator(pg_catalog.+) 1
1 operator(public.+) 1
'a' operator(pg_catalog.~) 'b'
'a' collate "en_US"
'a' collate pg_catalog."C"
'a' @@ 'b'
'a' ~~ 'b'
date 'now'
'now'::timestamp
timestamptz 'today'
cast('tomorrow' as date)
E'a\\'; select 1; --'
U&'\\0061'
U&'d!0061t' uescape '!'
B'101'
X'1F'
N'a'
$1
$99999999999
:"a"
:'a'
:a:b
::text
@a
#a
1 !
{fn now()}
`a`
[1]
?
%s
%(a)s
""".strip().splitlines()
#: Columns that no model has.
COLUMNS = """
ctid
tableoid
xmin
xmax
cmin
actor_from
actor_until
actor_model
actor_position
o.ctid
o.actor_until
o.tableoid::regclass
"Order".ctid
v.actor_from
v
cut
cut.time
"own 1"
around
view."Order".actor_id
o.*::text::regclass
""".strip().splitlines()

#: Text that is no statement, or more than one, or not quite what it looks like.
TRICKS: list[str] = json.loads(Path(__file__).with_name("tricks.json").read_text("utf-8"))


def statements() -> list[str]:
    """Every attack that is one text, none of which may read, write or set anything outside the models."""
    made = [place.format(t=outside) for outside in OUTSIDE for place in PLACES[:4]]
    made += [place.format(t=outside) for outside in ("pg_authid", "journal", "view.order") for place in PLACES[4:]]
    made += [shadow.format(t=name) for name in SHADOWED for shadow in SHADOWS]
    made += [before + each for each in NO_READS for before in ("", "select 1; ")]
    made += [CALLING[number % len(CALLING)].format(c=call) for number, call in enumerate(CALLS)]
    made += [calling.format(c="pg_sleep(60)") for calling in CALLING]
    made += [f"select {each}" for each in WHO] + [f"select * from {each}" for each in WHO]
    made += [f'select {each}() from "Order"' for each in WHO]
    made += [f'select "{each}"' for each in WHO] + [f'select {each} from "Order" as o' for each in (*BEYOND, *COLUMNS)]
    made += [f'select 1 from "Order" as o where {each} is not null' for each in (*BEYOND, *COLUMNS)]
    return list(dict.fromkeys([*made, *TRICKS]))
