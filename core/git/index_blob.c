#include <git2/errors.h>
#include <git2/odb.h>
#include <git2/odb_backend.h>
#include <git2/sys/odb_backend.h>

#include "core/git/index_internal.h"

void wr_index_blob_free(struct wr_index_blob *b)
{
	struct wr_held held = {b->p, b->size + 1, b->mapped, b->hold};

	if (b->p)
		wr_held_free(&held);
	*b = (struct wr_index_blob){.p = NULL};
}

static void blob_of(struct wr_index_blob *b, const struct wr_held *held)
{
	*b = (struct wr_index_blob){held->p, held->size - 1, held->mapped, held->hold};
}

enum wr_code wr_index_blob_map(struct wr_index_blob *b, struct wr_index_worker *w, int fd, size_t size)
{
	struct wr_held held;
	enum wr_code code = wr_hold_map(&held, fd, size + 1, w->err);

	if (code == WR_OK)
		blob_of(b, &held);
	return code;
}

enum wr_code wr_index_blob_new(struct wr_index_blob *b, struct wr_index_worker *w, uint64_t size)
{
	struct wr_held held = {.p = NULL};
	enum wr_code code;

	if (size > w->x->limits->max_object)
		return wr_index_too_large(w);
	code = wr_held_resize(&held, &w->x->hold, (size_t)size + 1, (size_t)WR_INDEX_IN_MEMORY + 1, w->err);
	if (code == WR_OK)
		blob_of(b, &held);
	return code;
}

enum wr_code wr_index_scratch(struct wr_held *b, struct wr_index_worker *w, uint64_t size)
{
	size_t room = 4096;

	if (b->p && b->size > size)
		return WR_OK;
	while (room <= size)
		room *= 2;
	wr_held_free(b);
	return wr_held_resize(b, &w->x->hold, room, 2 * (size_t)WR_INDEX_IN_MEMORY, w->err);
}

void wr_index_worker_fini(struct wr_index_worker *w)
{
	wr_unzip_fini(&w->unzip);
	wr_refs_check_fini(&w->check);
	wr_held_free(&w->delta);
	wr_held_free(&w->made);
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
