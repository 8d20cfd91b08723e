/*
 * tests/unit/git_fixture.h: what the tests of core/git share: a store in a temporary folder, histories made by chance,
 * packs made by hand, and real git as the judge.
 */
#ifndef WR_TESTS_GIT_FIXTURE_H
#define WR_TESTS_GIT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <zlib.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/stream.h"
#include "core/git/append.h"
#include "core/git/pack.h"
#include "tests/unit/folder.h"

#define REPO_ID "01234567-89ab-4def-8123-456789abcdef"

struct fx {
	char dir[64]; /* holds data/, the store */
	struct wr_git_config cfg;
	struct wr_git *git;
	struct wr_git_repo *repo;
	unsigned seed;
	struct wr_error err;
};

#define assert_ok(call) assert_int_equal((call), WR_OK)

/* WARREN_TEST_ROUNDS scales the rounds of randomised tests, WARREN_TEST_SEED makes them others. */
static inline unsigned rounds(unsigned usual)
{
	const char *text = getenv("WARREN_TEST_ROUNDS");
	double scale = text ? strtod(text, NULL) : 1;

	return scale > 0 && scale < 10000 && scale * usual >= 1 ? (unsigned)(scale * usual) : 1;
}

static inline unsigned first_seed(void)
{
	const char *text = getenv("WARREN_TEST_SEED");

	return text ? (unsigned)strtoul(text, NULL, 10) : 1;
}

static inline void fx_start(struct fx *f)
{
	assert_ok(wr_git_open(&f->git, &f->cfg, &f->err));
	assert_ok(wr_git_repo_open(&f->repo, f->git, REPO_ID, &f->err));
}

static inline void fx_stop(struct fx *f)
{
	wr_git_repo_unref(f->repo);
	wr_git_close(f->git);
	f->repo = NULL;
	f->git = NULL;
}

static inline int fx_setup(void **state)
{
	static char data[128];
	struct fx *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	new_folder(f->dir, sizeof f->dir, "warren-git");
	snprintf(data, sizeof(data), "%s/data", f->dir);
	f->cfg = (struct wr_git_config){.data = data,
					.max_pack_bytes = 1u << 30,
					.max_pack_objects = 1000000,
					.max_unpacked_bytes = UINT64_C(1) << 41,
					.max_object_bytes = 64u << 20,
					.idle_repos = 4};
	f->seed = first_seed();
	*state = f;
	fx_start(f);
	return 0;
}

static inline int fx_teardown(void **state)
{
	struct fx *f = *state;

	if (f->git)
		fx_stop(f);
	assert_ok(wr_file_remove(AT_FDCWD, f->dir, NULL));
	wr_error_fini(&f->err);
	free(f);
	return 0;
}

/* A shell command in the folder; what it prints goes to out (may be NULL). Its exit status. */
static inline int WR_PRINTF(3, 4) sh_try(const struct fx *f, struct wr_buf *out, const char *fmt, ...)
{
	char part[65536], *tail = NULL, *cmd = NULL;
	va_list ap;
	FILE *pipe;
	size_t n;

	va_start(ap, fmt);
	assert_true(vasprintf(&tail, fmt, ap) >= 0);
	va_end(ap);
	assert_true(asprintf(&cmd,
			     "set -e; cd '%s'; export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null "
			     "GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=A "
			     "GIT_COMMITTER_EMAIL=a@example.org GIT_AUTHOR_DATE='1700000000 +0000' "
			     "GIT_COMMITTER_DATE='1700000000 +0000'; %s",
			     f->dir, tail) >= 0);
	pipe = popen(cmd, "r");
	assert_non_null(pipe);
	if (out)
		wr_buf_clear(out);
	while ((n = fread(part, 1, sizeof(part), pipe)) > 0)
		if (out)
			wr_buf_add(out, part, n);
	free(tail);
	free(cmd);
	return pclose(pipe);
}
#define sh(f, ...) assert_int_equal(sh_try((f), NULL, __VA_ARGS__), 0)
#define sh_out(f, out, ...) assert_int_equal(sh_try((f), (out), __VA_ARGS__), 0)

/* The one id that a command prints. */
#define sh_oid(f, oid, ...)                                                                                            \
	do {                                                                                                           \
		WR_AUTO_S(wr_buf) line_ = WR_BUF_INIT(1 << 20);                                                        \
		sh_out((f), &line_, __VA_ARGS__);                                                                      \
		assert_true(line_.len >= WR_OID_HEX);                                                                  \
		assert_true(wr_oid_parse((oid), wr_str_n(line_.ptr, WR_OID_HEX)));                                     \
	} while (0)

