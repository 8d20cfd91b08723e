/*
 * What another Git server may answer: the first byte says to what (its capabilities and refs, ls-refs, a fetch in both
 * versions), and how the bytes come. What is taken keeps its promises: names that are refs' names, once and in order, a
 * pack no longer than the answer, sentences that can be shown.
 */
#include <assert.h>

#include "core/git/parse.h"
#include "sync/advert.h"
#include "sync/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct drip {
	struct wr_source base;
	struct wr_str rest;
	size_t step;
};

static enum wr_code drip_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct drip *d = (struct drip *)base;
	size_t n = d->rest.len < d->step ? d->rest.len : d->step;

	(void)err;
	if (n > cap)
		n = cap;
	if (n)
		memcpy(buf, d->rest.ptr, n);
	d->rest = wr_str_skip(d->rest, n);
	*got = n;
	return WR_OK;
}

static void check_failure(enum wr_code code, const struct wr_error *err)
{
	assert(code == WR_E_INVALID_REQUEST || code == WR_E_TOO_LARGE || code == WR_E_SOURCE_NOT_FOUND ||
	       code == WR_E_INVALID_REVISION);
	assert(err->code == code && err->text[0]);
	for (const char *p = err->text; *p; p++)
		assert(*p >= ' ' && *p <= '~');
}

static void check_refs(const struct wr_advert *a, size_t size)
{
	size_t total = 0;

	for (size_t i = 0; i < a->count; i++) {
		struct wr_str name = a->refs[i].name;

		assert(wr_refname_ok(name) && !wr_oid_zero(&a->refs[i].oid));
		assert(wr_str_starts(name, WR_S("refs/heads/")) || wr_str_starts(name, WR_S("refs/tags/")));
		total += name.len;
		if (i) {
			struct wr_str before = a->refs[i - 1].name;
			int c = memcmp(before.ptr, name.ptr, before.len < name.len ? before.len : name.len);

			assert(c < 0 || (c == 0 && before.len < name.len));
		}
	}
	assert(total <= size && a->roots.len <= size / 40);
	assert(a->head.len == 0 || wr_refname_ok(wr_buf_str(&a->head)));
}

static void read_advert(struct drip *drip, bool refs)
{
	WR_AUTO_S(wr_advert) a = {0};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO(wr_pkt_reader) *r = NULL;
	size_t size = drip->rest.len;
	enum wr_code code;

	wr_advert_init(&a);
	assert(wr_pkt_reader_new(&r, &drip->base, NULL) == WR_OK);
	code = refs ? wr_advert_read_refs(&a, r, &err) : wr_advert_read(&a, r, &err);
	if (code == WR_OK)
		check_refs(&a, size);
	else
		check_failure(code, &err);
}

static void read_answer(struct drip *drip, unsigned version, bool deepened)
{
	WR_AUTO_S(wr_answer) a = {.reader = NULL};
	WR_AUTO_S(wr_oids) shallow = {0};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	size_t size = drip->rest.len, total = 0, got = 1;
	char buf[97];
	enum wr_code code;

	assert(wr_answer_init(&a, &drip->base, NULL) == WR_OK);
	code = wr_answer_begin(&a, &shallow, version, deepened, &err);
	while (code == WR_OK && got) {
		code = wr_source_read(&a.base, buf, sizeof buf, &got, &err);
		total += code == WR_OK ? got : 0;
	}
	assert(total <= size && shallow.len <= size / 40);
	if (code != WR_OK)
		check_failure(code, &err);
	else
		assert(wr_source_read(&a.base, buf, sizeof buf, &got, NULL) == WR_OK && got == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drip drip = {{drip_read}, WR_S(""), 1};

	if (size == 0)
		return 0;
	drip.rest = wr_str_n(data + 1, size - 1);
	drip.step = (size_t)(data[0] >> 3) * (data[0] >> 3) + 1;
	switch (data[0] & 7) {
	case 0:
	case 1:
		read_advert(&drip, false);
		break;
	case 2:
	case 3:
		read_advert(&drip, true);
		break;
	default:
		read_answer(&drip, data[0] & 1 ? 2 : 0, (data[0] & 2) != 0);
	}
	return 0;
}
