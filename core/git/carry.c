#include "core/git/carry.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/git_internal.h"
#include "core/git/graph.h"
#include "core/git/guard.h"
#include "core/git/pack_write.h"

/* A pushed pack of this many objects or bytes is linked where all of it is wanted; of a smaller one the entries are
 * copied. */
#define LINK_COUNT 1000u
#define LINK_BYTES ((uint64_t)1 << 20)
#define TELL_STEP 65536
#define COPY_STEP ((size_t)16 << 20)

void wr_carry_fini(struct wr_carry *c)
{
	wr_closure_fini(&c->closure);
	for (size_t i = 0; i < c->member_count; i++)
		wr_pack_unref(c->members[i].pack);
	free(c->members);
	free(c->whole);
	free(c->places);
	if (c->from >= 0)
		close(c->from);
	*c = (struct wr_carry){.from = -1, .to = -1};
}

/* ---- what is wanted ---- */

/*
 * Whether everything alive in base and tails is wanted: no head or tag lost anything since the checkpoint, and each
 * that there was then is wanted as it is now.
 */
static enum wr_code wants_closure(bool *out, const struct wr_carry *c)
{
	WR_AUTO_S(wr_oidmap) wanted = {0};
	size_t n = c->snap->stored ? wr_refsfile_count(c->snap->stored) : 0;
	enum wr_code code;

	*out = false;
	if (c->snap->lost)
		return WR_OK;
	for (size_t i = 0; i < c->ref_count; i++)
		if ((code = wr_oidmap_add(&wanted, &c->refs[i].oid, 0, NULL, c->err)) != WR_OK)
			return code;
	for (size_t i = 0; i < n; i++) {
		struct wr_ref ref;

		wr_refsfile_ref_at(&ref, c->snap->stored, i);
		if (!wr_closure_is_head_or_tag(ref.name))
			continue;
		if ((c->snap->overlay && !wr_snapshot_find_ref(&ref, c->snap, ref.name)) ||
		    !wr_oidmap_has(&wanted, &ref.oid))
			return WR_OK;
	}
	*out = true;
	return WR_OK;
}

static void tell(const struct wr_carry *c, const char *stage, uint64_t done, uint64_t total, bool last)
{
	if (c->progress && c->progress->fn)
		c->progress->fn(c->progress->arg, stage, done, total, last);
}

static enum wr_code reached(void *arg, struct wr_place home, const struct wr_oid *oid, enum wr_type type,
			    struct wr_error *err)
{
	struct wr_carry *c = arg;

	(void)home;
	(void)oid;
	(void)type;
	(void)err;
	if (++c->reached % TELL_STEP == 0)
		tell(c, "Counting objects", c->reached, 0, false);
	return WR_OK;
}

static enum wr_code walk(struct wr_carry *c)
{
	bool gains;
	enum wr_code code;

	if ((code = wants_closure(&gains, c)) != WR_OK ||
	    (code = wr_closure_init(&c->closure, c->snap, gains, c->cancel, c->err)) != WR_OK)
		return code;
	c->closure.reached = reached;
	c->closure.arg = c;
	for (size_t i = 0; i < c->ref_count && code == WR_OK; i++)
		code = wr_closure_walk_from(&c->closure, &c->refs[i].oid, c->err);
	if (code == WR_OK)
		tell(c, "Counting objects", c->reached, c->reached, true);
	return code;
}

/* ---- which packs come as they are ---- */

static bool is_whole(const struct wr_carry *c, uint32_t src)
{
	const struct wr_member *m = &c->snap->members[src];

	if (wr_closure_role(m->role))
		return c->closure.gains ? !m->dead : c->closure.marked[src] == m->pack->count;
	return c->closure.marked[src] == m->pack->count &&
	       (m->pack->count >= LINK_COUNT || m->pack->size >= LINK_BYTES);
}

static enum wr_code add_place(struct wr_carry *c, struct wr_place place)
{
	if (c->place_count == c->place_cap) {
		size_t cap = c->place_cap ? c->place_cap * 2 : 256;
		struct wr_place *v = reallocarray(c->places, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(c->err);
		c->places = v;
		c->place_cap = cap;
	}
	c->places[c->place_count++] = place;
	return WR_OK;
}

static enum wr_code add_entries(struct wr_carry *c, uint32_t src)
{
	enum wr_code code = WR_OK;

	for (uint32_t pos = 0; pos < c->closure.counts[src] && code == WR_OK; pos++)
		if (wr_closure_has(&c->closure, (struct wr_place){src, pos}))
			code = add_place(c, (struct wr_place){src, pos});
	return code;
}

static enum wr_code choose(struct wr_carry *c)
{
	enum wr_code code = WR_OK;

