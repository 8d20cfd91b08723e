/*
 * Two passes. The first reads the stream once: each entry is inflated as it arrives, full objects are hashed and
 * checked, deltas only counted. The second follows the tree of deltas from each full object downwards, so that every
 * base is at hand when its deltas need it. Bases that a thin pack left out are then appended from the repository.
 */
#include "core/git/index.h"

#include <errno.h>
#include <fcntl.h>
#include <git2/odb.h>
#include <limits.h>
#include <openssl/evp.h>
#include <sys/mman.h>

#include "core/base/file.h"
#include "core/git/delta.h"
#include "core/git/pack.h"
#include "core/git/refs_check.h"

#define IN_SIZE 65536
#define SHA1_LEN 20
#define NO_TYPE 0
/* Contents above this lie in a mapped file in the folder, not in anonymous memory. */
#define IN_MEMORY ((uint64_t)16 << 20)
/* The most that the bases on the way from a full object down to a delta may hold together. */
#define STACK_BYTES ((uint64_t)64 << 20)

struct entry {
	struct wr_oid oid;
	uint32_t crc;
	uint64_t offset;
	uint8_t kind; /* as stored */
	uint8_t type; /* NO_TYPE until a delta is resolved */
};

/* A delta whose base is an entry before it. */
struct ofs_child {
	uint32_t base, child;
};
/* A delta whose base is named. */
struct ref_child {
	struct wr_oid base;
	uint32_t child;
};

struct blob {
	uint8_t *p;
	size_t size;
	bool mapped;
};

struct indexer {
	int dir, fd;
	struct wr_source *src;
	const struct wr_snapshot *snap;
	const struct wr_index_limits *limits;
	const struct wr_progress *progress;
	const struct wr_cancel *cancel;
	struct wr_error *err;
	uint8_t *in; /* IN_SIZE; of it [pos, len) is not used yet */
	size_t pos, len;
	uint64_t base; /* the pack's offset of in[0] */
	bool unhashed; /* the trailer does not belong into its own sum */
	EVP_MD_CTX *sha;
	uint32_t crc;
	struct entry *v;
	uint32_t count, cap, claimed;
	struct ofs_child *ofs;
	size_t ofs_count, ofs_cap;
	struct ref_child *ref;
	size_t ref_count, ref_cap;
	uint32_t resolved; /* deltas so far */
	unsigned percent;
	struct wr_unzip unzip;
	const uint8_t *map; /* the pack in its second pass */
	size_t map_size;
	struct wr_refs_check check;
};

static enum wr_code bad(struct indexer *x, const char *what)
{
	return wr_fail(x->err, WR_E_BAD_PACK, "bad pack: %s", what);
}

static enum wr_code bad_at(struct indexer *x, uint64_t offset, const char *what)
{
	return wr_fail(x->err, WR_E_BAD_PACK, "bad pack: %s in the entry at byte %llu", what,
		       (unsigned long long)offset);
}

static enum wr_code from_zip(struct indexer *x, uint64_t offset, enum wr_zip zc)
{
	return zc == WR_ZIP_NOMEM ? wr_fail_nomem(x->err) : bad_at(x, offset, "damaged data");
}

static enum wr_code too_large(struct indexer *x)
{
	return wr_fail(x->err, WR_E_TOO_LARGE, "an object has more than %llu bytes",
		       (unsigned long long)x->limits->max_object);
}

static enum wr_code cancelled(struct indexer *x)
{
	if (x->cancel && x->cancel->fn && x->cancel->fn(x->cancel->arg))
		return wr_fail(x->err, WR_E_CANCELLED, "cancelled while a pack was read");
	return WR_OK;
}

/* ---- contents, in memory or in a mapped file ---- */

static void blob_free(struct blob *b)
{
	if (b->mapped)
		munmap(b->p, b->size + 1);
	else
		free(b->p);
	*b = (struct blob){NULL, 0, false};
}

static enum wr_code spool_open(int *out, struct indexer *x)
{
	char name[] = "spool-xxxxxxxx";
	int fd;

	wr_random_text(name + 6, 8);
	fd = openat(x->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return wr_fail_errno(x->err, "create a spool file");
	unlinkat(x->dir, name, 0);
	*out = fd;
	return WR_OK;
}

static enum wr_code spool_map(struct blob *b, struct indexer *x, int fd, size_t size)
{
	void *p = mmap(NULL, size + 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return wr_fail_errno(x->err, "mmap of a spool file");
	*b = (struct blob){p, size, true};
	return WR_OK;
}

/* Room for size bytes and one more. Only for sizes that something has already shown to be plausible. */
static enum wr_code blob_new(struct blob *b, struct indexer *x, uint64_t size)
{
	WR_AUTO_FD int fd = -1;
	enum wr_code code;
	int rc;

