#include "core/git/journal_internal.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/guard.h"

#define NAME_ROOM 48
#define PAGE 4096
#define ZEROS 65536

static void file_name(char out[NAME_ROOM], uint64_t number)
{
	snprintf(out, NAME_ROOM, "journal.%llu", (unsigned long long)number);
}

/* ---- life ---- */

struct wr_journal *wr_journal_blank(void)
{
	struct wr_journal *j = calloc(1, sizeof *j);

	if (!j)
		return NULL;
	atomic_init(&j->users, 1);
	j->fd = -1;
	return j;
}

struct wr_journal *wr_journal_ref(struct wr_journal *j)
{
	atomic_fetch_add_explicit(&j->users, 1, memory_order_relaxed);
	return j;
}

static void unmap(struct wr_journal *j)
{
	wr_guard_free(j->guard);
	j->guard = NULL;
	if (j->map_size)
		munmap((void *)(uintptr_t)j->map, j->map_size);
	j->map = NULL;
	j->map_size = 0;
}

void wr_journal_unref(struct wr_journal *j)
{
	if (!j || atomic_fetch_sub_explicit(&j->users, 1, memory_order_acq_rel) != 1)
		return;
	unmap(j);
	if (j->fd >= 0)
		close(j->fd);
	wr_journal_rows_free(j);
	free(j);
}

/* Address space for size bytes of the file at least, which it need not have yet: nothing behind its end is read. */
static enum wr_code map_file(struct wr_journal *j, uint64_t size, struct wr_error *err)
{
	uint64_t room = size > WR_JOURNAL_ROOM ? size : WR_JOURNAL_ROOM;
	struct wr_guard *guard;
	enum wr_code code;
	void *p;

	p = mmap(NULL, (size_t)room, PROT_READ, MAP_SHARED, j->fd, 0);
	if (p == MAP_FAILED)
		return wr_fail_errno(err, "mmap journal %llu", (unsigned long long)j->number);
	if ((code = wr_guard_new(&guard, p, (size_t)room, err)) != WR_OK) {
		munmap(p, (size_t)room);
		return code;
	}
	unmap(j);
	j->map = p;
	j->map_size = (size_t)room;
	j->guard = guard;
	return WR_OK;
}

