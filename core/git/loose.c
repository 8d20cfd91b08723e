#include "core/git/loose.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <zlib.h>

#include "core/git/below.h"
#include "core/git/graph.h"
#include "core/git/pack.h"

#define COUNT_MAX 0x7fffffffu
#define FOLDERS 256

struct packer {
	struct wr_loose *out;
	const struct wr_snapshot *have;
	uint64_t max_object;
	const struct wr_cancel *cancel;
	int fd;
	uint64_t at;	/* where whole entries end */
	uint64_t ahead; /* bytes of the entry that is being written */
	z_stream zin, zout;
	int folder;	 /* that is being read */
	unsigned prefix; /* its number */
	uint8_t in[16384], body[65536], packed[16384];
};

void wr_loose_fini(struct wr_loose *loose)
{
	wr_oids_fini(&loose->named);
	wr_oidmap_fini(&loose->damaged);
	loose->count = 0;
}

size_t wr_loose_head(enum wr_type *type, uint64_t *size, const uint8_t *bytes, size_t len)
{
	static const char *const names[] = {"commit ", "tree ", "blob ", "tag "};
	const uint8_t *nul = memchr(bytes, '\0', len < WR_LOOSE_HEAD_MAX + 1 ? len : WR_LOOSE_HEAD_MAX + 1);
	struct wr_str head;

	if (!nul)
		return 0;
	head = wr_str_n(bytes, (size_t)(nul - bytes));
	for (size_t i = 0; i < WR_ARRAY_LEN(names); i++) {
		struct wr_str digits;

		if (!wr_str_starts(head, wr_str(names[i])))
			continue;
		digits = wr_str_skip(head, strlen(names[i]));
		/* Git reads no leading zeros. */
		if ((digits.len > 1 && digits.ptr[0] == '0') || !wr_str_u64(digits, INT64_MAX, size))
			return 0;
		*type = (enum wr_type)(i + 1);
		return head.len + 1;
	}
	return 0;
}

/* ---- the pack ---- */

static enum wr_code put(struct packer *p, const void *data, size_t n, struct wr_error *err)
{
	const uint8_t *from = data;

	while (n) {
		ssize_t done = pwrite(p->fd, from, n, (off_t)(p->at + p->ahead));

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return wr_fail_errno(err, "write a pack of loose objects");
		p->ahead += (uint64_t)done;
		from += done;
		n -= (size_t)done;
	}
	return WR_OK;
}

/* More of the content; last ends the entry's stream. */
static enum wr_code squeeze(struct packer *p, const uint8_t *data, size_t n, bool last, struct wr_error *err)
{
	enum wr_code code;
	int rc;

	p->zout.next_in = (Bytef *)(uintptr_t)data;
	p->zout.avail_in = (uInt)n;
	do {
		p->zout.next_out = p->packed;
		p->zout.avail_out = sizeof p->packed;
		rc = deflate(&p->zout, last ? Z_FINISH : Z_NO_FLUSH);
		if (rc == Z_STREAM_ERROR)
			return wr_fail(err, WR_E_INTERNAL, "deflate failed");
		if ((code = put(p, p->packed, sizeof p->packed - p->zout.avail_out, err)) != WR_OK)
			return code;
	} while (p->zout.avail_out == 0 || (last && rc != Z_STREAM_END));
	return WR_OK;
}

static enum wr_code sum(uint8_t out[EVP_MAX_MD_SIZE], struct packer *p, EVP_MD_CTX *sha, struct wr_error *err)
{
	enum wr_code code;
	uint64_t at = 0;

	if (!sha || EVP_DigestInit_ex(sha, EVP_sha1(), NULL) != 1)
		return wr_fail_nomem(err);
	while (at < p->at) {
		size_t step = sizeof p->body < p->at - at ? sizeof p->body : (size_t)(p->at - at);
		ssize_t n = pread(p->fd, p->body, step, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return wr_fail_errno(err, "read a pack of loose objects");
		if ((code = wr_cancelled(p->cancel, err)) != WR_OK)
			return code;
		if (EVP_DigestUpdate(sha, p->body, (size_t)n) != 1)
			return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
		at += (uint64_t)n;
	}
	return EVP_DigestFinal_ex(sha, out, NULL) == 1 ? WR_OK : wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
}

/* Header and trailer; behind them may be what is left of an entry that was given up. */
static enum wr_code finish(struct packer *p, struct wr_error *err)
{
	uint8_t head[WR_PACK_HEADER] = "PACK\0\0\0\2", digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *sha;
	enum wr_code code;

