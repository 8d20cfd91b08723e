/*
 * The sizes at the front of a zipped delta. To hand out the first bytes of a stream (RFC 1950, 1951) zlib and libdeflate
 * first make tables for all that could follow, which costs several times as much as everything else here. So the codes
 * of the first block are only counted, and the few symbols that are wanted are searched for. What is not literals at the
 * front of a plain first block, and whatever looks wrong, is zlib's to judge.
 */
#include "core/git/delta.h"

/* Enough for both sizes. */
#define FRONT 20
/* git reads no delta of fewer bytes, so each has as many. */
#define DELTA_MIN 4
#define LITERALS 288 /* and lengths */
#define DISTANCES 30
#define LITERALS_SENT 286
#define LENGTHS 19 /* the code that codes are sent in, of at most */
#define LENGTH_BITS 7
#define CODE_BITS 15
#define BLOCK_END 256

/* ---- bits, the lowest of each byte first ---- */

struct bits {
	struct wr_str rest;
	uint64_t hold;
	unsigned have;
	bool over; /* more were taken than there are */
};

/* Behind it there are 24 bits to look at, with zeros behind the last one. */
static void fill(struct bits *b)
{
	if (b->have >= 24)
		return;
	for (; b->have <= 56 && b->rest.len; b->have += 8) {
		b->hold |= (uint64_t)(uint8_t)b->rest.ptr[0] << b->have;
		b->rest = wr_str_skip(b->rest, 1);
	}
}

static void drop(struct bits *b, unsigned n)
{
	b->over |= n > b->have;
	b->hold >>= n;
	b->have -= n > b->have ? b->have : n;
}

static unsigned take(struct bits *b, unsigned n)
{
	unsigned v;

	fill(b);
	v = (unsigned)(b->hold & ((1u << n) - 1));
	drop(b, n);
	return v;
}

/* ---- the block's code of literals ---- */

struct code {
	uint8_t lens[LITERALS + DISTANCES + 2]; /* of each symbol's code; 0: it has none; read by eights */
	unsigned symbols;
	uint16_t count[CODE_BITS + 1]; /* of codes of each length */
};

/* Whether the codes of these lengths are all that there could be, and no more. */
static bool is_full(const uint16_t *count, unsigned max)
{
	int left = 1;

	for (unsigned len = 1; len <= max && left >= 0; len++)
		left = left * 2 - count[len];
	return left == 0;
}

static void add_lens(struct code *c, uint8_t len, unsigned times)
{
	memset(c->lens + c->symbols, len, times);
	c->count[len] += (uint16_t)times;
	c->symbols += times;
}

static void fixed_code(struct code *c)
{
	add_lens(c, 8, 144);
	add_lens(c, 9, 112);
	add_lens(c, 7, 24);
	add_lens(c, 8, 8);
}

/* Of each value of the next bits, whose code begins there: its symbol and how many of them it has. */
struct lengths_table {
	uint8_t symbol[1u << LENGTH_BITS], len[1u << LENGTH_BITS];
};

