#include "core/net/post.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "core/base/clock.h"
#include "core/net/post_internal.h"

/* How much of an answer is taken in at once: most are a line. And libcurl's least for what is sent over TLS. */
#define READ_AT_ONCE 4096L
#define SEND_AT_ONCE 16384L
/*
 * How long a connection may have been idle and be used again: less than the usual five seconds after which a receiver
 * closes it, so that the two seldom meet. Those that are older go when a new one is made, or after a long rest all of
 * them: what libcurl has parsed of the certificates, which takes it tens of milliseconds, goes with them.
 */
#define KEEP_S 3L
#define REST_MS 600000
/*
 * For how long it is used at all, and what a name resolves to is believed: the host may move, and what is busy would never
 * hear of it. The first pause before another attempt is a second, so each of them asks anew.
 */
#define LIFE_S 60L
#define NAME_S 1L
/* How long the body of an answer that counts already is read on. */
#define BODY_MS 1000
/* The file of certificates is parsed again after so long. */
#define CA_S 600L
/* The pause after which it is tried again, where libcurl had no memory to wait. */
#define NOMEM_MS 20

struct post {
	struct wr_posts *set;
	struct post *next, *prev; /* under way; next alone: ended, or at rest */
	CURL *easy;
	struct curl_slist *headers;
	char *body;
	struct wr_curl_guard guard;
	int64_t began_ms, drop_ms; /* drop_ms 0: the time limit is libcurl's */
	size_t head_len;	   /* of all heads, those of 1xx too */
	uint64_t body_len;
	bool answered;
	struct wr_post_end end;
};

struct wr_posts {
	struct wr_post_rules rules;
	char *ca_file, *agent;
	CURLM *multi;
	int wake;
	struct post *under_way;
	size_t count;	    /* of these */
	size_t not_taken;   /* of those that ended */
	struct post *ended, **ended_tail;
	struct post *at_rest; /* for the next ones */
	int64_t drop_ms; /* the first of the posts'; 0: none */
	int64_t rest_ms; /* when the last of them ended; 0: no connection is open */
};

/* ---- what libcurl calls ---- */

static struct wr_str header_value(struct wr_str line, struct wr_str name)
{
	if (line.len <= name.len || line.ptr[name.len] != ':' || !wr_str_caseeq(wr_str_n(line.ptr, name.len), name))
		return wr_str_n(NULL, 0);
	line = wr_str_skip(line, name.len + 1);
	while (line.len && (line.ptr[0] == ' ' || line.ptr[0] == '\t'))
		line = wr_str_skip(line, 1);
	while (line.len && strchr("\r\n \t", line.ptr[line.len - 1]))
		line.len--;
	return line;
}

static void drop_in_a_moment(struct post *p)
{
	p->drop_ms = wr_mono_ms() + BODY_MS;
	if (!p->set->drop_ms || p->drop_ms < p->set->drop_ms)
		p->set->drop_ms = p->drop_ms;
}

/* Each head begins with its status line and ends with an empty one. Those of 1xx come before the answer's. */
static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
	struct post *p = arg;
	struct wr_str after;
	long status = 0;

	(void)one;
	p->head_len += len;
	if (p->head_len > WR_POST_HEAD_MAX)
		return 0;
	if (p->answered)
		return len;
	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
		p->end.retry_after_s = -1;
	after = header_value(wr_str_n(data, len), WR_S("Retry-After"));
	if (after.ptr)
		p->end.retry_after_s = wr_post_retry_after(after, wr_now_ms() / 1000);
	if (len > 2)
		return len;
	curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200)
		return len;
	p->answered = true;
	p->end.status = (int)status;
	p->end.latency_ms = wr_mono_ms() - p->began_ms;
	if (status < 300)
		drop_in_a_moment(p);
	return len;
}

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct post *p = arg;
	size_t room = sizeof p->end.answer - p->end.answer_len, keep = len < room ? len : room;

	(void)one;
	if (!p->answered) /* 101: whatever now comes is no HTTP */
		return 0;
	memcpy(p->end.answer + p->end.answer_len, data, keep);
	p->end.answer_len += keep;
	p->body_len += len;
	return p->body_len < p->set->rules.max_answer ? len : 0;
}

/* ---- handles ---- */

static bool set_up(CURL *e, struct post *p)
{
	const struct wr_posts *set = p->set;

	return wr_curl_set_safety(e, &p->guard, 0) && wr_curl_set_ca(e, set->ca_file) &&
	       /* The file alone, for what libcurl parses of the folder it keeps with each connection. */
	       curl_easy_setopt(e, CURLOPT_CAPATH, NULL) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_CA_CACHE_TIMEOUT, CA_S) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_USERAGENT, set->agent) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)set->rules.connect_ms) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)set->rules.total_ms) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, KEEP_S) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_MAXLIFETIME_CONN, LIFE_S) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, NAME_S) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_BUFFERSIZE, READ_AT_ONCE) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, SEND_AT_ONCE) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_POST, 1L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_WRITEDATA, p) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_HEADERDATA, p) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_PRIVATE, p) == CURLE_OK;
}

