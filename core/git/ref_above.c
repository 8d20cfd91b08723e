/*
 * A ref that is a folder of another name. Names have thousands of folders if somebody likes it so, and there may be
 * many thousand names: so each question to a sorted list answers for all folders that the name shares with the answer.
 */
#include "core/git/snapshot_internal.h"

/* The stored refs or the overlay's, with those that it says are deleted. */
struct names {
	const struct wr_refsfile *stored; /* NULL: the overlay's */
	const struct wr_overlay *overlay;
};

/* The first name that is not before this one. */
static bool lower(struct wr_str *out, const struct names *in, struct wr_str name)
{
	struct wr_ref ref;
	bool exact;
	size_t i;

	if (in->stored) {
		i = wr_refsfile_lower(in->stored, name, &exact);
		if (i >= wr_refsfile_count(in->stored))
			return false;
		wr_refsfile_ref_at(&ref, in->stored, i);
		*out = ref.name;
		return true;
	}
	i = wr_overlay_lower(in->overlay, name, &exact);
	if (!in->overlay || i >= in->overlay->count)
		return false;
	*out = in->overlay->v[i].name;
	return true;
}

/* The end of the first folder that is at least so long, or 0. */
static size_t folder_from(struct wr_str name, size_t from)
{
	const char *slash = from < name.len ? memchr(name.ptr + from, '/', name.len - from) : NULL;

	return slash ? (size_t)(slash - name.ptr) : 0;
}

static size_t shared(struct wr_str a, struct wr_str b)
{
	size_t n = a.len < b.len ? a.len : b.len, i = 0;

	while (i < n && a.ptr[i] == b.ptr[i])
		i++;
	return i;
}

static size_t above(const struct wr_snapshot *snap, const struct names *in, struct wr_str name, size_t from)
{
	struct wr_str met;
	struct wr_ref ref;

	for (size_t f = folder_from(name, from); f; f = folder_from(name, f + 1)) {
		size_t n;

		if (!lower(&met, in, wr_str_n(name.ptr, f)) || (n = shared(met, name)) < f)
			return 0;
		/* The first name from this folder on is the first one from all those on that lead to it as well. */
		if (n == met.len && n < name.len && name.ptr[n] == '/' && wr_snapshot_find_ref(&ref, snap, met))
			return n;
		f = n;
	}
	return 0;
}

size_t wr_snapshot_ref_above(const struct wr_snapshot *snap, struct wr_str name, size_t from)
{
	const struct names stored = {snap->stored, NULL}, changed = {NULL, snap->overlay};
	size_t n = snap->stored ? above(snap, &stored, name, from) : 0;

	return n ? n : above(snap, &changed, name, from);
}
