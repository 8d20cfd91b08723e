#include <fcntl.h>

#include <openssl/evp.h>

#include "core/base/file.h"
#include "core/git/pack.h"

struct rev_out {
	int fd;
	EVP_MD_CTX *sha;
	size_t len;
	uint8_t buf[32768];
};

static enum wr_code flush_out(struct rev_out *o, struct wr_error *err)
{
	size_t n = o->len;

	o->len = 0;
	if (EVP_DigestUpdate(o->sha, o->buf, n) != 1)
		return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	return wr_file_write_all(o->fd, o->buf, n, err);
}

static enum wr_code put(struct rev_out *o, const void *data, size_t n, struct wr_error *err)
{
	enum wr_code code;

	if (o->len + n > sizeof o->buf && (code = flush_out(o, err)) != WR_OK)
		return code;
	memcpy(o->buf + o->len, data, n);
	o->len += n;
	return WR_OK;
}

static enum wr_code put_order(struct rev_out *o, const uint32_t *order, uint32_t count, struct wr_error *err)
{
	enum wr_code code = WR_OK;
	uint8_t be[4];

	for (uint32_t i = 0; i < count && code == WR_OK; i++) {
		wr_put_be32(be, order[i]);
		code = put(o, be, sizeof be, err);
	}
	return code;
}

static enum wr_code write_out(struct rev_out *o, const uint32_t *order, uint32_t count,
			      const uint8_t pack_sum[WR_PACK_SUM], struct wr_error *err)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	enum wr_code code;

	if (EVP_DigestInit_ex(o->sha, EVP_sha1(), NULL) != 1)
		return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	if ((code = put(o, WR_REV_MAGIC, WR_REV_HEADER, err)) != WR_OK ||
	    (code = put_order(o, order, count, err)) != WR_OK ||
	    (code = put(o, pack_sum, WR_PACK_SUM, err)) != WR_OK || (code = flush_out(o, err)) != WR_OK)
		return code;
	if (EVP_DigestFinal_ex(o->sha, sum, NULL) != 1)
		return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	if ((code = wr_file_write_all(o->fd, sum, WR_PACK_SUM, err)) != WR_OK)
		return code;
	return fsync(o->fd) < 0 ? wr_fail_errno(err, "flush a reverse index") : WR_OK;
}

enum wr_code wr_pack_write_rev(int dir, const char *name, const uint32_t *order, uint32_t count,
			       const uint8_t pack_sum[WR_PACK_SUM], struct wr_error *err)
{
	WR_AUTO_MEM struct rev_out *o = malloc(sizeof *o);
	char file[WR_PACK_NAME + 8];
	WR_AUTO_FD int fd = -1;
	enum wr_code code;

	if (!o)
		return wr_fail_nomem(err);
	if (strlen(name) > WR_PACK_NAME)
		return wr_fail(err, WR_E_INTERNAL, "pack name too long");
	snprintf(file, sizeof file, "%s.rev", name);
	fd = openat(dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return wr_fail_errno(err, "create a reverse index");
	o->fd = fd;
	o->len = 0;
	o->sha = EVP_MD_CTX_new();
	if (!o->sha)
		return wr_fail_nomem(err);
	code = write_out(o, order, count, pack_sum, err);
	EVP_MD_CTX_free(o->sha);
	return code;
}
