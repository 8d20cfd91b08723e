/*
 * The directory of a zip (APPNOTE 4.3.12): records "PK\1\2", then perhaps those of zip64, then "PK\5\6". What a file's
 * own header says of name and mode is only a part of it, and files that were deleted from the archive still have one.
 */
#include <sys/stat.h>
#include <zlib.h>

#include "core/content/path.h"
#include "core/content/unpack_internal.h"
#include "core/git/le.h"

enum {
	SIG_RECORD = 0x02014b50,
	SIG_SIGNATURE = 0x05054b50,
	SIG_END = 0x06054b50,
	SIG_END64 = 0x06064b50,
	SIG_LOCATOR64 = 0x07064b50,
};
#define RECORD 42 /* behind its signature, before name, extra fields and comment */
#define HOST_UNIX 3
#define HOST_MAC 19
#define DOS_FOLDER 0x10u
/* libarchive says that the files are over where it sees the directory, at most a block ahead of what it has taken. */
#define SEARCH (2 * WR_UNPACK_BLOCK)

struct directory {
	struct wr_unpacking *u;
	uint64_t at;
	uint64_t records;
	char name[65536], extra[65536];
};

struct record {
	unsigned host, flags, name_len, extra_len, comment_len;
	uint32_t attributes;
	uint64_t size, packed, header; /* where its own header is */
	struct wr_str name;
};

static enum wr_code cut_short(struct directory *d)
{
	return wr_unpack_broken(d->u, "its directory is cut short");
}

static enum wr_code get(void *out, struct directory *d, size_t len)
{
	struct wr_unpacking *u = d->u;
	char *to = out;

	while (len) {
		const char *block;
		size_t in = (size_t)(d->at % WR_UNPACK_BLOCK), n = WR_UNPACK_BLOCK - in;

		if (d->at == u->arrived) {
			enum wr_code code = u->arrived % WR_UNPACK_BLOCK ? WR_OK : wr_unpack_block(&block, &n, u);

			if (code != WR_OK)
				return code;
			if (d->at == u->arrived)
				return cut_short(d);
		}
		n = n < u->arrived - d->at ? n : (size_t)(u->arrived - d->at);
		n = n < len ? n : len;
		if (to) {
			memcpy(to, u->blocks + d->at / WR_UNPACK_BLOCK % WR_UNPACK_BLOCKS * WR_UNPACK_BLOCK + in, n);
			to += n;
		}
		d->at += n;
		len -= n;
	}
	return WR_OK;
}

/* The signature that libarchive stopped at: bytes that are of no file may stand before it. */
static enum wr_code find_begin(uint32_t *sig, struct directory *d)
{
	uint8_t b[4];
	enum wr_code code = get(b, d, sizeof b);

	for (size_t n = 0; code == WR_OK && n < SEARCH; n++) {
		*sig = wr_le32(b);
		if (*sig == SIG_RECORD || *sig == SIG_END || *sig == SIG_END64)
			return WR_OK;
		memmove(b, b + 1, 3);
		code = get(b + 3, d, 1);
	}
	return code == WR_OK ? wr_unpack_broken(d->u, "it has no directory") : code;
}

/* One of the sizes that the record has no room for. */
static bool wide(uint64_t *value, struct wr_str *field)
{
	if (*value != UINT32_MAX)
		return true;
	if (field->len < 8)
		return false;
	*value = wr_le64((const uint8_t *)field->ptr);
	*field = wr_str_skip(*field, 8);
	return true;
}

/* Info-ZIP's: the name as UTF-8, where the record's own is in another encoding. */
static void take_unicode_name(struct record *r, struct wr_str field)
{
	if (field.len > 5 && field.ptr[0] == 1 &&
	    wr_le32((const uint8_t *)field.ptr + 1) == crc32(0, (const Bytef *)r->name.ptr, (uInt)r->name.len))
		r->name = wr_str_skip(field, 5);
}

static enum wr_code read_extra(struct record *r, struct directory *d)
{
	struct wr_str rest = wr_str_n(d->extra, r->extra_len);

	while (rest.len >= 4) {
		unsigned id = wr_le16((const uint8_t *)rest.ptr);
		size_t len = wr_le16((const uint8_t *)rest.ptr + 2);
		struct wr_str field;

		rest = wr_str_skip(rest, 4);
		if (len > rest.len)
			break;
		field = wr_str_n(rest.ptr, len);
		rest = wr_str_skip(rest, len);
		if (id == 0x7075)
			take_unicode_name(r, field);
		if (id == 1 && !(wide(&r->size, &field) && wide(&r->packed, &field) && wide(&r->header, &field)))
			return wr_unpack_broken(d->u, "its directory makes no sense");
	}
	return WR_OK;
}

static enum wr_code read_record(struct record *r, struct directory *d)
{
	uint8_t h[RECORD];
	enum wr_code code = get(h, d, sizeof h);

