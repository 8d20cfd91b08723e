#include "server/http/request.h"

#include <assert.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/share.h"
#include "server/http/http_internal.h"

/* ---- pausing: see pipe.h; these run under a pipe's lock ---- */

static void pause_connection(void *arg)
{
	struct wr_request *req = arg;

	atomic_store(&req->paused, true);
	MHD_suspend_connection(req->connection);
}

static void resume_connection(void *arg)
{
	struct wr_request *req = arg;

	atomic_store(&req->paused, false);
	MHD_resume_connection(req->connection);
}

/* Others compute while this thread waits for the other end of a pipe. */
static void before_wait(void *arg)
{
	(void)arg;
	wr_gate_rest();
}

static void after_wait(void *arg)
{
	(void)arg;
	wr_gate_go_on();
}

/* A ring that wants to grow: nice to have, so only from what nobody else is likely to need. */
static bool more_memory(void *arg, size_t n)
{
	return wr_request_charge(arg, n, WR_CHARGE_SPARE);
}

static bool take_memory(void *arg, uint64_t n, bool spare)
{
	return wr_request_charge(arg, n, spare ? WR_CHARGE_SPARE : WR_CHARGE_NEEDED);
}

static void give_memory(void *arg, uint64_t n)
{
	wr_request_uncharge(arg, n);
}

/* Asked by long work again and again, on the thread that does it, with no lock held. */
static bool is_given_up(void *arg)
{
	struct wr_request *req = arg;

	wr_gate_give_way();
	return atomic_load(&req->given_up);
}

/* ---- life ---- */

struct wr_request *wr_request_new(struct wr_http *http, struct MHD_Connection *connection)
{
	struct wr_request *req = calloc(1, sizeof *req);
	struct wr_pipe_hooks hooks = {.pause = pause_connection,
				      .resume = resume_connection,
				      .block = before_wait,
				      .unblock = after_wait,
				      .more = more_memory,
				      .send = wr_direct_send,
				      .arg = req};

	if (!req)
		return NULL;
	atomic_init(&req->refs, 1);
	req->http = http;
	req->connection = connection;
	req->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	req->began_us = wr_mono_us();
	req->cancel = (struct wr_cancel){is_given_up, req};
	req->memory = (struct wr_room){take_memory, give_memory, req};
	req->reply.status = 200;
	req->reply.body = (struct wr_buf)WR_BUF_INIT(SIZE_MAX / 2);
	req->body = (struct wr_buf)WR_BUF_INIT(0);
	wr_trace_new(req->trace);
	wr_pipe_init(&req->in, WR_RING_BYTES, &hooks);
	wr_pipe_init(&req->out, WR_RING_BYTES, &hooks);
	return req;
}

void wr_request_ref(struct wr_request *req)
{
	atomic_fetch_add(&req->refs, 1);
}

static void log_access(const struct wr_request *req)
{
	struct wr_log_field fields[12 + WR_LOG_EXTRAS];
	const char *why = atomic_load(&req->why);
	size_t n = 0;

	if (WR_INFO < wr_log_threshold())
		return;
	fields[n++] = WR_STR("method", req->method[0] ? req->method : "-");
	fields[n++] = WR_STR("route", req->match.near ? req->match.near->path : "-");
	fields[n++] = WR_INT("status", atomic_load(&req->stage) == WR_STAGE_SEND ? req->reply.status : 0);
	fields[n++] = WR_INT("ms", (wr_mono_us() - req->began_us) / 1000);
	fields[n++] = WR_INT("bytes_in", atomic_load(&req->bytes_in));
	fields[n++] = WR_INT("bytes_out", atomic_load(&req->bytes_out));
	if (req->has_repo)
		fields[n++] = WR_STR("repo", req->repo.id);
	if (req->caller.account_id[0])
		fields[n++] = WR_STR("account", req->caller.account_id);
	if (req->caller.identity_id[0])
		fields[n++] = WR_STR("identity", req->caller.identity_id);
	if (why)
		fields[n++] = WR_STR("aborted", why);
	for (size_t i = 0; i < req->n_extras; i++)
		fields[n++] = WR_INT(req->extras[i].key, req->extras[i].value);
	fields[n] = (struct wr_log_field){NULL, 0, {NULL, 0}, 0};
	wr_log_write_many(WR_INFO, req->trace, WR_EV_REQUEST, fields);
}

/* The bytes that the request's account holds. */
static _Atomic uint64_t *buffered_by(const struct wr_request *req)
{
	struct wr_str account = wr_admit_payer(req);
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < account.len; i++)
		h = (h ^ (unsigned char)account.ptr[i]) * 16777619u;
	return &req->http->buffered_by[h % WR_BUFFER_SHARES];
}

void wr_request_unref(struct wr_request *req)
{
	uint64_t charged;

	if (atomic_fetch_sub(&req->refs, 1) != 1)
		return;
	log_access(req);
	charged = atomic_load(&req->charged);
	if (charged) {
		atomic_fetch_sub(&req->http->buffered, charged);
		atomic_fetch_sub(buffered_by(req), charged);
	}
	if (req->gunzip)
		wr_gunzip_fini(req->gunzip);
	free(req->gunzip);
	wr_pipe_fini(&req->in);
	wr_pipe_fini(&req->out);
	wr_buf_fini(&req->body);
	json_decref(req->json);
	wr_json_look_fini(&req->look);
	wr_reply_fini(&req->reply);
	wr_match_fini(&req->match);
	wr_url_fini(&req->url);
	wr_error_fini(&req->target_error);
	free(req->headers);
	free(req);
}

