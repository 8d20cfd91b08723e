/*
 * Damaged packs of our own: what comes back is the same with a cache and without; else an error, never a crash.
 * Bytes: flags (1: a reverse index follows, 2: a count of the index is changed), number of entries, two bytes
 * for the entries' length; with flag 2 which count and its low byte; the entries; the tables of the index behind its
 * counts; with flag 1 four bytes an entry of the reverse index at the end. Headers and sums are put right.
 */
#include <assert.h>
#include <fcntl.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/git/object_source.h"
#include "core/git/snapshot_internal.h"

#define NAME "pack-0123456789abcdef0123456789abcdef01234567"
#define MAX_OBJECT 65536
#define SUM "twenty bytes of sums"
#define REVERSE 1
#define COUNT 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char in_memory[] = "/dev/shm/warren-fuzz-XXXXXX", on_disk[] = "/tmp/warren-fuzz-XXXXXX";
static const char *folder;
static int dir = -1;

static void clean_up(void)
{
	close(dir);
	if (wr_file_remove(AT_FDCWD, folder, NULL) != WR_OK)
		abort();
}

static void start(void)
{
	folder = mkdtemp(in_memory);
	if (!folder)
		folder = mkdtemp(on_disk);
	if (!folder || (dir = open(folder, O_RDONLY | O_DIRECTORY)) < 0)
		abort();
	atexit(clean_up);
}

static void write_file(const char *name, const struct wr_buf *b)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || wr_file_write_all(fd, b->ptr, b->len, NULL) != WR_OK)
		abort();
	close(fd);
}

static struct wr_str take(struct wr_str *in, size_t n)
{
	struct wr_str front = wr_str_n(in->ptr, n < in->len ? n : in->len);

	*in = wr_str_skip(*in, front.len);
	return front;
}

static void add_counts(struct wr_buf *idx, struct wr_str names, uint8_t count, struct wr_str change)
{
	for (unsigned first = 0; first < 256; first++) {
		uint8_t n = 0;

		for (size_t i = 0; i < count && (i + 1) * WR_OID_RAW <= names.len; i++)
			n = (uint8_t)(n + ((uint8_t)names.ptr[i * WR_OID_RAW] <= first));
		if (first == 255)
			n = count;
		else if (change.len == 2 && (uint8_t)change.ptr[0] == first)
			n = (uint8_t)change.ptr[1];
		wr_buf_add(idx, "\0\0\0", 3);
		wr_buf_addc(idx, (char)n);
	}
}

/* False where the input is too short to say anything. */
static bool make_files(struct wr_str in)
{
	WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 22);
	WR_AUTO_S(wr_buf) idx = WR_BUF_INIT(1 << 22);
	WR_AUTO_S(wr_buf) rev = WR_BUF_INIT(1 << 22);
	struct wr_str head = take(&in, 4), change = wr_str_n("", 0), entries;
	uint8_t flags, count;

	if (head.len < 4)
		return false;
	flags = (uint8_t)head.ptr[0];
	count = (uint8_t)head.ptr[1];
	if (flags & COUNT)
		change = take(&in, 2);
	entries = take(&in, (size_t)(uint8_t)head.ptr[2] << 8 | (uint8_t)head.ptr[3]);
	wr_buf_add(&pack, "PACK\0\0\0\2\0\0\0", 11);
	wr_buf_addc(&pack, (char)count);
	wr_buf_adds(&pack, entries);
	wr_buf_addz(&pack, SUM);
	if (flags & REVERSE) {
		size_t n = (size_t)count * 4;

		if (in.len < n)
			return false;
		wr_buf_add(&rev, WR_REV_MAGIC, WR_REV_HEADER);
		wr_buf_add(&rev, in.ptr + in.len - n, n);
		wr_buf_addz(&rev, SUM SUM);
		in.len -= n;
	}
	wr_buf_add(&idx, "\377tOc\0\0\0\2", 8);
	add_counts(&idx, in, count, change);
	wr_buf_adds(&idx, in);
	wr_buf_addz(&idx, SUM SUM);
	if (!wr_buf_ok(&pack) || !wr_buf_ok(&idx) || !wr_buf_ok(&rev))
		return false;
	write_file(NAME ".pack", &pack);
	write_file(NAME ".idx", &idx);
	if (flags & REVERSE)
		write_file(NAME ".rev", &rev);
	else
		unlinkat(dir, NAME ".rev", 0);
	return true;
}

