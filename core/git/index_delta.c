#include <limits.h>
#include <sys/mman.h>

#include "core/base/file.h"
#include "core/git/index_internal.h"

/* The most that the bases on the way from a full object down to a delta may hold together. */
#define STACK_BYTES ((uint64_t)64 << 20)
/* The most of the mapped pack that is kept after it was read. */
#define MAP_BYTES ((size_t)64 << 20)
#define ASK_BYTES ((uint64_t)16 << 20)

static enum wr_code from_zip(struct wr_indexer *x, uint64_t offset, enum wr_zip zc)
{
	return zc == WR_ZIP_NOMEM ? wr_fail_nomem(x->err) : wr_index_bad_at(x, offset, "damaged data");
}

static int by_base(const void *a, const void *b)
{
	const struct wr_index_ofs *p = a, *q = b;

	if (p->base != q->base)
		return p->base < q->base ? -1 : 1;
	return (p->child > q->child) - (p->child < q->child);
}

static int by_base_oid(const void *a, const void *b)
{
	const struct wr_index_ref *p = a, *q = b;
	int c = wr_oid_cmp(&p->base, &q->base);

	return c ? c : (p->child > q->child) - (p->child < q->child);
}

static size_t first_ofs(const struct wr_indexer *x, uint32_t base)
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

static size_t first_ref(const struct wr_indexer *x, const struct wr_oid *base)
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
	struct wr_index_blob data; /* p is NULL when it had to make room */
	size_t ofs, ref;	   /* the next child in each list */
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
	wr_index_blob_free(&f->data);
}

/* The frame at top is in use; those at the bottom are needed again last. */
static void make_room(struct stack *s, size_t top)
{
	for (size_t i = 0; i < top && s->bytes > STACK_BYTES; i++) {
		if (!s->v[i].data.p)
			continue;
		s->bytes -= s->v[i].data.size;
		wr_index_blob_free(&s->v[i].data);
	}
}

static enum wr_code stack_push(struct stack *s, struct wr_indexer *x, uint32_t entry, struct wr_index_blob data)
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
	make_room(s, s->len - 1);
	return WR_OK;
}

/* The zlib stream of an entry in the map, and the size it claims. The first pass has seen that all of it is sound. */
static struct wr_str entry_stream(const struct wr_indexer *x, uint32_t i, uint64_t *size)
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

/* Pages of the map that were read count as this process's memory until they are let go; nothing is lost by that. */
static void let_go(struct wr_indexer *x, size_t read)
{
	x->map_touched += read;
	if (x->map_touched < MAP_BYTES)
		return;
	madvise((void *)(uintptr_t)x->map, x->map_size, MADV_DONTNEED);
	x->map_touched = 0;
}

static enum wr_code inflate_entry(struct wr_index_blob *out, struct wr_indexer *x, uint32_t i)
{
	struct wr_index_blob b = {NULL, 0, false};
	enum wr_code code;
	enum wr_zip zc;
	uint64_t size;
	struct wr_str in = entry_stream(x, i, &size);
	size_t used;

	if ((code = wr_index_blob_new(&b, x, size)) != WR_OK)
		return code;
	zc = wr_unzip_into(b.p, &used, &x->unzip, in, b.size);
	let_go(x, in.len);
	if (zc != WR_ZIP_OK) {
		wr_index_blob_free(&b);
		return from_zip(x, x->v[i].offset, zc);
	}
	*out = b;
	return WR_OK;
}

/* A few deltas can make gigabytes, so it is not their number that says when to ask whether somebody still waits. */
static enum wr_code asked_by_bytes(struct wr_indexer *x, uint64_t size)
{
	enum wr_code code = wr_index_spend(x, size);

	if (code != WR_OK)
		return code;
	x->made += size;
	if (x->made < ASK_BYTES)
		return WR_OK;
	x->made = 0;
	return wr_index_cancelled(x);
}

/* What the delta in entry i makes of its base. */
static enum wr_code apply(struct wr_index_blob *out, struct wr_indexer *x, const struct wr_index_blob *base, uint32_t i)
{
	struct wr_index_blob delta = {NULL, 0, false}, made = {NULL, 0, false};
	uint64_t base_size, size;
	struct wr_str body;
	enum wr_code code;

	if ((code = inflate_entry(&delta, x, i)) != WR_OK)
		return code;
	if (!wr_delta_sizes(&base_size, &size, &body, wr_str_n(delta.p, delta.size)) || base_size != base->size ||
	    !wr_delta_ok(body, base_size, size))
		code = wr_index_bad_at(x, x->v[i].offset, "a wrong delta");
	else if ((code = asked_by_bytes(x, size)) == WR_OK)
		code = wr_index_blob_new(&made, x, size);
	if (code == WR_OK) {
		wr_delta_apply(made.p, base->p, body);
		made.p[made.size] = '\0';
		*out = made;
	}
	wr_index_blob_free(&delta);
	return code;
}

/*
 * Makes sure that the uppermost frame has its content: from the nearest one below that has. What is made on the way is
 * kept as far as there is room, because the frames next to the top are needed next.
 */
static enum wr_code refill(struct stack *s, struct wr_indexer *x)
{
	size_t top = s->len - 1, from = top;
	enum wr_code code;

