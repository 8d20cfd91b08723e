/*
 * What the folder of a repository that is taken in says: packed-refs, a ref's file, config, the header of a loose
 * object. The first byte says which: 0 packed-refs; 1 packed-refs, its length in two bytes, and files of refs behind
 * it, each with a byte of its length; 2 config; 3 a header.
 */
#include <assert.h>

#include "core/git/adopt_internal.h"
#include "core/git/loose.h"
#include "core/git/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct wr_str take(struct wr_str *in, size_t n)
{
	struct wr_str front = wr_str_n(in->ptr, n < in->len ? n : in->len);

	*in = wr_str_skip(*in, front.len);
	return front;
}

/* A copy of just this size, so that a sanitizer sees a read behind it. */
static enum wr_code packed(struct wr_adopt_refs *refs, struct wr_str text)
{
	WR_AUTO_MEM char *copy = malloc(text.len + !text.len);

	memcpy(copy, text.ptr, text.len);
	return wr_adopt_packed_refs(refs, wr_str_n(copy, text.len), NULL);
}

/* "<name> <content>" */
static enum wr_code loose(struct wr_adopt_refs *refs, struct wr_str text)
{
	WR_AUTO_MEM char *copy = malloc(text.len + !text.len);
	const char *space;
	struct wr_str content;
	size_t n;

	memcpy(copy, text.ptr, text.len);
	space = memchr(copy, ' ', text.len);
	n = space ? (size_t)(space - copy) : text.len;
	content = wr_str_skip(wr_str_n(copy, text.len), n + (space != NULL));
	return wr_adopt_loose_ref(refs, wr_str_n(copy, n), content, NULL);
}

static void look_at_refs(struct wr_adopt_refs *refs)
{
	if (wr_adopt_settle_refs(refs, NULL) != WR_OK)
		return;
	for (size_t i = 0; i < refs->count; i++) {
		struct wr_str name = wr_adopt_ref_name(refs, i), last;
		size_t n;

		assert(wr_refname_ok(name) && !wr_str_starts(name, WR_S("refs/warren/")) &&
		       !wr_oid_zero(&refs->v[i].oid));
		if (i == 0)
			continue;
		last = wr_adopt_ref_name(refs, i - 1);
		n = last.len < name.len ? last.len : name.len;
		assert(memcmp(last.ptr, name.ptr, n) < 0 ||
		       (memcmp(last.ptr, name.ptr, n) == 0 && last.len < name.len));
		assert(!wr_str_starts(name, last) || name.ptr[last.len] != '/');
	}
}

static void try_refs(struct wr_str in, bool files)
{
	struct wr_adopt_refs refs;
	struct wr_str head = files ? take(&in, 2) : wr_str_n("", 0);
	size_t len = in.len;
	enum wr_code code;

	if (head.len == 2)
		len = (size_t)(uint8_t)head.ptr[0] << 8 | (uint8_t)head.ptr[1];
	wr_adopt_refs_init(&refs);
	code = packed(&refs, take(&in, len));
	while (code == WR_OK && in.len) {
		struct wr_str n = take(&in, 1);

		code = loose(&refs, take(&in, (uint8_t)n.ptr[0]));
	}
	if (code == WR_OK)
		look_at_refs(&refs);
	assert(code == WR_OK || code == WR_E_INVALID_REQUEST);
	wr_adopt_refs_fini(&refs);
}

static void try_header(struct wr_str in)
{
	WR_AUTO_MEM uint8_t *copy = malloc(in.len + !in.len);
	enum wr_type type = 0;
	uint64_t size = 0;
	size_t n;

	memcpy(copy, in.ptr, in.len);
	n = wr_loose_head(&type, &size, copy, in.len);
	assert(n <= in.len && n <= WR_LOOSE_HEAD_MAX + 1);
	if (n)
		assert(copy[n - 1] == '\0' && type >= WR_COMMIT && type <= WR_TAG && size <= INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wr_str in;
	enum wr_code code;

	if (size == 0)
		return 0;
	in = wr_str_n(data + 1, size - 1);
	switch (data[0] % 4) {
	case 0:
	case 1:
		try_refs(in, data[0] % 4 == 1);
		break;
	case 2:
		code = wr_adopt_config(in, NULL);
		assert(code == WR_OK || code == WR_E_INVALID_REQUEST);
		break;
	default:
		try_header(in);
	}
	return 0;
}
