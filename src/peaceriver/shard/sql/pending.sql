-- drop --
-- Pending messages that became history, in the transaction that records them.
delete from pending where message_id = any(:ids::uuid[]);

-- put_draft --
-- A preliminary message may be edited freely: the last one counts.
insert into pending (shard, message_id, state, body) values (:shard, :id, 'draft', :body)
on conflict (shard, message_id) do update set body = excluded.body, changed_at = clock_timestamp();

-- draft --
-- One draft.
select message_id, body, changed_at from pending where shard = :shard and message_id = :id and state = 'draft';

-- drafts --
-- All drafts, the last changed first.
select message_id, body, changed_at from pending where shard = :shard and state = 'draft'
order by changed_at desc, message_id limit :records offset :skipped;

-- delete_draft --
-- A draft may be thrown away: it was never history.
delete from pending where shard = :shard and message_id = :id and state = 'draft' returning message_id;
