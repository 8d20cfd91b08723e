/* Repositories of this server as sources: which URLs name one, and forks of it. */
#include <stdio.h>

#include "core/base/config.h"
#include "core/content/rev.h"
#include "core/git/fork.h"
#include "core/net/url.h"
#include "server/making_internal.h"

/* ---- which URL is ours ---- */

/* Where a server is, whatever the scheme: port ptr NULL where it is the scheme's own. */
struct place {
	struct wr_str host, port;
};

static bool is_default_port(struct wr_str port, bool https)
{
	return port.len == 0 || wr_str_eqz(port, https ? "443" : "80");
}

/* "host", "host:port", "[v6]", "[v6]:port" */
static struct place place_of(struct wr_str authority)
{
	const char *bracket = authority.len ? memrchr(authority.ptr, ']', authority.len) : NULL;
	size_t from = bracket ? (size_t)(bracket - authority.ptr) : 0;
	const char *colon = authority.len ? memrchr(authority.ptr + from, ':', authority.len - from) : NULL;
	size_t len = colon ? (size_t)(colon - authority.ptr) : authority.len;

	return (struct place){wr_str_n(authority.ptr, len),
			      colon ? wr_str_skip(authority, len + 1) : (struct wr_str){NULL, 0}};
}

/* "http://HOST:PORT/path": *path begins with "/", or is empty. */
static bool split(struct place *place, struct wr_str *path, const char *url)
{
	const char *host = strstr(url, "://"), *end;
	bool https;

	if (!host)
		return false;
	https = wr_str_caseeq(wr_str_n(url, (size_t)(host - url)), WR_S("https"));
	host += 3;
	end = strchrnul(host, '/');
	*path = wr_str(end);
	*place = place_of(wr_str_n(host, (size_t)(end - host)));
	if (is_default_port(place->port, https))
		place->port = (struct wr_str){NULL, 0};
	return place->host.len > 0;
}

static bool same_place(const struct place *a, const struct place *b)
{
	return wr_str_caseeq(a->host, b->host) && wr_str_eq(a->port, b->port);
}

/* What a Host header says is of whatever scheme. */
static bool is_host(const struct place *place, struct wr_str host)
{
	struct place other = place_of(host);

	if (is_default_port(other.port, false) || is_default_port(other.port, true))
		other.port = (struct wr_str){NULL, 0};
	return host.len > 0 && same_place(place, &other);
}

/* "/{repoId}" or "/{repoId}.git" */
static bool is_repo_path(struct wr_str *id, struct wr_str path)
{
	char parsed[WR_UUID_LEN + 1];

	if (!wr_str_starts(path, WR_S("/")))
		return false;
	path = wr_str_skip(path, 1);
	if (wr_str_ends(path, WR_S("/")))
		path.len--;
	if (wr_str_ends(path, WR_S(".git")))
		path.len -= 4;
	*id = path;
	return wr_uuid_parse(path, parsed);
}

static bool is_below(struct wr_str *id, const struct place *place, struct wr_str path, const char *base)
{
	struct place own;
	struct wr_str prefix;

	if (!base || !split(&own, &prefix, base) || !same_place(place, &own))
		return false;
	if (wr_str_ends(prefix, WR_S("/")))
		prefix.len--;
	return wr_str_starts(path, prefix) && is_repo_path(id, wr_str_skip(path, prefix.len));
}

static bool is_own(struct wr_str *id, const struct wr_app *app, struct wr_str host, const struct wr_net_url *url)
{
	struct place place;
	struct wr_str path;

	if (!split(&place, &path, url->shown))
		return false;
	return is_below(id, &place, path, app->cfg->server_public_url) || is_below(id, &place, path, app->url) ||
	       (is_host(&place, host) && is_repo_path(id, path));
}

