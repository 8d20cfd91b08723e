/*
 * Packs from outside, and damaged ones of our own. The first byte says how: 0, the rest is a pushed pack; 1, the same,
 * but its trailer is put right, so that more than the checksum is tried; 2, two bytes for the length of a stored pack's
 * entries, these, and then the tables of its index, with headers and sums put right.
 */
#include <assert.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <git2/global.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/git/index.h"
#include "core/git/snapshot_internal.h"

#define NAME "pack-0123456789abcdef0123456789abcdef01234567"
#define MAX_OBJECT 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory where there is such a place: every accepted pack is flushed. */
static char in_memory[] = "/dev/shm/warren-fuzz-XXXXXX", on_disk[] = "/tmp/warren-fuzz-XXXXXX";
static const char *folder;
static int dir = -1;
static struct wr_snapshot *store;

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

static enum wr_code take_in(uint32_t *count, struct wr_str pack)
{
	static const struct wr_index_limits limits = {1 << 20, 1000, MAX_OBJECT, 64 << 20};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_mem_source src;
	enum wr_code code;

	wr_mem_source_init(&src, pack);
	code = wr_index_pack(count, dir, NAME, &src.base, store, &limits, NULL, NULL, &err);
	if (code != WR_OK && code != WR_E_BAD_PACK && code != WR_E_TOO_LARGE)
		abort();
	return code;
}

static void forget(void)
{
	unlinkat(dir, NAME ".pack", 0);
	unlinkat(dir, NAME ".idx", 0);
}

/* Everything that an accepted pack holds must come back; of a damaged one, anything but a crash. */
static void read_back(uint32_t count, bool sound)
{
	WR_AUTO(wr_pack) *p = NULL;
	enum wr_code code = wr_pack_open(&p, dir, NAME, NULL);

	assert(!sound || (code == WR_OK && p->count == count));
	for (uint32_t pos = 0; code == WR_OK && pos < p->count; pos++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		enum wr_type type;
		uint64_t size;
		enum wr_code got = wr_pack_read(&obj, p, pos, MAX_OBJECT, NULL);

		assert(!sound || got == WR_OK);
		if (wr_pack_stat(&type, &size, p, pos, NULL) == WR_OK && got == WR_OK)
			assert(type == obj.type && size == obj.size);
	}
}

static void start(void)
{
	/* A store with one blob, "base\n", for thin packs. */
	static const uint8_t pack[] = "PACK\0\0\0\2\0\0\0\1\x35\x78\x9c\x4b\x4a\x2c\x4e\xe5\x02\x00\x05\xa0\x01\xa6";
	WR_AUTO_S(wr_buf) b = WR_BUF_INIT(4096);
	struct wr_snapshot *empty = NULL;
	struct wr_pack *p = NULL;
	uint32_t count;

	folder = mkdtemp(in_memory);
	if (!folder)
		folder = mkdtemp(on_disk);
	if (git_libgit2_init() < 0 || !folder || (dir = open(folder, O_RDONLY | O_DIRECTORY)) < 0 ||
	    wr_snapshot_new(&empty, MAX_OBJECT, NULL) != WR_OK)
		abort();
	store = empty;
	wr_buf_add(&b, pack, sizeof(pack) - 1);
	add_sum(&b);
	if (take_in(&count, wr_buf_str(&b)) != WR_OK || count != 1 || wr_pack_open(&p, dir, NAME, NULL) != WR_OK ||
	    wr_snapshot_extend(&store, empty, p, NULL) != WR_OK)
		abort();
	wr_pack_unref(p);
	wr_snapshot_unref(empty);
	forget();
	atexit(clean_up);
}

static void write_file(const char *name, const struct wr_buf *b)
{
	if (wr_file_create(dir, name, wr_buf_str(b), NULL) != WR_OK)
		abort();
}

static void fuzz_stored(struct wr_str in)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 22);
	WR_AUTO_S(wr_buf) idx = WR_BUF_INIT(1 << 22);
	uint8_t count[4] = {0};
	size_t n;

	if (in.len < 3)
		return;
	n = (size_t)(uint8_t)in.ptr[0] << 8 | (uint8_t)in.ptr[1];
	count[3] = (uint8_t)in.ptr[2];
	in = wr_str_skip(in, 3);
	n = n < in.len ? n : in.len;
	wr_buf_add(&pack, "PACK\0\0\0\2", 8);
	wr_buf_add(&pack, count, 4);
	wr_buf_add(&pack, in.ptr, n);
	add_sum(&pack);
	wr_buf_add(&idx, "\377tOc\0\0\0\2", 8);
	for (unsigned i = 0; i < 256; i++)
		wr_buf_add(&idx, i < 255 ? (const uint8_t *)"\0\0\0" : count, 4);
	wr_buf_adds(&idx, wr_str_skip(in, n));
	wr_buf_add(&idx, pack.ptr + pack.len - 20, 20);
	add_sum(&idx);
	write_file(NAME ".pack", &pack);
	write_file(NAME ".idx", &idx);
	read_back(0, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO_S(wr_buf) fixed = WR_BUF_INIT(1 << 22);
	struct wr_str in;
	uint32_t count;

	if (dir < 0)
		start();
	if (size == 0)
		return 0;
	in = wr_str_n(data + 1, size - 1);
	if (data[0] % 3 == 2) {
		fuzz_stored(in);
	} else {
		wr_buf_adds(&fixed, in);
		if (data[0] % 3 == 1)
			add_sum(&fixed);
		if (wr_buf_ok(&fixed) && take_in(&count, wr_buf_str(&fixed)) == WR_OK && count > 0)
			read_back(count, true);
	}
	forget();
	return 0;
}
