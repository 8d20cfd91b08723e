/*
 * packed-refs: a header line, "<id> <name>" for each ref by name, and "^<id>" after a tag: what it leads to.
 */
#include "core/git/export.h"

#include <errno.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/checkpoint.h"

#define TEXT_MAX ((size_t)4 << 30)

/* ---- texts ---- */

void wr_export_refs_begin(struct wr_buf *out)
{
	wr_buf_addz(out, "# pack-refs with: peeled fully-peeled sorted \n");
}

static void add_id(struct wr_buf *out, const struct wr_oid *oid, char end)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	wr_buf_add(out, hex, WR_OID_HEX);
	wr_buf_addc(out, end);
}

void wr_export_ref(struct wr_buf *out, const struct wr_ref *ref)
{
	add_id(out, &ref->oid, ' ');
	wr_buf_adds(out, ref->name);
	wr_buf_addc(out, '\n');
	if (wr_oid_zero(&ref->peeled))
		return;
	wr_buf_addc(out, '^');
	add_id(out, &ref->peeled, '\n');
}

void wr_export_shallow(struct wr_buf *out, const struct wr_oids *roots)
{
	for (size_t i = 0; i < roots->len; i++)
		add_id(out, &roots->v[i], '\n');
}

void wr_export_head(struct wr_buf *out, struct wr_str branch)
{
	wr_buf_addz(out, "ref: refs/heads/");
	wr_buf_adds(out, branch);
	wr_buf_addc(out, '\n');
}

/* ---- files of a checkpoint ---- */

static enum wr_code differs(bool *out, int dir, const char *name, struct wr_str text, struct wr_error *err)
{
	WR_AUTO_MEM char *old = NULL;
	struct stat st;
	size_t len = 0;
	enum wr_code code;

	*out = true;
	/* Mostly the sizes tell, without reading either. */
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size != text.len)
		return WR_OK;
	code = wr_file_read(&old, &len, dir, name, text.len, err);
	if (code == WR_OK)
		*out = !wr_str_eq(wr_str_n(old, len), text);
	return code == WR_E_TOO_LARGE || code == WR_E_NOT_THERE ? WR_OK : code;
}

/*
 * Not flushed: all of it can be made again. One checkpoint at a time writes, so a fixed name beside the file will do,
 * and what a crash leaves there is written over.
 */
static enum wr_code replace(int dir, const char *name, struct wr_str text, struct wr_error *err)
{
	char beside[32];
	WR_AUTO_FD int fd = -1;
	bool changed;
	enum wr_code code = differs(&changed, dir, name, text, err);

	if (code != WR_OK || !changed)
		return code;
	snprintf(beside, sizeof beside, "%s.tmp", name);
	fd = openat(dir, beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return wr_fail_errno(err, "create %s", beside);
	code = wr_file_write_all(fd, text.ptr, text.len, err);
	if (code == WR_OK && renameat(dir, beside, dir, name) < 0)
		code = wr_fail_errno(err, "rename %s", name);
	if (code != WR_OK)
		unlinkat(dir, beside, 0);
	return code;
}

/* Those of the checkpoint: objects of later ones may lie in journals, which plain git cannot read. */
static enum wr_code export_refs(int dir, const struct wr_snapshot *snap, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(TEXT_MAX);
	size_t n = snap->stored ? wr_refsfile_count(snap->stored) : 0;
	struct wr_ref ref;

	wr_export_refs_begin(&text);
	for (size_t i = 0; i < n; i++) {
		wr_refsfile_ref_at(&ref, snap->stored, i);
		wr_export_ref(&text, &ref);
	}
	return wr_buf_ok(&text) ? replace(dir, "packed-refs", wr_buf_str(&text), err) : wr_fail_nomem(err);
}

static enum wr_code export_shallow(int dir, const struct wr_snapshot *snap, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(TEXT_MAX);
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	enum wr_code code;

	if (snap->stored && (code = wr_refsfile_shallow(&roots, snap->stored, err)) != WR_OK)
		return code;
	if (roots.len == 0)
		return unlinkat(dir, "shallow", 0) == 0 || errno == ENOENT ? WR_OK
									     : wr_fail_errno(err, "remove shallow");
	wr_export_shallow(&text, &roots);
	return wr_buf_ok(&text) ? replace(dir, "shallow", wr_buf_str(&text), err) : wr_fail_nomem(err);
}

enum wr_code wr_checkpoint_export(int dir, const struct wr_snapshot *snap, struct wr_str default_branch,
				  struct wr_error *err)
{
	WR_AUTO_S(wr_buf) head = WR_BUF_INIT(8192);
	enum wr_code code;

	wr_export_head(&head, default_branch);
	if (!wr_buf_ok(&head))
		return wr_fail(err, WR_E_INTERNAL, "a default branch of %zu bytes", default_branch.len);
	/* Refs before HEAD, so that the branch that it names is there. */
	if ((code = export_refs(dir, snap, err)) != WR_OK || (code = export_shallow(dir, snap, err)) != WR_OK)
		return code;
	return replace(dir, "HEAD", wr_buf_str(&head), err);
}
