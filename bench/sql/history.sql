-- tip --
-- Where the journal stands, and what the next record builds on.
select last_position, last_epoch, last_stamp, last_chain from shard_state where shard = :shard;

-- move_tip --
-- As the product's own append leaves it: all of it complete.
update shard_state
set last_position = :position, last_stamp = :stamp, last_chain = :chain, complete_position = :position,
    standing_position = :position
where shard = :shard;

-- fold_actors --
-- Every record has the whole document as its body, so the last one is what the actor has become.
update actor
set version = last.actor_version, position = last.position, document = last.body
from (
    select distinct on (actor_id) actor_id, actor_version, position, body from journal
    where shard = :shard and position > :after and kind = 'received'
    order by actor_id, position desc
) as last
where actor.shard = :shard and actor.type = :actor_type and actor.id = last.actor_id;

-- move_views --
-- The views hold all that is recorded.
update view_mark set position = last_position, stamp = last_stamp
from shard_state where shard_state.shard = :shard and view_mark.shard = :shard;
