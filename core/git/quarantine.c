#include <errno.h>
#include <fcntl.h>
#include <git2/odb.h>
#include <limits.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/append_internal.h"
#include "core/git/delta.h"
#include "core/git/git_internal.h"
#include "core/git/index.h"

#define SHA1_LEN 20
#define ADDED "added"

struct wr_quarantine {
	struct wr_git_repo *repo;
	int dir;
	char path[PATH_MAX];
	char name[WR_PACK_NAME + 1];
	bool used;	      /* a pack was read */
	struct wr_pack *pack; /* NULL: no objects (yet) */
	int added;	      /* a pack without its trailer, of what was added; or -1 */
	struct wr_oidmap ids; /* what was added */
};

/* ".../run/<random>", a folder of its own. */
static enum wr_code make_folder(struct wr_quarantine *q, struct wr_error *err)
{
	char mark[25];
	int n;

	wr_random_text(mark, sizeof mark - 1);
	n = snprintf(q->path, sizeof q->path, "%s/run/%s", q->repo->git->data, mark);
	if (n < 0 || (size_t)n >= sizeof q->path)
		return wr_fail(err, WR_E_INTERNAL, "path too long: run/%s", mark);
	if (mkdir(q->path, 0700) < 0) {
		enum wr_code code = wr_fail_errno(err, "mkdir %s", q->path);

		q->path[0] = '\0';
		return code;
	}
	q->dir = open(q->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return q->dir < 0 ? wr_fail_errno(err, "open folder %s", q->path) : WR_OK;
}

enum wr_code wr_quarantine_new(struct wr_quarantine **out, struct wr_git_repo *repo, struct wr_error *err)
{
	WR_AUTO(wr_quarantine) *q = calloc(1, sizeof *q);
	uint8_t id[20];
	enum wr_code code;

	if (!q)
		return wr_fail_nomem(err);
	q->repo = repo;
	q->dir = q->added = -1;
	/* The name says nothing of the content: equal packs may come twice, and never replace each other. */
	wr_random_bytes(id, sizeof id);
	memcpy(q->name, "pack-", 5);
	wr_hex(q->name + 5, id, sizeof id);
	if ((code = make_folder(q, err)) != WR_OK)
		return code;
	*out = WR_STEAL(q);
	return WR_OK;
}

void wr_quarantine_free(struct wr_quarantine *q)
{
	if (!q)
		return;
	wr_pack_unref(q->pack);
	if (q->added >= 0)
		close(q->added);
	if (q->dir >= 0)
		close(q->dir);
	/* What cannot be removed now is removed when the store is opened next. */
	if (q->path[0] && wr_file_remove(AT_FDCWD, q->path, NULL) != WR_OK)
		errno = 0;
	wr_oidmap_fini(&q->ids);
	free(q);
}

static enum wr_code take_in(struct wr_quarantine *q, struct wr_source *src, const struct wr_snapshot *snap,
			    const struct wr_index_limits *limits, const struct wr_progress *progress,
			    const struct wr_cancel *cancel, struct wr_error *err)
{
	enum wr_code code;
	uint32_t count;

	if ((code = wr_index_pack(&count, q->dir, q->name, src, snap, limits, progress, cancel, err)) != WR_OK ||
	    count == 0)
		return code;
	return wr_pack_open(&q->pack, q->dir, q->name, err);
}

enum wr_code wr_quarantine_pack(struct wr_quarantine *q, struct wr_source *src, const struct wr_progress *progress,
				const struct wr_cancel *cancel, struct wr_error *err)
{
	const struct wr_git_config *cfg = &q->repo->git->cfg;
	struct wr_index_limits limits = {cfg->max_pack_bytes, cfg->max_pack_objects, cfg->max_object_bytes,
					 cfg->max_unpacked_bytes};
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code;

	if (q->used || q->added >= 0)
		return wr_fail(err, WR_E_INTERNAL, "a quarantine takes one pack");
	q->used = true;
	if ((code = wr_snapshot_take(&snap, q->repo, err)) != WR_OK)
		return code;
	return take_in(q, src, snap, &limits, progress, cancel, err);
}

/* ---- objects of this server ---- */

static enum wr_code put_object(int fd, enum wr_type type, struct wr_str bytes, struct wr_error *err)
{
	WR_AUTO_MEM uint8_t *out = NULL;
	uLongf len = compressBound(bytes.len);
	uint8_t head[16];
	enum wr_code code;

