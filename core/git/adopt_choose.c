#include "core/git/adopt_internal.h"
#include "core/git/graph.h"
#include "core/git/refs_check.h"

/*
 * So many packs come as they are whatever their size; of the others only those of this many objects or bytes, up to a
 * number: each is a tail that later checkpoints have to merge.
 */
#define KEEP_ANY 4
#define KEEP_MOST 32
#define KEEP_COUNT 1000u
#define KEEP_BYTES ((uint64_t)1 << 20)
#define TELL_STEP 65536

/* ---- what refs reach ---- */

static enum wr_code bad(void *arg, const struct wr_oid *oid, enum wr_type type, const struct wr_error *why)
{
	const char *words = why->detail[0] ? why->detail : wr_error_text(why);
	const struct wr_adoption *a = arg;
	char hex[WR_OID_HEX + 1];
	struct wr_place home;

	wr_oid_hex(hex, oid);
	if (why->code == WR_E_TOO_LARGE)
		return wr_fail(a->err, WR_E_INVALID_REQUEST,
			       "Object %s has more than %llu bytes, the most that are taken in", hex,
			       (unsigned long long)a->limits.max_object);
	if (wr_oidmap_has(&a->damaged, oid))
		return wr_fail(a->err, WR_E_INVALID_REQUEST,
			       "Its refs reach object %s, whose file is damaged or too large; git fsck there says more",
			       hex);
	if (!wr_closure_home(&home, &a->closure, oid))
		return wr_fail(
			a->err, WR_E_INVALID_REQUEST,
			"It is incomplete: its refs reach %s %s, which it does not have; git fsck there says more",
			type ? wr_type_name(type) : "object", hex);
	return wr_fail(a->err, WR_E_INVALID_REQUEST, "It is damaged: %.150s; git fsck there says more", words);
}

/* What is wrong with an object, in the words that a push would be told. */
static enum wr_code refuse_object(const struct wr_adoption *a, const struct wr_oid *oid, struct wr_error *err)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	WR_AUTO_S(wr_refs_check) check = {.snap = a->snap, .rules = &a->rules};
	char hex[WR_OID_HEX + 1];
	enum wr_code code = wr_snapshot_read(&obj, a->snap, oid, err);

	if (code != WR_OK)
		return code;
	code = wr_refs_check_object(&check, oid, obj.type, wr_str_n(obj.data, obj.size), &why);
	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_INVALID_REQUEST, "It has an object that is not taken in: %.190s",
		       code == WR_E_BAD_PACK ? why.text : hex);
}

static void tell(struct wr_adoption *a, bool last)
{
	if (a->progress && a->progress->fn && (last || a->reached % TELL_STEP == 0))
		a->progress->fn(a->progress->arg, "Checking objects", a->reached, last ? a->reached : 0, last);
}

static enum wr_code wrong_type(const struct wr_oid *oid, enum wr_type is, enum wr_type wanted, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_INVALID_REQUEST,
		       "It is damaged: %s is a %s where a %s is needed; git fsck there says more", hex,
		       wr_type_name(is), wr_type_name(wanted));
}

static enum wr_code reached(void *arg, struct wr_place home, const struct wr_oid *oid, enum wr_type type,
			    struct wr_error *err)
{
	struct wr_adoption *a = arg;
	enum wr_type is;
	enum wr_code code;

	a->types[home.src][home.pos] = (uint8_t)type;
	a->reached++;
	tell(a, false);
	if (wr_oidmap_has(&a->faulty, oid))
		return refuse_object(a, oid, err);
	/* All others are read, and compared with what is wanted then. */
	if (type != WR_BLOB)
		return WR_OK;
	if (a->reached % 1024 == 0 && (code = wr_cancelled(a->cancel, err)) != WR_OK)
		return code;
	if ((code = wr_snapshot_stat(a->snap, oid, &is, NULL, err)) != WR_OK || is == WR_BLOB)
		return code;
	return wrong_type(oid, is, type, err);
}

static enum wr_code again(void *arg, struct wr_place home, const struct wr_oid *oid, enum wr_type type,
			  struct wr_error *err)
{
	const struct wr_adoption *a = arg;
	enum wr_type is = (enum wr_type)a->types[home.src][home.pos];

	return is == type ? WR_OK : wrong_type(oid, is, type, err);
}

static enum wr_code no_commit(struct wr_str name, struct wr_error *err)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "The branch %.*s is no commit; delete it first",
		       name.len < 100 ? (int)name.len : 100, name.ptr);
}

