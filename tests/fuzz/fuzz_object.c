/* The parsers of objects, names and deltas: the first byte says which, the rest is the text. */
#include <assert.h>

#include "core/git/delta.h"
#include "core/git/filename.h"
#include "core/git/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_tree(struct wr_str rest)
{
	struct wr_tree_entry e;
	size_t before = rest.len + 1;
	enum wr_code code;

	while ((code = wr_tree_next(&e, &rest, NULL)) == WR_OK) {
		assert(rest.len < before && e.name.len > 0 && !memchr(e.name.ptr, '\0', e.name.len));
		before = rest.len;
	}
	assert(code == WR_E_BAD_PACK || (code == WR_E_NOT_THERE && rest.len == 0));
}

static void fuzz_refname(struct wr_str name)
{
	if (wr_refname_ok(name)) {
		assert(name.len <= WR_REFNAME_MAX && name.ptr[name.len - 1] != '/');
		assert(!memchr(name.ptr, '\0', name.len) && !memchr(name.ptr, '\n', name.len) &&
		       !memchr(name.ptr, ' ', name.len));
	}
	if (wr_branchname_ok(name))
		assert(name.len > 0 && name.ptr[0] != '-');
	if (!wr_filename_odd(name))
		assert(!wr_filename_bad(name) && !wr_filename_modules(name) && !wr_filename_attributes(name));
	if (!wr_filename_bad(name))
		assert(!wr_str_caseeq(name, WR_S(".git")) && !wr_str_caseeq(name, WR_S("git~1")));
	if (!wr_filename_modules(name))
		assert(!wr_str_caseeq(name, WR_S(".gitmodules")));
}

/* Two bytes for the base's length, the base, the delta. */
static void fuzz_delta(struct wr_str in)
{
	WR_AUTO_MEM uint8_t *base = NULL;
	WR_AUTO_MEM uint8_t *out = NULL;
	uint64_t base_size, result;
	struct wr_str body;
	size_t n;

	if (in.len < 2)
		return;
	n = (size_t)(uint8_t)in.ptr[0] << 8 | (uint8_t)in.ptr[1];
	in = wr_str_skip(in, 2);
	n = n < in.len ? n : in.len;
	base = malloc(n + 1);
	memcpy(base, in.ptr, n);
	if (!wr_delta_sizes(&base_size, &result, &body, wr_str_skip(in, n)) || base_size != n ||
	    !wr_delta_ok(body, base_size, result) || result > 1 << 20)
		return;
	out = malloc((size_t)result + 1);
	wr_delta_apply(out, base, body);
}

static void fuzz_zip(struct wr_str in)
{
	WR_AUTO_S(wr_unzip) unzip = {.ready = false};
	WR_AUTO_MEM uint8_t *out = NULL;
	uint64_t base_size, size, base_found, found;
	size_t n, used, claimed;
	struct wr_str body;
	uint8_t front[20];

	if (in.len < 2)
		return;
	claimed = (size_t)(uint8_t)in.ptr[0] << 8 | (uint8_t)in.ptr[1];
	in = wr_str_skip(in, 2);
	if (wr_unzip_front(front, &n, &unzip, in, sizeof(front)) == WR_ZIP_OK) {
		assert(n <= sizeof(front));
		if (wr_delta_sizes(&base_size, &size, &body, wr_str_n(front, n)))
			assert(wr_delta_front(&base_found, &found, in) == WR_ZIP_OK && base_found == base_size &&
			       found == size);
	} else if (wr_delta_front(&base_found, &found, in) == WR_ZIP_OK) {
		assert(in.len > 2);
	}
	if (wr_unzip_all(&out, &used, &unzip, in, claimed) == WR_ZIP_OK)
		assert(used <= in.len && out[claimed] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO_S(wr_commit) c = {.parents = NULL};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_str text;
	struct wr_oid oid;
	enum wr_type type;

	if (size == 0)
		return 0;
	text = wr_str_n(data + 1, size - 1);
	switch (data[0] % 6) {
	case 0:
		if (wr_commit_parse(&c, text, &err) == WR_OK)
			assert(c.parent_count <= size / 48 && c.date >= 0);
		break;
	case 1:
		if (wr_tag_parse(&oid, &type, text, &err) == WR_OK)
			assert(type >= WR_COMMIT && type <= WR_TAG);
		break;
	case 2:
		fuzz_tree(text);
		break;
	case 3:
		fuzz_refname(text);
		break;
	case 4:
		fuzz_delta(text);
		break;
	default:
		fuzz_zip(text);
	}
	return 0;
}
