-- Accounts, what opens them, and their repositories. Times are milliseconds since 1970 in UTC, ids are lower-case UUIDs.
-- seq gives every list its order: the time of creation is not unique. Foreign keys carry the account, so that no row can
-- ever tie two accounts together.

-- An account with deleted_ms is a tombstone: nothing opens it any more, it only waits for its repositories' folders to go.
CREATE TABLE account (
	seq INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	name TEXT NOT NULL,
	created_ms INTEGER NOT NULL,
	deleted_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX account_name ON account (name) WHERE deleted_ms IS NULL;

CREATE TABLE api_key (
	seq INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	name TEXT NOT NULL,
	hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
	created_ms INTEGER NOT NULL,
	UNIQUE (account_id, name)
) STRICT;

CREATE TABLE identity (
	seq INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	managed INTEGER NOT NULL DEFAULT 0 CHECK (managed IN (0, 1)),
	created_ms INTEGER NOT NULL,
	UNIQUE (account_id, id)
) STRICT;
CREATE INDEX identity_list ON identity (account_id, seq);

CREATE TABLE token (
	seq INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	account_id TEXT NOT NULL,
	identity_id TEXT NOT NULL,
	hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
	description TEXT,
	scope TEXT CHECK (scope IN ('read')),
	created_ms INTEGER NOT NULL,
	expires_ms INTEGER,
	last_used_ms INTEGER,
	FOREIGN KEY (account_id, identity_id) REFERENCES identity (account_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX token_list ON token (account_id, identity_id, seq);

-- name_fold is the name with its letter case folded, for the search. No account goes while it has rows here: each stands
-- for a folder that somebody has to remove.
CREATE TABLE repo (
	seq INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	account_id TEXT NOT NULL REFERENCES account (id),
	name TEXT,
	name_fold TEXT,
	visibility TEXT NOT NULL CHECK (visibility IN ('private', 'public')),
	default_branch TEXT NOT NULL,
	state TEXT NOT NULL CHECK (state IN ('creating', 'live', 'deleting')),
	created_ms INTEGER NOT NULL,
	UNIQUE (account_id, id)
) STRICT;
CREATE INDEX repo_list ON repo (account_id, state, seq);
CREATE INDEX repo_deleting ON repo (seq) WHERE state = 'deleting';

CREATE TABLE repo_grant (
	seq INTEGER PRIMARY KEY,
	account_id TEXT NOT NULL,
	identity_id TEXT NOT NULL,
	repo_id TEXT NOT NULL,
	level TEXT NOT NULL CHECK (level IN ('read', 'write')),
	created_ms INTEGER NOT NULL,
	UNIQUE (account_id, identity_id, repo_id),
	FOREIGN KEY (account_id, identity_id) REFERENCES identity (account_id, id) ON DELETE CASCADE,
	FOREIGN KEY (account_id, repo_id) REFERENCES repo (account_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX repo_grant_list ON repo_grant (account_id, identity_id, seq);
CREATE INDEX repo_grant_repo ON repo_grant (account_id, repo_id);
