/*
 * tests/unit/smart.h: what the tests of smart-http share: a store in a temporary folder, a repository in it that real
 * git filled, and real git as the judge of what comes out.
 */
#ifndef WR_TESTS_SMART_H
#define WR_TESTS_SMART_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/wait.h>

#include "core/base/buf.h"
#include "core/base/stream.h"
#include "core/git/append.h"
#include "core/git/pktline.h"
#include "tests/unit/folder.h"

struct world {
	char dir[64]; /* holds data/ (the store) and work/ (a real repository) */
	struct wr_git *git;
	struct wr_git_repo *repo;
	struct wr_snapshot *snap;
};

/* Runs a shell command in the world's folder; its output replaces what out holds (may be NULL). */
static inline int WR_PRINTF(3, 0) sh_status(const struct world *w, struct wr_buf *out, const char *fmt, va_list ap)
{
	WR_AUTO_S(wr_buf) cmd = WR_BUF_INIT(1 << 16);
	char *tail = NULL, part[65536];
	FILE *pipe;
	size_t got;

	assert_true(vasprintf(&tail, fmt, ap) >= 0);
	wr_buf_printf(&cmd,
		      "set -e; cd '%s'; export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=A "
		      "GIT_AUTHOR_EMAIL=a@example.org "
		      "GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.org; %s",
		      w->dir, tail);
	free(tail);
	assert_true(wr_buf_ok(&cmd));
	pipe = popen(cmd.ptr, "r");
	assert_non_null(pipe);
	if (out)
		wr_buf_clear(out);
	while ((got = fread(part, 1, sizeof(part), pipe)) > 0) {
		if (out)
			wr_buf_add(out, part, got);
	}
	return pclose(pipe);
}

static inline void WR_PRINTF(3, 4) sh_raw(const struct world *w, struct wr_buf *out, const char *fmt, ...)
{
	va_list ap;
	int status;

	va_start(ap, fmt);
	status = sh_status(w, out, fmt, ap);
	va_end(ap);
	assert_int_equal(status, 0);
}

/* The same for text: one LF at its end is taken off. */
static inline void WR_PRINTF(3, 4) sh(const struct world *w, struct wr_buf *out, const char *fmt, ...)
{
	va_list ap;
	int status;

	va_start(ap, fmt);
	status = sh_status(w, out, fmt, ap);
	va_end(ap);
	assert_int_equal(status, 0);
	if (out && out->len && out->ptr[out->len - 1] == '\n')
		out->ptr[--out->len] = '\0';
}

/* The id of a revision in work/, as hexadecimal digits. */
static inline const char *rev(const struct world *w, const char *what)
{
	static char hex[8][WR_OID_HEX + 1];
	static unsigned at;
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(4096);
	char *slot = hex[at++ % 8];

	sh(w, &out, "git -C work rev-parse '%s'", what);
	assert_int_equal(out.len, WR_OID_HEX);
	memcpy(slot, out.ptr, WR_OID_HEX + 1);
	return slot;
}

static inline void snap_renew(struct world *w)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	wr_snapshot_unref(w->snap);
	w->snap = NULL;
	if (wr_snapshot_take(&w->snap, w->repo, &err) != WR_OK)
		fail_msg("snapshot: %s %s", wr_error_text(&err), err.detail);
}

/* Brings objects that work/ has and all its refs into the store, past smart HTTP. */
static inline void fill(struct world *w)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20), refs = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_ref_update updates[64];
	struct wr_change change = {.updates = updates};
	struct wr_mem_source src;
	char *line, *save = NULL;

	sh_raw(w, &pack, "git -C work pack-objects --all --stdout -q --revs </dev/null");
	sh(w, &refs, "git -C work for-each-ref --format='%%(objectname) %%(refname)'");
	assert_int_equal(wr_quarantine_new(&q, w->repo, &err), WR_OK);
	wr_mem_source_init(&src, wr_buf_str(&pack));
	if (wr_quarantine_pack(q, &src.base, NULL, NULL, &err) != WR_OK)
		fail_msg("pack: %s %s", wr_error_text(&err), err.detail);
	for (line = strtok_r(refs.ptr, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct wr_ref_update *u = &updates[change.count++];

		assert_true(change.count <= WR_ARRAY_LEN(updates));
		*u = (struct wr_ref_update){.name = wr_str(line + WR_OID_HEX + 1), .any_old = true};
		assert_true(wr_oid_parse(&u->new, wr_str_n(line, WR_OID_HEX)));
	}
	change.objects = q;
	if (wr_git_append(w->repo, &change, &err) != WR_OK)
		fail_msg("append: %s %s", wr_error_text(&err), err.detail);
	for (size_t i = 0; i < change.count; i++) {
		if (updates[i].result != WR_OK)
			fail_msg("%.*s: %s", (int)updates[i].name.len, updates[i].name.ptr, updates[i].reason);
	}
	snap_renew(w);
}

