/*
 * The pipe and the unzipping source, without a server: an event loop of the test's own stands in for libmicrohttpd. It
 * has the same rule that the real one has: a paused side is not run again until it was resumed.
 */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/base/gunzip.h"
#include "core/base/threads.h"
#include "server/http/pipe.h"

#define CAP ((size_t)8192)
#define TOTAL ((size_t)3000000)

struct loop {
	pthread_mutex_t lock;
	pthread_cond_t resumed;
	bool paused;
	int pauses, resumes, blocks, unblocks;
	/* What the client got, by either way. */
	unsigned char *got;
	size_t len;
	int sends, send_until; /* the one that fails; 0: none */
	bool abort_in_send;
	size_t more; /* that the ring may grow by */
};

static struct loop loop;
static struct wr_pipe pipe_;
static unsigned char *data;

static void on_pause(void *arg)
{
	struct loop *l = arg;

	pthread_mutex_lock(&l->lock);
	assert_false(l->paused);
	l->paused = true;
	l->pauses++;
	pthread_mutex_unlock(&l->lock);
}

static void on_resume(void *arg)
{
	struct loop *l = arg;

	pthread_mutex_lock(&l->lock);
	assert_true(l->paused);
	l->paused = false;
	l->resumes++;
	pthread_cond_broadcast(&l->resumed);
	pthread_mutex_unlock(&l->lock);
}

static bool on_more(void *arg, size_t n)
{
	struct loop *l = arg;

	if (n > l->more)
		return false;
	l->more -= n;
	return true;
}

static void on_block(void *arg)
{
	((struct loop *)arg)->blocks++;
}

static void on_unblock(void *arg)
{
	((struct loop *)arg)->unblocks++;
}

/* The client gets both what is sent and what the event side takes, in one order. */
static void deliver(const void *bytes, size_t n)
{
	pthread_mutex_lock(&loop.lock);
	assert_true(n <= TOTAL - loop.len);
	memcpy(loop.got + loop.len, bytes, n);
	loop.len += n;
	pthread_mutex_unlock(&loop.lock);
}

static bool on_send(void *arg, const struct wr_str *v, size_t n)
{
	struct loop *l = arg;

	pthread_mutex_lock(&l->lock);
	/* The connection is this thread's, so nobody else may write to it. */
	assert_true(l->paused);
	l->sends++;
	pthread_mutex_unlock(&l->lock);
	for (size_t i = 0; i < n; i++)
		deliver(v[i].ptr, v[i].len);
	if (l->abort_in_send)
		wr_pipe_abort(&pipe_);
	pthread_mutex_lock(&l->lock);
	assert_true(l->paused);
	pthread_mutex_unlock(&l->lock);
	return l->sends != l->send_until;
}

static void wait_resumed(void)
{
	pthread_mutex_lock(&loop.lock);
	while (loop.paused)
		pthread_cond_wait(&loop.resumed, &loop.lock);
	pthread_mutex_unlock(&loop.lock);
}

static int setup(void **state)
{
	struct wr_pipe_hooks hooks = {.pause = on_pause,
				      .resume = on_resume,
				      .block = on_block,
				      .unblock = on_unblock,
				      .more = on_more,
				      .send = on_send,
				      .arg = &loop};

	(void)state;
	memset(&loop, 0, sizeof loop);
	pthread_mutex_init(&loop.lock, NULL);
	pthread_cond_init(&loop.resumed, NULL);
	loop.more = SIZE_MAX;
	wr_pipe_init(&pipe_, CAP, &hooks);
	data = malloc(TOTAL);
	loop.got = malloc(TOTAL);
	for (size_t i = 0; i < TOTAL; i++)
		data[i] = (unsigned char)(i * 7 + (i >> 9));
	return data && loop.got ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(data);
	free(loop.got);
	wr_pipe_fini(&pipe_);
	pthread_cond_destroy(&loop.resumed);
	pthread_mutex_destroy(&loop.lock);
	return loop.paused || loop.blocks != loop.unblocks;
}

