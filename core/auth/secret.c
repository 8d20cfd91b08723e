#include "core/auth/secret.h"

#include <openssl/evp.h>
#include <pthread.h>

#include "core/base/id.h"

#define PREFIX_LEN 4

static const char key_prefix[PREFIX_LEN + 1] = "wrk_";
static const char token_prefix[PREFIX_LEN + 1] = "wrt_";

void wr_secret_new(char out[WR_SECRET_LEN + 1], enum wr_secret_kind kind)
{
	memcpy(out, kind == WR_SECRET_KEY ? key_prefix : token_prefix, PREFIX_LEN);
	wr_random_text(out + PREFIX_LEN, WR_SECRET_LEN - PREFIX_LEN);
}

enum wr_secret_kind wr_secret_form(struct wr_str text)
{
	if (text.len != WR_SECRET_LEN)
		return WR_SECRET_NONE;
	for (size_t i = PREFIX_LEN; i < text.len; i++) {
		char c = text.ptr[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
			return WR_SECRET_NONE;
	}
	if (memcmp(text.ptr, key_prefix, PREFIX_LEN) == 0)
		return WR_SECRET_KEY;
	return memcmp(text.ptr, token_prefix, PREFIX_LEN) == 0 ? WR_SECRET_TOKEN : WR_SECRET_NONE;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256; /* as long as the process */

static void fetch(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

bool wr_secret_hash(unsigned char out[WR_SECRET_HASH], struct wr_str text)
{
	/* EVP_sha256() would look the algorithm up by its name again each time. */
	pthread_once(&once, fetch);
	return EVP_Digest(text.ptr, text.len, out, NULL, sha256 ? sha256 : EVP_sha256(), NULL) == 1;
}
