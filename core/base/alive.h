/*
 * core/base/alive.h: a file that says whether the process which made it lives: locked for as long as it does.
 * What a process wrote down under its file's name is thereby told from what a dead one left, without a word from
 * either, and a process id that came again deceives nobody.
 * Ownership: by value; wr_alive_end() removes the file. The lock is of the open file: a child that was forked meanwhile
 *            and keeps the descriptor keeps it, too.
 * Threads:   begin and end from one, the check from any.
 * Blocks on: disk.
 * Errors:    those of wr_fail_errno(); WR_E_UNAVAILABLE when somebody removes the file again and again.
 */
#ifndef WR_ALIVE_H
#define WR_ALIVE_H

#include <limits.h>

#include "core/base/error.h"

#define WR_ALIVE_NAME 48 /* bytes of a name, with its NUL */

struct wr_alive {
	char name[WR_ALIVE_NAME]; /* <prefix><24 random letters and digits>.lock; "" while there is none */
	char path[PATH_MAX];
	int fd;
};
/* clang-format off */
#define WR_ALIVE_INIT {.fd = -1}
/* clang-format on */

/* Makes folder where it is missing. prefix: at most 16 bytes. */
WR_MUST_CHECK enum wr_code wr_alive_begin(struct wr_alive *alive, const char *folder, const char *prefix,
					  struct wr_error *err);
void wr_alive_end(struct wr_alive *alive);

/* Whether the process with the file of this name lives; true also where that cannot be told. */
bool wr_alive_check(const char *folder, const char *name);

/*
 * Removes the files with this prefix that dead processes left. Whoever finds such a name written down learns the same from
 * a file that is not there, so it may be done at any time; what cannot be removed stays for the next time.
 */
void wr_alive_sweep(const char *folder, const char *prefix);

#endif
