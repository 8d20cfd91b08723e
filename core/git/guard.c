#include "core/git/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define PER_BLOCK 1024

/* The handler may interrupt anything, so it only follows these; a block once made stays for ever. */
struct wr_guard {
	atomic_uintptr_t start; /* 0: free */
	atomic_size_t size;
	atomic_bool struck;
	struct wr_guard *next; /* of the free ones */
};

struct block {
	struct wr_guard guards[PER_BLOCK];
	struct block *next;
};

static _Atomic(struct block *) blocks;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* making blocks, and the free list */
static struct wr_guard *unused;
static uintptr_t page_size;
static struct sigaction before; /* what was done about SIGBUS */

static struct wr_guard *guard_of(uintptr_t at)
{
	for (struct block *b = atomic_load(&blocks); b; b = b->next) {
		for (size_t i = 0; i < PER_BLOCK; i++) {
			uintptr_t start = atomic_load(&b->guards[i].start);

			if (start && at >= start && at - start < atomic_load(&b->guards[i].size))
				return &b->guards[i];
		}
	}
	return NULL;
}

static void on_bus(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	struct wr_guard *guard = info->si_code == BUS_ADRERR ? guard_of(at) : NULL;
	int kept = errno;

	if (guard && mmap((void *)(at & ~(page_size - 1)), page_size, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
		atomic_store(&guard->struck, true);
	/* What is not ours ends the process when the access is tried again; who wants to note that was there before. */
	else if (before.sa_flags & SA_SIGINFO)
		before.sa_sigaction(sig, info, context);
	else
		signal(sig, SIG_DFL);
	errno = kept;
}

static enum wr_code add_block(struct wr_error *err)
{
	struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
	struct block *b = calloc(1, sizeof *b);

	if (!b)
		return wr_fail_nomem(err);
	if (!atomic_load(&blocks)) {
		page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
		sigemptyset(&action.sa_mask);
		if (sigaction(SIGBUS, &action, &before) < 0) {
			free(b);
			return wr_fail_errno(err, "sigaction");
		}
	}
	for (size_t i = 0; i < PER_BLOCK; i++) {
		b->guards[i].next = unused;
		unused = &b->guards[i];
	}
	b->next = atomic_load(&blocks);
	atomic_store(&blocks, b);
	return WR_OK;
}

enum wr_code wr_guard_new(struct wr_guard **out, const void *map, size_t size, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	pthread_mutex_lock(&mutex);
	if (!unused)
		code = add_block(err);
	if (code == WR_OK) {
		*out = unused;
		unused = unused->next;
		atomic_store(&(*out)->struck, false);
		atomic_store(&(*out)->size, size);
		atomic_store(&(*out)->start, (uintptr_t)map);
	}
	pthread_mutex_unlock(&mutex);
	return code;
}

bool wr_guard_struck(const struct wr_guard *guard)
{
	return guard && atomic_load(&guard->struck);
}

void wr_guard_free(struct wr_guard *guard)
{
	if (!guard)
		return;
	pthread_mutex_lock(&mutex);
	atomic_store(&guard->start, 0);
	guard->next = unused;
	unused = guard;
	pthread_mutex_unlock(&mutex);
}
