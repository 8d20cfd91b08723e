/*
 * Header (64 bytes): "WRNREFS2", number, sequence, counts of packs, shallow roots, refs, dead entries, bytes of names.
 * Then packs (48 each), refs (48 each), dead entries (8: position, since), shallow roots (20), names, zeros to a multiple
 * of 8, XXH3-64 of all before. Version 1 differs in dead entries (4: position), and knows no cruft. Numbers little-endian.
 * docs/store-format.md has it field by field.
 */
#include "core/git/refsfile.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/git/guard.h"
#include "core/git/le.h"
#include "core/git/pack.h"
#include "core/git/parse.h"
#include "core/git/refsfile_internal.h"

#define MAGIC "WRNREFS2"
#define MAGIC_1 "WRNREFS1"
#define HEADER 64u
#define PACK_ROW 48u
#define REF_ROW 48u
#define DEAD_ROW 8u
#define DEAD_ROW_1 4u
#define SUM 8u
#define NAME_ROOM 32
#define RESIDENT_MAX 128  /* pages that are asked for whether they are in memory */
#define IN_MEMORY_MS 1000 /* that the answer serves for */
#define PACK_PREFIX WR_S("pack-")

struct wr_refsfile {
	atomic_uint users;
	const uint8_t *bytes;
	size_t size;
	struct wr_guard *guard; /* NULL: the bytes are somebody's memory */
	uint64_t seq;
	size_t pack_count, shallow_count, ref_count;
	uint64_t dead_count;
	unsigned dead_row; /* its size, by the file's version */
	const uint8_t *packs, *refs, *dead, *shallow, *names; /* inside bytes */
	uint64_t names_len;
	uint64_t *first_dead; /* of each pack */
	_Atomic int64_t seen_ms; /* monotonic: until then it is taken to be in memory */
};

static void file_name(char out[NAME_ROOM], uint64_t number)
{
	snprintf(out, NAME_ROOM, "%llu.refs", (unsigned long long)number);
}

/* ---- dead entries ---- */

struct wr_dead *wr_dead_new(uint32_t count)
{
	struct wr_dead *dead = calloc(1, sizeof *dead + (size_t)count * 2 * sizeof dead->v[0]);

	if (!dead)
		return NULL;
	atomic_init(&dead->users, 1);
	dead->count = count;
	dead->since = dead->v + count;
	return dead;
}

void wr_dead_put(struct wr_dead *dead, uint32_t i, uint32_t pos, uint32_t since)
{
	dead->v[i] = pos;
	dead->since[i] = since;
	if (since == WR_DEAD_GONE)
		dead->gone++;
	else
		dead->oldest = wr_since_min(dead->oldest, since);
}

struct wr_dead *wr_dead_ref(struct wr_dead *dead)
{
	if (dead)
		atomic_fetch_add_explicit(&dead->users, 1, memory_order_relaxed);
	return dead;
}

void wr_dead_unref(struct wr_dead *dead)
{
	if (dead && atomic_fetch_sub_explicit(&dead->users, 1, memory_order_acq_rel) == 1)
		free(dead);
}

