/*
 * How much two files have in common: both are cut into lines (pieces of 64 bytes where they are longer), and the bytes of
 * the pieces that both have are counted. At least half of the larger file's bytes make a rename.
 */
#include <xxhash.h>

#include "core/content/difference_internal.h"
#include "core/git/graph.h"
#include "core/git/parse.h"

/* More pairs of what came and what went are not compared; git has the same bound (diff.renameLimit, squared). */
#define PAIRS_MAX 1000000
/* Larger files are not taken apart, nor more bytes in all. */
#define SIZE_MAX_EACH ((uint64_t)4 << 20)
#define BYTES_MAX ((uint64_t)256 << 20)
/* Nor into more pieces in all, which take 16 bytes each, however short they are; each pair costs a look at both's. */
#define PIECES_MAX ((size_t)4 << 20)
#define PIECE 64

struct piece {
	uint64_t hash;
	uint32_t bytes;
};

struct side {
	struct wr_different *file;
	size_t index; /* in the difference */
	uint64_t size;
	struct piece *pieces; /* by hash, each once; NULL: not taken apart */
	size_t count;
	bool taken;
};

struct pair {
	uint32_t old, new, score; /* score: common bytes of 60000 */
	bool same_name;
};

struct renames {
	const struct wr_view *v;
	struct wr_difference *d;
	struct side *old, *new;
	size_t olds, news;
	uint64_t bytes;
	size_t pieces; /* of all that were taken apart */
	struct wr_error *err;
};

static bool is_file(unsigned mode)
{
	return (mode & 0170000) == WR_MODE_FILE;
}

static struct wr_str base_name(const struct wr_different *f)
{
	const char *slash = memrchr(f->path, '/', f->path_len);

	return slash ? wr_str_n(slash + 1, f->path_len - (size_t)(slash + 1 - f->path)) : wr_str_n(f->path, f->path_len);
}

/* ---- taking files apart ---- */

static int piece_cmp(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return (x->hash > y->hash) - (x->hash < y->hash);
}

/* The next piece; of "\r\n" the "\r" does not count. A last line without its end is another one than with it. */
static size_t cut(struct piece *out, const uint8_t *p, size_t len)
{
	const uint8_t *nl = memchr(p, '\n', len < PIECE ? len : PIECE);
	size_t n = nl ? (size_t)(nl - p) + 1 : len < PIECE ? len : PIECE;
	size_t words = nl && n > 1 && p[n - 2] == '\r' ? n - 2 : nl ? n - 1 : n;

	out->hash = XXH3_64bits_withSeed(p, words, nl != NULL);
	out->bytes = (uint32_t)(words + (nl != NULL));
	return n;
}

/* Each once; what is not needed goes back, since lines may be many and the same. */
static void gather_pieces(struct renames *r, struct side *s)
{
	size_t kept = 0;
	struct piece *less;

	qsort(s->pieces, s->count, sizeof *s->pieces, piece_cmp);
	for (size_t i = 0; i < s->count; i++) {
		if (kept && s->pieces[kept - 1].hash == s->pieces[i].hash)
			s->pieces[kept - 1].bytes += s->pieces[i].bytes;
		else
			s->pieces[kept++] = s->pieces[i];
	}
	s->count = kept;
	r->pieces += kept;
	if ((less = reallocarray(s->pieces, kept ? kept : 1, sizeof *less)))
		s->pieces = less;
}

static enum wr_code take_apart(struct renames *r, struct side *s, const struct wr_oid *oid)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	size_t cap = 0;
	enum wr_code code;

	if (s->pieces || s->size > SIZE_MAX_EACH || r->bytes + s->size > BYTES_MAX || r->pieces >= PIECES_MAX)
		return WR_OK;
	r->bytes += s->size;
	if ((code = wr_snapshot_read(&obj, r->v->snap, oid, r->err)) != WR_OK)
		return code;
	for (size_t at = 0; at < obj.size;) {
		if (s->count == cap) {
			struct piece *v = reallocarray(s->pieces, cap ? cap * 2 : 64, sizeof *v);

			if (!v)
				return wr_fail_nomem(r->err);
			s->pieces = v;
			cap = cap ? cap * 2 : 64;
		}
		at += cut(&s->pieces[s->count++], obj.data + at, obj.size - at);
	}
	gather_pieces(r, s);
	return WR_OK;
}

static uint64_t common_bytes(const struct side *a, const struct side *b)
{
	uint64_t common = 0;
	size_t i = 0, k = 0;

	while (i < a->count && k < b->count) {
		if (a->pieces[i].hash < b->pieces[k].hash) {
			i++;
		} else if (a->pieces[i].hash > b->pieces[k].hash) {
			k++;
		} else {
			common += a->pieces[i].bytes < b->pieces[k].bytes ? a->pieces[i].bytes : b->pieces[k].bytes;
			i++;
			k++;
		}
	}
	return common;
}

/* ---- pairs ---- */

static void join(struct side *old, struct side *new)
{
	struct wr_different *a = old->file, *b = new->file;

	b->status = WR_RENAMED;
	b->old_path = a->path;
	b->old_path_len = a->path_len;
	b->old_mode = a->old_mode;
	b->old_oid = a->old_oid;
	a->path = NULL;
	old->taken = new->taken = true;
}

static int oid_cmp(const void *a, const void *b)
{
	const struct side *x = a, *y = b;
	int c = wr_oid_cmp(x->file->old_mode ? &x->file->old_oid : &x->file->oid,
			   y->file->old_mode ? &y->file->old_oid : &y->file->oid);

	return c ? c : (x->index > y->index) - (x->index < y->index);
}

