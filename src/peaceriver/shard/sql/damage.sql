-- open --
-- What is known of a shard not to be as it must be.
select id, part, place, key, first, last, detail, found_at from damage
where shard = :shard and repaired_at is null order by found_at;

-- found --
-- Something was found; it is an incident from here on.
insert into damage (shard, part, place, key, first, last, detail)
values (:shard, :part, :place, :key, :first, :last, :detail)
returning id, part, place, key, first, last, detail, found_at;

-- widen --
-- A damaged range turned out to reach further, or less far.
update damage set place = :place, first = :first, last = :last, detail = :detail where id = :id;

-- repaired --
-- It is as it must be again.
update damage set repaired_at = clock_timestamp() where id = any(:ids::uuid[]);

-- untold --
-- What shard 0 has to be told of still: that it was found, or that it was repaired.
select id, shard, part, place, detail, found_at, repaired_at, told from damage
where told = 'nothing' or repaired_at is not null
order by found_at limit :limit;

-- told --
-- Shard 0 knows that it was found.
update damage set told = 'found' where id = :id;

-- forget --
-- Shard 0 knows that it was repaired: the incident is history there, and needed here no longer.
delete from damage where id = :id and repaired_at is not null;

-- verified --
-- How far a journal was found sound, and how long ago it was verified as a whole.
select position, epoch, stamp, chain, extract(epoch from clock_timestamp() - whole_at)::float8 as whole_s_ago
from verified where shard = :shard;

-- verify --
-- The journal is sound up to here.
insert into verified (shard, position, epoch, stamp, chain, whole_at)
values (:shard, :position, :epoch, :stamp, :chain, clock_timestamp())
on conflict (shard) do update
set position = excluded.position, epoch = excluded.epoch, stamp = excluded.stamp, chain = excluded.chain;

-- whole --
-- A whole journal and what is folded from it were verified.
update verified set whole_at = clock_timestamp() where shard = :shard;

-- given --
-- A place for a peer's rows until the door has looked at them; it goes with the transaction.
create temporary table given (like journal) on commit drop;

-- repair --
-- Through the door that puts a peer's rows in the place of damaged ones.
select repair_rows(:shard, (select array_agg(row(g.*)::journal order by g.position) from given g));

-- size --
-- How many bytes a journal takes with its indexes and what is kept apart.
select pg_total_relation_size('journal_' || :shard::integer);

-- write_anew --
-- Through the door that writes a journal anew without what cannot be read; not where this node leads.
select write_anew(:shard);

-- drop_rows --
-- Before that: rows go of which parts cannot be read.
select drop_unreadable(:shard, :first, :last);

-- adopt --
-- Shard 0 knows of an incident of this node that this database does not: it was lost with an earlier one, and what it
-- was about is sound here.
insert into damage (id, shard, part, place, key, first, last, detail, repaired_at, told)
select :id, :shard, :part, '', '', r.at, r.at, '', clock_timestamp(), 'found'
from (select case when :part in ('journal', 'history') then 0 end) as r(at)
on conflict do nothing;

-- realign --
-- The state row takes the journal's word for where it ends; not where this node leads.
update shard_state
set last_position = :position, last_epoch = :epoch, last_stamp = :stamp, last_chain = :chain,
    standing_position = least(standing_position, :position), complete_position = least(complete_position, :position)
where shard = :shard and leads is null;