	wr_put_be32(head + 8, p->out->count);
	if (pwrite(p->fd, head, sizeof head, 0) != (ssize_t)sizeof head)
		return wr_fail_errno(err, "write a pack of loose objects");
	sha = EVP_MD_CTX_new();
	code = sum(digest, p, sha, err);
	EVP_MD_CTX_free(sha);
	if (code != WR_OK)
		return code;
	p->ahead = 0;
	if ((code = put(p, digest, WR_PACK_SUM, err)) != WR_OK)
		return code;
	return ftruncate(p->fd, (off_t)(p->at + p->ahead)) == 0 ? WR_OK
								: wr_fail_errno(err, "cut a pack of loose objects");
}

/* ---- one object ---- */

/* What is known of it while it is read. */
struct object {
	int fd;
	bool headed, ended;
	uint64_t size, done;
};

static enum wr_code begin_entry(struct packer *p, const struct object *o, enum wr_type type, struct wr_error *err)
{
	uint8_t head[16];

	deflateReset(&p->zout);
	p->ahead = 0;
	return put(p, head, wr_entry_put(head, type, o->size), err);
}

/* n bytes of p->body. *good: as far as can be seen. */
static enum wr_code take_body(bool *good, struct packer *p, struct object *o, size_t n, struct wr_error *err)
{
	size_t head = 0;
	enum wr_type type;
	enum wr_code code;

	*good = false;
	if (!o->headed) {
		head = wr_loose_head(&type, &o->size, p->body, n);
		if (head == 0 || o->size > p->max_object)
			return WR_OK;
		o->headed = true;
		if ((code = begin_entry(p, o, type, err)) != WR_OK)
			return code;
	}
	if (n - head > o->size - o->done)
		return WR_OK;
	o->done += n - head;
	*good = true;
	return squeeze(p, p->body + head, n - head, false, err);
}

/*
 * Inflates what is in hand. The first piece is let grow until it fills p->body or the stream ends, so that it has all
 * of the header.
 */
static enum wr_code inflate_some(bool *good, struct packer *p, struct object *o, struct wr_error *err)
{
	enum wr_code code;
	int rc;

	*good = true;
	while (!o->ended) {
		rc = inflate(&p->zin, Z_NO_FLUSH);
		if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
			*good = false;
			return WR_OK;
		}
		o->ended = rc == Z_STREAM_END;
		if (!o->ended && p->zin.avail_out)
			return WR_OK;
		code = take_body(good, p, o, sizeof p->body - p->zin.avail_out, err);
		if (code != WR_OK || !*good)
			return code;
		p->zin.next_out = p->body;
		p->zin.avail_out = sizeof p->body;
	}
	return WR_OK;
}

/* *good: a whole stream of a header and as many bytes as it says, and nothing behind it. */
static enum wr_code pour(bool *good, struct packer *p, struct object *o, struct wr_error *err)
{
	enum wr_code code;
	ssize_t n;

	inflateReset(&p->zin);
	p->zin.next_out = p->body;
	p->zin.avail_out = sizeof p->body;
	do {
		if ((code = wr_cancelled(p->cancel, err)) != WR_OK)
			return code;
		n = read(o->fd, p->in, sizeof p->in);
		if (n < 0 && errno == EINTR)
			continue;
		*good = n >= 0 && !(n > 0 && o->ended);
		if (n <= 0 || !*good)
			break;
		p->zin.next_in = p->in;
		p->zin.avail_in = (uInt)n;
		if ((code = inflate_some(good, p, o, err)) != WR_OK)
			return code;
		*good = *good && !(o->ended && p->zin.avail_in);
	} while (*good);
	*good = *good && o->ended && o->headed && o->done == o->size;
	return *good ? squeeze(p, NULL, 0, true, err) : WR_OK;
}

