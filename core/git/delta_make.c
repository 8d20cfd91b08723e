/*
 * What both texts begin and end with is found first: of a large tree with one changed entry nothing else is left. What
 * lies between is looked up in a table of the base's blocks. Work is linear whatever the texts are: a table's chain is
 * followed a few steps only, and each byte that a match compares is either skipped by it or compared a few times.
 */
#include "core/git/delta_make.h"

#define BLOCK 16
#define CHAIN 8 /* blocks of the same hash that are tried */
#define NONE UINT32_MAX
#define COPY_MAX 0xffffffu
#define INSERT_MAX 127u
/* A shorter middle is inserted as it is: looking for its parts could save less than the search costs. */
#define SEARCH_MIN 48

/* ---- instructions ---- */

struct out {
	uint8_t *p;
	size_t len, cap, max; /* len stays below max */
	bool full, no_memory;
};

static void put(struct out *o, const void *data, size_t n)
{
	if (o->full || o->no_memory)
		return;
	if (n >= o->max - o->len) {
		o->full = true;
		return;
	}
	if (n > o->cap - o->len) {
		size_t cap = (o->len + n) * 2;
		uint8_t *p;

		cap = cap < 128 ? 128 : cap;
		p = realloc(o->p, cap);
		if (!p) {
			o->no_memory = true;
			return;
		}
		o->p = p;
		o->cap = cap;
	}
	memcpy(o->p + o->len, data, n);
	o->len += n;
}

static void put_varint(struct out *o, uint64_t v)
{
	uint8_t bytes[10];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		bytes[n++] = (uint8_t)(v | 0x80);
	bytes[n++] = (uint8_t)v;
	put(o, bytes, n);
}

static void put_insert(struct out *o, const char *text, size_t len)
{
	while (len > 0 && !o->full && !o->no_memory) {
		uint8_t n = (uint8_t)(len < INSERT_MAX ? len : INSERT_MAX);

		put(o, &n, 1);
		put(o, text, n);
		text += n;
		len -= n;
	}
}

/* Bytes of zero are left out, and so is the whole length of 0x10000. */
static void put_copy_part(struct out *o, uint32_t offset, uint32_t len)
{
	uint8_t bytes[8] = {0x80};
	size_t n = 1;

	for (unsigned i = 0; i < 4; i++) {
		if (offset >> (8 * i) & 0xff) {
			bytes[0] |= (uint8_t)(1u << i);
			bytes[n++] = (uint8_t)(offset >> (8 * i));
		}
	}
	for (unsigned i = 0; i < 3 && len != 0x10000; i++) {
		if (len >> (8 * i) & 0xff) {
			bytes[0] |= (uint8_t)(0x10u << i);
			bytes[n++] = (uint8_t)(len >> (8 * i));
		}
	}
	put(o, bytes, n);
}

static void put_copy(struct out *o, size_t offset, size_t len)
{
	while (len > 0) {
		uint32_t n = len < COPY_MAX ? (uint32_t)len : COPY_MAX;

		put_copy_part(o, (uint32_t)offset, n);
		offset += n;
		len -= n;
	}
}

/* ---- matches ---- */

