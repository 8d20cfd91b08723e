-- Triggers of repositories and what is delivered for them (triggers/trigger.h, triggers/delivery.h).

-- branches and globs are JSON arrays of text, NULL: no filter. payload is NULL where the client did not say. Events up to the
-- journal's sequence since_seq were there before the trigger. One with deleted_ms is a tombstone until its deliveries are
-- swept away. wake: it was resumed, and its deliveries have still to be made ready; resumes counts how often, since one
-- millisecond has room for several. ended counts its deliveries that have. While it is paused nothing that waits is older than oldest_ms.
-- seq is never given twice: deliveries know their trigger by it, and may outlive it for a while.
CREATE TABLE push_trigger (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL UNIQUE,
	account_id TEXT NOT NULL REFERENCES account (id),
	repo_id TEXT NOT NULL,
	branches TEXT,
	globs TEXT,
	endpoint TEXT NOT NULL,
	payload TEXT CHECK (payload IN ('basic', 'extended')),
	turn INTEGER NOT NULL REFERENCES delivery_turn (seq),
	since_seq INTEGER NOT NULL,
	created_ms INTEGER NOT NULL,
	paused_ms INTEGER,
	resumed_ms INTEGER,
	resumes INTEGER NOT NULL DEFAULT 0,
	wake INTEGER NOT NULL DEFAULT 0 CHECK (wake IN (0, 1)),
	ended INTEGER NOT NULL DEFAULT 0,
	oldest_ms INTEGER NOT NULL DEFAULT 0,
	deleted_ms INTEGER
) STRICT;
CREATE INDEX push_trigger_list ON push_trigger (repo_id, seq) WHERE deleted_ms IS NULL;
CREATE INDEX push_trigger_gone ON push_trigger (seq) WHERE deleted_ms IS NOT NULL;
CREATE INDEX push_trigger_wake ON push_trigger (seq) WHERE wake = 1;
CREATE INDEX push_trigger_resting ON push_trigger (max(paused_ms, oldest_ms)) WHERE paused_ms IS NOT NULL;
CREATE INDEX push_trigger_ended ON push_trigger (ended);
CREATE INDEX push_trigger_account ON push_trigger (account_id);
CREATE INDEX push_trigger_turn ON push_trigger (turn);

-- The tip of the default branch as of event_seq, for a new branch's changed paths; zeros: it is unborn. NULL: not known. Kept
-- only while there is a trigger, so the first one sets it anew.
ALTER TABLE repo ADD COLUMN trigger_head BLOB;

-- Of the events behind event_seq, as long as that is part_of, the first `part` have been handed over already: what makes many
-- deliveries is handed over in pieces.
ALTER TABLE repo ADD COLUMN part_of INTEGER;
ALTER TABLE repo ADD COLUMN part INTEGER NOT NULL DEFAULT 0;

-- Whose turn it is: the accounts that have something ready, each with its endpoints' hosts. next_ms: when the first of it is
-- due; NULL: nothing is. pending counts all that has not ended.
CREATE TABLE delivery_turn (
	seq INTEGER PRIMARY KEY,
	account_id TEXT NOT NULL,
	host TEXT NOT NULL,
	next_ms INTEGER,
	pending INTEGER NOT NULL DEFAULT 0,
	UNIQUE (account_id, host)
) STRICT;
CREATE INDEX delivery_turn_next ON delivery_turn (account_id, next_ms) WHERE next_ms IS NOT NULL;
CREATE TABLE delivery_account (
	account_id TEXT PRIMARY KEY,
	next_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_account_next ON delivery_account (next_ms);

-- One delivery. Of the same trigger and chain (the branch; ":" and the id for those that wait for nobody) only the first one
-- that has not ended is ready. state: 0 its paths have to be looked at, 1 waits for an earlier one, 2 ready, 3 under way,
-- 4 delivered, 5 given up. extended is how its body is made, which never changes. forced NULL: not known, or not asked for.
-- lease is a file in run/ as that of a job. answer is the beginning of the last attempt's answer. seq is never given twice:
-- what an attempt came to may be written when its row was swept away.
CREATE TABLE delivery (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL UNIQUE,
	trigger_seq INTEGER NOT NULL,
	turn INTEGER NOT NULL,
	account_id TEXT NOT NULL,
	repo_id TEXT NOT NULL,
	chain TEXT NOT NULL,
	branch TEXT NOT NULL,
	new_oid BLOB NOT NULL CHECK (length(new_oid) = 20),
	old_oid BLOB CHECK (length(old_oid) = 20),
	head_oid BLOB,
	author TEXT NOT NULL,
	occurred_ms INTEGER NOT NULL,
	created_ms INTEGER NOT NULL,
	kind TEXT NOT NULL CHECK (kind IN ('push', 'test', 'again')),
	again_of TEXT,
	extended INTEGER NOT NULL CHECK (extended IN (0, 1)),
	forced INTEGER,
	note TEXT,
	state INTEGER NOT NULL,
	not_before_ms INTEGER NOT NULL,
	attempts INTEGER NOT NULL DEFAULT 0,
	lease TEXT,
	started_ms INTEGER,
	status INTEGER,
	latency_ms INTEGER,
	error TEXT,
	answer BLOB,
	ended_ms INTEGER,
	CHECK ((state = 3) = (lease IS NOT NULL)),
	CHECK ((state >= 4) = (ended_ms IS NOT NULL))
) STRICT;
CREATE INDEX delivery_chain ON delivery (trigger_seq, chain, seq) WHERE ended_ms IS NULL;
CREATE INDEX delivery_new ON delivery (account_id, seq) WHERE state = 0;
CREATE INDEX delivery_ready ON delivery (turn, not_before_ms, seq) WHERE state = 2;
CREATE INDEX delivery_leased ON delivery (lease) WHERE state = 3;
CREATE INDEX delivery_live ON delivery (trigger_seq, seq) WHERE ended_ms IS NULL;
CREATE INDEX delivery_history ON delivery (trigger_seq, seq) WHERE ended_ms IS NOT NULL;
CREATE INDEX delivery_ended ON delivery (ended_ms) WHERE ended_ms IS NOT NULL;
