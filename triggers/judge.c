#include "triggers/judge.h"

#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/glob.h"
#include "core/base/log.h"
#include "core/content/changed.h"
#include "core/content/merge_base.h"

/* The deadline is asked for again after so many bytes of paths, each of which may take a glob a thousand steps. */
#define MATCHED_ASK 1024

struct judge {
	struct wr_hook *hook;
	const char *default_branch;
	const struct wr_cancel *outer;
	int64_t deadline_ms; /* monotonic */
	int64_t cpu_from_ms, cpu_until_ms; /* looked at from then on, monotonic; the thread's */
	struct wr_cancel cancel; /* of the caller, or of the deadline */
	struct wr_snapshot *snap;
	struct wr_relation relation;
	struct wr_changed changed;
	struct wr_glob *globs[WR_TRIGGER_PATTERNS_MAX];
	size_t glob_count;
	size_t matched; /* bytes since the deadline was asked for */
};

static void judge_fini(struct judge *j)
{
	for (size_t i = 0; i < j->glob_count; i++)
		wr_glob_free(j->globs[i]);
	wr_snapshot_unref(j->snap);
}

static bool outer_cancelled(const struct judge *j)
{
	return j->outer && j->outer->fn && j->outer->fn(j->outer->arg);
}

static bool is_over(void *arg)
{
	const struct judge *j = arg;
	int64_t now = wr_mono_ms();

	/* Nothing computes for longer than time passes, which is cheaper to know. */
	return now >= j->deadline_ms || outer_cancelled(j) ||
	       (now >= j->cpu_from_ms && wr_thread_cpu_ms() >= j->cpu_until_ms);
}

/* ---- what cannot be told ---- */

/* Why, in words for the history of deliveries. */
static const char *reason(enum wr_code code)
{
	switch (code) {
	case WR_E_CANCELLED:
		return "it takes too long";
	case WR_E_INVALID_REQUEST:
	case WR_E_TOO_LARGE:
		return "the update is too large";
	case WR_E_NOT_THERE:
		return "what it needs is not stored any more";
	case WR_E_REPO_PARKED:
		return "the repository is out of service";
	default:
		return "the repository cannot be read";
	}
}

static void forget(struct wr_error *err)
{
	if (!err)
		return;
	wr_error_fini(err);
	*err = (struct wr_error)WR_ERROR_INIT;
}

/*
 * WR_OK: it is not to be known, and the note says so, in the place of the error. Else it may be another time, or nobody
 * waits for it.
 */
static enum wr_code settle(const struct judge *j, enum wr_code code, const char *what, struct wr_error *err)
{
	if (code == WR_E_UNAVAILABLE)
		return code;
	if (outer_cancelled(j))
		return wr_fail(err, WR_E_CANCELLED, "given up");
	if (code == WR_E_INTERNAL && err)
		wr_log_error(NULL, WR_EV_SERVER_WARNING, err);
	snprintf(j->hook->note, sizeof j->hook->note, "%s: %s.", what, reason(code));
	forget(err);
	return WR_OK;
}

/* ---- forced ---- */

/* Where nobody can know it is said to be: who builds from what is there already begins anew then. */
static enum wr_code find_forced(struct judge *j, struct wr_error *err)
{
	struct wr_hook *hook = j->hook;
	bool ancestor = false;
	enum wr_code code = WR_OK;

	if (!hook->extended || hook->forced_known)
		return WR_OK;
	if (!wr_oid_zero(&hook->old))
		code = wr_is_ancestor(&ancestor, &j->relation, &hook->old, &hook->new, err);
	/* What a branch left behind and nothing else reached may be gone. */
	if (code == WR_E_NOT_THERE) {
		forget(err);
		code = WR_OK;
	}
	if (code != WR_OK)
		code = settle(j, code, "Said to be forced, because nobody can tell", err);
	if (code == WR_OK) {
		hook->forced = !wr_oid_zero(&hook->old) && !ancestor;
		hook->forced_known = true;
	}
	return code;
}

/* ---- paths ---- */

static enum wr_code compile(struct judge *j, json_t *globs, struct wr_error *err)
{
	enum wr_code code = WR_OK;
	json_t *glob;
	size_t i;

	if (json_array_size(globs) > WR_TRIGGER_PATTERNS_MAX)
		return wr_fail(err, WR_E_INTERNAL, "a trigger has more than %d globs", WR_TRIGGER_PATTERNS_MAX);
	json_array_foreach (globs, i, glob) {
		struct wr_str text = wr_str_n(json_string_value(glob), json_string_length(glob));

		if ((code = wr_glob_new(&j->globs[i], text, err)) != WR_OK)
			return code == WR_E_UNAVAILABLE ? code : wr_fail(err, WR_E_INTERNAL, "a trigger's glob does not parse");
		j->glob_count++;
	}
	return WR_OK;
}

static enum wr_code look_at(void *arg, struct wr_str path, const struct wr_tree_entry *old,
			    const struct wr_tree_entry *new, struct wr_error *err)
{
	struct judge *j = arg;
	enum wr_code code = WR_OK;

	(void)old;
	(void)new;
	for (size_t i = 0; i < j->glob_count && !j->changed.stop && code == WR_OK; i++) {
		j->changed.stop = wr_glob_path(j->globs[i], path);
		j->matched += path.len;
		/* A hundred long globs may take a while over each path of one wide folder, and over one long path. */
		if (j->matched < MATCHED_ASK || j->changed.stop)
			continue;
		j->matched = 0;
		code = wr_cancelled(&j->cancel, err);
	}
	return code;
}

