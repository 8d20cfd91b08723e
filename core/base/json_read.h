/*
 * core/base/json_read.h: a client's JSON as values, within bounds that are known before the first value is made.
 * Jansson needs up to a hundred times the memory of a text like "[[],[],...", three copies of a long string, and stack
 * for what is deep. So the text is looked over first, which tells how deep it is and what its values will cost at most;
 * and the long ones of {"files": [{"content": "..."}]}, a commit's, stay in the text: Jansson gets a mark in their place,
 * which nobody can guess, and they are unescaped where they stand. The name of the list does not count.
 *
 *	wr_json_look(&look, text, err); ... room for look.cost ...; wr_json_read(&value, &look, err); wr_json_look_fini(&look)
 *	wr_json_content(&look, the string value of such a "content"): what it stands for
 *
 * Ownership: the look is the caller's. The text is borrowed until then, and changed by wr_json_read() where look.kept is
 *            not 0; what wr_json_content() gives stands in it, or in the value.
 * Threads:   values, no state.
 * Errors:    WR_E_INVALID_REQUEST with line and column; WR_E_UNAVAILABLE without memory.
 */
#ifndef WR_JSON_READ_H
#define WR_JSON_READ_H

#include "core/base/error.h"

#define WR_JSON_DEPTH 100
#define WR_JSON_LONG ((size_t)1024) /* bytes of a string that stays in the text */
#define WR_JSON_MARK 33		    /* random characters, then ":" and the string's number */

struct wr_json_look {
	char *text;
	size_t len;
	uint64_t cost; /* bytes of memory for the values, at most */
	struct wr_str *longs; /* as they stand in the text; after wr_json_read() what they mean */
	size_t kept, cap;
	char mark[WR_JSON_MARK + 1];
};
void wr_json_look_fini(struct wr_json_look *look);
WR_DEFINE_AUTO_S(wr_json_look);

/* Only nesting is refused here: deeper than WR_JSON_DEPTH. */
WR_MUST_CHECK enum wr_code wr_json_look(struct wr_json_look *out, char *text, size_t len, struct wr_error *err);
/* NUL characters may be in strings. */
WR_MUST_CHECK enum wr_code wr_json_read(json_t **out, struct wr_json_look *look, struct wr_error *err);

struct wr_str wr_json_content(const struct wr_json_look *look, struct wr_str value);

#endif
