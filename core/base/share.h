/*
 * core/base/share.h: how much of something bounded one account may take while others have some of it too.
 * Alone it may have `percent` of all. The more the others hold, the less each may add: one account with 75 % leaves a
 * quarter, two leave a seventh, n leave 1 in 3n + 1. So a few accounts together can never take all, and whoever comes
 * next finds some.
 * Threads:   any; no state.
 */
#ifndef WR_SHARE_H
#define WR_SHARE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Whether an account that has `mine` of the `all` that is taken may take `more`; there is `max`, up to 2^56. percent:
 * 1 to 100.
 */
static inline bool wr_share_fits(uint64_t mine, uint64_t all, uint64_t more, uint64_t max, unsigned percent)
{
	if (all > max || more > max - all)
		return false;
	return (mine + more) * (100 - percent) <= (max - all - more) * percent;
}

#endif
