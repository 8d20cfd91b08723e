#include "core/git/summed.h"

#include <assert.h>
#include <fcntl.h>

#include "core/base/file.h"
#include "core/git/pack.h"

#define SHA1_LEN 20

enum wr_code wr_summed_new(struct wr_summed **out, int dir, const char *pack, const char *ending, struct wr_error *err)
{
	WR_AUTO(wr_summed) *s = calloc(1, sizeof *s);
	char file[WR_PACK_NAME + 10];
	int n = snprintf(file, sizeof file, "%s%s", pack, ending);

	if (!s)
		return wr_fail_nomem(err);
	s->err = err;
	s->fd = -1;
	if (n < 0 || (size_t)n >= sizeof file)
		return wr_fail(err, WR_E_INTERNAL, "pack name too long");
	s->sha = EVP_MD_CTX_new();
	if (!s->sha)
		return wr_fail_nomem(err);
	if (EVP_DigestInit_ex(s->sha, EVP_sha1(), NULL) != 1)
		return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	s->fd = openat(dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s->fd < 0)
		return wr_fail_errno(err, "create %s", file);
	*out = WR_STEAL(s);
	return WR_OK;
}

static void flush(struct wr_summed *s)
{
	if (s->code == WR_OK && EVP_DigestUpdate(s->sha, s->buf, s->len) != 1)
		s->code = wr_fail(s->err, WR_E_INTERNAL, "SHA-1 failed");
	if (s->code == WR_OK)
		s->code = wr_file_write_all(s->fd, s->buf, s->len, s->err);
	s->len = 0;
}

void wr_summed_put(struct wr_summed *s, const void *data, size_t n)
{
	assert(n <= sizeof s->buf);
	if (s->len + n > sizeof s->buf)
		flush(s);
	memcpy(s->buf + s->len, data, n);
	s->len += n;
}

void wr_summed_put32(struct wr_summed *s, uint32_t v)
{
	const uint8_t b[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

	wr_summed_put(s, b, sizeof b);
}

enum wr_code wr_summed_end(struct wr_summed *s)
{
	unsigned char sum[EVP_MAX_MD_SIZE];

	flush(s);
	if (s->code == WR_OK && EVP_DigestFinal_ex(s->sha, sum, NULL) != 1)
		s->code = wr_fail(s->err, WR_E_INTERNAL, "SHA-1 failed");
	if (s->code == WR_OK)
		s->code = wr_file_write_all(s->fd, sum, SHA1_LEN, s->err);
	if (s->code == WR_OK && fsync(s->fd) < 0)
		s->code = wr_fail_errno(s->err, "flush an index");
	return s->code;
}

void wr_summed_free(struct wr_summed *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->sha);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}