static void post_free(struct post *p)
{
	if (!p)
		return;
	curl_easy_cleanup(p->easy);
	curl_slist_free_all(p->headers);
	free(p->body);
	free(p);
}

static void free_list(struct post *p)
{
	while (p) {
		struct post *next = p->next;

		post_free(p);
		p = next;
	}
}

static struct post *post_new(struct wr_posts *set)
{
	struct post *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->set = set;
	p->guard.private_networks = set->rules.private_networks;
	p->easy = curl_easy_init();
	if (p->easy)
		return p;
	free(p);
	return NULL;
}

static struct post *take_rested(struct wr_posts *set)
{
	struct post *p = set->at_rest;

	if (!p)
		return post_new(set);
	set->at_rest = p->next;
	/* libcurl would go on counting how often it sent again, and at five it fails. */
	curl_easy_reset(p->easy);
	p->next = NULL;
	p->drop_ms = 0;
	p->head_len = 0;
	p->body_len = 0;
	p->answered = false;
	p->guard.refused = false;
	p->guard.error = 0;
	return p;
}

/*
 * As many are kept as were under way at the busiest; none that got no answer, for libcurl leaves its buffer with such a one,
 * and then refuses to be told that buffer's size.
 */
static void rest(struct wr_posts *set, struct post *p)
{
	if (!p->answered) {
		post_free(p);
		return;
	}
	curl_slist_free_all(p->headers);
	free(p->body);
	p->headers = NULL;
	p->body = NULL;
	p->next = set->at_rest;
	set->at_rest = p;
}

/* ---- beginning and ending one ---- */

static bool add_header(struct post *p, const char *header)
{
	struct curl_slist *more = curl_slist_append(p->headers, header);

	p->headers = more ? more : p->headers;
	return more != NULL;
}

static bool set_request(struct post *p, const struct wr_post_ask *ask)
{
	CURL *e = p->easy;
	bool ok = true;

	for (const char *const *h = ask->headers; ok && h && *h; h++)
		ok = add_header(p, *h);
	/* Neither of which libcurl then says by itself. */
	ok = ok && add_header(p, "Expect:") && add_header(p, "Content-Type:");
	p->body = ok ? wr_str_dup(ask->body) : NULL;
	return p->body && curl_easy_setopt(e, CURLOPT_URL, ask->url) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, ask->fresh ? 1L : 0L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ask->body.len) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_POSTFIELDS, p->body) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_HTTPHEADER, p->headers) == CURLE_OK;
}

/* What libcurl counts are all connections, those in use too, and it closes idle ones alone. */
static void count_connections(struct wr_posts *set)
{
	curl_multi_setopt(set->multi, CURLMOPT_MAXCONNECTS, (long)(set->rules.connections + set->count));
}

/*
 * libcurl sends a POST again by itself, up to five times, where a connection that was used before breaks before a byte
 * of an answer came, for then its peer has most likely closed it as we wrote. A receiver that did read it gets it
 * twice, with the same id. Never is one sent again that went out on a new connection, or after any byte of an answer.
 */
enum wr_code wr_posts_begin(struct wr_posts *posts, const struct wr_post_ask *ask, struct wr_error *err)
{
	struct post *p = take_rested(posts);

	if (!p)
		return wr_fail_nomem(err);
	p->end.tag = ask->tag;
	p->end.code = WR_OK;
	p->end.status = 0;
	p->end.latency_ms = 0;
	p->end.retry_after_s = -1;
	p->end.error[0] = '\0';
	p->end.answer_len = 0;
	p->began_ms = wr_mono_ms();
	if (!set_up(p->easy, p) || !set_request(p, ask) ||
	    curl_multi_add_handle(posts->multi, p->easy) != CURLM_OK) {
		post_free(p);
		return wr_fail_nomem(err);
	}
	p->next = posts->under_way;
	p->prev = NULL;
	if (p->next)
		p->next->prev = p;
	posts->under_way = p;
	posts->count++;
	count_connections(posts);
	return WR_OK;
}

/* A transfer that libcurl has not ended is cut off by this, with its connection. */
static void unlink_post(struct wr_posts *set, struct post *p)
{
	curl_multi_remove_handle(set->multi, p->easy);
	if (p->prev)
		p->prev->next = p->next;
	else
		set->under_way = p->next;
	if (p->next)
		p->next->prev = p->prev;
	p->next = p->prev = NULL;
	set->count--;
}

static void end_post(struct wr_posts *set, struct post *p, CURLcode result)
{
	if (!p->answered) {
		p->end.latency_ms = wr_mono_ms() - p->began_ms;
		p->end.retry_after_s = -1;
		wr_post_explain(&p->end, p->easy, result, &p->guard, p->head_len);
	}
	unlink_post(set, p);
	count_connections(set);
	*set->ended_tail = p;
	set->ended_tail = &p->next;
	set->not_taken++;
	set->rest_ms = wr_mono_ms();
}

/* ---- waiting ---- */

