-- drop --
-- Pending messages that became history, in the transaction that records them.
delete from pending where message_id = any(:ids::uuid[]);

-- put_draft --
-- A preliminary message may be edited freely: the last one counts.
insert into pending (shard, message_id, state, body) values (:shard, :id, 'draft', :body)
on conflict (shard, message_id) do update set body = excluded.body, changed_at = clock_timestamp();

-- draft --
-- One draft.
select message_id, body, changed_at from pending where shard = :shard and message_id = :id and state = 'draft';

-- drafts --
-- All drafts, the last changed first.
select message_id, body, changed_at from pending where shard = :shard and state = 'draft'
order by changed_at desc, message_id limit :records offset :skipped;

-- delete_draft --
-- A draft may be thrown away: it was never history.
delete from pending where shard = :shard and message_id = :id and state = 'draft' returning message_id;

-- spool --
-- Messages that wait for a leader, in the order in which they came. One that is pending already is left as it is.
insert into pending (shard, message_id, state, body, unit)
select :shard, m.id, 'spooled', m.body, :unit::uuid
from unnest(:ids::uuid[], :bodies::text[]) with ordinality as m (id, body, ordinal) order by m.ordinal
on conflict (shard, message_id) do nothing returning message_id;

-- waiting --
-- How much waits to be offered, by department and state: a node counts it at start, and goes on counting by itself.
select shard, state, count(*) as messages, sum(octet_length(body)) as bytes
from pending where state in ('spooled', 'stranded') group by shard, state;

-- spooled --
-- The first spooled messages of a department in the order in which they came: whole units.
with counted as (
    select unit, number, octet_length(body) as bytes, sum(octet_length(body)) over (order by number) as size
    from (
        select unit, number, body from pending where shard = :shard and state = 'spooled'
        order by number limit :messages
    ) as front
), first as (
    select unit, number from counted where size - bytes < :bytes
)
select message_id, body, unit from pending
where shard = :shard and state = 'spooled'
  and (number <= (select max(number) from first) or unit in (select unit from first))
order by number;

-- stranded --
-- The first stranded messages of a department in the order of their old records: whole units.
with counted as (
    select epoch, group_end, octet_length(body) as bytes,
        sum(octet_length(body)) over (order by epoch, position) as size
    from (
        select epoch, position, group_end, body from pending where shard = :shard and state = 'stranded'
        order by epoch, position limit :messages
    ) as front
), ending as (
    select epoch, group_end from counted where size - bytes < :bytes order by epoch desc, group_end desc limit 1
)
select p.message_id, p.body, p.position, p.group_end, p.epoch, p.stamp, p.based_on
from pending p, ending
where p.shard = :shard and p.state = 'stranded' and (p.epoch, p.group_end) <= (ending.epoch, ending.group_end)
order by p.epoch, p.position;

-- offered --
-- Messages that are complete, or answered by an exception that is: whatever is pending of them was heard.
delete from pending where shard = :shard and message_id = any(:ids::uuid[]) and state in ('spooled', 'stranded')
returning message_id, state, octet_length(body) as bytes;

-- pending_of --
-- What is pending of a message, in any department.
select shard, message_id, state, body, position, epoch, stamp from pending
where message_id = any(:ids::uuid[]) and state in ('spooled', 'stranded') order by shard;

-- stranded_at --
-- The message whose record had a stamp before it was taken back.
select message_id from pending where shard = :shard and stamp = :time and state = 'stranded';

-- has_draft --
-- Whether a draft is kept here.
select message_id from pending where message_id = :id and state = 'draft';
