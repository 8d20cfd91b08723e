/* zlib streams and deltas: what is made is read back, by Warren and by git; what is wrong is refused. */
#include "tests/unit/pack_fixture.h"

#include <pthread.h>

#include "core/git/delta.h"
#include "core/git/delta_make.h"

/* ---- streams ---- */

static void streams(void **state)
{
	static const size_t sizes[] = {0, 1, 100, 5000, 400000, (16u << 20) + 1};
	struct fx *f = *state;

	for (size_t i = 0; i < WR_ARRAY_LEN(sizes); i++) {
		WR_AUTO_S(wr_unzip) unzip = {.ready = false};
		WR_AUTO_MEM uint8_t *text = malloc(sizes[i] + 1);
		WR_AUTO_MEM uint8_t *zip = NULL;
		WR_AUTO_MEM uint8_t *back = NULL;
		WR_AUTO_MEM uint8_t *none = NULL;
		size_t len, used, got;
		uint8_t front[20];

		for (size_t k = 0; k < sizes[i]; k++)
			text[k] = (uint8_t)(k % 251 < 200 ? 'a' : chance(f, 256));
		assert_ok(wr_deflate(&zip, &len, wr_str_n(text, sizes[i]), &f->err));
		zip = realloc(zip, len + 3);
		memset(zip + len, 'x', 3);
		assert_int_equal(wr_unzip_all(&back, &used, &unzip, wr_str_n(zip, len + 3), sizes[i]), WR_ZIP_OK);
		assert_int_equal(used, len);
		assert_memory_equal(back, text, sizes[i]);
		assert_int_equal(back[sizes[i]], 0);
		assert_int_equal(wr_unzip_all(&none, &used, &unzip, wr_str_n(zip, len), sizes[i] + 1), WR_ZIP_BAD);
		if (sizes[i])
			assert_int_equal(wr_unzip_all(&none, &used, &unzip, wr_str_n(zip, len), sizes[i] - 1),
					 WR_ZIP_BAD);
		assert_int_equal(wr_unzip_all(&none, &used, &unzip, wr_str_n(zip, len - 1), sizes[i]), WR_ZIP_BAD);
		assert_int_equal(wr_unzip_front(front, &got, &unzip, wr_str_n(zip, len), sizeof(front)), WR_ZIP_OK);
		assert_int_equal(got, sizes[i] < sizeof(front) ? sizes[i] : sizeof(front));
		assert_memory_equal(front, text, got);
		zip[len - 1] ^= 1;
		assert_int_equal(wr_unzip_all(&none, &used, &unzip, wr_str_n(zip, len), sizes[i]), WR_ZIP_BAD);
		assert_null(none);
	}
}

/* A claim that no stream of this length could keep is refused before any memory is spent. */
static void large_claims(void **state)
{
	WR_AUTO_S(wr_unzip) unzip = {.ready = false};
	WR_AUTO_MEM uint8_t *out = NULL;
	size_t used;

	(void)state;
	assert_int_equal(wr_unzip_all(&out, &used, &unzip, WR_S("x\x9c\x03\0\0\0\0\x01"), SIZE_MAX / 2), WR_ZIP_BAD);
	assert_null(out);
}

/* A window declared smaller than libdeflate or zlib use by themselves, and a stored block. */
static void foreign_streams(void **state)
{
	static const char text[] = "some text, some text, some text, some text";
	WR_AUTO_S(wr_unzip) unzip = {.ready = false};

	(void)state;
	for (int bits = 9; bits <= 15; bits++) {
		for (int level = 0; level <= 9; level += 3) {
			WR_AUTO_MEM uint8_t *back = NULL;
			uint8_t zip[256];
			z_stream z = {.next_in = (Bytef *)(uintptr_t)text, .avail_in = sizeof(text), .next_out = zip,
				      .avail_out = sizeof(zip)};
			size_t used;

			assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, bits, 1, Z_FILTERED), Z_OK);
			assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
			assert_int_equal(deflateEnd(&z), Z_OK);
			assert_int_equal(wr_unzip_all(&back, &used, &unzip, wr_str_n(zip, sizeof(zip)), sizeof(text)),
					 WR_ZIP_OK);
			assert_int_equal(used, z.total_out);
			assert_memory_equal(back, text, sizeof(text));
		}
	}
}