static enum wr_code fail_at(enum wr_code code, const struct wr_net_url *url, struct wr_error *err)
{
	wr_fail(err, code, "%s", wr_code_text(code));
	wr_error_field(err, "url", wr_str(url->shown));
	return code;
}

/* As Basic says it on Git URLs: whatever the user's name, the password is the key or token. */
static enum wr_code login(struct wr_caller *out, const struct wr_app *app, const struct wr_net_url *url,
			  struct wr_error *err)
{
	struct wr_credential cred = {WR_CRED_KEY_OR_TOKEN, wr_str(url->password)};

	if (!url->password || !url->password[0])
		cred = (struct wr_credential){WR_CRED_UNREADABLE, {NULL, 0}};
	return wr_access_caller(out, app->db, &cred, err);
}

static enum wr_code find_repo(struct wr_making_own *out, const struct wr_app *app, const struct wr_caller *caller,
			      struct wr_str id, const struct wr_net_url *url, struct wr_error *err)
{
	struct wr_caller by_url;
	enum wr_level level = WR_LEVEL_NONE;
	enum wr_code code = WR_OK;

	if (url->user || url->password) {
		code = login(&by_url, app, url, err);
		caller = &by_url;
	}
	if (code == WR_OK)
		out->caller = *caller;
	if (code == WR_E_UNAUTHORIZED)
		return fail_at(WR_E_SOURCE_UNAUTHORIZED, url, err);
	if (code == WR_OK)
		code = wr_access_repo(&out->repo, &level, app->db, caller, id, true, err);
	if (code == WR_E_REPO_NOT_FOUND || (code == WR_OK && level < WR_LEVEL_READ))
		return fail_at(WR_E_SOURCE_NOT_FOUND, url, err);
	return code;
}

enum wr_code wr_making_own_find(bool *own, struct wr_making_own *out, const struct wr_app *app, struct wr_str host,
				const struct wr_caller *caller, struct wr_str url, struct wr_error *err)
{
	WR_AUTO_S(wr_net_url) parts = {NULL, NULL, NULL, NULL};
	struct wr_str id;
	enum wr_code code = wr_net_url_split(&parts, url, err);

	if (code != WR_OK)
		return code;
	*own = is_own(&id, app, host, &parts);
	return *own ? find_repo(out, app, caller, id, &parts, err) : WR_OK;
}

enum wr_code wr_making_check_public_url(const char *url, struct wr_error *err)
{
	WR_AUTO_S(wr_net_url) parts = {NULL, NULL, NULL, NULL};

	if (!url[0])
		return WR_OK;
	if (wr_net_url_split(&parts, wr_str(url), NULL) != WR_OK || parts.user || parts.password || strpbrk(url, "?#"))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "server.public_url is an http or https URL without user name, password, query and "
			       "fragment, as in https://git.example.com/warren, not \"%s\"",
			       url);
	return WR_OK;
}

/* A job may have waited for minutes; what came after the right to see it went must not come along. */
enum wr_code wr_making_own_still(const struct wr_making *m, struct wr_error *err)
{
	WR_AUTO_S(wr_net_url) url = {NULL, NULL, NULL, NULL};
	enum wr_code code = wr_access_again(m->app->db, &m->own->caller, m->own->repo.id, true, WR_LEVEL_READ, err);

	if (code != WR_E_UNAUTHORIZED && code != WR_E_REPO_NOT_FOUND && code != WR_E_REPO_ACCESS_DENIED)
		return code;
	wr_error_fini(err);
	*err = (struct wr_error)WR_ERROR_INIT;
	code = wr_net_url_split(&url, m->plan->url, err);
	return code == WR_OK ? fail_at(WR_E_SOURCE_NOT_FOUND, &url, err) : code;
}

/* ---- forks ---- */

/* What is no revision of the source is wrong in the request, whatever the reason. */
static enum wr_code by_rev(struct wr_oid *out, struct wr_view *v, const struct wr_ref *ref, struct wr_str rev,
			   struct wr_error *err)
{
	enum wr_code code = wr_rev_commit(out, v, ref ? ref->name : rev, err);

