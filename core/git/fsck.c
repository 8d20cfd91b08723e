/* Rules, sentences, and the headers of commits and tags. */
#include "core/git/fsck.h"

#include <stdio.h>

#include "core/git/modules.h"

enum grave { FATAL, REFUSED, INFO };

static const struct {
	const char *spelling, *words;
	enum grave grave;
	bool taken;
} rows[WR_FSCK_COUNT] = {
#define X(name, spelling, grave, taken, words) {spelling, words, grave, taken},
#include "core/git/fsck.def"
#undef X
};
_Static_assert(WR_FSCK_COUNT < 64, "one bit for each id");

const char *wr_fsck_spelling(enum wr_fsck_id id)
{
	return id < WR_FSCK_COUNT ? rows[id].spelling : "";
}

/* ---- rules ---- */

static enum wr_code let_pass(struct wr_fsck_rules *rules, struct wr_str id, struct wr_error *err)
{
	for (size_t i = 0; i < WR_FSCK_COUNT; i++) {
		if (!wr_str_caseeq(id, wr_str(rows[i].spelling)))
			continue;
		if (rows[i].grave == FATAL)
			return wr_fail(err, WR_E_INVALID_REQUEST, "git.fsck_ignore: %s cannot be let pass",
				       rows[i].spelling);
		rules->pass |= UINT64_C(1) << i;
		return WR_OK;
	}
	return wr_fail(err, WR_E_INVALID_REQUEST, "git.fsck_ignore: \"%.*s\" is none of git's message ids",
		       id.len < 100 ? (int)id.len : 100, id.ptr);
}

enum wr_code wr_fsck_rules_parse(struct wr_fsck_rules *out, const char *ignore, struct wr_error *err)
{
	struct wr_fsck_rules rules = {0};
	struct wr_str rest = wr_str(ignore ? ignore : "");
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < WR_FSCK_COUNT; i++)
		if (rows[i].grave == INFO)
			rules.pass |= UINT64_C(1) << i;
	while (rest.len && code == WR_OK) {
		size_t n = strcspn(rest.ptr, ", \t");

		if (n > 0)
			code = let_pass(&rules, wr_str_n(rest.ptr, n), err);
		rest = wr_str_skip(rest, n < rest.len ? n + 1 : n);
	}
	if (code == WR_OK)
		*out = rules;
	return code;
}

struct wr_fsck_rules wr_fsck_rules_taken(const struct wr_fsck_rules *pushed)
{
	struct wr_fsck_rules rules = *pushed;

	for (size_t i = 0; i < WR_FSCK_COUNT; i++)
		if (!rows[i].taken)
			rules.pass |= UINT64_C(1) << i;
	return rules;
}

bool wr_fsck_note(struct wr_fault *fault, const struct wr_fsck_rules *rules, enum wr_fsck_id id)
{
	if (wr_fsck_passes(rules, id))
		return false;
	*fault = (struct wr_fault){.id = id};
	return true;
}

enum wr_code wr_fsck_fail(const struct wr_oid *oid, const struct wr_fault *fault, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_BAD_PACK, "object %s: %s: %s%s%s", hex, rows[fault->id].spelling,
		       rows[fault->id].words, fault->about[0] ? ": " : "", fault->about);
}

/* ---- headers ---- */

/* The byte at i, or a NUL behind the end: git's own objects have one there. */
static char at(struct wr_str s, size_t i)
{
	return i < s.len ? s.ptr[i] : '\0';
}

static bool skip(struct wr_str *s, struct wr_str prefix)
{
	if (!wr_str_starts(*s, prefix))
		return false;
	*s = wr_str_skip(*s, prefix.len);
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The header ends with an empty line, or with the object; it has no NUL. Whether a fault was noted. */
static bool bad_header(struct wr_fault *fault, struct wr_str s, const struct wr_fsck_rules *rules)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '\0')
			return wr_fsck_note(fault, rules, WR_FSCK_NUL_IN_HEADER);
		if (s.ptr[i] == '\n' && at(s, i + 1) == '\n')
			return false;
	}
	return (s.len == 0 || s.ptr[s.len - 1] != '\n') && wr_fsck_note(fault, rules, WR_FSCK_UNTERMINATED_HEADER);
}

