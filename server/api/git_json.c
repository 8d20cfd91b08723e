#include "server/api/git_json.h"

#include <openssl/evp.h>

#include "core/base/clock.h"
#include "core/base/json.h"

json_t *wr_sha_json(const struct wr_oid *oid)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return json_pack("{s:s}", "sha", hex);
}

static json_t *hex_json(const struct wr_oid *oid)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return json_string(hex);
}

/* What stands before 1970, or after 9999, is shown as the nearest of these. */
static void date_text(char text[WR_TIME_LEN + 1], const struct wr_person *who)
{
	const int64_t last = 253402300799000;

	wr_time_text(text, who->when_ms < 0 ? 0 : who->when_ms > last ? last : who->when_ms);
}

static json_t *person_json(const struct wr_person *who)
{
	char text[WR_TIME_LEN + 1];

	date_text(text, who);
	return json_pack("{s:s, s:o, s:o}", "date", text, "name", wr_json_str(who->name), "email",
			 wr_json_str(who->mail));
}

/* ---- commits: as text, for they are made and listed often ---- */

static void put_person(struct wr_buf *out, const char *key, const struct wr_person *who)
{
	char date[WR_TIME_LEN + 1];

	date_text(date, who);
	wr_json_key(out, key);
	wr_buf_addc(out, '{');
	wr_json_member(out, "date", wr_str(date));
	wr_json_member(out, "name", who->name);
	wr_json_member(out, "email", who->mail);
	wr_buf_addc(out, '}');
}

static void put_hex(struct wr_buf *out, const struct wr_oid *oid)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	wr_json_member(out, "sha", wr_str(hex));
}

static void put_sha(struct wr_buf *out, const struct wr_oid *oid)
{
	wr_buf_addc(out, '{');
	put_hex(out, oid);
	wr_buf_addc(out, '}');
}

void wr_commit_json(struct wr_buf *out, const struct wr_oid *oid, struct wr_str bytes)
{
	WR_AUTO_S(wr_commit) commit = {.parents = NULL};
	struct wr_commit_texts texts;

	if (wr_commit_parse(&commit, bytes, NULL) != WR_OK)
		commit = (struct wr_commit){.parents = NULL};
	wr_commit_texts(&texts, bytes);
	wr_buf_addc(out, '{');
	put_hex(out, oid);
	wr_json_key(out, "tree");
	put_sha(out, &commit.tree);
	wr_json_key(out, "parents");
	wr_buf_addc(out, '[');
	for (size_t i = 0; i < commit.parent_count; i++) {
		wr_json_item(out);
		put_sha(out, &commit.parents[i]);
	}
	wr_buf_addc(out, ']');
	put_person(out, "author", &texts.author);
	put_person(out, "committer", &texts.committer);
	wr_json_member(out, "message", texts.message);
	wr_buf_addc(out, '}');
}

/* ---- the others ---- */

bool wr_json_set_bytes_as(json_t *object, const char *key, const char *base64_key, struct wr_str text)
{
	WR_AUTO_MEM unsigned char *encoded = NULL;

	if (json_object_set_new(object, key, wr_json_str(text)) < 0)
		return false;
	if (wr_str_utf8(text))
		return true;
	encoded = malloc(4 * (text.len / 3 + 1) + 1);
	if (!encoded)
		return false;
	EVP_EncodeBlock(encoded, (const unsigned char *)text.ptr, (int)text.len);
	return json_object_set_new(object, base64_key, json_string((const char *)encoded)) == 0;
}

bool wr_json_set_bytes(json_t *object, const char *key, struct wr_str text)
{
	char name[64];

	snprintf(name, sizeof name, "%sBase64", key);
	return wr_json_set_bytes_as(object, key, name, text);
}

static json_t *named(struct wr_str name, json_t *tag)
{
	WR_AUTO(json_t) *owned = tag;

	return owned && wr_json_set_bytes(owned, "name", name) ? WR_STEAL(owned) : NULL;
}

json_t *wr_tag_json(struct wr_str name, const struct wr_oid *oid, struct wr_str bytes)
{
	struct wr_tag_texts texts;
	struct wr_oid target = {{0}};
	enum wr_type type;

	if (wr_tag_parse(&target, &type, bytes, NULL) != WR_OK)
		target = (struct wr_oid){{0}};
	wr_tag_texts(&texts, bytes);
	return named(name, json_pack("{s:o, s:o, s:o, s:o}", "tagger",
				     texts.has_tagger ? person_json(&texts.tagger) : json_null(), "message",
				     wr_json_str(texts.message), "target", wr_sha_json(&target), "sha", hex_json(oid)));
}

json_t *wr_light_tag_json(struct wr_str name, const struct wr_oid *target)
{
	return named(name, json_pack("{s:n, s:n, s:o, s:o}", "tagger", "message", "target", wr_sha_json(target), "sha",
				     hex_json(target)));
}