static enum wr_code take_object(struct packer *p, const char *name, const struct wr_oid *oid, struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	WR_AUTO_FD int fd = -1;
	struct object o = {.fd = -1};
	bool good = false;
	uint64_t size;
	enum wr_code code = wr_below_file(&fd, &size, p->folder, name, "a loose object", &why);

	if (code != WR_OK && code != WR_E_INVALID_REQUEST && code != WR_E_NOT_THERE) {
		if (err)
			wr_error_move(err, &why);
		return code;
	}
	o.fd = fd;
	if (code == WR_OK && (code = pour(&good, p, &o, err)) != WR_OK)
		return code;
	if (!good)
		return wr_oidmap_add(&p->out->damaged, oid, 0, NULL, err);
	if (p->out->count == COUNT_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "There are more than %u loose objects; run git gc there first", COUNT_MAX);
	p->at += p->ahead;
	p->out->count++;
	return wr_oids_add(&p->out->named, oid, err);
}

/* ---- folders ---- */

static bool lower_hex(const char *name, size_t len)
{
	return strlen(name) == len && strspn(name, "0123456789abcdef") == len;
}

static enum wr_code each_object(void *arg, const char *name, struct wr_error *err)
{
	struct packer *p = arg;
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;

	/* Temporary files and the like. */
	if (!lower_hex(name, WR_OID_HEX - 2))
		return WR_OK;
	snprintf(hex, sizeof hex, "%02x%.38s", p->prefix, name);
	if (!wr_oid_parse(&oid, wr_str(hex)) || wr_snapshot_has(p->have, &oid))
		return WR_OK;
	return take_object(p, name, &oid, err);
}

static enum wr_code take_folder(struct packer *p, int objects, struct wr_error *err)
{
	WR_AUTO_FD int fd = -1;
	char name[3], label[16];
	enum wr_code code;

	snprintf(name, sizeof name, "%02x", p->prefix);
	snprintf(label, sizeof label, "objects/%s", name);
	code = wr_below_folder(&fd, objects, name, err);
	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? WR_OK : code;
	p->folder = fd;
	return wr_below_each(fd, label, each_object, p, p->cancel, err);
}

static enum wr_code take_all(struct packer *p, int objects, const struct wr_progress *progress, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	p->at = WR_PACK_HEADER;
	for (p->prefix = 0; p->prefix < FOLDERS && code == WR_OK; p->prefix++) {
		code = take_folder(p, objects, err);
		if (code == WR_OK && progress && progress->fn)
			progress->fn(progress->arg, "Reading loose objects", p->prefix + 1, FOLDERS,
				     p->prefix + 1 == FOLDERS);
	}
	return code == WR_OK && p->out->count ? finish(p, err) : code;
}

enum wr_code wr_loose_pack(struct wr_loose *out, int objects, int to, const char *name, const struct wr_snapshot *have,
			   uint64_t max_object, const struct wr_progress *progress, const struct wr_cancel *cancel,
			   struct wr_error *err)
{
	WR_AUTO_MEM struct packer *p = calloc(1, sizeof *p);
	char file[WR_PACK_NAME + 8];
	WR_AUTO_FD int fd = -1;
	enum wr_code code;

	*out = (struct wr_loose){.count = 0};
	if (!p)
		return wr_fail_nomem(err);
	snprintf(file, sizeof file, "%s.pack", name);
	fd = openat(to, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return wr_fail_errno(err, "create %s", file);
	p->out = out;
	p->have = have;
	p->max_object = max_object;
	p->cancel = cancel;
	p->fd = fd;
	if (inflateInit(&p->zin) != Z_OK)
		return wr_fail_nomem(err);
	if (deflateInit(&p->zout, Z_DEFAULT_COMPRESSION) == Z_OK) {
		code = take_all(p, objects, progress, err);
		deflateEnd(&p->zout);
	} else {
		code = wr_fail_nomem(err);
	}
	inflateEnd(&p->zin);
	if (code != WR_OK || out->count == 0)
		unlinkat(to, file, 0);
	return code;
}
