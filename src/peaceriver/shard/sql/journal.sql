-- append --
-- One round trip does it all: the fence, the records, the fold for admission and the marks of readers. No row comes
-- back where another epoch was promised, the journal has moved on, or the standing is not folded up to its end: then
-- nothing is written. Rows come whole, in the order of the tables' columns: that was measured to be as cheap as COPY
-- for many of them, and cheaper for few. What has changed is there already and is found by its key: a join would be
-- planned while the table is small, and read all of it ever after.
with fence as (
    update shard_state
    set last_position = :last_position, last_epoch = :epoch, last_stamp = :last_stamp, last_chain = :last_chain,
        complete_position = greatest(complete_position, :complete_position), standing_position = :last_position
    where shard = :shard and leads = :epoch and promised = :epoch and last_position = :expected_position
      and standing_position = :expected_position
    returning shard
), recorded as (
    insert into journal select r.* from fence, unnest(:records::journal[]) as r
), created as (
    insert into actor select a.* from fence, unnest(:created::actor[]) as a
), changed as (
    insert into actor select a.* from fence, unnest(:changed::actor[]) as a
    on conflict (shard, type, id) do update
    set version = excluded.version, position = excluded.position, status = excluded.status,
        model_version = excluded.model_version, document = excluded.document
), moved as (
    insert into mark select m.* from fence, unnest(:marks::mark[]) as m
    on conflict (shard, reader, source_shard) do update set position = excluded.position, chain = excluded.chain
)
select shard from fence;


-- state --
-- What the journal is at now; waits for an append of ours that may still be under way on a lost connection.
select last_position, last_stamp, last_chain, promised, leads, complete_position, standing_position
from shard_state where shard = :shard for update;

-- open --
-- Make a shard's partition and its state row; nothing happens where they exist. Recovering: the shard may have been
-- here before, on a disk that is lost.
select open_shard(:shard, :recovering);

-- actors_at --
-- What admission must know of actors that are not in memory, each found by its key, however small the table was when
-- this was planned.
select found.*
from unnest(:types::text[], :ids::text[]) as wanted (type, id)
cross join lateral (
    select a.type, a.id, a.version, a.position, a.status, a.model_version, a.document
    from actor a where a.shard = :shard and a.type = wanted.type and a.id = wanted.id limit 1
) as found;

-- recorded --
-- Messages that were recorded before, by id.
select * from journal where shard = :shard and message_id = any(:ids::uuid[]);

-- following --
-- The pull that every reader makes: what comes after a mark, in order.
select * from journal
where shard = :shard and position > :after and position <= :until
order by position limit :records;

-- rows_after --
-- A stretch of the journal for COPY: the columns that the chain is made over, in their order, and the chain. One that
-- somebody has made longer or shorter would leave no row where another one is looked for; as zeros, it fits nowhere.
select shard, position, group_end, epoch, stamp, kind, message_id, actor_type, actor_id, action, message_type,
    actor_version, model_version, sender_shard, receiver_shard, source_position, cause_time, cause_shard, root,
    correlation, rule, rule_version, principal, trace, valid_at, due, if_version, hops, body,
    case when octet_length(chain) = 32 then chain else decode(repeat('00', 32), 'hex') end
from journal
where shard = :shard and position > :after and position <= :until
order by position limit :records;

-- groups_within --
-- The end of the last group within so many bytes and records after a position, or of the first group, whatever its
-- size; null where no group ends by then. Of a row, the body is what counts, and a usual size of all the rest.
select coalesce(
    max(position) filter (where position = group_end and size <= :bytes),
    min(group_end) filter (where group_end <= :until)) as position
from (
    select position, group_end,
        sum(octet_length(body) + :rest_bytes::integer) over (order by position rows unbounded preceding) as size
    from journal
    where shard = :shard and position > :after and position <= :until
    order by position limit :records
) as waiting;

-- chain_at --
-- The chain after a position.
select chain from journal where shard = :shard and position = :position;

-- at_stamps --
-- The records that causes name: each stamp's record, if there is one.
select j.* from unnest(:shards::integer[], :times::bigint[]) as wanted (shard, time)
join journal j on j.shard = wanted.shard and j.stamp = wanted.time;

-- stamp_at --
-- The stamp of the record at a position.
select stamp from journal where shard = :shard and position = :position;

-- place_at --
-- Where one shard stood at a logical time, rounded up to the end of the group there, which is what most reads ask for:
-- planned for its one partition.
select position, stamp from journal
where shard = :shard and position = (
    select group_end from journal where shard = :shard and stamp <= :time order by stamp desc limit 1);

