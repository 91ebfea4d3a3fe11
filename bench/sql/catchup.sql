-- position --
-- Where a replica's journal ends: one row, so that asking often disturbs nobody.
select last_position from shard_state where shard = :shard;
