/*
 * core/content/rev.h: revisions as callers write them, resolved by us: no reflogs, no dates, no searches in messages.
 *
 *	rev    = base *( "~" [n] / "^" [n] )
 *	base   = "HEAD" / full ref name / 40 digits / branch / tag / 4 to 39 digits
 *
 * The first of these that exists counts, in this order. 40 digits are an id first, so that nobody who may create a
 * branch takes over an id that others have pinned; otherwise branches come before tags, and names before abbreviations.
 * "~n": n times the first parent; "^n": the n-th parent; n is 1 where it is missing; "^0" and "~0" the commit itself.
 * Threads, blocking: as view.h.
 * Errors: WR_E_INVALID_REVISION (field revision: the text can be no revision, or does not lead to what is asked for),
 *         WR_E_AMBIGUOUS (rev), WR_E_REFERENCE_NOT_FOUND (reference), and those of view.h.
 */
#ifndef WR_REV_H
#define WR_REV_H

#include "core/content/view.h"

/* What rev names (empty: HEAD), annotated tags followed to their end. */
WR_MUST_CHECK enum wr_code wr_rev(struct wr_oid *out, enum wr_type *type, struct wr_view *v, struct wr_str rev,
				  struct wr_error *err);
/* The same where it has to be a commit. */
WR_MUST_CHECK enum wr_code wr_rev_commit(struct wr_oid *out, struct wr_view *v, struct wr_str rev, struct wr_error *err);
/* The same where it has to have a tree: a commit's, or one that a tag names. */
WR_MUST_CHECK enum wr_code wr_rev_tree(struct wr_oid *out, struct wr_view *v, struct wr_str rev, struct wr_error *err);

/* The same, with the commit's time (seconds); of a tree that no commit has, 0. */
WR_MUST_CHECK enum wr_code wr_rev_tree_time(struct wr_oid *out, int64_t *when, struct wr_view *v, struct wr_str rev,
					    struct wr_error *err);

/*
 * An object of this type by its id, full or abbreviated: other objects with the same digits do not count.
 * Errors: WR_E_INVALID_OBJECT_ID (field hash), WR_E_AMBIGUOUS (rev), or absent, without a field.
 */
WR_MUST_CHECK enum wr_code wr_rev_id(struct wr_oid *out, struct wr_view *v, struct wr_str digits, enum wr_type type,
				     enum wr_code absent, struct wr_error *err);

#endif