static void *zip_thread(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < 50; i++) {
		WR_AUTO_S(wr_unzip) unzip = {.ready = false};
		WR_AUTO_MEM uint8_t *zip = NULL;
		WR_AUTO_MEM uint8_t *back = NULL;
		uint8_t text[300];
		size_t len, used;

		memset(text, (int)i, sizeof(text));
		if (wr_deflate(&zip, &len, wr_str_n(text, sizeof(text)), NULL) != WR_OK ||
		    wr_unzip_all(&back, &used, &unzip, wr_str_n(zip, len), sizeof(text)) != WR_ZIP_OK ||
		    memcmp(back, text, sizeof(text)) != 0)
			return NULL;
	}
	return (void *)(uintptr_t)1;
}

/* Each has tools of its own, which end with it (a sanitizer would see them left behind). */
static void streams_in_threads(void **state)
{
	pthread_t threads[8];

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, zip_thread, NULL), 0);
	for (size_t i = 0; i < WR_ARRAY_LEN(threads); i++) {
		void *fine;

		assert_int_equal(pthread_join(threads[i], &fine), 0);
		assert_non_null(fine);
	}
}

/* ---- deltas as they come ---- */

static bool delta_ok(struct wr_str delta, uint64_t base_size)
{
	uint64_t claimed, size;
	struct wr_str body;

	return wr_delta_sizes(&claimed, &size, &body, delta) && claimed == base_size &&
	       wr_delta_ok(body, base_size, size);
}

static void wrong_deltas(void **state)
{
	(void)state;
	assert_true(delta_ok(WR_S("\x05\x03\x91\x01\x03"), 5));		     /* 3 from 1 */
	assert_true(delta_ok(WR_S("\x05\x03\x91\x02\x03"), 5));		     /* up to the end */
	assert_false(delta_ok(WR_S("\x05\x03\x91\x03\x03"), 5));	     /* one beyond it */
	assert_false(delta_ok(WR_S("\x05\x03\x91\x06\x03"), 5));	     /* begins beyond it */
	assert_false(delta_ok(WR_S("\x05\x04\x91\x01\x03"), 5));	     /* one short of the claim */
	assert_false(delta_ok(WR_S("\x05\x02\x91\x01\x03"), 5));	     /* one more than the claim */
	assert_false(delta_ok(WR_S("\x06\x03\x91\x01\x03"), 5));	     /* for another base */
	assert_true(delta_ok(WR_S("\x05\x05\x91\x01\x03\x02xy"), 5));	     /* with an insertion */
	assert_false(delta_ok(WR_S("\x05\x05\x91\x01\x03\x02x"), 5));	     /* which is cut off */
	assert_false(delta_ok(WR_S("\x05\x05\x91\x01\x03\x03xy"), 5));	     /* or too long */
	assert_false(delta_ok(WR_S("\x05\x03\x91\x01"), 5));		     /* a copy that is cut off */
	assert_false(delta_ok(WR_S("\x05\x03\x91\x01\x03\x00"), 5));	     /* the reserved instruction */
	assert_false(delta_ok(WR_S("\x05\x03\x9f\xff\xff\xff\xff\x03"), 5)); /* the largest offset */
	assert_false(delta_ok(WR_S("\x05\x03\xf1\x01\xff\xff\xff"), 5));     /* the largest length */
	assert_false(delta_ok(WR_S("\x05\x03\x81\x01"), 5));		     /* a length left out is 0x10000 */
	assert_false(delta_ok(WR_S("\x05\x00"), 5));			     /* shorter than git takes one to be */
	assert_false(delta_ok(WR_S("\x05\x03\x91"), 5));
	assert_false(delta_ok(WR_S("\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x01\x03\x91\x01\x03"), 5));
}

/* Every byte of a good delta, changed to every value: never outside its buffers (which a sanitizer watches). */
static void changed_deltas(void **state)
{
	static const char good[] = "\x14\x1e\x90\x0a\x04wxyz\xb1\x02\x08\x00\x04"
				   "abcd\x91\x10\x04";
	size_t len = sizeof(good) - 1;

	(void)state;
	assert_true(delta_ok(wr_str_n(good, len), 20));
	for (size_t i = 0; i < len; i++) {
		for (unsigned v = 0; v < 256; v++) {
			WR_AUTO_MEM char *delta = malloc(len);
			WR_AUTO_MEM uint8_t *base = calloc(1, 20);
			WR_AUTO_MEM uint8_t *out = NULL;
			uint64_t base_size, size;
			struct wr_str body;

			memcpy(delta, good, len);
			delta[i] = (char)v;
			if (!wr_delta_sizes(&base_size, &size, &body, wr_str_n(delta, len)) ||
			    !wr_delta_ok(body, 20, size) || size > 1 << 20)
				continue;
			out = malloc(size ? (size_t)size : 1);
			memset(out, 0xee, size ? (size_t)size : 1);
			wr_delta_apply(out, base, body);
			for (size_t k = 0; k < size; k++)
				assert_true(out[k] != 0xee || v == 0xee);
		}
	}
}

