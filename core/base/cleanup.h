/*
 * core/base/cleanup.h: locals that release themselves, and the two names by which ownership leaves a scope.
 *
 * WR_AUTO(T) *p = NULL;      calls T_free(p) at the end of the scope (p may be NULL)
 * WR_AUTO_S(T) v = ...;      calls T_fini(&v) for a struct held by value
 * WR_AUTO_FD int fd = -1;    closes the descriptor
 * WR_STEAL(p)                yields p and leaves NULL behind: the caller of the scope owns it now
 *
 * A type takes part by WR_DEFINE_AUTO(T) (for T_free) or WR_DEFINE_AUTO_S(T) (for T_fini) in its header.
 */
#ifndef WR_CLEANUP_H
#define WR_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define WR_MUST_CHECK __attribute__((warn_unused_result))
#define WR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define WR_CLEANUP(fn) __attribute__((cleanup(fn)))

#define WR_DEFINE_AUTO_AS(name, type, freefn)                                                                          \
	static inline void wr_auto_##name(type **p)                                                                    \
	{                                                                                                              \
		if (*p)                                                                                                \
			freefn(*p);                                                                                    \
	}                                                                                                              \
	typedef type wr_auto_t_##name
#define WR_DEFINE_AUTO(name) WR_DEFINE_AUTO_AS(name, struct name, name##_free)
#define WR_AUTO(name) WR_CLEANUP(wr_auto_##name) wr_auto_t_##name

#define WR_DEFINE_AUTO_S(name)                                                                                         \
	static inline void wr_auto_s_##name(struct name *p)                                                            \
	{                                                                                                              \
		name##_fini(p);                                                                                        \
	}                                                                                                              \
	struct name
#define WR_AUTO_S(name) WR_CLEANUP(wr_auto_s_##name) struct name

static inline void wr_auto_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define WR_AUTO_FD WR_CLEANUP(wr_auto_fd)

static inline void wr_auto_mem(void *p)
{
	free(*(void **)p);
}
/* A malloc'ed block: WR_AUTO_MEM char *s = NULL; */
#define WR_AUTO_MEM WR_CLEANUP(wr_auto_mem)

#define WR_STEAL(p)                                                                                                    \
	__extension__({                                                                                                \
		__typeof__(p) stolen_ = (p);                                                                           \
		(p) = NULL;                                                                                            \
		stolen_;                                                                                               \
	})

#define WR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
