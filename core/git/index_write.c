#include <fcntl.h>
#include <limits.h>

#include "core/base/file.h"
#include "core/git/index_internal.h"

struct idx_out {
	int fd;
	EVP_MD_CTX *sha;
	size_t len;
	uint8_t buf[32768];
};

static enum wr_code idx_flush(struct idx_out *o, struct wr_error *err)
{
	size_t n = o->len;

	o->len = 0;
	if (EVP_DigestUpdate(o->sha, o->buf, n) != 1)
		return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	return wr_file_write_all(o->fd, o->buf, n, err);
}

static enum wr_code idx_put(struct idx_out *o, const void *data, size_t n, struct wr_error *err)
{
	enum wr_code code;

	if (o->len + n > sizeof o->buf && (code = idx_flush(o, err)) != WR_OK)
		return code;
	memcpy(o->buf + o->len, data, n);
	o->len += n;
	return WR_OK;
}

static enum wr_code idx_put32(struct idx_out *o, uint32_t v, struct wr_error *err)
{
	uint8_t b[4];

	wr_put_be32(b, v);
	return idx_put(o, b, 4, err);
}

static int by_oid(const void *a, const void *b)
{
	const struct wr_index_entry *p = a, *q = b;
	int c = wr_oid_cmp(&p->oid, &q->oid);

	return c ? c : (p->offset > q->offset) - (p->offset < q->offset);
}

static enum wr_code idx_tables(struct idx_out *o, const struct wr_indexer *x)
{
	enum wr_code code = idx_put(o, "\377tOc\0\0\0\2", 8, x->err);
	uint32_t n = 0, longs = 0;

	for (unsigned first = 0; first < 256 && code == WR_OK; first++) {
		while (n < x->count && x->v[n].oid.id[0] == first)
			n++;
		code = idx_put32(o, n, x->err);
	}
	for (uint32_t i = 0; i < x->count && code == WR_OK; i++)
		code = idx_put(o, x->v[i].oid.id, WR_OID_RAW, x->err);
	for (uint32_t i = 0; i < x->count && code == WR_OK; i++)
		code = idx_put32(o, x->v[i].crc, x->err);
	for (uint32_t i = 0; i < x->count && code == WR_OK; i++) {
		uint64_t at = x->v[i].offset;

		code = idx_put32(o, at < 0x80000000 ? (uint32_t)at : 0x80000000 | longs++, x->err);
	}
	for (uint32_t i = 0; i < x->count && code == WR_OK; i++) {
		uint64_t at = x->v[i].offset;

		if (at < 0x80000000)
			continue;
		if ((code = idx_put32(o, (uint32_t)(at >> 32), x->err)) == WR_OK)
			code = idx_put32(o, (uint32_t)at, x->err);
	}
	return code;
}

enum wr_code wr_index_write(struct wr_indexer *x, const char *name)
{
	WR_AUTO_MEM struct idx_out *o = malloc(sizeof *o);
	unsigned char sum[EVP_MAX_MD_SIZE];
	char file[NAME_MAX + 1];
	WR_AUTO_FD int fd = -1;
	enum wr_code code;

	if (!o)
		return wr_fail_nomem(x->err);
	snprintf(file, sizeof file, "%s.idx", name);
	fd = openat(x->dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return wr_fail_errno(x->err, "create an index");
	o->fd = fd;
	o->sha = x->sha;
	o->len = 0;
	/* The pack's sum, whose last place in the file is its end. */
	if (pread(x->fd, sum, SHA1_LEN, lseek(x->fd, 0, SEEK_END) - SHA1_LEN) != SHA1_LEN)
		return wr_fail_errno(x->err, "read a pack's trailer");
	if (EVP_DigestInit_ex(o->sha, EVP_sha1(), NULL) != 1)
		return wr_fail(x->err, WR_E_INTERNAL, "SHA-1 failed");
	if ((code = idx_tables(o, x)) != WR_OK || (code = idx_put(o, sum, SHA1_LEN, x->err)) != WR_OK ||
	    (code = idx_flush(o, x->err)) != WR_OK)
		return code;
	if (EVP_DigestFinal_ex(o->sha, sum, NULL) != 1)
		return wr_fail(x->err, WR_E_INTERNAL, "SHA-1 failed");
	if ((code = wr_file_write_all(fd, sum, SHA1_LEN, x->err)) != WR_OK)
		return code;
	return fsync(fd) < 0 ? wr_fail_errno(x->err, "flush an index") : WR_OK;
}

/* Twice the same object: a delta could then be its own base when it is read back, and no client sends that. */
enum wr_code wr_index_sort(struct wr_indexer *x)
{
	char hex[WR_OID_HEX + 1];

	qsort(x->v, x->count, sizeof *x->v, by_oid);
	for (uint32_t i = 1; i < x->count; i++) {
		if (!wr_oid_eq(&x->v[i - 1].oid, &x->v[i].oid))
			continue;
		wr_oid_hex(hex, &x->v[i].oid);
		return wr_fail(x->err, WR_E_BAD_PACK, "bad pack: object %s comes twice", hex);
	}
	return WR_OK;
}