/* Up to the first of the two marks, or the end of the line. */
static size_t skip_to_mark(struct wr_str s, size_t i)
{
	while (at(s, i) && at(s, i) != '<' && at(s, i) != '>' && at(s, i) != '\n')
		i++;
	return i;
}

/*
 * A date as strtoumax() reads it: spaces (and line ends) and a sign may come before it, and a negative one is a large
 * one. Where it ends, or i again when there is none; *fits: it is a time that systems know.
 */
static size_t skip_date(bool *fits, struct wr_str s, size_t i)
{
	size_t j = i, digits;
	bool minus, large = false;
	uint64_t n = 0;

	while (is_space(at(s, j)))
		j++;
	minus = at(s, j) == '-';
	if (minus || at(s, j) == '+')
		j++;
	for (digits = j; is_digit(at(s, j)); j++) {
		unsigned digit = (unsigned)(at(s, j) - '0');

		large = large || n > (UINT64_MAX - digit) / 10;
		n = large ? 0 : n * 10 + digit;
	}
	*fits = !large && (minus ? 0 - n : n) <= INT64_MAX;
	return j == digits ? i : j;
}

/* "Name <mail> 1700000000 +0100\n" */
static enum wr_fsck_id ident_fault(struct wr_str s)
{
	size_t i, end;
	bool fits;

	if (at(s, 0) == '<')
		return WR_FSCK_MISSING_NAME_BEFORE_EMAIL;
	i = skip_to_mark(s, 0);
	if (at(s, i) == '>')
		return WR_FSCK_BAD_NAME;
	if (at(s, i) != '<')
		return WR_FSCK_MISSING_EMAIL;
	if (s.ptr[i - 1] != ' ')
		return WR_FSCK_MISSING_SPACE_BEFORE_EMAIL;
	i = skip_to_mark(s, i + 1);
	if (at(s, i) != '>')
		return WR_FSCK_BAD_EMAIL;
	if (at(s, ++i) != ' ')
		return WR_FSCK_MISSING_SPACE_BEFORE_DATE;
	i++;
	if (at(s, i) == '0' && at(s, i + 1) != ' ')
		return WR_FSCK_ZERO_PADDED_DATE;
	end = skip_date(&fits, s, i);
	if (!fits)
		return WR_FSCK_BAD_DATE_OVERFLOW;
	if (end == i || at(s, end) != ' ')
		return WR_FSCK_BAD_DATE;
	i = end + 1;
	if ((at(s, i) != '+' && at(s, i) != '-') || !is_digit(at(s, i + 1)) || !is_digit(at(s, i + 2)) ||
	    !is_digit(at(s, i + 3)) || !is_digit(at(s, i + 4)) || at(s, i + 5) != '\n')
		return WR_FSCK_BAD_TIMEZONE;
	return WR_FSCK_SOUND;
}

/* Looks at the line that *s begins with, and goes on to the next one. Whether a fault was noted. */
static bool bad_ident(struct wr_fault *fault, struct wr_str *s, const struct wr_fsck_rules *rules)
{
	enum wr_fsck_id id = ident_fault(*s);
	const char *end = s->len ? memchr(s->ptr, '\n', s->len) : NULL;

	*s = wr_str_skip(*s, end ? (size_t)(end + 1 - s->ptr) : s->len);
	return id != WR_FSCK_SOUND && wr_fsck_note(fault, rules, id);
}

/* "<40 hex>\n"; *s goes on behind it. */
static bool skip_id(struct wr_str *s)
{
	struct wr_oid oid;

	if (s->len <= WR_OID_HEX || s->ptr[WR_OID_HEX] != '\n' || !wr_oid_parse(&oid, wr_str_n(s->ptr, WR_OID_HEX)))
		return false;
	*s = wr_str_skip(*s, WR_OID_HEX + 1);
	return true;
}

