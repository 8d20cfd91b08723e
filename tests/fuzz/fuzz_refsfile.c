/*
 * Ref files. The first byte says how: 0, the rest is the file; 1 or 3, the same, but with header and checksum put right, so
 * that what it claims is tried; as version 1 or 2.
 */
#include <assert.h>
#include <xxhash.h>

#include "core/base/cleanup.h"
#include "core/git/le.h"
#include "core/git/parse.h"
#include "core/git/refsfile_internal.h"

#define NUMBER 7

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_right(uint8_t *bytes, size_t size, const char *magic)
{
	if (size < 72)
		return;
	memcpy(bytes, magic, 8);
	wr_put_le64(bytes + 8, NUMBER);
	wr_put_le64(bytes + 56, 0);
	wr_put_le64(bytes + size - 8, XXH3_64bits(bytes, size - 8));
}

static void look_at_refs(const struct wr_refsfile *f)
{
	struct wr_ref ref;
	bool exact;

	for (size_t i = 0; i < wr_refsfile_count(f); i++) {
		wr_refsfile_ref_at(&ref, f, i);
		assert(wr_refname_ok(ref.name) && !wr_oid_zero(&ref.oid));
		assert(wr_refsfile_lower(f, ref.name, &exact) == i && exact);
	}
}

static void look_at_packs(const struct wr_refsfile *f)
{
	struct wr_refsfile_pack pack;

	for (size_t i = 0; i < wr_refsfile_pack_count(f); i++) {
		if (wr_refsfile_pack(&pack, f, i, NULL) != WR_OK)
			abort();
		assert(strlen(pack.name) == 45 && pack.role <= WR_ROLE_CRUFT);
		assert((pack.role == WR_ROLE_CRUFT) == (pack.since != 0));
		for (uint32_t k = 0; pack.dead && k < pack.dead->count; k++)
			assert(wr_dead_has(pack.dead, pack.dead->v[k]));
		wr_dead_unref(pack.dead);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO(wr_refsfile) *f = NULL;
	WR_AUTO_MEM uint8_t *bytes = NULL;
	WR_AUTO_S(wr_oids) shallow = {NULL, 0, 0};

	if (size == 0)
		return 0;
	bytes = malloc(size);
	memcpy(bytes, data + 1, size - 1);
	if (data[0] % 2 == 1)
		put_right(bytes, size - 1, data[0] % 4 == 1 ? "WRNREFS1" : "WRNREFS2");
	if (wr_refsfile_of_bytes(&f, wr_str_n(bytes, size - 1), NUMBER, NULL) != WR_OK)
		return 0;
	look_at_refs(f);
	look_at_packs(f);
	if (wr_refsfile_shallow(&shallow, f, NULL) != WR_OK)
		abort();
	assert(shallow.len <= size / WR_OID_RAW);
	return 0;
}
