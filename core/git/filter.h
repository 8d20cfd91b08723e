/*
 * core/git/filter.h: what a partial clone leaves out.
 * Formats: "git rev-list --filter" (git's documentation of rev-list options); gitprotocol-pack ("filter-request");
 *          gitprotocol-v2 ("filter"). blob:none, blob:limit=<n>[kmg], tree:<depth>, object:type=<type>, and
 *          combine:<filter>+<filter>..., each part percent-encoded; combined ones may nest.
 * Every filter is one conjunction, so whatever was combined becomes the strictest limit of each kind.
 * Ownership and threads: a value.
 * Errors:    WR_E_INVALID_REQUEST with a sentence: unknown or malformed, more than WR_FILTER_PARTS parts, and sparse:oid and
 *            sparse:path, which would let a client spend this server's time on patterns.
 */
#ifndef WR_FILTER_H
#define WR_FILTER_H

#include "core/base/error.h"
#include "core/git/oid.h"

#define WR_FILTER_PARTS 32

struct wr_filter {
	uint64_t blob_limit; /* blobs of so many bytes or more stay out */
	uint64_t tree_depth; /* trees and blobs so deep below a commit's own tree (0) or deeper stay out */
	unsigned types;	     /* bits 1 << enum wr_type: objects of all others stay out, but their references are followed */
};
#define WR_FILTER_ALL_TYPES (1u << WR_COMMIT | 1u << WR_TREE | 1u << WR_BLOB | 1u << WR_TAG)
/* Leaves nothing out. */
#define WR_FILTER_INIT {UINT64_MAX, UINT64_MAX, WR_FILTER_ALL_TYPES}

static inline bool wr_filter_is_all(const struct wr_filter *f)
{
	return f->blob_limit == UINT64_MAX && f->tree_depth == UINT64_MAX && f->types == WR_FILTER_ALL_TYPES;
}

WR_MUST_CHECK enum wr_code wr_filter_parse(struct wr_filter *out, struct wr_str spec, struct wr_error *err);

#endif