static uint64_t word(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

/* How many of the first max bytes are the same. */
static size_t same(const char *a, const char *b, size_t max)
{
	size_t n = 0;

	while (n + 8 <= max && word(a + n) == word(b + n))
		n += 8;
	while (n < max && a[n] == b[n])
		n++;
	return n;
}

/* The same backwards: of those that stand before a and b. */
static size_t same_before(const char *a, const char *b, size_t max)
{
	size_t n = 0;

	while (n + 8 <= max && word(a - n - 8) == word(b - n - 8))
		n += 8;
	while (n < max && a[-(ptrdiff_t)n - 1] == b[-(ptrdiff_t)n - 1])
		n++;
	return n;
}

/* ---- the table ---- */

/* Blocks of the base at multiples of BLOCK, by hash. */
struct table {
	uint32_t *heads, *next;
	unsigned shift;
};

static uint32_t hash(const char *p, unsigned shift)
{
	uint64_t h = word(p) * UINT64_C(0x9e3779b97f4a7c15) ^ word(p + 8) * UINT64_C(0xc2b2ae3d27d4eb4f);

	return (uint32_t)((h ^ h >> 29) * UINT64_C(0x9fb21c651e98df25) >> shift);
}

static bool table_make(struct table *t, struct wr_str base)
{
	uint32_t blocks = (uint32_t)(base.len / BLOCK);
	unsigned bits = 4;
	uint32_t last = NONE;

	/* At most half full: most of what is looked up is not there, and a chain's step costs a look at the base. */
	while (bits < 31 && (uint32_t)1 << bits < 2 * blocks)
		bits++;
	t->shift = 64 - bits;
	t->heads = malloc(sizeof *t->heads << bits);
	t->next = malloc(sizeof *t->next * (blocks + 1));
	if (!t->heads || !t->next)
		return false;
	memset(t->heads, 0xff, sizeof *t->heads << bits);
	for (uint32_t i = blocks; i-- > 0;) {
		uint32_t h = hash(base.ptr + (size_t)i * BLOCK, t->shift);

		/* Of a run of equal blocks only the first, so that it does not fill the chain. */
		t->next[i] = h == last && t->heads[h] == i + 1 ? t->next[i + 1] : t->heads[h];
		t->heads[h] = i;
		last = h;
	}
	return true;
}

static void table_free(struct table *t)
{
	free(t->heads);
	free(t->next);
}

/* The longest match of what begins at target; 0: none of a whole block. */
static size_t longest(size_t *offset, const struct table *t, struct wr_str base, struct wr_str target)
{
	size_t best = 0;
	uint32_t i = t->heads[hash(target.ptr, t->shift)];

	for (unsigned tried = 0; i != NONE && tried < CHAIN; tried++, i = t->next[i]) {
		size_t at = (size_t)i * BLOCK, room = base.len - at, n;

		n = same(base.ptr + at, target.ptr, room < target.len ? room : target.len);
		if (n >= BLOCK && n > best) {
			best = n;
			*offset = at;
		}
	}
	return best;
}

/* The instructions for target by what the table finds in base. */
static void search(struct out *o, const struct table *t, struct wr_str base, struct wr_str target)
{
	size_t done = 0, at = 0;

	while (at + BLOCK <= target.len && !o->full && !o->no_memory) {
		size_t offset = 0, n = longest(&offset, t, base, wr_str_skip(target, at)), back;

		if (n == 0) {
			at++;
			continue;
		}
		back = at - done < offset ? at - done : offset;
		back = same_before(base.ptr + offset, target.ptr + at, back);
		put_insert(o, target.ptr + done, at - back - done);
		put_copy(o, offset - back, n + back);
		at += n;
		done = at;
	}
	put_insert(o, target.ptr + done, target.len - done);
}

static void put_middle(struct out *o, struct wr_str base, struct wr_str middle)
{
	struct table t = {NULL, NULL, 0};

	if (middle.len < SEARCH_MIN || base.len < BLOCK)
		put_insert(o, middle.ptr, middle.len);
	else if (table_make(&t, base))
		search(o, &t, base, middle);
	else
		o->no_memory = true;
	table_free(&t);
}

enum wr_code wr_delta_make(uint8_t **out, size_t *len, struct wr_str base, struct wr_str target, size_t max,
			   struct wr_error *err)
{
	struct out o = {.max = max};
	size_t common = base.len < target.len ? base.len : target.len, front, back;

	/* Offsets have 32 bits; an empty base gives nothing; and a delta that makes nothing may be too short. */
	if (base.len >= UINT32_MAX || base.len == 0 || target.len == 0)
		return WR_E_NOT_THERE;
	front = same(base.ptr, target.ptr, common);
	back = same_before(base.ptr + base.len, target.ptr + target.len, common - front);
	/* Copies of a few bytes cost as much as they save. */
	front = front < BLOCK && front < target.len ? 0 : front;
	back = back < BLOCK ? 0 : back;
	put_varint(&o, base.len);
	put_varint(&o, target.len);
	put_copy(&o, 0, front);
	put_middle(&o, base, wr_str_n(target.ptr + front, target.len - front - back));
	put_copy(&o, base.len - back, back);
	if (o.no_memory || o.full) {
		free(o.p);
		return o.no_memory ? wr_fail_nomem(err) : WR_E_NOT_THERE;
	}
	*out = o.p;
	*len = o.len;
	return WR_OK;
}