	if (code != WR_OK)
		return code;
	*r = (struct record){.host = h[1],
			     .flags = wr_le16(h + 4),
			     .packed = wr_le32(h + 16),
			     .size = wr_le32(h + 20),
			     .name_len = wr_le16(h + 24),
			     .extra_len = wr_le16(h + 26),
			     .comment_len = wr_le16(h + 28),
			     .attributes = wr_le32(h + 34),
			     .header = wr_le32(h + 38)};
	r->name = wr_str_n(d->name, r->name_len);
	if ((code = get(d->name, d, r->name_len)) != WR_OK || (code = get(d->extra, d, r->extra_len)) != WR_OK ||
	    (code = get(NULL, d, r->comment_len)) != WR_OK)
		return code;
	return read_extra(r, d);
}

/* The file whose own header is there. */
static struct wr_unpack_local *find_local(const struct wr_unpacking *u, uint64_t header)
{
	size_t lo = 0, hi = u->local_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (u->locals[mid].to <= header)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < u->local_count && u->locals[lo].from <= header ? &u->locals[lo] : NULL;
}

static enum wr_code add_file(struct wr_unpacking *u, const struct record *r, const struct wr_unpack_local *l)
{
	unsigned mode = r->host == HOST_UNIX || r->host == HOST_MAC ? r->attributes >> 16 : 0;
	bool folder = wr_str_ends(r->name, WR_S("/")) || S_ISDIR(mode) || (r->host == 0 && r->attributes & DOS_FOLDER);
	struct wr_str path;

	if (memchr(r->name.ptr, '\0', r->name.len) || !wr_unpack_path(&u->path, r->name) ||
	    (u->path.len == 0 && !folder))
		return wr_unpack_bad_path(u, r->name);
	path = wr_buf_str(&u->path);
	if (folder)
		return wr_files_folder(&u->files, path, u->err);
	if (S_ISLNK(mode) && (l->size == 0 || l->size > WR_PATH_MAX))
		return wr_unpack_broken(u, "it has a symbolic link that leads nowhere, or too far");
	if (S_ISLNK(mode))
		return wr_files_add(&u->files, path, &l->blob, WR_MODE_SYMLINK, u->err);
	if ((mode & S_IFMT) && !S_ISREG(mode))
		return WR_OK;
	return wr_files_add(&u->files, path, &l->blob, mode & 0100 ? WR_MODE_FILE | 0755 : WR_MODE_FILE | 0644, u->err);
}

static enum wr_code take_record(struct directory *d)
{
	struct wr_unpack_local *l;
	struct record r;
	enum wr_code code = read_record(&r, d);

	if (code != WR_OK)
		return code;
	if (r.flags & 1)
		return wr_fail(d->u->err, WR_E_SOURCE_NOT_FOUND, "The archive is encrypted; import one that is not");
	l = find_local(d->u, r.header);
	if (!l || l->used || l->size != r.size)
		return wr_unpack_broken(d->u, "its directory does not fit what is in it");
	l->used = true;
	d->records++;
	return add_file(d->u, &r, l);
}

static enum wr_code pass(struct directory *d, size_t head, size_t len_at, size_t len_size)
{
	uint8_t h[20];
	enum wr_code code = get(h, d, head);
	uint64_t len = 0;

	if (code != WR_OK)
		return code;
	if (len_size)
		len = len_size == 8 ? wr_le64(h + len_at) : wr_le16(h + len_at);
	return len > UINT16_MAX ? wr_unpack_broken(d->u, "its directory makes no sense") : get(NULL, d, (size_t)len);
}

static enum wr_code take_end(struct directory *d)
{
	uint8_t h[18];
	enum wr_code code = get(h, d, sizeof h);

	if (code == WR_OK && wr_le16(h + 6) != (d->records & UINT16_MAX) && wr_le16(h + 6) != UINT16_MAX)
		code = wr_unpack_broken(d->u, "its directory is not all there");
	return code;
}

static enum wr_code read_directory(struct directory *d)
{
	uint32_t sig = 0;
	enum wr_code code = find_begin(&sig, d);

	while (code == WR_OK) {
		uint8_t b[4];

		switch (sig) {
		case SIG_RECORD:
			code = take_record(d);
			break;
		case SIG_SIGNATURE:
			code = pass(d, 2, 0, 2);
			break;
		case SIG_END64:
			code = pass(d, 8, 0, 8);
			break;
		case SIG_LOCATOR64:
			code = pass(d, 16, 0, 0);
			break;
		case SIG_END:
			return take_end(d);
		default:
			return wr_unpack_broken(d->u, "its directory makes no sense");
		}
		if (code == WR_OK && (code = get(b, d, sizeof b)) == WR_OK)
			sig = wr_le32(b);
	}
	return code;
}

enum wr_code wr_unpack_zip_directory(struct wr_unpacking *u, uint64_t at)
{
	uint64_t last = u->arrived ? (u->arrived - 1) / WR_UNPACK_BLOCK : 0;
	struct directory *d;
	enum wr_code code;

	if (at > u->arrived || at / WR_UNPACK_BLOCK + WR_UNPACK_BLOCKS <= last)
		return wr_unpack_broken(u, "it has no directory");
	if (!(d = malloc(sizeof *d)))
		return wr_fail_nomem(u->err);
	d->u = u;
	d->at = at;
	d->records = 0;
	code = read_directory(d);
	free(d);
	return code;
}