	while (from > 0 && !s->v[from].data.p)
		from--;
	if (!s->v[from].data.p) {
		if ((code = inflate_entry(&s->v[from].data, x, s->v[from].entry)) != WR_OK)
			return code;
		s->bytes += s->v[from].data.size;
	}
	for (size_t i = from + 1; i <= top; i++) {
		if ((code = apply(&s->v[i].data, x, &s->v[i - 1].data, s->v[i].entry)) != WR_OK)
			return code;
		s->bytes += s->v[i].data.size;
		make_room(s, i);
	}
	return WR_OK;
}

static bool has_children(const struct wr_indexer *x, uint32_t i)
{
	size_t o = first_ofs(x, i), r = first_ref(x, &x->v[i].oid);

	return (o < x->ofs_count && x->ofs[o].base == i) ||
	       (r < x->ref_count && wr_oid_eq(&x->ref[r].base, &x->v[i].oid));
}

/* The next delta on this frame's object that nobody has resolved. */
static bool next_child(uint32_t *out, struct frame *f, const struct wr_indexer *x)
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

void wr_index_tell(struct wr_indexer *x, bool last)
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

static enum wr_code resolve_child(struct stack *s, struct wr_indexer *x, uint32_t child)
{
	enum wr_type type = (enum wr_type)x->v[s->v[s->len - 1].entry].type;
	struct wr_index_blob made = {NULL, 0, false};
	enum wr_code code;

	/* The reader's bound: what is stored must be readable. */
	if (s->len > WR_DELTA_DEPTH)
		return wr_index_bad(x, "a chain of deltas is too long");
	if ((++x->resolved % 256 == 0 && (code = wr_index_cancelled(x)) != WR_OK) || (code = refill(s, x)) != WR_OK ||
	    (code = apply(&made, x, &s->v[s->len - 1].data, child)) != WR_OK)
		return code;
	wr_index_tell(x, false);
	code = wr_index_settle(x, &x->v[child], type, made.p, made.size);
	if (code == WR_OK && has_children(x, child)) {
		code = stack_push(s, x, child, made);
		if (code == WR_OK)
			return code;
	}
	wr_index_blob_free(&made);
	return code;
}

/* Everything that is made of entry root, directly or not. */
static enum wr_code resolve_family(struct wr_indexer *x, uint32_t root)
{
	struct stack s = {NULL, 0, 0, 0};
	enum wr_code code;
	uint32_t child;

	if (!has_children(x, root))
		return WR_OK;
	code = stack_push(&s, x, root, (struct wr_index_blob){NULL, 0, false});
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

void wr_index_unmap(struct wr_indexer *x)
{
	if (x->map)
		munmap((void *)(uintptr_t)x->map, x->map_size);
	x->map = NULL;
}

/* Maps the file as far as entries go. */
static enum wr_code remap(struct wr_indexer *x)
{
	void *p;

	wr_index_unmap(x);
	x->map_size = (size_t)x->base;
	p = mmap(NULL, x->map_size, PROT_READ, MAP_SHARED, x->fd, 0);
	if (p == MAP_FAILED)
		return wr_fail_errno(x->err, "mmap of a pack");
	x->map = p;
	return WR_OK;
}

enum wr_code wr_index_resolve(struct wr_indexer *x)
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

static enum wr_code put(struct wr_indexer *x, const uint8_t *data, size_t n)
{
	enum wr_code code = wr_file_write_all(x->fd, data, n, x->err);

	x->crc = (uint32_t)crc32(x->crc, data, (uInt)n);
	x->base += n;
	return code;
}

static enum wr_code put_deflated(struct wr_indexer *x, const uint8_t *data, size_t size)
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
static enum wr_code inject(struct wr_indexer *x, const struct wr_oid *oid)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	uint8_t head[16];
	struct wr_index_entry *e;
	enum wr_code code;

	if ((code = wr_snapshot_read(&obj, x->snap, oid, x->err)) != WR_OK ||
	    (code = wr_index_entry_new(&e, x)) != WR_OK)
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
static bool open_base(struct wr_oid *out, const struct wr_indexer *x, uint32_t i)
{
	const struct wr_index_entry *e = &x->v[i];
	uint64_t size;
	unsigned kind;
	size_t n;

	if (e->kind != WR_REF_DELTA || e->type != NO_TYPE)
		return false;
	n = wr_entry_head(&kind, &size, x->map + e->offset, x->map_size - (size_t)e->offset);
	memcpy(out->id, x->map + e->offset + n, WR_OID_RAW);
	return true;
}

static enum wr_code missing_base(struct wr_indexer *x)
{
	char hex[WR_OID_HEX + 1];
	struct wr_oid base;

	for (uint32_t i = 0; i < x->claimed; i++) {
		if (!open_base(&base, x, i))
			continue;
		wr_oid_hex(hex, &base);
		return wr_fail(x->err, WR_E_BAD_PACK, "bad pack: missing delta base %s", hex);
	}
	return wr_index_bad(x, "deltas without a base");
}

/* Header and trailer of a pack that has grown. */
static enum wr_code finish_thin(struct wr_indexer *x)
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

enum wr_code wr_index_complete(struct wr_indexer *x)
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
