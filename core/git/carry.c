#include "core/git/carry.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/git_internal.h"
#include "core/git/graph.h"
#include "core/git/guard.h"
#include "core/git/marks.h"
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
	for (size_t i = 0; i < WR_ARRAY_LEN(c->parts); i++) {
		free(c->parts[i].whole);
		free(c->parts[i].places);
	}
	if (c->from >= 0)
		close(c->from);
	*c = (struct wr_carry){.from = -1, .to = -1};
}

/* ---- what is wanted ---- */

/*
 * Whether everything alive in base and tails is wanted: no head or tag lost anything since the checkpoint, and each
 * that there was then is wanted as it is now, as a head or tag.
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
		if (wr_closure_is_head_or_tag(c->refs[i].name) &&
		    (code = wr_oidmap_add(&wanted, &c->refs[i].oid, 0, NULL, c->err)) != WR_OK)
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

static enum wr_code begin_walk(struct wr_carry *c)
{
	bool gains;
	enum wr_code code;

	if ((code = wants_closure(&gains, c)) != WR_OK ||
	    (code = wr_closure_init(&c->closure, c->snap, gains, c->cancel, c->err)) != WR_OK)
		return code;
	c->closure.reached = reached;
	c->closure.arg = c;
	return WR_OK;
}

/* From heads and tags, or from the other refs. */
static enum wr_code walk(struct wr_carry *c, bool others)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < c->ref_count && code == WR_OK; i++)
		if (wr_closure_is_head_or_tag(c->refs[i].name) != others)
			code = wr_closure_walk_from(&c->closure, &c->refs[i].oid, c->err);
	return code;
}

static bool has_others(const struct wr_carry *c)
{
	for (size_t i = 0; i < c->ref_count; i++)
		if (!wr_closure_is_head_or_tag(c->refs[i].name))
			return true;
	return false;
}

/* ---- which packs come as they are ---- */

static bool is_large(const struct wr_pack *pack)
{
	return pack->count >= LINK_COUNT || pack->size >= LINK_BYTES;
}

static bool is_whole(const struct wr_carry *c, uint32_t src)
{
	const struct wr_member *m = &c->snap->members[src];

	if (wr_closure_role(m->role))
		return c->closure.gains ? !m->dead : c->closure.marked[src] == m->pack->count;
	return c->closure.marked[src] == m->pack->count && is_large(m->pack);
}

static enum wr_code add_place(struct wr_carry *c, struct wr_carry_part *part, struct wr_place place)
{
	if (part->place_count == part->place_cap) {
		size_t cap = part->place_cap ? part->place_cap * 2 : 256;
		struct wr_place *v = reallocarray(part->places, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(c->err);
		part->places = v;
		part->place_cap = cap;
	}
	part->places[part->place_count++] = place;
	return WR_OK;
}

/* before: NULL, or what had been reached by then and does not count. */
static enum wr_code add_entries(struct wr_carry *c, struct wr_carry_part *part, uint32_t src,
				const struct wr_marks *before)
{
	enum wr_code code = WR_OK;

	for (uint32_t pos = 0; pos < c->closure.counts[src] && code == WR_OK; pos++) {
		struct wr_place place = {src, pos};

		if (before ? wr_closure_marked(&c->closure, place) && !wr_marks_has(before, place)
			   : wr_closure_has(&c->closure, place))
			code = add_place(c, part, place);
	}
	return code;
}

static enum wr_code choose_kin(struct wr_carry *c)
{
	struct wr_carry_part *part = &c->parts[0];
	enum wr_code code = WR_OK;

	for (uint32_t src = 0; src < c->closure.sources && code == WR_OK; src++) {
		if (src < c->snap->member_count && is_whole(c, src))
			part->whole[part->whole_count++] = src;
		else
			code = add_entries(c, part, src, NULL);
	}
	return code;
}

/* What the second walk marked, and only that: a pack of which the first one marked anything does not come whole. */
static enum wr_code choose_others(struct wr_carry *c, const struct wr_marks *before, const uint32_t *marked)
{
	struct wr_carry_part *part = &c->parts[1];
	const struct wr_closure *all = &c->closure;
	enum wr_code code = WR_OK;

