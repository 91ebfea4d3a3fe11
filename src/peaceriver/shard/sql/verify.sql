-- tip --
-- What the state row says of the journal's end.
select last_position, last_epoch, last_stamp, last_chain from shard_state where shard = :shard;

-- types --
-- The actor types that a shard has records or a standing of.
select distinct actor_type from journal where shard = :shard and kind = 'received'
union select distinct type from actor where shard = :shard;

-- standing --
-- How far the standing is folded.
select standing_position from shard_state where shard = :shard;

-- told --
-- What marks, timers and exceptions are folded from, in order: their records, and those that may end a timer.
select * from journal
where shard = :shard and position <= :until
  and (kind in ('mark', 'timer', 'exception') or kind in ('received', 'sent') and source_position is not null)
order by position;

-- exceptions --
-- What became of all exceptions.
select * from exception where shard = :shard;

-- actors --
-- What admission goes by, in the order that a fold comes in.
select id, version, position, status, model_version, document from actor
where shard = :shard and type = :actor_type order by id;