static enum wr_code write_at(struct wr_journal *j, const uint8_t *bytes, uint64_t len, uint64_t at,
			     struct wr_error *err)
{
	while (len > 0) {
		ssize_t n = pwrite(j->fd, bytes, (size_t)len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO;
		if (n <= 0)
			return wr_fail_errno(err, "write to journal %llu", (unsigned long long)j->number);
		bytes += n;
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return WR_OK;
}

/*
 * A file with a header, that has no name which anybody looks for yet. named: how long it will be when it gets its name,
 * all of it flushed.
 */
static enum wr_code begin(struct wr_journal **out, int dir, const char *tmp, uint64_t number, uint64_t replaces,
			  uint64_t first_seq, uint64_t named, struct wr_error *err)
{
	WR_AUTO(wr_journal) *j = wr_journal_blank();
	uint8_t head[WR_JOURNAL_HEADER];
	enum wr_code code;

	if (!j)
		return wr_fail_nomem(err);
	j->number = number;
	j->replaces = replaces;
	j->first_seq = first_seq;
	j->named = named;
	j->writable = true;
	wr_random_bytes(&j->nonce, sizeof j->nonce);
	wr_journal_head_put(head, j);
	/* A crash may have left one. */
	unlinkat(dir, tmp, 0);
	j->fd = openat(dir, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (j->fd < 0)
		return wr_fail_errno(err, "create %s", tmp);
	if ((code = write_at(j, head, sizeof head, 0, err)) != WR_OK || (code = map_file(j, named, err)) != WR_OK)
		return code;
	atomic_store(&j->size, sizeof head);
	*out = WR_STEAL(j);
	return WR_OK;
}

/* Flushes the file and gives it its name, durably, so that a journal with a name always has its header. */
static enum wr_code finish(struct wr_journal *j, int dir, const char *tmp, struct wr_error *err)
{
	char name[NAME_ROOM];
	enum wr_code code;

	file_name(name, j->number);
	if (fsync(j->fd) < 0)
		return wr_fail_errno(err, "flush %s", name);
	/* Unlike a rename this never takes the place of a file that is there. */
	if (linkat(dir, tmp, dir, name, 0) < 0)
		return wr_fail_errno(err, "name %s", name);
	unlinkat(dir, tmp, 0);
	if ((code = wr_file_sync_dir(dir, ".", err)) != WR_OK) {
		unlinkat(dir, name, 0);
		return code;
	}
	atomic_store(&j->flushed_size, atomic_load(&j->size));
	atomic_store(&j->flushed_records, atomic_load(&j->records));
	return WR_OK;
}

enum wr_code wr_journal_create(struct wr_journal **out, int dir, uint64_t number, uint64_t replaces, uint64_t first_seq,
			       struct wr_error *err)
{
	WR_AUTO(wr_journal) *j = NULL;
	char tmp[NAME_ROOM];
	enum wr_code code;

	snprintf(tmp, sizeof tmp, "journal.%llu.new", (unsigned long long)number);
	code = begin(&j, dir, tmp, number, replaces, first_seq, WR_JOURNAL_HEADER, err);
	if (code == WR_OK)
		code = finish(j, dir, tmp, err);
	if (code != WR_OK) {
		unlinkat(dir, tmp, 0);
		return code;
	}
	*out = WR_STEAL(j);
	return WR_OK;
}

enum wr_code wr_journal_start(struct wr_journal **out, int dir, uint64_t number, uint64_t first_seq, struct wr_error *err)
{
	WR_AUTO(wr_journal) *j = NULL;
	char name[NAME_ROOM];
	enum wr_code code;

	file_name(name, number);
	if ((code = begin(&j, dir, name, number, 0, first_seq, WR_JOURNAL_HEADER, err)) != WR_OK)
		return code;
	atomic_store(&j->flushed_size, atomic_load(&j->size));
	*out = WR_STEAL(j);
	return WR_OK;
}

static enum wr_code open_file(struct wr_journal *j, uint64_t *size, int dir, struct wr_error *err)
{
	char name[NAME_ROOM];
	struct stat st;

	file_name(name, j->number);
	j->fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	j->writable = j->fd >= 0;
	if (j->fd < 0 && (errno == EROFS || errno == EACCES || errno == EPERM))
		j->fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (j->fd < 0 && errno == ENOENT)
		return wr_fail(err, WR_E_NOT_THERE, "no file %s", name);
	if (j->fd < 0 || fstat(j->fd, &st) < 0)
		return wr_fail_errno(err, "open %s", name);
	if (!S_ISREG(st.st_mode))
		return wr_fail(err, WR_E_INTERNAL, "%s is not a file", name);
	if (st.st_size < (off_t)WR_JOURNAL_HEADER)
		return wr_fail(err, WR_E_NOT_THERE, "%s was never finished", name);
	*size = (uint64_t)st.st_size;
	return WR_OK;
}

enum wr_code wr_journal_open(struct wr_journal **out, enum wr_journal_end *end, uint64_t *flushed, int dir,
			     uint64_t number, struct wr_error *err)
{
	WR_AUTO(wr_journal) *j = wr_journal_blank();
	enum wr_journal_end how;
	uint64_t size = 0, known;
	enum wr_code code;

	if (!j)
		return wr_fail_nomem(err);
	j->number = number;
	if ((code = open_file(j, &size, dir, err)) != WR_OK || (code = map_file(j, size, err)) != WR_OK ||
	    (code = wr_journal_head_get(j, err)) != WR_OK ||
	    (code = wr_journal_scan(&how, &known, j, size, err)) != WR_OK)
		return code;
	/* Nothing is written behind what cannot be read. */
	j->broken = how != WR_JOURNAL_WHOLE;
	*end = how;
	*flushed = known;
	*out = WR_STEAL(j);
	return WR_OK;
}

/* ---- writing ---- */

bool wr_journal_fits(const struct wr_journal *j, uint64_t record_len)
{
	if (record_len > WR_RECORD_MAX)
		return false;
	return atomic_load(&j->records) == 0 || record_len <= j->map_size - atomic_load(&j->size);
}

/*
 * Zeros behind the records, twice as many each time up to a bound, so that most flushes need not write the file's new
 * length as well: on file systems that flush the two apart a record then costs one write instead of two. Where there is
 * no room for them, the next record finds out.
 */
static void make_room(struct wr_journal *j, uint64_t end)
{
	static const uint8_t zeros[ZEROS + PAGE];
	uint64_t to = end + (end < ZEROS ? end : ZEROS), from = j->zeroed > end ? j->zeroed : end;

	to = to / PAGE * PAGE;
	if (end <= j->zeroed)
		return;
	j->zeroed = end;
	if (to > from && write_at(j, zeros, to - from, from, NULL) == WR_OK)
		j->zeroed = to;
}

/* Writes a record whose content was made; see wr_journal_put(). */
static enum wr_code append(bool *broken, struct wr_journal *j, uint8_t *bytes, uint64_t len, uint64_t flushed,
			   struct wr_error *err)
{
	uint64_t at = atomic_load_explicit(&j->size, memory_order_relaxed);
	struct wr_record_view v;
	enum wr_code code;

	/* What the next opening could not read must not be written. */
	if (!wr_record_check(&v, bytes, len))
		return wr_fail(err, WR_E_INTERNAL, "a record for journal %llu breaks the format",
			       (unsigned long long)j->number);
	/* No row was published yet, so that nobody holds a pointer into the map. */
	if (at + len > j->map_size && (code = map_file(j, at + len, err)) != WR_OK)
		return code;
	if ((code = wr_journal_reserve(j, v.object_count, err)) != WR_OK)
		return code;
	wr_record_seal(bytes, len, j, flushed);
	if ((code = write_at(j, bytes, len, at, err)) != WR_OK) {
		if (ftruncate(j->fd, (off_t)at) < 0)
			*broken = j->broken = true;
		j->zeroed = at;
		return code;
	}
	make_room(j, at + len);
	wr_journal_publish(j, &v);
	return WR_OK;
}

enum wr_code wr_journal_put(bool *broken, struct wr_journal *j, struct wr_record *record, struct wr_error *err)
{
	unsigned long long number = j->number;
	WR_AUTO_MEM uint8_t *bytes = NULL;
	uint64_t len = wr_record_len(record);

	*broken = j->broken;
	if (j->broken)
		return wr_fail(err, WR_E_INTERNAL, "journal %llu takes no more records", number);
	if (!j->writable)
		return wr_fail(err, WR_E_INTERNAL, "journal %llu may only be read", number);
	if (!wr_journal_fits(j, len))
		return wr_fail(err, WR_E_INTERNAL, "journal %llu has no room for %llu bytes", number,
			       (unsigned long long)len);
	bytes = malloc((size_t)len);
	if (!bytes)
		return wr_fail_nomem(err);
	record->seq = wr_journal_next_seq(j);
	wr_record_make(bytes, len, record);
	return append(broken, j, bytes, len, atomic_load(&j->flushed_size), err);
}

enum wr_code wr_journal_flush(struct wr_journal *j, struct wr_error *err)
{
	uint64_t size = atomic_load(&j->size);
	uint32_t records = atomic_load(&j->records);
	int rc;

	if (j->broken)
		return wr_fail(err, WR_E_INTERNAL, "journal %llu is broken", (unsigned long long)j->number);
	while ((rc = fdatasync(j->fd)) < 0 && errno == EINTR)
		;
	if (rc < 0) {
		/* The kernel takes the pages for clean from now on: another flush would succeed and prove nothing. */
		j->broken = true;
		return wr_fail_errno(err, "flush journal %llu", (unsigned long long)j->number);
	}
	atomic_store(&j->flushed_size, size);
	atomic_store(&j->flushed_records, records);
	return WR_OK;
}

void wr_journal_trim(struct wr_journal *j)
{
	uint64_t size = atomic_load(&j->size);

	if (j->writable && !j->broken && j->zeroed > size && ftruncate(j->fd, (off_t)size) == 0)
		j->zeroed = size;
}

/* ---- copying ---- */

static enum wr_code copy_record(struct wr_journal *j, const struct wr_journal *old, uint32_t i, struct wr_error *err)
{
	const struct wr_journal_place *place = wr_journal_place(old, i);
	WR_AUTO_MEM uint8_t *bytes = malloc((size_t)place->len);
	bool broken = false;

	if (!bytes)
		return wr_fail_nomem(err);
	/* Judged where it no longer changes: a page that cannot be read becomes zeros at any time. */
	memcpy(bytes, old->map + place->offset, (size_t)place->len);
	if (wr_le64(bytes + place->len - WR_RECORD_SUM) != wr_record_sum(bytes, place->len, old->nonce))
		return wr_fail(err, WR_E_INTERNAL, "journal %llu: record %u can be read no more",
			       (unsigned long long)old->number, i);
	return append(&broken, j, bytes, place->len, WR_JOURNAL_HEADER, err);
}

enum wr_code wr_journal_copy(struct wr_journal **out, int dir, uint64_t number, const struct wr_journal *old,
			     uint32_t records, struct wr_error *err)
{
	WR_AUTO(wr_journal) *j = NULL;
	uint64_t end = WR_JOURNAL_HEADER;
	char tmp[NAME_ROOM];
	enum wr_code code;

	if (records > atomic_load(&old->records))
		return wr_fail(err, WR_E_INTERNAL, "journal %llu has no %u records", (unsigned long long)old->number,
			       records);
	if (records > 0)
		end = wr_journal_place(old, records - 1)->offset + wr_journal_place(old, records - 1)->len;
	snprintf(tmp, sizeof tmp, "journal.%llu.new", (unsigned long long)number);
	code = begin(&j, dir, tmp, number, old->number, old->first_seq, end, err);
	for (uint32_t i = 0; code == WR_OK && i < records; i++)
		code = copy_record(j, old, i, err);
	if (code == WR_OK) {
		wr_journal_trim(j);
		code = finish(j, dir, tmp, err);
	}
	if (code != WR_OK) {
		unlinkat(dir, tmp, 0);
		return code;
	}
	*out = WR_STEAL(j);
	return WR_OK;
}

/* ---- what it says ---- */

bool wr_journal_struck(const struct wr_journal *j)
{
	return wr_guard_struck(j->guard);
}

uint64_t wr_journal_number(const struct wr_journal *j)
{
	return j->number;
}

uint64_t wr_journal_replaces(const struct wr_journal *j)
{
	return j->replaces;
}

uint64_t wr_journal_first_seq(const struct wr_journal *j)
{
	return j->first_seq;
}

uint64_t wr_journal_next_seq(const struct wr_journal *j)
{
	return j->first_seq + atomic_load(&j->records);
}

uint64_t wr_journal_size(const struct wr_journal *j)
{
	return atomic_load(&j->size);
}

uint32_t wr_journal_records(const struct wr_journal *j)
{
	return atomic_load(&j->records);
}

uint32_t wr_journal_flushed(const struct wr_journal *j)
{
	return atomic_load(&j->flushed_records);
}

uint32_t wr_journal_rows(const struct wr_journal *j)
{
	return atomic_load(&j->rows);
}