	out = malloc(len);
	if (!out)
		return wr_fail_nomem(err);
	if (compress(out, &len, (const Bytef *)bytes.ptr, bytes.len) != Z_OK)
		return wr_fail(err, WR_E_INTERNAL, "deflate of %zu bytes failed", bytes.len);
	if ((code = wr_file_write_all(fd, head, wr_entry_put(head, type, bytes.len), err)) != WR_OK)
		return code;
	return wr_file_write_all(fd, out, len, err);
}

/* Gets its count when it is sealed. */
static enum wr_code begin_added(struct wr_quarantine *q, struct wr_error *err)
{
	q->added = openat(q->dir, ADDED, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (q->added < 0)
		return wr_fail_errno(err, "create a spool file");
	return wr_file_write_all(q->added, "PACK\0\0\0\2\0\0\0", WR_PACK_HEADER, err);
}

enum wr_code wr_quarantine_add(struct wr_oid *out, struct wr_quarantine *q, enum wr_type type, struct wr_str bytes,
			       struct wr_error *err)
{
	struct wr_oid oid;
	enum wr_code code;
	git_oid id;
	bool added;

	if (q->used)
		return wr_fail(err, WR_E_INTERNAL, "a quarantine takes one pack, or single objects");
	if (bytes.len > q->repo->git->cfg.max_object_bytes)
		return wr_fail(err, WR_E_TOO_LARGE, "The object has %zu bytes", bytes.len);
	if (!bytes.ptr)
		bytes.ptr = "";
	if (git_odb_hash(&id, bytes.ptr, bytes.len, (git_object_t)type) < 0)
		return wr_fail(err, WR_E_BAD_PACK, "the object looks like an attack on SHA-1");
	memcpy(oid.id, id.id, WR_OID_RAW);
	if (q->ids.len >= q->repo->git->cfg.max_pack_objects)
		return wr_fail(err, WR_E_TOO_LARGE, "More than %zu objects", q->ids.len);
	if (q->added < 0 && (code = begin_added(q, err)) != WR_OK)
		return code;
	if (!wr_oidmap_has(&q->ids, &oid)) {
		if ((code = put_object(q->added, type, bytes, err)) != WR_OK ||
		    (code = wr_oidmap_add(&q->ids, &oid, 0, &added, err)) != WR_OK)
			return code;
	}
	*out = oid;
	return WR_OK;
}

/* The spool as a source: its bytes, and then their sum. */
struct spool_source {
	struct wr_source base;
	int fd;
	EVP_MD_CTX *sha;
	bool ended;
};

static enum wr_code spool_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct spool_source *s = (struct spool_source *)base;
	unsigned char sum[EVP_MAX_MD_SIZE];
	ssize_t n = 0;

	*got = 0;
	if (s->ended)
		return WR_OK;
	do
		n = read(s->fd, buf, cap);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return wr_fail_errno(err, "read a spool file");
	if (n > 0 && EVP_DigestUpdate(s->sha, buf, (size_t)n) != 1)
		return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	*got = (size_t)n;
	if (n > 0 || cap < SHA1_LEN)
		return n > 0 ? WR_OK : wr_fail(err, WR_E_INTERNAL, "a reader asks for %zu bytes", cap);
	if (EVP_DigestFinal_ex(s->sha, sum, NULL) != 1)
		return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	memcpy(buf, sum, SHA1_LEN);
	*got = SHA1_LEN;
	s->ended = true;
	return WR_OK;
}

static enum wr_code seal_added(struct wr_quarantine *q, const struct wr_snapshot *snap, struct wr_error *err)
{
	const struct wr_index_limits limits = {UINT64_MAX, UINT32_MAX, q->repo->git->cfg.max_object_bytes,
					       UINT64_MAX};
	struct spool_source src = {{spool_read}, q->added, EVP_MD_CTX_new(), false};
	uint8_t count[4];
	enum wr_code code;

	wr_put_be32(count, (uint32_t)q->ids.len);
	if (!src.sha)
		return wr_fail_nomem(err);
	if (EVP_DigestInit_ex(src.sha, EVP_sha1(), NULL) != 1)
		code = wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	else if (pwrite(q->added, count, sizeof count, 8) != (ssize_t)sizeof count || lseek(q->added, 0, SEEK_SET) < 0)
		code = wr_fail_errno(err, "write a spool file");
	else
		code = take_in(q, &src.base, snap, &limits, NULL, NULL, err);
	EVP_MD_CTX_free(src.sha);
	close(q->added);
	q->added = -1;
	q->used = true;
	return code;
}

enum wr_code wr_quarantine_seal(struct wr_pack **pack, int *dir, struct wr_quarantine *q,
				const struct wr_snapshot *snap, struct wr_error *err)
{
	enum wr_code code;

	if (q->added >= 0 && (code = seal_added(q, snap, err)) != WR_OK)
		return code;
	*pack = q->pack;
	*dir = q->dir;
	return WR_OK;
}
