/*
 * Two passes. The first reads the stream once: each entry is inflated as it arrives, full objects are hashed and
 * checked, deltas only counted. The second follows the tree of deltas from each full object downwards, so that every
 * base is at hand when its deltas need it. Bases that a thin pack left out are then appended from the repository.
 */
#include "core/git/index_internal.h"

#include <fcntl.h>
#include <limits.h>

#include "core/base/file.h"

#define IN_SIZE 65536

enum wr_code wr_index_bad(struct wr_indexer *x, const char *what)
{
	return wr_fail(x->err, WR_E_BAD_PACK, "bad pack: %s", what);
}

enum wr_code wr_index_bad_at(struct wr_indexer *x, uint64_t offset, const char *what)
{
	return wr_fail(x->err, WR_E_BAD_PACK, "bad pack: %s in the entry at byte %llu", what,
		       (unsigned long long)offset);
}

enum wr_code wr_index_too_large(struct wr_indexer *x)
{
	return wr_fail(x->err, WR_E_TOO_LARGE, "an object has more than %llu bytes",
		       (unsigned long long)x->limits->max_object);
}

enum wr_code wr_index_spend(struct wr_indexer *x, uint64_t size)
{
	if (size > x->limits->max_unpacked - x->unpacked)
		return wr_fail(x->err, WR_E_TOO_LARGE, "the pack unpacks to more than %llu bytes",
			       (unsigned long long)x->limits->max_unpacked);
	x->unpacked += size;
	return WR_OK;
}

enum wr_code wr_index_cancelled(struct wr_indexer *x)
{
	if (x->cancel && x->cancel->fn && x->cancel->fn(x->cancel->arg))
		return wr_fail(x->err, WR_E_CANCELLED, "cancelled while a pack was read");
	return WR_OK;
}

/* Contents that arrive piece by piece; memory grows with what has arrived. */
struct pour {
	uint64_t size; /* claimed */
	uint64_t done;
	bool keep;
	int fd;			    /* of the spool, or -1 */
	struct wr_index_hash *hash; /* only the id is wanted, or NULL */
	uint8_t *p;
	size_t cap;
};

static enum wr_code pour_add(struct pour *pour, struct wr_indexer *x, const uint8_t *data, size_t n)
{
	if (n > pour->size - pour->done)
		return wr_index_bad(x, "an entry is longer than it says");
	if (pour->hash || (pour->keep && pour->fd >= 0)) {
		enum wr_code code = pour->hash ? wr_index_hash_add(pour->hash, x, data, n)
					       : wr_file_write_all(pour->fd, data, n, x->err);

		if (code != WR_OK)
			return code;
	} else if (pour->keep) {
		size_t need = (size_t)pour->done + n + 1;

		if (need > pour->cap) {
			size_t cap = need > pour->cap * 2 ? need : pour->cap * 2;
			uint8_t *p;

			cap = cap > pour->size + 1 ? (size_t)pour->size + 1 : cap;
			p = realloc(pour->p, cap);
			if (!p)
				return wr_fail_nomem(x->err);
			pour->p = p;
			pour->cap = cap;
		}
		memcpy(pour->p + pour->done, data, n);
	}
	pour->done += n;
	return WR_OK;
}

/* ---- the first pass: the stream ---- */

/* Hands on what is used of the input: to the sum and to the file. */
static enum wr_code drain(struct wr_indexer *x)
{
	enum wr_code code;

	if (x->pos == 0)
		return WR_OK;
	if (!x->unhashed && EVP_DigestUpdate(x->sha, x->in, x->pos) != 1)
		return wr_fail(x->err, WR_E_INTERNAL, "SHA-1 failed");
	if ((code = wr_file_write_all(x->fd, x->in, x->pos, x->err)) != WR_OK)
		return code;
	x->base += x->pos;
	x->len -= x->pos;
	memmove(x->in, x->in + x->pos, x->len);
	x->pos = 0;
	return WR_OK;
}

/* More input behind what is there; *got = 0 at the end. */
static enum wr_code more(struct wr_indexer *x, size_t *got)
{
	enum wr_code code;

