/*
 * The small files of a repository's folder. The first byte says which: 0 warren/current; 1 the times of a cruft pack, with
 * the count of its objects in the second byte; 2 the same, with the sum put right, so that what it claims is tried.
 */
#include <assert.h>
#include <openssl/evp.h>

#include "core/base/cleanup.h"
#include "core/git/current.h"
#include "core/git/mtimes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_current(const uint8_t *data, size_t size)
{
	struct wr_current current = {.journal = 0};
	enum wr_code code = wr_current_parse(&current, wr_str_n(data, size), NULL);

	assert(code == WR_OK || code == WR_E_INTERNAL);
	assert(code != WR_OK || (current.journal <= INT64_MAX && current.checkpoint <= INT64_MAX));
}

static void try_times(uint8_t *data, size_t size, uint32_t count, bool put_right)
{
	static const uint8_t pack_sum[WR_PACK_SUM];
	WR_AUTO_MEM uint32_t *times = NULL;
	enum wr_code code;

	if (put_right && size >= 2 * WR_PACK_SUM) {
		memset(data + size - 2 * WR_PACK_SUM, 0, WR_PACK_SUM);
		if (EVP_Digest(data, size - WR_PACK_SUM, data + size - WR_PACK_SUM, NULL, EVP_sha1(), NULL) != 1)
			abort();
	}
	code = wr_mtimes_of_bytes(&times, data, size, count, pack_sum, NULL);
	assert(code == WR_E_NOT_THERE || (code == WR_OK && size == 12 + 4 * (size_t)count + 2 * WR_PACK_SUM));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of just this size, so that a sanitizer sees a read behind it. */
	WR_AUTO_MEM uint8_t *copy = NULL;

	if (size < 2)
		return 0;
	copy = malloc(size - 2 + (size == 2));
	if (!copy)
		abort();
	memcpy(copy, data + 2, size - 2);
	if (data[0] % 3 == 0)
		try_current(copy, size - 2);
	else
		try_times(copy, size - 2, data[1], data[0] % 3 == 2);
	return 0;
}
