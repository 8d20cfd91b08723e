#include "core/git/adopt_internal.h"
#include "core/git/below.h"
#include "core/git/gitconfig.h"

#define CONFIG_MAX ((size_t)16 << 20)

/* ---- config ---- */

struct settings {
	uint64_t version;
	bool version_ok;
	char unknown[64];    /* an extension that git wants understood, or "" */
	const char *refused; /* a sentence, or NULL */
};

static bool is_true(const struct wr_gitconfig_entry *e)
{
	return !e->has_value || wr_str_caseeq(e->value, WR_S("true")) || wr_str_caseeq(e->value, WR_S("yes")) ||
	       wr_str_caseeq(e->value, WR_S("on")) || wr_str_eq(e->value, WR_S("1"));
}

static void look_at_extension(struct settings *s, const struct wr_gitconfig_entry *e)
{
	static const char *const harmless[] = {"noop", "noop-v1", "preciousobjects", "worktreeconfig",
					       "relativeworktrees"};

	if (wr_str_eqz(e->key, "objectformat")) {
		if (!wr_str_caseeq(e->value, WR_S("sha1")))
			s->refused = "Its ids are not SHA-1 (extensions.objectFormat); only SHA-1 repositories can be "
				     "taken in";
		return;
	}
	if (wr_str_eqz(e->key, "refstorage")) {
		if (!wr_str_caseeq(e->value, WR_S("files")))
			s->refused =
				"Its refs are not kept in files (extensions.refStorage); convert them with git refs "
				"migrate --ref-format=files";
		return;
	}
	if (wr_str_eqz(e->key, "partialclone")) {
		s->refused = "It is a partial clone (extensions.partialClone); make a complete one and take that in";
		return;
	}
	for (size_t i = 0; i < WR_ARRAY_LEN(harmless); i++)
		if (wr_str_eqz(e->key, harmless[i]))
			return;
	snprintf(s->unknown, sizeof s->unknown, "%.*s", e->key.len < 60 ? (int)e->key.len : 60, e->key.ptr);
}

static bool each_entry(void *arg, const struct wr_gitconfig_entry *e)
{
	struct settings *s = arg;

	if (wr_str_eqz(e->section, "extensions"))
		look_at_extension(s, e);
	else if (wr_str_eqz(e->section, "core") && wr_str_eqz(e->key, "repositoryformatversion"))
		s->version_ok = wr_str_u64(e->value, UINT32_MAX, &s->version);
	else if (wr_str_starts(e->section, WR_S("remote.")) && wr_str_eqz(e->key, "promisor") && is_true(e))
		s->refused = "It is a partial clone (a remote is its promisor); make a complete one and take that in";
	return s->refused != NULL;
}

enum wr_code wr_adopt_config(struct wr_str config, struct wr_error *err)
{
	struct settings s = {.version_ok = true};
	bool whole;
	enum wr_code code = wr_gitconfig_read(&whole, config, each_entry, &s, err);

	if (code != WR_OK)
		return code;
	if (s.refused)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s", s.refused);
	if (!whole)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "Its config file cannot be read; git config --list there says where");
	if (!s.version_ok || s.version > 1)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "Its core.repositoryFormatVersion is not 0 or 1, the only ones known");
	/* Of a repository of version 0 git itself does not know more extensions than those above. */
	if (s.version == 1 && s.unknown[0])
		return wr_fail(err, WR_E_INVALID_REQUEST, "It uses extensions.%s, which is not known here", s.unknown);
	return WR_OK;
}

static enum wr_code check_config(int from, struct wr_error *err)
{
	WR_AUTO_MEM char *text = NULL;
	size_t len;
	enum wr_code code = wr_below_read(&text, &len, from, "config", "config", CONFIG_MAX, err);

	if (code == WR_E_NOT_THERE) /* for git everything has its default then */
		return WR_OK;
	return code == WR_OK ? wr_adopt_config(wr_str_n(text, len), err) : code;
}

/* ---- files that say what kind of repository it is ---- */

static enum wr_code no_repository(int from, struct wr_error *err)
{
	if (wr_below_has(from, ".git"))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "That is a working copy; the repository is the folder .git in it, if that is a folder");
	return wr_fail(err, WR_E_INVALID_REQUEST, "That is no bare Git repository: it lacks HEAD, objects/ or refs/");
}

static enum wr_code is_there(int from, const char *name, enum wr_below wanted, struct wr_error *err)
{
	enum wr_below kind;
	enum wr_code code = wr_below_kind(&kind, from, name, name, err);

	if (code == WR_E_NOT_THERE)
		return no_repository(from, err);
	if (code == WR_OK && kind != wanted)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s is no %s; links are not followed", name,
			       wanted == WR_BELOW_FILE ? "ordinary file" : "folder");
	return code;
}

/* A file that changes what the repository is, unless it is empty. */
static enum wr_code absent(int dir, const char *name, const char *sentence, struct wr_error *err)
{
	WR_AUTO_FD int fd = -1;
	uint64_t size = 0;
	enum wr_code code = wr_below_file(&fd, &size, dir, name, name, err);

	if (code == WR_E_NOT_THERE)
		return WR_OK;
	return code == WR_OK && size ? wr_fail(err, WR_E_INVALID_REQUEST, "%s", sentence) : code;
}

static enum wr_code check_alternates(int from, struct wr_error *err)
{
	static const char sentence[] =
		"It borrows objects of other repositories (alternates); run git repack -ad there, then "
		"remove objects/info/alternates";
	WR_AUTO_FD int info = -1;
	enum wr_code code = wr_below_folder(&info, from, "objects/info", err);

	if (code == WR_E_NOT_THERE)
		return WR_OK;
	if (code != WR_OK || (code = absent(info, "alternates", sentence, err)) != WR_OK)
		return code;
	return absent(info, "http-alternates", sentence, err);
}

static enum wr_code check_shallow(int from, struct wr_error *err)
{
	return absent(from, "shallow",
		      "It is a shallow repository, whose history is cut off. Run git fetch --unshallow URL there first, with the "
		      "URL of a whole one; or serve it by HTTP and make the repository from it by the API, with source.depth "
		      "2147483647",
		      err);
}

enum wr_code wr_adopt_shape(int from, struct wr_error *err)
{
	enum wr_code code;

	if ((code = is_there(from, "HEAD", WR_BELOW_FILE, err)) != WR_OK ||
	    (code = is_there(from, "objects", WR_BELOW_FOLDER, err)) != WR_OK ||
	    (code = is_there(from, "refs", WR_BELOW_FOLDER, err)) != WR_OK || (code = check_config(from, err)) != WR_OK)
		return code;
	if (wr_below_has(from, "reftable"))
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "Its refs are not kept in files (reftable); convert them with git refs "
			       "migrate --ref-format=files");
	if ((code = absent(from, "commondir", "It is a further worktree of another repository; take that one in",
			   err)) != WR_OK ||
	    (code = check_shallow(from, err)) != WR_OK)
		return code;
	return check_alternates(from, err);
}
