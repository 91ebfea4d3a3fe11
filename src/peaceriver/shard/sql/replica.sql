-- restart --
-- A node starts: whatever led before leads no longer, and what views show was complete.
update shard_state s
set leads = null, complete_position = greatest(s.complete_position, least(v.position, s.last_position))
from view_mark v
where s.shard = :shard and v.shard = s.shard
returning s.promised, s.promised_to, s.last_position, s.last_epoch, s.last_stamp, s.last_chain, s.complete_position,
    s.standing_position, s.recovering;

-- promise --
-- Promise an epoch to a node, unless a later one is promised, or this one to another; whoever leads here is fenced.
update shard_state set promised = :epoch, promised_to = :node, leads = null
where shard = :shard and not recovering and (promised < :epoch or promised = :epoch and promised_to = :node);

-- stored --
-- What stands in the row now; waits for an append that may still be under way on a lost connection.
select promised, promised_to, leads, last_position, last_epoch, last_stamp, last_chain, complete_position,
    standing_position, recovering
from shard_state where shard = :shard for update;

-- accept --
-- A follower takes rows in: only from an epoch that it may follow, and only on top of what it has. No row comes back
-- where promise or place have moved. Completeness is a hint here.
update shard_state
set promised = greatest(promised, :epoch), promised_to = case when promised < :epoch then null else promised_to end,
    leads = null, last_position = :last_position, last_epoch = :last_epoch, last_stamp = :last_stamp,
    last_chain = :last_chain,
    complete_position = greatest(complete_position, :complete_position)
where shard = :shard and promised <= :epoch and last_position = :expected_position and last_chain = :expected_chain
returning shard;

-- lead --
-- Begin to lead: only what was promised to this very node, and only on top of the journal that it was elected with.
update shard_state set leads = :epoch
where shard = :shard and not recovering and promised = :epoch and promised_to = :node
  and last_position = :last_position and last_epoch = :last_epoch
returning last_stamp, last_chain;

-- resign --
-- Lead no longer; what is complete by then is known without the next append.
update shard_state
set leads = null, complete_position = greatest(complete_position, least(:complete_position, last_position))
where shard = :shard and leads = :epoch;

-- not_beyond --
-- The last place that is not beyond another one, neither in position nor in epoch.
select epoch, position from journal
where shard = :shard and position <= :position and epoch <= :epoch
order by position desc limit 1;

-- members --
-- Who holds the shard, as its journal says last.
select position, body from journal where shard = :shard and kind = 'member' order by position desc limit 1;

-- recovered --
-- The replica knows again what it must have promised: it counts from here on.
update shard_state
set recovering = false, promised = greatest(promised, :promised),
    promised_to = case when promised < :promised then null else promised_to end
where shard = :shard;

-- forget --
-- The replica may have promised and acknowledged more than it knows: it counts no more.
update shard_state set recovering = true, leads = null where shard = :shard;

-- boot --
-- This node's process starts once more on this database.
insert into identity (node, boots, founders) values (:node, 1, :founders)
on conflict (one) do update set boots = identity.boots + 1
returning node, incarnation, boots, knows_from, founders;

-- reborn --
-- The database was replaced by an older one: it is another from here on, has started more often than any before, and
-- may have held any department.
update identity set incarnation = gen_random_uuid(), boots = greatest(boots, :boots) + 1, knows_from = null
returning incarnation, boots;

-- forget_all --
-- What any replica has promised and acknowledged may be forgotten: none counts.
update shard_state set recovering = true, leads = null;

-- know_from --
-- Departments that came later than this position of shard 0 were never held here before: they have nothing to recover.
update identity set knows_from = :position;

-- peers --
-- What is known of other nodes' starts.
select node, incarnation, boots, run, newest from peer;

-- note_peer --
-- The last start of another node that was heard of. Its earlier databases are remembered, for one may be put back.
with earlier as (
    update peer set newest = false where node = :node and incarnation <> :incarnation
)
insert into peer (node, incarnation, boots, run, newest) values (:node, :incarnation, :boots, :run, true)
on conflict (node, incarnation) do update set boots = excluded.boots, run = excluded.run, newest = true;
