#include "server/http/credential.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

static void set(struct wr_credential_buf *out, enum wr_credential_kind kind, const void *secret, size_t len)
{
	if (len == 0 || len > WR_CREDENTIAL_MAX) {
		out->cred.kind = WR_CRED_UNREADABLE;
		return;
	}
	memmove(out->bytes, secret, len);
	out->cred = (struct wr_credential){kind, wr_str_n(out->bytes, len)};
}

/* Whether s is base64 as RFC 4648 section 4 has it: whole groups of four, = only at the end. */
static bool is_base64(struct wr_str s)
{
	size_t pad = wr_str_ends(s, WR_S("==")) ? 2 : wr_str_ends(s, WR_S("=")) ? 1 : 0;

	if (s.len == 0 || s.len % 4 != 0)
		return false;
	for (size_t i = 0; i < s.len - pad; i++) {
		char c = s.ptr[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
		      c == '/'))
			return false;
	}
	return true;
}

/* RFC 7617: base64 of "user:password". */
static void read_basic(struct wr_credential_buf *out, struct wr_str text)
{
	const unsigned char *colon;
	size_t n, pad = wr_str_ends(text, WR_S("==")) ? 2 : wr_str_ends(text, WR_S("=")) ? 1 : 0;
	int len;

	if (text.len > WR_CREDENTIAL_MAX / 3 * 4 || !is_base64(text))
		return;
	len = EVP_DecodeBlock(out->bytes, (const unsigned char *)text.ptr, (int)text.len);
	if (len < (int)pad)
		return;
	n = (size_t)len - pad;
	colon = memchr(out->bytes, ':', n);
	if (colon)
		set(out, WR_CRED_KEY_OR_TOKEN, colon + 1, n - (size_t)(colon + 1 - out->bytes));
}

void wr_credential_read(struct wr_credential_buf *out, struct wr_str authorization, struct wr_str token, bool git)
{
	struct wr_str scheme = {authorization.ptr, 0}, rest;

	out->cred = (struct wr_credential){WR_CRED_NONE, {NULL, 0}};
	if (!authorization.ptr) {
		if (token.ptr && !git)
			set(out, WR_CRED_TOKEN, token.ptr, token.len);
		return;
	}
	out->cred.kind = WR_CRED_UNREADABLE;
	while (scheme.len < authorization.len && authorization.ptr[scheme.len] != ' ')
		scheme.len++;
	rest = wr_str_skip(authorization, scheme.len);
	while (wr_str_starts(rest, WR_S(" ")))
		rest = wr_str_skip(rest, 1);
	while (wr_str_ends(rest, WR_S(" ")) || wr_str_ends(rest, WR_S("\t")))
		rest.len--;
	if (wr_str_caseeq(scheme, WR_S("Bearer")))
		set(out, WR_CRED_KEY_OR_TOKEN, rest.ptr, rest.len);
	else if (git && wr_str_caseeq(scheme, WR_S("Basic")))
		read_basic(out, rest);
}

void wr_credential_wipe(struct wr_credential_buf *cred)
{
	OPENSSL_cleanse(cred->bytes, sizeof cred->bytes);
	cred->cred = (struct wr_credential){WR_CRED_NONE, {NULL, 0}};
}