static bool find_dead(uint32_t *at, const struct wr_dead *dead, uint32_t pos)
{
	uint32_t lo = 0, hi = dead ? dead->count : 0;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (dead->v[mid] == pos) {
			*at = mid;
			return true;
		}
		if (dead->v[mid] < pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

bool wr_dead_has(const struct wr_dead *dead, uint32_t pos)
{
	uint32_t at;

	return find_dead(&at, dead, pos);
}

uint32_t wr_dead_since(const struct wr_dead *dead, uint32_t pos)
{
	uint32_t at;

	return find_dead(&at, dead, pos) ? dead->since[at] : 0;
}

/* ---- writing ---- */

static bool pack_id(uint8_t out[20], const char name[46])
{
	struct wr_str s = wr_str_n(name, strnlen(name, 46));
	char again[41];

	if (!wr_str_starts(s, PACK_PREFIX) || !wr_unhex(out, 20, wr_str_skip(s, PACK_PREFIX.len)))
		return false;
	wr_hex(again, out, 20);
	return memcmp(again, name + PACK_PREFIX.len, 40) == 0;
}

/* A role that there is, and a time only where it has one. */
static bool role_ok(unsigned role, uint64_t since)
{
	if (role == WR_ROLE_CRUFT)
		return since > 0 && since < WR_DEAD_GONE;
	return (role == WR_ROLE_BASE || role == WR_ROLE_TAIL || role == WR_ROLE_OTHER) && since == 0;
}

static bool dead_ok(const struct wr_dead *dead, enum wr_role role)
{
	for (uint32_t i = 0; dead && i < dead->count; i++)
		if ((i && dead->v[i] <= dead->v[i - 1]) || (role == WR_ROLE_CRUFT && dead->since[i] != WR_DEAD_GONE))
			return false;
	return true;
}

/* What the next opening would refuse must not be written. */
static enum wr_code check_contents(uint64_t *dead, uint64_t *names, const struct wr_refsfile_contents *c,
				   struct wr_error *err)
{
	uint8_t id[20];

	*dead = *names = 0;
	for (size_t i = 0; i < c->pack_count; i++) {
		const struct wr_refsfile_pack *p = &c->packs[i];

		if (!pack_id(id, p->name) || !role_ok(p->role, p->since) || !dead_ok(p->dead, p->role))
			return wr_fail(err, WR_E_INTERNAL, "pack %zu of a ref file breaks the format", i);
		*dead += p->dead ? p->dead->count : 0;
	}
	for (size_t i = 0; i < c->ref_count; i++) {
		const struct wr_ref *ref = &c->refs[i];

		if (!wr_refname_ok(ref->name) || wr_oid_zero(&ref->oid) ||
		    (i && wr_refname_cmp(ref[-1].name, ref->name) >= 0))
			return wr_fail(err, WR_E_INTERNAL, "ref %zu of a ref file breaks the format", i);
		*names += ref->name.len;
	}
	if (c->pack_count > UINT32_MAX || (c->shallow && c->shallow->len > UINT32_MAX) || *names > UINT32_MAX)
		return wr_fail(err, WR_E_INTERNAL, "too many refs for a ref file");
	return WR_OK;
}

/* Bytes on their way to the file. Errors stick. */
struct out {
	int fd;
	enum wr_code code;
	struct wr_error *err;
	XXH3_state_t *sum;
	uint64_t total;
	size_t len;
	uint8_t buf[65536];
};

static void drain(struct out *o)
{
	if (o->code == WR_OK)
		o->code = wr_file_write_all(o->fd, o->buf, o->len, o->err);
	o->total += o->len;
	o->len = 0;
}

static void put(struct out *o, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len > 0) {
		size_t n = sizeof o->buf - o->len;

		n = n < len ? n : len;
		memcpy(o->buf + o->len, p, n);
		XXH3_64bits_update(o->sum, p, n);
		o->len += n;
		p += n;
		len -= n;
		if (o->len == sizeof o->buf)
			drain(o);
	}
}

static void put_head(struct out *o, uint64_t number, const struct wr_refsfile_contents *c, uint64_t dead,
		     uint64_t names)
{
	uint8_t head[HEADER] = MAGIC;

	wr_put_le64(head + 8, number);
	wr_put_le64(head + 16, c->seq);
	wr_put_le32(head + 24, (uint32_t)c->pack_count);
	wr_put_le32(head + 28, c->shallow ? (uint32_t)c->shallow->len : 0);
	wr_put_le64(head + 32, c->ref_count);
	wr_put_le64(head + 40, dead);
	wr_put_le64(head + 48, names);
	put(o, head, sizeof head);
}

static void put_pack(struct out *o, const struct wr_refsfile_pack *pack)
{
	uint8_t row[PACK_ROW] = {0};

	if (!pack_id(row, pack->name))
		o->code = wr_fail(o->err, WR_E_INTERNAL, "a pack with a strange name");
	row[20] = (uint8_t)pack->role;
	wr_put_le32(row + 24, pack->dead ? pack->dead->count : 0);
	wr_put_le64(row + 32, pack->since);
	put(o, row, sizeof row);
}

static void put_all(struct out *o, uint64_t number, const struct wr_refsfile_contents *c, uint64_t dead, uint64_t names)
{
	uint8_t row[REF_ROW], sum[SUM];
	uint32_t offset = 0;

	put_head(o, number, c, dead, names);
	for (size_t i = 0; i < c->pack_count; i++)
		put_pack(o, &c->packs[i]);
	for (size_t i = 0; i < c->ref_count; i++) {
		memcpy(row, c->refs[i].oid.id, WR_OID_RAW);
		memcpy(row + 20, c->refs[i].peeled.id, WR_OID_RAW);
		wr_put_le32(row + 40, offset);
		wr_put_le32(row + 44, (uint32_t)c->refs[i].name.len);
		put(o, row, sizeof row);
		offset += (uint32_t)c->refs[i].name.len;
	}
	for (size_t i = 0; i < c->pack_count; i++) {
		for (uint32_t k = 0; c->packs[i].dead && k < c->packs[i].dead->count; k++) {
			wr_put_le32(row, c->packs[i].dead->v[k]);
			wr_put_le32(row + 4, c->packs[i].dead->since[k]);
			put(o, row, DEAD_ROW);
		}
	}
	if (c->shallow)
		put(o, c->shallow->v, c->shallow->len * sizeof c->shallow->v[0]);
	for (size_t i = 0; i < c->ref_count; i++)
		put(o, c->refs[i].name.ptr, c->refs[i].name.len);
	put(o, "\0\0\0\0\0\0\0", (size_t)(-(o->total + o->len) & 7));
	wr_put_le64(sum, XXH3_64bits_digest(o->sum));
	put(o, sum, sizeof sum);
	drain(o);
}

static enum wr_code write_file(int dir, uint64_t number, const struct wr_refsfile_contents *contents, bool flush,
			       struct wr_error *err)
{
	WR_AUTO_MEM struct out *o = malloc(sizeof *o);
	WR_AUTO_FD int fd = -1;
	uint64_t dead, names;
	char name[NAME_ROOM];
	enum wr_code code;

	if (!o)
		return wr_fail_nomem(err);
	if ((code = check_contents(&dead, &names, contents, err)) != WR_OK)
		return code;
	file_name(name, number);
	*o = (struct out){.err = err, .sum = XXH3_createState()};
	if (!o->sum)
		return wr_fail_nomem(err);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		XXH3_freeState(o->sum);
		return wr_fail_errno(err, "create %s", name);
	}
	o->fd = fd;
	XXH3_64bits_reset(o->sum);
	put_all(o, number, contents, dead, names);
	XXH3_freeState(o->sum);
	if (o->code == WR_OK && flush && fsync(fd) < 0)
		o->code = wr_fail_errno(err, "flush %s", name);
	if (o->code != WR_OK)
		unlinkat(dir, name, 0);
	return o->code;
}