void wr_request_give_up(struct wr_request *req, const char *why)
{
	if (atomic_exchange(&req->given_up, true))
		return;
	atomic_store(&req->why, why);
	wr_pipe_abort(&req->in);
	wr_pipe_abort(&req->out);
}

bool wr_request_room(const struct wr_request *req, uint64_t n, enum wr_charge kind)
{
	const struct wr_config *cfg = req->http->cfg;
	uint64_t max = kind == WR_CHARGE_SPARE ? cfg->http_max_buffered / 2 : cfg->http_max_buffered;

	return wr_share_fits(atomic_load(buffered_by(req)), atomic_load(&req->http->buffered), n, max,
			     (unsigned)cfg->lanes_account_share);
}

/* Two that ask at the same time may both be told no, never both yes where only one fits. */
bool wr_request_charge(struct wr_request *req, uint64_t n, enum wr_charge kind)
{
	atomic_fetch_add(&req->http->buffered, n);
	atomic_fetch_add(buffered_by(req), n);
	if (wr_request_room(req, 0, kind)) {
		atomic_fetch_add(&req->charged, n);
		return true;
	}
	atomic_fetch_sub(buffered_by(req), n);
	atomic_fetch_sub(&req->http->buffered, n);
	return false;
}

void wr_request_uncharge(struct wr_request *req, uint64_t n)
{
	atomic_fetch_sub(&req->charged, n);
	atomic_fetch_sub(buffered_by(req), n);
	atomic_fetch_sub(&req->http->buffered, n);
}

bool wr_request_is_git(const struct wr_request *req)
{
	return req->match.near && wr_route_is_git(req->match.near);
}

struct wr_str wr_request_find_header(const struct wr_request *req, const char *name)
{
	struct wr_str wanted = wr_str(name);

	for (size_t i = 0; i < req->n_headers; i++)
		if (wr_str_caseeq(req->headers[i].name, wanted))
			return req->headers[i].value;
	return (struct wr_str){NULL, 0};
}

struct wr_str wr_request_find_param(const struct wr_request *req, const char *name)
{
	for (size_t i = 0; i < req->match.n_params; i++)
		if (wr_str_eqz(req->match.params[i].name, name))
			return req->match.params[i].value;
	return (struct wr_str){NULL, 0};
}

/* ---- what handlers ask ---- */

struct wr_str wr_request_param(const struct wr_request *req, const char *name)
{
	struct wr_str value = wr_request_find_param(req, name);

	return value.ptr ? value : WR_S("");
}

bool wr_request_query(const struct wr_request *req, const char *name, struct wr_str *out)
{
	for (size_t i = 0; i < req->url.n_pairs; i++) {
		if (!wr_str_eqz(req->url.pairs[i].name, name))
			continue;
		if (req->url.pairs[i].value.len == 0)
			return false;
		*out = req->url.pairs[i].value;
		return true;
	}
	return false;
}

enum wr_code wr_request_query_int(const struct wr_request *req, const char *name, uint64_t fallback, uint64_t max,
				  uint64_t *out, struct wr_error *err)
{
	struct wr_str text;
	uint64_t value;

	if (!wr_request_query(req, name, &text)) {
		*out = fallback;
		return WR_OK;
	}
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return wr_fail(err, WR_E_INVALID_REQUEST, "The query parameter %s is no whole number", name);
	/* All digits: what does not fit is too large, and lowered like anything above max. */
	*out = wr_str_u64(text, max, &value) ? value : max;
	return WR_OK;
}

enum wr_code wr_request_query_bool(const struct wr_request *req, const char *name, bool fallback, bool *out,
				   struct wr_error *err)
{
	struct wr_str text;

	if (!wr_request_query(req, name, &text))
		*out = fallback;
	else if (wr_str_eqz(text, "true"))
		*out = true;
	else if (wr_str_eqz(text, "false"))
		*out = false;
	else
		return wr_fail(err, WR_E_INVALID_REQUEST, "The query parameter %s is neither true nor false", name);
	return WR_OK;
}

struct wr_str wr_request_header(const struct wr_request *req, const char *name)
{
	struct wr_str value = wr_request_find_header(req, name);

	return value.ptr ? value : WR_S("");
}

json_t *wr_request_json(const struct wr_request *req)
{
	return req->json;
}

struct wr_str wr_request_content(const struct wr_request *req, struct wr_str value)
{
	return wr_json_content(&req->look, value);
}

struct wr_str wr_request_body(const struct wr_request *req)
{
	return wr_buf_str(&req->body);
}

struct wr_source *wr_request_source(struct wr_request *req)
{
	return req->source;
}

const struct wr_caller *wr_request_caller(const struct wr_request *req)
{
	return &req->caller;
}

const struct wr_repo *wr_request_repo(const struct wr_request *req)
{
	return req->has_repo ? &req->repo : NULL;
}

enum wr_level wr_request_level(const struct wr_request *req)
{
	return req->has_repo ? req->level : WR_LEVEL_NONE;
}

const char *wr_request_trace(const struct wr_request *req)
{
	return req->trace;
}

const struct wr_room *wr_request_memory(struct wr_request *req)
{
	return &req->memory;
}

bool wr_request_may_wait(const struct wr_request *req)
{
	return !req->at_once;
}

enum wr_code wr_request_later(struct wr_request *req)
{
	assert(req->at_once && req->match.route->lane == WR_LANE_QUICK);
	req->later = true;
	return WR_OK;
}

const struct wr_cancel *wr_request_cancel(struct wr_request *req)
{
	return &req->cancel;
}

void wr_request_log_int(struct wr_request *req, const char *key, int64_t value)
{
	if (req->n_extras == WR_LOG_EXTRAS)
		return;
	req->extras[req->n_extras].key = key;
	req->extras[req->n_extras++].value = value;
}
