/*
 * server/api/git_json.h: git's objects as the reference's JSON.
 * Ownership: new references, NULL without memory; the buffer is the caller's.
 * Threads:   values, no state.
 * Errors:    the buffer's own, which stick.
 * Bytes that are no UTF-8 become U+FFFD; names and paths then also carry theirs in base64 (<key>Base64).
 */
#ifndef WR_GIT_JSON_H
#define WR_GIT_JSON_H

#include "core/content/headers.h"
#include "core/git/parse.h"
#include "server/api/api.h"

/* {"sha": ...} */
json_t *wr_sha_json(const struct wr_oid *oid);
/* bytes: of the object. Headers that cannot be read are empty strings, and the year 1970. */
void wr_commit_json(struct wr_buf *out, const struct wr_oid *oid, struct wr_str bytes);
/* name: the short one; bytes: of the tag object. */
json_t *wr_tag_json(struct wr_str name, const struct wr_oid *oid, struct wr_str bytes);
/* A lightweight one. */
json_t *wr_light_tag_json(struct wr_str name, const struct wr_oid *target);
/* Adds key, and <key>Base64 where the text is no UTF-8. False without memory. */
bool wr_json_set_bytes(json_t *object, const char *key, struct wr_str text);
bool wr_json_set_bytes_as(json_t *object, const char *key, const char *base64_key, struct wr_str text);

#endif