/* ---- the front of a zipped delta ---- */

/* As it is found in the inflated bytes, also where zlib has fewer of them. */
static void same_front(struct wr_str zip)
{
	WR_AUTO_S(wr_unzip) unzip = {.ready = false};
	uint64_t base_size, size, base_found, found;
	struct wr_str body;
	uint8_t front[20];
	size_t got;

	if (wr_unzip_front(front, &got, &unzip, zip, sizeof(front)) == WR_ZIP_OK &&
	    wr_delta_sizes(&base_size, &size, &body, wr_str_n(front, got))) {
		assert_int_equal(wr_delta_front(&base_found, &found, zip), WR_ZIP_OK);
		assert_true(base_found == base_size && found == size);
	} else if (wr_delta_front(&base_found, &found, zip) == WR_ZIP_OK) {
		/* zlib looked further, and found something wrong there. */
		assert_true(zip.len > 2 + 4);
	}
}

static size_t zip_as(uint8_t *out, size_t cap, struct wr_str in, int level, int strategy)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)in.ptr, .avail_in = (uInt)in.len, .next_out = out,
		      .avail_out = (uInt)cap};

	assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 15, 8, strategy), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(deflateEnd(&z), Z_OK);
	return z.total_out;
}

static void put_varint(struct wr_buf *out, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		wr_buf_addc(out, (char)(v | 0x80));
	wr_buf_addc(out, (char)v);
}

/* Two sizes, sometimes alike; then bytes of few or many kinds, few or many of them. */
static void random_delta(struct fx *f, struct wr_buf *out)
{
	uint64_t size = (uint64_t)chance(f, 1u << 30) << chance(f, 32) >> chance(f, 60);
	unsigned kinds = 1 + chance(f, 256);

	wr_buf_clear(out);
	put_varint(out, size);
	put_varint(out, chance(f, 4) ? size >> chance(f, 30) : size);
	for (unsigned n = 2 + chance(f, chance(f, 8) ? 300 : 30000); n > 0; n--)
		wr_buf_addc(out, (char)chance(f, kinds));
	assert_true(wr_buf_ok(out));
}

/* Whatever the stream is made of: stored, with the fixed code, with one of its own; whole, cut off and changed. */
static void fronts(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) delta = WR_BUF_INIT(1 << 16);
	static uint8_t zip[1 << 16];

	for (unsigned n = rounds(400); n > 0; n--) {
		uint64_t base_size, size, base_found, found;
		struct wr_str body;
		size_t len;

		random_delta(f, &delta);
		assert_true(wr_delta_sizes(&base_size, &size, &body, wr_buf_str(&delta)));
		len = zip_as(zip, sizeof(zip), wr_buf_str(&delta), (int)chance(f, 10), (int)chance(f, Z_FIXED + 1));
		assert_int_equal(wr_delta_front(&base_found, &found, wr_str_n(zip, len)), WR_ZIP_OK);
		assert_true(base_found == base_size && found == size);
		for (unsigned k = 0; k < 20; k++) {
			WR_AUTO_MEM uint8_t *part = NULL;
			size_t cut = chance(f, (unsigned)(k < 10 || len < 150 ? len : 150)) + 1;

			part = malloc(cut);
			memcpy(part, zip, cut);
			same_front(wr_str_n(part, cut));
			part[chance(f, (unsigned)cut)] ^= (uint8_t)(1u << chance(f, 8));
			same_front(wr_str_n(part, cut));
		}
	}
}

/* ---- deltas that are made ---- */

/* The delta's length. */
static size_t round_trip(struct fx *f, struct wr_str base, struct wr_str target)
{
	WR_AUTO_MEM uint8_t *delta = NULL;
	WR_AUTO_MEM uint8_t *again = NULL;
	WR_AUTO_MEM uint8_t *made = malloc(target.len + 1);
	uint64_t base_size, size;
	struct wr_str body;
	size_t len, len2;

	assert_ok(wr_delta_make(&delta, &len, base, target, SIZE_MAX, &f->err));
	assert_true(wr_delta_sizes(&base_size, &size, &body, wr_str_n(delta, len)));
	assert_int_equal(base_size, base.len);
	assert_int_equal(size, target.len);
	assert_true(wr_delta_ok(body, base_size, size));
	wr_delta_apply(made, (const uint8_t *)base.ptr, body);
	assert_memory_equal(made, target.ptr, target.len);
	/* The bound is exact. */
	assert_int_equal(wr_delta_make(&again, &len2, base, target, len, &f->err), WR_E_NOT_THERE);
	assert_ok(wr_delta_make(&again, &len2, base, target, len + 1, &f->err));
	assert_int_equal(len2, len);
	assert_memory_equal(again, delta, len);
	return len;
}

