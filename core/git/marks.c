#include "core/git/marks.h"

static size_t words(const struct wr_snapshot *snap, size_t src)
{
	uint32_t n = src < snap->member_count ? snap->members[src].pack->count : snap->limits[src - snap->member_count];

	return (size_t)n / 64 + 1;
}

enum wr_code wr_marks_init(struct wr_marks *m, const struct wr_snapshot *snap, struct wr_error *err)
{
	size_t sources = snap->member_count + snap->journal_count;

	*m = (struct wr_marks){calloc(sources + 1, sizeof *m->v), sources};
	if (!m->v)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < sources; i++) {
		m->v[i] = calloc(words(snap, i), sizeof *m->v[i]);
		if (!m->v[i])
			return wr_fail_nomem(err);
	}
	return WR_OK;
}

void wr_marks_fini(struct wr_marks *m)
{
	for (size_t i = 0; m->v && i < m->sources; i++)
		free(m->v[i]);
	free(m->v);
	*m = (struct wr_marks){NULL, 0};
}

void wr_marks_clear(struct wr_marks *m, const struct wr_marks *gone, const struct wr_snapshot *snap)
{
	for (size_t i = 0; i < m->sources; i++)
		for (size_t k = 0; k < words(snap, i); k++)
			m->v[i][k] &= ~gone->v[i][k];
}

void wr_marks_copy(struct wr_marks *to, const struct wr_marks *from, const struct wr_snapshot *snap)
{
	for (size_t i = 0; i < to->sources; i++)
		memcpy(to->v[i], from->v[i], words(snap, i) * sizeof *to->v[i]);
}
