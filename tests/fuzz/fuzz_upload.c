/*
 * A fetch request of any bytes; the first says which version. What parses keeps its limits, and is answered from a
 * store of a few objects. In a request an id of 38 zeros and two digits means the one of them with this number, so that
 * mutations find them.
 */
#include <assert.h>
#include <fcntl.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/git/append.h"
#include "smart-http/upload_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory where there is such a place: every append is flushed. */
static char in_memory[] = "/dev/shm/warren-fuzz-XXXXXX", on_disk[] = "/tmp/warren-fuzz-XXXXXX";
static const char *folder;
static struct wr_git *git;
static struct wr_git_repo *repo;
static struct wr_snapshot *snap;

/* The last is reached no more. */
enum { BLOB, TREE, C1, C2, C3, C4, TAG, GONE, OBJECTS };
static struct wr_oid ids[OBJECTS];
static char hexes[OBJECTS][WR_OID_HEX + 1];

static void clean_up(void)
{
	wr_snapshot_unref(snap);
	wr_git_repo_unref(repo);
	wr_git_close(git);
	if (wr_file_remove(AT_FDCWD, folder, NULL) != WR_OK)
		abort();
}

static void must(enum wr_code code)
{
	if (code != WR_OK)
		abort();
}

static void add(struct wr_quarantine *q, int at, enum wr_type type, struct wr_str bytes)
{
	must(wr_quarantine_add(&ids[at], q, type, bytes, NULL, NULL));
	wr_oid_hex(hexes[at], &ids[at]);
}

static void add_commit(struct wr_quarantine *q, int at, const char *parent, const char *other)
{
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(4096);

	wr_buf_printf(&b, "tree %s\n", hexes[TREE]);
	if (parent)
		wr_buf_printf(&b, "parent %s\n", parent);
	if (other)
		wr_buf_printf(&b, "parent %s\n", other);
	wr_buf_printf(&b, "author A <a@b> %d +0000\ncommitter A <a@b> %d +0000\n\nx\n", 1700000000 + at,
		      1700000000 + at);
	add(q, at, WR_COMMIT, wr_buf_str(&b));
}

static void add_objects(struct wr_quarantine *q)
{
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(4096);

	add(q, BLOB, WR_BLOB, WR_S("hello\n"));
	wr_buf_add(&b, "100644 a", 9);
	wr_buf_add(&b, ids[BLOB].id, WR_OID_RAW);
	add(q, TREE, WR_TREE, wr_buf_str(&b));
	add_commit(q, C1, NULL, NULL);
	add_commit(q, C2, hexes[C1], NULL);
	add_commit(q, C3, hexes[C1], NULL);
	add_commit(q, C4, hexes[C2], hexes[C3]);
	wr_buf_clear(&b);
	wr_buf_printf(&b, "object %s\ntype commit\ntag t\ntagger A <a@b> 1700000000 +0000\n\nx\n", hexes[C3]);
	add(q, TAG, WR_TAG, wr_buf_str(&b));
	add_commit(q, GONE, hexes[C4], NULL);
}

static void start(void)
{
	struct wr_ref_update refs[] = {
		{.name = WR_S("refs/heads/main"), .any_old = true},
		{.name = WR_S("refs/heads/gone"), .any_old = true},
		{.name = WR_S("refs/tags/t"), .any_old = true},
	};
	struct wr_change change = {.updates = refs, .count = 3}, removal = {.updates = &refs[1], .count = 1};
	WR_AUTO(wr_quarantine) *q = NULL;
	char id[WR_UUID_LEN + 1];
	struct wr_git_config cfg = {.max_pack_bytes = 1 << 20,
				    .max_pack_objects = 1000,
				    .max_unpacked_bytes = 1 << 20,
				    .max_object_bytes = 1 << 20,
				    .idle_repos = 1,
				    .no_keeper = true};

	if (!(folder = mkdtemp(in_memory)) && !(folder = mkdtemp(on_disk)))
		abort();
	cfg.data = folder;
	wr_uuid_new(id);
	must(wr_git_open(&git, &cfg, NULL));
	must(wr_git_repo_open(&repo, git, id, NULL));
	must(wr_quarantine_new(&q, repo, NULL));
	add_objects(q);
	refs[0].new = ids[C4];
	refs[1].new = ids[GONE];
	refs[2].new = ids[TAG];
	change.objects = q;
	must(wr_git_append(repo, &change, NULL));
	for (int i = 0; i < 3; i++)
		must(refs[i].result);
	refs[1].new = (struct wr_oid){{0}};
	must(wr_git_append(repo, &removal, NULL));
	must(refs[1].result);
	must(wr_snapshot_take(&snap, repo, NULL));
	atexit(clean_up);
}