	for (uint32_t src = 0; src < all->sources && code == WR_OK; src++) {
		if (all->marked[src] == marked[src])
			continue;
		if (src < c->snap->member_count && marked[src] == 0 && all->marked[src] == all->counts[src] &&
		    is_large(c->snap->members[src].pack))
			part->whole[part->whole_count++] = src;
		else
			code = add_entries(c, part, src, before);
	}
	return code;
}

static enum wr_code walk_others(struct wr_carry *c)
{
	WR_AUTO_MEM uint32_t *marked = calloc(c->closure.sources + 1, sizeof *marked);
	WR_AUTO_S(wr_marks) before = {.v = NULL};
	enum wr_code code;

	if (!marked)
		return wr_fail_nomem(c->err);
	if ((code = wr_marks_init(&before, c->snap, c->err)) != WR_OK)
		return code;
	wr_marks_copy(&before, &(struct wr_marks){c->closure.marks, c->closure.sources}, c->snap);
	memcpy(marked, c->closure.marked, c->closure.sources * sizeof *marked);
	code = walk(c, true);
	return code == WR_OK ? choose_others(c, &before, marked) : code;
}

static enum wr_code choose(struct wr_carry *c)
{
	enum wr_code code;

	for (size_t i = 0; i < WR_ARRAY_LEN(c->parts); i++) {
		c->parts[i].whole = calloc(c->snap->member_count + 1, sizeof *c->parts[i].whole);
		if (!c->parts[i].whole)
			return wr_fail_nomem(c->err);
	}
	/* Each part may have a pack of its own. */
	c->members = calloc(c->snap->member_count + WR_ARRAY_LEN(c->parts), sizeof *c->members);
	if (!c->members)
		return wr_fail_nomem(c->err);
	if ((code = walk(c, false)) != WR_OK || (code = choose_kin(c)) != WR_OK ||
	    (has_others(c) && (code = walk_others(c)) != WR_OK))
		return code;
	tell(c, "Counting objects", c->reached, c->reached, true);
	return WR_OK;
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

static void add_member(struct wr_carry *c, struct wr_pack *pack, bool others)
{
	c->members[c->member_count].role = others ? WR_ROLE_OTHER : c->member_count ? WR_ROLE_TAIL : WR_ROLE_BASE;
	c->members[c->member_count++].pack = pack;
}

static enum wr_code take_pack(struct wr_carry *c, uint32_t src, bool others)
{
	struct wr_pack *p = c->snap->members[src].pack;
	bool linked = true;
	enum wr_code code;

	if ((code = take_file(c, &linked, p->name, ".pack", p->data, p->size, p->data_guard)) != WR_OK ||
	    (code = take_file(c, &linked, p->name, ".idx", p->idx, p->idx_size, p->idx_guard)) != WR_OK ||
	    (p->rev && (code = take_file(c, &linked, p->name, ".rev", p->rev, p->rev_size, p->rev_guard)) != WR_OK))
		return code;
	c->linked += linked;
	c->copied += !linked;
	add_member(c, wr_pack_ref(p), others);
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

static enum wr_code write_own(struct wr_carry *c, const struct wr_carry_part *part, bool others)
{
	struct wr_pack *own = NULL;
	enum wr_code code =
		wr_pack_write(&own, &c->written, c->to, c->snap, part->places, part->place_count, c->cancel, c->err);

	if (code == WR_OK)
		add_member(c, own, others);
	return code;
}

/* *done of total packs, for who wants to know. */
static enum wr_code bring(struct wr_carry *c, struct wr_carry_part *part, bool others, size_t *done, size_t total)
{
	enum wr_code code;

	/* The largest is the base, as everywhere. */
	qsort_r(part->whole, part->whole_count, sizeof *part->whole, larger_first, c->snap);
	for (size_t i = 0; i < part->whole_count; i++) {
		tell(c, "Writing packs", (*done)++, total, false);
		if ((code = take_pack(c, part->whole[i], others)) != WR_OK)
			return code;
	}
	if (part->place_count == 0)
		return WR_OK;
	tell(c, "Writing packs", (*done)++, total, false);
	return write_own(c, part, others);
}

enum wr_code wr_carry_bring(struct wr_carry *c, int to)
{
	size_t done = 0, total = 0;
	enum wr_code code;

	c->to = to;
	for (size_t i = 0; i < WR_ARRAY_LEN(c->parts); i++)
		total += c->parts[i].whole_count + (c->parts[i].place_count > 0);
	if ((code = bring(c, &c->parts[0], false, &done, total)) != WR_OK ||
	    (code = bring(c, &c->parts[1], true, &done, total)) != WR_OK)
		return code;
	tell(c, "Writing packs", total, total, true);
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
	if ((code = begin_walk(c)) != WR_OK)
		return code;
	return choose(c);
}
