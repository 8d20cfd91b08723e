/*
 * core/git/modules.h: what a .gitmodules asks of those who check it out, as far as git's fsck forbids it. The format
 * is that of git-config(1): this parser reads what git reads, byte for byte, because what only one of the two sees is
 * a hole. A file that stops being readable is no fault; what comes before that was looked at.
 * Threads:   values, no state.
 * Errors:    WR_E_UNAVAILABLE without memory: of a value as much is held as the file has bytes.
 */
#ifndef WR_MODULES_H
#define WR_MODULES_H

#include "core/git/fsck.h"

WR_MUST_CHECK enum wr_code wr_modules_check(struct wr_fault *out, struct wr_str bytes,
					    const struct wr_fsck_rules *rules, struct wr_error *err);

/* Names of submodules become folders below .git/modules, and URLs arguments of programs, also of old ones. */
bool wr_module_name_ok(struct wr_str name);
bool wr_module_url_ok(struct wr_str url);

#endif