/* In pieces, where it is no delta: no other answer than in one. */
static void read_pieces(const struct wr_snapshot *snap, const struct wr_oid *oid, enum wr_code code,
			const struct wr_object *plain)
{
	WR_AUTO_S(wr_object_source) src = {.size = 0};
	uint8_t piece[100];
	size_t done = 0, got = 1;
	bool opened;
	enum wr_code again = wr_object_source_open(&src, &opened, snap, oid, 0, NULL);

	if (again == WR_OK && !opened)
		return;
	while (again == WR_OK && got > 0 && (again = wr_source_read(&src.base, piece, sizeof piece, &got, NULL)) == WR_OK) {
		assert(code != WR_OK || (got <= plain->size - done && memcmp(piece, plain->data + done, got) == 0));
		done += got;
	}
	assert(again == code);
	assert(code != WR_OK || done == plain->size);
}

static void read_one(const struct wr_snapshot *snap, struct wr_place place, struct wr_cache *cache,
		     struct wr_reader *reader)
{
	WR_AUTO_S(wr_object) plain = {.data = NULL};
	WR_AUTO_S(wr_object) cached = {.data = NULL};
	enum wr_code code = wr_snapshot_read_at(&plain, snap, place, NULL, NULL), again;
	struct wr_object in_turn;
	struct wr_stored stored;
	struct wr_place found;
	enum wr_type type;
	struct wr_oid oid;
	struct wr_str bytes;
	uint64_t size;
	unsigned depth;

	assert(code == WR_OK || code == WR_E_INTERNAL || code == WR_E_TOO_LARGE);
	again = wr_snapshot_read_at(&cached, snap, place, cache, NULL);
	assert(again == code);
	again = wr_snapshot_depth(&depth, snap, place, NULL);
	assert(again == WR_OK || (code != WR_OK && again == WR_E_INTERNAL));
	if (wr_snapshot_stored(&stored, snap, place, NULL) == WR_OK)
		assert(stored.zip >= stored.raw && stored.zip + stored.zip_len == stored.raw + stored.raw_len);
	wr_snapshot_oid(&oid, snap, place);
	again = wr_snapshot_sizes(&size, snap, &oid, 1, NULL);
	assert(again == wr_snapshot_stat(snap, &oid, NULL, NULL, NULL));
	again = wr_snapshot_stat(snap, &oid, &type, &size, NULL);
	if (!wr_snapshot_find(&found, snap, &oid) || found.pos != place.pos)
		return;
	assert(again == WR_OK || code != WR_OK);
	again = wr_reader_read(&in_turn, reader, &oid, NULL);
	assert(again == code);
	read_pieces(snap, &oid, code, &plain);
	if (code != WR_OK)
		return;
	assert(plain.type == cached.type && plain.size == cached.size && type == plain.type && size == plain.size);
	assert(memcmp(plain.data, cached.data, plain.size + 1) == 0);
	assert(in_turn.type == plain.type && in_turn.size == plain.size);
	assert(memcmp(plain.data, in_turn.data, plain.size + 1) == 0);
	if (wr_snapshot_borrow(&type, &bytes, snap, &oid, cache, NULL) != WR_OK)
		abort();
	assert(wr_str_eq(bytes, wr_str_n(plain.data, plain.size)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_cache) *cache = NULL;
	WR_AUTO(wr_reader) *reader = NULL;
	WR_AUTO(wr_pack) *p = NULL;

	if (dir < 0)
		start();
	if (!make_files(wr_str_n(data, size)) || wr_pack_open(&p, dir, NAME, NULL) != WR_OK)
		return 0;
	if (wr_snapshot_new(&snap, MAX_OBJECT, NULL) != WR_OK || wr_cache_new(&cache, 2000, NULL) != WR_OK ||
	    wr_snapshot_add_member(snap, p, WR_ROLE_BASE, NULL, NULL) != WR_OK ||
	    wr_reader_new(&reader, snap, NULL) != WR_OK)
		abort();
	for (uint32_t pos = 0; pos < p->count; pos++)
		read_one(snap, (struct wr_place){0, pos}, cache, reader);
	return 0;
}
