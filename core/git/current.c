#include "core/git/current.h"

#include <xxhash.h>

#include "core/base/file.h"

#define MAX_TEXT 256

static int put(char out[MAX_TEXT], const struct wr_current *c)
{
	int n = snprintf(out, MAX_TEXT, "warren-current 1\ncheckpoint %llu\njournal %llu\n",
			 (unsigned long long)c->checkpoint, (unsigned long long)c->journal);

	return n + snprintf(out + n, (size_t)(MAX_TEXT - n), "xxh3 %016llx\n",
			    (unsigned long long)XXH3_64bits(out, (size_t)n));
}

/* "<key> <number>\n" from the front. */
static bool number_line(uint64_t *out, struct wr_str *s, struct wr_str key)
{
	const char *nl = s->len ? memchr(s->ptr, '\n', s->len) : NULL;
	struct wr_str line;

	if (!nl || !wr_str_starts(*s, key))
		return false;
	line = wr_str_skip(wr_str_n(s->ptr, (size_t)(nl - s->ptr)), key.len);
	*s = wr_str_skip(*s, (size_t)(nl - s->ptr) + 1);
	return wr_str_u64(line, INT64_MAX, out);
}

/* What is read must be just what would be written: that covers the sum, and every byte there is. */
enum wr_code wr_current_parse(struct wr_current *out, struct wr_str text, struct wr_error *err)
{
	static const char head[] = "warren-current 1\n";
	struct wr_current c = {0, 0};
	struct wr_str rest = text;
	char again[MAX_TEXT];

	if (!wr_str_starts(rest, WR_S(head)))
		return wr_fail(err, WR_E_INTERNAL, "warren/current has an unknown version");
	rest = wr_str_skip(rest, sizeof head - 1);
	if (!number_line(&c.checkpoint, &rest, WR_S("checkpoint ")) ||
	    !number_line(&c.journal, &rest, WR_S("journal ")) ||
	    !wr_str_eq(text, wr_str_n(again, (size_t)put(again, &c))))
		return wr_fail(err, WR_E_INTERNAL, "warren/current is damaged");
	*out = c;
	return WR_OK;
}

enum wr_code wr_current_read(struct wr_current *out, int warren, struct wr_error *err)
{
	WR_AUTO_MEM char *text = NULL;
	enum wr_code code;
	size_t len;

	if ((code = wr_file_read(&text, &len, warren, "current", MAX_TEXT, err)) != WR_OK)
		return code;
	return wr_current_parse(out, wr_str_n(text, len), err);
}

enum wr_code wr_current_put(int warren, const struct wr_current *current, struct wr_error *err)
{
	char text[MAX_TEXT];

	return wr_file_put(warren, "current", wr_str_n(text, (size_t)put(text, current)), err);
}

enum wr_code wr_current_write(int warren, const struct wr_current *current, struct wr_error *err)
{
	char text[MAX_TEXT];

	return wr_file_replace(warren, "current", wr_str_n(text, (size_t)put(text, current)), err);
}
