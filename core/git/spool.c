#include "core/git/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/base/file.h"

void wr_spool_fini(struct wr_spool *spool)
{
	free(spool->bytes);
	if (spool->fd >= 0)
		close(spool->fd);
	*spool = (struct wr_spool){.fd = -1};
}

static enum wr_code open_file(struct wr_spool *spool, const struct wr_index_folder *folder, struct wr_error *err)
{
	static const char name[] = "added";
	enum wr_code code;
	int dir;

	if ((code = folder->open(&dir, folder->arg, err)) != WR_OK)
		return code;
	spool->fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (spool->fd < 0 || unlinkat(dir, name, 0) < 0)
		return wr_fail_errno(err, "make a spool file");
	return WR_OK;
}

static enum wr_code hold(struct wr_spool *spool, struct wr_str bytes, struct wr_error *err)
{
	if (spool->cap - spool->held < bytes.len) {
		size_t cap = (spool->held + bytes.len) * 2;
		uint8_t *p = realloc(spool->bytes, cap);

		if (!p)
			return wr_fail_nomem(err);
		spool->bytes = p;
		spool->cap = cap;
	}
	memcpy(spool->bytes + spool->held, bytes.ptr, bytes.len);
	spool->held += bytes.len;
	return WR_OK;
}

static enum wr_code file(struct wr_spool *spool, struct wr_str bytes, struct wr_error *err)
{
	enum wr_code code = wr_file_write_all(spool->fd, bytes.ptr, bytes.len, err);

	if (code == WR_OK)
		spool->filed += bytes.len;
	return code;
}

enum wr_code wr_spool_add(struct wr_spool *spool, const struct wr_index_folder *folder, struct wr_str bytes,
			  struct wr_error *err)
{
	enum wr_code code;

	if (bytes.len == 0)
		return WR_OK;
	if (bytes.len <= WR_SPOOL_MEMORY && spool->held <= WR_SPOOL_MEMORY - bytes.len)
		return hold(spool, bytes, err);
	if ((spool->fd < 0 && (code = open_file(spool, folder, err)) != WR_OK) ||
	    (spool->held && (code = file(spool, wr_str_n(spool->bytes, spool->held), err)) != WR_OK))
		return code;
	spool->held = 0;
	return bytes.len < WR_SPOOL_MEMORY / 2 ? hold(spool, bytes, err) : file(spool, bytes, err);
}

static enum wr_code broken(ssize_t n, const char *what, struct wr_error *err)
{
	if (n == 0)
		errno = EIO;
	return wr_fail_errno(err, "%s a spool file", what);
}

enum wr_code wr_spool_set(struct wr_spool *spool, uint64_t at, struct wr_str bytes, struct wr_error *err)
{
	while (bytes.len && at < spool->filed) {
		size_t n = bytes.len < spool->filed - at ? bytes.len : (size_t)(spool->filed - at);
		ssize_t put = pwrite(spool->fd, bytes.ptr, n, (off_t)at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return broken(put, "write", err);
		bytes = wr_str_skip(bytes, (size_t)put);
		at += (uint64_t)put;
	}
	if (bytes.len)
		memcpy(spool->bytes + (at - spool->filed), bytes.ptr, bytes.len);
	return WR_OK;
}

enum wr_code wr_spool_get(void *out, const struct wr_spool *spool, uint64_t at, size_t len, struct wr_error *err)
{
	uint8_t *to = out;

	while (len && at < spool->filed) {
		size_t n = len < spool->filed - at ? len : (size_t)(spool->filed - at);
		ssize_t got = pread(spool->fd, to, n, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return broken(got, "read", err);
		to += got;
		at += (uint64_t)got;
		len -= (size_t)got;
	}
	if (len)
		memcpy(to, spool->bytes + (at - spool->filed), len);
	return WR_OK;
}