	if ((code = wr_index_cancelled(x)) != WR_OK || (code = drain(x)) != WR_OK ||
	    (code = wr_source_read(x->src, x->in + x->len, IN_SIZE - x->len, got, x->err)) != WR_OK)
		return code;
	x->len += *got;
	if (x->base + x->len > x->limits->max_bytes)
		return wr_fail(x->err, WR_E_TOO_LARGE, "the pack has more than %llu bytes",
			       (unsigned long long)x->limits->max_bytes);
	return WR_OK;
}

/* At least n bytes at in + pos, or BAD_PACK. */
static enum wr_code need(struct wr_indexer *x, size_t n)
{
	enum wr_code code;
	size_t got;

	while (x->len - x->pos < n) {
		if ((code = more(x, &got)) != WR_OK)
			return code;
		if (got == 0)
			return wr_index_bad(x, "it ends too early");
	}
	return WR_OK;
}

/* As need(), but the end of the input may come first. */
static enum wr_code want(struct wr_indexer *x, size_t n)
{
	enum wr_code code = WR_OK;
	size_t got = 1;

	while (code == WR_OK && got > 0 && x->len - x->pos < n)
		code = more(x, &got);
	return code;
}

static void use(struct wr_indexer *x, size_t n)
{
	x->crc = (uint32_t)crc32(x->crc, x->in + x->pos, (uInt)n);
	x->pos += n;
}

static enum wr_code read_header(struct wr_indexer *x)
{
	enum wr_code code = need(x, WR_PACK_HEADER);

	if (code != WR_OK)
		return code;
	if (memcmp(x->in, "PACK\0\0\0\2", 8) != 0)
		return wr_index_bad(x, "it has no header of version 2");
	x->claimed = wr_be32(x->in + 8);
	if (x->claimed > x->limits->max_objects)
		return wr_fail(x->err, WR_E_TOO_LARGE, "the pack has more than %u objects", x->limits->max_objects);
	x->check.limit = x->claimed;
	use(x, WR_PACK_HEADER);
	return WR_OK;
}

static enum wr_code inflate_stream(struct wr_indexer *x, struct pour *pour)
{
	uint8_t out[16384];
	enum wr_code code;
	int rc;

	if (wr_unzip_begin(&x->unzip) != WR_ZIP_OK)
		return wr_fail_nomem(x->err);
	do {
		z_stream *z = &x->unzip.z;
		size_t before;

		if ((code = need(x, 1)) != WR_OK)
			return code;
		before = x->len - x->pos;
		z->next_in = x->in + x->pos;
		z->avail_in = (uInt)before;
		do {
			z->next_out = out;
			z->avail_out = sizeof out;
			rc = inflate(z, Z_NO_FLUSH);
			if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
				return wr_index_bad(x, "an entry's data are damaged");
			if ((code = pour_add(pour, x, out, sizeof out - z->avail_out)) != WR_OK)
				return code;
		} while (rc != Z_STREAM_END && z->avail_out == 0);
		use(x, before - z->avail_in);
	} while (rc != Z_STREAM_END);
	return pour->done == pour->size ? WR_OK : wr_index_bad(x, "an entry is shorter than it says");
}

enum wr_code wr_index_settle(struct wr_indexer *x, struct wr_index_entry *e, enum wr_type type, const uint8_t *data,
			     size_t size)
{
	enum wr_code code = wr_index_id(&e->oid, x, type, data, size);

	if (code != WR_OK)
		return code;
	e->type = (uint8_t)type;
	return wr_refs_check_object(&x->check, &e->oid, type, wr_str_n(data, size), x->err);
}

/* Nothing is to be found inside a blob, so a large one is not kept. */
static enum wr_code read_blob(struct wr_indexer *x, struct wr_index_entry *e, uint64_t size)
{
	WR_AUTO(wr_index_hash) *hash = NULL;
	struct pour pour = {.size = size, .fd = -1};
	enum wr_code code;

	if ((code = wr_index_hash_new(&hash, x, size)) != WR_OK)
		return code;
	pour.hash = hash;
	if ((code = inflate_stream(x, &pour)) != WR_OK || (code = wr_index_hash_end(&e->oid, hash, x)) != WR_OK)
		return code;
	e->type = WR_BLOB;
	return WR_OK;
}

static enum wr_code read_full(struct wr_indexer *x, struct wr_index_entry *e, uint64_t size)
{
	WR_AUTO_MEM uint8_t *p = NULL;
	WR_AUTO_FD int fd = -1;
	struct wr_index_blob b = {NULL, 0, false};
	struct pour pour;
	enum wr_code code;