	switch (code) {
	case WR_E_INVALID_REVISION:
	case WR_E_AMBIGUOUS:
	case WR_E_REFERENCE_NOT_FOUND:
	case WR_E_COMMIT_NOT_FOUND:
	case WR_E_INVALID_OBJECT_ID:
		break;
	default:
		return code;
	}
	return wr_making_no_rev(err, rev,
				code == WR_E_AMBIGUOUS ? "the abbreviated id is ambiguous; give more digits"
						       : "the source has no branch or tag of this name that leads to "
							 "a commit, and no such commit");
}

static enum wr_code find_start(struct wr_making_from *out, struct wr_view *v, const struct wr_making_plan *plan,
			       struct wr_error *err)
{
	size_t n;
	const struct wr_ref *refs = wr_snapshot_refs(v->snap, &n), *ref;
	bool head = wr_making_from_head(plan);

	*out = (struct wr_making_from){.fallback = v->default_branch};
	ref = wr_making_named(refs, n, head ? v->default_branch : plan->rev);
	if (ref && wr_str_starts(ref->name, WR_S(WR_HEADS))) {
		out->branch = ref;
		out->commit = ref->oid;
		return WR_OK;
	}
	if (!head)
		return by_rev(&out->commit, v, ref, plan->rev, err);
	return plan->all_branches
		       ? WR_OK
		       : wr_making_no_rev(err, WR_S("HEAD"), "the source's default branch is not there; name another");
}

enum wr_code wr_making_own_commit(struct wr_oid *out, struct wr_view *v, const struct wr_making_plan *plan,
				  struct wr_error *err)
{
	struct wr_making_from from;
	enum wr_code code = find_start(&from, v, plan, err);

	if (code == WR_OK)
		*out = from.commit;
	return code;
}

static enum wr_code fork_all(struct wr_making *m, const struct wr_git_repo *source, struct wr_view *v,
			     const struct wr_making_refs *refs, struct wr_error *err)
{
	struct wr_fork fork = {
		.refs = refs->v, .ref_count = refs->count, .default_branch = wr_str(refs->default_branch)};
	enum wr_code code;

	wr_making_stage(m, "forking");
	code = wr_git_fork(&fork, m->app->git, m->repo_id, source, v->snap, m->cancel, err);
	if (code == WR_OK)
		memcpy(m->default_branch, refs->default_branch, sizeof m->default_branch);
	return code;
}

enum wr_code wr_make_from_own(struct wr_making *m, struct wr_error *err)
{
	const struct wr_repo *source = &m->own->repo;
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO_S(wr_view) v = {.snap = NULL};
	WR_AUTO_S(wr_making_refs) refs = {.v = NULL};
	struct wr_making_from from;
	const struct wr_ref *all;
	size_t n;
	enum wr_code code = wr_git_repo_open(&repo, m->app->git, source->id, err);

	/* What no ref reaches is not forked, even by who may write and so could bring it back. */
	if (code == WR_OK)
		code = wr_view_open(&v, repo, wr_str(source->default_branch), false, m->cancel, err);
	/* One that was deleted a moment ago looks empty. */
	if (code == WR_OK)
		code = wr_making_own_still(m, err);
	if (code != WR_OK)
		return code;
	all = wr_snapshot_refs(v.snap, &n);
	if (!wr_making_any(all, n) && wr_making_from_head(m->plan)) {
		wr_making_unborn(m, wr_str(source->default_branch));
		return WR_OK;
	}
	if ((code = find_start(&from, &v, m->plan, err)) != WR_OK ||
	    (code = wr_making_choose(&refs, all, n, &from, m->plan, err)) != WR_OK)
		return code;
	return m->plan->depth ? wr_making_cut(m, &v, &refs, err) : fork_all(m, repo, &v, &refs, err);
}
