#include "core/git/gitconfig.h"

#include "core/base/buf.h"

struct reader {
	struct wr_str s;
	size_t pos;
	bool ended;		  /* a line end was made up behind the last byte */
	struct wr_buf section;	  /* what stands between brackets, a dot in front of what is in quotes there */
	struct wr_buf key, value; /* of one entry */
	bool has_value;
	bool first;
	bool (*entry)(void *arg, const struct wr_gitconfig_entry *e);
	void *arg;
};

/* A byte, or "\r\n" as one line end. */
static int next_char(struct reader *r)
{
	unsigned char c;

	if (r->pos == r->s.len) {
		r->ended = true;
		return '\n';
	}
	c = (unsigned char)r->s.ptr[r->pos++];
	if (c == '\r' && r->pos < r->s.len && r->s.ptr[r->pos] == '\n')
		c = (unsigned char)r->s.ptr[r->pos++];
	return c;
}

static bool is_space(int c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_letter(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_key_char(int c)
{
	return is_letter(c) || (c >= '0' && c <= '9') || c == '-';
}

static char lower(int c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* The rest of [section "subsection"]; c is the space behind the section. */
static bool read_subsection(struct reader *r, int c)
{
	while (is_space(c)) {
		if (c == '\n')
			return false;
		c = next_char(r);
	}
	if (c != '"')
		return false;
	wr_buf_addc(&r->section, '.');
	while ((c = next_char(r)) != '"') {
		if (c == '\n' || (c == '\\' && (c = next_char(r)) == '\n'))
			return false;
		wr_buf_addc(&r->section, (char)c);
	}
	return next_char(r) == ']';
}

/* Behind "[". */
static bool read_section(struct reader *r)
{
	wr_buf_clear(&r->section);
	r->first = true;
	for (;;) {
		int c = next_char(r);

		if (r->ended)
			return false;
		if (c == ']')
			return r->section.len > 0;
		if (is_space(c))
			return read_subsection(r, c);
		if (!is_key_char(c) && c != '.')
			return false;
		wr_buf_addc(&r->section, lower(c));
	}
}

/* A backslash and what follows it. */
static bool read_escape(struct reader *r)
{
	int c = next_char(r);

	switch (c) {
	case '\n':
		return true;
	case 't':
		c = '\t';
		break;
	case 'b':
		c = '\b';
		break;
	case 'n':
		c = '\n';
		break;
	case '\\':
	case '"':
		break;
	default:
		return false;
	}
	wr_buf_addc(&r->value, (char)c);
	return true;
}

/* Behind "=", to the end of the line, or of the lines that backslashes join. */
static bool read_value(struct reader *r)
{
	bool quoted = false, comment = false;
	size_t spaces = 0;

	for (;;) {
		int c = next_char(r);

		if (c == '\n')
			return !quoted;
		if (comment)
			continue;
		if (is_space(c) && !quoted) {
			spaces += r->value.len > 0;
			continue;
		}
		if (!quoted && (c == ';' || c == '#')) {
			comment = true;
			continue;
		}
		for (; spaces > 0; spaces--)
			wr_buf_addc(&r->value, ' ');
		if (c == '"')
			quoted = !quoted;
		else if (c != '\\')
			wr_buf_addc(&r->value, (char)c);
		else if (!read_escape(r))
			return false;
	}
}

/* "key", "key = value"; c is its first letter. */
static bool read_entry(struct reader *r, int c)
{
	wr_buf_clear(&r->key);
	wr_buf_clear(&r->value);
	do {
		wr_buf_addc(&r->key, lower(c));
		c = next_char(r);
	} while (!r->ended && is_key_char(c));
	while (c == ' ' || c == '\t')
		c = next_char(r);
	r->has_value = c == '=';
	return c == '\n' || (r->has_value && read_value(r));
}

static bool told(struct reader *r)
{
	struct wr_gitconfig_entry e = {.section = wr_buf_str(&r->section),
				       .key = wr_buf_str(&r->key),
				       .value = wr_buf_str(&r->value),
				       .has_value = r->has_value,
				       .first = r->first};

	r->first = false;
	return r->entry(r->arg, &e);
}

static bool in_memory(const struct reader *r)
{
	return wr_buf_ok(&r->section) && wr_buf_ok(&r->key) && wr_buf_ok(&r->value);
}

/* Whether all of it was read. */
static bool read_all(struct reader *r)
{
	bool comment = false;

	while (in_memory(r)) {
		int c = next_char(r);

		if (c == '\n' && r->ended)
			return true;
		if (c == '\n')
			comment = false;
		if (comment || is_space(c))
			continue;
		if (c == '#' || c == ';')
			comment = true;
		else if (c == '[' ? !read_section(r) : !is_letter(c) || !read_entry(r, c) || told(r))
			return false;
	}
	return false;
}

enum wr_code wr_gitconfig_read(bool *whole, struct wr_str bytes,
			       bool (*entry)(void *arg, const struct wr_gitconfig_entry *e), void *arg,
			       struct wr_error *err)
{
	struct reader r = {.s = bytes,
			   .section = WR_BUF_INIT(bytes.len + 1),
			   .key = WR_BUF_INIT(bytes.len + 1),
			   .value = WR_BUF_INIT(bytes.len + 1),
			   .entry = entry,
			   .arg = arg};
	bool ok;

	if (wr_str_starts(bytes, WR_S("\xef\xbb\xbf"))) /* Windows editors write this mark */
		r.pos = 3;
	*whole = read_all(&r);
	ok = in_memory(&r);
	wr_buf_fini(&r.section);
	wr_buf_fini(&r.key);
	wr_buf_fini(&r.value);
	return ok ? WR_OK : wr_fail_nomem(err);
}
