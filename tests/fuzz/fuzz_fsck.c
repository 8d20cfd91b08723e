/*
 * Git's rules for objects. The first byte says what the rest is: a commit, a tag, a tree, a .gitmodules, a
 * .gitattributes, a URL or a name. Trees are looked at twice: whole, and compared with one that has a part of their
 * entries, which must come to the same.
 */
#include <assert.h>

#include "core/git/filename.h"
#include "core/git/modules.h"
#include "core/git/parse.h"
#include "core/git/refs_check.h"
#include "core/git/snapshot_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct wr_snapshot *store; /* empty */
static struct wr_fsck_rules strict, lenient;

static void start(void)
{
	if (wr_fsck_rules_parse(&strict, NULL, NULL) != WR_OK || wr_snapshot_new(&store, 1 << 20, NULL) != WR_OK)
		abort();
	lenient = wr_fsck_rules_taken(&strict);
}

static void check_fault(const struct wr_fault *fault, const struct wr_fsck_rules *rules)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	const struct wr_oid oid = {{0}};

	assert(fault->id <= WR_FSCK_COUNT);
	if (fault->id == WR_FSCK_SOUND)
		return;
	assert(!wr_fsck_passes(rules, fault->id));
	assert(wr_fsck_fail(&oid, fault, &err) == WR_E_BAD_PACK && !strchr(err.text, '\n'));
	assert(strstr(err.text, wr_fsck_spelling(fault->id)));
}

static void fuzz_header(struct wr_str text, bool tag)
{
	struct wr_fault fault, again;

	if (tag) {
		wr_fsck_tag(&fault, text, &strict);
		wr_fsck_tag(&again, text, &lenient);
	} else {
		wr_fsck_commit(&fault, text, &strict);
		wr_fsck_commit(&again, text, &lenient);
	}
	check_fault(&fault, &strict);
	assert(again.id == WR_FSCK_SOUND);
}

/* The first byte: how many entries the other tree has less, and where they are missing. */
static void fuzz_tree(struct wr_str text)
{
	WR_AUTO_S(wr_refs_check) whole = {.snap = store, .limit = SIZE_MAX, .rules = &strict};
	WR_AUTO_S(wr_refs_check) first = {.snap = store, .limit = SIZE_MAX, .rules = &strict};
	WR_AUTO_S(wr_refs_check) second = {.snap = store, .limit = SIZE_MAX, .rules = &strict, .before = &first};
	WR_AUTO_MEM char *old = malloc(text.len + 1);
	WR_AUTO_S(wr_error) said = WR_ERROR_INIT;
	WR_AUTO_S(wr_error) again = WR_ERROR_INIT;
	const struct wr_oid oid = {{0}};
	struct wr_str rest;
	struct wr_refs_like like = {.bytes = {old, 0}};
	struct wr_tree_entry e;
	bool plainly, sound;
	enum wr_code code;
	unsigned mask, i = 0;

	if (text.len == 0 || !old)
		return;
	mask = (uint8_t)text.ptr[0];
	rest = text = wr_str_skip(text, 1);
	for (const char *from = rest.ptr; wr_tree_next(&e, &rest, NULL) == WR_OK; from = rest.ptr, i++) {
		if (mask >> (i % 8) & 1)
			continue;
		memcpy(old + like.bytes.len, from, (size_t)(rest.ptr - from));
		like.bytes.len += (size_t)(rest.ptr - from);
	}
	code = wr_refs_check_object_like(&plainly, &whole, &oid, WR_TREE, text, NULL, &said);
	if (wr_refs_check_object_like(&like.sound, &first, &oid, WR_TREE, like.bytes, NULL, NULL) != WR_OK)
		return;
	assert(wr_refs_check_object_like(&sound, &second, &oid, WR_TREE, text, &like, &again) == code);
	/* Which of two faults is told first differs only where one is an id that is a blob here and a tree there. */
	assert(code != WR_OK || sound == plainly);
	assert(strstr(again.text, " is a ") || strcmp(said.text, again.text) == 0);
	for (size_t k = 0; k < whole.special.cap && code == WR_OK; k++)
		if (whole.special.values[k])
			assert(wr_oidmap_has(&first.special, &whole.special.keys[k]) ||
			       wr_oidmap_has(&second.special, &whole.special.keys[k]));
}

static void fuzz_blob(struct wr_str text, unsigned what)
{
	struct wr_fault fault;

	if (wr_fsck_blob(&fault, what, text.len, text, &strict, NULL) == WR_OK)
		check_fault(&fault, &strict);
}

static void fuzz_name(struct wr_str name)
{
	if (!wr_filename_odd(name))
		assert(!wr_filename_bad(name) && !wr_filename_modules(name) && !wr_filename_attributes(name));
	(void)wr_module_name_ok(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO_MEM char *copy = NULL;
	struct wr_str text;

	if (!store)
		start();
	if (size == 0)
		return 0;
	/* Of just this size, and without the byte in front. */
	copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data + 1, size - 1);
	text = wr_str_n(copy, size - 1);
	switch (data[0] % 7) {
	case 0:
	case 1:
		fuzz_header(text, data[0] % 7 == 1);
		break;
	case 2:
		fuzz_tree(text);
		break;
	case 3:
		fuzz_blob(text, WR_FSCK_MODULES);
		break;
	case 4:
		fuzz_blob(text, WR_FSCK_ATTRIBUTES | WR_FSCK_MODULES);
		break;
	case 5:
		if (wr_module_url_ok(text))
			assert(text.len == 0 || text.ptr[0] != '-');
		break;
	default:
		fuzz_name(text);
	}
	return 0;
}
