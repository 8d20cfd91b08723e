/* The commands of a push, of any bytes; what is left behind them has to be the body's exact rest. */
#include <assert.h>

#include "smart-http/receive_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct wr_receive_limits limits = {8};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO(wr_receive) *rx = NULL;
	struct wr_mem_source src;
	char buf[333];
	size_t got, rest = 0;

	wr_mem_source_init(&src, wr_str_n(data, size));
	if (wr_receive_parse(&rx, &src.base, &limits, &err) != WR_OK) {
		assert(err.code == WR_E_INVALID_REQUEST && wr_error_text(&err)[0] && !rx);
		return 0;
	}
	assert(rx->count <= 8);
	for (size_t i = 0; i < rx->count; i++) {
		const struct wr_command *c = &rx->commands[i];

		assert(c->name.len > 0 && c->name.len <= 4096 && !memchr(c->name.ptr, '\0', c->name.len));
		assert(c->name.ptr >= rx->names.ptr && c->name.ptr + c->name.len <= rx->names.ptr + rx->names.len);
	}
	do {
		assert(wr_source_read(&rx->reader->base, buf, sizeof(buf), &got, &err) == WR_OK);
		assert(got == 0 || got <= size);
		rest += got;
	} while (got);
	assert(rest <= size);
	return 0;
}
