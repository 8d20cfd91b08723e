#include "core/git/libgit2.h"

#include <git2/errors.h>
#include <git2/odb.h>
#include <git2/odb_backend.h>
#include <git2/sys/odb_backend.h>
#include <git2/sys/repository.h>

#include "core/git/snapshot_internal.h"

#define CACHE_BYTES ((size_t)16 << 20)

struct backend {
	git_odb_backend base;
	struct wr_snapshot *snap;
	struct wr_cache *cache;
};

static int failed(enum wr_code code, const struct wr_error *err)
{
	if (code == WR_E_NOT_THERE)
		return GIT_ENOTFOUND;
	git_error_set_str(GIT_ERROR_ODB, err->detail[0] ? err->detail : wr_error_text(err));
	return GIT_ERROR;
}

static struct wr_oid ours(const git_oid *oid)
{
	struct wr_oid out;

	memcpy(out.id, oid->id, WR_OID_RAW);
	return out;
}

/* The numbers of types are git's, here as there. */
static int backend_read(void **data, size_t *len, git_object_t *type, git_odb_backend *base, const git_oid *id)
{
	struct backend *b = (struct backend *)base;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_oid oid = ours(id);
	enum wr_type is;
	struct wr_str bytes;
	enum wr_code code = wr_snapshot_borrow(&is, &bytes, b->snap, &oid, b->cache, &err);
	char *copy;

	if (code != WR_OK)
		return failed(code, &err);
	copy = git_odb_backend_data_alloc(base, bytes.len + 1);
	if (!copy)
		return GIT_ERROR;
	if (bytes.len)
		memcpy(copy, bytes.ptr, bytes.len);
	copy[bytes.len] = '\0';
	*data = copy;
	*len = bytes.len;
	*type = (git_object_t)is;
	return 0;
}

static int backend_read_header(size_t *len, git_object_t *type, git_odb_backend *base, const git_oid *id)
{
	struct backend *b = (struct backend *)base;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_oid oid = ours(id);
	enum wr_type is;
	uint64_t size;
	enum wr_code code = wr_snapshot_stat(b->snap, &oid, &is, &size, &err);

	if (code != WR_OK)
		return failed(code, &err);
	*len = (size_t)size;
	*type = (git_object_t)is;
	return 0;
}

static int backend_exists(git_odb_backend *base, const git_oid *id)
{
	struct wr_oid oid = ours(id);

	return wr_snapshot_has(((struct backend *)base)->snap, &oid);
}

static void backend_free(git_odb_backend *base)
{
	struct backend *b = (struct backend *)base;

	wr_cache_free(b->cache);
	wr_snapshot_unref(b->snap);
	free(b);
}

static enum wr_code backend_new(git_odb_backend **out, struct wr_snapshot *snap, struct wr_error *err)
{
	struct backend *b = calloc(1, sizeof *b);
	enum wr_code code;

	if (!b)
		return wr_fail_nomem(err);
	if ((code = wr_cache_new(&b->cache, CACHE_BYTES, err)) != WR_OK) {
		free(b);
		return code;
	}
	b->base.version = GIT_ODB_BACKEND_VERSION;
	b->base.read = backend_read;
	b->base.read_header = backend_read_header;
	b->base.exists = backend_exists;
	b->base.free = backend_free;
	b->snap = wr_snapshot_ref_more(snap);
	*out = &b->base;
	return WR_OK;
}

static enum wr_code library(struct wr_error *err)
{
	const git_error *e = git_error_last();

	return wr_fail(err, WR_E_INTERNAL, "libgit2: %s", e ? e->message : "unknown error");
}

enum wr_code wr_libgit2_open(git_repository **out, struct wr_snapshot *snap, struct wr_error *err)
{
	git_odb_backend *backend = NULL;
	git_repository *repo = NULL;
	git_odb *odb = NULL;
	enum wr_code code = WR_OK;

	if (git_odb_new(&odb) < 0)
		return library(err);
	if ((code = backend_new(&backend, snap, err)) == WR_OK && git_odb_add_backend(odb, backend, 1) < 0) {
		code = library(err);
		backend_free(backend);
	}
	if (code == WR_OK && git_repository_wrap_odb(&repo, odb) < 0)
		code = library(err);
	/* The repository has its own reference. */
	git_odb_free(odb);
	if (code == WR_OK)
		*out = repo;
	return code;
}