	if (size > x->limits->max_object)
		return too_large(x);
	if (size <= IN_MEMORY) {
		*b = (struct blob){malloc((size_t)size + 1), (size_t)size, false};
		return b->p ? WR_OK : wr_fail_nomem(x->err);
	}
	if ((code = spool_open(&fd, x)) != WR_OK)
		return code;
	/* Real blocks: a full disk shall be an error here, not a signal when the map is written to. */
	if ((rc = posix_fallocate(fd, 0, (off_t)size + 1)) != 0) {
		errno = rc;
		return wr_fail_errno(x->err, "spool file of %llu bytes", (unsigned long long)size);
	}
	return spool_map(b, x, fd, (size_t)size);
}

/* Contents that arrive piece by piece; memory grows with what has arrived. */
struct pour {
	uint64_t size; /* claimed */
	uint64_t done;
	bool keep;
	int fd; /* of the spool, or -1 */
	uint8_t *p;
	size_t cap;
};

static enum wr_code pour_add(struct pour *pour, struct indexer *x, const uint8_t *data, size_t n)
{
	if (n > pour->size - pour->done)
		return bad(x, "an entry is longer than it says");
	if (pour->keep && pour->fd >= 0) {
		enum wr_code code = wr_file_write_all(pour->fd, data, n, x->err);

		if (code != WR_OK)
			return code;
	} else if (pour->keep) {
		size_t need = (size_t)pour->done + n + 1;

		if (need > pour->cap) {
			size_t cap = need > pour->cap * 2 ? need : pour->cap * 2;
			uint8_t *p;

			cap = cap > pour->size + 1 ? (size_t)pour->size + 1 : cap;
			p = realloc(pour->p, cap);
			if (!p)
				return wr_fail_nomem(x->err);
			pour->p = p;
			pour->cap = cap;
		}
		memcpy(pour->p + pour->done, data, n);
	}
	pour->done += n;
	return WR_OK;
}

/* ---- the first pass: the stream ---- */

/* Hands on what is used of the input: to the sum and to the file. */
static enum wr_code drain(struct indexer *x)
{
	enum wr_code code;

	if (x->pos == 0)
		return WR_OK;
	if (!x->unhashed && EVP_DigestUpdate(x->sha, x->in, x->pos) != 1)
		return wr_fail(x->err, WR_E_INTERNAL, "SHA-1 failed");
	if ((code = wr_file_write_all(x->fd, x->in, x->pos, x->err)) != WR_OK)
		return code;
	x->base += x->pos;
	x->len -= x->pos;
	memmove(x->in, x->in + x->pos, x->len);
	x->pos = 0;
	return WR_OK;
}

/* More input behind what is there; *got = 0 at the end. */
static enum wr_code more(struct indexer *x, size_t *got)
{
	enum wr_code code;

	if ((code = cancelled(x)) != WR_OK || (code = drain(x)) != WR_OK ||
	    (code = wr_source_read(x->src, x->in + x->len, IN_SIZE - x->len, got, x->err)) != WR_OK)
		return code;
	x->len += *got;
	if (x->base + x->len > x->limits->max_bytes)
		return wr_fail(x->err, WR_E_TOO_LARGE, "the pack has more than %llu bytes",
			       (unsigned long long)x->limits->max_bytes);
	return WR_OK;
}

/* At least n bytes at in + pos, or BAD_PACK. */
static enum wr_code need(struct indexer *x, size_t n)
{
	enum wr_code code;
	size_t got;

	while (x->len - x->pos < n) {
		if ((code = more(x, &got)) != WR_OK)
			return code;
		if (got == 0)
			return bad(x, "it ends too early");
	}
	return WR_OK;
}

/* As need(), but the end of the input may come first. */
static enum wr_code want(struct indexer *x, size_t n)
{
	enum wr_code code = WR_OK;
	size_t got = 1;

	while (code == WR_OK && got > 0 && x->len - x->pos < n)
		code = more(x, &got);
	return code;
}

static void use(struct indexer *x, size_t n)
{
	x->crc = (uint32_t)crc32(x->crc, x->in + x->pos, (uInt)n);
	x->pos += n;
}

static enum wr_code read_header(struct indexer *x)
{
	enum wr_code code = need(x, WR_PACK_HEADER);

	if (code != WR_OK)
		return code;
	if (memcmp(x->in, "PACK\0\0\0\2", 8) != 0)
		return bad(x, "it has no header of version 2");
	x->claimed = wr_be32(x->in + 8);
	if (x->claimed > x->limits->max_objects)
		return wr_fail(x->err, WR_E_TOO_LARGE, "the pack has more than %u objects", x->limits->max_objects);
	x->check.limit = x->claimed;
	use(x, WR_PACK_HEADER);
	return WR_OK;
}

static enum wr_code inflate_stream(struct indexer *x, struct pour *pour)
{
	uint8_t out[16384];
	enum wr_code code;
	int rc;