enum wr_code wr_refsfile_write(int dir, uint64_t number, const struct wr_refsfile_contents *contents,
			       struct wr_error *err)
{
	return write_file(dir, number, contents, true, err);
}

enum wr_code wr_refsfile_put(int dir, uint64_t number, const struct wr_refsfile_contents *contents, struct wr_error *err)
{
	return write_file(dir, number, contents, false, err);
}

/* ---- reading ---- */

struct wr_refsfile *wr_refsfile_ref(struct wr_refsfile *f)
{
	atomic_fetch_add_explicit(&f->users, 1, memory_order_relaxed);
	return f;
}

void wr_refsfile_unref(struct wr_refsfile *f)
{
	if (!f || atomic_fetch_sub_explicit(&f->users, 1, memory_order_acq_rel) != 1)
		return;
	if (f->guard) {
		wr_guard_free(f->guard);
		munmap((void *)(uintptr_t)f->bytes, f->size);
	}
	free(f->first_dead);
	free(f);
}

/* The parts must fill the file exactly; each count is bounded by the bytes that are there before it is multiplied. */
static bool place_parts(struct wr_refsfile *f)
{
	uint64_t rest = f->size - HEADER - SUM;
	const uint8_t *p = f->bytes + HEADER;
	const struct {
		uint64_t count, each;
		const uint8_t **at;
	} parts[] = {
		{f->pack_count, PACK_ROW, &f->packs},
		{f->ref_count, REF_ROW, &f->refs},
		{f->dead_count, f->dead_row, &f->dead},
		{f->shallow_count, WR_OID_RAW, &f->shallow},
		{f->names_len, 1, &f->names},
	};

	for (size_t i = 0; i < WR_ARRAY_LEN(parts); i++) {
		if (parts[i].count > rest / parts[i].each)
			return false;
		*parts[i].at = p;
		p += parts[i].count * parts[i].each;
		rest -= parts[i].count * parts[i].each;
	}
	for (uint64_t i = 0; i < rest; i++)
		if (rest >= 8 || p[i])
			return false;
	return true;
}

static uint32_t dead_pos(const struct wr_refsfile *f, uint64_t i)
{
	return wr_le32(f->dead + i * f->dead_row);
}

static uint32_t dead_since(const struct wr_refsfile *f, uint64_t i)
{
	return f->dead_row == DEAD_ROW ? wr_le32(f->dead + i * f->dead_row + 4) : 0;
}

