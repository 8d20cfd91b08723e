/* What repositories that are kept open hold, and that those used longest ago go where it is too much. */
#include "tests/unit/git_fixture.h"

#include <dirent.h>

#include "core/base/log.h"
#include "core/git/git_internal.h"

#define REPOS 12

static unsigned open_files(void)
{
	char path[64], to[512];
	struct dirent *e;
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");

	assert_non_null(d);
	while ((e = readdir(d))) {
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/self/fd/%.20s", e->d_name);
		len = readlink(path, to, sizeof(to) - 1);
		if (len <= 0)
			continue;
		to[len] = '\0';
		n += strstr(to, "/data/repos/") != NULL;
	}
	closedir(d);
	return n;
}

static unsigned maps(void)
{
	char line[1024];
	unsigned n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "/data/repos/") != NULL;
	fclose(f);
	return n;
}

static void append_refs(struct fx *f, struct wr_git_repo *repo, unsigned refs)
{
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_ref_update u = {.any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};
	char hex[WR_OID_HEX + 1], text[128], name[64];
	struct wr_oid tree;

	assert_ok(wr_quarantine_new(&q, repo, &f->err));
	assert_ok(wr_quarantine_add(&tree, q, WR_TREE, WR_S(""), NULL, &f->err));
	wr_oid_hex(hex, &tree);
	snprintf(text, sizeof(text), "tree %s\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\n", hex);
	assert_ok(wr_quarantine_add(&u.new, q, WR_COMMIT, wr_str(text), NULL, &f->err));
	change.objects = q;
	for (unsigned i = 0; i < refs; i++) {
		snprintf(name, sizeof(name), "refs/heads/b%u", i);
		u.name = wr_str(name);
		assert_ok(wr_git_append(repo, &change, &f->err));
		assert_ok(u.result);
		change.objects = NULL;
	}
}

/* Nobody uses it afterwards. */
static void fill(struct fx *f, char id[WR_UUID_LEN + 1], unsigned refs, bool checkpoint)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	bool did = false;

	assert_ok(wr_git_repo_open(&repo, f->git, id, &f->err));
	append_refs(f, repo, refs);
	if (checkpoint)
		assert_ok(wr_git_repo_checkpoint(&did, repo, &f->err));
	assert_true(did == checkpoint);
	assert_ok(wr_snapshot_take(&snap, repo, &f->err));
}

static void touch(struct fx *f, const char *id)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO(wr_snapshot) *snap = NULL;
	size_t n;

	assert_ok(wr_git_repo_open(&repo, f->git, id, &f->err));
	assert_ok(wr_snapshot_take(&snap, repo, &f->err));
	wr_snapshot_refs(snap, &n);
	assert_true(n > 0);
}

static void restart(struct fx *f)
{
	fx_stop(f);
	f->cfg.idle_repos = 100;
	f->cfg.no_keeper = true;
	fx_start(f);
	wr_git_repo_unref(f->repo);
	f->repo = NULL;
}

static void end(struct fx *f)
{
	wr_git_close(f->git);
	f->git = NULL;
}

static bool is_open(struct fx *f, const char *id)
{
	for (struct wr_git_repo *repo = f->git->oldest; repo; repo = repo->newer)
		if (strcmp(repo->id, id) == 0)
			return true;
	return false;
}

static void the_weight_is_what_the_process_has_open(void **state)
{
	struct fx *f = *state;
	char ids[REPOS][WR_UUID_LEN + 1];
	uint64_t bytes = 0;

	restart(f);
	for (unsigned i = 0; i < REPOS; i++) {
		wr_uuid_new(ids[i]);
		fill(f, ids[i], i + 1, i % 3 == 0);
		assert_int_equal(f->git->idle_weight.fds, open_files());
		assert_int_equal(f->git->idle_weight.maps, maps());
		assert_true(f->git->idle_weight.bytes > bytes);
		bytes = f->git->idle_weight.bytes;
	}
	assert_int_equal(f->git->idle, REPOS);
	/* Those in use are nobody's to close. */
	for (unsigned i = 0; i < REPOS; i++) {
		WR_AUTO(wr_git_repo) *repo = NULL;

		assert_ok(wr_git_repo_open(&repo, f->git, ids[i], &f->err));
		assert_true(f->git->idle_weight.fds < open_files());
	}
	while (wr_git_relieve(f->git))
		assert_int_equal(f->git->idle_weight.fds, open_files());
	assert_int_equal(f->git->idle_weight.fds + f->git->idle_weight.maps + f->git->idle_weight.bytes, 0);
	assert_int_equal(open_files() + maps(), 0);
	end(f);
}

static void those_used_longest_ago_go_first(void **state)
{
	struct fx *f = *state;
	struct wr_weight one, *room;
	char ids[REPOS][WR_UUID_LEN + 1];

	restart(f);
	room = &f->git->room;
	for (unsigned i = 0; i < REPOS; i++) {
		wr_uuid_new(ids[i]);
		fill(f, ids[i], 5, false);
	}
	one = f->git->newest->weight;
	for (unsigned kind = 0; kind < 3; kind++) {
		struct wr_weight all = {UINT64_MAX, UINT64_MAX, UINT64_MAX};

		*room = all;
		for (unsigned i = 0; i < REPOS; i++)
			touch(f, ids[i]);
		assert_int_equal(f->git->idle, REPOS);
		if (kind == 0)
			room->fds = 3 * one.fds;
		else if (kind == 1)
			room->maps = 3 * one.maps;
		else
			room->bytes = 3 * one.bytes;
		touch(f, ids[2]);
		assert_int_equal(f->git->idle, 3);
		assert_true(is_open(f, ids[2]) && is_open(f, ids[REPOS - 1]) && is_open(f, ids[REPOS - 2]));
		assert_true(wr_weight_within(&f->git->idle_weight, room));
		assert_int_equal(open_files(), 3 * one.fds);
	}
	/* One that is too much by itself stays as long as it is the last one used. */
	room->bytes = 1;
	touch(f, ids[0]);
	assert_int_equal(f->git->idle, 1);
	assert_true(is_open(f, ids[0]));
	touch(f, ids[1]);
	assert_int_equal(f->git->idle, 1);
	assert_true(is_open(f, ids[1]));
	end(f);
}

static void the_room_is_a_share_of_what_the_system_allows(void **state)
{
	struct fx *f = *state;
	struct wr_weight room;

	f->cfg.idle_repos = 10;
	f->cfg.idle_bytes = 12345;
	wr_git_room(&room, &f->cfg);
	assert_true(room.fds > 0 && room.fds <= 80);
	assert_true(room.maps > 1000 && room.maps < UINT64_MAX / 4);
	assert_int_equal(room.bytes, 12345);
	f->cfg.idle_bytes = 0;
	wr_git_room(&room, &f->cfg);
	assert_true(room.bytes == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_weight_is_what_the_process_has_open, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(those_used_longest_ago_go_first, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(the_room_is_a_share_of_what_the_system_allows, fx_setup, fx_teardown),
	};

	wr_log_set_threshold(WR_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