static void put_ids(char *body, size_t size)
{
	static const char zeros[] = "00000000000000000000000000000000000000";

	for (size_t i = 0; i + WR_OID_HEX <= size; i++) {
		int n = (body[i + 38] - '0') * 10 + body[i + 39] - '0';

		if (memcmp(body + i, zeros, 38) == 0 && n >= 0 && n < OBJECTS && body[i + 39] >= '0' &&
		    body[i + 39] <= '9')
			memcpy(body + i, hexes[n], WR_OID_HEX);
	}
}

static void check(const struct wr_upload *up)
{
	assert(up->wants.len + up->want_refs.len <= 8 && up->haves.len <= 8);
	assert(up->shallows.len + up->deepen_not.len <= 8 && up->prefixes.len <= 8 && up->preamble <= 300);
	assert(up->kind == WR_UPLOAD_REFUSED || up->kind != WR_UPLOAD_V0 || up->wants.len > 0);
	assert((up->kind == WR_UPLOAD_REFUSED) == up->refused && up->refused == (up->refusal[0] != '\0'));
}

/* An answer is whole packets up to the pack, which is whole too, or it says what was wrong. */
static void check_answer(const struct wr_upload *up, enum wr_code code, struct wr_str out)
{
	bool ended = false;

	while (out.len) {
		struct wr_pkt p;

		if (up->kind == WR_UPLOAD_V0 && up->bands == WR_BAND_NONE && wr_str_starts(out, WR_S("PACK")))
			return;
		assert(wr_pkt_next(&p, &out, NULL) == WR_OK);
		ended = p.kind == WR_PKT_FLUSH;
		/* Nothing tells of an object that no ref reaches, but that it was asked for. */
		if (p.kind == WR_PKT_LINE && code == WR_OK && up->kind != WR_UPLOAD_OBJECT_INFO &&
		    !wr_str_starts(p.data, WR_S("ACK ")))
			assert(!memmem(p.data.ptr, p.data.len, hexes[GONE], WR_OID_HEX));
	}
	assert(code == WR_OK ? !wr_upload_told(up) : wr_upload_told(up));
	if (code == WR_OK && up->kind != WR_UPLOAD_V0 && up->kind != WR_UPLOAD_NOTHING)
		assert(ended || (up->kind == WR_UPLOAD_FETCH && !up->wants.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct wr_upload_limits limits = {
		.max_wants = 8, .max_haves = 8, .max_prefixes = 8, .max_depth_lines = 8, .max_preamble = 300};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO_S(wr_buf) body = WR_BUF_INIT(1 << 20), out = WR_BUF_INIT(1 << 20);
	WR_AUTO(wr_upload) *up = NULL;
	struct wr_buf_sink sink;
	enum wr_code code;

	if (size == 0)
		return 0;
	if (!snap)
		start();
	wr_buf_add(&body, data + 1, size - 1);
	if (!wr_buf_ok(&body) || !body.ptr)
		return 0;
	put_ids(body.ptr, body.len);
	if (wr_upload_parse(&up, wr_buf_str(&body), data[0] % 3, &limits, &err) != WR_OK) {
		assert(err.code == WR_E_INVALID_REQUEST && wr_error_text(&err)[0] && !up);
		return 0;
	}
	check(up);
	wr_buf_sink_init(&sink, &out);
	code = wr_upload_answer(up, snap, WR_S("main"), &sink.base, NULL, &err);
	assert(code == WR_OK || code == WR_E_INVALID_REQUEST);
	check_answer(up, code, wr_buf_str(&out));
	return 0;
}