static size_t step(unsigned *seed, size_t max)
{
	*seed = *seed * 1103515245 + 12345;
	return (*seed >> 8) % max + 1;
}

/* ---- upload: event side to worker ---- */

struct reader {
	size_t stop_at; /* 0: reads to the end */
	enum wr_code code;
	size_t got;
	bool equal;
};

static void reader_main(void *arg)
{
	struct reader *r = arg;
	unsigned char buf[5000];
	unsigned seed = 1;
	struct wr_pipe_source src;
	size_t n = 1;

	wr_pipe_source_init(&src, &pipe_, TOTAL);
	r->equal = true;
	while (n && (r->stop_at == 0 || r->got < r->stop_at)) {
		r->code = wr_source_read(&src.base, buf, step(&seed, sizeof buf), &n, NULL);
		if (r->code)
			return;
		r->equal = r->equal && memcmp(buf, data + r->got, n) == 0;
		r->got += n;
	}
	if (r->stop_at)
		wr_pipe_shut(&pipe_);
}

static void put_all(size_t total)
{
	unsigned seed = 2;
	size_t at = 0, want, n;

	while (at < total) {
		want = step(&seed, 12000);
		want = want < total - at ? want : total - at;
		n = wr_pipe_put(&pipe_, data + at, want);
		at += n;
		if (n < want)
			wait_resumed();
	}
}

static void run_reader(pthread_t *id, struct reader *r)
{
	assert_int_equal(wr_thread_start(id, "reader", 0, reader_main, r, NULL), WR_OK);
}

static void test_upload(void **state)
{
	struct reader r = {0};
	pthread_t id;

	(void)state;
	run_reader(&id, &r);
	put_all(TOTAL);
	wr_pipe_end(&pipe_, false);
	pthread_join(id, NULL);
	assert_int_equal(r.code, WR_OK);
	assert_int_equal(r.got, TOTAL);
	assert_true(r.equal);
	assert_int_equal(loop.pauses, loop.resumes);
}

/* The ring begins small, grows while it may, and keeps what is in it. */
static void test_growth(void **state)
{
	static const struct {
		size_t more, holds;
	} cases[] = {{SIZE_MAX, 16 * WR_PIPE_FIRST}, {4 * WR_PIPE_FIRST, 4 * WR_PIPE_FIRST}, {0, WR_PIPE_FIRST}};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(cases); i++) {
		struct reader r = {0};
		size_t at = 0, n = 0, got;
		char some[1000];
		pthread_t id;

		teardown(NULL);
		setup(NULL);
		loop.more = cases[i].more;
		pipe_.max = 16 * WR_PIPE_FIRST;
		/* Not from the ring's beginning. */
		assert_int_equal(wr_pipe_put(&pipe_, data, sizeof some), sizeof some);
		assert_int_equal(wr_pipe_read(&pipe_, some, sizeof some, &got, NULL), WR_OK);
		assert_int_equal(got, sizeof some);
		for (at = 0; n == at; at += 700)
			n += wr_pipe_put(&pipe_, data + at, 700);
		assert_int_equal(n, cases[i].holds);
		assert_int_equal(loop.more, cases[i].more - (cases[i].holds - WR_PIPE_FIRST));
		run_reader(&id, &r);
		wait_resumed();
		while (n < TOTAL) {
			n += wr_pipe_put(&pipe_, data + n, TOTAL - n);
			wait_resumed();
		}
		wr_pipe_end(&pipe_, false);
		pthread_join(id, NULL);
		assert_int_equal(r.got, TOTAL);
		assert_true(r.equal);
		assert_int_equal(loop.pauses, loop.resumes);
	}
}

