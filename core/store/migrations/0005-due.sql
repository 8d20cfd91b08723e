-- What care a repository needs next, and from when on (core/git/due.h); NULL: none. It changes only together with mark, or
-- when somebody takes it on. The two indexes hold nothing of repositories that are being made or deleted.
ALTER TABLE repo ADD COLUMN due_ms INTEGER;
ALTER TABLE repo ADD COLUMN due_why TEXT;
CREATE INDEX repo_due ON repo (due_ms) WHERE due_ms IS NOT NULL AND state = 'live';
CREATE INDEX repo_due_of ON repo (account_id, due_ms) WHERE due_ms IS NOT NULL AND state = 'live';