static void random_text(struct fx *f, struct wr_buf *b, size_t len)
{
	wr_buf_clear(b);
	for (size_t i = 0; i < len; i++)
		wr_buf_addc(b, (char)chance(f, 256));
	assert_true(wr_buf_ok(b));
}

static void made_small(void **state)
{
	static const char *texts[] = {"a", "ab", "abc", "the same 16 bytes", "the same 16 bytes and more",
				      "another, and then: the same 16 bytes and more",
				      "the same 16 bytes and more: the same 16 bytes and more"};
	struct fx *f = *state;
	uint8_t *none = NULL;
	size_t len;

	for (size_t i = 0; i < WR_ARRAY_LEN(texts); i++)
		for (size_t k = 0; k < WR_ARRAY_LEN(texts); k++)
			round_trip(f, wr_str(texts[i]), wr_str(texts[k]));
	assert_int_equal(wr_delta_make(&none, &len, WR_S(""), WR_S("x"), SIZE_MAX, &f->err), WR_E_NOT_THERE);
	assert_int_equal(wr_delta_make(&none, &len, WR_S("x"), WR_S(""), SIZE_MAX, &f->err), WR_E_NOT_THERE);
	assert_int_equal(wr_delta_make(&none, &len, WR_S("x"), WR_S("x"), 0, &f->err), WR_E_NOT_THERE);
	assert_null(none);
}

/* Copies around the lengths and offsets at which their encoding changes. */
static void made_at_borders(void **state)
{
	static const size_t lens[] = {0xff,    0x100,	0xffff,	  0x10000,   0x10001,
				      0x1ffff, 0x20000, 0xffffff, 0x1000000, 0x1000001};
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) base = WR_BUF_INIT(64u << 20);

	random_text(f, &base, 0x1000000 + 0x30000);
	for (size_t i = 0; i < WR_ARRAY_LEN(lens); i++) {
		size_t n = round_trip(f, wr_buf_str(&base), wr_str_n(base.ptr, lens[i]));

		assert_true(n <= 4 + 4 + 2 * 8);
		n = round_trip(f, wr_buf_str(&base), wr_str_n(base.ptr + base.len - lens[i], lens[i]));
		assert_true(n <= 4 + 4 + 2 * 8);
		n = round_trip(f, wr_buf_str(&base),
			       wr_str_n(base.ptr + 0x10000, lens[i] < 0x20000 ? lens[i] : 0x20000));
		assert_true(n <= 4 + 4 + 2 * 8 + 15);
	}
}

/* A tree of 10,000 entries in which one changed: some twenty bytes and what stands around them. */
static void made_of_trees(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) base = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_buf) target = WR_BUF_INIT(1 << 20);
	size_t entry = 0;

	for (unsigned i = 0; i < 10000; i++) {
		wr_buf_printf(&base, "100644 file%05u", i);
		wr_buf_addc(&base, '\0');
		if (i == 5000)
			entry = base.len;
		for (unsigned k = 0; k < WR_OID_RAW; k++)
			wr_buf_addc(&base, (char)chance(f, 256));
	}
	wr_buf_adds(&target, wr_buf_str(&base));
	for (unsigned k = 0; k < WR_OID_RAW; k++)
		target.ptr[entry + k] ^= 0x55;
	assert_true(round_trip(f, wr_buf_str(&base), wr_buf_str(&target)) <= 3 + 3 + 8 + 21 + 8);
	/* One entry moved to the end, one removed, one added in front. */
	wr_buf_clear(&target);
	wr_buf_addz(&target, "100644 a");
	wr_buf_add(&target, base.ptr + entry - 1, 21);
	wr_buf_add(&target, base.ptr, 1000 * 37);
	wr_buf_add(&target, base.ptr + 1001 * 37, base.len - 1001 * 37);
	wr_buf_add(&target, base.ptr + 1000 * 37, 37);
	assert_true(wr_buf_ok(&target));
	assert_true(round_trip(f, wr_buf_str(&base), wr_buf_str(&target)) < 200);
}