-- places_at --
-- Where each of some shards stood at a logical time, rounded up to the end of the group that stands there, and the
-- stamp at that place. Each limit keeps the planner from reading a young journal, of which it knows nothing yet, as a
-- whole.
select each.shard, ending.position, ending.stamp
from unnest(:shards::integer[]) as each (shard)
cross join lateral (
    select group_end from journal j where j.shard = each.shard and j.stamp <= :time order by j.stamp desc limit 1
) as standing
cross join lateral (
    select j.position, j.stamp from journal j
    where j.shard = each.shard and j.position = standing.group_end order by j.position limit 1
) as ending;

-- groups_at --
-- The end of the group that a position lies in, and the stamp there, for each of some shards.
select ending.shard, ending.position, ending.stamp
from unnest(:shards::integer[], :positions::bigint[]) as each (shard, position)
join journal j on j.shard = each.shard and j.position = each.position
join journal ending on ending.shard = j.shard and ending.position = j.group_end;

-- sent_to --
-- What was sent to one department after its mark: only complete records leave a shard.
select * from journal
where shard = :source and receiver_shard = :shard and kind = 'sent' and position > :after and position <= :until
order by position limit :records;

-- receivers_after --
-- The departments that records beyond a position are sent to: who waits for those to be complete.
select distinct receiver_shard from journal where shard = :shard and position > :after and kind = 'sent';

-- senders --
-- Which shards have anything for one department beyond its marks, at start.
select s.shard as source
from shard_state s
where s.shard <> :shard and exists (
    select from journal j
    where j.shard = s.shard and j.receiver_shard = :shard and j.kind = 'sent'
      and j.position > coalesce((select m.position from mark m
        where m.shard = :shard and m.reader = 'delivery' and m.source_shard = s.shard), 0));

-- marks --
-- The vector clock of a shard's readers.
select reader, source_shard, position, chain from mark where shard = :shard;

-- end_marks --
-- Marks of actors that waited behind an exception and wait no longer.
delete from mark m using unnest(:readers::text[], :sources::integer[]) as e (reader, source)
where m.shard = :shard and m.reader = e.reader and m.source_shard = e.source;

-- keep_exceptions --
-- What became of exceptions, folded in the transaction that records it; what is resolved stays resolved. One statement
-- takes many entries of one exception: the last one counts.
insert into exception (
    shard, id, position, state, attempt, retry_at, rule, actor_type, actor_id, source_position)
select distinct on (e.id) :shard::integer, e.*
from unnest(
    :id::uuid[], :position::bigint[], :state::text[], :attempt::integer[], :retry_at::timestamptz[], :rule::text[],
    :actor_type::text[], :actor_id::text[], :source_position::bigint[])
    as e (id, position, state, attempt, retry_at, rule, actor_type, actor_id, source_position)
order by e.id, e.position desc
on conflict (shard, id) do update
set position = excluded.position, state = excluded.state, attempt = excluded.attempt, retry_at = excluded.retry_at
where exception.state = 'open';

-- set_timers --
-- Timers that were recorded, until they are released.
insert into timer (shard, position, due)
select :shard, t.* from unnest(:positions::bigint[], :dues::timestamptz[]) as t;

-- release_timers --
-- Timers that this transaction releases.
delete from timer where shard = :shard and position = any(:positions::bigint[]);

-- timers --
-- All timers that wait, at start.
select position, due from timer where shard = :shard;

-- timers_recorded --
-- The records of timers that are due, the first due first: after a pause they are released as they would have been.
select * from journal where shard = :shard and position = any(:positions::bigint[]) order by due, position;

-- history --
-- An actor's records, oldest first, up to a position.
select * from journal
where shard = :shard and actor_type = :actor_type and actor_id = :actor_id and kind = 'received'
  and position > :after and position <= :until
order by position limit :records;

-- triggers --
-- What a rule may act on in a stretch of the journal, in order; the first ones, until their bodies are so many bytes.
select * from (
    select j.*, sum(octet_length(j.body)) over (order by j.position) as size
    from journal j
    where j.shard = :shard and j.position > :after and j.position <= :until and j.kind = :kind
      and (:actor_type::text is null or j.actor_type = :actor_type)
      and (:what::text is null or j.action = :what or j.message_type = :what)
    order by j.position limit :records
) as waiting
where size - octet_length(body) < :bytes
order by position;

-- triggers_of --
-- The same for one actor: what waits behind an exception.
select * from (
    select j.*, sum(octet_length(j.body)) over (order by j.position) as size
    from journal j
    where j.shard = :shard and j.actor_type = :actor_type and j.actor_id = :actor_id
      and j.position > :after and j.position <= :until
      and j.kind = :kind and (:what::text is null or j.action = :what or j.message_type = :what)
    order by j.position limit :records
) as waiting
where size - octet_length(body) < :bytes
order by position;

