/*
 * Two passes. The first reads the stream once: each entry is inflated as it arrives, full objects are hashed and
 * checked, deltas only counted. The second follows the tree of deltas from each full object downwards, so that every
 * base is at hand when its deltas need it. Bases that a thin pack left out are then taken from the repository.
 *
 * The pack stays in memory while it is small; the byte that makes it too large turns it into a file, and nothing else
 * changes but where the bytes lie.
 */
#include "core/git/index_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "core/base/gate.h"

/* What every push has, whatever it brings: what zlib needs, the window that its commands were read by, a stack. */
#define ALWAYS_BYTES ((uint64_t)128 << 10)

enum wr_code wr_index_bad(struct wr_index_worker *w, const char *what)
{
	return wr_fail(w->err, WR_E_BAD_PACK, "bad pack: %s", what);
}

enum wr_code wr_index_bad_at(struct wr_index_worker *w, uint64_t offset, const char *what)
{
	return wr_fail(w->err, WR_E_BAD_PACK, "bad pack: %s in the entry at byte %llu", what,
		       (unsigned long long)offset);
}

enum wr_code wr_index_too_large(struct wr_index_worker *w)
{
	return wr_fail(w->err, WR_E_TOO_LARGE, "an object has more than %llu bytes",
		       (unsigned long long)w->x->limits->max_object);
}

enum wr_code wr_index_spend(struct wr_index_worker *w, uint64_t size)
{
	uint64_t max = w->x->limits->max_unpacked;
	uint64_t before = atomic_fetch_add_explicit(&w->x->unpacked, size, memory_order_relaxed);

	if (before > max || size > max - before)
		return wr_fail(w->err, WR_E_TOO_LARGE, "the pack unpacks to more than %llu bytes",
			       (unsigned long long)max);
	return WR_OK;
}

enum wr_code wr_index_cancelled(struct wr_indexer *x)
{
	if (x->cancel && x->cancel->fn && x->cancel->fn(x->cancel->arg))
		return wr_fail(x->main.err, WR_E_CANCELLED, "cancelled while a pack was read");
	return WR_OK;
}

enum wr_code wr_index_spill(struct wr_indexer *x)
{
	char file[NAME_MAX + 1];
	enum wr_code code;
	int dir;

	if ((code = x->hold.dir(&dir, x, x->main.err)) != WR_OK)
		return code;
	snprintf(file, sizeof file, "%s.pack", x->name);
	x->fd = openat(dir, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return x->fd < 0 ? wr_fail_errno(x->main.err, "create a pack") : WR_OK;
}

struct wr_refs_check wr_index_check(struct wr_indexer *x, const struct wr_refs_check *before)
{
	return (struct wr_refs_check){.snap = x->snap,
				      .before = before,
				      .rules = x->rules.fsck,
				      .roots = x->rules.roots,
				      .cut = x->rules.cut,
				      .seen.hold = &x->hold,
				      .relied.hold = &x->hold,
				      .special.hold = &x->hold,
				      .faulty.hold = &x->hold,
				      .alone = x->in_place};
}

enum wr_code wr_index_table_resize(void **out, struct wr_indexer *x, enum wr_index_table table, uint64_t n, size_t each)
{
	struct wr_held *held = &x->tables[table];
	enum wr_code code = wr_held_resize(held, &x->hold, (size_t)n * each, WR_HOLD_TABLE, x->main.err);

	if (code == WR_OK)
		*out = held->p;
	return code;
}

/* The objects that came, as answers to what the objects refer to. */
static enum wr_code all_found(struct wr_indexer *x, struct wr_refs_check *check)
{
	enum wr_code code = WR_OK;

