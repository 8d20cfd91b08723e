/*
 * core/base/json.h: JSON as text, written straight into a buffer: for answers that are long, or asked for often. Jansson's
 * values, of which an answer with thousands of rows has tens of thousands, cost ten times as much.
 * Ownership: the buffer is the caller's.
 * Threads:   values, no state.
 * Errors:    the buffer's own, which stick.
 * Braces and brackets are the caller's; commas are put where they belong: before a key or an item that is not the first.
 */
#ifndef WR_JSON_H
#define WR_JSON_H

#include "core/base/buf.h"

/* "key": with the comma before it. key is a literal that needs no escapes. */
void wr_json_key(struct wr_buf *b, const char *key);
/* The comma before an item of a list, where one is due. */
void wr_json_item(struct wr_buf *b);

/* A string. Bytes that are no UTF-8 become U+FFFD, as with wr_json_str(). */
void wr_json_text(struct wr_buf *b, struct wr_str s);
void wr_json_int(struct wr_buf *b, int64_t n);
/* "key":"text" */
void wr_json_member(struct wr_buf *b, const char *key, struct wr_str text);
/* The same, and "keyBase64" with the bytes themselves where they are no UTF-8. */
void wr_json_bytes(struct wr_buf *b, const char *key, struct wr_str bytes);
/* "key":"the bytes in base64" */
void wr_json_base64(struct wr_buf *b, const char *key, struct wr_str bytes);

#endif