/* The worker stops early: the rest is taken and dropped, and nobody stays paused. */
static void test_upload_shut(void **state)
{
	struct reader r = {.stop_at = 100000};
	pthread_t id;

	(void)state;
	run_reader(&id, &r);
	put_all(TOTAL);
	pthread_join(id, NULL);
	assert_true(wr_pipe_is_shut(&pipe_));
	assert_int_equal(wr_pipe_put(&pipe_, data, 5 * CAP), 5 * CAP);
	assert_int_equal(loop.pauses, loop.resumes);
}

static void test_upload_too_large(void **state)
{
	struct wr_pipe_source src;
	unsigned char buf[100];
	size_t got;

	(void)state;
	wr_pipe_source_init(&src, &pipe_, 150);
	assert_int_equal(wr_pipe_put(&pipe_, data, 200), 200);
	assert_int_equal(wr_source_read(&src.base, buf, 100, &got, NULL), WR_OK);
	assert_int_equal(got, 100);
	assert_int_equal(wr_source_read(&src.base, buf, 100, &got, NULL), WR_E_TOO_LARGE);
}

/* A worker that waits for bytes, and an event side that waits for room, both learn of an abort. */
static void test_upload_abort(void **state)
{
	struct reader r = {0};
	pthread_t id;

	(void)state;
	run_reader(&id, &r);
	assert_int_equal(wr_pipe_put(&pipe_, data, 10), 10);
	wr_pipe_abort(&pipe_);
	pthread_join(id, NULL);
	assert_int_equal(r.code, WR_E_CANCELLED);
	assert_int_equal(wr_pipe_put(&pipe_, data, 5 * CAP), 5 * CAP);
}

static void test_paused_abort(void **state)
{
	(void)state;
	assert_int_equal(wr_pipe_put(&pipe_, data, CAP + 1), CAP);
	assert_true(loop.paused);
	wr_pipe_abort(&pipe_);
	wr_pipe_abort(&pipe_);
	assert_false(loop.paused);
	assert_int_equal(loop.resumes, 1);
}

/* ---- answer: worker to event side ---- */

struct writer {
	size_t total;
	bool fail;
	enum wr_code code;
};

static void writer_main(void *arg)
{
	struct writer *w = arg;
	struct wr_pipe_sink sink;
	unsigned seed = 3;
	size_t at = 0, n;

	wr_pipe_sink_init(&sink, &pipe_);
	while (at < w->total && !w->code) {
		n = step(&seed, 20000);
		n = n < w->total - at ? n : w->total - at;
		w->code = wr_sink_write(&sink.base, data + at, n, NULL);
		if (seed & 0x1000 && !w->code)
			w->code = wr_sink_flush(&sink.base, NULL);
		at += n;
	}
	wr_pipe_end(&pipe_, w->fail);
}

static ssize_t take_all(size_t *total, bool *equal)
{
	unsigned char buf[6000];
	unsigned seed = 4;

	*total = 0;
	*equal = true;
	for (;;) {
		ssize_t n = wr_pipe_take(&pipe_, buf, step(&seed, sizeof buf));

		if (n < 0)
			return n;
		if (n == WR_PIPE_PAUSED) {
			wait_resumed();
			continue;
		}
		*equal = *equal && memcmp(buf, data + *total, (size_t)n) == 0;
		*total += (size_t)n;
	}
}

/* A ring that may not grow to what the event side waits for is handed over as it is. */
static void test_full_ring_begins(void **state)
{
	struct writer w = {.total = TOTAL};
	pthread_t id;
	size_t total;
	bool equal;

	(void)state;
	loop.more = 0;
	pipe_.max = 16 * WR_PIPE_FIRST;
	assert_int_equal(wr_thread_start(&id, "writer", 0, writer_main, &w, NULL), WR_OK);
	while (wr_pipe_ready(&pipe_, 4 * WR_PIPE_FIRST) == WR_PIPE_WAITING)
		wait_resumed();
	assert_int_equal(take_all(&total, &equal), WR_PIPE_END);
	pthread_join(id, NULL);
	assert_int_equal(total, TOTAL);
	assert_true(equal);
}

