/*
 * core/base/glob.h: globs over branch names and over paths, as the API has them everywhere.
 *   ?  one character but "/"      *  any number of them      **  any number of characters, "/" too
 *   [a-z] [!a-z]  one of a set, never "/"                    {a,b}  one of several, up to eight deep
 *   \x  x itself
 * In a set, "^" is "!", a "]" at its beginning is one of the set, and "\x" is x.
 * A character is one of UTF-8, or a byte that is none. "a/" then "**" then "/b" also matches "a/b", and "**" then "/b"
 * also "b".
 * Ownership: wr_glob_new() gives *out for wr_glob_free(); it keeps nothing of the text.
 * Threads:   a compiled glob is read-only.
 * Blocks on: nothing. Matching takes time in proportion to the length of the glob times that of the text, at most.
 * Errors:    WR_E_INVALID_REQUEST with a sentence (a set or a brace that does not end, too long, too deep);
 *            WR_E_UNAVAILABLE (memory).
 */
#ifndef WR_GLOB_H
#define WR_GLOB_H

#include "core/base/error.h"

#define WR_GLOB_MAX 1024 /* bytes of one glob */

struct wr_glob;
WR_MUST_CHECK enum wr_code wr_glob_new(struct wr_glob **out, struct wr_str text, struct wr_error *err);
void wr_glob_free(struct wr_glob *glob);
WR_DEFINE_AUTO(wr_glob);

/* The whole text: for branch names. */
bool wr_glob_whole(const struct wr_glob *glob, struct wr_str text);
/* A path: a glob without "/" is tried on the last segment, one with "/" on the whole path. */
bool wr_glob_path(const struct wr_glob *glob, struct wr_str path);

#endif
