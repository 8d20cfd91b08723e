/* "MTME", version 1, hash 1 (SHA-1), a time for each object in the order of ids, the pack's sum, the sum of all before. */
#include "core/git/mtimes.h"

#include "core/base/file.h"
#include "core/git/summed.h"

#define HEADER 12u
#define MAGIC "MTME\0\0\0\1\0\0\0\1"
#define SUM ((size_t)WR_PACK_SUM)

static size_t length(uint32_t count)
{
	return HEADER + 4 * (size_t)count + 2 * SUM;
}

enum wr_code wr_mtimes_write(uint64_t *written, int dir, const struct wr_pack *pack, const uint32_t *times,
			     struct wr_error *err)
{
	WR_AUTO(wr_summed) *s = NULL;
	enum wr_code code = wr_summed_new(&s, dir, pack->name, ".mtimes", err);

	if (code != WR_OK)
		return code;
	wr_summed_put(s, MAGIC, HEADER);
	for (uint32_t i = 0; i < pack->count; i++)
		wr_summed_put32(s, times[i]);
	wr_summed_put(s, pack->data + pack->size - SUM, SUM);
	*written += length(pack->count);
	return wr_summed_end(s);
}

static enum wr_code sum_ok(bool *out, const uint8_t *bytes, size_t len, struct wr_error *err)
{
	unsigned char sum[EVP_MAX_MD_SIZE];

	if (EVP_Digest(bytes, len - SUM, sum, NULL, EVP_sha1(), NULL) != 1)
		return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
	*out = memcmp(sum, bytes + len - SUM, SUM) == 0;
	return WR_OK;
}

enum wr_code wr_mtimes_of_bytes(uint32_t **out, const uint8_t *bytes, size_t len, uint32_t count,
				const uint8_t pack_sum[WR_PACK_SUM], struct wr_error *err)
{
	enum wr_code code;
	uint32_t *times;
	bool ok = false;

	if (len == length(count) && (code = sum_ok(&ok, bytes, len, err)) != WR_OK)
		return code;
	if (!ok || memcmp(bytes, MAGIC, HEADER) != 0 || memcmp(bytes + len - 2 * SUM, pack_sum, SUM) != 0)
		return WR_E_NOT_THERE;
	times = calloc((size_t)count + 1, sizeof *times);
	if (!times)
		return wr_fail_nomem(err);
	for (uint32_t i = 0; i < count; i++)
		times[i] = wr_be32(bytes + HEADER + 4 * (size_t)i);
	*out = times;
	return WR_OK;
}

enum wr_code wr_mtimes_read(uint32_t **out, int dir, const struct wr_pack *pack, struct wr_error *err)
{
	WR_AUTO_MEM char *text = NULL;
	char file[WR_PACK_NAME + 10];
	size_t len = 0;
	enum wr_code code;

	snprintf(file, sizeof file, "%s.mtimes", pack->name);
	code = wr_file_read(&text, &len, dir, file, length(pack->count), err);
	if (code == WR_E_NOT_THERE || code == WR_E_TOO_LARGE)
		return wr_fail(err, WR_E_INTERNAL, "%s is missing or too long", file);
	if (code != WR_OK)
		return code;
	code = wr_mtimes_of_bytes(out, (const uint8_t *)text, len, pack->count, pack->data + pack->size - SUM, err);
	return code == WR_E_NOT_THERE ? wr_fail(err, WR_E_INTERNAL, "%s is damaged, or another pack's", file) : code;
}