	for (uint32_t i = 0; i < x->count && code == WR_OK && check->seen.len; i++)
		code = wr_refs_check_found(check, &x->v[i].oid, (enum wr_type)x->v[i].type, x->main.err);
	return code;
}

static enum wr_code add_special(struct wr_oidmap *all, const struct wr_oidmap *special, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < special->cap && code == WR_OK; i++)
		if (special->values[i])
			code = wr_fsck_special_add(all, &special->keys[i], special->values[i] - 1, err);
	return code;
}

static enum wr_code add_set(struct wr_oidmap *all, const struct wr_oidmap *set, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < set->cap && code == WR_OK; i++)
		if (set->values[i])
			code = wr_oidmap_add(all, &set->keys[i], 0, NULL, err);
	return code;
}

/* Each thread and pass kept a list of its own. */
static enum wr_code check_all(struct wr_indexer *x)
{
	struct wr_refs_check *const checks[] = {&x->read_check, &x->main.check, &x->help_check};
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < WR_ARRAY_LEN(checks) && code == WR_OK; i++)
		code = all_found(x, checks[i]);
	for (size_t i = 0; i < WR_ARRAY_LEN(checks) && code == WR_OK; i++)
		code = wr_refs_check_end(checks[i], false, x->main.err);
	for (size_t i = 0; i < WR_ARRAY_LEN(checks) && code == WR_OK; i++)
		code = wr_refs_check_end(checks[i], true, x->main.err);
	for (size_t i = 0; i < WR_ARRAY_LEN(checks) && code == WR_OK; i++)
		code = add_special(&x->special, &checks[i]->special, x->main.err);
	for (size_t i = 0; i < WR_ARRAY_LEN(checks) && code == WR_OK; i++)
		code = add_set(&x->faulty, &checks[i]->faulty, x->main.err);
	for (size_t i = 0; i < WR_ARRAY_LEN(checks) && code == WR_OK; i++)
		code = add_set(&x->relied, &checks[i]->relied, x->main.err);
	return code;
}

static enum wr_code to_files(struct wr_intake *out, struct wr_indexer *x)
{
	enum wr_code code = WR_OK;

	wr_gate_rest();
	if (fdatasync(x->fd) < 0)
		code = wr_fail_errno(x->main.err, "flush a pack");
	wr_gate_go_on();
	if (code != WR_OK)
		return code;
	if ((code = wr_index_write(x)) != WR_OK)
		return code;
	*out = (struct wr_intake){.count = x->count, .in_files = true};
	return WR_OK;
}

static enum wr_code finish(struct wr_intake *out, struct wr_indexer *x)
{
	enum wr_code code;
	bool fits;

	if (x->fd >= 0)
		return to_files(out, x);
	if ((code = wr_index_rows(out, &fits, x)) != WR_OK || fits)
		return code;
	if ((code = wr_index_append_outside(x)) != WR_OK)
		return code;
	return to_files(out, x);
}

static enum wr_code run(struct wr_intake *out, struct wr_indexer *x)
{
	enum wr_code code = wr_index_read_header(x);

	while (code == WR_OK && x->count < x->claimed)
		code = wr_index_read_entry(x);
	if (code != WR_OK || (code = wr_index_read_trailer(x)) != WR_OK)
		return code;
	if (x->claimed == 0) {
		*out = (struct wr_intake){.count = 0};
		return WR_OK;
	}
	x->read_check = x->main.check;
	x->main.check = wr_index_check(x, &x->read_check);
	if ((code = wr_index_resolve(x)) != WR_OK || (code = wr_index_complete(x)) != WR_OK)
		return code;
	wr_index_tell(x, true);
	if ((code = check_all(x)) != WR_OK || (code = finish(out, x)) != WR_OK)
		return code;
	out->special = x->special;
	out->faulty = x->faulty;
	out->relied = x->relied;
	x->special = x->faulty = x->relied = (struct wr_oidmap){.cap = 0};
	return WR_OK;
}

