-- The data plane: journals, what is folded from them for admission, and the marks of their readers.
-- Run by the owner. The running role gets rights one by one, below; what it is not given it cannot do.

-- One row per shard that this node holds a replica of. The row is the fence: an append names the epoch and the position
-- it builds on, and changes nothing where either has moved.
create table shard_state (
    shard             integer primary key,
    replica           uuid    not null default gen_random_uuid(),
    incarnation       uuid    not null default gen_random_uuid(),
    promised          integer not null default 0,   -- never decreases
    leads             integer,                     -- null, or the epoch that this replica leads: then leads <= promised
    last_position     bigint  not null default 0,   -- positions 1 .. last_position exist, without gaps
    last_epoch        integer not null default 0,
    last_stamp        bigint  not null default 0,   -- strictly increasing
    last_chain        bytea   not null default decode(repeat('00', 32), 'hex'),
    complete_position bigint  not null default 0,   -- a hint that may lag: complete_position <= last_position
    recovering        boolean not null default false,
    check (leads is null or leads <= promised),
    check (complete_position <= last_position)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

create table journal (
    shard           integer not null,
    position        bigint  not null check (position > 0),
    group_end       bigint  not null,
    epoch           integer not null,
    stamp           bigint  not null,
    kind            text collate "C" not null,
    message_id      uuid,
    actor_type      text collate "C",
    actor_id        text collate "C",
    action          text collate "C",
    message_type    text collate "C",
    actor_version   integer,
    model_version   integer,
    sender_shard    integer,
    receiver_shard  integer,
    source_position bigint,
    cause_time      bigint,
    cause_shard     integer,
    root            uuid,
    correlation     text collate "C",
    rule            text collate "C",
    rule_version    integer,
    principal       text collate "C",
    trace           text collate "C",
    valid_at        timestamptz,
    due             timestamptz,
    if_version      integer,
    hops            integer not null,
    -- As accepted, byte for byte; jsonb would reorder it, and the chain could not be checked.
    body            text    not null,
    chain           bytea   not null,
    primary key (shard, position),
    check (group_end >= position),
    check (kind in ('received', 'sent', 'mark', 'tick', 'timer', 'exception', 'epoch', 'member', 'period'))
) partition by list (shard);

-- A message id is recorded at most once per shard, for ever.
create unique index journal_message on journal (shard, message_id);
-- Stamps strictly increase along positions; cutoffs and causes are found by them.
create unique index journal_stamp on journal (shard, stamp);
-- An actor's records, for its history and for a rebuild, one actor after the other.
create index journal_actor on journal (shard, actor_type, actor_id, position) where kind = 'received';
-- What one department sent to another: the receiver's pull.
create index journal_sent on journal (shard, receiver_shard, position) where kind = 'sent';
-- How far a reader had acted, and since when: cuts a cross-shard read so that no effect shows without its cause.
create index journal_mark on journal (shard, sender_shard, source_position) where kind = 'mark';
create index journal_exception on journal (shard, position) where kind = 'exception';
-- The consequences of a message: all records that go back to it, the message's own apart, whose id is the root.
create index journal_root on journal (shard, root) where root <> message_id;

-- Folded in the append transaction, for admission only; people read views.
create table actor (
    shard         integer not null,
    type          text collate "C" not null,
    id            text collate "C" not null,
    version       integer not null,
    position      bigint  not null,
    status        text collate "C" not null check (status in ('active', 'cancelled')),
    model_version integer,
    document      text    not null,
    primary key (shard, type, id)
) with (fillfactor = 80);

-- The vector clock: how far each reader of a shard has acted on each source, with the source's chain there, so that a
-- source that lost history is noticed and not skipped.
create table mark (
    shard        integer not null,
    reader       text collate "C" not null,
    source_shard integer not null,
    position     bigint  not null,
    chain        bytea   not null,
    primary key (shard, reader, source_shard)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Timer records that have not been released yet.
create table timer (
    shard    integer not null,
    position bigint  not null,
    due      timestamptz not null,
    primary key (shard, position)
);

-- Exceptions, folded from their records: what waits for a retry, a person or a rule, and what became of the rest.
create table exception (
    shard           integer not null,
    id              uuid    not null,               -- of the message of its opening record
    position        bigint  not null,               -- of its last record
    state           text collate "C" not null check (state in ('open', 'retried', 'skipped', 'answered')),
    attempt         integer not null,
    retry_at        timestamptz,
    rule            text collate "C",               -- null: a message that was refused
    actor_type      text collate "C" not null,
    actor_id        text collate "C" not null,
    source_position bigint,                         -- of a rule's: the record that it could not act on
    primary key (shard, id)
);
create index exception_open on exception (shard, rule) where state = 'open';
create index exception_id on exception (id);

-- Messages that are not history: drafts, and later spooled and stranded ones.
create table pending (
    shard      integer not null,
    message_id uuid    not null,
    state      text collate "C" not null check (state in ('draft', 'spooled', 'stranded')),
    body       text    not null,
    changed_at timestamptz not null default clock_timestamp(),
    primary key (shard, message_id)
);

-- Which table holds the live view of each actor type, and its typed columns.
create table view_catalog (
    actor_type    text collate "C" primary key,
    table_name    text    not null unique,
    model_version integer,
    columns       text    not null
);
-- How far the live views of a shard are folded: they hold exactly the complete records up to position.
create table view_mark (
    shard    integer primary key,
    position bigint  not null,
    stamp    bigint  not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Append-only is a right, not a habit: nobody is granted more, and these refuse even the owner, and a superuser who did
-- not mean to. ENABLE ALWAYS, so that session_replication_role does not switch them off.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the journal is append-only: % on % is refused', tg_op, tg_table_name
        using errcode = 'insufficient_privilege',
              hint = 'Nothing recorded is ever changed: send a message that corrects it.';
end $$;

create trigger append_only before update or delete on journal for each row execute function refuse_change();
alter table journal enable always trigger append_only;
create trigger append_only_whole before truncate on journal for each statement execute function refuse_change();
alter table journal enable always trigger append_only_whole;

-- A shard's partition is made by the owner: the running role may not create tables in the journal.
create function open_shard(code integer) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    partition text := 'journal_' || code;
begin
    if code < 0 then
        raise exception 'a shard has no negative code: %', code;
    end if;
    perform pg_advisory_xact_lock(7400000 + code);
    if to_regclass(partition) is null then
        -- Made apart and then attached: making it in place would lock the whole journal, and so wait for every reader
        -- and hold up every append meanwhile.
        execute format('create table %I (like journal including all) with (
            autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000)', partition);
        execute format('alter table journal attach partition %I for values in (%s)', partition, code);
        execute format('grant select, insert on %I to peaceriver_runner', partition);
        execute format('alter table %I enable always trigger append_only', partition);
        execute format('create trigger append_only_whole before truncate on %I
            for each statement execute function refuse_change()', partition);
        execute format('alter table %I enable always trigger append_only_whole', partition);
    end if;
    insert into shard_state (shard) values (code) on conflict do nothing;
    insert into view_mark (shard, position, stamp) values (code, 0, 0) on conflict do nothing;
end $$;

revoke all on function open_shard(integer) from public;
grant execute on function open_shard(integer) to peaceriver_runner;
grant select, insert on journal to peaceriver_runner;
grant select, update on shard_state to peaceriver_runner;
grant select, insert, update, delete on actor, mark, timer, exception, pending, view_catalog, view_mark
    to peaceriver_runner;

-- Views live in a schema of their own, which the running role owns the content of: it makes and rebuilds them.
create schema view;
grant usage, create on schema view to peaceriver_runner;
revoke create on schema public from public;
create sequence view.number;
grant usage on sequence view.number to peaceriver_runner;
