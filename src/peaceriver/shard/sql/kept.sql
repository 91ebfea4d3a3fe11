-- catalog --
-- The kept views there are, those that are not kept any more among them.
select name, actor_type, table_name, definition, shape, failure from kept_catalog order by name;

-- one --
-- A kept view as a snapshot sees it: its table is the one that goes with the marks of the same snapshot.
select name, actor_type, table_name, definition, shape, failure from public.kept_catalog where name = :name;

-- switch --
-- From here on a kept view is in this table, or in none.
insert into kept_catalog (name, actor_type, table_name, definition, shape, failure)
values (:name, :actor_type, :table_name, :definition, :shape, :failure)
on conflict (name) do update
set actor_type = excluded.actor_type, table_name = excluded.table_name, definition = excluded.definition,
    shape = excluded.shape, failure = excluded.failure;

-- remove --
-- A kept view that is not wanted any more; answers its name, where there was one.
delete from kept_catalog where name = :name returning name;

-- tables --
-- All tables of kept views there are; those that are not in the catalogue are leftovers.
select tablename as table_name from pg_tables where schemaname = 'kept';
