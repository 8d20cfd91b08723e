/* Repositories of one commit, made from files, an archive, or another repository's files. */
#include <stdio.h>

#include "core/base/config.h"
#include "core/content/edit.h"
#include "core/content/files.h"
#include "core/content/unpack.h"
#include "core/git/parse.h"
#include "core/net/url.h"
#include "server/making_internal.h"

#define COMMIT_MAX ((size_t)64 << 20)

/* ---- files of the request ---- */

static enum wr_code add_text(struct wr_files *files, struct wr_quarantine *q, struct wr_str path, json_t *text,
			     struct wr_error *err)
{
	struct wr_oid blob;
	enum wr_code code = wr_quarantine_add(
		&blob, q, WR_BLOB, wr_str_n(json_string_value(text), json_string_length(text)), NULL, err);

	return code == WR_OK ? wr_files_add(files, path, &blob, WR_MODE_FILE | 0644, err) : code;
}

static enum wr_code take_files(struct wr_oid *tree, struct wr_making *m, struct wr_quarantine *q,
			       struct wr_error *err)
{
	json_t *texts = m->plan->files;
	WR_AUTO_S(wr_files) files = {.v = NULL};
	enum wr_code code = WR_OK;

	wr_files_init(&files, m->app->cfg->git_max_pack_objects, true);
	for (void *at = json_object_iter(texts); at && code == WR_OK; at = json_object_iter_next(texts, at))
		if ((code = wr_cancelled(m->cancel, err)) == WR_OK)
			code = add_text(&files, q, wr_str(json_object_iter_key(at)), json_object_iter_value(at), err);
	return code == WR_OK ? wr_files_write(tree, &files, WR_S(""), q, m->cancel, err) : code;
}

/* ---- archives ---- */

static enum wr_code not_given(enum wr_code code, const struct wr_net_url *url, const char *why, struct wr_error *err)
{
	wr_fail(err, code, "%s", why);
	wr_error_field(err, "url", wr_str(url->shown));
	return code;
}

static enum wr_code check_status(const struct wr_net_call *call, const struct wr_net_url *url, struct wr_error *err)
{
	int status = wr_net_status(call);

	switch (status) {
	case 200:
		return WR_OK;
	case 401:
	case 403:
		return not_given(WR_E_SOURCE_UNAUTHORIZED, url,
				 "The server of the archive wants another credential; give one in the URL", err);
	case 404:
	case 410:
		return not_given(WR_E_SOURCE_NOT_FOUND, url, "There is no archive at this URL", err);
	default:
		return wr_fail(err, WR_E_SOURCE_NOT_FOUND, "The server of the archive answered with status %d%s", status,
			       status >= 300 && status < 400 ? ", after as many redirects as are followed" : "");
	}
}

static enum wr_code take_archive(struct wr_oid *tree, struct wr_making *m, struct wr_quarantine *q,
				 struct wr_error *err)
{
	const struct wr_config *cfg = m->app->cfg;
	const struct wr_unpack_limits limits = {.max_entries = cfg->sources_max_entries,
						.max_file = cfg->sources_max_file,
						.max_bytes = cfg->sources_max_unpacked,
						.max_ratio = cfg->sources_max_ratio};
	struct wr_net_rules rules = wr_making_rules(m);
	WR_AUTO_S(wr_net_url) url = {NULL, NULL, NULL, NULL};
	WR_AUTO(wr_net_call) *call = NULL;
	enum wr_code code = wr_net_url_split(&url, m->plan->url, err);
	const struct wr_net_ask ask = {.method = "GET",
				       .url = url.ask,
				       .user = url.user,
				       .password = url.password,
				       .rules = &rules,
				       .cancel = m->cancel};

	rules.max_bytes = cfg->sources_max_archive;
	if (code != WR_OK)
		return code;
	wr_making_stage(m, "connecting");
	if ((code = wr_net_open(&call, &ask, err)) != WR_OK || (code = check_status(call, &url, err)) != WR_OK)
		return code;
	wr_making_stage(m, "unpacking");
	return wr_unpack(tree, q, wr_net_body(call), m->plan->kind == WR_PLAN_ZIP ? WR_UNPACK_ZIP : WR_UNPACK_TAR,
			 m->plan->dir, &limits, m->progress, m->cancel, err);
}

/* ---- the commit ---- */

static enum wr_code add_commit(struct wr_oid *out, struct wr_making *m, const struct wr_oid *tree,
			       struct wr_quarantine *q, struct wr_error *err)
{
	const struct wr_making_plan *plan = m->plan;
	const struct wr_config *cfg = m->app->cfg;
	const struct wr_person who = {.name = plan->author_name.ptr ? plan->author_name : wr_str(cfg->git_author_name),
				      .mail = plan->author_email.ptr ? plan->author_email
								     : wr_str(cfg->git_author_email)};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(COMMIT_MAX);

	wr_commit_text(&text, tree, NULL, 0, &who, &who, plan->message);
	if (!wr_buf_ok(&text))
		return wr_fail(err, WR_E_TOO_LARGE, "The message is too large");
	return wr_quarantine_add(out, q, WR_COMMIT, wr_buf_str(&text), NULL, err);
}

static enum wr_code take_tree(struct wr_oid *tree, struct wr_making *m, struct wr_quarantine *q,
			      struct wr_error *err)
{
	switch (m->plan->kind) {
	case WR_PLAN_FILES:
		return take_files(tree, m, q, err);
	case WR_PLAN_GIT:
		return wr_making_git_tree(tree, m, q, err);
	default:
		return take_archive(tree, m, q, err);
	}
}

enum wr_code wr_make_import(struct wr_making *m, struct wr_error *err)
{
	WR_AUTO(wr_quarantine) *q = NULL;
	WR_AUTO_S(wr_making_refs) refs = {.v = NULL};
	struct wr_oid tree, commit;
	enum wr_code code = wr_quarantine_new(&q, m->repo, err);

	if (code != WR_OK || (code = take_tree(&tree, m, q, err)) != WR_OK ||
	    (code = add_commit(&commit, m, &tree, q, err)) != WR_OK)
		return code;
	if (!(refs.v = calloc(1, sizeof *refs.v)))
		return wr_fail_nomem(err);
	memcpy(refs.default_branch, m->default_branch, sizeof refs.default_branch);
	snprintf(refs.named, sizeof refs.named, "%s%s", WR_HEADS, m->default_branch);
	refs.v[refs.count++] = (struct wr_ref){.name = wr_str(refs.named), .oid = commit};
	return wr_making_append(m, q, &refs, err);
}