void wr_fsck_commit(struct wr_fault *out, struct wr_str bytes, const struct wr_fsck_rules *rules)
{
	struct wr_str s = bytes;
	size_t authors = 0;

	*out = (struct wr_fault){.id = WR_FSCK_SOUND};
	if (bad_header(out, s, rules))
		return;
	/* Where ids are missing and that may pass, nothing that follows is looked at: no reader takes such a commit. */
	if (!skip(&s, WR_S("tree "))) {
		wr_fsck_note(out, rules, WR_FSCK_MISSING_TREE);
		return;
	}
	if (!skip_id(&s)) {
		wr_fsck_note(out, rules, WR_FSCK_BAD_TREE_SHA1);
		return;
	}
	while (skip(&s, WR_S("parent "))) {
		if (!skip_id(&s)) {
			wr_fsck_note(out, rules, WR_FSCK_BAD_PARENT_SHA1);
			return;
		}
	}
	for (; skip(&s, WR_S("author ")); authors++)
		if (bad_ident(out, &s, rules))
			return;
	if (authors != 1 &&
	    wr_fsck_note(out, rules, authors == 0 ? WR_FSCK_MISSING_AUTHOR : WR_FSCK_MULTIPLE_AUTHORS))
		return;
	if (!skip(&s, WR_S("committer "))) {
		wr_fsck_note(out, rules, WR_FSCK_MISSING_COMMITTER);
		return;
	}
	if (bad_ident(out, &s, rules))
		return;
	if (bytes.len && memchr(bytes.ptr, '\0', bytes.len))
		wr_fsck_note(out, rules, WR_FSCK_NUL_IN_COMMIT);
}

/* The rest of a line; false when it has no end. */
static bool take_line(struct wr_str *line, struct wr_str *s)
{
	const char *end = s->len ? memchr(s->ptr, '\n', s->len) : NULL;

	if (!end)
		return false;
	*line = wr_str_n(s->ptr, (size_t)(end - s->ptr));
	*s = wr_str_skip(*s, line->len + 1);
	return true;
}

static bool names_type(struct wr_str name)
{
	for (enum wr_type t = WR_COMMIT; t <= WR_TAG; t++)
		if (wr_str_eqz(name, wr_type_name(t)))
			return true;
	return false;
}

void wr_fsck_tag(struct wr_fault *out, struct wr_str bytes, const struct wr_fsck_rules *rules)
{
	struct wr_str s = bytes, line;

	*out = (struct wr_fault){.id = WR_FSCK_SOUND};
	if (bad_header(out, s, rules))
		return;
	if (!skip(&s, WR_S("object ")))
		wr_fsck_note(out, rules, WR_FSCK_MISSING_OBJECT);
	else if (!skip_id(&s))
		wr_fsck_note(out, rules, WR_FSCK_BAD_OBJECT_SHA1);
	else if (!skip(&s, WR_S("type ")))
		wr_fsck_note(out, rules, WR_FSCK_MISSING_TYPE_ENTRY);
	else if (!take_line(&line, &s))
		wr_fsck_note(out, rules, WR_FSCK_MISSING_TYPE);
	else if (!names_type(line) && wr_fsck_note(out, rules, WR_FSCK_BAD_TYPE))
		return;
	else if (!skip(&s, WR_S("tag ")))
		wr_fsck_note(out, rules, WR_FSCK_MISSING_TAG_ENTRY);
	else if (!take_line(&line, &s))
		wr_fsck_note(out, rules, WR_FSCK_MISSING_TAG);
	else if (skip(&s, WR_S("tagger ")))
		(void)bad_ident(out, &s, rules);
}

/* ---- blobs ---- */

