-- catalog --
-- The live view of each actor type.
select actor_type, table_name, model_version, columns from view_catalog;

-- switch --
-- From here on this table is the live view of its type.
insert into view_catalog (actor_type, table_name, model_version, columns)
values (:actor_type, :table_name, :model_version, :columns)
on conflict (actor_type) do update
set table_name = excluded.table_name, model_version = excluded.model_version, columns = excluded.columns;

-- hold --
-- Returns once no change of the catalogue is under way at the server, and lets none begin before the transaction ends.
lock table view_catalog, view_edition, kept_catalog in share mode;

-- editions --
-- Where each version of a model was first used, in each shard.
select actor_type, model_version, shard, position from view_edition;

-- first_used --
-- From here on records of a shard are folded with these versions of models; the first ones stay.
insert into view_edition (actor_type, model_version, shard, position)
select each.actor_type, each.model_version, :shard, each.position
from unnest(:types::text[], :versions::integer[], :positions::bigint[]) as each (actor_type, model_version, position)
on conflict do nothing;

-- next_number --
-- View tables are numbered, so that a rebuilt one never meets the name of a live one.
select nextval('view.number');

-- tables --
-- All view tables there are; those that are not in the catalogue are leftovers of a rebuild.
select tablename as table_name from pg_tables where schemaname = 'view';

-- marks --
-- How far the live views of shards are folded, and the stamp there.
select shard, position, stamp from public.view_mark where shard = any(:shards::integer[]);

-- settled_mark --
-- The same of one shard, once no step of it is under way at the server any more.
select position, stamp from view_mark where shard = :shard for update;

-- move --
-- The mark moves in the transaction of the fold; no row where someone else moved it.
update view_mark set position = :position, stamp = :stamp
where shard = :shard and position = :expected returning position;

-- of_actors --
-- The records of some actors of one type, one actor after the other.
select * from journal
where shard = :shard and actor_type = :actor_type and kind = 'received'
  and actor_id = any(:ids::text[]) and position <= :until
order by actor_id, position;

-- touched --
-- The actors of a type that have records in a range of positions.
select distinct actor_id from journal
where shard = :shard and actor_type = :actor_type and kind = 'received' and position > :after and position <= :until;