static void indexer_fini(struct wr_indexer *x)
{
	wr_index_unmap(x);
	wr_index_worker_fini(&x->main);
	wr_refs_check_fini(&x->read_check);
	wr_refs_check_fini(&x->help_check);
	wr_oidmap_fini(&x->special);
	wr_oidmap_fini(&x->faulty);
	wr_oidmap_fini(&x->relied);
	EVP_MD_CTX_free(x->sha);
	if (x->fd >= 0)
		close(x->fd);
	wr_held_free(&x->window);
	for (size_t i = 0; i < WR_TABLES; i++)
		wr_held_free(&x->tables[i]);
}

static enum wr_code open_dir(int *fd, void *arg, struct wr_error *err)
{
	struct wr_indexer *x = arg;
	enum wr_code code;

	/* The helper works on files only, so there it is open already. */
	if (x->dir < 0 && (code = x->folder->open(&x->dir, x->folder->arg, err)) != WR_OK)
		return code;
	*fd = x->dir;
	return WR_OK;
}

static enum wr_code index_any(struct wr_intake *out, struct wr_indexer *x, struct wr_error *err)
{
	enum wr_code code;

	x->hold.dir = open_dir;
	x->hold.arg = x;
	x->main = (struct wr_index_worker){.x = x, .err = err, .check = wr_index_check(x, NULL)};
	x->sha = EVP_MD_CTX_new();
	if (!x->sha)
		code = wr_fail_nomem(err);
	else if ((code = wr_hold_count(&x->hold, ALWAYS_BYTES, err)) != WR_OK)
		;
	else if (EVP_DigestInit_ex(x->sha, EVP_sha1(), NULL) != 1)
		code = wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	else
		code = run(out, x);
	indexer_fini(x);
	/* What a refused push took is free at once, though its client may go on sending for a while. */
	if (code != WR_OK)
		wr_hold_give(&x->hold);
	return code;
}

enum wr_code wr_index_pack(struct wr_intake *out, const struct wr_index_folder *folder, const char *name,
			   struct wr_source *src, const struct wr_snapshot *snap, const struct wr_index_limits *limits,
			   const struct wr_index_rules *rules, const struct wr_progress *progress,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	struct wr_indexer x = {.folder = folder,
			       .hold.room = limits->room,
			       .name = name,
			       .dir = -1,
			       .fd = -1,
			       .src = src,
			       .snap = snap,
			       .limits = limits,
			       .rules = *rules,
			       .progress = progress,
			       .cancel = cancel};

	return index_any(out, &x, err);
}

/* ---- packs that are there already ---- */

struct file_source {
	struct wr_source base;
	int fd;
};

static enum wr_code read_file(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	const struct file_source *src = (const struct file_source *)base;
	ssize_t n;

	do
		n = read(src->fd, buf, cap);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return wr_fail_errno(err, "read a pack");
	*got = (size_t)n;
	return WR_OK;
}

enum wr_code wr_index_stored(struct wr_intake *out, int dir, const char *name, const struct wr_index_limits *limits,
			     const struct wr_index_rules *rules, const struct wr_progress *progress,
			     const struct wr_cancel *cancel, struct wr_error *err)
{
	struct file_source src = {{read_file}, -1};
	char file[NAME_MAX + 1];
	struct wr_indexer x = {.name = name,
			       .dir = dir,
			       .fd = -1,
			       .src = &src.base,
			       .limits = limits,
			       .rules = *rules,
			       .progress = progress,
			       .cancel = cancel,
			       .in_place = true};

	snprintf(file, sizeof file, "%s.pack", name);
	x.fd = src.fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (x.fd < 0)
		return wr_fail_errno(err, "open %s", file);
	return index_any(out, &x, err);
}

void wr_intake_fini(struct wr_intake *intake)
{
	free(intake->objects);
	free(intake->bytes);
	wr_oidmap_fini(&intake->special);
	wr_oidmap_fini(&intake->faulty);
	wr_oidmap_fini(&intake->relied);
	*intake = (struct wr_intake){.count = 0};
}
