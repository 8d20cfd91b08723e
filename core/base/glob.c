#include "core/base/glob.h"

/*
 * A glob becomes a program whose steps match one character or lead on to other steps, and all steps at which a match
 * may be are followed at the same time, character by character: none is ever tried twice at one place.
 *
 *	ab	CHAR a, CHAR b
 *	?	ANY
 *	[x-y]	SET
 *	*	MANY: stays for any character but "/", and leads on
 *	**	MANY_ALL: stays for any character, and leads on; where a "/" is next, in the glob as it is written, there is
 *		a DIRS before: at the beginning of a segment it leads to behind the "/", too
 *	{a,b}	FORK to both of: a, GO to the end; b
 */
enum op { CHAR, ANY, SET, MANY, MANY_ALL, DIRS, FORK, GO, MATCH };

struct step {
	uint8_t op;
	bool negated;	   /* SET */
	uint16_t to, upto; /* FORK, GO: a step; SET: of the ranges */
	uint32_t c;	   /* CHAR */
};
struct range {
	uint32_t from, to;
};

/* At most two steps for a byte (a comma), and MATCH. */
#define STEPS_MAX (2 * WR_GLOB_MAX + 1)
#define DEPTH_MAX 8
/* A byte that is no UTF-8 is a character of its own, behind all others. */
#define NO_UTF8 0x110000u

struct wr_glob {
	struct step *steps;
	struct range *ranges;
	size_t n_steps, n_ranges;
	char *prefix; /* what every match begins with: the first prefix_steps */
	size_t prefix_len, prefix_steps;
	bool slash;
};

static size_t next_char(uint32_t *c, struct wr_str s)
{
	size_t n = wr_str_utf8_first(c, s);

	if (n)
		return n;
	*c = NO_UTF8 + (unsigned char)s.ptr[0];
	return 1;
}

/* ---- compiling ---- */

struct brace {
	size_t fork; /* of the alternative that is being read */
	size_t last; /* GO of the one before, which is a chain by its to; SIZE_MAX: none */
};

struct compiler {
	struct wr_glob *glob;
	struct wr_str rest;
	struct brace braces[DEPTH_MAX];
	size_t depth;
	bool plain; /* so far nothing but characters */
};

static struct step *add(struct wr_glob *glob, enum op op)
{
	struct step *step = &glob->steps[glob->n_steps++];

	*step = (struct step){.op = (uint8_t)op};
	return step;
}

static uint32_t take_char(struct compiler *c)
{
	uint32_t ch;

	c->rest = wr_str_skip(c->rest, next_char(&ch, c->rest));
	return ch;
}

static enum wr_code take_escaped(uint32_t *out, struct compiler *c, struct wr_error *err)
{
	*out = take_char(c);
	if (*out != '\\')
		return WR_OK;
	if (c->rest.len == 0)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A glob's last \\ has nothing behind it; write \\\\ for one");
	*out = take_char(c);
	return WR_OK;
}

static enum wr_code unended_set(struct wr_error *err)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "A set of a glob has no ]; write \\[ for the character itself");
}

static enum wr_code take_range(struct compiler *c, struct wr_error *err)
{
	struct range *range = &c->glob->ranges[c->glob->n_ranges++];
	enum wr_code code;

	if (c->rest.len > 1 && c->rest.ptr[0] == '[' && c->rest.ptr[1] == ':')
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "A glob's sets have no named classes; write [a-z], or \\[ for the character itself");
	if ((code = take_escaped(&range->from, c, err)) != WR_OK)
		return code;
	range->to = range->from;
	/* A - before the end is one of the set. */
	if (c->rest.len < 2 || c->rest.ptr[0] != '-' || c->rest.ptr[1] == ']')
		return WR_OK;
	c->rest = wr_str_skip(c->rest, 1);
	if ((code = take_escaped(&range->to, c, err)) != WR_OK)
		return code;
	if (range->to < range->from)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A range of a glob's set ends before it begins");
	return WR_OK;
}

/* Behind its "[". A "]" at its beginning is one of the set. */
static enum wr_code take_set(struct compiler *c, struct wr_error *err)
{
	struct step *step = add(c->glob, SET);
	enum wr_code code;