	c->whole = calloc(c->snap->member_count + 1, sizeof *c->whole);
	c->members = calloc(c->snap->member_count + 1, sizeof *c->members);
	if (!c->whole || !c->members)
		return wr_fail_nomem(c->err);
	for (uint32_t src = 0; src < c->closure.sources && code == WR_OK; src++) {
		if (src < c->snap->member_count && is_whole(c, src))
			c->whole[c->whole_count++] = src;
		else
			code = add_entries(c, src);
	}
	return code;
}

/* ---- packs ---- */

static enum wr_code copy_bytes(struct wr_carry *c, const char *file, const uint8_t *data, size_t size,
			       const struct wr_guard *guard)
{
	WR_AUTO_FD int fd = openat(c->to, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	enum wr_code code;

	if (fd < 0)
		return wr_fail_errno(c->err, "create %s", file);
	for (size_t at = 0; at < size; at += COPY_STEP) {
		if ((code = wr_cancelled(c->cancel, c->err)) != WR_OK ||
		    (code = wr_file_write_all(fd, data + at, size - at < COPY_STEP ? size - at : COPY_STEP, c->err)) !=
			    WR_OK)
			return code;
	}
	if (wr_guard_struck(guard))
		return wr_fail(c->err, WR_E_INTERNAL, "%s cannot be read", file);
	c->written += size;
	return fsync(fd) == 0 ? WR_OK : wr_fail_errno(c->err, "flush %s", file);
}

/* The name is the pack's for ever, so what has it in the source's folder is what the map shows, or has gone. */
static bool link_file(const struct wr_carry *c, const char *file, size_t size)
{
	struct stat st;

	return c->may_link && c->from >= 0 && fstatat(c->from, file, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode) && (uint64_t)st.st_size == size && linkat(c->from, file, c->to, file, 0) == 0;
}

static enum wr_code take_file(struct wr_carry *c, bool *linked, const char *name, const char *ending,
			      const uint8_t *data, size_t size, const struct wr_guard *guard)
{
	char file[WR_PACK_NAME + 8];

	snprintf(file, sizeof file, "%s%s", name, ending);
	if (*linked && link_file(c, file, size))
		return WR_OK;
	*linked = false;
	return copy_bytes(c, file, data, size, guard);
}

static enum wr_code take_pack(struct wr_carry *c, uint32_t src)
{
	const struct wr_pack *p = c->snap->members[src].pack;
	bool linked = true;
	enum wr_code code;

	if ((code = take_file(c, &linked, p->name, ".pack", p->data, p->size, p->data_guard)) != WR_OK ||
	    (code = take_file(c, &linked, p->name, ".idx", p->idx, p->idx_size, p->idx_guard)) != WR_OK ||
	    (p->rev && (code = take_file(c, &linked, p->name, ".rev", p->rev, p->rev_size, p->rev_guard)) != WR_OK))
		return code;
	c->linked += linked;
	c->copied += !linked;
	c->members[c->member_count].role = c->member_count ? WR_ROLE_TAIL : WR_ROLE_BASE;
	c->members[c->member_count++].pack = wr_pack_ref(c->snap->members[src].pack);
	return WR_OK;
}

static int larger_first(const void *a, const void *b, void *arg)
{
	const struct wr_snapshot *snap = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	size_t m = snap->members[x].pack->size, n = snap->members[y].pack->size;

	if (m != n)
		return m > n ? -1 : 1;
	return (x > y) - (x < y);
}

static enum wr_code write_own(struct wr_carry *c)
{
	struct wr_pack *own = NULL;
	enum wr_code code =
		wr_pack_write(&own, &c->written, c->to, c->snap, c->places, c->place_count, c->cancel, c->err);

	if (code != WR_OK)
		return code;
	c->members[c->member_count].role = c->member_count ? WR_ROLE_TAIL : WR_ROLE_BASE;
	c->members[c->member_count++].pack = own;
	return WR_OK;
}

enum wr_code wr_carry_bring(struct wr_carry *c, int to)
{
	enum wr_code code = WR_OK;

	c->to = to;
	/* The largest is the base, as everywhere. */
	qsort_r(c->whole, c->whole_count, sizeof *c->whole, larger_first, c->snap);
	for (size_t i = 0; i < c->whole_count && code == WR_OK; i++) {
		tell(c, "Writing packs", i, c->whole_count + 1, false);
		code = take_pack(c, c->whole[i]);
	}
	if (code != WR_OK)
		return code;
	tell(c, "Writing packs", c->whole_count, c->whole_count + 1, false);
	if (c->place_count && (code = write_own(c)) != WR_OK)
		return code;
	tell(c, "Writing packs", c->whole_count + 1, c->whole_count + 1, true);
	return WR_OK;
}

enum wr_code wr_carry_roots(struct wr_oids *out, const struct wr_carry *c)
{
	const struct wr_oids *all = &c->closure.shallow;
	enum wr_code code = WR_OK;
	struct wr_place home;

	for (size_t i = 0; i < all->len && code == WR_OK; i++)
		if (wr_closure_home(&home, &c->closure, &all->v[i]) && wr_closure_has(&c->closure, home))
			code = wr_oids_add(out, &all->v[i], c->err);
	return code;
}

static void open_source(struct wr_carry *c, const struct wr_git_repo *source)
{
	char path[PATH_MAX];
	WR_AUTO_FD int dir = -1;

	if (wr_repo_path(path, source->git, source->id, ".git", NULL) != WR_OK)
		return;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir >= 0)
		c->from = openat(dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

enum wr_code wr_carry_choose(struct wr_carry *c, const struct wr_git_repo *source, struct wr_snapshot *snap,
			     const struct wr_cancel *cancel, struct wr_error *err)
{
	enum wr_code code;

	c->snap = snap;
	c->cancel = cancel;
	c->err = err;
	c->from = c->to = -1;
	open_source(c, source);
	if ((code = walk(c)) != WR_OK)
		return code;
	return choose(c);
}
