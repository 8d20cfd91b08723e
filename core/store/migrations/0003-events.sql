-- What becomes of a repository's journal. event_seq is the sequence of the last record whose events were handed over; it
-- changes only together with what they caused. mark is a random token while the journal may hold more than that; NULL:
-- it does not, and a start need not look.
ALTER TABLE repo ADD COLUMN event_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repo ADD COLUMN mark TEXT;
CREATE INDEX repo_marked ON repo (id) WHERE mark IS NOT NULL;
-- Creations that a crash cut off: a start gives them to the removal of folders.
CREATE INDEX repo_creating ON repo (seq) WHERE state = 'creating';
