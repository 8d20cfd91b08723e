/*
 * Packs from outside, taken in twice: in memory, and as files or half and half. Both must say the same, and what they
 * accept must come back whole. The first byte says how: bit 0, the trailer is put right, so that more than the checksum
 * is tried; the rest, how many times 16 bytes may stay in memory the second time.
 */
#include <assert.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <git2/global.h>
#include <git2/odb.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/git/delta.h"
#include "core/git/index.h"
#include "core/git/snapshot_internal.h"

#define NAME "pack-0123456789abcdef0123456789abcdef01234567"
#define STORED "pack-76543210fedcba9876543210fedcba9876543210"
#define MAX_OBJECT 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory where there is such a place: every pack in files is flushed. */
static char in_memory[] = "/dev/shm/warren-fuzz-XXXXXX", on_disk[] = "/tmp/warren-fuzz-XXXXXX";
static const char *folder;
static int dir = -1;
static struct wr_snapshot *store;
static struct wr_fsck_rules fsck; /* the lenient ones: more gets in */

static void clean_up(void)
{
	wr_snapshot_unref(store);
	close(dir);
	if (wr_file_remove(AT_FDCWD, folder, NULL) != WR_OK)
		abort();
	git_libgit2_shutdown();
}

static void add_sum(struct wr_buf *b)
{
	unsigned char sum[EVP_MAX_MD_SIZE];

	if (EVP_Digest(b->ptr, b->len, sum, NULL, EVP_sha1(), NULL) != 1)
		abort();
	wr_buf_add(b, sum, 20);
}

static enum wr_code open_folder(int *fd, void *arg, struct wr_error *err)
{
	(void)arg;
	(void)err;
	*fd = dir;
	return WR_OK;
}

static enum wr_code take_in(struct wr_intake *out, const char *name, struct wr_str pack, size_t max_memory)
{
	const struct wr_index_limits limits = {1 << 20, 1000, MAX_OBJECT, 64 << 20, max_memory, 50, NULL};
	const struct wr_index_rules rules = {.fsck = &fsck};
	const struct wr_index_folder where = {open_folder, NULL};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_mem_source src;
	enum wr_code code;

	wr_mem_source_init(&src, pack);
	code = wr_index_pack(out, &where, name, &src.base, store, &limits, &rules, NULL, NULL, &err);
	if (code != WR_OK && code != WR_E_BAD_PACK && code != WR_E_TOO_LARGE)
		abort();
	return code;
}

static void start(void)
{
	/* A store with one blob, "base\n", for thin packs. */
	static const uint8_t pack[] = "PACK\0\0\0\2\0\0\0\1\x35\x78\x9c\x4b\x4a\x2c\x4e\xe5\x02\x00\x05\xa0\x01\xa6";
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_intake) in = {.count = 0};
	struct wr_pack *p = NULL;

	folder = mkdtemp(in_memory);
	if (!folder)
		folder = mkdtemp(on_disk);
	if (wr_fsck_rules_parse(&fsck, NULL, NULL) != WR_OK)
		abort();
	fsck = wr_fsck_rules_taken(&fsck);
	if (git_libgit2_init() < 0 || !folder || (dir = open(folder, O_RDONLY | O_DIRECTORY)) < 0 ||
	    wr_snapshot_new(&store, MAX_OBJECT, NULL) != WR_OK)
		abort();
	wr_buf_add(&b, pack, sizeof(pack) - 1);
	add_sum(&b);
	if (take_in(&in, STORED, wr_buf_str(&b), 0) != WR_OK || in.count != 1 ||
	    wr_pack_open(&p, dir, STORED, NULL) != WR_OK ||
	    wr_snapshot_add_member(store, p, WR_ROLE_BASE, NULL, NULL) != WR_OK)
		abort();
	wr_pack_unref(p);
	atexit(clean_up);
}