	if (wr_unzip_begin(&x->unzip) != WR_ZIP_OK)
		return wr_fail_nomem(x->err);
	do {
		z_stream *z = &x->unzip.z;
		size_t before;

		if ((code = need(x, 1)) != WR_OK)
			return code;
		before = x->len - x->pos;
		z->next_in = x->in + x->pos;
		z->avail_in = (uInt)before;
		do {
			z->next_out = out;
			z->avail_out = sizeof out;
			rc = inflate(z, Z_NO_FLUSH);
			if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
				return bad(x, "an entry's data are damaged");
			if ((code = pour_add(pour, x, out, sizeof out - z->avail_out)) != WR_OK)
				return code;
		} while (rc != Z_STREAM_END && z->avail_out == 0);
		use(x, before - z->avail_in);
	} while (rc != Z_STREAM_END);
	return pour->done == pour->size ? WR_OK : bad(x, "an entry is shorter than it says");
}

static enum wr_code hash(struct wr_oid *out, struct indexer *x, enum wr_type type, const uint8_t *data, size_t size)
{
	git_oid oid;

	if (git_odb_hash(&oid, data, size, (git_object_t)type) < 0)
		return wr_fail(x->err, WR_E_BAD_PACK, "bad pack: an object looks like an attack on SHA-1");
	memcpy(out->id, oid.id, WR_OID_RAW);
	return WR_OK;
}

/* A full object's content is known: its id, and whether it is sound. */
static enum wr_code settle(struct indexer *x, struct entry *e, enum wr_type type, const uint8_t *data, size_t size)
{
	enum wr_code code = hash(&e->oid, x, type, data, size);

	if (code != WR_OK)
		return code;
	e->type = (uint8_t)type;
	return wr_refs_check_object(&x->check, &e->oid, type, wr_str_n(data, size), x->err);
}

static enum wr_code read_full(struct indexer *x, struct entry *e, uint64_t size)
{
	WR_AUTO_MEM uint8_t *p = NULL;
	WR_AUTO_FD int fd = -1;
	struct blob b = {NULL, 0, false};
	struct pour pour;
	enum wr_code code;

