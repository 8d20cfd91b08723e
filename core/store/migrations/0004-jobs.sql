-- Work that outlasts a request (core/store/jobs.h). lease is the name of the file in run/ which the process that runs the
-- job keeps locked; attempts counts how often it began, but for those that gave it back in order. not_before_ms puts off
-- what is tried again. args and result are JSON.
CREATE TABLE job (
	seq INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	repo_id TEXT,
	kind TEXT NOT NULL,
	state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
	args TEXT NOT NULL,
	result TEXT,
	stage TEXT NOT NULL DEFAULT '',
	done INTEGER NOT NULL DEFAULT 0,
	total INTEGER NOT NULL DEFAULT 0,
	attempts INTEGER NOT NULL DEFAULT 0,
	not_before_ms INTEGER NOT NULL DEFAULT 0,
	cancel INTEGER NOT NULL DEFAULT 0 CHECK (cancel IN (0, 1)),
	lease TEXT,
	code TEXT,
	message TEXT,
	created_ms INTEGER NOT NULL,
	started_ms INTEGER,
	ended_ms INTEGER,
	CHECK ((state = 'running') = (lease IS NOT NULL)),
	CHECK ((state IN ('done', 'failed', 'cancelled')) = (ended_ms IS NOT NULL))
) STRICT;
-- Accounts take turns, each with its oldest first.
CREATE INDEX job_next ON job (account_id, seq) WHERE state = 'queued';
CREATE INDEX job_leased ON job (lease) WHERE state = 'running';
CREATE INDEX job_of_account ON job (account_id, seq);
CREATE INDEX job_of_repo ON job (repo_id, seq) WHERE repo_id IS NOT NULL;
-- Those that have ended are forgotten by age, and beyond a number of each account.
CREATE INDEX job_ended ON job (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX job_ended_of ON job (account_id, seq) WHERE ended_ms IS NOT NULL;

-- Who makes a repository that is in state 'creating': a job's id, or the name of a file in run/ as above. NULL once it is
-- made.
ALTER TABLE repo ADD COLUMN maker TEXT;
