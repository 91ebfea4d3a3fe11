-- position --
-- How far the standing is folded, and the journal goes.
select standing_position, last_position from shard_state where shard = :shard;

-- fold --
-- What records make of actors and marks, and the position up to which the standing holds them, in one statement. No row
-- comes back, and nothing is written, where somebody else has folded meanwhile.
with moved as (
    update shard_state set standing_position = :last
    where shard = :shard and standing_position = :expected
    returning shard
), acted as (
    insert into actor select a.* from moved, unnest(:actors::actor[]) as a
    on conflict (shard, type, id) do update
    set version = excluded.version, position = excluded.position, status = excluded.status,
        model_version = excluded.model_version, document = excluded.document
), marked as (
    insert into mark select m.* from moved, unnest(:marks::mark[]) as m
    on conflict (shard, reader, source_shard) do update set position = excluded.position, chain = excluded.chain
)
select shard from moved;

-- strand --
-- Through the door that takes back what never became complete; no row where the journal has moved meanwhile.
select removed, kept from strand_tail(:shard, :after, :epoch, :position, :chain);

-- forget_actors --
-- Actors whose last records are gone: those that have any left are folded again from them.
delete from actor where shard = :shard and type = :actor_type and id = any(:ids::text[]);

-- forget_exceptions --
-- Exceptions, some of whose entries are gone.
delete from exception where shard = :shard and id = any(:ids::uuid[]);

-- last_marks --
-- The last word, up to a position, on the marks of some readers, by how their bodies begin; each is found by its key,
-- however many marks there are.
select last.*
from unnest(:beginnings::text[], :sources::integer[]) as wanted (beginning, source)
cross join lateral (
    select * from journal j
    where j.shard = :shard and j.kind = 'mark' and j.sender_shard = wanted.source
      and hashtextextended(split_part(j.body, ',"chain":', 1), 0) = hashtextextended(wanted.beginning, 0)
      and split_part(j.body, ',"chain":', 1) = wanted.beginning and j.position <= :until
    order by j.position desc limit 1
) as last;
