/* core/base/config: an INI file of any bytes. */
#include "core/base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO_S(wr_config) cfg;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	if (wr_config_init(&cfg, &err))
		return 0;
	if (wr_config_parse(&cfg, "fuzz", wr_str_n((const char *)data, size), &err) && !err.text[0])
		__builtin_trap(); /* a refusal always has its sentence */
	return 0;
}
