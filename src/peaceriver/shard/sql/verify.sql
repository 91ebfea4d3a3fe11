-- state --
-- What the state row says of the journal's end, of what is complete, and of how far the standing is folded.
select last_position, last_epoch, last_stamp, last_chain, complete_position, standing_position
from shard_state where shard = :shard;

-- chains --
-- The chain at some positions, to be compared with another replica's.
select position, chain from journal where shard = :shard and position = any(:positions::bigint[]);

-- types --
-- The actor types that a shard has records or a standing of: from one to the next, however many rows each has.
with recursive recorded as (
    (select actor_type from journal where shard = :shard and kind = 'received' order by actor_type limit 1)
    union all
    select (
        select j.actor_type from journal j
        where j.shard = :shard and j.kind = 'received' and j.actor_type > r.actor_type order by j.actor_type limit 1)
    from recorded r where r.actor_type is not null
), standing as (
    (select type from actor where shard = :shard order by type limit 1)
    union all
    select (select a.type from actor a where a.shard = :shard and a.type > s.type order by a.type limit 1)
    from standing s where s.type is not null
)
select actor_type from recorded where actor_type is not null
union select type from standing where type is not null;

-- standing --
-- How far the standing is folded.
select standing_position from shard_state where shard = :shard;

-- told --
-- What marks, timers and exceptions are folded from, in order: their records, and those that may end a timer.
select * from journal
where shard = :shard and position > :after and position <= :until
  and (kind in ('mark', 'timer', 'exception') or kind in ('received', 'sent') and source_position is not null)
order by position;

-- exceptions --
-- What became of all exceptions.
select * from exception where shard = :shard;

-- beyond --
-- The actor that comes after a first one and others that have so many records together.
select actor_id from journal
where shard = :shard and actor_type = :actor_type and kind = 'received' and actor_id > :first
order by actor_id, position offset :records limit 1;

-- of_ids --
-- The records of some actors of a type, one actor after the other, each one's oldest first.
select * from journal
where shard = :shard and actor_type = :actor_type and kind = 'received'
  and actor_id >= :first and actor_id < :beyond and position <= :until
order by actor_id, position;

-- actors --
-- What admission goes by, in the order that a fold comes in.
select id, version, position, status, model_version, document from actor
where shard = :shard and type = :actor_type and id >= :first and id < :beyond order by id;