static void made_at_random(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) base = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_buf) target = WR_BUF_INIT(4 << 20);

	for (unsigned n = rounds(300); n > 0; n--) {
		random_text(f, &base, 1 + chance(f, 6000));
		/* Now and then one of few different bytes, in which blocks repeat. */
		if (chance(f, 4) == 0)
			for (size_t i = 0; i < base.len; i++)
				base.ptr[i] = (char)(chance(f, 40) == 0);
		wr_buf_clear(&target);
		while (target.len == 0 || chance(f, 8)) {
			size_t at = chance(f, (unsigned)base.len), len = 1 + chance(f, (unsigned)(base.len - at));

			if (chance(f, 3))
				wr_buf_add(&target, base.ptr + at, len);
			else
				for (unsigned k = 1 + chance(f, 300); k > 0; k--)
					wr_buf_addc(&target, (char)chance(f, 256));
		}
		assert_true(wr_buf_ok(&target));
		round_trip(f, wr_buf_str(&base), wr_buf_str(&target));
	}
}

/* Texts of which every part resembles every other. */
static void made_of_repetitions(void **state)
{
	struct fx *f = *state;
	WR_AUTO_S(wr_buf) base = WR_BUF_INIT(8 << 20);
	WR_AUTO_S(wr_buf) target = WR_BUF_INIT(8 << 20);

	for (size_t i = 0; i < 1 << 20; i++) {
		wr_buf_addc(&base, i % 4099 == 0 ? 'b' : 'a');
		wr_buf_addc(&target, i % 5003 == 0 ? 'c' : 'a');
	}
	assert_true(wr_buf_ok(&base) && wr_buf_ok(&target));
	assert_true(round_trip(f, wr_buf_str(&base), wr_buf_str(&target)) < 20000);
}

/* git reads them as we do. */
static void made_for_git(void **state)
{
	struct fx *f = *state;
	struct wr_str texts[6];
	WR_AUTO_S(wr_buf) base = WR_BUF_INIT(64u << 20);
	WR_AUTO_S(wr_buf) names = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_buf) listed = WR_BUF_INIT(4096);
	struct pb pack;
	struct wr_oid oid;

	random_text(f, &base, 0x1000000 + 100);
	texts[0] = wr_str_n(base.ptr, 0x10000);
	texts[1] = wr_str_n(base.ptr + 7, 0x10000);
	texts[2] = wr_str_n(base.ptr + 0x234567, 1000);
	texts[3] = wr_str_n(base.ptr + 50, 0x1000000);
	texts[4] = wr_str_n(base.ptr, base.len);
	texts[5] = wr_str_n(base.ptr, 3);
	pb_begin(&pack, 1 + WR_ARRAY_LEN(texts));
	/* The base: the same with another beginning, so that none of the others is equal to it. */
	base.ptr[0x100] ^= 1;
	pb_object(&pack, WR_BLOB, wr_buf_str(&base));
	{
		WR_AUTO_S(wr_buf) copy = WR_BUF_INIT(64u << 20);

		wr_buf_adds(&copy, wr_buf_str(&base));
		base.ptr[0x100] ^= 1;
		oid_of(&oid, WR_BLOB, wr_buf_str(&copy));
		for (size_t i = 0; i < WR_ARRAY_LEN(texts); i++) {
			WR_AUTO_MEM uint8_t *delta = NULL;
			char hex[WR_OID_HEX + 1];
			struct wr_oid made;
			size_t len;

			assert_ok(wr_delta_make(&delta, &len, wr_buf_str(&copy), texts[i], 1000, &f->err));
			pb_ref_delta(&pack, &oid, wr_str_n(delta, len));
			oid_of(&made, WR_BLOB, texts[i]);
			wr_oid_hex(hex, &made);
			wr_buf_printf(&names, "%s %zu\n", hex, texts[i].len);
		}
	}
	write_whole(f, "made.pack", pb_end(&pack));
	wr_buf_fini(&pack.out);
	write_whole(f, "names", wr_buf_str(&names));
	sh(f, "git init -q --bare r; git -C r index-pack --stdin --strict <made.pack >/dev/null; sort -o names names");
	sh_out(f, &listed,
	       "cut -d' ' -f1 names | git -C r cat-file --batch-check='%%(objectname) %%(objectsize)' | diff - names; "
	       "git -C r cat-file --batch-all-objects --batch-check | wc -l");
	assert_string_equal(listed.ptr, "7\n");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)
	const struct CMUnitTest tests[] = {
		T(streams),	     T(large_claims),	 T(foreign_streams), T(streams_in_threads), T(wrong_deltas),
		T(changed_deltas),   T(fronts),		 T(made_small),	     T(made_at_borders),    T(made_of_trees),
		T(made_at_random),   T(made_of_repetitions), T(made_for_git),
	};

	return cmocka_run_group_tests_name("git_delta", tests, NULL, NULL);
}