static void test_answer(void **state)
{
	(void)state;
	for (int fail = 0; fail < 2; fail++) {
		struct writer w = {.total = TOTAL, .fail = fail};
		enum wr_pipe_state ready;
		pthread_t id;
		size_t total;
		bool equal;

		if (fail) {
			teardown(NULL);
			setup(NULL);
		}
		assert_int_equal(wr_thread_start(&id, "writer", 0, writer_main, &w, NULL), WR_OK);
		while ((ready = wr_pipe_ready(&pipe_, 4096)) == WR_PIPE_WAITING)
			wait_resumed();
		assert_int_equal(ready, WR_PIPE_BEGUN);
		assert_int_equal(take_all(&total, &equal), fail ? WR_PIPE_BROKEN : WR_PIPE_END);
		pthread_join(id, NULL);
		assert_int_equal(w.code, WR_OK);
		assert_int_equal(total, TOTAL);
		assert_true(equal);
		assert_int_equal(loop.pauses, loop.resumes);
	}
}

static void test_whole_answer(void **state)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(CAP);

	(void)state;
	assert_int_equal(wr_pipe_ready(&pipe_, 4096), WR_PIPE_WAITING);
	assert_int_equal(wr_pipe_write(&pipe_, data, 3000, NULL), WR_OK);
	assert_true(loop.paused);
	wr_pipe_end(&pipe_, false);
	assert_false(loop.paused);
	assert_int_equal(wr_pipe_ready(&pipe_, 4096), WR_PIPE_WHOLE);
	wr_pipe_collect(&pipe_, &out);
	assert_int_equal(out.len, 3000);
	assert_memory_equal(out.ptr, data, 3000);
}

static void test_flush_begins(void **state)
{
	(void)state;
	assert_int_equal(wr_pipe_ready(&pipe_, 4096), WR_PIPE_WAITING);
	wr_pipe_flush(&pipe_);
	assert_true(loop.paused);
	assert_int_equal(wr_pipe_write(&pipe_, data, 1, NULL), WR_OK);
	assert_true(loop.paused);
	wr_pipe_flush(&pipe_);
	assert_false(loop.paused);
	assert_int_equal(wr_pipe_ready(&pipe_, 4096), WR_PIPE_BEGUN);
	wr_pipe_abort(&pipe_);
	assert_int_equal(wr_pipe_ready(&pipe_, 4096), WR_PIPE_ABORTED);
	assert_int_equal(wr_pipe_write(&pipe_, data, 1, NULL), WR_E_CANCELLED);
}

static void test_answer_abort(void **state)
{
	struct writer w = {.total = TOTAL};
	pthread_t id;

	(void)state;
	assert_int_equal(wr_thread_start(&id, "writer", 0, writer_main, &w, NULL), WR_OK);
	while (wr_pipe_ready(&pipe_, CAP) == WR_PIPE_WAITING)
		wait_resumed();
	wr_pipe_abort(&pipe_);
	pthread_join(id, NULL);
	assert_int_equal(w.code, WR_E_CANCELLED);
	assert_int_equal(wr_pipe_take(&pipe_, data, 1), WR_PIPE_BROKEN);
}

static void test_counting(void **state)
{
	(void)state;
	wr_pipe_count_only(&pipe_);
	assert_int_equal(wr_pipe_write(&pipe_, data, TOTAL, NULL), WR_OK);
	wr_pipe_flush(&pipe_);
	wr_pipe_end(&pipe_, false);
	assert_int_equal(wr_pipe_ready(&pipe_, SIZE_MAX), WR_PIPE_WHOLE);
	assert_int_equal(wr_pipe_total(&pipe_), TOTAL);
}

/* ---- long pieces, past the ring ---- */

struct gatherer {
	size_t sent; /* of data */
	bool fail;
	enum wr_code code;
};