static bool packs_ok(struct wr_refsfile *f)
{
	uint64_t dead = 0;

	for (size_t i = 0; i < f->pack_count; i++) {
		const uint8_t *p = f->packs + i * PACK_ROW;
		uint32_t n = wr_le32(p + 24);

		if (!role_ok(p[20], wr_le64(p + 32)) || p[21] || p[22] || p[23] || wr_le32(p + 28) ||
		    wr_le64(p + 40) || n > f->dead_count - dead ||
		    (p[20] == WR_ROLE_CRUFT && f->dead_row != DEAD_ROW))
			return false;
		for (uint32_t k = 0; k < n; k++)
			if ((k && dead_pos(f, dead + k) <= dead_pos(f, dead + k - 1)) ||
			    (p[20] == WR_ROLE_CRUFT && dead_since(f, dead + k) != WR_DEAD_GONE))
				return false;
		f->first_dead[i] = dead;
		dead += n;
	}
	return dead == f->dead_count;
}

static bool refs_ok(const struct wr_refsfile *f)
{
	struct wr_ref ref, last = {.name = {"", 0}};
	uint64_t offset = 0;

	for (size_t i = 0; i < f->ref_count; i++) {
		const uint8_t *p = f->refs + i * REF_ROW;

		if (wr_le32(p + 40) != offset || wr_le32(p + 44) > f->names_len - offset)
			return false;
		wr_refsfile_ref_at(&ref, f, i);
		if (!wr_refname_ok(ref.name) || wr_oid_zero(&ref.oid) || wr_refname_cmp(last.name, ref.name) >= 0)
			return false;
		offset += ref.name.len;
		last = ref;
	}
	return offset == f->names_len;
}

static enum wr_code judge(struct wr_refsfile *f, uint64_t number, struct wr_error *err)
{
	unsigned long long n = number;
	const uint8_t *b = f->bytes;

	if (f->size < HEADER + SUM || f->size % 8 != 0)
		return wr_fail(err, WR_E_INTERNAL, "%llu.refs has a wrong size", n);
	if (memcmp(b, MAGIC, 8) != 0 && memcmp(b, MAGIC_1, 8) != 0)
		return wr_fail(err, WR_E_INTERNAL, "%llu.refs is no ref file of version 1 or 2", n);
	if (wr_le64(b + f->size - SUM) != XXH3_64bits(b, f->size - SUM))
		return wr_fail(err, WR_E_INTERNAL, "%llu.refs is damaged: its checksum is wrong", n);
	if (wr_le64(b + 8) != number || wr_le64(b + 56) != 0)
		return wr_fail(err, WR_E_INTERNAL, "%llu.refs has another one's header", n);
	f->dead_row = memcmp(b, MAGIC, 8) == 0 ? DEAD_ROW : DEAD_ROW_1;
	f->seq = wr_le64(b + 16);
	f->pack_count = wr_le32(b + 24);
	f->shallow_count = wr_le32(b + 28);
	f->ref_count = (size_t)wr_le64(b + 32);
	f->dead_count = wr_le64(b + 40);
	f->names_len = wr_le64(b + 48);
	if (!place_parts(f))
		return wr_fail(err, WR_E_INTERNAL, "%llu.refs: its counts do not fit its size", n);
	f->first_dead = calloc(f->pack_count + 1, sizeof *f->first_dead);
	if (!f->first_dead)
		return wr_fail_nomem(err);
	if (!packs_ok(f))
		return wr_fail(err, WR_E_INTERNAL, "%llu.refs: its packs break the format", n);
	return refs_ok(f) ? WR_OK : wr_fail(err, WR_E_INTERNAL, "%llu.refs: its refs break the format", n);
}

enum wr_code wr_refsfile_of_bytes(struct wr_refsfile **out, struct wr_str bytes, uint64_t number, struct wr_error *err)
{
	WR_AUTO(wr_refsfile) *f = calloc(1, sizeof *f);
	enum wr_code code;

	if (!f)
		return wr_fail_nomem(err);
	atomic_init(&f->users, 1);
	f->bytes = (const uint8_t *)bytes.ptr;
	f->size = bytes.len;
	if ((code = judge(f, number, err)) != WR_OK)
		return code;
	*out = WR_STEAL(f);
	return WR_OK;
}

static enum wr_code map_file(struct wr_refsfile *f, const char *name, int dir, struct wr_error *err)
{
	WR_AUTO_FD int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	enum wr_code code;
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return wr_fail_errno(err, "open %s", name);
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)(HEADER + SUM))
		return wr_fail(err, WR_E_INTERNAL, "%s is too short", name);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return wr_fail_errno(err, "mmap %s", name);
	if ((code = wr_guard_new(&f->guard, p, (size_t)st.st_size, err)) != WR_OK) {
		munmap(p, (size_t)st.st_size);
		return code;
	}
	f->bytes = p;
	f->size = (size_t)st.st_size;
	return WR_OK;
}

