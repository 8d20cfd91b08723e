-- How many live repositories of an account have a seq in the same thousand (1,024): their sum is how many there are, and a
-- list that begins far behind finds its place without counting the rows before it. Who inserts, deletes or changes a state
-- need not know of it. seq and account_id of a repository never change.
CREATE TABLE repo_count (
	account_id TEXT NOT NULL,
	block INTEGER NOT NULL,
	n INTEGER NOT NULL CHECK (n > 0),
	PRIMARY KEY (account_id, block)
) STRICT, WITHOUT ROWID;
INSERT INTO repo_count (account_id, block, n)
	SELECT account_id, seq >> 10, count(*) FROM repo WHERE state = 'live' GROUP BY 1, 2;

CREATE TRIGGER repo_counted AFTER INSERT ON repo WHEN NEW.state = 'live' BEGIN
	INSERT INTO repo_count (account_id, block, n) VALUES (NEW.account_id, NEW.seq >> 10, 1)
		ON CONFLICT (account_id, block) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER repo_came_alive AFTER UPDATE OF state ON repo WHEN NEW.state = 'live' AND OLD.state <> 'live' BEGIN
	INSERT INTO repo_count (account_id, block, n) VALUES (NEW.account_id, NEW.seq >> 10, 1)
		ON CONFLICT (account_id, block) DO UPDATE SET n = n + 1;
END;
-- The last one of a block takes its row along.
CREATE TRIGGER repo_died AFTER UPDATE OF state ON repo WHEN OLD.state = 'live' AND NEW.state <> 'live' BEGIN
	DELETE FROM repo_count WHERE account_id = OLD.account_id AND block = OLD.seq >> 10 AND n = 1;
	UPDATE repo_count SET n = n - 1 WHERE account_id = OLD.account_id AND block = OLD.seq >> 10;
END;
CREATE TRIGGER repo_vanished AFTER DELETE ON repo WHEN OLD.state = 'live' BEGIN
	DELETE FROM repo_count WHERE account_id = OLD.account_id AND block = OLD.seq >> 10 AND n = 1;
	UPDATE repo_count SET n = n - 1 WHERE account_id = OLD.account_id AND block = OLD.seq >> 10;
END;
