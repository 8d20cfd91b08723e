/*
 * No ref is a folder of another: refs/heads/a and refs/heads/a/b exclude each other.
 *
 * Of the refs that a change names, each knows the nearest other one that is a folder of it (above), so that all that
 * matters to it lies on one chain. A ref that exists marks its whole chain. So the work is bounded by the lengths of
 * all names together, however they are nested, and whatever their order.
 */
#include <stdio.h>

#include "core/git/append_internal.h"
#include "core/git/parse.h"

#define NONE SIZE_MAX

struct node {
	size_t above;	 /* which update, or NONE */
	uint32_t below;	 /* how many refs below this one exist, of those that the change names */
	uint32_t gone;	 /* how many below it the change deletes */
	uint16_t stored; /* the length of the folder of this name that is a ref now, or 0 */
	bool exists;
};

struct folders {
	struct wr_judge *j;
	struct node *nodes; /* one an update */
};

static bool is_new(const struct wr_ref_update *u)
{
	return u->result == WR_OK && !wr_oid_zero(&u->new) && wr_oid_zero(&u->before);
}

static bool is_deleted(const struct wr_ref_update *u)
{
	return u->result == WR_OK && wr_oid_zero(&u->new) && !wr_oid_zero(&u->before);
}

/*
 * By name, the names with which this one begins stand on a stack; those that end where it has a slash are its folders.
 */
static enum wr_code find_above(struct folders *f, struct wr_error *err)
{
	struct wr_judge *j = f->j;
	WR_AUTO_MEM size_t *stack = malloc(j->count * sizeof *stack);
	size_t depth = 0;

	if (!stack)
		return wr_fail_nomem(err);
	for (size_t k = 0; k < j->count; k++) {
		size_t i = j->sorted[k];
		struct wr_str name = j->updates[i].name;

		while (depth && !wr_str_starts(name, j->updates[stack[depth - 1]].name))
			depth--;
		if (depth && j->updates[stack[depth - 1]].name.len == name.len) {
			f->nodes[i].above = f->nodes[stack[depth - 1]].above;
			continue;
		}
		f->nodes[i].above = NONE;
		for (size_t d = depth; d && f->nodes[i].above == NONE; d--) {
			struct wr_str prefix = j->updates[stack[d - 1]].name;

			if (prefix.len < name.len && name.ptr[prefix.len] == '/')
				f->nodes[i].above = stack[d - 1];
		}
		stack[depth++] = i;
	}
	return WR_OK;
}

/* Which refs of now are in the way of new ones; what two names share is looked up once. */
static void find_stored(struct folders *f)
{
	struct wr_judge *j = f->j;
	struct wr_str last = {"", 0};
	size_t last_stored = 0;

	for (size_t k = 0; k < j->count; k++) {
		size_t i = j->sorted[k], same = 0;
		struct wr_str name = j->updates[i].name;

		if (!is_new(&j->updates[i]))
			continue;
		while (same < last.len && same < name.len && last.ptr[same] == name.ptr[same])
			same++;
		if (last_stored && last_stored <= same && last_stored < name.len && name.ptr[last_stored] == '/')
			f->nodes[i].stored = (uint16_t)last_stored;
		else
			f->nodes[i].stored = (uint16_t)wr_snapshot_ref_above(j->now, name, same);
		last = name;
		last_stored = f->nodes[i].stored;
	}
}

static void mark_exists(struct folders *f, size_t i)
{
	f->nodes[i].exists = true;
	for (size_t a = f->nodes[i].above; a != NONE; a = f->nodes[a].above)
		f->nodes[a].below++;
}

static void mark_gone(struct folders *f, size_t i)
{
	for (size_t a = f->nodes[i].above; a != NONE; a = f->nodes[a].above)
		f->nodes[a].gone++;
}

/* The length of a folder of this ref that exists, or 0. */
static size_t blocked_above(const struct folders *f, size_t i)
{
	bool named = false;

	for (size_t a = f->nodes[i].above; a != NONE; a = f->nodes[a].above) {
		if (f->nodes[a].exists)
			return f->j->updates[a].name.len;
		named = named || f->j->updates[a].name.len == f->nodes[i].stored;
	}
	return named ? 0 : f->nodes[i].stored;
}

static bool blocked_below(const struct folders *f, size_t i)
{
	struct wr_str name = f->j->updates[i].name;
	char folder[WR_REFNAME_MAX + 1];
	struct wr_ref_cursor cursor;
	struct wr_ref ref;

	if (f->nodes[i].below)
		return true;
	memcpy(folder, name.ptr, name.len);
	folder[name.len] = '/';
	wr_ref_cursor_below(&cursor, f->j->now, wr_str_n(folder, name.len + 1));
	/* Those that the change names are all deleted; one more is one that stays. */
	for (uint32_t n = 0; n <= f->nodes[i].gone; n++)
		if (!wr_ref_cursor_next(&ref, &cursor))
			return false;
	return true;
}

static void judge(struct folders *f, size_t i)
{
	struct wr_ref_update *u = &f->j->updates[i];
	size_t above = blocked_above(f, i);

	if (above) {
		u->result = WR_E_REF_CONFLICT;
		snprintf(u->reason, sizeof u->reason, "the ref %.*s is in the way", above > 100 ? 100 : (int)above,
			 u->name.ptr);
	} else if (blocked_below(f, i)) {
		u->result = WR_E_REF_CONFLICT;
		snprintf(u->reason, sizeof u->reason, "refs below this name are in the way");
	} else {
		mark_exists(f, i);
	}
}

enum wr_code wr_judge_folders(struct wr_judge *j, struct wr_error *err)
{
	WR_AUTO_MEM struct node *nodes = NULL;
	struct folders f = {.j = j};
	bool any = false;
	enum wr_code code;

	for (size_t i = 0; i < j->count && !any; i++)
		any = is_new(&j->updates[i]);
	if (!any)
		return WR_OK;
	f.nodes = nodes = calloc(j->count, sizeof *nodes);
	if (!nodes)
		return wr_fail_nomem(err);
	if ((code = find_above(&f, err)) != WR_OK)
		return code;
	find_stored(&f);
	/* Deletions make room, whatever their place in the change. */
	for (size_t i = 0; i < j->count; i++) {
		if (is_deleted(&j->updates[i]))
			mark_gone(&f, i);
		else if (!wr_oid_zero(&j->updates[i].before))
			mark_exists(&f, i);
	}
	for (size_t i = 0; i < j->count; i++)
		if (is_new(&j->updates[i]))
			judge(&f, i);
	return WR_OK;
}
