#include <errno.h>
#include <fcntl.h>
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

enum wr_code wr_index_spool_open(int *out, struct wr_indexer *x)
{
	char name[] = "spool-xxxxxxxx";
	int fd;

	wr_random_text(name + 6, 8);
	fd = openat(x->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return wr_fail_errno(x->err, "create a spool file");
	unlinkat(x->dir, name, 0);
	*out = fd;
	return WR_OK;
}

enum wr_code wr_index_spool_map(struct wr_index_blob *b, struct wr_indexer *x, int fd, size_t size)
{
	void *p = mmap(NULL, size + 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return wr_fail_errno(x->err, "mmap of a spool file");
	*b = (struct wr_index_blob){p, size, true};
	return WR_OK;
}

enum wr_code wr_index_blob_new(struct wr_index_blob *b, struct wr_indexer *x, uint64_t size)
{
	WR_AUTO_FD int fd = -1;
	enum wr_code code;
	int rc;

	if (size > x->limits->max_object)
		return wr_index_too_large(x);
	if (size <= WR_INDEX_IN_MEMORY) {
		*b = (struct wr_index_blob){malloc((size_t)size + 1), (size_t)size, false};
		return b->p ? WR_OK : wr_fail_nomem(x->err);
	}
	if ((code = wr_index_spool_open(&fd, x)) != WR_OK)
		return code;
	/* Real blocks: a full disk shall be an error here, not a signal when the map is written to. */
	if ((rc = posix_fallocate(fd, 0, (off_t)size + 1)) != 0) {
		errno = rc;
		return wr_fail_errno(x->err, "spool file of %llu bytes", (unsigned long long)size);
	}
	return wr_index_spool_map(b, x, fd, (size_t)size);
}