static enum wr_code tree_of(struct wr_oid *out, const struct judge *j, const struct wr_oid *commit, struct wr_error *err)
{
	WR_AUTO_S(wr_commit) c = {.parents = NULL};
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	enum wr_code code = wr_snapshot_read(&obj, j->snap, commit, err);

	if (code != WR_OK)
		return code;
	if (obj.type != WR_COMMIT || wr_commit_parse(&c, wr_str_n(obj.data, obj.size), err) != WR_OK)
		return wr_fail(err, WR_E_INTERNAL, "the tip of a branch is no commit");
	*out = c.tree;
	return WR_OK;
}

/* The default branch's tip when the branch was made; where nobody wrote that down, now. False: there is, or was, none. */
static bool find_head(struct wr_oid *out, const struct judge *j)
{
	char name[WR_REFNAME_MAX + 1];
	struct wr_ref ref;
	int n;

	if (strcmp(j->hook->branch, j->default_branch) == 0)
		return false;
	if (j->hook->head_known) {
		*out = j->hook->head;
		return !wr_oid_zero(out);
	}
	n = snprintf(name, sizeof name, "refs/heads/%s", j->default_branch);
	if (n < 0 || (size_t)n >= sizeof name || !wr_snapshot_find_ref(&ref, j->snap, wr_str(name)))
		return false;
	*out = ref.oid;
	return true;
}

/* What the update is compared with. *has false: nothing, all that is there is new. */
static enum wr_code find_before(bool *has, struct wr_oid *out, struct judge *j, struct wr_error *err)
{
	struct wr_oid head;

	*has = true;
	*out = j->hook->old;
	if (!wr_oid_zero(&j->hook->old))
		return WR_OK;
	*has = false;
	return find_head(&head, j) ? wr_merge_base(has, out, &j->relation, &head, &j->hook->new, err) : WR_OK;
}

/* Stops at the first path that matches. */
static enum wr_code compare(struct judge *j, struct wr_error *err)
{
	struct wr_oid before, old, new;
	bool has = false;
	enum wr_code code = find_before(&has, &before, j, err);

	if (code == WR_OK && has)
		code = tree_of(&old, j, &before, err);
	if (code == WR_OK)
		code = tree_of(&new, j, &j->hook->new, err);
	return code == WR_OK ? wr_changed_paths(&j->changed, has ? &old : NULL, &new, err) : code;
}

static enum wr_code find_wanted(bool *wanted, struct judge *j, json_t *globs, struct wr_error *err)
{
	enum wr_code code = compile(j, globs, err);

	if (code == WR_OK && (code = compare(j, err)) == WR_OK) {
		*wanted = j->changed.stop;
		return WR_OK;
	}
	if ((code = settle(j, code, "Sent without a look at all of its paths", err)) == WR_OK)
		*wanted = true;
	return code;
}

/* ---- */

static enum wr_code open_snapshot(struct judge *j, struct wr_git *git, struct wr_error *err)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	enum wr_code code = wr_git_repo_open(&repo, git, j->hook->repo_id, err);

	if (code == WR_OK)
		code = wr_snapshot_take(&j->snap, repo, err);
	j->relation.snap = j->changed.snap = j->snap;
	return code;
}

static enum wr_code judge(bool *wanted, struct judge *j, json_t *globs, struct wr_git *git, struct wr_error *err)
{
	struct wr_hook *hook = j->hook;
	bool filtered = json_array_size(globs) > 0;
	enum wr_code code;

	*wanted = true;
	if (!filtered && (!hook->extended || hook->forced_known))
		return WR_OK;
	if ((code = open_snapshot(j, git, err)) != WR_OK) {
		code = settle(j, code, "Sent without a look at its paths and history", err);
		/* As where nobody can tell. */
		if (code == WR_OK && hook->extended && !hook->forced_known) {
			hook->forced = !wr_oid_zero(&hook->old);
			hook->forced_known = true;
		}
		return code;
	}
	code = find_forced(j, err);
	return code == WR_OK && filtered ? find_wanted(wanted, j, globs, err) : code;
}

enum wr_code wr_hook_judge(bool *wanted, struct wr_hook *hook, json_t *globs, struct wr_git *git,
			   const char *default_branch, const struct wr_judge_bounds *bounds,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	struct judge j = {
		.hook = hook,
		.default_branch = default_branch,
		.outer = cancel,
		.deadline_ms = wr_mono_ms() + bounds->ms,
		.cpu_from_ms = wr_mono_ms() + bounds->cpu_ms,
		.cpu_until_ms = wr_thread_cpu_ms() + bounds->cpu_ms,
		.cancel = {is_over, &j},
		.relation = {.cancel = &j.cancel, .commits_max = bounds->commits},
		.changed = {.cancel = &j.cancel, .entries_max = bounds->entries, .path = look_at, .arg = &j},
	};
	bool yes = false;
	enum wr_code code = judge(&yes, &j, globs, git, err);

	judge_fini(&j);
	if (code == WR_OK)
		*wanted = yes;
	return code;
}