	if (size > IN_MEMORY && (code = spool_open(&fd, x)) != WR_OK)
		return code;
	pour = (struct pour){.size = size, .keep = true, .fd = fd};
	code = inflate_stream(x, &pour);
	p = pour.p;
	if (code != WR_OK)
		return code;
	if (fd < 0)
		return settle(x, e, (enum wr_type)e->kind, p ? p : (const uint8_t *)"", (size_t)size);
	if ((code = wr_file_write_all(fd, "", 1, x->err)) != WR_OK ||
	    (code = spool_map(&b, x, fd, (size_t)size)) != WR_OK)
		return code;
	code = settle(x, e, (enum wr_type)e->kind, b.p, b.size);
	blob_free(&b);
	return code;
}

static enum wr_code add_ofs(struct indexer *x, uint32_t base, uint32_t child)
{
	if (x->ofs_count == x->ofs_cap) {
		size_t cap = x->ofs_cap ? x->ofs_cap * 2 : 1024;
		struct ofs_child *v = reallocarray(x->ofs, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(x->err);
		x->ofs = v;
		x->ofs_cap = cap;
	}
	x->ofs[x->ofs_count++] = (struct ofs_child){base, child};
	return WR_OK;
}

static enum wr_code add_ref(struct indexer *x, const uint8_t *base, uint32_t child)
{
	if (x->ref_count == x->ref_cap) {
		size_t cap = x->ref_cap ? x->ref_cap * 2 : 1024;
		struct ref_child *v = reallocarray(x->ref, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(x->err);
		x->ref = v;
		x->ref_cap = cap;
	}
	memcpy(x->ref[x->ref_count].base.id, base, WR_OID_RAW);
	x->ref[x->ref_count++].child = child;
	return WR_OK;
}

/* Entries stand in the order of their offsets until all is resolved. */
static bool entry_at(uint32_t *out, const struct indexer *x, uint64_t offset)
{
	uint32_t lo = 0, hi = x->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (x->v[mid].offset == offset) {
			*out = mid;
			return true;
		}
		if (offset < x->v[mid].offset)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

static enum wr_code read_base(struct indexer *x, const struct entry *e)
{
	uint64_t distance;
	enum wr_code code;
	uint32_t base;
	size_t n;

	if (e->kind == WR_REF_DELTA) {
		if ((code = need(x, WR_OID_RAW)) != WR_OK || (code = add_ref(x, x->in + x->pos, x->count)) != WR_OK)
			return code;
		use(x, WR_OID_RAW);
		return WR_OK;
	}
	if ((code = want(x, 10)) != WR_OK)
		return code;
	n = wr_entry_distance(&distance, x->in + x->pos, x->len - x->pos);
	if (n == 0 || distance > e->offset || !entry_at(&base, x, e->offset - distance))
		return bad_at(x, e->offset, "a wrong delta base");
	use(x, n);
	return add_ofs(x, base, x->count);
}

static enum wr_code entry_new(struct entry **out, struct indexer *x)
{
	if (x->count == x->cap) {
		uint32_t cap = x->cap ? x->cap + x->cap / 2 : 256;
		struct entry *v = cap > x->cap ? reallocarray(x->v, cap, sizeof *v) : NULL;

		if (!v)
			return wr_fail_nomem(x->err);
		x->v = v;
		x->cap = cap;
	}
	memset(&x->v[x->count], 0, sizeof *x->v);
	*out = &x->v[x->count];
	return WR_OK;
}

static enum wr_code read_entry(struct indexer *x)
{
	struct pour pour = {.fd = -1};
	struct entry *e;
	enum wr_code code;
	unsigned kind;
	size_t n;

	if ((code = entry_new(&e, x)) != WR_OK || (code = want(x, 12)) != WR_OK)
		return code;
	e->offset = x->base + x->pos;
	x->crc = (uint32_t)crc32(0, NULL, 0);
	n = wr_entry_head(&kind, &pour.size, x->in + x->pos, x->len - x->pos);
	if (n == 0 || kind == 0 || kind == 5)
		return bad_at(x, e->offset, "a wrong header");
	if (pour.size > x->limits->max_object)
		return too_large(x);
	e->kind = (uint8_t)kind;
	use(x, n);
	if (kind > WR_TAG)
		code = read_base(x, e);
	if (code == WR_OK)
		code = kind > WR_TAG ? inflate_stream(x, &pour) : read_full(x, e, pour.size);
	if (code != WR_OK)
		return code;
	e->crc = x->crc;
	x->count++;
	return WR_OK;
}

static enum wr_code read_trailer(struct indexer *x)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	enum wr_code code;
	size_t got;

	if ((code = drain(x)) != WR_OK || (code = need(x, SHA1_LEN)) != WR_OK)
		return code;
	if (EVP_DigestFinal_ex(x->sha, sum, NULL) != 1)
		return wr_fail(x->err, WR_E_INTERNAL, "SHA-1 failed");
	if (memcmp(sum, x->in, SHA1_LEN) != 0)
		return bad(x, "its checksum is wrong");
	x->unhashed = true;
	x->pos += SHA1_LEN;
	if (x->len == x->pos && (code = more(x, &got)) != WR_OK)
		return code;
	if (x->len != x->pos)
		return bad(x, "bytes follow its end");
	return drain(x);
}

/* ---- the second pass: deltas ---- */

static int by_base(const void *a, const void *b)
{
	const struct ofs_child *p = a, *q = b;

	if (p->base != q->base)
		return p->base < q->base ? -1 : 1;
	return (p->child > q->child) - (p->child < q->child);
}

static int by_base_oid(const void *a, const void *b)
{
	const struct ref_child *p = a, *q = b;
	int c = wr_oid_cmp(&p->base, &q->base);

	return c ? c : (p->child > q->child) - (p->child < q->child);
}

static size_t first_ofs(const struct indexer *x, uint32_t base)
{
	size_t lo = 0, hi = x->ofs_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (x->ofs[mid].base < base)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static size_t first_ref(const struct indexer *x, const struct wr_oid *base)
{
	size_t lo = 0, hi = x->ref_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (wr_oid_cmp(&x->ref[mid].base, base) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* One object on the way down from a full one. */
struct frame {
	uint32_t entry;
	struct blob data; /* p is NULL when it had to make room */
	size_t ofs, ref;  /* the next child in each list */
};

struct stack {
	struct frame *v;
	size_t len, cap;
	uint64_t bytes;
};

static void stack_pop(struct stack *s)
{
	struct frame *f = &s->v[--s->len];

	if (f->data.p)
		s->bytes -= f->data.size;
	blob_free(&f->data);
}

static enum wr_code stack_push(struct stack *s, struct indexer *x, uint32_t entry, struct blob data)
{
	if (s->len == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 64;
		struct frame *v = reallocarray(s->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(x->err);
		s->v = v;
		s->cap = cap;
	}
	s->v[s->len++] = (struct frame){entry, data, first_ofs(x, entry), first_ref(x, &x->v[entry].oid)};
	s->bytes += data.p ? data.size : 0;
	/* The uppermost frame is in use; those at the bottom are needed again last. */
	for (size_t i = 0; i + 1 < s->len && s->bytes > STACK_BYTES; i++) {
		if (!s->v[i].data.p)
			continue;
		s->bytes -= s->v[i].data.size;
		blob_free(&s->v[i].data);
	}
	return WR_OK;
}

/* The zlib stream of an entry in the map, and the size it claims. The first pass has seen that all of it is sound. */
static struct wr_str entry_stream(const struct indexer *x, uint32_t i, uint64_t *size)
{
	uint64_t at = x->v[i].offset, distance;
	size_t end = i + 1 < x->count ? (size_t)x->v[i + 1].offset : x->map_size;
	unsigned kind;
	size_t n = wr_entry_head(&kind, size, x->map + at, end - (size_t)at);

	if (kind == WR_REF_DELTA)
		n += WR_OID_RAW;
	else if (kind == WR_OFS_DELTA)
		n += wr_entry_distance(&distance, x->map + at + n, end - (size_t)at - n);
	return wr_str_n(x->map + at + n, end - (size_t)at - n);
}

static enum wr_code inflate_entry(struct blob *out, struct indexer *x, uint32_t i)
{
	struct blob b = {NULL, 0, false};
	enum wr_code code;
	enum wr_zip zc;
	uint64_t size;
	struct wr_str in = entry_stream(x, i, &size);
	size_t used;

	if ((code = blob_new(&b, x, size)) != WR_OK)
		return code;
	zc = wr_unzip_into(b.p, &used, &x->unzip, in, b.size);
	if (zc != WR_ZIP_OK) {
		blob_free(&b);
		return from_zip(x, x->v[i].offset, zc);
	}
	*out = b;
	return WR_OK;
}

/* What the delta in entry i makes of its base. */
static enum wr_code apply(struct blob *out, struct indexer *x, const struct blob *base, uint32_t i)
{
	struct blob delta = {NULL, 0, false}, made = {NULL, 0, false};
	uint64_t base_size, size;
	struct wr_str body;
	enum wr_code code;

	if ((code = inflate_entry(&delta, x, i)) != WR_OK)
		return code;
	if (!wr_delta_sizes(&base_size, &size, &body, wr_str_n(delta.p, delta.size)) || base_size != base->size ||
	    !wr_delta_ok(body, base_size, size))
		code = bad_at(x, x->v[i].offset, "a wrong delta");
	else
		code = blob_new(&made, x, size);
	if (code == WR_OK) {
		wr_delta_apply(made.p, base->p, body);
		made.p[made.size] = '\0';
		*out = made;
	}
	blob_free(&delta);
	return code;
}

/* Makes sure that the uppermost frame has its content: from the nearest one below that has. */
static enum wr_code refill(struct stack *s, struct indexer *x)
{
	size_t top = s->len - 1, from = top;
	struct blob data = {NULL, 0, false}, next;
	enum wr_code code = WR_OK;

	if (s->v[top].data.p)
		return WR_OK;
	while (from > 0 && !s->v[from].data.p)
		from--;
	if (!s->v[from].data.p && (code = inflate_entry(&data, x, s->v[from].entry)) != WR_OK)
		return code;
	for (size_t i = from + 1; i <= top; i++) {
		code = apply(&next, x, data.p ? &data : &s->v[from].data, s->v[i].entry);
		blob_free(&data);
		if (code != WR_OK)
			return code;
		data = next;
	}
	s->v[top].data = data;
	s->bytes += data.size;
	return WR_OK;
}

static bool has_children(const struct indexer *x, uint32_t i)
{
	size_t o = first_ofs(x, i), r = first_ref(x, &x->v[i].oid);

	return (o < x->ofs_count && x->ofs[o].base == i) ||
	       (r < x->ref_count && wr_oid_eq(&x->ref[r].base, &x->v[i].oid));
}

/* The next delta on this frame's object that nobody has resolved. */
static bool next_child(uint32_t *out, struct frame *f, const struct indexer *x)
{
	uint32_t child;

	while (f->ofs < x->ofs_count && x->ofs[f->ofs].base == f->entry) {
		child = x->ofs[f->ofs++].child;
		if (x->v[child].type == NO_TYPE) {
			*out = child;
			return true;
		}
	}
	while (f->ref < x->ref_count && wr_oid_eq(&x->ref[f->ref].base, &x->v[f->entry].oid)) {
		child = x->ref[f->ref++].child;
		if (x->v[child].type == NO_TYPE) {
			*out = child;
			return true;
		}
	}
	return false;
}

static void tell(struct indexer *x, bool last)
{
	uint64_t total = x->ofs_count + x->ref_count;
	unsigned percent;

	if (!x->progress || !x->progress->fn || total == 0)
		return;
	percent = (unsigned)(x->resolved * 100ull / total);
	if (!last && percent == x->percent)
		return;
	x->percent = percent;
	x->progress->fn(x->progress->arg, "Resolving deltas", x->resolved, total, last);
}

static enum wr_code resolve_child(struct stack *s, struct indexer *x, uint32_t child)
{
	enum wr_type type = (enum wr_type)x->v[s->v[s->len - 1].entry].type;
	struct blob made = {NULL, 0, false};
	enum wr_code code;

	/* The reader's bound: what is stored must be readable. */
	if (s->len > WR_DELTA_DEPTH)
		return bad(x, "a chain of deltas is too long");
	if ((++x->resolved % 256 == 0 && (code = cancelled(x)) != WR_OK) || (code = refill(s, x)) != WR_OK ||
	    (code = apply(&made, x, &s->v[s->len - 1].data, child)) != WR_OK)
		return code;
	tell(x, false);
	code = settle(x, &x->v[child], type, made.p, made.size);
	if (code == WR_OK && has_children(x, child)) {
		code = stack_push(s, x, child, made);
		if (code == WR_OK)
			return code;
	}
	blob_free(&made);
	return code;
}

/* Everything that is made of entry root, directly or not. */
static enum wr_code resolve_family(struct indexer *x, uint32_t root)
{
	struct stack s = {NULL, 0, 0, 0};
	enum wr_code code;
	uint32_t child;

	if (!has_children(x, root))
		return WR_OK;
	code = stack_push(&s, x, root, (struct blob){NULL, 0, false});
	while (code == WR_OK && s.len > 0) {
		if (next_child(&child, &s.v[s.len - 1], x))
			code = resolve_child(&s, x, child);
		else
			stack_pop(&s);
	}
	while (s.len > 0)
		stack_pop(&s);
	free(s.v);
	return code;
}

static void unmap(struct indexer *x)
{
	if (x->map)
		munmap((void *)(uintptr_t)x->map, x->map_size);
	x->map = NULL;
}

/* Maps the file as far as entries go. */
static enum wr_code remap(struct indexer *x)
{
	void *p;

	unmap(x);
	x->map_size = (size_t)x->base;
	p = mmap(NULL, x->map_size, PROT_READ, MAP_SHARED, x->fd, 0);
	if (p == MAP_FAILED)
		return wr_fail_errno(x->err, "mmap of a pack");
	x->map = p;
	return WR_OK;
}

static enum wr_code resolve(struct indexer *x)
{
	enum wr_code code;

	if (x->ofs_count + x->ref_count == 0)
		return WR_OK;
	/* The trailer is no entry, and thin packs go on where it stands. */
	x->base -= SHA1_LEN;
	if ((code = remap(x)) != WR_OK)
		return code;
	if (x->ofs_count)
		qsort(x->ofs, x->ofs_count, sizeof *x->ofs, by_base);
	if (x->ref_count)
		qsort(x->ref, x->ref_count, sizeof *x->ref, by_base_oid);
	for (uint32_t i = 0; i < x->claimed && code == WR_OK; i++)
		if (x->v[i].kind <= WR_TAG)
			code = resolve_family(x, i);
	return code;
}

/* ---- thin packs ---- */

static enum wr_code put(struct indexer *x, const uint8_t *data, size_t n)
{
	enum wr_code code = wr_file_write_all(x->fd, data, n, x->err);

	x->crc = (uint32_t)crc32(x->crc, data, (uInt)n);
	x->base += n;
	return code;
}

static enum wr_code put_deflated(struct indexer *x, const uint8_t *data, size_t size)
{
	uint8_t out[16384];
	enum wr_code code = WR_OK;
	z_stream z = {0};
	int rc = Z_OK;

	if (deflateInit(&z, Z_DEFAULT_COMPRESSION) != Z_OK)
		return wr_fail_nomem(x->err);
	while (code == WR_OK && rc == Z_OK) {
		size_t step = size > UINT_MAX / 2 ? UINT_MAX / 2 : size;

		z.next_in = (Bytef *)(uintptr_t)data;
		z.avail_in = (uInt)step;
		z.next_out = out;
		z.avail_out = sizeof out;
		rc = deflate(&z, step == size ? Z_FINISH : Z_NO_FLUSH);
		data += step - z.avail_in;
		size -= step - z.avail_in;
		code = put(x, out, sizeof out - z.avail_out);
	}
	deflateEnd(&z);
	if (code == WR_OK && rc != Z_STREAM_END)
		code = wr_fail(x->err, WR_E_INTERNAL, "deflate failed");
	return code;
}

/* Appends an object of the repository, because deltas of the pack are based on it. */
static enum wr_code inject(struct indexer *x, const struct wr_oid *oid)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	uint8_t head[16];
	struct entry *e;
	enum wr_code code;

	if ((code = wr_snapshot_read(&obj, x->snap, oid, x->err)) != WR_OK || (code = entry_new(&e, x)) != WR_OK)
		return code;
	e->oid = *oid;
	e->offset = x->base;
	e->kind = e->type = (uint8_t)obj.type;
	x->crc = (uint32_t)crc32(0, NULL, 0);
	if ((code = put(x, head, wr_entry_put(head, e->kind, obj.size))) != WR_OK ||
	    (code = put_deflated(x, obj.data, obj.size)) != WR_OK)
		return code;
	e->crc = x->crc;
	x->count++;
	if ((code = remap(x)) != WR_OK)
		return code;
	return resolve_family(x, x->count - 1);
}

/* The base that a REF_DELTA names, or false when entry i is none or is resolved. */
static bool open_base(struct wr_oid *out, const struct indexer *x, uint32_t i)
{
	const struct entry *e = &x->v[i];
	uint64_t size;
	unsigned kind;
	size_t n;

	if (e->kind != WR_REF_DELTA || e->type != NO_TYPE)
		return false;
	n = wr_entry_head(&kind, &size, x->map + e->offset, x->map_size - (size_t)e->offset);
	memcpy(out->id, x->map + e->offset + n, WR_OID_RAW);
	return true;
}

static enum wr_code missing_base(struct indexer *x)
{
	char hex[WR_OID_HEX + 1];
	struct wr_oid base;

	for (uint32_t i = 0; i < x->claimed; i++) {
		if (!open_base(&base, x, i))
			continue;
		wr_oid_hex(hex, &base);
		return wr_fail(x->err, WR_E_BAD_PACK, "bad pack: missing delta base %s", hex);
	}
	return bad(x, "deltas without a base");
}

/* Header and trailer of a pack that has grown. */
static enum wr_code finish_thin(struct indexer *x)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	uint8_t count[4];
	enum wr_code code;

	wr_put_be32(count, x->count);
	if (pwrite(x->fd, count, sizeof count, 8) != (ssize_t)sizeof count)
		return wr_fail_errno(x->err, "write a pack's header");
	if ((code = remap(x)) != WR_OK)
		return code;
	if (EVP_Digest(x->map, x->map_size, sum, NULL, EVP_sha1(), NULL) != 1)
		return wr_fail(x->err, WR_E_INTERNAL, "SHA-1 failed");
	return wr_file_write_all(x->fd, sum, SHA1_LEN, x->err);
}

static enum wr_code complete(struct indexer *x)
{
	enum wr_code code = WR_OK;
	struct wr_oid base;

	if (x->resolved == x->ofs_count + x->ref_count)
		return WR_OK;
	/* The map lies below the new end: its pages stay as they are. */
	if (ftruncate(x->fd, (off_t)x->base) < 0 || lseek(x->fd, (off_t)x->base, SEEK_SET) < 0)
		return wr_fail_errno(x->err, "truncate a pack");
	/*
	 * In the order of the pack, because clients write bases before their deltas: a base that the pack has as a
	 * delta on something else is thus resolved before it is looked for in the repository.
	 */
	for (uint32_t i = 0; i < x->claimed && code == WR_OK; i++)
		if (open_base(&base, x, i) && wr_snapshot_has(x->snap, &base))
			code = inject(x, &base);
	if (code != WR_OK)
		return code;
	if (x->resolved != x->ofs_count + x->ref_count)
		return missing_base(x);
	return finish_thin(x);
}

/* ---- the index ---- */

struct idx_out {
	int fd;
	EVP_MD_CTX *sha;
	size_t len;
	uint8_t buf[32768];
};

static enum wr_code idx_flush(struct idx_out *o, struct wr_error *err)
{
	size_t n = o->len;

	o->len = 0;
	if (EVP_DigestUpdate(o->sha, o->buf, n) != 1)
		return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	return wr_file_write_all(o->fd, o->buf, n, err);
}

static enum wr_code idx_put(struct idx_out *o, const void *data, size_t n, struct wr_error *err)
{
	enum wr_code code;

	if (o->len + n > sizeof o->buf && (code = idx_flush(o, err)) != WR_OK)
		return code;
	memcpy(o->buf + o->len, data, n);
	o->len += n;
	return WR_OK;
}

static enum wr_code idx_put32(struct idx_out *o, uint32_t v, struct wr_error *err)
{
	uint8_t b[4];

	wr_put_be32(b, v);
	return idx_put(o, b, 4, err);
}

static int by_oid(const void *a, const void *b)
{
	const struct entry *p = a, *q = b;
	int c = wr_oid_cmp(&p->oid, &q->oid);

	return c ? c : (p->offset > q->offset) - (p->offset < q->offset);
}

static enum wr_code idx_tables(struct idx_out *o, const struct indexer *x)
{
	enum wr_code code = idx_put(o, "\377tOc\0\0\0\2", 8, x->err);
	uint32_t n = 0, longs = 0;

	for (unsigned first = 0; first < 256 && code == WR_OK; first++) {
		while (n < x->count && x->v[n].oid.id[0] == first)
			n++;
		code = idx_put32(o, n, x->err);
	}
	for (uint32_t i = 0; i < x->count && code == WR_OK; i++)
		code = idx_put(o, x->v[i].oid.id, WR_OID_RAW, x->err);
	for (uint32_t i = 0; i < x->count && code == WR_OK; i++)
		code = idx_put32(o, x->v[i].crc, x->err);
	for (uint32_t i = 0; i < x->count && code == WR_OK; i++) {
		uint64_t at = x->v[i].offset;

		code = idx_put32(o, at < 0x80000000 ? (uint32_t)at : 0x80000000 | longs++, x->err);
	}
	for (uint32_t i = 0; i < x->count && code == WR_OK; i++) {
		uint64_t at = x->v[i].offset;

		if (at < 0x80000000)
			continue;
		if ((code = idx_put32(o, (uint32_t)(at >> 32), x->err)) == WR_OK)
			code = idx_put32(o, (uint32_t)at, x->err);
	}
	return code;
}

static enum wr_code write_index(struct indexer *x, const char *name)
{
	WR_AUTO_MEM struct idx_out *o = malloc(sizeof *o);
	unsigned char sum[EVP_MAX_MD_SIZE];
	char file[NAME_MAX + 1];
	WR_AUTO_FD int fd = -1;
	enum wr_code code;

	if (!o)
		return wr_fail_nomem(x->err);
	snprintf(file, sizeof file, "%s.idx", name);
	fd = openat(x->dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return wr_fail_errno(x->err, "create an index");
	o->fd = fd;
	o->sha = x->sha;
	o->len = 0;
	/* The pack's sum, whose last place in the file is its end. */
	if (pread(x->fd, sum, SHA1_LEN, lseek(x->fd, 0, SEEK_END) - SHA1_LEN) != SHA1_LEN)
		return wr_fail_errno(x->err, "read a pack's trailer");
	if (EVP_DigestInit_ex(o->sha, EVP_sha1(), NULL) != 1)
		return wr_fail(x->err, WR_E_INTERNAL, "SHA-1 failed");
	if ((code = idx_tables(o, x)) != WR_OK || (code = idx_put(o, sum, SHA1_LEN, x->err)) != WR_OK ||
	    (code = idx_flush(o, x->err)) != WR_OK)
		return code;
	if (EVP_DigestFinal_ex(o->sha, sum, NULL) != 1)
		return wr_fail(x->err, WR_E_INTERNAL, "SHA-1 failed");
	if ((code = wr_file_write_all(fd, sum, SHA1_LEN, x->err)) != WR_OK)
		return code;
	return fsync(fd) < 0 ? wr_fail_errno(x->err, "flush an index") : WR_OK;
}

/* ---- all of it ---- */

static enum wr_code check_all(struct indexer *x)
{
	enum wr_code code = WR_OK;

	for (uint32_t i = 0; i < x->count && code == WR_OK; i++)
		code = wr_refs_check_found(&x->check, &x->v[i].oid, (enum wr_type)x->v[i].type, x->err);
	return code == WR_OK ? wr_refs_check_end(&x->check, x->err) : code;
}

/* Twice the same object: a delta could then be its own base when it is read back, and no client sends that. */
static enum wr_code sort_entries(struct indexer *x)
{
	char hex[WR_OID_HEX + 1];

	qsort(x->v, x->count, sizeof *x->v, by_oid);
	for (uint32_t i = 1; i < x->count; i++) {
		if (!wr_oid_eq(&x->v[i - 1].oid, &x->v[i].oid))
			continue;
		wr_oid_hex(hex, &x->v[i].oid);
		return wr_fail(x->err, WR_E_BAD_PACK, "bad pack: object %s comes twice", hex);
	}
	return WR_OK;
}

static enum wr_code run(struct indexer *x, const char *name)
{
	enum wr_code code = read_header(x);

	while (code == WR_OK && x->count < x->claimed)
		code = read_entry(x);
	if (code != WR_OK || (code = read_trailer(x)) != WR_OK || x->claimed == 0)
		return code;
	if ((code = resolve(x)) != WR_OK || (code = complete(x)) != WR_OK)
		return code;
	tell(x, true);
	if ((code = check_all(x)) != WR_OK || (code = sort_entries(x)) != WR_OK)
		return code;
	if (fsync(x->fd) < 0)
		return wr_fail_errno(x->err, "flush a pack");
	return write_index(x, name);
}

enum wr_code wr_index_pack(uint32_t *count, int dir, const char *name, struct wr_source *src,
			   const struct wr_snapshot *snap, const struct wr_index_limits *limits,
			   const struct wr_progress *progress, const struct wr_cancel *cancel, struct wr_error *err)
{
	struct indexer x = {.dir = dir,
			    .fd = -1,
			    .src = src,
			    .snap = snap,
			    .limits = limits,
			    .progress = progress,
			    .cancel = cancel,
			    .err = err,
			    .check = {.snap = snap}};
	char file[NAME_MAX + 1];
	enum wr_code code;

	snprintf(file, sizeof file, "%s.pack", name);
	x.in = malloc(IN_SIZE);
	x.sha = EVP_MD_CTX_new();
	if (!x.in || !x.sha)
		code = wr_fail_nomem(err);
	else if (EVP_DigestInit_ex(x.sha, EVP_sha1(), NULL) != 1)
		code = wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	else if ((x.fd = openat(dir, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
		code = wr_fail_errno(err, "create a pack");
	else
		code = run(&x, name);
	if (code == WR_OK)
		*count = x.count;
	unmap(&x);
	wr_unzip_fini(&x.unzip);
	wr_refs_check_fini(&x.check);
	EVP_MD_CTX_free(x.sha);
	if (x.fd >= 0)
		close(x.fd);
	free(x.in);
	free(x.v);
	free(x.ofs);
	free(x.ref);
	return code;
}
