#include <errno.h>
#include <fcntl.h>
#include <git2/errors.h>
#include <git2/odb.h>
#include <git2/odb_backend.h>
#include <git2/sys/odb_backend.h>
#include <sys/mman.h>

#include "core/git/index_internal.h"

void wr_index_blob_free(struct wr_index_blob *b)
{
	if (b->mapped)
		munmap(b->p, b->size + 1);
	else
		free(b->p);
	*b = (struct wr_index_blob){NULL, 0, false};
}

enum wr_code wr_index_spool_open(int *out, struct wr_index_worker *w)
{
	char name[] = "spool-xxxxxxxx";
	enum wr_code code;
	int dir, fd;

	if ((code = wr_index_dir(&dir, w)) != WR_OK)
		return code;
	wr_random_text(name + 6, 8);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return wr_fail_errno(w->err, "create a spool file");
	unlinkat(dir, name, 0);
	*out = fd;
	return WR_OK;
}

enum wr_code wr_index_spool_map(struct wr_index_blob *b, struct wr_index_worker *w, int fd, size_t size)
{
	void *p = mmap(NULL, size + 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return wr_fail_errno(w->err, "mmap of a spool file");
	*b = (struct wr_index_blob){p, size, true};
	return WR_OK;
}

enum wr_code wr_index_blob_new(struct wr_index_blob *b, struct wr_index_worker *w, uint64_t size)
{
	WR_AUTO_FD int fd = -1;
	enum wr_code code;
	int rc;

	if (size > w->x->limits->max_object)
		return wr_index_too_large(w);
	if (size <= WR_INDEX_IN_MEMORY) {
		*b = (struct wr_index_blob){malloc((size_t)size + 1), (size_t)size, false};
		return b->p ? WR_OK : wr_fail_nomem(w->err);
	}
	if ((code = wr_index_spool_open(&fd, w)) != WR_OK)
		return code;
	/* Real blocks: a full disk shall be an error here, not a signal when the map is written to. */
	if ((rc = posix_fallocate(fd, 0, (off_t)size + 1)) != 0) {
		errno = rc;
		return wr_fail_errno(w->err, "spool file of %llu bytes", (unsigned long long)size);
	}
	return wr_index_spool_map(b, w, fd, (size_t)size);
}

enum wr_code wr_index_scratch(struct wr_index_blob *b, struct wr_index_worker *w, uint64_t size)
{
	size_t room = 4096;

	if (b->p && b->size > size)
		return WR_OK;
	while (room <= size)
		room *= 2;
	wr_index_blob_free(b);
	*b = (struct wr_index_blob){malloc(room), room, false};
	return b->p ? WR_OK : wr_fail_nomem(w->err);
}

void wr_index_worker_fini(struct wr_index_worker *w)
{
	wr_unzip_fini(&w->unzip);
	wr_refs_check_fini(&w->check);
	wr_index_blob_free(&w->delta);
	wr_index_blob_free(&w->made);
}

/* ---- ids ---- */

static enum wr_code attack(struct wr_index_worker *w)
{
	return wr_index_bad(w, "an object looks like an attack on SHA-1");
}

enum wr_code wr_index_id(struct wr_oid *out, struct wr_index_worker *w, enum wr_type type, struct wr_str data)
{
	git_oid oid;

	if (git_odb_hash(&oid, data.ptr, data.len, (git_object_t)type) < 0)
		return attack(w);
	memcpy(out->id, oid.id, WR_OID_RAW);
	return WR_OK;
}

/*
 * libgit2 hashes a stream only as a side of writing it to an object database; this is one whose backend keeps nothing.
 */
struct wr_index_hash {
	git_odb *odb;
	git_odb_backend backend;
	git_odb_stream *stream;
};

static int keep_nothing(git_odb_stream *stream, const char *data, size_t len)
{
	(void)stream;
	(void)data;
	(void)len;
	return 0;
}

static int finish_nothing(git_odb_stream *stream, const git_oid *oid)
{
	(void)stream;
	(void)oid;
	return 0;
}

static void free_stream(git_odb_stream *stream)
{
	free(stream);
}

static void free_backend(git_odb_backend *backend)
{
	(void)backend; /* part of a wr_index_hash */
}

static int open_stream(git_odb_stream **out, git_odb_backend *backend, git_object_size_t size, git_object_t type)
{
	git_odb_stream *stream = calloc(1, sizeof *stream);

	(void)size;
	(void)type;
	if (!stream)
		return GIT_ERROR;
	stream->backend = backend;
	stream->mode = GIT_STREAM_WRONLY;
	stream->write = keep_nothing;
	stream->finalize_write = finish_nothing;
	stream->free = free_stream;
	*out = stream;
	return 0;
}

enum wr_code wr_index_hash_new(struct wr_index_hash **out, struct wr_index_worker *w, uint64_t size)
{
	WR_AUTO(wr_index_hash) *h = calloc(1, sizeof *h);

	if (!h || git_odb_new(&h->odb) < 0 || git_odb_init_backend(&h->backend, GIT_ODB_BACKEND_VERSION) < 0)
		return wr_fail_nomem(w->err);
	h->backend.writestream = open_stream;
	h->backend.free = free_backend;
	if (git_odb_add_backend(h->odb, &h->backend, 1) < 0 ||
	    git_odb_open_wstream(&h->stream, h->odb, size, GIT_OBJECT_BLOB) < 0)
		return wr_fail_nomem(w->err);
	*out = WR_STEAL(h);
	return WR_OK;
}

void wr_index_hash_free(struct wr_index_hash *h)
{
	if (!h)
		return;
	git_odb_stream_free(h->stream);
	git_odb_free(h->odb);
	free(h);
}

enum wr_code wr_index_hash_add(struct wr_index_hash *h, struct wr_index_worker *w, const uint8_t *data, size_t n)
{
	if (git_odb_stream_write(h->stream, (const char *)data, n) < 0)
		return wr_fail(w->err, WR_E_INTERNAL, "libgit2 does not hash");
	return WR_OK;
}

/* A recognised attack is only left as the thread's last error: the stream's end does not pass it on. */
enum wr_code wr_index_hash_end(struct wr_oid *out, struct wr_index_hash *h, struct wr_index_worker *w)
{
	const git_error *last;
	git_oid oid;

	git_error_clear();
	if (git_odb_stream_finalize_write(&oid, h->stream) < 0)
		return wr_fail(w->err, WR_E_INTERNAL, "libgit2 does not hash");
	last = git_error_last();
	if (last && last->klass == GIT_ERROR_SHA)
		return attack(w);
	memcpy(out->id, oid.id, WR_OID_RAW);
	return WR_OK;
}
