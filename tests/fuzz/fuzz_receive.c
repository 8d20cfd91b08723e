/* What stands before a push's pack, of any bytes; what is left behind it has to be the body's exact end. */
#include <assert.h>

#include "smart-http/receive_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct wr_receive_limits limits = {8, 4, 3, NULL};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO(wr_receive) *rx = NULL;
	struct wr_mem_source src;
	char buf[333];
	WR_AUTO_MEM char *tail = malloc(size + 1);
	size_t got, rest = 0;

	if (!tail)
		return 0;
	wr_mem_source_init(&src, wr_str_n(data, size));
	if (wr_receive_parse(&rx, &src.base, &limits, &err) != WR_OK) {
		assert(err.code == WR_E_INVALID_REQUEST && wr_error_text(&err)[0] && !rx);
		return 0;
	}
	assert(rx->count <= limits.max_commands && rx->shallow.len <= limits.max_depth_lines &&
	       rx->options <= limits.max_options);
	for (size_t i = 0; i < rx->count; i++) {
		const struct wr_command *c = &rx->commands[i];

		assert(c->name.len > 0 && c->name.len <= 4096 && !memchr(c->name.ptr, '\0', c->name.len));
		assert(c->name.ptr >= rx->names.ptr && c->name.ptr + c->name.len <= rx->names.ptr + rx->names.len);
		assert(!c->refused);
	}
	/* Options without commands are part of what nobody reads. */
	assert(rx->count || rx->limit[0] || rx->options == 0);
	do {
		assert(wr_source_read(&rx->reader->base, buf, sizeof(buf), &got, &err) == WR_OK);
		assert(got <= size - rest && got <= sizeof(buf));
		memcpy(tail + rest, buf, got);
		rest += got;
	} while (got);
	assert(rest == 0 || memcmp(tail, data + size - rest, rest) == 0);
	return 0;
}