static void gatherer_main(void *arg)
{
	struct gatherer *g = arg;
	struct wr_pipe_sink sink;
	unsigned seed = 7;

	wr_pipe_sink_init(&sink, &pipe_);
	while (g->sent < TOTAL && !g->code) {
		struct wr_str v[3];
		size_t n = step(&seed, 3), max = step(&seed, 2) == 1 ? 900 : 60000, from = g->sent;

		for (size_t i = 0; i < n; i++) {
			size_t len = step(&seed, max);

			len = len < TOTAL - g->sent ? len : TOTAL - g->sent;
			v[i] = wr_str_n(data + g->sent, len);
			g->sent += len;
		}
		g->code = wr_sink_gather(&sink.base, v, n, NULL);
		if (!g->code && step(&seed, 4) == 1)
			g->code = wr_sink_flush(&sink.base, NULL);
		if (g->code)
			g->sent = from;
	}
	wr_pipe_end(&pipe_, g->code != WR_OK);
}

/* As libmicrohttpd: asks whether the answer is ready, then for its bytes, and delivers them when it likes. */
static ssize_t deliver_all(void)
{
	unsigned char buf[6000];
	unsigned seed = 8;
	enum wr_pipe_state ready;

	while ((ready = wr_pipe_ready(&pipe_, 4096)) == WR_PIPE_WAITING)
		wait_resumed();
	if (ready == WR_PIPE_ABORTED)
		return WR_PIPE_BROKEN;
	for (;;) {
		ssize_t n = wr_pipe_take(&pipe_, buf, step(&seed, sizeof buf));

		if (n < 0)
			return n;
		if (n == WR_PIPE_PAUSED)
			wait_resumed();
		else
			deliver(buf, (size_t)n);
	}
}

static ssize_t run_gatherer(struct gatherer *g)
{
	ssize_t end;
	pthread_t id;

	wr_pipe_direct(&pipe_);
	assert_int_equal(wr_thread_start(&id, "gatherer", 0, gatherer_main, g, NULL), WR_OK);
	end = deliver_all();
	pthread_join(id, NULL);
	assert_int_equal(loop.pauses, loop.resumes);
	return end;
}

static void test_direct(void **state)
{
	struct gatherer g = {0};

	(void)state;
	assert_int_equal(run_gatherer(&g), WR_PIPE_END);
	assert_int_equal(g.code, WR_OK);
	assert_true(loop.sends > 10);
	assert_int_equal(loop.len, TOTAL);
	assert_memory_equal(loop.got, data, TOTAL);
	assert_int_equal(wr_pipe_total(&pipe_), TOTAL);
}

/* A send that fails, and an abort in the middle of one: the event side is resumed after it, once, and told. */
static void test_direct_fails(void **state)
{
	struct gatherer g = {0};

	(void)state;
	loop.send_until = 5;
	assert_int_equal(run_gatherer(&g), WR_PIPE_BROKEN);
	assert_int_equal(g.code, WR_E_CANCELLED);
	assert_int_equal(loop.sends, 5);
	assert_memory_equal(loop.got, data, loop.len);
}

static void test_direct_abort(void **state)
{
	struct gatherer g = {0};

	(void)state;
	loop.abort_in_send = true;
	assert_int_equal(run_gatherer(&g), WR_PIPE_BROKEN);
	assert_int_equal(g.code, WR_E_CANCELLED);
	assert_int_equal(loop.sends, 1);
}

/* The answer to HEAD: nothing is sent. */
static void test_direct_counting(void **state)
{
	const struct wr_str v[] = {wr_str_n(data, TOTAL / 2), wr_str_n(data, TOTAL / 2)};

	(void)state;
	wr_pipe_direct(&pipe_);
	wr_pipe_count_only(&pipe_);
	assert_int_equal(wr_pipe_gather(&pipe_, v, 2, NULL), WR_OK);
	assert_int_equal(wr_pipe_total(&pipe_), TOTAL);
	assert_int_equal(loop.sends, 0);
}

/* ---- unzipping ---- */

/* A source that gives its bytes in pieces of 1 to 7. */
struct drip {
	struct wr_source base;
	struct wr_str rest;
	unsigned seed;
};