static bool all_pass(const struct wr_fsck_rules *rules, enum wr_fsck_id from, enum wr_fsck_id to)
{
	for (enum wr_fsck_id id = from; id <= to; id++)
		if (!wr_fsck_passes(rules, id))
			return false;
	return true;
}

/* Of what, the names for which the rules let everything pass. */
static unsigned wanted(unsigned what, const struct wr_fsck_rules *rules)
{
	if (all_pass(rules, WR_FSCK_GITMODULES_MISSING, WR_FSCK_GITMODULES_UPDATE))
		what &= ~(unsigned)WR_FSCK_MODULES;
	if (all_pass(rules, WR_FSCK_GITATTRIBUTES_MISSING, WR_FSCK_GITATTRIBUTES_BLOB))
		what &= ~(unsigned)WR_FSCK_ATTRIBUTES;
	return what;
}

bool wr_fsck_blob_wanted(unsigned what, uint64_t size, const struct wr_fsck_rules *rules)
{
	what = wanted(what, rules);
	return ((what & WR_FSCK_MODULES) && size <= WR_FSCK_MODULES_MAX) ||
	       ((what & WR_FSCK_ATTRIBUTES) && size <= WR_FSCK_ATTRIBUTES_MAX);
}

/* Git's own reader takes lines of less than this. */
#define LINE_MAX_LEN 2048

static bool long_line(struct wr_str s)
{
	size_t len = 0;

	for (size_t i = 0; i < s.len && s.ptr[i]; i++) {
		len = s.ptr[i] == '\n' ? 0 : len + 1;
		if (len >= LINE_MAX_LEN)
			return true;
	}
	return false;
}

enum wr_code wr_fsck_blob(struct wr_fault *out, unsigned what, uint64_t size, struct wr_str bytes,
			  const struct wr_fsck_rules *rules, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	*out = (struct wr_fault){.id = WR_FSCK_SOUND};
	what = wanted(what, rules);
	if (what & WR_FSCK_MODULES) {
		if (size > WR_FSCK_MODULES_MAX)
			wr_fsck_note(out, rules, WR_FSCK_GITMODULES_LARGE);
		else
			code = wr_modules_check(out, bytes, rules, err);
	}
	if (code != WR_OK || out->id != WR_FSCK_SOUND || !(what & WR_FSCK_ATTRIBUTES))
		return code;
	if (size > WR_FSCK_ATTRIBUTES_MAX)
		wr_fsck_note(out, rules, WR_FSCK_GITATTRIBUTES_LARGE);
	else if (long_line(bytes))
		wr_fsck_note(out, rules, WR_FSCK_GITATTRIBUTES_LINE_LENGTH);
	return WR_OK;
}

void wr_fsck_no_blob(struct wr_fault *out, unsigned what, bool missing, const struct wr_fsck_rules *rules)
{
	*out = (struct wr_fault){.id = WR_FSCK_SOUND};
	if ((what & WR_FSCK_MODULES) &&
	    wr_fsck_note(out, rules, missing ? WR_FSCK_GITMODULES_MISSING : WR_FSCK_GITMODULES_BLOB))
		return;
	if (what & WR_FSCK_ATTRIBUTES)
		wr_fsck_note(out, rules, missing ? WR_FSCK_GITATTRIBUTES_MISSING : WR_FSCK_GITATTRIBUTES_BLOB);
}

enum wr_code wr_fsck_special_add(struct wr_oidmap *special, const struct wr_oid *oid, unsigned what,
				 struct wr_error *err)
{
	uint32_t *slot = wr_oidmap_slot(special, oid);

	if (!slot && special->len >= WR_FSCK_SPECIAL_MAX)
		return wr_fail(err, WR_E_TOO_LARGE, "more than %u different .gitmodules and .gitattributes",
			       WR_FSCK_SPECIAL_MAX);
	if (!slot)
		return wr_oidmap_add(special, oid, what, NULL, err);
	*slot = ((*slot - 1) | what) + 1;
	return WR_OK;
}