static enum wr_code walk(struct wr_adoption *a, bool others)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < a->refs.count && code == WR_OK; i++) {
		struct wr_str name = wr_adopt_ref_name(&a->refs, i);
		const struct wr_oid *oid = &a->refs.v[i].oid;
		enum wr_type type;

		if (wr_closure_is_head_or_tag(name) == others)
			continue;
		if ((code = wr_closure_walk_from(&a->closure, oid, a->err)) != WR_OK)
			return code;
		if (!wr_str_starts(name, WR_S("refs/heads/")))
			continue;
		if ((code = wr_snapshot_stat(a->snap, oid, &type, NULL, a->err)) == WR_OK && type != WR_COMMIT)
			code = no_commit(name, a->err);
	}
	return code;
}

/* Blobs that some tree has as .gitmodules, as far as anything reaches them. */
static enum wr_code check_special(struct wr_adoption *a)
{
	for (size_t i = 0; i < a->special.cap; i++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		const struct wr_oid *oid = &a->special.keys[i];
		unsigned what = a->special.values[i] - 1;
		WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
		struct wr_fault fault;
		struct wr_place home;
		enum wr_type type;
		uint64_t size;
		enum wr_code code;

		if (!a->special.values[i] || !wr_closure_home(&home, &a->closure, oid) ||
		    !wr_closure_marked(&a->closure, home))
			continue;
		if ((code = wr_cancelled(a->cancel, a->err)) != WR_OK ||
		    (code = wr_snapshot_stat(a->snap, oid, &type, &size, a->err)) != WR_OK)
			return code;
		/* Then only an unreached tree has it under that name. */
		if (type != WR_BLOB)
			continue;
		if (wr_fsck_blob_wanted(what, size, &a->rules) &&
		    (code = wr_snapshot_read_at(&obj, a->snap, home, NULL, a->err)) != WR_OK)
			return code;
		if ((code = wr_fsck_blob(&fault, what, size, wr_str_n(obj.data, obj.size), &a->rules, a->err)) != WR_OK)
			return code;
		if (fault.id != WR_FSCK_SOUND && wr_fsck_fail(oid, &fault, &why) != WR_OK)
			return wr_fail(a->err, WR_E_INVALID_REQUEST, "It has an object that is not taken in: %.190s",
				       why.text);
	}
	return WR_OK;
}

/* ---- what comes as it is, and what is copied ---- */

static bool worth_keeping(const struct wr_adoption *a, size_t src, size_t kept)
{
	return kept < KEEP_ANY ||
	       (kept < KEEP_MOST && (a->closure.counts[src] >= KEEP_COUNT || a->packs[src].size >= KEEP_BYTES));
}

static void keep(struct wr_adoption *a, size_t src, enum wr_role role)
{
	a->packs[src].kept = true;
	a->members[a->member_count].role = role;
	a->members[a->member_count++].pack = wr_pack_ref(a->snap->members[src].pack);
}

/* Marked now, and not before; before: NULL, or the marks as they were. */
static bool newly(const struct wr_adoption *a, uint64_t *const *before, uint32_t src, uint32_t pos)
{
	uint64_t now = a->closure.marks[src][pos / 64];

	if (before)
		now &= ~before[src][pos / 64];
	return now >> (pos % 64) & 1;
}

/* To list k of what is copied: what this walk found, but for what comes in packs as they are. */
static enum wr_code list_places(struct wr_adoption *a, unsigned k, uint64_t *const *before)
{
	size_t n = 0;

	for (uint32_t src = 0; src < a->closure.sources; src++)
		for (uint32_t pos = 0; !a->packs[src].kept && pos < a->closure.counts[src]; pos++)
			n += newly(a, before, src, pos);
	a->places[k] = reallocarray(NULL, n + 1, sizeof *a->places[k]);
	if (!a->places[k])
		return wr_fail_nomem(a->err);
	for (uint32_t src = 0; src < a->closure.sources; src++)
		for (uint32_t pos = 0; !a->packs[src].kept && pos < a->closure.counts[src]; pos++)
			if (newly(a, before, src, pos))
				a->places[k][a->place_count[k]++] = (struct wr_place){src, pos};
	return WR_OK;
}

static uint64_t **copy_marks(const struct wr_adoption *a)
{
	uint64_t **v = calloc(a->closure.sources + 1, sizeof *v);

	for (size_t i = 0; v && i < a->closure.sources; i++) {
		size_t bytes = ((size_t)a->closure.counts[i] / 64 + 1) * sizeof **v;

		v[i] = malloc(bytes);
		if (v[i])
			memcpy(v[i], a->closure.marks[i], bytes);
	}
	return v;
}

