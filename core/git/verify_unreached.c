#include "core/git/verify_unreached.h"

#include <stdarg.h>

#include "core/git/mtimes.h"
#include "core/git/unreached.h"

struct timed {
	struct wr_place home;
	uint32_t since;
};

struct look {
	const struct wr_verify_unreached *v;
	const struct wr_snapshot *snap;
	struct wr_error *err;
	size_t listed;
	bool exact; /* refs are as the checkpoint had them */
	uint32_t **times; /* of packs of cruft */
	struct timed *list;
	size_t len, cap;
	uint32_t now; /* of the object that is walked from */
};

static void look_fini(struct look *k)
{
	for (size_t i = 0; k->times && i < k->listed; i++)
		free(k->times[i]);
	free(k->times);
	free(k->list);
}

static void WR_PRINTF(2, 3) tell(const struct look *k, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	k->v->tell(k->v->arg, text);
}

static bool fatal(enum wr_code code)
{
	return code == WR_E_CANCELLED || code == WR_E_UNAVAILABLE;
}

/* ---- times ---- */

static enum wr_code read_times(struct look *k, size_t src)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	const struct wr_member *m = &k->snap->members[src];
	enum wr_code code = wr_mtimes_read(&k->times[src], k->v->packs, m->pack, &why);

	if (fatal(code)) {
		wr_error_move(k->err, &why);
		return code;
	}
	if (code != WR_OK) {
		tell(k, "%s", why.detail);
		return WR_OK;
	}
	for (uint32_t pos = 0; pos < m->pack->count; pos++) {
		if (k->times[src][pos] >= m->since || wr_dead_is_gone(m->dead, pos))
			continue;
		tell(k, "%s has an object that is older than the ref file says", m->pack->name);
		break;
	}
	return WR_OK;
}

/* 0: a ref reaches it. */
static uint32_t time_of(const struct look *k, struct wr_place place)
{
	const struct wr_member *m = &k->snap->members[place.src];

	if (place.src >= k->listed)
		return 0;
	if (m->role == WR_ROLE_CRUFT)
		return k->times[place.src] ? k->times[place.src][place.pos] : m->since;
	return wr_dead_since(m->dead, place.pos);
}

/* ---- roles ---- */

static bool marked(const uint64_t *const *marks, struct wr_place place)
{
	return marks[place.src][place.pos / 64] >> (place.pos % 64) & 1;
}

/* What the role of the pack and the time say, compared with who reaches it. */
static void check_role(const struct look *k, struct wr_place place)
{
	const struct wr_member *m = &k->snap->members[place.src];
	bool kin = wr_closure_role(m->role), dead = wr_dead_has(m->dead, place.pos);
	bool closure = marked(k->v->heads, place), reached = wr_closure_marked(k->v->closure, place);
	uint32_t since = time_of(k, place);
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;

	if (closure == (kin && !dead) && reached == (since == 0))
		return;
	wr_snapshot_oid(&oid, k->snap, place);
	wr_oid_hex(hex, &oid);
	tell(k, "object %s in %s: it %s, but heads and tags %s, and other refs %s", hex, m->pack->name,
	     since ? "has the time of one that no ref reaches" : kin && !dead ? "counts as the heads' and tags'" : "counts as other refs'",
	     closure ? "reach it" : "do not", reached && !closure ? "do" : "do not");
}

static enum wr_code add_timed(struct look *k, struct wr_place place, uint32_t since)
{
	if (k->len == k->cap) {
		size_t cap = k->cap ? k->cap * 2 : 256;
		struct timed *list = reallocarray(k->list, cap, sizeof *list);

		if (!list)
			return wr_fail_nomem(k->err);
		k->list = list;
		k->cap = cap;
	}
	k->list[k->len++] = (struct timed){place, since};
	return WR_OK;
}

static enum wr_code check_member(struct look *k, uint32_t src)
{
	const struct wr_member *m = &k->snap->members[src];
	enum wr_code code = WR_OK;

	if (m->role == WR_ROLE_CRUFT && k->v->packs >= 0 && (code = read_times(k, src)) != WR_OK)
		return code;
	for (uint32_t pos = 0; pos < m->pack->count && code == WR_OK; pos++) {
		struct wr_place place = {src, pos};
		uint32_t since = time_of(k, place);

		if (wr_dead_is_gone(m->dead, pos) || !wr_closure_at_home(k->v->closure, place))
			continue;
		if (k->exact)
			check_role(k, place);
		if (since)
			code = add_timed(k, place, since);
	}
	return code;
}

/* ---- what they need ---- */

static int youngest_first(const void *a, const void *b)
{
	const struct timed *x = a, *y = b;

	return (x->since < y->since) - (x->since > y->since);
}

static enum wr_code is_missing(void *arg, const struct wr_oid *oid, enum wr_type type, const struct wr_error *why)
{
	char hex[WR_OID_HEX + 1];

	(void)type;
	wr_oid_hex(hex, oid);
	tell(arg, "objects that no ref reaches need %s: %s", hex, why->detail[0] ? why->detail : wr_error_text(why));
	return WR_OK;
}

/* Those that a younger one reaches were met before. */
static enum wr_code is_met(void *arg, struct wr_place home, const struct wr_oid *oid, enum wr_type type, struct wr_error *err)
{
	const struct look *k = arg;
	uint32_t since = time_of(k, home);
	char hex[WR_OID_HEX + 1];

	(void)type;
	(void)err;
	if (since == 0 || since >= k->now)
		return WR_OK;
	wr_oid_hex(hex, oid);
	tell(k, "object %s goes before what refers to it", hex);
	return WR_OK;
}

static enum wr_code check_needs(struct look *k)
{
	struct wr_closure *c = k->v->closure;
	enum wr_code code = WR_OK;

	if (k->len)
		qsort(k->list, k->len, sizeof *k->list, youngest_first);
	c->bad = is_missing;
	c->reached = is_met;
	c->again = NULL;
	c->arg = k;
	for (size_t i = 0; i < k->len && code == WR_OK; i++) {
		struct wr_oid oid;

		k->now = k->list[i].since;
		wr_snapshot_oid(&oid, k->snap, k->list[i].home);
		code = wr_closure_walk_from(c, &oid, k->err);
	}
	return code;
}

enum wr_code wr_verify_unreached(const struct wr_verify_unreached *v, struct wr_error *err)
{
	WR_CLEANUP(look_fini) struct look k = {.v = v, .snap = v->closure->snap, .err = err};
	enum wr_code code = WR_OK;

	if (!k.snap->stored || !wr_refsfile_sorted(k.snap->stored))
		return WR_OK;
	k.listed = wr_refsfile_pack_count(k.snap->stored);
	k.exact = !k.snap->overlay || k.snap->overlay->count == 0;
	k.times = calloc(k.listed + 1, sizeof *k.times);
	if (!k.times)
		return wr_fail_nomem(err);
	for (uint32_t src = 0; src < k.listed && code == WR_OK; src++)
		code = check_member(&k, src);
	return code == WR_OK ? check_needs(&k) : code;
}
