/*
 * tests/unit/content_fixture.h: what the tests of core/content share, on top of git_fixture.h: views, errors with their
 * fields, and answers of git as lists.
 */
#ifndef WR_TESTS_CONTENT_FIXTURE_H
#define WR_TESTS_CONTENT_FIXTURE_H

#include "core/content/rev.h"
#include "tests/unit/git_fixture.h"

static inline void view_open(struct wr_view *v, struct fx *f, const char *branch, bool stored)
{
	assert_ok(wr_view_open(v, f->repo, wr_str(branch), stored, NULL, &f->err));
}

/* The call failed with this code, and the error has this field with this text. */
static inline void assert_refused(struct fx *f, enum wr_code got, enum wr_code wanted, const char *key,
				  struct wr_str text)
{
	WR_AUTO_MEM char *shown = NULL;
	json_t *value = json_object_get(f->err.fields, key), *expected = wr_json_str(text);

	if (got != wanted || f->err.code != wanted)
		fail_msg("%.*s: code %s instead of %s: %s", (int)text.len, text.ptr, wr_code_wire(got),
			 wr_code_wire(wanted), f->err.text);
	assert_true(wr_error_text(&f->err)[0]);
	if (!json_equal(value, expected)) {
		shown = json_dumps(f->err.fields, JSON_COMPACT);
		fail_msg("field %s of %.*s: %s", key, (int)text.len, text.ptr, shown ? shown : "none");
	}
	json_decref(expected);
	wr_error_fini(&f->err);
	f->err = (struct wr_error)WR_ERROR_INIT;
}

/* The next line of a text, without its end; false behind the last one. */
static inline bool next_line(struct wr_str *line, struct wr_str *rest, char end)
{
	const char *at = rest->len ? memchr(rest->ptr, end, rest->len) : NULL;

	if (!at)
		return false;
	*line = wr_str_n(rest->ptr, (size_t)(at - rest->ptr));
	*rest = wr_str_skip(*rest, line->len + 1);
	return true;
}

/* The word at the front of a line, and what follows it. */
static inline struct wr_str next_word(struct wr_str *line)
{
	const char *at = line->len ? memchr(line->ptr, ' ', line->len) : NULL;
	struct wr_str word = wr_str_n(line->ptr, at ? (size_t)(at - line->ptr) : line->len);

	*line = wr_str_skip(*line, at ? word.len + 1 : word.len);
	return word;
}

static inline void import(struct fx *f, const char *name, const struct wr_buf *text)
{
	assert_true(wr_buf_ok(text));
	write_whole(f, "import", wr_buf_str(text));
	sh(f, "test -d %s || git init -q --bare %s; git -C %s fast-import --quiet --force < import; rm import", name,
	   name, name);
}

#endif