static void drop_late(struct wr_posts *set)
{
	int64_t now = wr_mono_ms();

	if (!set->drop_ms || now < set->drop_ms)
		return;
	set->drop_ms = 0;
	for (struct post *p = set->under_way, *next; p; p = next) {
		next = p->next;
		if (p->drop_ms && p->drop_ms <= now)
			end_post(set, p, CURLE_OK);
		else if (p->drop_ms && (!set->drop_ms || p->drop_ms < set->drop_ms))
			set->drop_ms = p->drop_ms;
	}
}

static void go_on(struct wr_posts *set)
{
	int running, queued;
	const CURLMsg *m;

	curl_multi_perform(set->multi, &running);
	while ((m = curl_multi_info_read(set->multi, &queued))) {
		CURLcode result = m->data.result;
		struct post *p = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p);
		end_post(set, p, result);
	}
	drop_late(set);
}

/* libcurl looks at idle connections only when it wants one. */
static void close_all(struct wr_posts *set)
{
	CURLM *fresh = curl_multi_init();

	set->rest_ms = 0;
	free_list(set->at_rest);
	set->at_rest = NULL;
	if (!fresh)
		return;
	curl_multi_cleanup(set->multi);
	set->multi = fresh;
	count_connections(set);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Until something may have come, the time is over, or it is time to drop or close something. Whether it was woken. */
static bool poll_once(struct wr_posts *set, int64_t timeout_ms)
{
	struct curl_waitfd wake = {.fd = set->wake, .events = CURL_WAIT_POLLIN};
	int64_t now = wr_mono_ms();
	eventfd_t times;
	CURLMcode rc;

	if (set->drop_ms)
		timeout_ms = sooner(timeout_ms, set->drop_ms > now ? set->drop_ms - now : 0);
	if (set->rest_ms && set->count == 0) {
		if (now - set->rest_ms >= REST_MS)
			close_all(set);
		else
			timeout_ms = sooner(timeout_ms, REST_MS - (now - set->rest_ms));
	}
	if (timeout_ms < 0 || timeout_ms > INT32_MAX)
		timeout_ms = INT32_MAX;
	rc = curl_multi_poll(set->multi, &wake, 1, (int)timeout_ms, NULL);
	if (rc != CURLM_OK) {
		struct pollfd alone = {.fd = set->wake, .events = POLLIN};

		poll(&alone, 1, (int)sooner(timeout_ms, NOMEM_MS));
		wake.revents = CURL_WAIT_POLLIN;
	}
	return (wake.revents & CURL_WAIT_POLLIN) && eventfd_read(set->wake, &times) == 0;
}

static size_t take_ended(struct wr_post_end *ends, size_t max, struct wr_posts *set)
{
	size_t n = 0;

	while (n < max && set->ended) {
		struct post *p = set->ended;
		struct wr_post_end *end = &ends[n++];

		memcpy(end, &p->end, offsetof(struct wr_post_end, answer) + p->end.answer_len);
		set->ended = p->next;
		set->not_taken--;
		if (!set->ended)
			set->ended_tail = &set->ended;
		rest(set, p);
	}
	return n;
}

size_t wr_posts_wait(struct wr_post_end *ends, size_t max, struct wr_posts *posts, int64_t timeout_ms)
{
	int64_t until = timeout_ms < 0 ? -1 : wr_mono_ms() + timeout_ms;
	bool enough = false;

	for (;;) {
		int64_t left = -1;
		size_t n;

		go_on(posts);
		n = take_ended(ends, max, posts);
		if (n || enough)
			return n;
		if (until >= 0 && (left = until - wr_mono_ms()) < 0)
			left = 0;
		enough = poll_once(posts, left) || left == 0;
	}
}

void wr_posts_wake(struct wr_posts *posts)
{
	eventfd_write(posts->wake, 1);
}

size_t wr_posts_count(const struct wr_posts *posts)
{
	return posts->count + posts->not_taken;
}

/* ---- life ---- */

void wr_posts_free(struct wr_posts *posts)
{
	if (!posts)
		return;
	while (posts->under_way) {
		struct post *p = posts->under_way;

		unlink_post(posts, p);
		post_free(p);
	}
	free_list(posts->ended);
	free_list(posts->at_rest);
	if (posts->multi)
		curl_multi_cleanup(posts->multi);
	if (posts->wake >= 0)
		close(posts->wake);
	free(posts->ca_file);
	free(posts->agent);
	free(posts);
}

enum wr_code wr_posts_new(struct wr_posts **out, const struct wr_post_rules *rules, struct wr_error *err)
{
	WR_AUTO(wr_posts) *set = calloc(1, sizeof *set);

	wr_curl_init();
	if (!set)
		return wr_fail_nomem(err);
	set->rules = *rules;
	set->ended_tail = &set->ended;
	set->ca_file = wr_str_dup(wr_str(rules->ca_file ? rules->ca_file : ""));
	set->agent = wr_str_dup(wr_str(rules->agent));
	set->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	set->multi = curl_multi_init();
	if (!set->ca_file || !set->agent || set->wake < 0 || !set->multi)
		return wr_fail(err, WR_E_UNAVAILABLE, "no memory, or no file descriptor, for webhooks");
	count_connections(set);
	*out = WR_STEAL(set);
	return WR_OK;
}