/* Of those with one id the one with the same last name is taken first, then the first. */
static void join_same(struct renames *r)
{
	size_t from = 0;

	for (size_t k = 0; k < r->news; k++) {
		struct side *new = &r->new[k], *best = NULL;

		while (from < r->olds && wr_oid_cmp(&r->old[from].file->old_oid, &new->file->oid) < 0)
			from++;
		for (size_t i = from; i < r->olds && wr_oid_eq(&r->old[i].file->old_oid, &new->file->oid); i++) {
			struct side *old = &r->old[i];

			if (old->taken || (old->file->old_mode & 0170000) != (new->file->mode & 0170000))
				continue;
			if (!best || (wr_str_eq(base_name(old->file), base_name(new->file)) &&
				      !wr_str_eq(base_name(best->file), base_name(new->file))))
				best = old;
		}
		if (best)
			join(best, new);
	}
}

static int pair_cmp(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	if (x->same_name != y->same_name)
		return x->same_name ? -1 : 1;
	if (x->new != y->new)
		return x->new < y->new ? -1 : 1;
	return (x->old > y->old) - (x->old < y->old);
}

static bool comparable(const struct side *old, const struct side *new)
{
	uint64_t small = old->size < new->size ? old->size : new->size;
	uint64_t large = old->size < new->size ? new->size : old->size;

	return !old->taken && !new->taken && is_file(old->file->old_mode) && is_file(new->file->mode) &&
	       small * 2 >= large && small > 0;
}

static enum wr_code add_pair(struct pair **pairs, size_t *len, size_t *cap, const struct pair *pair,
			     struct wr_error *err)
{
	if (*len == *cap) {
		size_t more = *cap ? *cap * 2 : 64;
		struct pair *v = reallocarray(*pairs, more, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		*pairs = v;
		*cap = more;
	}
	(*pairs)[(*len)++] = *pair;
	return WR_OK;
}

static enum wr_code compare_one(struct pair **pairs, size_t *len, size_t *cap, struct renames *r, size_t i, size_t k)
{
	struct side *old = &r->old[i], *new = &r->new[k];
	uint64_t large = old->size < new->size ? new->size : old->size, common;
	enum wr_code code;

	if (!comparable(old, new))
		return WR_OK;
	if ((code = take_apart(r, old, &old->file->old_oid)) != WR_OK ||
	    (code = take_apart(r, new, &new->file->oid)) != WR_OK)
		return code;
	common = old->pieces && new->pieces ? common_bytes(old, new) : 0;
	if (common * 2 < large)
		return WR_OK;
	return add_pair(pairs, len, cap,
			&(struct pair){(uint32_t)i, (uint32_t)k, (uint32_t)(common * 60000 / large),
				       wr_str_eq(base_name(old->file), base_name(new->file))},
			r->err);
}

static size_t left(const struct side *v, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += !v[i].taken;
	return count;
}

static enum wr_code join_similar(struct renames *r)
{
	WR_AUTO_MEM struct pair *pairs = NULL;
	size_t len = 0, cap = 0;
	enum wr_code code = WR_OK;

	if (left(r->old, r->olds) * left(r->new, r->news) > PAIRS_MAX)
		return WR_OK;
	for (size_t k = 0; k < r->news && code == WR_OK; k++) {
		if ((code = wr_cancelled(r->v->cancel, r->err)) != WR_OK)
			return code;
		for (size_t i = 0; i < r->olds && code == WR_OK; i++)
			code = compare_one(&pairs, &len, &cap, r, i, k);
	}
	if (code != WR_OK)
		return code;
	if (len)
		qsort(pairs, len, sizeof *pairs, pair_cmp);
	for (size_t i = 0; i < len; i++)
		if (!r->old[pairs[i].old].taken && !r->new[pairs[i].new].taken)
			join(&r->old[pairs[i].old], &r->new[pairs[i].new]);
	return WR_OK;
}

/* ---- all ---- */

static enum wr_code gather(struct renames *r)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < r->d->len && code == WR_OK; i++) {
		struct wr_different *f = &r->d->v[i];
		bool old = f->status == WR_REMOVED;
		struct side s = {.file = f, .index = i};

		if (!old && f->status != WR_ADDED)
			continue;
		/* A submodule's commit is not here. */
		if ((old ? f->old_mode : f->mode) != WR_MODE_LINK)
			code = wr_snapshot_stat(r->v->snap, old ? &f->old_oid : &f->oid, NULL, &s.size, r->err);
		if (code == WR_OK && old)
			r->old[r->olds++] = s;
		else if (code == WR_OK)
			r->new[r->news++] = s;
	}
	return code;
}

/* What went away and was found again has no path of its own any more. */
static void drop_joined(struct wr_difference *d)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->len; i++)
		if (d->v[i].path)
			d->v[kept++] = d->v[i];
	d->len = kept;
}

enum wr_code wr_find_renames(struct wr_difference *d, const struct wr_view *v, struct wr_error *err)
{
	WR_AUTO_MEM struct side *old = calloc(d->len + 1, sizeof *old);
	WR_AUTO_MEM struct side *new = calloc(d->len + 1, sizeof *new);
	struct renames r = {.v = v, .d = d, .old = old, .new = new, .err = err};
	enum wr_code code = old && new ? gather(&r) : wr_fail_nomem(err);

	if (code == WR_OK && r.olds && r.news) {
		qsort(old, r.olds, sizeof *old, oid_cmp);
		qsort(new, r.news, sizeof *new, oid_cmp);
		join_same(&r);
		code = join_similar(&r);
	}
	for (size_t i = 0; i < r.olds; i++)
		free(old[i].pieces);
	for (size_t i = 0; i < r.news; i++)
		free(new[i].pieces);
	drop_joined(d);
	return code;
}