static void free_marks(uint64_t **v, size_t n)
{
	for (size_t i = 0; v && i < n; i++)
		free(v[i]);
	free(v);
}

/*
 * What heads and tags reach, each object once: base and tails. Only homes are marked, so a pack all of which is marked
 * holds nothing twice, and nothing that a pack before it has.
 */
static enum wr_code choose_closure(struct wr_adoption *a)
{
	size_t kept = 0;

	for (size_t src = 0; src < a->closure.sources; src++)
		if (a->closure.marked[src] == a->closure.counts[src] && worth_keeping(a, src, kept))
			keep(a, src, kept++ ? WR_ROLE_TAIL : WR_ROLE_BASE);
	return list_places(a, 0, NULL);
}

/* And what only other refs reach. */
static enum wr_code choose_others(struct wr_adoption *a, uint64_t *const *before, const uint32_t *marked)
{
	size_t kept = 0;

	for (size_t src = 0; src < a->closure.sources; src++) {
		if (marked[src] || a->closure.marked[src] != a->closure.counts[src] || !worth_keeping(a, src, kept))
			continue;
		kept++;
		keep(a, src, WR_ROLE_OTHER);
	}
	return list_places(a, 1, before);
}

static enum wr_code choose(struct wr_adoption *a, uint64_t *const *before, uint32_t *marked)
{
	enum wr_code code;

	for (size_t i = 0; i < a->closure.sources; i++) {
		if (!before[i])
			return wr_fail_nomem(a->err);
		marked[i] = a->closure.marked[i];
	}
	if ((code = choose_closure(a)) != WR_OK || (code = walk(a, true)) != WR_OK)
		return code;
	tell(a, true);
	if ((code = check_special(a)) != WR_OK)
		return code;
	return choose_others(a, before, marked);
}

/* Objects that no ref reaches, each once. */
static uint64_t count_left_out(const struct wr_adoption *a)
{
	uint64_t n = 0;

	for (uint32_t src = 0; src < a->closure.sources; src++) {
		for (uint32_t pos = 0; pos < a->closure.counts[src]; pos++) {
			struct wr_place here = {src, pos}, home;
			struct wr_oid oid;

			if (wr_closure_marked(&a->closure, here))
				continue;
			wr_snapshot_oid(&oid, a->snap, here);
			n += wr_closure_home(&home, &a->closure, &oid) && home.src == src && home.pos == pos;
		}
	}
	return n;
}

static enum wr_code make_types(struct wr_adoption *a)
{
	a->types = calloc(a->closure.sources + 1, sizeof *a->types);
	for (size_t i = 0; a->types && i < a->closure.sources; i++) {
		a->types[i] = calloc((size_t)a->closure.counts[i] + 1, 1);
		if (!a->types[i])
			return wr_fail_nomem(a->err);
	}
	return a->types ? WR_OK : wr_fail_nomem(a->err);
}

void wr_adopt_choose_fini(struct wr_adoption *a)
{
	for (size_t i = 0; a->types && i < a->closure.sources; i++)
		free(a->types[i]);
	free(a->types);
	for (size_t i = 0; i < a->member_count; i++)
		wr_pack_unref(a->members[i].pack);
	free(a->members);
	free(a->places[0]);
	free(a->places[1]);
	wr_closure_fini(&a->closure);
}

enum wr_code wr_adopt_choose(struct wr_adoption *a)
{
	WR_AUTO_MEM uint32_t *marked = NULL;
	uint64_t **before;
	enum wr_code code;

	a->members = calloc(a->pack_count + 2, sizeof *a->members);
	marked = calloc(a->pack_count + 1, sizeof *marked);
	if (!a->members || !marked)
		return wr_fail_nomem(a->err);
	if ((code = wr_closure_init(&a->closure, a->snap, false, a->cancel, a->err)) != WR_OK ||
	    (code = make_types(a)) != WR_OK)
		return code;
	a->closure.bad = bad;
	a->closure.again = again;
	a->closure.reached = reached;
	a->closure.arg = a;
	if ((code = walk(a, false)) != WR_OK)
		return code;
	before = copy_marks(a);
	if (!before)
		return wr_fail_nomem(a->err);
	code = choose(a, before, marked);
	free_marks(before, a->closure.sources);
	if (code == WR_OK)
		a->out->left_out = count_left_out(a);
	return code;
}
