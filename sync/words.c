#include "sync/advert.h"

/* So that our own words in front of them, and the end, fit into an error's text. */
#define WORDS_MAX 200

static bool contains(const char *text, const char *const *any)
{
	for (; *any; any++)
		if (strcasestr(text, *any))
			return true;
	return false;
}

enum wr_code wr_remote_said(struct wr_str words, struct wr_error *err)
{
	static const char *const absent[] = {"repository not found",	    "not a git repository", "not exported",
					     "does not appear to be a git", "does not exist",	    NULL};
	static const char ours[] = "not our ref ";
	char text[WORDS_MAX + 1];
	struct wr_oid oid;
	const char *id;
	size_t n = 0;

	for (size_t i = 0; i < words.len && n < WORDS_MAX; i++)
		text[n++] = words.ptr[i] >= ' ' && words.ptr[i] <= '~' ? words.ptr[i] : ' ';
	while (n && text[n - 1] == ' ')
		n--;
	text[n] = '\0';
	id = strstr(text, ours);
	if (id && wr_oid_parse(&oid, wr_str(id + strlen(ours)))) {
		(void)wr_fail(err, WR_E_INVALID_REVISION,
			      "The other server has no such object, or gives only what its refs have");
		if (err)
			wr_error_field(err, "revision", wr_str(id + strlen(ours)));
		return WR_E_INVALID_REVISION;
	}
	if (contains(text, absent))
		return wr_fail(err, WR_E_SOURCE_NOT_FOUND, "%s", wr_code_text(WR_E_SOURCE_NOT_FOUND));
	return wr_fail(err, WR_E_INVALID_REQUEST, WR_REMOTE_SAYS "%s", n ? text : "nothing of use");
}

enum wr_code wr_remote_root(struct wr_oids *roots, struct wr_str hex, struct wr_error *err)
{
	struct wr_oid oid;

	if (!wr_oid_parse(&oid, hex))
		return wr_fail(err, WR_E_INVALID_REQUEST, "The other server sent a line shallow without an id");
	if (roots->len >= WR_REMOTE_REFS_MAX)
		return wr_fail(err, WR_E_TOO_LARGE, "The other repository ends in more than %d places",
			       WR_REMOTE_REFS_MAX);
	return wr_oids_add(roots, &oid, err);
}
