/* Commits and tags of any bytes as the fields of an answer: all there, text in UTF-8, and times that a calendar has. */
#include <assert.h>

#include "server/api/git_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	assert(json_is_string(value));
	assert(wr_str_utf8(wr_str_n(json_string_value(value), json_string_length(value))));
}

static void check_person(json_t *who)
{
	const char *date = json_string_value(json_object_get(who, "date"));

	assert(json_object_size(who) == 3);
	check_text(who, "name");
	check_text(who, "email");
	/* 1970-01-01T00:00:00.000Z to 9999 */
	assert(date && strlen(date) >= 20 && date[4] == '-' && date[10] == 'T' && date[strlen(date) - 1] == 'Z');
	assert(strcmp(date, "1970") >= 0);
}

static void check_sha(json_t *value)
{
	assert(json_is_string(value) && json_string_length(value) == WR_OID_HEX);
}

/* A commit is text from the first. */
static json_t *read_commit(const struct wr_oid *oid, struct wr_str bytes)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(SIZE_MAX / 4);

	wr_commit_json(&text, oid, bytes);
	assert(wr_buf_ok(&text));
	return json_loadb(text.ptr, text.len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
}

/* Whatever it is, it can be sent. */
static void check_sent(json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	json_t *again = text ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;

	assert(again && json_equal(again, object));
	json_decref(again);
	free(text);
}

static void fuzz_commit(struct wr_str bytes)
{
	const struct wr_oid oid = {{1}};
	WR_AUTO(json_t) *commit = read_commit(&oid, bytes);
	size_t i;
	json_t *parent;

	assert(commit && json_object_size(commit) == 6);
	check_sha(json_object_get(commit, "sha"));
	check_sha(json_object_get(json_object_get(commit, "tree"), "sha"));
	json_array_foreach (json_object_get(commit, "parents"), i, parent)
		check_sha(json_object_get(parent, "sha"));
	check_person(json_object_get(commit, "author"));
	check_person(json_object_get(commit, "committer"));
	check_text(commit, "message");
	check_sent(commit);
}

static void fuzz_tag(struct wr_str bytes)
{
	const struct wr_oid oid = {{1}};
	struct wr_tag_texts texts;
	WR_AUTO(json_t) *tag = NULL;

	wr_tag_texts(&texts, bytes);
	tag = wr_tag_json(texts.name, &oid, bytes);
	assert(tag);
	check_text(tag, "name");
	assert(!json_object_get(tag, "nameBase64") == wr_str_utf8(texts.name));
	assert(json_is_null(json_object_get(tag, "tagger")) == !texts.has_tagger);
	if (texts.has_tagger)
		check_person(json_object_get(tag, "tagger"));
	check_text(tag, "message");
	check_sha(json_object_get(json_object_get(tag, "target"), "sha"));
	check_sha(json_object_get(tag, "sha"));
	check_sent(tag);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_commit(wr_str_n(data, size));
	fuzz_tag(wr_str_n(data, size));
	return 0;
}
