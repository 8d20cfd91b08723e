/*
 * triggers/trigger.h: the triggers of repositories, as rows: which updates of which branches are told to which endpoint.
 * Ownership: a wr_trigger is the caller's, wr_trigger_fini(); JSON in it is its own.
 * Threads:   any.
 * Blocks on: SQLite.
 * Errors:    WR_E_NOT_FOUND (no such trigger of this repository), WR_E_INVALID_REQUEST with a sentence that names the field,
 *            the database's.
 */
#ifndef WR_TRIGGER_H
#define WR_TRIGGER_H

#include <jansson.h>

#include "core/auth/access.h"
#include "core/git/git.h"

#define WR_TRIGGERS_MAX 100	     /* of one repository */
#define WR_TRIGGER_PATTERNS_MAX 100  /* of one filter, each of up to WR_GLOB_MAX bytes */
#define WR_TRIGGER_ENDPOINT_MAX 2048 /* bytes of a URL */
#define WR_TRIGGER_HOST_MAX 255	     /* bytes of its host */

enum wr_trigger_payload { WR_PAYLOAD_UNSET, WR_PAYLOAD_BASIC, WR_PAYLOAD_EXTENDED };
/* "basic", "extended"; NULL where the client did not say. */
const char *wr_trigger_payload_name(enum wr_trigger_payload payload);

struct wr_trigger {
	int64_t seq;
	char id[WR_UUID_LEN + 1], repo_id[WR_UUID_LEN + 1], account_id[WR_UUID_LEN + 1];
	json_t *branches, *globs; /* arrays of text; NULL: no filter */
	char endpoint[WR_TRIGGER_ENDPOINT_MAX + 1];
	enum wr_trigger_payload payload;
	int64_t created_ms, paused_ms; /* paused_ms 0: is not */
};
void wr_trigger_fini(struct wr_trigger *trigger);
WR_DEFINE_AUTO_S(wr_trigger);

/*
 * What a client sent, checked: branches and globs NULL, or what stood there (null and [] are no filter; else an array of
 * globs, each compiles); an endpoint is an http or https URL without user name and password, whose host is no name for
 * this machine and no literal address that is not public (unless private_networks). Names are not resolved.
 */
WR_MUST_CHECK enum wr_code wr_trigger_check_filter(json_t **out, const char *field, json_t *value, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_trigger_check_endpoint(struct wr_str url, bool private_networks, struct wr_error *err);
/* The host of such a URL, as the endpoints of an account take turns by it. */
WR_MUST_CHECK enum wr_code wr_trigger_host(char out[WR_TRIGGER_HOST_MAX + 1], struct wr_str url, struct wr_error *err);

/*
 * Adds it; fills in seq, id and created_ms. Only what is acknowledged from now on counts, so the repository is looked at
 * first. WR_E_INVALID_REQUEST where there are too many.
 */
WR_MUST_CHECK enum wr_code wr_trigger_add(struct wr_trigger *trigger, struct wr_db *db, struct wr_git *git,
					  const struct wr_repo *repo, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_trigger_get(struct wr_trigger *out, struct wr_db *db, const struct wr_repo *repo,
					  struct wr_str id, struct wr_error *err);
/* Whether the repository has one. */
WR_MUST_CHECK enum wr_code wr_trigger_any(bool *out, struct wr_db *db, const char *repo_id, struct wr_error *err);
/*
 * The repository has another default branch now, whose tip at this sequence of the journal was this one; zero: it had none.
 * Else the tip is not known here until it moves. Nothing changes where events behind that sequence are told of by now.
 */
WR_MUST_CHECK enum wr_code wr_trigger_head(struct wr_db *db, const struct wr_repo *repo, struct wr_str default_branch,
					   const struct wr_oid *tip, uint64_t seq, struct wr_error *err);
/* All of a repository, oldest first: calls fn for each. */
WR_MUST_CHECK enum wr_code wr_trigger_list(struct wr_db *db, const struct wr_repo *repo,
					   enum wr_code (*fn)(void *arg, const struct wr_trigger *trigger,
							      struct wr_error *err),
					   void *arg, struct wr_error *err);
/*
 * Writes these fields as the trigger has them now, and no others, since somebody else may be writing those. What waits goes
 * to the new endpoint, with the body that it always had; filters count for what comes.
 */
enum { WR_TRIGGER_BRANCHES = 1, WR_TRIGGER_GLOBS = 2, WR_TRIGGER_ENDPOINT = 4, WR_TRIGGER_PAYLOAD = 8 };
WR_MUST_CHECK enum wr_code wr_trigger_change(struct wr_db *db, const struct wr_trigger *trigger, unsigned fields,
					     struct wr_error *err);
/*
 * While it is paused nothing is sent, and what happens waits, for as long as history is kept; resumed, it is sent in order.
 * A sender has to be poked then. *changed false: it was so already.
 */
WR_MUST_CHECK enum wr_code wr_trigger_pause(bool *changed, struct wr_db *db, const struct wr_trigger *trigger, bool paused,
					    struct wr_error *err);
/* What waits is not delivered; what is under way may still arrive. */
WR_MUST_CHECK enum wr_code wr_trigger_delete(struct wr_db *db, const struct wr_repo *repo, struct wr_str id,
					     struct wr_error *err);

/*
 * Triggers go with their repository or account, in the transactions of core/auth that delete these; and where a repository
 * gets another default branch, that branch's tip is not known here until wr_trigger_head() tells it or it moves.
 */

#endif