	step->to = (uint16_t)c->glob->n_ranges;
	if (c->rest.len && (c->rest.ptr[0] == '!' || c->rest.ptr[0] == '^')) {
		step->negated = true;
		c->rest = wr_str_skip(c->rest, 1);
	}
	do {
		if (c->rest.len == 0)
			return unended_set(err);
		if ((code = take_range(c, err)) != WR_OK)
			return code;
	} while (c->rest.len && c->rest.ptr[0] != ']');
	if (c->rest.len == 0)
		return unended_set(err);
	c->rest = wr_str_skip(c->rest, 1);
	step->upto = (uint16_t)c->glob->n_ranges;
	return WR_OK;
}

/* Behind its first "*". */
static void take_stars(struct compiler *c)
{
	bool two = false;

	while (c->rest.len && c->rest.ptr[0] == '*') {
		two = true;
		c->rest = wr_str_skip(c->rest, 1);
	}
	if (two && c->rest.len && c->rest.ptr[0] == '/')
		add(c->glob, DIRS);
	add(c->glob, two ? MANY_ALL : MANY);
}

static enum wr_code open_brace(struct compiler *c, struct wr_error *err)
{
	if (c->depth == DEPTH_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A glob's braces are nested more than %d deep", DEPTH_MAX);
	c->braces[c->depth++] = (struct brace){c->glob->n_steps, SIZE_MAX};
	add(c->glob, FORK);
	return WR_OK;
}

static void next_alternative(struct compiler *c)
{
	struct brace *brace = &c->braces[c->depth - 1];
	size_t go = c->glob->n_steps;

	add(c->glob, GO)->to = brace->last == SIZE_MAX ? 0 : (uint16_t)brace->last;
	brace->last = go;
	c->glob->steps[brace->fork].to = (uint16_t)c->glob->n_steps;
	brace->fork = c->glob->n_steps;
	add(c->glob, FORK);
}

static void close_brace(struct compiler *c)
{
	struct step *steps = c->glob->steps;
	const struct brace *brace = &c->braces[--c->depth];
	size_t end = c->glob->n_steps;

	/* The last alternative has no other one. */
	steps[brace->fork].op = GO;
	steps[brace->fork].to = (uint16_t)(brace->fork + 1);
	/* 0 ends the chain: before each GO there is a FORK. */
	for (size_t go = brace->last, before; go != SIZE_MAX; go = before) {
		before = steps[go].to ? steps[go].to : SIZE_MAX;
		steps[go].to = (uint16_t)end;
	}
}

static enum wr_code take_one(struct compiler *c, struct wr_error *err)
{
	char special = c->rest.ptr[0] ? c->rest.ptr[0] : 'x';
	struct wr_str at = c->rest;
	uint32_t ch;
	enum wr_code code;

	if (strchr("*?[{", special) || (c->depth && strchr(",}", special))) {
		c->plain = false;
		c->rest = wr_str_skip(c->rest, 1);
	}
	if (special == '*') {
		take_stars(c);
		return WR_OK;
	}
	if (special == '?') {
		add(c->glob, ANY);
		return WR_OK;
	}
	if (special == '[')
		return take_set(c, err);
	if (special == '{')
		return open_brace(c, err);
	if (c->depth && special == ',') {
		next_alternative(c);
		return WR_OK;
	}
	if (c->depth && special == '}') {
		close_brace(c);
		return WR_OK;
	}
	if ((code = take_escaped(&ch, c, err)) != WR_OK)
		return code;
	add(c->glob, CHAR)->c = ch;
	if (c->plain && ch < NO_UTF8) {
		size_t skip = special == '\\', len = (size_t)(c->rest.ptr - at.ptr) - skip;

		memcpy(c->glob->prefix + c->glob->prefix_len, at.ptr + skip, len);
		c->glob->prefix_len += len;
		c->glob->prefix_steps++;
	} else {
		c->plain = false;
	}
	return WR_OK;
}

enum wr_code wr_glob_new(struct wr_glob **out, struct wr_str text, struct wr_error *err)
{
	WR_AUTO(wr_glob) *glob = NULL;
	struct compiler c = {.rest = text, .plain = true};
	enum wr_code code;

