-- table --
-- The fixed list of indexes: whatever the journal has, raw PostgreSQL has to keep as well.
create table raw.journal (like journal_100 including indexes);

-- insert --
-- One row in one statement, which is its own transaction: what a single message costs at least.
insert into raw.journal (
    shard, position, group_end, epoch, stamp, kind, message_id, actor_type, actor_id, action, message_type,
    actor_version, model_version, sender_shard, receiver_shard, source_position, cause_time, cause_shard,
    root, correlation, rule, rule_version, principal, trace, valid_at, due, if_version, hops, body, chain
) values (
    :shard, :position, :group_end, :epoch, :stamp, :kind, :message_id, :actor_type, :actor_id, :action,
    :message_type, :actor_version, :model_version, :sender_shard, :receiver_shard, :source_position,
    :cause_time, :cause_shard, :root, :correlation, :rule, :rule_version, :principal, :trace, :valid_at, :due,
    :if_version, :hops, :body, :chain
);
