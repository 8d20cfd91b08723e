/* Index: see pack.c; reverse index: see rev.c. */
#include <fcntl.h>
#include <openssl/evp.h>

#include "core/base/file.h"
#include "core/git/pack_write.h"

struct table {
	int fd;
	EVP_MD_CTX *sha;
	size_t len;
	uint64_t written;
	enum wr_code code; /* the first failure stays */
	struct wr_error *err;
	uint8_t buf[65536];
};

static void flush(struct table *t)
{
	if (t->code == WR_OK && EVP_DigestUpdate(t->sha, t->buf, t->len) != 1)
		t->code = wr_fail(t->err, WR_E_INTERNAL, "SHA-1 failed");
	if (t->code == WR_OK)
		t->code = wr_file_write_all(t->fd, t->buf, t->len, t->err);
	t->written += t->len;
	t->len = 0;
}

static void put(struct table *t, const void *data, size_t n)
{
	if (t->len + n > sizeof t->buf)
		flush(t);
	memcpy(t->buf + t->len, data, n);
	t->len += n;
}

static void put32(struct table *t, uint32_t v)
{
	uint8_t b[4];

	wr_put_be32(b, v);
	put(t, b, sizeof b);
}

static void begin(struct table *t, int fd, struct wr_error *err)
{
	t->fd = fd;
	t->len = 0;
	t->written = 0;
	t->err = err;
	t->code = WR_OK;
	if (EVP_DigestInit_ex(t->sha, EVP_sha1(), NULL) != 1)
		t->code = wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
}

static enum wr_code end(struct table *t, const uint8_t sum[WR_PACK_SUM])
{
	unsigned char own[EVP_MAX_MD_SIZE];

	put(t, sum, WR_PACK_SUM);
	flush(t);
	if (t->code == WR_OK && EVP_DigestFinal_ex(t->sha, own, NULL) != 1)
		t->code = wr_fail(t->err, WR_E_INTERNAL, "SHA-1 failed");
	if (t->code == WR_OK)
		t->code = wr_file_write_all(t->fd, own, WR_PACK_SUM, t->err);
	t->written += WR_PACK_SUM;
	if (t->code == WR_OK && fsync(t->fd) < 0)
		t->code = wr_fail_errno(t->err, "flush an index");
	return t->code;
}

static void fill_index(struct table *t, const struct wr_pack_item *items, uint32_t count)
{
	uint32_t n = 0, longs = 0;

	put(t, "\377tOc\0\0\0\2", 8);
	for (unsigned first = 0; first < 256; first++) {
		while (n < count && items[n].oid.id[0] == first)
			n++;
		put32(t, n);
	}
	for (uint32_t i = 0; i < count; i++)
		put(t, items[i].oid.id, WR_OID_RAW);
	for (uint32_t i = 0; i < count; i++)
		put32(t, items[i].crc);
	for (uint32_t i = 0; i < count; i++)
		put32(t, items[i].offset < 0x80000000 ? (uint32_t)items[i].offset : 0x80000000 | longs++);
	for (uint32_t i = 0; i < count; i++) {
		if (items[i].offset < 0x80000000)
			continue;
		put32(t, (uint32_t)(items[i].offset >> 32));
		put32(t, (uint32_t)items[i].offset);
	}
}

static int by_offset(const void *a, const void *b, void *arg)
{
	const struct wr_pack_item *items = arg;
	uint64_t x = items[*(const uint32_t *)a].offset, y = items[*(const uint32_t *)b].offset;

	return (x > y) - (x < y);
}

static enum wr_code write_reverse(int dir, const char *name, const struct wr_pack_item *items, uint32_t count,
				  const uint8_t sum[WR_PACK_SUM], struct wr_error *err)
{
	WR_AUTO_MEM uint32_t *order = calloc((size_t)count + 1, sizeof *order);

	if (!order)
		return wr_fail_nomem(err);
	for (uint32_t i = 0; i < count; i++)
		order[i] = i;
	qsort_r(order, count, sizeof *order, by_offset, (void *)(uintptr_t)items);
	return wr_pack_write_rev(dir, name, order, count, sum, err);
}

static enum wr_code write_index(struct table *t, int dir, const char *name, const struct wr_pack_item *items,
				uint32_t count, const uint8_t sum[WR_PACK_SUM], struct wr_error *err)
{
	char file[WR_PACK_NAME + 8];
	WR_AUTO_FD int fd = -1;

	snprintf(file, sizeof file, "%s.idx", name);
	fd = openat(dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return wr_fail_errno(err, "create %s", file);
	begin(t, fd, err);
	fill_index(t, items, count);
	return end(t, sum);
}

enum wr_code wr_pack_write_index(uint64_t *written, int dir, const char *name, const struct wr_pack_item *items,
				 uint32_t count, const uint8_t sum[WR_PACK_SUM], struct wr_error *err)
{
	WR_AUTO_MEM struct table *t = malloc(sizeof *t);
	enum wr_code code;

	if (!t)
		return wr_fail_nomem(err);
	t->sha = EVP_MD_CTX_new();
	if (!t->sha)
		return wr_fail_nomem(err);
	code = write_index(t, dir, name, items, count, sum, err);
	EVP_MD_CTX_free(t->sha);
	if (code != WR_OK)
		return code;
	*written += t->written + WR_REV_HEADER + 4 * (uint64_t)count + 2 * WR_PACK_SUM;
	return write_reverse(dir, name, items, count, sum, err);
}
