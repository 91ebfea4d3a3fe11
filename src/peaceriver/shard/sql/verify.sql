-- tip --
-- What the state row says of the journal's end.
select last_position, last_chain from shard_state where shard = :shard;

-- marks_recorded --
-- Where each reader's mark went, in order: the last one counts.
select sender_shard, source_position, body from journal where shard = :shard and kind = 'mark' order by position;

-- actors --
-- What admission goes by, in the order that a fold comes in.
select id, version, position, status, model_version, document from actor
where shard = :shard and type = :actor_type order by id;