static enum wr_code drip_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct drip *d = (struct drip *)base;
	size_t n = step(&d->seed, 7);

	(void)err;
	n = n < cap ? n : cap;
	n = n < d->rest.len ? n : d->rest.len;
	memcpy(buf, d->rest.ptr, n);
	d->rest = wr_str_skip(d->rest, n);
	*got = n;
	return WR_OK;
}

static size_t zip(unsigned char *out, size_t cap, const void *in, size_t n)
{
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)in,
		      .avail_in = (uInt)n,
		      .next_out = out,
		      .avail_out = (uInt)cap};

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

static enum wr_code unzip(struct wr_str zipped, uint64_t max, size_t *total)
{
	static struct wr_gunzip gz;
	struct drip d = {{drip_read}, zipped, 5};
	unsigned char buf[3000];
	unsigned seed = 6;
	enum wr_code code;
	size_t got = 1;

	*total = 0;
	code = wr_gunzip_init(&gz, &d.base, max, NULL);
	while (!code && got) {
		code = wr_source_read(&gz.base, buf, step(&seed, sizeof buf), &got, NULL);
		if (!code && memcmp(buf, data + *total, got) != 0)
			fail_msg("other bytes at %zu", *total);
		*total += code ? 0 : got;
	}
	if (!code) {
		/* Every later call says the same, and the inner source was read to its end. */
		assert_int_equal(wr_source_read(&gz.base, buf, sizeof buf, &got, NULL), WR_OK);
		assert_int_equal(got, 0);
		assert_int_equal(d.rest.len, 0);
	}
	wr_gunzip_fini(&gz);
	return code;
}

static void test_gunzip(void **state)
{
	size_t cap = 400000, n, total;
	unsigned char *zipped = malloc(cap);
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(300000);
	WR_AUTO_S(wr_buf) tight = WR_BUF_INIT(299999);

	(void)state;
	n = zip(zipped, cap, data, 300000);
	assert_int_equal(unzip(wr_str_n(zipped, n), 300000, &total), WR_OK);
	assert_int_equal(total, 300000);
	assert_int_equal(unzip(wr_str_n(zipped, n), 299999, &total), WR_E_TOO_LARGE);
	for (size_t cut = 1; cut < 30; cut++)
		assert_int_equal(unzip(wr_str_n(zipped, n - cut), 300000, &total), WR_E_INVALID_REQUEST);
	assert_int_equal(unzip(wr_str_n(zipped, 0), 300000, &total), WR_E_INVALID_REQUEST);
	zipped[n] = 0;
	assert_int_equal(unzip(wr_str_n(zipped, n + 1), 300000, &total), WR_E_INVALID_REQUEST);
	zipped[n - 6] ^= 1; /* the checksum */
	assert_int_equal(unzip(wr_str_n(zipped, n), 300000, &total), WR_E_INVALID_REQUEST);
	zipped[n - 6] ^= 1;
	assert_int_equal(wr_gunzip_all(&out, wr_str_n(zipped, n), NULL, NULL), WR_OK);
	assert_int_equal(out.len, 300000);
	assert_memory_equal(out.ptr, data, 300000);
	assert_int_equal(wr_gunzip_all(&tight, wr_str_n(zipped, n), NULL, NULL), WR_E_TOO_LARGE);
	n = zip(zipped, cap, data, 0);
	assert_int_equal(unzip(wr_str_n(zipped, n), 0, &total), WR_OK);
	assert_int_equal(total, 0);
	free(zipped);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_growth),       T(test_full_ring_begins),
		T(test_upload),       T(test_upload_shut),    T(test_upload_too_large), T(test_upload_abort),
		T(test_paused_abort), T(test_answer),      T(test_whole_answer),     T(test_flush_begins),
		T(test_answer_abort), T(test_counting),    T(test_direct),
		T(test_direct_fails), T(test_direct_abort), T(test_direct_counting),
		T(test_gunzip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
