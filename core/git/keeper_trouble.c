#include "core/base/clock.h"
#include "core/git/keeper_internal.h"

static struct wr_trouble *find(struct wr_troubles *t, const char *id)
{
	for (size_t i = 0; i < t->len; i++)
		if (strcmp(t->v[i].id, id) == 0)
			return &t->v[i];
	return NULL;
}

const struct wr_trouble *wr_trouble_find(const struct wr_troubles *t, const char *id)
{
	for (size_t i = 0; i < t->len; i++)
		if (strcmp(t->v[i].id, id) == 0)
			return &t->v[i];
	return NULL;
}

static struct wr_trouble *oldest(struct wr_troubles *t)
{
	struct wr_trouble *old = &t->v[0];

	for (size_t i = 1; i < t->len; i++)
		if (t->v[i].tried_ms < old->tried_ms)
			old = &t->v[i];
	return old;
}

const struct wr_trouble *wr_trouble_add(struct wr_troubles *t, const char *id)
{
	static const int64_t pauses_ms[] = {5000, 60000, 10 * 60000, 60 * 60000, 6 * 60 * 60000};
	struct wr_trouble *one = find(t, id);
	size_t i;

	if (!one) {
		one = t->len < WR_TROUBLES ? &t->v[t->len++] : oldest(t);
		*one = (struct wr_trouble){.failures = 0};
		snprintf(one->id, sizeof one->id, "%s", id);
	}
	i = one->failures < WR_ARRAY_LEN(pauses_ms) ? one->failures : WR_ARRAY_LEN(pauses_ms) - 1;
	one->failures++;
	one->tried_ms = wr_mono_ms();
	one->until_ms = one->tried_ms + pauses_ms[i];
	return one;
}

void wr_trouble_over(struct wr_troubles *t, const char *id)
{
	struct wr_trouble *one = find(t, id);

	if (one)
		*one = t->v[--t->len];
}
