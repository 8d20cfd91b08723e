#include "core/git/blob_in.h"

#include <openssl/evp.h>

#include "core/git/pack.h"

/* The longest header of a pack's entry (gitformat-pack): it is known at the end only, and stands before the bytes. */
#define HEAD_ROOM 16
#define STEP ((size_t)64 << 10)
/* What is large is seldom text. */
#define LEVEL 3

void wr_blob_in_fini(struct wr_blob_in *b)
{
	wr_buf_fini(&b->held);
	if (b->large)
		deflateEnd(&b->zip);
	*b = (struct wr_blob_in){.large = false};
}

void wr_blob_in_begin(struct wr_blob_in *b)
{
	if (b->large)
		deflateEnd(&b->zip);
	b->large = false;
	b->size = 0;
	b->held.max = WR_BLOB_IN_HELD;
	wr_buf_clear(&b->held);
}

static enum wr_code pack(struct wr_blob_in *b, const struct wr_blob_in_to *to, struct wr_str bytes, int flush,
			 struct wr_error *err)
{
	uint8_t out[16384];
	int rc;

	do {
		size_t step = bytes.len < STEP ? bytes.len : STEP;
		enum wr_code code;

		b->zip.next_in = (Bytef *)(uintptr_t)bytes.ptr;
		b->zip.avail_in = (uInt)step;
		b->zip.next_out = out;
		b->zip.avail_out = sizeof out;
		rc = deflate(&b->zip, flush);
		if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
			return wr_fail(err, WR_E_INTERNAL, "deflate: %d", rc);
		bytes = wr_str_skip(bytes, step - b->zip.avail_in);
		code = wr_spool_add(to->spool, to->folder, wr_str_n(out, sizeof out - b->zip.avail_out), err);
		if (code != WR_OK)
			return code;
	} while (bytes.len || (flush == Z_FINISH ? rc != Z_STREAM_END : b->zip.avail_out == 0));
	return WR_OK;
}

static enum wr_code become_large(struct wr_blob_in *b, const struct wr_blob_in_to *to, struct wr_error *err)
{
	static const char room[HEAD_ROOM];
	enum wr_code code;

	b->zip = (z_stream){.zalloc = NULL};
	if (deflateInit(&b->zip, LEVEL) != Z_OK)
		return wr_fail_nomem(err);
	b->large = true;
	b->at = wr_spool_len(to->spool);
	code = wr_spool_add(to->spool, to->folder, wr_str_n(room, sizeof room), err);
	if (code == WR_OK)
		code = pack(b, to, wr_buf_str(&b->held), Z_NO_FLUSH, err);
	wr_buf_clear(&b->held);
	return code;
}

enum wr_code wr_blob_in_put(struct wr_blob_in *b, const struct wr_blob_in_to *to, struct wr_str bytes,
			    struct wr_error *err)
{
	enum wr_code code = WR_OK;

	if (bytes.len > to->max || b->size > to->max - bytes.len)
		return wr_fail(err, WR_E_TOO_LARGE, "A file has more than %llu bytes", (unsigned long long)to->max);
	b->size += bytes.len;
	if (!b->large && b->size > WR_BLOB_IN_HELD)
		code = become_large(b, to, err);
	if (b->large)
		return code == WR_OK ? pack(b, to, bytes, Z_NO_FLUSH, err) : code;
	wr_buf_adds(&b->held, bytes);
	return wr_buf_ok(&b->held) ? WR_OK : wr_fail_nomem(err);
}

/* ---- the id ---- */

struct naming {
	EVP_MD_CTX *sha;
	z_stream zip;
	uint64_t left;
};

static enum wr_code name_step(struct naming *n, struct wr_str packed, struct wr_error *err)
{
	uint8_t out[16384];

	n->zip.next_in = (Bytef *)(uintptr_t)packed.ptr;
	n->zip.avail_in = (uInt)packed.len;
	do {
		size_t got;
		int rc;

		n->zip.next_out = out;
		n->zip.avail_out = sizeof out;
		rc = inflate(&n->zip, Z_NO_FLUSH);
		got = sizeof out - n->zip.avail_out;
		if ((rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) || got > n->left ||
		    EVP_DigestUpdate(n->sha, out, got) != 1)
			return wr_fail(err, WR_E_INTERNAL, "a spooled blob does not inflate");
		n->left -= got;
	} while (n->zip.avail_out == 0);
	return WR_OK;
}

static enum wr_code name_all(struct naming *n, const struct wr_spool *spool, uint64_t at, uint64_t end,
			     struct wr_error *err)
{
	WR_AUTO_MEM uint8_t *step = malloc(STEP);
	enum wr_code code = step ? WR_OK : wr_fail_nomem(err);

	while (at < end && code == WR_OK) {
		size_t len = end - at < STEP ? (size_t)(end - at) : STEP;

		if ((code = wr_spool_get(step, spool, at, len, err)) == WR_OK)
			code = name_step(n, wr_str_n(step, len), err);
		at += len;
	}
	if (code == WR_OK && n->left)
		code = wr_fail(err, WR_E_INTERNAL, "a spooled blob is too short");
	return code;
}

/* An id begins with the size, which nobody knew before: so the bytes are read again. */
static enum wr_code name(struct wr_oid *oid, const struct wr_blob_in *b, const struct wr_spool *spool,
			 struct wr_error *err)
{
	struct naming n = {.sha = EVP_MD_CTX_new(), .left = b->size};
	unsigned char sum[EVP_MAX_MD_SIZE];
	char head[32];
	int len = snprintf(head, sizeof head, "blob %llu", (unsigned long long)b->size);
	bool zip = inflateInit(&n.zip) == Z_OK;
	enum wr_code code = WR_OK;

	if (!zip || !n.sha || EVP_DigestInit_ex(n.sha, EVP_sha1(), NULL) != 1 ||
	    EVP_DigestUpdate(n.sha, head, (size_t)len + 1) != 1)
		code = wr_fail_nomem(err);
	if (code == WR_OK)
		code = name_all(&n, spool, b->at + HEAD_ROOM, wr_spool_len(spool), err);
	if (code == WR_OK && EVP_DigestFinal_ex(n.sha, sum, NULL) != 1)
		code = wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	if (code == WR_OK)
		memcpy(oid->id, sum, WR_OID_RAW);
	EVP_MD_CTX_free(n.sha);
	if (zip)
		inflateEnd(&n.zip);
	return code;
}

enum wr_code wr_blob_in_end(struct wr_oid *oid, uint64_t *at, uint32_t *len, struct wr_blob_in *b,
			    const struct wr_blob_in_to *to, struct wr_error *err)
{
	uint8_t head[HEAD_ROOM];
	size_t n = wr_entry_put(head, WR_BLOB, b->size);
	uint64_t packed;
	enum wr_code code;

	if ((code = pack(b, to, WR_S(""), Z_FINISH, err)) != WR_OK)
		return code;
	packed = wr_spool_len(to->spool) - b->at - HEAD_ROOM;
	if (packed > UINT32_MAX / 2)
		return wr_fail(err, WR_E_TOO_LARGE, "A file has %llu bytes", (unsigned long long)b->size);
	*at = b->at + HEAD_ROOM - n;
	*len = (uint32_t)(n + packed);
	if ((code = wr_spool_set(to->spool, *at, wr_str_n(head, n), err)) != WR_OK)
		return code;
	return name(oid, b, to->spool, err);
}
