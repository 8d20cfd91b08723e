-- Public repositories are found by their id alone, private ones only through their account or a grant: so a lookup by
-- somebody who may not know of a repository touches nothing of it, and takes as long as one for an id that does not exist.
CREATE UNIQUE INDEX repo_public ON repo (id) WHERE visibility = 'public' AND state = 'live';