	if (size > WR_INDEX_IN_MEMORY && e->kind == WR_BLOB)
		return read_blob(x, e, size);
	if (size > WR_INDEX_IN_MEMORY && (code = wr_index_spool_open(&fd, x)) != WR_OK)
		return code;
	pour = (struct pour){.size = size, .keep = true, .fd = fd};
	code = inflate_stream(x, &pour);
	p = pour.p;
	if (code != WR_OK)
		return code;
	if (fd < 0)
		return wr_index_settle(x, e, (enum wr_type)e->kind, p ? p : (const uint8_t *)"", (size_t)size);
	if ((code = wr_file_write_all(fd, "", 1, x->err)) != WR_OK ||
	    (code = wr_index_spool_map(&b, x, fd, (size_t)size)) != WR_OK)
		return code;
	code = wr_index_settle(x, e, (enum wr_type)e->kind, b.p, b.size);
	wr_index_blob_free(&b);
	return code;
}

static enum wr_code add_ofs(struct wr_indexer *x, uint32_t base, uint32_t child)
{
	if (x->ofs_count == x->ofs_cap) {
		size_t cap = x->ofs_cap ? x->ofs_cap * 2 : 1024;
		struct wr_index_ofs *v = reallocarray(x->ofs, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(x->err);
		x->ofs = v;
		x->ofs_cap = cap;
	}
	x->ofs[x->ofs_count++] = (struct wr_index_ofs){base, child};
	return WR_OK;
}

static enum wr_code add_ref(struct wr_indexer *x, const uint8_t *base, uint32_t child)
{
	if (x->ref_count == x->ref_cap) {
		size_t cap = x->ref_cap ? x->ref_cap * 2 : 1024;
		struct wr_index_ref *v = reallocarray(x->ref, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(x->err);
		x->ref = v;
		x->ref_cap = cap;
	}
	memcpy(x->ref[x->ref_count].base.id, base, WR_OID_RAW);
	x->ref[x->ref_count++].child = child;
	return WR_OK;
}

/* Entries stand in the order of their offsets until all is resolved. */
static bool entry_at(uint32_t *out, const struct wr_indexer *x, uint64_t offset)
{
	uint32_t lo = 0, hi = x->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (x->v[mid].offset == offset) {
			*out = mid;
			return true;
		}
		if (offset < x->v[mid].offset)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

static enum wr_code read_base(struct wr_indexer *x, const struct wr_index_entry *e)
{
	uint64_t distance;
	enum wr_code code;
	uint32_t base;
	size_t n;

	if (e->kind == WR_REF_DELTA) {
		if ((code = need(x, WR_OID_RAW)) != WR_OK || (code = add_ref(x, x->in + x->pos, x->count)) != WR_OK)
			return code;
		use(x, WR_OID_RAW);
		return WR_OK;
	}
	if ((code = want(x, 10)) != WR_OK)
		return code;
	n = wr_entry_distance(&distance, x->in + x->pos, x->len - x->pos);
	if (n == 0 || distance > e->offset || !entry_at(&base, x, e->offset - distance))
		return wr_index_bad_at(x, e->offset, "a wrong delta base");
	use(x, n);
	return add_ofs(x, base, x->count);
}

enum wr_code wr_index_entry_new(struct wr_index_entry **out, struct wr_indexer *x)
{
	if (x->count == x->cap) {
		uint32_t cap = x->cap ? x->cap + x->cap / 2 : 256;
		struct wr_index_entry *v = cap > x->cap ? reallocarray(x->v, cap, sizeof *v) : NULL;

		if (!v)
			return wr_fail_nomem(x->err);
		x->v = v;
		x->cap = cap;
	}
	memset(&x->v[x->count], 0, sizeof *x->v);
	*out = &x->v[x->count];
	return WR_OK;
}

static enum wr_code read_entry(struct wr_indexer *x)
{
	struct pour pour = {.fd = -1};
	struct wr_index_entry *e;
	enum wr_code code;
	unsigned kind;
	size_t n;

	if ((code = wr_index_entry_new(&e, x)) != WR_OK || (code = want(x, 12)) != WR_OK)
		return code;
	e->offset = x->base + x->pos;
	x->crc = (uint32_t)crc32(0, NULL, 0);
	n = wr_entry_head(&kind, &pour.size, x->in + x->pos, x->len - x->pos);
	if (n == 0 || kind == 0 || kind == 5)
		return wr_index_bad_at(x, e->offset, "a wrong header");
	if (pour.size > x->limits->max_object)
		return wr_index_too_large(x);
	if ((code = wr_index_spend(x, pour.size)) != WR_OK)
		return code;
	e->kind = (uint8_t)kind;
	use(x, n);
	if (kind > WR_TAG)
		code = read_base(x, e);
	if (code == WR_OK)
		code = kind > WR_TAG ? inflate_stream(x, &pour) : read_full(x, e, pour.size);
	if (code != WR_OK)
		return code;
	e->crc = x->crc;
	x->count++;
	return WR_OK;
}

static enum wr_code read_trailer(struct wr_indexer *x)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	enum wr_code code;
	size_t got;

	if ((code = drain(x)) != WR_OK || (code = need(x, SHA1_LEN)) != WR_OK)
		return code;
	if (EVP_DigestFinal_ex(x->sha, sum, NULL) != 1)
		return wr_fail(x->err, WR_E_INTERNAL, "SHA-1 failed");
	if (memcmp(sum, x->in, SHA1_LEN) != 0)
		return wr_index_bad(x, "its checksum is wrong");
	x->unhashed = true;
	x->pos += SHA1_LEN;
	if (x->len == x->pos && (code = more(x, &got)) != WR_OK)
		return code;
	if (x->len != x->pos)
		return wr_index_bad(x, "bytes follow its end");
	return drain(x);
}

/* ---- all of it ---- */

static enum wr_code check_all(struct wr_indexer *x)
{
	enum wr_code code = WR_OK;

