/* Request targets, and the Authorization header that comes with them: whatever the bytes, bounded and consistent. */
#include <assert.h>

#include "server/http/credential.h"
#include "server/http/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WR_AUTO_S(wr_url) url = {.memory = NULL};
	struct wr_credential_buf cred;
	struct wr_str text = wr_str_n(data, size);

	if (wr_url_parse(&url, text, NULL) == WR_OK) {
		size_t total = 0;

		assert(url.n_segments > 0 && url.path.len <= size && url.path.ptr[0] == '/');
		for (size_t i = 0; i < url.n_segments; i++) {
			assert(url.segments[i].len == 0 || !memchr(url.segments[i].ptr, 0, url.segments[i].len));
			total += url.segments[i].len + 1;
		}
		assert(total <= url.path.len);
		for (size_t i = 0; i < url.n_pairs; i++) {
			assert(!url.pairs[i].name.len || !memchr(url.pairs[i].name.ptr, 0, url.pairs[i].name.len));
			assert(!url.pairs[i].value.len || !memchr(url.pairs[i].value.ptr, 0, url.pairs[i].value.len));
			total += url.pairs[i].name.len + url.pairs[i].value.len;
		}
		assert(total <= size);
	}
	for (int git = 0; git < 2; git++) {
		wr_credential_read(&cred, text, wr_str_n(NULL, 0), git);
		assert(cred.cred.kind == WR_CRED_KEY_OR_TOKEN || cred.cred.kind == WR_CRED_UNREADABLE ||
		       (cred.cred.kind == WR_CRED_NONE && !data));
		assert(cred.cred.kind != WR_CRED_KEY_OR_TOKEN ||
		       (cred.cred.secret.len > 0 && cred.cred.secret.len <= size));
		wr_credential_wipe(&cred);
	}
	return 0;
}
