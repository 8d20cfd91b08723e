/*
 * core/content/headers.h: what people wrote into commits and tags: names, times, messages. parse.h reads the references.
 * Ownership: borrowed from the object's bytes.
 * Threads:   values, no state.
 * Errors:    none: old and odd objects have headers of all kinds, and what cannot be read is empty.
 */
#ifndef WR_HEADERS_H
#define WR_HEADERS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/str.h"

struct wr_person {
	struct wr_str name, mail;
	int64_t when_ms; /* to be written: 0 is now */
	int zone;	 /* minutes east of UTC */
};

struct wr_commit_texts {
	struct wr_person author, committer;
	struct wr_str message; /* what follows the first empty line, unchanged */
};
void wr_commit_texts(struct wr_commit_texts *out, struct wr_str bytes);

struct wr_tag_texts {
	struct wr_str name; /* the header's */
	bool has_tagger;
	struct wr_person tagger;
	struct wr_str message;
};
void wr_tag_texts(struct wr_tag_texts *out, struct wr_str bytes);

#endif
