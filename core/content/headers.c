#include "core/content/headers.h"

#include <string.h>

/* Seconds; beyond them no calendar goes. */
#define SECONDS_MAX 1000000000000

/* The value of the first header with this key; false where there is none before the empty line. */
static bool find_header(struct wr_str *out, struct wr_str bytes, struct wr_str key)
{
	while (bytes.len > 0 && bytes.ptr[0] != '\n') {
		const char *end = memchr(bytes.ptr, '\n', bytes.len);
		size_t len = end ? (size_t)(end - bytes.ptr) : bytes.len;
		struct wr_str line = wr_str_n(bytes.ptr, len);

		if (wr_str_starts(line, key) && len > key.len && line.ptr[key.len] == ' ') {
			*out = wr_str_skip(line, key.len + 1);
			return true;
		}
		bytes = wr_str_skip(bytes, end ? len + 1 : len);
	}
	*out = WR_S("");
	return false;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct wr_str trim(struct wr_str s)
{
	while (s.len > 0 && is_space(s.ptr[0]))
		s = wr_str_skip(s, 1);
	while (s.len > 0 && is_space(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

/* A number at the front, and what follows it. */
static int64_t read_number(struct wr_str *s)
{
	int64_t n = 0;

	for (; s->len > 0 && s->ptr[0] >= '0' && s->ptr[0] <= '9'; *s = wr_str_skip(*s, 1))
		if (n < SECONDS_MAX)
			n = n * 10 + (s->ptr[0] - '0');
	return n < SECONDS_MAX ? n : SECONDS_MAX;
}

/* "Name <mail> 1700000000 +0100". As for git the mail ends at the first ">", and the time stands behind the last. */
static void read_person(struct wr_person *out, struct wr_str s)
{
	const char *open = s.len ? memchr(s.ptr, '<', s.len) : NULL, *close = s.len ? memrchr(s.ptr, '>', s.len) : NULL;
	const char *mail_end = open ? memchr(open, '>', s.len - (size_t)(open - s.ptr)) : NULL;
	struct wr_str rest;
	int sign;

	*out = (struct wr_person){.name = WR_S(""), .mail = WR_S("")};
	if (!mail_end) {
		out->name = trim(s);
		return;
	}
	out->name = trim(wr_str_n(s.ptr, (size_t)(open - s.ptr)));
	out->mail = wr_str_n(open + 1, (size_t)(mail_end - open - 1));
	rest = trim(wr_str_skip(s, (size_t)(close + 1 - s.ptr)));
	sign = rest.len > 0 && rest.ptr[0] == '-' ? -1 : 1;
	if (sign < 0)
		rest = wr_str_skip(rest, 1);
	out->when_ms = sign * read_number(&rest) * 1000;
	rest = trim(rest);
	if (rest.len == 5 && (rest.ptr[0] == '+' || rest.ptr[0] == '-')) {
		sign = rest.ptr[0] == '-' ? -1 : 1;
		rest = wr_str_skip(rest, 1);
		out->zone = (int)read_number(&rest);
		out->zone = sign * (out->zone / 100 * 60 + out->zone % 100);
	}
}

static struct wr_str message_of(struct wr_str bytes)
{
	const char *gap = bytes.len ? memmem(bytes.ptr, bytes.len, "\n\n", 2) : NULL;

	return gap ? wr_str_skip(bytes, (size_t)(gap - bytes.ptr) + 2) : WR_S("");
}

void wr_commit_texts(struct wr_commit_texts *out, struct wr_str bytes)
{
	struct wr_str line;

	find_header(&line, bytes, WR_S("author"));
	read_person(&out->author, line);
	find_header(&line, bytes, WR_S("committer"));
	read_person(&out->committer, line);
	out->message = message_of(bytes);
}

void wr_tag_texts(struct wr_tag_texts *out, struct wr_str bytes)
{
	struct wr_str line;

	find_header(&out->name, bytes, WR_S("tag"));
	out->has_tagger = find_header(&line, bytes, WR_S("tagger"));
	read_person(&out->tagger, line);
	out->message = message_of(bytes);
}
