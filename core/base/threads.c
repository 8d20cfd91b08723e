#include "core/base/threads.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* What a handler needs, with all registers of a large processor; of the thread's own stack. Pages are used by it alone. */
#define SIGNAL_STACK (32 * 1024)

struct start {
	char name[16];
	int niceness;
	void (*fn)(void *arg);
	void *arg;
};

#ifndef WR_SANITIZED
/* Where a thread's stack is full the handler of that (suspects.h) needs another one: the far end of the same. */
static void give_signal_stack(void *room, size_t size)
{
	const stack_t stack = {.ss_sp = room, .ss_size = size};

	(void)sigaltstack(&stack, NULL);
}
#endif

static void *thread_main(void *arg)
{
	struct start s = *(struct start *)arg;
#ifndef WR_SANITIZED
	char room[SIGNAL_STACK];

	give_signal_stack(room, sizeof room);
#endif
	free(arg);
	pthread_setname_np(pthread_self(), s.name);
	/* Linux keeps niceness per thread. Being refused costs fairness, not correctness. */
	if (s.niceness)
		(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), s.niceness);
	s.fn(s.arg);
	return NULL;
}

void wr_signals_block(sigset_t *old)
{
	static const int faults[] = {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGABRT};
	sigset_t all;

	sigfillset(&all);
	for (size_t i = 0; i < WR_ARRAY_LEN(faults); i++)
		sigdelset(&all, faults[i]);
	pthread_sigmask(SIG_SETMASK, &all, old);
}

enum wr_code wr_thread_start(pthread_t *out, const char *name, int niceness, void (*fn)(void *arg), void *arg,
			     struct wr_error *err)
{
	struct start *s = malloc(sizeof *s);
	pthread_attr_t attr;
	sigset_t old;
	int rc;

	if (!s)
		return wr_fail_nomem(err);
	snprintf(s->name, sizeof s->name, "%s", name);
	s->niceness = niceness;
	s->fn = fn;
	s->arg = arg;
	if (pthread_attr_init(&attr) != 0) {
		free(s);
		return wr_fail_nomem(err);
	}
	pthread_attr_setstacksize(&attr, WR_THREAD_STACK);
	wr_signals_block(&old);
	rc = pthread_create(out, &attr, thread_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		return WR_OK;
	free(s);
	return wr_fail(err, WR_E_UNAVAILABLE, "no thread for %s: error %d", name, rc);
}
