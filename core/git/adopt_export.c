/*
 * A repository of this server as a plain bare one. Everything is made in <path>.new-<random>, beside a file that is
 * locked for as long, so that who exports to the same path later can tell what a crash left from what somebody is
 * making.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/adopt.h"
#include "core/git/below.h"
#include "core/git/carry.h"
#include "core/git/export.h"
#include "core/git/git_internal.h"
#include "core/git/graph.h"
#include "core/git/parse.h"

#define TEXT_MAX ((size_t)4 << 30)
#define MARK ".new-"
#define RANDOM_LEN 12
#define LOCK "warren-export.lock"
#define TRIES_MAX 16

struct exporting {
	char *parent, *name; /* of path */
	char built[NAME_MAX + 1];
	int in;		     /* the parent */
	int dir, lock;	     /* the new folder and its lock */
	struct wr_ref *refs; /* names are the snapshot's */
	size_t ref_count;
	struct wr_snapshot *snap;
	struct wr_carry carry;
	const struct wr_cancel *cancel;
	struct wr_error *err;
};

static void exporting_fini(struct exporting *x)
{
	wr_carry_fini(&x->carry);
	free(x->refs);
	wr_snapshot_unref(x->snap);
	free(x->parent);
	free(x->name);
	for (size_t i = 0; i < 3; i++) {
		int fd = i == 0 ? x->lock : i == 1 ? x->dir : x->in;

		if (fd >= 0)
			close(fd);
	}
}

/* ---- the place ---- */

/* Folder and name; slashes at the end do not count. */
static enum wr_code split(struct exporting *x, const char *path)
{
	size_t len = strlen(path), at;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (at = len; at > 0 && path[at - 1] != '/';)
		at--;
	x->name = wr_str_dup(wr_str_n(path + at, len - at));
	x->parent = at ? wr_str_dup(wr_str_n(path, at)) : wr_str_dup(WR_S("."));
	if (!x->name || !x->parent)
		return wr_fail_nomem(x->err);
	if (len == at || strcmp(x->name, ".") == 0 || strcmp(x->name, "..") == 0 ||
	    len - at > NAME_MAX - strlen(MARK) - RANDOM_LEN)
		return wr_fail(x->err, WR_E_INVALID_REQUEST,
			       "The path does not end with a name that a folder can have here");
	return WR_OK;
}

static enum wr_code exists(struct exporting *x)
{
	return wr_fail(x->err, WR_E_INVALID_REQUEST,
		       "There is something at that path already; an export makes a new folder");
}

static enum wr_code open_parent(struct exporting *x)
{
	struct stat st;

