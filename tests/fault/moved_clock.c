/*
 * tests/fault/moved_clock.c: preloaded into the server, moves the clock that it sees and makes its disk slow.
 *
 * WARREN_CLOCK  a file of struct clock, which the test maps as well (harness/clock.py) and changes whenever it likes
 *
 * Moved is the time of day, and with it the clock that counts what the machine slept: time passes as in a sleep. A leap moves
 * the time of day alone. Clocks that stop in a sleep stay, so that no deadline passes; so does time(), which the server
 * compares with the times of files, and those are the kernel's. The real calls are raw system calls: nothing here
 * depends on what else is preloaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct clock {
	_Atomic int64_t ahead_ms; /* of the real time */
	_Atomic int64_t flush_us; /* what each flush takes longer */
	_Atomic int64_t leapt_ms; /* of ahead_ms, what did not pass */
};
_Static_assert(sizeof(struct clock) == 24, "harness/clock.py writes it");

static struct clock *shared;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("WARREN_CLOCK");
	void *map;
	int fd;

	if (!path)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	map = fd >= 0 ? mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (map == MAP_FAILED)
		abort();
	close(fd);
	shared = map;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int64_t ahead;

	if (syscall(SYS_clock_gettime, id, ts) != 0)
		return -1;
	if (shared && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_BOOTTIME)) {
		ahead = atomic_load(&shared->ahead_ms) - (id == CLOCK_BOOTTIME ? atomic_load(&shared->leapt_ms) : 0);
		ts->tv_sec += ahead / 1000;
		ts->tv_nsec += ahead % 1000 * 1000000;
		if (ts->tv_nsec >= 1000000000) {
			ts->tv_nsec -= 1000000000;
			ts->tv_sec++;
		} else if (ts->tv_nsec < 0) {
			ts->tv_nsec += 1000000000;
			ts->tv_sec--;
		}
	}
	return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &ts) != 0)
		return -1;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

static void wait_for_disk(void)
{
	int64_t us = shared ? atomic_load(&shared->flush_us) : 0;
	int was = errno;

	if (us > 0)
		usleep((useconds_t)us);
	errno = was;
}

int fsync(int fd)
{
	wait_for_disk();
	return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	wait_for_disk();
	return (int)syscall(SYS_fdatasync, fd);
}
