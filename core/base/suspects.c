#include "core/base/suspects.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef char suspect_name[WR_SUSPECT_MAX];

struct slot {
	atomic_bool taken;
	atomic_bool blamed; /* its thread got a deadly signal */
	suspect_name name;  /* torn at worst, and then the name of nothing */
};

struct parked {
	atomic_bool used; /* set when the name is there, which stays as long */
	suspect_name name;
};

struct wr_suspects {
	struct slot slots[WR_SUSPECT_SLOTS];
	/* Suspected after the last death; the supervisor's. */
	suspect_name last[WR_SUSPECT_SLOTS];
	size_t last_count;
	atomic_uint parked_count; /* entries that were ever used */
	struct parked parked[WR_PARKED_MAX];
};

static struct wr_suspects *page;
static _Thread_local struct slot *mine;

enum wr_code wr_suspects_new(struct wr_suspects **out, struct wr_error *err)
{
	void *p = mmap(NULL, sizeof **out, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return wr_fail_errno(err, "map a page for suspects");
	*out = p;
	return WR_OK;
}

/* ---- the worker's side ---- */

#ifndef WR_SANITIZED
/* The default action follows: by the instruction that is tried again, or by the signal that comes once more. */
static void on_death(int sig, siginfo_t *info, void *context)
{
	(void)context;
	/* What another process sends says nothing of the thread that happens to get it. */
	if (mine && info->si_code != SI_USER && info->si_code != SI_QUEUE)
		atomic_store(&mine->blamed, true);
	signal(sig, SIG_DFL);
	if (info->si_code <= 0)
		raise(sig);
}
#endif

void wr_suspects_use(struct wr_suspects *s)
{
#ifndef WR_SANITIZED
	/* guard.h passes on what is not its own of SIGBUS. The sanitizers have reports of their own to write. */
	static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT};
	struct sigaction action = {.sa_sigaction = on_death, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < WR_ARRAY_LEN(deadly); i++)
		sigaction(deadly[i], &action, NULL);
#endif
	page = s;
}

static struct slot *take_slot(void)
{
	/* Threads begin their search at different places, so that they seldom look at each other's slots. */
	static atomic_uint turn;
	static _Thread_local unsigned from;

	if (from == 0)
		from = 1 + atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed);
	for (unsigned i = 0; i < WR_SUSPECT_SLOTS; i++) {
		struct slot *s = &page->slots[(from + i) % WR_SUSPECT_SLOTS];

		if (!atomic_load_explicit(&s->taken, memory_order_relaxed) && !atomic_exchange(&s->taken, true)) {
			from = (from + i) % WR_SUSPECT_SLOTS + WR_SUSPECT_SLOTS;
			return s;
		}
	}
	return NULL;
}

void wr_suspect_begin(struct wr_suspect_mark *mark, const char *name)
{
	mark->before[0] = '\0';
	if (!page)
		return;
	if (mine)
		memcpy(mark->before, mine->name, sizeof mark->before);
	else
		mine = take_slot();
	if (mine)
		snprintf(mine->name, sizeof mine->name, "%s", name);
}

void wr_suspect_end(const struct wr_suspect_mark *mark)
{
	if (!mine)
		return;
	memcpy(mine->name, mark->before, sizeof mine->name);
	if (mine->name[0])
		return;
	atomic_store(&mine->taken, false);
	mine = NULL;
}

static struct parked *find_parked(struct wr_suspects *s, const char *name)
{
	unsigned n = atomic_load_explicit(&s->parked_count, memory_order_acquire);

	for (unsigned i = 0; i < n; i++)
		if (atomic_load(&s->parked[i].used) && strcmp(s->parked[i].name, name) == 0)
			return &s->parked[i];
	return NULL;
}

bool wr_suspect_parked(const char *name)
{
	return page && find_parked(page, name);
}

bool wr_suspect_unpark(const char *name)
{
	struct parked *p = page ? find_parked(page, name) : NULL;

	return p && atomic_exchange(&p->used, false);
}

size_t wr_suspects_parked(char (*out)[WR_SUSPECT_MAX], size_t max)
{
	unsigned n = page ? atomic_load(&page->parked_count) : 0;
	size_t found = 0;

	for (unsigned i = 0; i < n && found < max; i++)
		if (atomic_load(&page->parked[i].used))
			memcpy(out[found++], page->parked[i].name, WR_SUSPECT_MAX);
	return found;
}

/* ---- the supervisor's side ---- */

static bool holds(const suspect_name *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return false;
}

/* What threads worked on that said they were it; or what all of them did. */
static size_t gather(suspect_name *out, const struct wr_suspects *s, bool blamed)
{
	size_t n = 0;

	for (size_t i = 0; i < WR_SUSPECT_SLOTS; i++) {
		const struct slot *slot = &s->slots[i];

		if (atomic_load(&slot->taken) && slot->name[0] && (!blamed || atomic_load(&slot->blamed)) &&
		    !holds(out, n, slot->name))
			memcpy(out[n++], slot->name, WR_SUSPECT_MAX);
	}
	return n;
}

static size_t suspects_of(suspect_name *out, const struct wr_suspects *s, enum wr_suspect_end how)
{
	size_t n = how == WR_SUSPECT_END_OTHER ? 0 : gather(out, s, how == WR_SUSPECT_END_CRASH);

	return how == WR_SUSPECT_END_MEMORY && n > 1 ? 0 : n;
}

static bool park(struct wr_suspects *s, const char *name)
{
	unsigned n = atomic_load(&s->parked_count), i = 0;

	while (i < n && atomic_load(&s->parked[i].used))
		i++;
	if (i == WR_PARKED_MAX || find_parked(s, name))
		return false;
	memcpy(s->parked[i].name, name, WR_SUSPECT_MAX);
	atomic_store(&s->parked[i].used, true);
	if (i == n)
		atomic_store_explicit(&s->parked_count, n + 1, memory_order_release);
	return true;
}

size_t wr_suspects_judge(char (*parked)[WR_SUSPECT_MAX], size_t max, struct wr_suspects *s, enum wr_suspect_end how)
{
	suspect_name *now = calloc(WR_SUSPECT_SLOTS, sizeof *now);
	size_t n = now ? suspects_of(now, s, how) : 0, done = 0;

	for (size_t i = 0; i < n && done < max; i++)
		if (holds(s->last, s->last_count, now[i]) && park(s, now[i]))
			memcpy(parked[done++], now[i], WR_SUSPECT_MAX);
	if (n)
		memcpy(s->last, now, n * sizeof *now);
	s->last_count = n;
	free(now);
	for (size_t i = 0; i < WR_SUSPECT_SLOTS; i++) {
		s->slots[i].name[0] = '\0';
		atomic_store(&s->slots[i].blamed, false);
		atomic_store(&s->slots[i].taken, false);
	}
	return done;
}