enum wr_code wr_refsfile_open(struct wr_refsfile **out, int dir, uint64_t number, struct wr_error *err)
{
	WR_AUTO(wr_refsfile) *f = calloc(1, sizeof *f);
	char name[NAME_ROOM];
	enum wr_code code;

	if (!f)
		return wr_fail_nomem(err);
	atomic_init(&f->users, 1);
	file_name(name, number);
	if ((code = map_file(f, name, dir, err)) != WR_OK || (code = judge(f, number, err)) != WR_OK)
		return code;
	*out = WR_STEAL(f);
	return WR_OK;
}

uint64_t wr_refsfile_seq(const struct wr_refsfile *f)
{
	return f->seq;
}

bool wr_refsfile_sorted(const struct wr_refsfile *f)
{
	return f->dead_row == DEAD_ROW;
}

size_t wr_refsfile_count(const struct wr_refsfile *f)
{
	return f->ref_count;
}

void wr_refsfile_ref_at(struct wr_ref *out, const struct wr_refsfile *f, size_t i)
{
	const uint8_t *p = f->refs + i * REF_ROW;

	/* Both numbers were checked; should the disk fail since, they become zeros, which lie inside too (guard.h). */
	out->name = wr_str_n(f->names + wr_le32(p + 40), wr_le32(p + 44));
	memcpy(out->oid.id, p, WR_OID_RAW);
	memcpy(out->peeled.id, p + 20, WR_OID_RAW);
}

bool wr_refsfile_in_memory(struct wr_refsfile *f)
{
	unsigned char pages[RESIDENT_MAX];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (f->size + page - 1) / page;
	int64_t now = wr_mono_ms();

	if (!f->guard)
		return true;
	if (now < atomic_load_explicit(&f->seen_ms, memory_order_relaxed))
		return true;
	if (n > sizeof pages || mincore((void *)(uintptr_t)f->bytes, f->size, pages) != 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!(pages[i] & 1))
			return false;
	atomic_store_explicit(&f->seen_ms, now + IN_MEMORY_MS, memory_order_relaxed);
	return true;
}

size_t wr_refsfile_lower(const struct wr_refsfile *f, struct wr_str name, bool *exact)
{
	size_t lo = 0, hi = f->ref_count;

	*exact = false;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		struct wr_ref ref;
		int c;

		wr_refsfile_ref_at(&ref, f, mid);
		c = wr_refname_cmp(ref.name, name);
		if (c == 0)
			*exact = true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

size_t wr_refsfile_pack_count(const struct wr_refsfile *f)
{
	return f->pack_count;
}

enum wr_code wr_refsfile_pack(struct wr_refsfile_pack *out, const struct wr_refsfile *f, size_t i, struct wr_error *err)
{
	const uint8_t *p = f->packs + i * PACK_ROW;
	uint64_t end = i + 1 < f->pack_count ? f->first_dead[i + 1] : f->dead_count;
	uint32_t count = (uint32_t)(end - f->first_dead[i]);
	struct wr_dead *dead = NULL;

	if (count) {
		dead = wr_dead_new(count);
		if (!dead)
			return wr_fail_nomem(err);
		for (uint32_t k = 0; k < count; k++)
			wr_dead_put(dead, k, dead_pos(f, f->first_dead[i] + k), dead_since(f, f->first_dead[i] + k));
	}
	memcpy(out->name, PACK_PREFIX.ptr, PACK_PREFIX.len);
	wr_hex(out->name + PACK_PREFIX.len, p, 20);
	out->role = (enum wr_role)p[20];
	out->dead = dead;
	out->since = (uint32_t)wr_le64(p + 32);
	return WR_OK;
}

enum wr_code wr_refsfile_shallow(struct wr_oids *out, const struct wr_refsfile *f, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) list = {NULL, 0, 0};
	struct wr_oid oid;
	enum wr_code code;

	for (size_t i = 0; i < f->shallow_count; i++) {
		memcpy(oid.id, f->shallow + i * WR_OID_RAW, WR_OID_RAW);
		if ((code = wr_oids_add(&list, &oid, err)) != WR_OK)
			return code;
	}
	*out = list;
	list = (struct wr_oids){NULL, 0, 0};
	return WR_OK;
}
