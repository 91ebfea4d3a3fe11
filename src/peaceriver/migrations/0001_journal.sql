-- The data plane: journals, what is folded from them for admission, and the marks of their readers.
-- Run by the owner. The running role gets rights one by one, below; what it is not given it cannot do.

-- One row per shard that this node holds a replica of. The row is the fence: an append names the epoch and the position
-- it builds on, and changes nothing where either has moved.
create table shard_state (
    shard             integer primary key,
    promised          integer not null default 0,   -- never decreases
    promised_to       text collate "C",            -- the node that the promise was made to; null: to nobody else
    leads             integer,                     -- null, or the epoch that this replica leads: then leads <= promised
    last_position     bigint  not null default 0,   -- positions 1 .. last_position exist, without gaps
    last_epoch        integer not null default 0,
    last_stamp        bigint  not null default 0,   -- strictly increasing
    last_chain        bytea   not null default decode(repeat('00', 32), 'hex'),
    complete_position bigint  not null default 0,   -- a hint that may lag: complete_position <= last_position
    -- actor, mark, timer and exception hold exactly what the records up to here make of them. A leader's append moves
    -- it along, so on a leader standing_position = last_position; a follower folds as records become complete.
    standing_position bigint  not null default 0,
    -- Copies what it lacks, and neither votes nor acknowledges.
    recovering        boolean not null default false,
    check (leads is null or leads <= promised),
    check (complete_position <= last_position),
    check (standing_position <= last_position)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Which node this database belongs to. There is one row, and a backup that is restored brings the old one along: others
-- notice, for they have seen later ones.
create table identity (
    one         boolean primary key default true check (one),
    node        text collate "C" not null,
    incarnation uuid    not null default gen_random_uuid(),    -- made with the database; a new one after a restore
    boots       integer not null default 0 check (boots >= 0), -- how often the node's process started on this database
    -- The nodes that founded the cluster, as this node was told at its first start: they hold what no record says
    -- anything else of, so two who disagree about them would write two histories.
    founders    text[]  not null,
    -- A position of shard 0: departments that came later were never held by this node before, so they have nothing to
    -- recover from. Null: it is not known yet, for this node may have lost its disk.
    knows_from  bigint
);

-- What this node knows of others: one that comes back with fewer boots, the same ones in another run, or a database
-- that it had before its newest one, was restored.
create table peer (
    node        text collate "C" not null,
    incarnation uuid    not null,
    boots       integer not null check (boots >= 0),
    run         uuid    not null,       -- of its process: made anew at each start
    newest      boolean not null,
    primary key (node, incarnation)
);

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
    source_position bigint,     -- where it was read; in the own journal: the timer whose release it is; a mark's place
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
-- The last mark of one reader: where its mark stands again when what came after it is taken back. A body begins with
-- the reader's name, which may be long: its hash is enough to find it by.
create index journal_reader
    on journal (shard, sender_shard, hashtextextended(split_part(body, ',"chain":', 1), 0), position)
    where kind = 'mark';
create index journal_exception on journal (shard, position) where kind = 'exception';
create index journal_member on journal (shard, position) where kind = 'member';
-- The consequences of a message: all records that go back to it, the message's own apart, whose id is the root.
create index journal_root on journal (shard, root) where root <> message_id;

-- The standing: actor, mark, timer and exception, what admission and agents go by. The leader folds it in the append
-- transaction, a follower from the complete records that it copied; shard_state.standing_position says how far.

-- For admission only; people read views.
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
    source_position bigint,                         -- of a rule's: the record it could not act on; or its message's
    primary key (shard, id)
);
create index exception_open on exception (shard, rule) where state = 'open';
create index exception_id on exception (id);

-- Messages that are not history: drafts (under negative codes); spooled ones, which wait for a leader with a majority;
-- and stranded ones, which an earlier leader had recorded and maybe acknowledged, and that never became complete.
create table pending (
    shard      integer not null,
    message_id uuid    not null,
    state      text collate "C" not null check (state in ('draft', 'spooled', 'stranded')),
    -- Of a stranded one: its record's columns, by name; the record's own body is in there as text, byte for byte.
    body       text    not null,
    changed_at timestamptz not null default clock_timestamp(),
    number     bigint  generated always as identity,    -- the order of arrival
    unit       uuid,        -- the same for all messages of a spooled atomic batch; null for one that came alone
    -- Of stranded ones only: where the record stood, and under which stamp.
    position   bigint,
    group_end  bigint,      -- the same for all that one unit recorded: a client's group is offered again as a whole
    epoch      integer,
    stamp      bigint,      -- what it is offered for must get a later one
    -- The message id of the record that was its actor's last before this one: it is admitted again only behind that
    -- very record. Null for a create, and for what concerns no actor here (sent, timer).
    based_on   uuid,
    primary key (shard, message_id),
    check ((state = 'stranded') = (position is not null and group_end is not null and epoch is not null
        and stamp is not null))
);

