/*
 * core/git/filename.h: names in trees that some file system takes for one of git's own files. NTFS knows no dots and
 * spaces at the end of a name, cuts what follows a colon, takes a backslash for a slash, and gives long names a short
 * one ("git~1"); HFS+ compares names without some characters; both ignore case. The rules are those of git's fsck,
 * whatever system this server runs on: trees are checked out elsewhere.
 * Threads: values, no state.
 */
#ifndef WR_FILENAME_H
#define WR_FILENAME_H

#include "core/base/str.h"

/* Whether the name, or a part of it behind a backslash, stands for ".git". */
bool wr_filename_dotgit(struct wr_str name);
/* The same for ".gitmodules", and for ".gitattributes" (for which git does not look behind backslashes). */
bool wr_filename_modules(struct wr_str name);
bool wr_filename_attributes(struct wr_str name);

/* Whether no tree may have an entry of this name: "", ".", "..", one with a slash, or what stands for ".git". */
bool wr_filename_bad(struct wr_str name);

/*
 * false for nearly all names: only where it is true can one of the functions above say yes. One look at each byte, for
 * those who check millions of names.
 */
bool wr_filename_odd(struct wr_str name);

#endif
