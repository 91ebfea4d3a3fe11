-- whole --
-- A journal from its first record to its last, to recompute the chain.
select * from journal where shard = :shard order by position;

-- tip --
-- What the state row says of the journal's end.
select last_position, last_chain from shard_state where shard = :shard;