	x->in = open(x->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->in < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
		return wr_fail(
			x->err, WR_E_INVALID_REQUEST,
			"The folder in which the export shall stand is not there, or the server may not read it");
	if (x->in < 0)
		return wr_fail_errno(x->err, "open the folder of an export");
	return fstatat(x->in, x->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? WR_OK : exists(x);
}

static bool lock_file(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static enum wr_code remove_but_lock(void *arg, const char *name, struct wr_error *err)
{
	const int *dir = arg;

	return strcmp(name, LOCK) == 0 ? WR_OK : wr_file_remove(*dir, name, err);
}

/* The lock's file goes last: whenever a crash comes, what is left can be told, by it or by having nothing. */
static enum wr_code remove_built(int in, int dir, const char *name, struct wr_error *err)
{
	enum wr_code code = wr_below_each(dir, "an unfinished export", remove_but_lock, &dir, NULL, err);

	return code == WR_OK ? wr_file_remove(in, name, err) : code;
}

/*
 * What nobody is making any more, by its lock. Without that file it is none of ours, unless it is empty: ours begins and
 * ends that way. Who is about to put the file there makes another folder.
 */
static enum wr_code sweep_one(void *arg, const char *name, struct wr_error *err)
{
	const struct exporting *x = arg;
	size_t len = strlen(x->name), mark = strlen(MARK);
	WR_AUTO_FD int dir = -1;
	WR_AUTO_FD int fd = -1;

	(void)err;
	if (strncmp(name, x->name, len) != 0 || strncmp(name + len, MARK, mark) != 0 ||
	    strlen(name) != len + mark + RANDOM_LEN)
		return WR_OK;
	dir = openat(x->in, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return WR_OK;
	fd = openat(dir, LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	/* What cannot be removed is in nobody's way. */
	if (fd < 0 && errno == ENOENT && unlinkat(x->in, name, AT_REMOVEDIR) < 0)
		errno = 0;
	if (fd >= 0 && lock_file(fd) && remove_built(x->in, dir, name, NULL) != WR_OK)
		errno = 0;
	return WR_OK;
}

/* One attempt. *swept: somebody else took it for what a crash left, before its lock was taken. */
static enum wr_code try_folder(bool *swept, struct exporting *x)
{
	size_t len = strlen(x->name) + strlen(MARK);

	*swept = false;
	snprintf(x->built, sizeof x->built, "%s" MARK, x->name);
	wr_random_text(x->built + len, RANDOM_LEN);
	x->built[len + RANDOM_LEN] = '\0';
	if (mkdirat(x->in, x->built, 0700) < 0) {
		x->built[0] = '\0';
		if (errno == EACCES || errno == EPERM || errno == EROFS)
			return wr_fail(x->err, WR_E_INVALID_REQUEST,
				       "The server may not write to the folder of the export");
		return wr_fail_errno(x->err, "make the folder of an export");
	}
	x->dir = openat(x->in, x->built, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (x->dir >= 0)
		x->lock = openat(x->dir, LOCK, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (x->lock >= 0 && lock_file(x->lock))
		return WR_OK;
	*swept = x->lock >= 0 ? errno == EAGAIN || errno == EACCES : errno == ENOENT;
	return wr_fail_errno(x->err, "make the folder of an export");
}

static void drop_folder(struct exporting *x)
{
	if (x->lock >= 0)
		close(x->lock);
	if (x->dir >= 0)
		close(x->dir);
	x->lock = x->dir = -1;
	x->built[0] = '\0';
}

static enum wr_code make_folder(struct exporting *x)
{
	bool swept;
	enum wr_code code = try_folder(&swept, x);

	for (unsigned i = 1; i < TRIES_MAX && swept; i++) {
		drop_folder(x);
		wr_error_fini(x->err);
		code = try_folder(&swept, x);
	}
	return code;
}

/* ---- what goes there ---- */

static enum wr_code add_ref(struct exporting *x, size_t *cap, const struct wr_ref *ref)
{
	if (x->ref_count == *cap) {
		size_t more = *cap ? *cap * 2 : 64;
		struct wr_ref *v = reallocarray(x->refs, more, sizeof *v);

		if (!v)
			return wr_fail_nomem(x->err);
		x->refs = v;
		*cap = more;
	}
	x->refs[x->ref_count++] = *ref;
	return WR_OK;
}

static enum wr_code list_refs(struct exporting *x)
{
	struct wr_ref_cursor cursor;
	struct wr_ref ref;
	size_t cap = 0;
	enum wr_code code = WR_OK;

	wr_ref_cursor_init(&cursor, x->snap, WR_S(""));
	while (code == WR_OK && wr_ref_cursor_next(&ref, &cursor))
		if (wr_ref_shown(&ref))
			code = add_ref(x, &cap, &ref);
	return code;
}

static enum wr_code make_folders(struct exporting *x)
{
	static const char *const folders[] = {"objects", "objects/info", "objects/pack",
					      "refs",	 "refs/heads",	 "refs/tags"};

	for (size_t i = 0; i < WR_ARRAY_LEN(folders); i++)
		if (mkdirat(x->dir, folders[i], 0700) < 0)
			return wr_fail_errno(x->err, "mkdir %s", folders[i]);
	return WR_OK;
}

static enum wr_code bring_packs(struct exporting *x)
{
	WR_AUTO_FD int packs = openat(x->dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (packs < 0)
		return wr_fail_errno(x->err, "open folder objects/pack");
	return wr_carry_bring(&x->carry, packs);
}

static enum wr_code write_refs(struct exporting *x)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(TEXT_MAX);

	wr_export_refs_begin(&text);
	for (size_t i = 0; i < x->ref_count; i++)
		wr_export_ref(&text, &x->refs[i]);
	if (!wr_buf_ok(&text))
		return wr_fail_nomem(x->err);
	return wr_file_create(x->dir, "packed-refs", wr_buf_str(&text), x->err);
}

static enum wr_code write_shallow(struct exporting *x)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(TEXT_MAX);
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	enum wr_code code;

	if (x->ref_count == 0)
		return WR_OK;
	if ((code = wr_carry_roots(&roots, &x->carry)) != WR_OK || roots.len == 0)
		return code;
	wr_export_shallow(&text, &roots);
	if (!wr_buf_ok(&text))
		return wr_fail_nomem(x->err);
	return wr_file_create(x->dir, "shallow", wr_buf_str(&text), x->err);
}

static enum wr_code write_head(struct exporting *x, struct wr_str branch)
{
	static const char config[] = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
	WR_AUTO_S(wr_buf) head = WR_BUF_INIT(8192);
	enum wr_code code;

	wr_export_head(&head, branch);
	if (!wr_buf_ok(&head))
		return wr_fail_nomem(x->err);
	code = wr_file_create(x->dir, "HEAD", wr_buf_str(&head), x->err);
	return code == WR_OK ? wr_file_create(x->dir, "config", WR_S(config), x->err) : code;
}

static enum wr_code fill(struct exporting *x, struct wr_str branch)
{
	enum wr_code code;

	if ((code = make_folders(x)) != WR_OK || (x->ref_count && (code = bring_packs(x)) != WR_OK) ||
	    (code = write_refs(x)) != WR_OK || (code = write_shallow(x)) != WR_OK)
		return code;
	return write_head(x, branch);
}

/* ---- into place ---- */

static enum wr_code flush(struct exporting *x)
{
	static const char *const folders[] = {"objects/info", "objects/pack", "objects", "refs/heads",
					      "refs/tags",    "refs",	      "."};
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < WR_ARRAY_LEN(folders) && code == WR_OK; i++)
		code = wr_file_sync_dir(x->dir, folders[i], x->err);
	return code;
}

/* Never over something; not every file system can be told so. */
static int rename_new(int in, const char *from, const char *to)
{
	struct stat st;

	if (renameat2(in, from, in, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (fstatat(in, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return renameat(in, from, in, to);
}

/*
 * The lock's file goes last: a folder without it is never swept. Where a crash leaves it in the finished repository git
 * does not mind it.
 */
static enum wr_code settle(struct exporting *x)
{
	if (unlinkat(x->dir, LOCK, 0) < 0 || fsync(x->dir) < 0 || fsync(x->in) < 0)
		return wr_fail_errno(x->err, "flush an export");
	return WR_OK;
}

static enum wr_code finish(struct exporting *x)
{
	enum wr_code code = wr_cancelled(x->cancel, x->err);

	if (code != WR_OK || (code = flush(x)) != WR_OK)
		return code;
	if (rename_new(x->in, x->built, x->name) < 0)
		return errno == EEXIST || errno == ENOTEMPTY ? exists(x) : wr_fail_errno(x->err, "rename an export");
	code = settle(x);
	/* Else it stays, whole, if not for certain: the error says that much. */
	if (code != WR_OK && renameat(x->in, x->name, x->in, x->built) < 0)
		x->built[0] = '\0';
	return code;
}

static enum wr_code run(struct exporting *x, struct wr_git_repo *repo, const char *path, struct wr_str branch)
{
	enum wr_code code;

	if (!wr_branchname_ok(branch))
		return wr_fail(x->err, WR_E_INVALID_REQUEST, "The default branch has a name that no branch can have");
	if ((code = split(x, path)) != WR_OK || (code = open_parent(x)) != WR_OK ||
	    (code = wr_below_each(x->in, "the folder of an export", sweep_one, x, x->cancel, x->err)) != WR_OK ||
	    (code = wr_snapshot_take(&x->snap, repo, x->err)) != WR_OK || (code = list_refs(x)) != WR_OK)
		return code;
	x->carry.refs = x->refs;
	x->carry.ref_count = x->ref_count;
	if (x->ref_count && (code = wr_carry_choose(&x->carry, repo, x->snap, x->cancel, x->err)) != WR_OK)
		return code;
	if ((code = make_folder(x)) == WR_OK && (code = fill(x, branch)) == WR_OK)
		code = finish(x);
	if (code != WR_OK && x->built[0] && x->dir >= 0 && remove_built(x->in, x->dir, x->built, NULL) != WR_OK)
		errno = 0; /* the next export to this path tries again */
	return code;
}

enum wr_code wr_git_export(struct wr_adopted *out, struct wr_git_repo *repo, const char *path,
			   struct wr_str default_branch, bool may_link, const struct wr_progress *progress,
			   const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO_S(wr_error) own = WR_ERROR_INIT;
	WR_CLEANUP(exporting_fini)
	struct exporting x = {.in = -1,
			      .dir = -1,
			      .lock = -1,
			      .carry = {.may_link = may_link, .progress = progress, .from = -1},
			      .cancel = cancel,
			      .err = &own};
	enum wr_code code = run(&x, repo, path, default_branch);

	if (code != WR_OK) {
		if (err)
			wr_error_move(err, &own);
		return code;
	}
	*out = (struct wr_adopted){.refs = x.ref_count, .linked = x.carry.linked, .copied = x.carry.copied};
	for (size_t i = 0; i < x.carry.member_count; i++) {
		const struct wr_pack *p = x.carry.members[i].pack;

		out->objects += p->count;
		out->bytes += p->size + p->idx_size + p->rev_size;
	}
	return WR_OK;
}