static inline void world_init(struct world *w)
{
	struct wr_git_config cfg = {.max_pack_bytes = 1 << 30,
				    .max_pack_objects = 1000000,
				    .max_unpacked_bytes = UINT64_C(1) << 41,
				    .max_object_bytes = 64u << 20,
				    .idle_repos = 4};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	char data[80], id[WR_UUID_LEN + 1];

	memset(w, 0, sizeof(*w));
	new_folder(w->dir, sizeof w->dir, "warren-test");
	snprintf(data, sizeof(data), "%s/data", w->dir);
	sh(w, NULL, "mkdir data; git init -q -b main work");
	cfg.data = data;
	wr_uuid_new(id);
	if (wr_git_open(&w->git, &cfg, &err) != WR_OK || wr_git_repo_open(&w->repo, w->git, id, &err) != WR_OK)
		fail_msg("store: %s %s", wr_error_text(&err), err.detail);
	snap_renew(w);
}

static inline void world_fini(struct world *w)
{
	wr_snapshot_unref(w->snap);
	wr_git_repo_unref(w->repo);
	wr_git_close(w->git);
	sh(w, NULL, "rm -rf data work judge*; rmdir '%s'", w->dir);
}

/* A commit that changes one file, at a set time: the n-th of its branch at 1700000000 + n * 1000. */
static inline void commit(const struct world *w, const char *message, unsigned n)
{
	sh(w, NULL,
	   "cd work; seq %u 400 >f-%s; echo %s >>log; git add -A; "
	   "GIT_AUTHOR_DATE='%u +0000' GIT_COMMITTER_DATE='%u +0000' git commit -q -m %s",
	   n, message, message, 1700000000 + n * 1000, 1700000000 + n * 1000, message);
}

static inline void pkt(struct wr_buf *b, const char *fmt, ...) WR_PRINTF(2, 3);
static inline void pkt(struct wr_buf *b, const char *fmt, ...)
{
	char head[4], line[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < sizeof(line));
	wr_pkt_header(head, (size_t)n);
	wr_buf_add(b, head, 4);
	wr_buf_add(b, line, (size_t)n);
}

static inline void flush(struct wr_buf *b)
{
	wr_buf_addz(b, "0000");
}

static inline void delim(struct wr_buf *b)
{
	wr_buf_addz(b, "0001");
}

/* The next packet of an answer: a line with this text, or "0000" or "0001". */
static inline void expect(struct wr_str *rest, const char *fmt, ...) WR_PRINTF(2, 3);
static inline void expect(struct wr_str *rest, const char *fmt, ...)
{
	char want[4096];
	struct wr_pkt got;
	va_list ap;
	const char *text;

	va_start(ap, fmt);
	vsnprintf(want, sizeof(want), fmt, ap);
	va_end(ap);
	assert_int_equal(wr_pkt_next(&got, rest, NULL), WR_OK);
	text = got.kind == WR_PKT_FLUSH	  ? "0000"
	       : got.kind == WR_PKT_DELIM ? "0001"
	       : got.kind == WR_PKT_EOF	  ? "the end"
					  : NULL;
	if (text ? strcmp(text, want) != 0 : !wr_str_eqz(got.data, want))
		fail_msg("wanted \"%s\", got \"%.*s\"", want, text ? (int)strlen(text) : (int)got.data.len,
			 text ? text : got.data.ptr);
}

#endif
