/* A lane on a system that gives no more threads, and takes its time to say so. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/base/lane.h"
#include "core/base/threads.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool hold, refuse, refused;
static int starts, inside, done;

static void *run(void *arg)
{
	void **job = arg;

	((void (*)(void *))(uintptr_t)job[0])(job[1]);
	free(job);
	return NULL;
}

/* Instead of the real one: the first start works, those after it fail when the test says so. */
enum wr_code wr_thread_start(pthread_t *out, const char *name, int niceness, void (*fn)(void *arg), void *arg,
			     struct wr_error *err)
{
	void **job;

	(void)name;
	(void)niceness;
	pthread_mutex_lock(&lock);
	if (starts++ > 0) {
		pthread_cond_broadcast(&changed);
		while (!refuse)
			pthread_cond_wait(&changed, &lock);
		refused = true;
		pthread_mutex_unlock(&lock);
		return wr_fail(err, WR_E_UNAVAILABLE, "no thread");
	}
	pthread_mutex_unlock(&lock);
	job = malloc(2 * sizeof *job);
	assert_non_null(job);
	job[0] = (void *)(uintptr_t)fn;
	job[1] = arg;
	assert_int_equal(pthread_create(out, NULL, run, job), 0);
	return WR_OK;
}

static void work(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	inside++;
	pthread_cond_broadcast(&changed);
	while (hold)
		pthread_cond_wait(&changed, &lock);
	done++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void set(bool *what, bool on)
{
	pthread_mutex_lock(&lock);
	*what = on;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static bool reaches(const int *what, int n, int seconds)
{
	struct timespec until;
	int rc = 0;
	bool reached;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&lock);
	while (*what < n && rc == 0)
		rc = pthread_cond_timedwait(&changed, &lock, &until);
	reached = *what >= n;
	pthread_mutex_unlock(&lock);
	return reached;
}

static void *submit_one(void *lane)
{
	assert_int_equal(wr_lane_submit(lane, WR_S("a"), work, NULL, NULL), WR_OK);
	return NULL;
}

/* What is submitted while a thread is being started relies on that one; when none comes, the idle one has to wake up. */
static void test_idle_thread_takes_over(void **state)
{
	struct wr_lane_config cfg = {
		.name = "test", .threads = 4, .keep = 1, .idle_ms = 600000, .queue_max = 10, .account_share = 100};
	struct wr_lane *lane;
	pthread_t starter;

	(void)state;
	assert_int_equal(wr_lane_new(&lane, &cfg, NULL), WR_OK);
	hold = true;
	submit_one(lane);
	assert_true(reaches(&inside, 1, 60));
	assert_int_equal(pthread_create(&starter, NULL, submit_one, lane), 0);
	assert_true(reaches(&starts, 2, 60));
	set(&hold, false);
	assert_true(reaches(&done, 2, 60));
	/* Now it lies down, most likely; if it has not yet it finds the work by itself. */
	usleep(50000);
	submit_one(lane);
	set(&refuse, true);
	assert_int_equal(pthread_join(starter, NULL), 0);
	assert_true(reaches(&done, 3, 60));
	assert_true(refused);
	assert_int_equal(wr_lane_threads(lane), 1);
	assert_true(wr_lane_stop(lane, 20000));
	wr_lane_free(lane);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_idle_thread_takes_over)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