	for (uint32_t i = 0; i < x->count && code == WR_OK; i++)
		code = wr_refs_check_found(&x->check, &x->v[i].oid, (enum wr_type)x->v[i].type, x->err);
	return code == WR_OK ? wr_refs_check_end(&x->check, x->err) : code;
}

static enum wr_code run(struct wr_indexer *x, const char *name)
{
	enum wr_code code = read_header(x);

	while (code == WR_OK && x->count < x->claimed)
		code = read_entry(x);
	if (code != WR_OK || (code = read_trailer(x)) != WR_OK || x->claimed == 0)
		return code;
	if ((code = wr_index_resolve(x)) != WR_OK || (code = wr_index_complete(x)) != WR_OK)
		return code;
	wr_index_tell(x, true);
	if ((code = check_all(x)) != WR_OK || (code = wr_index_sort(x)) != WR_OK)
		return code;
	if (fsync(x->fd) < 0)
		return wr_fail_errno(x->err, "flush a pack");
	return wr_index_write(x, name);
}

enum wr_code wr_index_pack(uint32_t *count, int dir, const char *name, struct wr_source *src,
			   const struct wr_snapshot *snap, const struct wr_index_limits *limits,
			   const struct wr_progress *progress, const struct wr_cancel *cancel, struct wr_error *err)
{
	struct wr_indexer x = {.dir = dir,
			       .fd = -1,
			       .src = src,
			       .snap = snap,
			       .limits = limits,
			       .progress = progress,
			       .cancel = cancel,
			       .err = err,
			       .check = {.snap = snap}};
	char file[NAME_MAX + 1];
	enum wr_code code;

	snprintf(file, sizeof file, "%s.pack", name);
	x.in = malloc(IN_SIZE);
	x.sha = EVP_MD_CTX_new();
	if (!x.in || !x.sha)
		code = wr_fail_nomem(err);
	else if (EVP_DigestInit_ex(x.sha, EVP_sha1(), NULL) != 1)
		code = wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	else if ((x.fd = openat(dir, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
		code = wr_fail_errno(err, "create a pack");
	else
		code = run(&x, name);
	if (code == WR_OK)
		*count = x.count;
	wr_index_unmap(&x);
	wr_unzip_fini(&x.unzip);
	wr_refs_check_fini(&x.check);
	EVP_MD_CTX_free(x.sha);
	if (x.fd >= 0)
		close(x.fd);
	free(x.in);
	free(x.v);
	free(x.ofs);
	free(x.ref);
	return code;
}