create index pending_spooled on pending (shard, number) where state = 'spooled';
create index pending_stranded on pending (shard, epoch, position) where state = 'stranded';

-- Which table holds the live view of each actor type, and its typed columns.
create table view_catalog (
    actor_type    text collate "C" primary key,
    table_name    text    not null unique,
    model_version integer,
    columns       text    not null
);
-- Where in a shard's journal each version of a model was first used: which columns an answer has as of a place follows
-- from it, and never changes.
create table view_edition (
    actor_type    text collate "C" not null,
    model_version integer not null,
    shard         integer not null,
    position      bigint  not null,
    primary key (actor_type, model_version, shard)
);
-- How far the live views of a shard are folded: they hold exactly the complete records up to position.
create table view_mark (
    shard    integer primary key,
    position bigint  not null,
    stamp    bigint  not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Kept views: aggregates over the live view of an actor type, each in a table of its own, which a step of that view
-- brings along in the same transaction. So per shard they are true at view_mark.position, too.
create table kept_catalog (
    name       text collate "C" primary key,
    actor_type text collate "C" not null,
    table_name text unique,                         -- null: it is not kept any more, for the reason in failure
    definition text not null,
    shape      text,                                -- the types that PostgreSQL gives what it is made of
    failure    text,
    check ((table_name is null) = (shape is null) and (table_name is null) = (failure is not null))
);

-- What verification found in this database not to be as it must be. None of it is served before it is repaired, also
-- after a restart. Each is an incident that shard 0 is told of; a row goes once shard 0 knows that it was repaired.
create table damage (
    id          uuid primary key default gen_random_uuid(), -- the incident's
    shard       integer not null,
    part        text collate "C" not null
        check (part in ('journal', 'history', 'state', 'actor', 'mark', 'timer', 'exception', 'view')),
    place       text    not null,                   -- for people
    key         text collate "C" not null,          -- of a view: its actor type; what is found again is the same
    first       bigint,                             -- of journal and history: the positions that are not served
    last        bigint,
    detail      text    not null,
    found_at    timestamptz not null default clock_timestamp(),
    repaired_at timestamptz,
    told        text collate "C" not null default 'nothing' check (told in ('nothing', 'found')),
    check ((part in ('journal', 'history')) = (first is not null and last is not null))
);
-- How far each journal was walked along and found sound, with the chain there as it was computed; and when it was last
-- walked along, and compared with what is folded from it, as a whole.
create table verified (
    shard    integer primary key,
    position bigint  not null,
    epoch    integer not null,
    stamp    bigint  not null,
    chain    bytea   not null,
    whole_at timestamptz not null
);

-- Append-only is a right, not a habit: nobody is granted more, and these refuse even the owner, and a superuser who did
-- not mean to. ENABLE ALWAYS, so that session_replication_role does not switch them off. Few doors may remove rows,
-- each of the range that it has just checked: it says so in a setting that holds in its own transaction and no other.
create function refuse_change() returns trigger language plpgsql as $$
declare
    opened text[];
begin
    if tg_op = 'DELETE' then
        opened := string_to_array(current_setting('peaceriver.opened', true), ' ');
        if opened[1] = pg_current_xact_id()::text and old.shard = opened[2]::integer
            and old.position between opened[3]::bigint and opened[4]::bigint then
            return old;
        end if;
    end if;
    raise exception 'the journal is append-only: % on % is refused', tg_op, tg_table_name
        using errcode = 'insufficient_privilege',
              hint = 'Nothing recorded is ever changed: send a message that corrects it.';
end $$;

create trigger append_only before update or delete on journal for each row execute function refuse_change();
alter table journal enable always trigger append_only;
create trigger append_only_whole before truncate on journal for each statement execute function refuse_change();
alter table journal enable always trigger append_only_whole;

-- A shard's partition is made by the owner: the running role may not create tables in the journal.
create function open_shard(code integer, is_recovering boolean) returns void
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
    insert into shard_state (shard, recovering) values (code, is_recovering) on conflict do nothing;
    insert into view_mark (shard, position, stamp) values (code, 0, 0) on conflict do nothing;
end $$;

-- Take back a tail that never became complete: what another leader's journal does not have. Nothing that is complete
-- goes, and nothing that was acknowledged is lost: messages from outside are kept as pending, to be offered again. What
-- rules, deliveries and timers made is not kept, for their sources make it again.
-- No row comes back, and nothing is done, where the journal has moved since the caller looked, or a later epoch than
-- the caller's was promised. The standing of what went is for the caller to fold again, in the same transaction.
create function strand_tail(
    of_shard integer, after bigint, for_epoch integer, expected_position bigint, expected_chain bytea,
    out removed bigint, out kept bigint
) returns setof record
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
declare
    state shard_state;
    ending journal;
begin
    select * into state from shard_state where shard = of_shard for update;
    if not found or state.last_position <> expected_position or state.last_chain <> expected_chain
        or state.promised > for_epoch then
        return;
    end if;
    if after < state.complete_position then
        raise exception 'positions % to % of shard % are complete: they are history and are not taken back',
            after + 1, state.complete_position, of_shard
            using errcode = 'insufficient_privilege',
                  hint = 'A journal that lacks them is damaged, or of another cluster: repair that one.';
    end if;
    select * into ending from journal where shard = of_shard and position = after;
    if after <> 0 and ending.group_end is distinct from after then
        raise exception 'position % of shard % is not the end of a group', after, of_shard
            using errcode = 'invalid_parameter_value',
                  hint = 'A group is one unit: name the position where one ends, or 0 for an empty journal.';
    end if;
    insert into pending (shard, message_id, state, body, position, group_end, epoch, stamp, based_on)
    select j.shard, j.message_id, 'stranded', (to_jsonb(j) - 'chain')::text,
        j.position, j.group_end, j.epoch, j.stamp, (
        select previous.message_id from journal previous
        where j.kind = 'received' and previous.kind = 'received' and previous.shard = j.shard
          and previous.actor_type = j.actor_type and previous.actor_id = j.actor_id and previous.position < j.position
        order by previous.position desc limit 1)
    from journal j
    where j.shard = of_shard and j.position > after and j.kind in ('received', 'sent', 'timer')
      -- A rule makes its messages again; a delivery and a timer's release, which name their source, come again by it.
      and j.rule is null and j.source_position is null
      -- A refused message that was admitted after all: its exception, right behind it, is retried again.
      and not exists (
        select from journal retried
        join journal opening on opening.shard = retried.shard
            and opening.message_id = (retried.body::json ->> 'exception')::uuid
        where retried.shard = j.shard and retried.position > j.position and retried.position <= j.group_end
          and retried.kind = 'exception' and retried.body::json ->> 'state' = 'retried'
          and opening.body::json -> 'message' ->> 'id' = j.message_id::text)
    order by j.position
    on conflict (shard, message_id) do update
    set state = excluded.state, body = excluded.body, changed_at = clock_timestamp(), position = excluded.position,
        group_end = excluded.group_end, epoch = excluded.epoch, stamp = excluded.stamp, based_on = excluded.based_on;
    get diagnostics kept = row_count;
    perform set_config('peaceriver.opened',
        concat_ws(' ', pg_current_xact_id(), of_shard, after + 1, state.last_position), true);
    delete from journal where shard = of_shard and position > after;
    get diagnostics removed = row_count;
    perform set_config('peaceriver.opened', '', true);
    update shard_state
    set leads = null, last_position = after, last_epoch = coalesce(ending.epoch, 0),
        last_stamp = coalesce(ending.stamp, 0),
        last_chain = coalesce(ending.chain, decode(repeat('00', 32), 'hex')),
        standing_position = least(standing_position, after)
    where shard = of_shard;
    return next;
end $$;

-- A value as PostgreSQL's binary COPY writes it: its length and its bytes, or -1 for null.
create function as_copied(value bytea) returns bytea language sql immutable parallel safe as $$
    select coalesce(int4send(octet_length(value)) || value, int4send(-1))
$$;

-- The chain after a row: what record.py computes, and shard/rows.py over rows as bytes. It says what the bytes are.
create function chain_after(previous bytea, r journal) returns bytea language sql stable parallel safe as $$
    select sha256(previous || '\x03'
        || as_copied(int4send(r.shard)) || as_copied(int8send(r.position)) || as_copied(int8send(r.group_end))
        || as_copied(int4send(r.epoch)) || as_copied(int8send(r.stamp)) || as_copied(convert_to(r.kind, 'UTF8'))
        || as_copied(uuid_send(r.message_id)) || as_copied(convert_to(r.actor_type, 'UTF8'))
        || as_copied(convert_to(r.actor_id, 'UTF8')) || as_copied(convert_to(r.action, 'UTF8'))
        || as_copied(convert_to(r.message_type, 'UTF8')) || as_copied(int4send(r.actor_version))
        || as_copied(int4send(r.model_version)) || as_copied(int4send(r.sender_shard))
        || as_copied(int4send(r.receiver_shard)) || as_copied(int8send(r.source_position))
        || as_copied(int8send(r.cause_time)) || as_copied(int4send(r.cause_shard)) || as_copied(uuid_send(r.root))
        || as_copied(convert_to(r.correlation, 'UTF8')) || as_copied(convert_to(r.rule, 'UTF8'))
        || as_copied(int4send(r.rule_version)) || as_copied(convert_to(r.principal, 'UTF8'))
        || as_copied(convert_to(r.trace, 'UTF8')) || as_copied(timestamptz_send(r.valid_at))
        || as_copied(timestamptz_send(r.due)) || as_copied(int4send(r.if_version)) || as_copied(int4send(r.hops))
        || as_copied(convert_to(r.body, 'UTF8')))
$$;

-- Put a peer's rows in the place of damaged or missing ones; answers how many. Their chains are computed here, from the
-- row before them on, and must lead to the row after them, or to the journal's end: rows of any other history do not.
create function repair_rows(of_shard integer, given journal[]) returns bigint
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    state shard_state;
    start bigint := (given[1]).position;
    finish bigint := start + cardinality(given) - 1;
    repaired bytea := decode(repeat('00', 32), 'hex');
    expected bigint := start;
    each journal;
    fits boolean;
    replaced bigint;
begin
    select * into state from shard_state where shard = of_shard for update;
    if (start between 1 and finish and finish <= state.last_position) is not true then
        raise exception 'positions % to % are not all in the journal of shard %', start, finish, of_shard
            using errcode = 'invalid_parameter_value',
                  hint = 'Give consecutive rows between position 1 and the journal''s end.';
    end if;
    if start > 1 then
        select j.chain into repaired from journal j where j.shard = of_shard and j.position = start - 1;
    end if;
    foreach each in array given loop
        repaired := chain_after(repaired, each);
        if (each.shard, each.position, each.chain) is distinct from (of_shard, expected, repaired) then
            raise exception 'the row for position % of shard % does not follow the row before it', expected, of_shard
                using errcode = 'integrity_constraint_violation',
                      hint = 'Ask another replica for the range, or begin further back, where this journal is sound.';
        end if;
        expected := expected + 1;
    end loop;
    if finish = state.last_position then
        fits := repaired = state.last_chain;
    else
        select j.chain = chain_after(repaired, j) into fits
        from journal j where j.shard = of_shard and j.position = finish + 1;
    end if;
    if fits is not true then
        raise exception 'the rows up to position % of shard % do not lead to what follows them', finish, of_shard
            using errcode = 'integrity_constraint_violation',
                  hint = 'Ask another replica for the range, or end further on, where this journal is sound.';
    end if;
    perform set_config('peaceriver.opened', concat_ws(' ', pg_current_xact_id(), of_shard, start, finish), true);
    delete from journal j using unnest(given) as g
    where j.shard = of_shard and j.position = g.position and j is distinct from g;
    perform set_config('peaceriver.opened', '', true);
    insert into journal
    select g.* from unnest(given) as g
    where not exists (select from journal j where j.shard = of_shard and j.position = g.position);
    get diagnostics replaced = row_count;
    return replaced;
end $$;

-- Let nobody lead, read or write a shard's journal until the end of the transaction; answers its table.
create function hold_still(of_shard integer) returns text
language plpgsql set search_path = public, pg_temp set lock_timeout = '10s' as $$
declare
    partition text := 'journal_' || of_shard;
begin
    perform from shard_state where shard = of_shard and leads is null for update;
    if not found then
        raise exception 'shard % is led here: nothing of its journal goes', of_shard
            using errcode = 'object_in_use', hint = 'Let another node lead it first.';
    end if;
    execute format('lock table %I in access exclusive mode', partition);
    return partition;
end $$;

-- Give up what the server cannot read of a journal: pages that do not fit their checksum, here or in an index. Its file
-- and its indexes are written anew without them; the rows are missing then, and a repair mends that.
create function write_anew(of_shard integer) returns void
language plpgsql security definer
-- An index may be what cannot be read.
set search_path = public, pg_temp set enable_indexscan = off as $$
declare
    -- First of all: pages that are taken for empty from here on must not look empty to anybody else.
    partition text := hold_still(of_shard);
begin
    perform set_config('zero_damaged_pages', 'on', true);
    execute format('cluster %I using %I', partition, partition || '_pkey');
    -- What the caller does after this is none of it.
    perform set_config('zero_damaged_pages', 'off', true);
end $$;

-- Before that: rows go that can be read themselves, while a part of them that is kept apart (TOAST) cannot, for no file
-- can be written anew with them. In a transaction of its own: it would take along what that very one has removed.
-- Answers how many went.
create function drop_unreadable(of_shard integer, first bigint, last bigint) returns bigint
language plpgsql security definer
set search_path = public, pg_temp
-- By the primary key alone: any other way leads over pages that have nothing to do with the row, and cannot be read.
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
    partition text;
    each bigint;
    place tid;
    unreadable tid[] := '{}';
    dropped bigint;
begin
    if (first <= last) is not true then
        raise exception 'positions % to % are no range', first, last using errcode = 'invalid_parameter_value';
    end if;
    partition := hold_still(of_shard);
    for each in select generate_series(first, last) loop
        begin
            place := null;
            select j.ctid into place from journal j
            where j.shard = of_shard and j.position between each and each order by j.position limit 1;
            begin
                perform md5(j::text) from journal j
                where j.shard = of_shard and j.position between each and each order by j.position limit 1;
            exception when data_corrupted then
                unreadable := unreadable || place;
            end;
        exception when data_corrupted or index_corrupted then
            null;  -- the row itself cannot be read: it goes when the file is written anew
        end;
    end loop;
    perform set_config('zero_damaged_pages', 'on', true);
    perform set_config('peaceriver.opened', concat_ws(' ', pg_current_xact_id(), of_shard, first, last), true);
    execute format('delete from %I where ctid = any($1)', partition) using unreadable;
    get diagnostics dropped = row_count;
    perform set_config('peaceriver.opened', '', true);
    perform set_config('zero_damaged_pages', 'off', true);
    return dropped;
end $$;

revoke all on function hold_still(integer) from public;
revoke all on function write_anew(integer) from public;
grant execute on function write_anew(integer) to peaceriver_runner;
revoke all on function drop_unreadable(integer, bigint, bigint) from public;
grant execute on function drop_unreadable(integer, bigint, bigint) to peaceriver_runner;
revoke all on function open_shard(integer, boolean) from public;
grant execute on function open_shard(integer, boolean) to peaceriver_runner;
revoke all on function repair_rows(integer, journal[]) from public;
grant execute on function repair_rows(integer, journal[]) to peaceriver_runner;
revoke all on function strand_tail(integer, bigint, integer, bigint, bytea) from public;
grant execute on function strand_tail(integer, bigint, integer, bigint, bytea) to peaceriver_runner;
grant select, insert on journal to peaceriver_runner;
grant select, update on shard_state to peaceriver_runner;
grant select, insert, update on identity, peer to peaceriver_runner;
grant select, insert, update, delete
    on actor, mark, timer, exception, pending, view_catalog, view_edition, view_mark, kept_catalog, damage,
        verified
    to peaceriver_runner;

-- Views live in a schema of their own, which the running role owns the content of: it makes and rebuilds them.
create schema view;
grant usage, create on schema view to peaceriver_runner;
-- What somebody's query runs as reads views (each is granted when it is made), and may do nothing else.
grant usage on schema view to peaceriver_reader;
revoke create on schema public from public;
create sequence view.number;
grant usage on sequence view.number to peaceriver_runner;
-- So do kept views, numbered by the same sequence.
create schema kept;
grant usage, create on schema kept to peaceriver_runner;
-- What kept views say is read as queries are; where they are true stands beside them.
grant usage on schema kept to peaceriver_reader;
grant select on kept_catalog, view_mark to peaceriver_reader;
