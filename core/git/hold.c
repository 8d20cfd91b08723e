#include "core/git/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/id.h"

/* Room is asked for in steps, so that most blocks ask nobody. */
#define STEP ((uint64_t)16 << 10)

static bool count(struct wr_hold *hold, uint64_t n, bool spare)
{
	uint64_t used = atomic_fetch_add(&hold->used, n) + n, taken = atomic_load(&hold->taken);
	uint64_t more = used > taken ? (used - taken + STEP - 1) / STEP * STEP : 0;

	if (more == 0)
		return true;
	/* Two threads at the same time may take too much, never too little. */
	if (wr_room_take(hold->room, more, spare)) {
		atomic_fetch_add(&hold->taken, more);
		return true;
	}
	atomic_fetch_sub(&hold->used, n);
	return false;
}

static void uncount(struct wr_hold *hold, uint64_t n)
{
	if (hold)
		atomic_fetch_sub(&hold->used, n);
}

void wr_hold_give(struct wr_hold *hold)
{
	wr_room_give(hold->room, atomic_exchange(&hold->taken, 0));
}

enum wr_code wr_hold_count(struct wr_hold *hold, uint64_t n, struct wr_error *err)
{
	if (hold && !count(hold, n, false))
		return wr_fail(err, WR_E_UNAVAILABLE, "no room for a push");
	return WR_OK;
}

bool wr_hold_spare(struct wr_hold *hold, uint64_t n)
{
	return !hold || count(hold, n, true);
}

enum wr_code wr_held_heap(bool *done, struct wr_held *b, struct wr_hold *hold, size_t size, struct wr_error *err)
{
	size_t had = b->mapped ? 0 : b->size, more = size > had ? size - had : 0;
	enum wr_code code;
	void *p;

	*done = size <= WR_HOLD_SMALL || wr_hold_spare(hold, more);
	if (!*done)
		return WR_OK;
	if (size <= WR_HOLD_SMALL && (code = wr_hold_count(hold, more, err)) != WR_OK)
		return code;
	p = b->mapped ? malloc(size) : realloc(b->p, size);
	if (!p) {
		uncount(hold, more);
		return wr_fail_nomem(err);
	}
	if (b->mapped) {
		memcpy(p, b->p, size < b->size ? size : b->size);
		wr_held_free(b);
	}
	uncount(hold, had > size ? had - size : 0);
	*b = (struct wr_held){p, size, false, hold};
	return WR_OK;
}

enum wr_code wr_hold_file(int *out, struct wr_hold *hold, struct wr_error *err)
{
	char name[] = "spool-xxxxxxxx";
	enum wr_code code;
	int dir, fd;

	if ((code = hold->dir(&dir, hold->arg, err)) != WR_OK)
		return code;
	wr_random_text(name + 6, 8);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return wr_fail_errno(err, "create a spool file");
	unlinkat(dir, name, 0);
	*out = fd;
	return WR_OK;
}

enum wr_code wr_hold_map(struct wr_held *b, int fd, size_t size, struct wr_error *err)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return wr_fail_errno(err, "mmap of a spool file");
	*b = (struct wr_held){p, size, true, NULL};
	return WR_OK;
}

static enum wr_code new_file(struct wr_held *b, struct wr_hold *hold, size_t size, struct wr_error *err)
{
	WR_AUTO_FD int fd = -1;
	enum wr_code code;
	int rc;

	if ((code = wr_hold_file(&fd, hold, err)) != WR_OK)
		return code;
	/* Real blocks: a full disk shall be an error here, not a signal when the map is written to. */
	if ((rc = posix_fallocate(fd, 0, (off_t)size)) != 0) {
		errno = rc;
		return wr_fail_errno(err, "spool file of %zu bytes", size);
	}
	return wr_hold_map(b, fd, size, err);
}

enum wr_code wr_held_resize(struct wr_held *b, struct wr_hold *hold, size_t size, size_t most_heap,
			    struct wr_error *err)
{
	struct wr_held file = {.p = NULL};
	bool done = false;
	enum wr_code code = WR_OK;

	if (size <= most_heap && (code = wr_held_heap(&done, b, hold, size, err)) != WR_OK)
		return code;
	if (done || (code = new_file(&file, hold, size, err)) != WR_OK)
		return code;
	if (b->p) {
		memcpy(file.p, b->p, size < b->size ? size : b->size);
		wr_held_let_go(&file);
	}
	wr_held_free(b);
	*b = file;
	return WR_OK;
}

void wr_held_let_go(const struct wr_held *b)
{
	if (b->mapped)
		madvise(b->p, b->size, MADV_DONTNEED);
}

void wr_held_free(struct wr_held *b)
{
	if (b->mapped) {
		munmap(b->p, b->size);
	} else {
		free(b->p);
		uncount(b->hold, b->size);
	}
	*b = (struct wr_held){.p = NULL};
}