	if (text.len == 0 || text.len > WR_GLOB_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A glob has 1 to %d bytes", WR_GLOB_MAX);
	if (!(c.glob = glob = calloc(1, sizeof *glob)) ||
	    !(glob->steps = calloc(2 * text.len + 1, sizeof *glob->steps)) ||
	    !(glob->ranges = calloc(text.len, sizeof *glob->ranges)) || !(glob->prefix = malloc(text.len)))
		return wr_fail_nomem(err);
	glob->slash = memchr(text.ptr, '/', text.len) != NULL;
	while (c.rest.len)
		if ((code = take_one(&c, err)) != WR_OK)
			return code;
	if (c.depth)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A { of a glob has no }; write \\{ for the character itself");
	add(glob, MATCH);
	*out = WR_STEAL(glob);
	return WR_OK;
}

void wr_glob_free(struct wr_glob *glob)
{
	if (!glob)
		return;
	free(glob->steps);
	free(glob->ranges);
	free(glob->prefix);
	free(glob);
}

/* ---- matching ---- */

struct steps {
	uint16_t at[STEPS_MAX];
	size_t n;
};

struct match {
	const struct wr_glob *glob;
	struct steps now, next;
	uint64_t seen[(STEPS_MAX + 63) / 64]; /* those of next */
	bool segment;			      /* a segment of the path begins here */
};

static void push(struct match *m, size_t step)
{
	uint64_t bit = (uint64_t)1 << (step % 64);

	if (m->seen[step / 64] & bit)
		return;
	m->seen[step / 64] |= bit;
	m->next.at[m->next.n++] = (uint16_t)step;
}

/* With all that steps lead on to: the list grows while it is read. */
static void follow(struct match *m)
{
	for (size_t i = 0; i < m->next.n; i++) {
		size_t at = m->next.at[i];
		const struct step *step = &m->glob->steps[at];

		if (step->op == MANY || step->op == MANY_ALL || step->op == DIRS || step->op == FORK)
			push(m, at + 1);
		if (step->op == FORK || step->op == GO)
			push(m, step->to);
		if (step->op == DIRS && m->segment)
			push(m, at + 3);
	}
}

static bool in_set(const struct wr_glob *glob, const struct step *step, uint32_t c)
{
	bool in = false;

	for (size_t i = step->to; i < step->upto && !in; i++)
		in = c >= glob->ranges[i].from && c <= glob->ranges[i].to;
	return c != '/' && in != step->negated;
}

static void take(struct match *m, size_t at, uint32_t c)
{
	const struct step *step = &m->glob->steps[at];

	if (step->op == MANY_ALL || (step->op == MANY && c != '/'))
		push(m, at);
	else if ((step->op == CHAR && c == step->c) || (step->op == ANY && c != '/') ||
		 (step->op == SET && in_set(m->glob, step, c)))
		push(m, at + 1);
}

static void begin(struct match *m)
{
	m->now.n = m->next.n;
	memcpy(m->now.at, m->next.at, m->next.n * sizeof *m->next.at);
	for (size_t i = 0; i < m->next.n; i++)
		m->seen[m->next.at[i] / 64] = 0;
	m->next.n = 0;
}

bool wr_glob_whole(const struct wr_glob *glob, struct wr_str text)
{
	struct match m;

	if (!wr_str_starts(text, wr_str_n(glob->prefix, glob->prefix_len)))
		return false;
	if (glob->prefix_steps + 1 == glob->n_steps)
		return text.len == glob->prefix_len;
	m.glob = glob;
	m.next.n = 0;
	memset(m.seen, 0, (glob->n_steps + 63) / 64 * sizeof *m.seen);
	m.segment = glob->prefix_len == 0 || glob->prefix[glob->prefix_len - 1] == '/';
	text = wr_str_skip(text, glob->prefix_len);
	push(&m, glob->prefix_steps);
	follow(&m);
	while (text.len && m.next.n) {
		uint32_t c;

		text = wr_str_skip(text, next_char(&c, text));
		m.segment = c == '/';
		begin(&m);
		for (size_t i = 0; i < m.now.n; i++)
			take(&m, m.now.at[i], c);
		follow(&m);
	}
	/* MATCH takes no character, so it is there only at the end of the text. */
	return text.len == 0 && m.next.n && (m.seen[(glob->n_steps - 1) / 64] >> (glob->n_steps - 1) % 64 & 1);
}

bool wr_glob_path(const struct wr_glob *glob, struct wr_str path)
{
	const char *slash = glob->slash || path.len == 0 ? NULL : memrchr(path.ptr, '/', path.len);

	return wr_glob_whole(glob, slash ? wr_str_skip(path, (size_t)(slash - path.ptr) + 1) : path);
}
