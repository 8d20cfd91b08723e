/*
 * Revisions of any bytes in a small repository: each names an object that is there, or is refused in words with the
 * field that its code has; what is no revision for who may write is none for who may read.
 */
#include <assert.h>
#include <fcntl.h>

#include "core/base/file.h"
#include "core/content/edit.h"
#include "core/content/rev.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/warren-fuzz-rev-XXXXXX";
static struct wr_git *git;
static struct wr_git_repo *repo;

static void end(void)
{
	wr_git_repo_unref(repo);
	wr_git_close(git);
	(void)!wr_file_remove(AT_FDCWD, dir, NULL);
}

/* The ids are always the same, so that a corpus can name them. */
static void commit(struct wr_oid *out, const char *branch, int64_t second)
{
	WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(1 << 16);
	const struct wr_person who = {.name = WR_S("A"), .mail = WR_S("a@b"), .when_ms = second * 1000};
	const struct wr_file_change change = {.path = wr_str(branch), .content = wr_str_n(&second, 1)};
	const struct wr_edit e = {.branch = wr_str(branch),
				  .changes = &change,
				  .count = 1,
				  .message = WR_S("m"),
				  .author = who,
				  .committer = who};
	enum wr_code code = wr_edit_commit(out, &bytes, repo, &e, NULL, NULL);

	assert(code == WR_OK);
}

static void add_tag(const char *name, const struct wr_oid *target)
{
	struct wr_ref_update u = {.name = wr_str(name), .new = *target};
	struct wr_change change = {.updates = &u, .count = 1};
	enum wr_code code = wr_git_append(repo, &change, NULL);

	assert(code == WR_OK && u.result == WR_OK);
}

static void start(void)
{
	static char data_dir[64];
	static struct wr_git_config cfg = {.data = data_dir,
					   .max_pack_bytes = 1 << 20,
					   .max_pack_objects = 1000,
					   .max_unpacked_bytes = 1 << 20,
					   .max_object_bytes = 1 << 20,
					   .idle_repos = 1};
	struct wr_oid oid;
	enum wr_code code;

	if (!mkdtemp(dir))
		abort();
	snprintf(data_dir, sizeof data_dir, "%s/data", dir);
	code = wr_git_open(&git, &cfg, NULL);
	assert(code == WR_OK);
	code = wr_git_repo_open(&repo, git, "01234567-89ab-4def-8123-456789abcdef", NULL);
	assert(code == WR_OK);
	atexit(end);
	for (int i = 1; i <= 5; i++)
		commit(&oid, "main", i);
	add_tag("refs/tags/v1", &oid);
	commit(&oid, "feat/x", 6);
	add_tag("refs/notes/n", &oid);
	commit(&oid, "deadbeef", 7);
}

static bool has_field(const struct wr_error *err)
{
	const char *key = err->code == WR_E_INVALID_REVISION	? "revision"
			  : err->code == WR_E_AMBIGUOUS		? "rev"
			  : err->code == WR_E_INVALID_OBJECT_ID ? "hash"
								: "reference";

	return wr_error_text(err)[0] && json_is_string(json_object_get(err->fields, key));
}

static enum wr_code read_rev(struct wr_oid *oid, struct wr_str rev, bool stored)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	enum wr_type type;
	enum wr_code code = wr_view_open(&v, repo, WR_S("main"), stored, NULL, &err);

	assert(code == WR_OK);
	code = wr_rev(oid, &type, &v, rev, &err);
	if (code == WR_OK)
		assert(type >= WR_COMMIT && type <= WR_BLOB && wr_snapshot_has(v.snap, oid));
	else
		assert((code == WR_E_INVALID_REVISION || code == WR_E_AMBIGUOUS || code == WR_E_REFERENCE_NOT_FOUND) &&
		       has_field(&err));
	return code;
}

static void read_id(struct wr_str digits)
{
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_oid oid;
	enum wr_code code = wr_view_open(&v, repo, WR_S("main"), false, NULL, &err);

	assert(code == WR_OK);
	code = wr_rev_id(&oid, &v, digits, WR_TREE, WR_E_TREE_NOT_FOUND, &err);
	assert(code == WR_OK || code == WR_E_TREE_NOT_FOUND || has_field(&err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wr_str rev = wr_str_n(data, size);
	struct wr_oid a = {{0}}, b = {{0}};

	if (!repo)
		start();
	assert(read_rev(&a, rev, true) == read_rev(&b, rev, false) && wr_oid_eq(&a, &b));
	read_id(rev);
	return 0;
}