/* The ids at the beginning of each line. */
static inline void oids_of(struct wr_oids *list, const struct wr_buf *text)
{
	struct wr_str rest = wr_buf_str(text);

	while (rest.len >= WR_OID_HEX) {
		const char *nl = memchr(rest.ptr, '\n', rest.len);
		struct wr_oid oid;

		assert_true(wr_oid_parse(&oid, wr_str_n(rest.ptr, WR_OID_HEX)));
		assert_ok(wr_oids_add(list, &oid, NULL));
		rest = nl ? wr_str_skip(rest, (size_t)(nl + 1 - rest.ptr)) : wr_str_n("", 0);
	}
}

static inline void read_whole(struct wr_buf *out, const struct fx *f, const char *name)
{
	sh_out(f, out, "cat '%s'", name);
	assert_true(wr_buf_ok(out));
}

static inline void write_whole(const struct fx *f, const char *name, struct wr_str data)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(data.ptr, 1, data.len, file), data.len);
	assert_int_equal(fclose(file), 0);
}

/* ---- pushes ---- */

/* A source that gives small and odd pieces. */
struct dribble {
	struct wr_source base;
	struct wr_str rest;
	size_t step;
};

static inline enum wr_code dribble_read(struct wr_source *base, void *buf, size_t cap, size_t *got,
					struct wr_error *err)
{
	struct dribble *d = (struct dribble *)base;
	size_t n = d->rest.len < d->step ? d->rest.len : d->step;

	(void)err;
	n = n < cap ? n : cap;
	if (n)
		memcpy(buf, d->rest.ptr, n);
	d->rest = wr_str_skip(d->rest, n);
	d->step = d->step * 7 % 4099 + 1;
	*got = n;
	return WR_OK;
}

static inline enum wr_code take_pack(struct wr_quarantine **out, struct fx *f, struct wr_str pack)
{
	struct dribble src = {{dribble_read}, pack, 11};
	WR_AUTO(wr_quarantine) *q = NULL;
	enum wr_code code;

	assert_ok(wr_quarantine_new(&q, f->repo, &f->err));
	code = wr_quarantine_pack(q, &src.base, NULL, NULL, &f->err);
	if (code == WR_OK)
		*out = WR_STEAL(q);
	return code;
}

/* One update and a pack (may be empty text); the code is the update's, or that of what came before it. */
static inline enum wr_code push(struct fx *f, struct wr_str pack, const char *ref, const struct wr_oid *value)
{
	struct wr_ref_update u = {.name = wr_str(ref), .new = *value, .any_old = true};
	struct wr_change change = {.updates = &u, .count = 1};
	WR_AUTO(wr_quarantine) *q = NULL;
	enum wr_code code;

	if (pack.len && (code = take_pack(&q, f, pack)) != WR_OK)
		return code;
	change.objects = q;
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	return u.result;
}

/* Everything of the real repository `from`, refs included. */
static inline void push_all(struct fx *f, const char *from)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(64u << 20);
	WR_AUTO_S(wr_buf) refs = WR_BUF_INIT(1 << 20);
	WR_AUTO(wr_quarantine) *q = NULL;
	static struct wr_ref_update u[1024];
	struct wr_change change = {.updates = u, .atomic = true};
	struct wr_str rest;

	sh_out(f, &pack, "git -C %s pack-objects --all --stdout -q --delta-base-offset </dev/null", from);
	sh_out(f, &refs, "git -C %s for-each-ref --format='%%(objectname) %%(refname)'", from);
	assert_ok(take_pack(&q, f, wr_buf_str(&pack)));
	memset(u, 0, sizeof(u));
	for (rest = wr_buf_str(&refs); rest.len;) {
		const char *nl = memchr(rest.ptr, '\n', rest.len);
		struct wr_ref_update *next = &u[change.count++];

		assert_true(wr_oid_parse(&next->new, wr_str_n(rest.ptr, WR_OID_HEX)));
		next->name = wr_str_n(rest.ptr + WR_OID_HEX + 1, (size_t)(nl - rest.ptr) - WR_OID_HEX - 1);
		next->any_old = true;
		rest = wr_str_skip(rest, (size_t)(nl + 1 - rest.ptr));
	}
	change.objects = q;
	assert_ok(wr_git_append(f->repo, &change, &f->err));
	for (size_t i = 0; i < change.count; i++)
		assert_string_equal(u[i].reason, "");
}

/* ---- histories ---- */

static inline unsigned chance(struct fx *f, unsigned n)
{
	return (unsigned)rand_r(&f->seed) % n;
}

/*
 * A real repository `name` with some commits: merges, dates that go backwards now and then, folders, larger files that
 * become deltas, submodules, tags and tags of tags. refs/heads/b<n> each.
 */
