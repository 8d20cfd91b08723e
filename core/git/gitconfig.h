/*
 * core/git/gitconfig.h: git's configuration files, as git-config(1) describes them and as git reads them, byte for
 * byte: what only one of the two sees is a hole. Included files are not looked at.
 *
 * Ownership: what an entry points to lives as long as the call that tells it.
 * Threads:   values, no state.
 * Errors:    WR_E_UNAVAILABLE without memory: of one entry as much is held as the file has bytes.
 */
#ifndef WR_GITCONFIG_H
#define WR_GITCONFIG_H

#include "core/base/error.h"

/* Bytes, which may hold a NUL; git keeps them as strings of C, which end there. */
struct wr_gitconfig_entry {
	struct wr_str section; /* "remote.origin": the first part in lower case, "" before the first section */
	struct wr_str key;     /* in lower case */
	struct wr_str value;
	bool has_value; /* "key" alone has none, which git takes for true */
	bool first;	/* of its section */
};

/*
 * Tells all entries, to the end, the first byte that cannot be understood, or until entry() returns true. *whole: to
 * the end.
 */
WR_MUST_CHECK enum wr_code wr_gitconfig_read(bool *whole, struct wr_str bytes,
					     bool (*entry)(void *arg, const struct wr_gitconfig_entry *e), void *arg,
					     struct wr_error *err);

#endif
