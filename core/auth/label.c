#include "core/auth/label.h"

#include <locale.h>
#include <pthread.h>
#include <wctype.h>

#include "core/base/buf.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t unicode; /* set once, never freed: one for the process */

static void find_locale(void)
{
	unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

/* One code point from the front of well-formed UTF-8. */
static uint32_t decode(struct wr_str *rest)
{
	const unsigned char *p = (const unsigned char *)rest->ptr;
	size_t n = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (p[i] & 0x3fu);
	*rest = wr_str_skip(*rest, n);
	return c;
}

static void encode(struct wr_buf *out, uint32_t c)
{
	if (c < 0x80) {
		wr_buf_addc(out, (char)c);
		return;
	}
	if (c < 0x800) {
		wr_buf_addc(out, (char)(0xc0 | c >> 6));
	} else {
		if (c < 0x10000) {
			wr_buf_addc(out, (char)(0xe0 | c >> 12));
		} else {
			wr_buf_addc(out, (char)(0xf0 | c >> 18));
			wr_buf_addc(out, (char)(0x80 | (c >> 12 & 0x3f)));
		}
		wr_buf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
	}
	wr_buf_addc(out, (char)(0x80 | (c & 0x3f)));
}

bool wr_label_ok(struct wr_str s, size_t max_chars, size_t max_bytes)
{
	size_t chars = 0;

	if (s.len == 0 || s.len > max_bytes || !wr_str_utf8(s))
		return false;
	while (s.len > 0) {
		uint32_t c = decode(&s);

		if (c < 0x20 || (c >= 0x7f && c < 0xa0) || ++chars > max_chars)
			return false;
	}
	return true;
}

/* By way of the capital, because several small letters may share one (the two forms of a Greek sigma). */
static uint32_t fold(uint32_t c)
{
	if (!unicode)
		return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
	return (uint32_t)towlower_l(towupper_l((wint_t)c, unicode), unicode);
}

char *wr_label_fold(struct wr_str s)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(4 * s.len + 1);

	if (!wr_str_utf8(s))
		return NULL;
	pthread_once(&once, find_locale);
	wr_buf_addz(&out, "");
	while (s.len > 0)
		encode(&out, fold(decode(&s)));
	return wr_buf_take(&out);
}