-- exceptions --
-- Exceptions by their opening records, the oldest first, with what became of them. Of some, the last entries are not
-- complete: those are given as they stood before, at position 0 where they were not there yet.
with earlier as (
    select * from unnest(
        :earlier_shards::integer[], :earlier_ids::uuid[], :earlier_positions::bigint[], :earlier_states::text[],
        :earlier_attempts::integer[], :earlier_retries::timestamptz[])
        as e (shard, id, position, state, attempt, retry_at)
), standing as (
    select shard, id, position, state, attempt, retry_at from exception
    where shard = any(:shards::integer[]) and (shard, id) not in (select shard, id from earlier)
    union all
    select * from earlier where position > 0
)
select j.*, e.state, e.attempt, e.retry_at, e.position as last_position,
    (select last.body from journal last where last.shard = e.shard and last.position = e.position) as last_body
from standing e
join journal j on j.shard = e.shard and j.message_id = e.id
where :state::text is null or e.state = :state
order by j.stamp, j.shard limit :records offset :skipped;

-- exceptions_after --
-- What was recorded of exceptions beyond a position in each of some departments.
select entry.*
from unnest(:shards::integer[], :positions::bigint[]) as each (shard, position)
cross join lateral (
    select * from journal j where j.shard = each.shard and j.kind = 'exception' and j.position > each.position
) as entry;

-- exceptions_at --
-- Some exceptions, wherever they are, with what became of them. Each is found by its id: a join of many of them might
-- be planned as one pass over the journal.
select found.*
from unnest(:ids::uuid[]) as wanted (id)
cross join lateral (
    select j.*, e.state, e.attempt, e.retry_at, e.position as last_position,
        (select last.body from journal last where last.shard = e.shard and last.position = e.position) as last_body
    from exception e
    join journal j on j.shard = e.shard and j.message_id = e.id
    where e.id = wanted.id limit 1
) as found
order by found.stamp, found.shard;

-- open_of --
-- What a rule could not act on yet.
select * from exception where shard = :shard and rule = :rule and state = 'open';

-- was_refused --
-- Whether there are exceptions for messages that a rule made and its own department refused.
select exists (
    select from exception e
    join journal j on j.shard = e.shard and j.message_id = e.id
    where e.shard = :shard and e.rule is null and j.rule = :rule);

-- exception_states --
-- What became of some exceptions.
select * from exception where shard = :shard and id = any(:ids::uuid[]);

-- open_among --
-- Which of some exceptions may keep a message from being settled: an end that is not complete is none yet.
select e.id
from exception e
left join unnest(:shards::integer[], :positions::bigint[]) as each (shard, complete) on each.shard = e.shard
where e.id = any(:ids::uuid[]) and (e.state = 'open' or e.position > each.complete);

-- under_root --
-- A message and all its consequences, in the order of their stamps.
select * from journal
where shard = any(:shards::integer[]) and (root = :root and root <> message_id or message_id = :root)
order by stamp, shard::text collate "C" limit :records;

-- recorded_anywhere --
-- What became of a message, whichever department recorded it.
select * from journal where message_id = any(:ids::uuid[]) order by stamp, shard;

-- too_new --
-- The place before the first group in which a department took in more from a source than the reader may see of it, of
-- all departments where that is among what is shown: the last position of an earlier group, found by going back over
-- the rows of that one group.
select before.shard, before.position, coalesce(ending.stamp, 0) as stamp
from (
    select each.shard, min(coalesce(earlier.position, 0)) as position
    from unnest(:shards::integer[], :sources::integer[], :seen::bigint[], :shown::bigint[])
        as each (shard, source, seen, shown)
    cross join lateral (
        select m.position, m.group_end from journal m
        where m.shard = each.shard and m.kind = 'mark' and m.sender_shard = each.source
          and m.source_position > each.seen
        order by m.source_position limit 1
    ) as first
    left join lateral (
        select j.position from journal j
        where j.shard = each.shard and j.position < first.position and j.group_end < first.group_end
        order by j.position desc limit 1
    ) as earlier on true
    where first.group_end <= each.shown
    group by each.shard
) as before
left join journal ending on ending.shard = before.shard and ending.position = before.position;

-- merged --
-- All departments' records in stamp order, up to a stamp at which all of them are complete.
select page.*
from unnest(:shards::integer[]) as each (shard)
cross join lateral (
    select * from journal j
    where j.shard = each.shard and j.stamp > :after and j.stamp <= :until
    order by j.stamp limit :records
) as page
order by page.stamp, page.shard::text collate "C" limit :records;

-- of_type --
-- All records of one type in one shard, one actor after the other: a rebuild holds one document at a time in memory.
select * from journal
where shard = :shard and actor_type = :actor_type and kind = 'received' and position <= :until
order by actor_id, position;
