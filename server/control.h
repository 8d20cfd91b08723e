/*
 * server/control.h: how commands reach the running server: <data>/control.sock, mode 0600.
 * One line each way: a command (server/admin.h) of at most 64 KB, then {"ok": ...} or
 * {"error": {code, message, detail}}, with spaces in front of it every few seconds while the command runs. One command is
 * for other server processes only: repo.yield {repo}, which gives a repository back for them to open (core/git/git.h).
 * Ownership: wr_control_start()/wr_control_stop() by the program; what it is given outlives it.
 * Threads:   one of its own that listens ("wr-control"), and one for each of up to 8 commands at a time ("wr-command");
 *            more wait their turn. wr_control_call() from any.
 * Blocks on: a command's thread on its client (for 5 s), SQLite, disk and CPU; wr_control_call() on the server, until
 *            it gives no sign of life for 60 s.
 * Errors:    as below. Both ends check that the other is the same user, or root.
 */
#ifndef WR_CONTROL_H
#define WR_CONTROL_H

#include "server/admin.h"

struct wr_control;

/* The process started last has the socket: it takes the place of another's, dead or alive. */
WR_MUST_CHECK enum wr_code wr_control_start(struct wr_control **out, const char *data,
					    const struct wr_app *app, struct wr_error *err);
/* Finishes the commands that run, or breaks long ones off. NULL is allowed. */
void wr_control_stop(struct wr_control *control);

/* Another process takes over: {"cmd": "repo.yield", "args": {"repo": id}} of who has control.sock, for a second at most. */
void wr_control_ask_yield(const char *data, const char *repo_id);

/*
 * Has the running server do a command; *out is a new reference. *no_server = true, and WR_OK without *out, where nobody
 * listens: no data folder, no socket, or one that a dead server left. Errors: what the command said; WR_E_UNAVAILABLE
 * when the server does not answer, and then it may have been done.
 */
WR_MUST_CHECK enum wr_code wr_control_call(json_t **out, const char *data, json_t *command, bool *no_server,
					   struct wr_error *err);

#endif
