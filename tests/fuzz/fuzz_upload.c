/* A fetch request of any bytes; the first says which version. What parses keeps its limits. */
#include <assert.h>

#include "smart-http/upload_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct wr_upload_limits limits = {8, 8, 8, 8};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO(wr_upload) *up = NULL;

	if (size == 0)
		return 0;
	if (wr_upload_parse(&up, wr_str_n(data + 1, size - 1), data[0] % 3, &limits, &err) != WR_OK) {
		assert(err.code == WR_E_INVALID_REQUEST && wr_error_text(&err)[0] && !up);
		return 0;
	}
	assert(up->wants.len <= 8 && up->haves.len <= 8 && up->shallows.len <= 8);
	assert(up->prefixes.len <= 8 && up->deepen_not.len <= 8 && up->round_count <= 9);
	assert(up->kind != WR_UPLOAD_V0 || up->wants.len > 0);
	for (size_t i = 0; i < up->round_count; i++)
		assert(up->rounds[i] <= up->haves.len);
	return 0;
}
