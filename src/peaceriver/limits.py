"""Every limit has a name here. Bytes are of UTF-8 text; times are in seconds."""

from __future__ import annotations

#: Letters a name (of an actor type, a message type, a correlation) may have.
NAME_LETTERS_MAX = 255
#: One message's body, and one folded document.
BODY_BYTES_MAX = 1024 * 1024
#: One HTTP request: an array of messages.
BATCH_BYTES_MAX = 16 * 1024 * 1024
#: Messages in one array.
BATCH_MESSAGES_MAX = 10_000
#: Messages that may wait for one department's appender before the next one is answered 429.
QUEUE_MESSAGES_MAX = 20_000
#: Records that one append transaction takes. Batches of 100 to 500 were measured to be as good as larger ones.
APPEND_RECORDS_MAX = 250
#: Messages of a list that are made ready at a time, so that the next are while the first commit.
PART_MESSAGES_MAX = 250
#: Bytes of bodies that one append transaction takes, so that a batch of large bodies stays short.
APPEND_BYTES_MAX = 8 * 1024 * 1024
#: Records that one step of a reader (delivery, views) takes.
STEP_RECORDS_MAX = 500
#: Records that one pull of a follower takes, but for a group of more, which is taken whole.
PULL_RECORDS_MAX = 5_000
#: Rules in a row that one message may lead to.
HOPS_MAX = 32
#: Messages that a rule may make of one record, and their bytes.
FOLLOW_UPS_MAX = 10_000
FOLLOW_UPS_BYTES_MAX = 16 * 1024 * 1024
#: Letters that are kept of what a rule failed at.
FAILURE_LETTERS_MAX = 1_000
#: Messages, and bytes of them, after which a step of a rule takes no further record.
STEP_FOLLOW_UPS_MAX = 2_000
STEP_FOLLOW_UPS_BYTES_MAX = 8 * 1024 * 1024
#: How long a rule may take for one record.
RULE_TIME_S = 2.0
#: How long a department waits for its validation rules while it judges one batch; what is left then is refused.
VALIDATION_TIME_S = 5.0
#: How long after each failed attempt a rule is tried again by itself; after the last, it waits for somebody.
RETRY_PAUSES_S = (1.0, 5.0, 25.0, 125.0, 625.0)
#: Attempts after which no rule, but only a person, may let an exception be tried again.
RULE_ATTEMPTS_MAX = 32
#: Processes of one node that rules run in, and what each of them may hold beyond what it shares with the node.
RULE_PROCESSES_MAX = 4
RULE_MEMORY_BYTES_MAX = 1024 * 1024 * 1024
#: Records, in bytes with their documents, that a rule is asked about at a time.
RULE_QUESTION_BYTES_MAX = 32 * 1024 * 1024
#: Records of one department that a rule keeps in memory until it acts on them; beyond, it reads them from the journal.
TRIGGERS_KEPT_MAX = 4_000
#: What one department's views keep in memory until they fold it, in bytes; beyond, they read the journal.
UNFOLDED_BYTES_MAX = 16 * 1024 * 1024
#: Records without an effect after which a rule's mark is written all the same.
MARK_RECORDS_MAX = 10_000
#: How long after such a record it is written at the latest.
MARK_PAUSE_S = 1.0
#: Records that one explanation, or one wait for a message to be settled, looks at.
CONSEQUENCES_MAX = 50_000
#: Records or items in one HTTP answer.
PAGE_RECORDS_MAX = 1_000
#: How many actors' documents one department keeps in memory for admission, and their bytes in all.
ACTORS_CACHED_MAX = 50_000
ACTORS_CACHED_BYTES_MAX = 32 * 1024 * 1024
#: Actor types, beyond which only those with a model may still come: each one costs a view table.
ACTOR_TYPES_MAX = 1_000
#: How long views gather records where nobody waits for them, and how long a reader waits for what is complete already.
FOLD_PAUSE_S = 0.05
#: The same while a replica pulls what it lacks in whole chunks: its journal counts first. Once somebody waits for its
#: views, they are brought level without a pause all the same.
FOLD_BEHIND_PAUSE_S = 5.0
FOLD_WAIT_S = 0.25
#: How far ahead of the wall clock a stamp from a client may be.
STAMP_AHEAD_MAX_S = 60.0
#: How long a message waits for its cause to arrive.
CAUSE_WAIT_S = 5.0
#: How long a sender waits for its receipt, unless it says otherwise, and at most.
SEND_TIMEOUT_S = 5.0
TIMEOUT_MAX_S = 60.0
#: How long a read waits for what it asked to see.
READ_TIMEOUT_S = 2.0
#: How long an idle department waits between two ticks.
TICK_INTERVAL_S = 0.05
#: Below this many free bytes on the journal's disk, messages are refused with 507.
DISK_FREE_BYTES_MIN = 256 * 1024 * 1024
#: How often the free space is looked at, at most.
ROOM_LOOK_S = 1.0
#: The largest sharding code: what PostgreSQL's integer holds.
CODE_MAX = 2**31 - 1
#: The largest position in a journal: what PostgreSQL's bigint holds.
POSITION_MAX = 2**63 - 1
#: The first sharding code of a data shard. 0 is the control shard, 1 to 99 are kept free.
DATA_CODE_MIN = 100
CONTROL = 0
#: What a leader keeps of a department's newest rows in memory, for followers that keep up.
FRESH_BYTES_MAX = 8 * 1024 * 1024
#: Rows of one department, and of all, that one answer to a poll holds, roughly, but for a group of more.
CHUNK_BYTES_MAX = 4 * 1024 * 1024
POLL_BYTES_MAX = 8 * 1024 * 1024
#: What share of the time a follower that lacks much takes rows in, while others wait for appends.
CATCH_UP_SHARE = 0.7
#: How long a follower goes on without hearing from its leader, and a leader without hearing from a majority.
LEASE_S = 1.5
#: How long a message waits at its first node for its department to be led by somebody.
LEADER_WAIT_S = 5.0
#: One request of another node: a batch of messages with what the first node found out about each.
BETWEEN_NODES_BYTES_MAX = 64 * 1024 * 1024
#: So many replicas of a department vote, where there are so many nodes; the others learn.
VOTERS = 3
#: How long a node leads in the place of another that can lead again.
BALANCE_AFTER_S = 10.0
#: A message that may be spooled is spooled where nobody has recorded it for good after so long.
SPOOL_AFTER_S = 1.0
#: Messages that one node spools, and their bytes, before the next one is answered 429.
SPOOLED_MESSAGES_MAX = 100_000
SPOOLED_BYTES_MAX = 256 * 1024 * 1024
#: Pending messages that are offered to a leader at a time, but for a unit of more, and how long that may take.
OFFERED_MESSAGES_MAX = 250
OFFER_TIMEOUT_S = 10.0
#: How long other nodes may take to say whether they know of a message, a stamp or a draft.
PEERS_ANSWER_S = 1.0
#: The share of its time that a node spends on verification by itself, and how often it looks for new records to verify.
VERIFY_SHARE = 0.02
VERIFY_LOOK_S = 60.0
#: Rows of one piece of that.
VERIFY_ROWS_MAX = 2_000
#: How long after the last time a whole journal, and what is folded from it, is verified again.
VERIFY_AGAIN_S = 6 * 3600.0
#: The same once the server could not read something, for whoever asked: not over and over for what stays unreadable.
SUSPECT_AGAIN_S = 600.0
SUSPECT_SHARE = 0.5
#: How long a verification of everything on all nodes may take.
VERIFY_TIMEOUT_S = 3600.0
#: How soon a repair is tried again, and how seldom it comes to be; how long a damaged leader goes on leading meanwhile.
REPAIR_PAUSE_S = 5.0
REPAIR_PAUSE_MAX_S = 30.0
REPAIR_PATIENCE_S = 10.0
#: Repairs of one department in a row: what comes to light by one of them is for the next.
REPAIR_ROUNDS_MAX = 5
#: Journal rows in bytes that one repair takes; more is a disk that was lost: start the node with an empty one.
REPAIR_BYTES_MAX = 256 * 1024 * 1024
#: How long it may take to write the journal of a department anew without what the server cannot read.
WRITE_ANEW_TIMEOUT_S = 3600.0
#: A query's text, its words, and how deep it may be nested.
QUERY_BYTES_MAX = 64 * 1024
QUERY_TOKENS_MAX = 10_000
QUERY_DEPTH_MAX = 64
#: Relations that it names; each of them is written out.
QUERY_RELATIONS_MAX = 100
#: Steps of the parser, in all and for each word: what can be read in many ways it tries over and over.
QUERY_STEPS_MAX = 5_000
QUERY_STEPS_OF_WORD_MAX = 10
#: A longer text is read beside what else a node does.
QUERY_AT_ONCE_LETTERS_MAX = 1_000
#: How long a query may take, unless it says otherwise; the wait for what it wants to see is part of that.
QUERY_TIMEOUT_S = 30.0
#: How long a streamed answer may take, however slowly it is read.
STREAM_TIMEOUT_S = 600.0
#: Rows of an answer that is given as a whole, and of one that is streamed.
QUERY_ROWS_MAX = 10_000
STREAM_ROWS_MAX = 100_000_000
#: The values of an answer that is given as a whole, in bytes.
QUERY_ANSWER_BYTES_MAX = 64 * 1024 * 1024
#: Rows that an answer is read by, at first and at most, and about how many bytes: what is in memory.
QUERY_FIRST_ROWS = 20
QUERY_PART_ROWS_MAX = 500
QUERY_PART_BYTES = 4 * 1024 * 1024
#: A row of an answer that may be far larger than what was recorded, in bytes (``reading.fits`` in
#: migrations/0002_reading.sql compares it), and how many of these are read at most.
LARGE_ROW_BYTES_MAX = 16 * 1024 * 1024
LARGE_PART_ROWS_MAX = 32
#: Letters that a query's repeat, lpad or rpad makes; ``reading.letters`` (migrations/0002_reading.sql) counts them.
TEXT_LETTERS_MAX = 10_000
#: How long a statement may take that brings kept views along in a step of their view, before the step is made without
#: those that take so long: they are not kept any more.
KEPT_STEP_TIMEOUT_S = 20.0
#: How long it may take to compute a kept view of one department from its view, beside whatever else goes on.
KEPT_FILL_TIMEOUT_S = 3600.0
#: How long after that, or where it took too long, or could not be computed, it is tried again by itself: twice as long
#: each time, up to this.
KEPT_RETRY_PAUSE_S = 5.0
KEPT_RETRY_PAUSE_MAX_S = 3600.0
#: How long after something was away that it is computed with: the database, or what is being repaired.
KEPT_WAIT_S = 5.0
#: Groups of a kept view in one answer.
KEPT_ROWS_MAX = 100_000
#: Answers that one node streams at a time.
STREAMS_MAX = 4
#: Longer statements than these are not remembered: what is remembered is bounded in bytes too.
CHECKED_LETTERS_MAX = 4_000
QUERY_KEPT_LETTERS_MAX = 64_000
#: Statements that a node remembers as PostgreSQL understood them.
QUERY_PLANS_MAX = 500
#: Host variables of a named view.
VIEW_VARIABLES_MAX = 100
