/* core/base/log: which lines share a write, and that none is lost or torn. A packet socket stands for stderr. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/str.h"
#include "core/base/threads.h"

#define LONG_MS 600000
#define WRITERS 4
#define LINES 500

static int saved, reader;

static int open_log(void **state)
{
	int fds[2];

	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
		return -1;
	fflush(stderr);
	saved = dup(STDERR_FILENO);
	reader = fds[0];
	if (saved < 0 || dup2(fds[1], STDERR_FILENO) < 0)
		return -1;
	close(fds[1]);
	return 0;
}

static int close_log(void **state)
{
	(void)state;
	wr_log_gather_end();
	if (dup2(saved, STDERR_FILENO) < 0)
		return -1;
	close(saved);
	close(reader);
	return 0;
}

static void line(void (*write_it)(enum wr_log_level, const char *, enum wr_log_event, const struct wr_log_field *), int writer,
		 int n)
{
	write_it(WR_INFO, NULL, WR_EV_REQUEST,
		 (const struct wr_log_field[]){WR_INT("writer", writer), WR_INT("n", n), {NULL, 0, {NULL, 0}, 0}});
}

/* The numbers of the lines in the next write. */
static size_t take(int *writers, int *numbers, size_t max)
{
	char text[PIPE_BUF + 1], *end;
	ssize_t len = recv(reader, text, sizeof text, 0);
	size_t n = 0;

	assert_in_range(len, 1, PIPE_BUF);
	assert_int_equal(text[len - 1], '\n');
	text[len - 1] = '\0';
	for (char *p = text; p; p = end ? end + 1 : NULL) {
		end = strchr(p, '\n');
		assert_true(n < max);
		assert_memory_equal(p, "{\"time\":\"20", 11);
		p = strstr(p, "\"writer\":");
		assert_non_null(p);
		assert_int_equal(sscanf(p, "\"writer\":%d,\"n\":%d}", &writers[n], &numbers[n]), 2);
		n++;
	}
	return n;
}

static void expect(size_t count, int first)
{
	int writers[WRITERS * LINES], numbers[WRITERS * LINES];

	assert_int_equal(take(writers, numbers, WRITERS * LINES), count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(numbers[i], first + (int)i);
}

static void lines_of_many_share_a_write(void **state)
{
	(void)state;
	line(wr_log_write_many, 0, 1);
	line(wr_log_write_many, 0, 2);
	assert_int_equal(wr_log_gather(LONG_MS, NULL), WR_OK);
	/* The one before was just now. */
	line(wr_log_write_many, 0, 3);
	line(wr_log_write_many, 0, 4);
	/* This one takes them along, in their order. */
	line(wr_log_write, 0, 5);
	line(wr_log_write, 0, 6);
	line(wr_log_write_many, 0, 7);
	line(wr_log_write_many, 0, 8);
	line(wr_log_write_many, 0, 9);
	wr_log_gather_end();
	line(wr_log_write_many, 0, 10);
	expect(1, 1);
	expect(1, 2);
	expect(2, 3);
	expect(1, 5);
	expect(1, 6);
	expect(3, 7);
	expect(1, 10);
}

static void a_line_does_not_wait_without_end(void **state)
{
	(void)state;
	assert_int_equal(wr_log_gather(1, NULL), WR_OK);
	for (int i = 0; i < 20; i++) {
		line(wr_log_write, 0, 0);
		expect(1, 0);
		line(wr_log_write_many, 0, i);
		expect(1, i);
	}
}

static void write_lines(void *arg)
{
	int writer = *(int *)arg;

	for (int i = 0; i < LINES; i++)
		line(i % 50 ? wr_log_write_many : wr_log_write, writer, i);
}

static void all_come_whole_and_in_order(void **state)
{
	int writers[WRITERS * LINES], numbers[WRITERS * LINES], next[WRITERS] = {0}, ids[WRITERS];
	pthread_t threads[WRITERS];
	size_t writes = 0;

	(void)state;
	assert_int_equal(wr_log_gather(20, NULL), WR_OK);
	for (int i = 0; i < WRITERS; i++) {
		ids[i] = i;
		assert_int_equal(wr_thread_start(&threads[i], "writer", 0, write_lines, &ids[i], NULL), WR_OK);
	}
	for (size_t got = 0; got < WRITERS * LINES; writes++) {
		size_t n = take(writers, numbers, WRITERS * LINES);

		for (size_t i = 0; i < n; i++) {
			assert_in_range(writers[i], 0, WRITERS - 1);
			assert_int_equal(numbers[i], next[writers[i]]++);
		}
		got += n;
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(writes >= WRITERS * LINES / 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lines_of_many_share_a_write, open_log, close_log),
		cmocka_unit_test_setup_teardown(a_line_does_not_wait_without_end, open_log, close_log),
		cmocka_unit_test_setup_teardown(all_come_whole_and_in_order, open_log, close_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
