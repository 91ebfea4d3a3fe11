-- drop --
-- What one round has left; only an owner of the table can do this.
drop table journal_100;

-- settle --
-- Nothing is left for the server to do in the background while the next round is measured.
checkpoint;

-- advance --
-- Where a follower stands, in the transaction that brings the rows in.
update shard_state set last_position = :position, last_stamp = :stamp, last_chain = :chain where shard = :shard;