static bool read_table(struct lengths_table *t, struct bits *b, unsigned n)
{
	static const uint8_t order[LENGTHS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
	uint16_t count[LENGTH_BITS + 1] = {0};
	uint8_t lens[LENGTHS] = {0};
	unsigned code = 0; /* as it stands in the stream: its first bit is the lowest */

	for (unsigned i = 0; i < n; i++)
		count[lens[order[i]] = (uint8_t)take(b, 3)]++;
	if (!is_full(count, LENGTH_BITS))
		return false;
	for (unsigned len = 1; len <= LENGTH_BITS; len++) {
		for (unsigned symbol = 0; symbol < LENGTHS; symbol++) {
			unsigned bit = 1u << (len - 1);

			if (lens[symbol] != len)
				continue;
			for (unsigned at = code; at < 1u << LENGTH_BITS; at += 1u << len) {
				t->symbol[at] = (uint8_t)symbol;
				t->len[at] = (uint8_t)len;
			}
			for (; code & bit; bit >>= 1)
				code ^= bit;
			code |= bit;
		}
	}
	return true;
}

/* How often which length comes again. */
static unsigned repeated(uint8_t *len, unsigned symbol, struct bits *b)
{
	if (symbol == 16)
		return 3 + take(b, 2);
	*len = 0;
	return symbol == 17 ? 3 + take(b, 3) : 11 + take(b, 7);
}

static bool sent_code(struct code *c, struct bits *b)
{
	unsigned literals = 257 + take(b, 5), all = literals + 1 + take(b, 5), times;
	struct lengths_table t;
	uint8_t len = 0;

	if (literals > LITERALS_SENT || all - literals > DISTANCES || !read_table(&t, b, 4 + take(b, 4)))
		return false;
	while (c->symbols < all && !b->over) {
		unsigned at, symbol;

		fill(b);
		at = (unsigned)(b->hold & ((1u << LENGTH_BITS) - 1));
		symbol = t.symbol[at];
		drop(b, t.len[at]);
		if (symbol < 16) {
			c->lens[c->symbols++] = len = (uint8_t)symbol;
			c->count[len]++;
			continue;
		}
		if (symbol == 16 && c->symbols == 0)
			return false;
		times = repeated(&len, symbol, b);
		if (times > all - c->symbols)
			return false;
		add_lens(c, len, times);
	}
	while (c->symbols > literals)
		c->count[c->lens[--c->symbols]]--;
	return !b->over && c->lens[BLOCK_END] != 0 && is_full(c->count, CODE_BITS);
}

/* How many of the next eight codes have this length; what is added carries into no neighbour, as lengths are small. */
static unsigned among_eight(const uint8_t *lens, unsigned len)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t v;

	memcpy(&v, lens, sizeof v);
	v = ~((v ^ ones * len) + ones * 0x7f) & ones * 0x80;
	return (unsigned)((v >> 7) * ones >> 56);
}

/* The symbol whose code is this one of those with its length. */
static unsigned nth_symbol(const struct code *c, unsigned len, unsigned n)
{
	unsigned symbol = 0, more;

	for (; symbol < c->symbols && n >= (more = among_eight(c->lens + symbol, len)); symbol += 8)
		n -= more;
	while (symbol < c->symbols && (c->lens[symbol] != len || n-- > 0))
		symbol++;
	return symbol;
}

/* Codes of one length are numbered by their symbols, behind those that are shorter. */
static unsigned next_symbol(struct bits *b, const struct code *c)
{
	unsigned code = 0, first = 0, len;

	fill(b);
	for (len = 1; len < CODE_BITS; len++) {
		code |= (unsigned)(b->hold >> (len - 1) & 1);
		if (code - first < c->count[len])
			break;
		first = (first + c->count[len]) << 1;
		code <<= 1;
	}
	if (len == CODE_BITS)
		code |= (unsigned)(b->hold >> (len - 1) & 1);
	drop(b, len);
	return nth_symbol(c, len, code - first);
}

/* ---- the sizes ---- */

static bool read_head(struct bits *b)
{
	unsigned method = take(b, 8), flags = take(b, 8);

	return (method & 15) == 8 && method >> 4 <= 7 && !(flags & 32) && (method << 8 | flags) % 31 == 0;
}

static bool read_literals(uint8_t out[FRONT], size_t *got, struct wr_str zip)
{
	struct bits b = {.rest = zip};
	unsigned sizes = 0, kind;
	struct code c;

	if (!read_head(&b))
		return false;
	kind = take(&b, 3) >> 1;
	memset(&c, 0, sizeof c);
	if (kind == 1)
		fixed_code(&c);
	else if (kind != 2 || !sent_code(&c, &b))
		return false;
	for (*got = 0; sizes < 2 || *got < DELTA_MIN; ++*got) {
		unsigned symbol = next_symbol(&b, &c);

		if (symbol >= BLOCK_END || b.over || *got == FRONT)
			return false;
		out[*got] = (uint8_t)symbol;
		sizes += symbol < 0x80;
	}
	return true;
}

enum wr_zip wr_delta_front(uint64_t *base_size, uint64_t *size, struct wr_str zip)
{
	WR_AUTO_S(wr_unzip) unzip = {.ready = false};
	enum wr_zip zc = WR_ZIP_OK;
	uint8_t front[FRONT];
	struct wr_str body;
	size_t got;

	if (!read_literals(front, &got, zip))
		zc = wr_unzip_front(front, &got, &unzip, zip, FRONT);
	if (zc != WR_ZIP_OK)
		return zc;
	return wr_delta_sizes(base_size, size, &body, wr_str_n(front, got)) ? WR_ZIP_OK : WR_ZIP_BAD;
}