/* A row must lead to its object through rows before it. */
static void read_row(struct wr_object *done, const struct wr_intake *in, uint32_t row)
{
	const struct wr_record_object *o = &in->objects[row];
	WR_AUTO_S(wr_unzip) unzip = {.ready = false};
	WR_AUTO_S(wr_object) outside = {.data = NULL};
	WR_AUTO_MEM uint8_t *data = NULL;
	uint64_t size, base_size, made;
	const struct wr_object *base;
	struct wr_str body;
	struct wr_oid id;
	unsigned kind;
	size_t n, used;
	git_oid oid;

	n = wr_entry_head(&kind, &size, o->raw, o->raw_len);
	assert(n > 0);
	if (kind == WR_OFS_DELTA)
		n += wr_entry_distance(&made, o->raw + n, o->raw_len - n);
	if (kind == WR_REF_DELTA)
		n += WR_OID_RAW;
	assert(wr_unzip_all(&data, &used, &unzip, wr_str_n(o->raw + n, o->raw_len - n), (size_t)size) == WR_ZIP_OK);
	if (kind <= WR_TAG) {
		assert(kind == o->type && size == o->size && o->base == WR_NO_ROW && o->depth == 0);
		done[row] = (struct wr_object){o->type, (size_t)size, WR_STEAL(data)};
	} else {
		if (o->base == WR_NO_ROW) {
			assert(kind == WR_REF_DELTA);
			memcpy(id.id, o->raw + n - WR_OID_RAW, WR_OID_RAW);
			if (wr_snapshot_read(&outside, store, &id, NULL) != WR_OK)
				abort();
			base = &outside;
		} else {
			assert(o->base < row && o->depth == in->objects[o->base].depth + 1);
			base = &done[o->base];
		}
		assert(wr_delta_sizes(&base_size, &made, &body, wr_str_n(data, (size_t)size)));
		assert(base_size == base->size && made == o->size && wr_delta_ok(body, base_size, made));
		done[row] = (struct wr_object){o->type, (size_t)made, malloc((size_t)made + 1)};
		if (!done[row].data)
			abort();
		wr_delta_apply(done[row].data, base->data, body);
	}
	assert(git_odb_hash(&oid, done[row].data, done[row].size, (git_object_t)o->type) == 0);
	assert(memcmp(oid.id, o->oid.id, WR_OID_RAW) == 0);
}

static void read_rows(const struct wr_intake *in)
{
	struct wr_object *done = calloc(in->count + 1, sizeof(*done));

	if (!done)
		abort();
	for (uint32_t i = 0; i < in->count; i++)
		read_row(done, in, i);
	for (uint32_t i = 0; i < in->count; i++)
		free(done[i].data);
	free(done);
}

static void read_files(const struct wr_intake *rows)
{
	struct wr_snapshot *snap = NULL;
	struct wr_pack *p = NULL;
	uint32_t pos;

	if (wr_snapshot_new(&snap, MAX_OBJECT, NULL) != WR_OK || wr_pack_open(&p, dir, NAME, NULL) != WR_OK ||
	    wr_snapshot_add_member(snap, p, WR_ROLE_BASE, NULL, NULL) != WR_OK)
		abort();
	for (pos = 0; pos < p->count; pos++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};

		if (wr_snapshot_read_at(&obj, snap, (struct wr_place){0, pos}, NULL, NULL) != WR_OK)
			abort();
	}
	for (uint32_t i = 0; i < rows->count; i++)
		assert(wr_pack_find(&pos, p, &rows->objects[i].oid));
	wr_pack_unref(p);
	wr_snapshot_unref(snap);
}

static void forget(void)
{
	unlinkat(dir, NAME ".pack", 0);
	unlinkat(dir, NAME ".idx", 0);
	unlinkat(dir, NAME ".rev", 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 22);
	WR_AUTO_S(wr_intake) rows = {.count = 0};
	WR_AUTO_S(wr_intake) files = {.count = 0};
	enum wr_code first, second;

	if (dir < 0)
		start();
	if (size == 0)
		return 0;
	wr_buf_add(&pack, data + 1, size - 1);
	if (data[0] & 1)
		add_sum(&pack);
	if (!wr_buf_ok(&pack))
		return 0;
	first = take_in(&rows, NAME, wr_buf_str(&pack), 1 << 22);
	second = take_in(&files, NAME, wr_buf_str(&pack), (size_t)(data[0] >> 1) * 16);
	if (first == WR_OK) {
		assert(!rows.in_files);
		read_rows(&rows);
	}
	/* Only where an object comes twice may files be refused what memory takes. */
	assert(second == first || (first == WR_OK && second == WR_E_BAD_PACK));
	if (second == WR_OK && files.in_files)
		read_files(&rows);
	forget();
	return 0;
}