static inline void make_history(struct fx *f, const char *name, unsigned commits)
{
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(64u << 20);
	unsigned tags = 0;

	for (unsigned i = 1; i <= commits; i++) {
		unsigned from = i > 1 ? 1 + (i > 4 ? i - 1 - chance(f, 4) : chance(f, i - 1)) : 0;
		unsigned with = i > 6 && chance(f, 4) == 0 ? 1 + chance(f, i - 1) : 0;
		unsigned date = 1700000000 + i * 100;

		from = from >= i ? i - 1 : from;
		if (chance(f, 10) == 0)
			date -= chance(f, 5000);
		wr_buf_printf(&in, "commit refs/heads/b%u\nmark :%u\ncommitter C <c@example.org> %u +0000\ndata 2\nm\n",
			      chance(f, 5), i, date);
		if (from)
			wr_buf_printf(&in, "from :%u\n", from);
		if (with && with != from)
			wr_buf_printf(&in, "merge :%u\n", with);
		for (unsigned k = 0; k < 1 + chance(f, 3); k++) {
			unsigned dir = chance(f, 4), lines = 30 + chance(f, 60);
			WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);

			for (unsigned l = 0; l < lines; l++)
				wr_buf_printf(&text, "line %u of a file that changes a little %u\n", l,
					      chance(f, 12) == 0 ? i : 0);
			wr_buf_printf(&in, "M 100644 inline d%u/e%u/file%u\ndata %zu\n", dir, dir % 2, chance(f, 6),
				      text.len);
			wr_buf_adds(&in, wr_buf_str(&text));
		}
		if (chance(f, 8) == 0)
			wr_buf_printf(&in, "M 160000 %040u sub%u\n", i, chance(f, 2));
		if (chance(f, 9) == 0)
			wr_buf_printf(&in, "tag t%u\nfrom :%u\ntagger T <t@example.org> %u +0000\ndata 1\nt\n", tags++,
				      i, date);
	}
	assert_true(wr_buf_ok(&in));
	write_whole(f, "import", wr_buf_str(&in));
	sh(f, "git init -q --bare %s; git -C %s fast-import --quiet --force < import; rm import", name, name);
	if (tags)
		sh(f, "git -C %s -c advice.nestedTag=false tag -a -m x nested t0; git -C %s tag light t0^{}", name,
		   name);
	sh(f, "git -C %s repack -adfq --depth=20 --window=20", name);
}

/* ---- packs by hand ---- */

struct pb {
	struct wr_buf out;
};

static inline void pb_begin(struct pb *b, uint32_t count)
{
	uint8_t n[4];

	b->out = (struct wr_buf)WR_BUF_INIT(256u << 20);
	wr_put_be32(n, count);
	wr_buf_add(&b->out, "PACK\0\0\0\2", 8);
	wr_buf_add(&b->out, n, 4);
}

static inline void pb_zip(struct pb *b, struct wr_str data)
{
	uLongf len = compressBound(data.len);
	WR_AUTO_MEM Bytef *z = malloc(len);

	assert_non_null(z);
	assert_int_equal(compress(z, &len, (const Bytef *)data.ptr, data.len), Z_OK);
	wr_buf_add(&b->out, z, len);
}

static inline void pb_head(struct pb *b, unsigned kind, uint64_t size)
{
	uint8_t head[16];

	wr_buf_add(&b->out, head, wr_entry_put(head, kind, size));
}

/* Returns where the entry begins. */
static inline size_t pb_object(struct pb *b, enum wr_type type, struct wr_str data)
{
	size_t at = b->out.len;

	pb_head(b, type, data.len);
	pb_zip(b, data);
	return at;
}

static inline void pb_ref_delta(struct pb *b, const struct wr_oid *base, struct wr_str delta)
{
	pb_head(b, WR_REF_DELTA, delta.len);
	wr_buf_add(&b->out, base->id, WR_OID_RAW);
	pb_zip(b, delta);
}

static inline size_t pb_ofs_delta(struct pb *b, uint64_t distance, struct wr_str delta)
{
	size_t at = b->out.len;
	uint8_t bytes[16];

	pb_head(b, WR_OFS_DELTA, delta.len);
	wr_buf_add(&b->out, bytes, wr_entry_put_distance(bytes, distance));
	pb_zip(b, delta);
	return at;
}

static inline struct wr_str pb_end(struct pb *b)
{
	unsigned char sum[EVP_MAX_MD_SIZE];

	assert_int_equal(EVP_Digest(b->out.ptr, b->out.len, sum, NULL, EVP_sha1(), NULL), 1);
	wr_buf_add(&b->out, sum, 20);
	assert_true(wr_buf_ok(&b->out));
	return wr_buf_str(&b->out);
}

static inline void oid_of(struct wr_oid *out, enum wr_type type, struct wr_str data)
{
	WR_AUTO_S(wr_buf) all = WR_BUF_INIT(256u << 20);
	unsigned char sum[EVP_MAX_MD_SIZE];

	wr_buf_printf(&all, "%s %zu", wr_type_name(type), data.len);
	wr_buf_addc(&all, '\0');
	wr_buf_adds(&all, data);
	assert_int_equal(EVP_Digest(all.ptr, all.len, sum, NULL, EVP_sha1(), NULL), 1);
	memcpy(out->id, sum, WR_OID_RAW);
}

#endif
