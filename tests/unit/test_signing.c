/* triggers/signing: RFC 8037's examples, tokens that others can verify, rotation, and the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/base/base64.h"
#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "triggers/signing_internal.h"

#define LIFE ((int64_t)300000)
#define OVERLAP ((int64_t)1200000)
#define BEGIN INT64_C(1700000000000)

/* RFC 8037, appendix A.1 to A.4. */
#define RFC_D "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
#define RFC_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define RFC_KID "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
#define RFC_INPUT "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
#define RFC_SIGNATURE "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

struct place {
	char dir[64];
	int64_t now;
	struct wr_signing_times times;
	struct wr_signing *signing;
};

static int64_t clock_of(void *arg)
{
	return ((struct place *)arg)->now;
}

static int make_place(void **state)
{
	struct place *p = calloc(1, sizeof *p);

	wr_log_set_threshold(WR_ERROR);
	snprintf(p->dir, sizeof p->dir, "/tmp/test_signing.XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	p->now = BEGIN;
	p->times = (struct wr_signing_times){LIFE, OVERLAP, clock_of, p};
	*state = p;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int remove_place(void **state)
{
	struct place *p = *state;

	wr_signing_free(p->signing);
	nftw(p->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

static void path_of(char out[128], const struct place *p)
{
	snprintf(out, 128, "%s/signing-keys.json", p->dir);
}

static void open_keys(struct place *p)
{
	wr_signing_free(p->signing);
	p->signing = NULL;
	assert_int_equal(wr_signing_open(&p->signing, p->dir, &p->times, NULL), WR_OK);
}

static void put_file(const struct place *p, const char *text, mode_t mode)
{
	char path[128];

	path_of(path, p);
	unlink(path);
	assert_int_equal(wr_file_create(AT_FDCWD, path, wr_str(text), NULL), WR_OK);
	assert_int_equal(chmod(path, mode), 0);
}

static json_t *key_set(struct place *p)
{
	json_t *jwks = NULL;

	assert_int_equal(wr_signing_jwks(&jwks, p->signing, NULL), WR_OK);
	return jwks;
}

/* The ids of the key set, the one that signs first: "a,b". */
static const char *shown(struct place *p)
{
	static char text[WR_SIGNING_KEYS * 64];
	json_t *jwks = key_set(p), *key;
	size_t i;

	text[0] = '\0';
	json_array_foreach (json_object_get(jwks, "keys"), i, key) {
		size_t n = strlen(text);

		snprintf(text + n, sizeof text - n, "%s%s", i ? "," : "", json_string_value(json_object_get(key, "kid")));
	}
	json_decref(jwks);
	return text;
}

/* How many keys the file has. */
static size_t stored(const struct place *p)
{
	char path[128];
	json_t *file;
	size_t n;

	path_of(path, p);
	file = json_load_file(path, 0, NULL);
	assert_non_null(file);
	n = json_array_size(json_object_get(file, "keys"));
	json_decref(file);
	return n;
}

static void rotate(struct place *p, char kid[WR_SIGNING_KEY_ID + 1], int64_t *signs_from)
{
	json_t *row = NULL;
	int zone;

	assert_int_equal(wr_signing_rotate(&row, p->signing, NULL), WR_OK);
	assert_int_equal(json_object_size(row), 2);
	snprintf(kid, WR_SIGNING_KEY_ID + 1, "%s", json_string_value(json_object_get(row, "keyId")));
	assert_true(wr_time_parse(signs_from, &zone, wr_str(json_string_value(json_object_get(row, "signsFrom")))));
	json_decref(row);
}

/* ---- tokens, as a consumer looks at them ---- */

static json_t *part(struct wr_str text)
{
	char bytes[1024];
	size_t n = text.len / 4 * 3 + (text.len % 4 ? text.len % 4 - 1 : 0);
	json_t *value;

	assert_true(n <= sizeof bytes && wr_base64url_read(bytes, n, text));
	value = json_loadb(bytes, n, 0, NULL);
	assert_non_null(value);
	return value;
}

static bool verifies(json_t *key, struct wr_str input, struct wr_str signature)
{
	unsigned char x[32], s[64];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY *public;
	bool ok;

	assert_true(wr_base64url_read(x, sizeof x, wr_str(json_string_value(json_object_get(key, "x")))));
	assert_true(wr_base64url_read(s, sizeof s, signature));
	public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof x);
	assert_non_null(public);
	assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, public), 1);
	ok = EVP_DigestVerify(ctx, s, sizeof s, (const unsigned char *)input.ptr, input.len) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(public);
	return ok;
}

static json_t *find_key(json_t *jwks, const char *kid)
{
	json_t *key;
	size_t i;

	json_array_foreach (json_object_get(jwks, "keys"), i, key)
		if (strcmp(json_string_value(json_object_get(key, "kid")), kid) == 0)
			return key;
	return NULL;
}

/* The claims of a token whose key is in the set and whose signature is right; NULL where the key is not there. */
static json_t *claims_of(json_t *jwks, char kid[WR_SIGNING_KEY_ID + 1], struct wr_str token)
{
	const char *dot = memchr(token.ptr, '.', token.len), *last = memrchr(token.ptr, '.', token.len);
	json_t *header, *key, *claims;

	assert_true(dot && last > dot);
	header = part(wr_str_n(token.ptr, (size_t)(dot - token.ptr)));
	assert_int_equal(json_object_size(header), 3);
	assert_string_equal(json_string_value(json_object_get(header, "alg")), "EdDSA");
	assert_string_equal(json_string_value(json_object_get(header, "typ")), "JWT");
	snprintf(kid, WR_SIGNING_KEY_ID + 1, "%s", json_string_value(json_object_get(header, "kid")));
	json_decref(header);
	key = find_key(jwks, kid);
	if (!key)
		return NULL;
	assert_true(verifies(key, wr_str_n(token.ptr, (size_t)(last - token.ptr)),
			     wr_str_n(last + 1, token.len - (size_t)(last + 1 - token.ptr))));
	claims = part(wr_str_n(dot + 1, (size_t)(last - dot - 1)));
	return claims;
}

static void sign(struct wr_buf *out, struct wr_signing *signing)
{
	const struct wr_signing_claims claims = {"https://git.example", "https://app.example/hook?a=\"b\"",
						 "0b6d9c1e-0000-4000-8000-000000000001",
						 "0b6d9c1e-0000-4000-8000-000000000002", WR_S("abc")};

	assert_int_equal(wr_signing_sign(out, signing, &claims, NULL), WR_OK);
}

/* Which key signs now; a consumer that has this set accepts it. */
static const char *signing_key(struct place *p, json_t *jwks)
{
	static char kid[WR_SIGNING_KEY_ID + 1];
	WR_AUTO_S(wr_buf) token = WR_BUF_INIT(4096);
	json_t *claims;

	sign(&token, p->signing);
	claims = claims_of(jwks, kid, wr_buf_str(&token));
	assert_non_null(claims);
	json_decref(claims);
	return kid;
}

static void examples_of_the_rfc(void **state)
{
	struct place *p = *state;
	WR_AUTO(wr_signing_set) *set = NULL;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(256);
	unsigned char bytes[WR_SIGNATURE_BYTES];
	int dir = open(p->dir, O_RDONLY | O_DIRECTORY);
	json_t *jwks, *key;

	put_file(p, "{\"keys\":[{\"kid\":\"" RFC_KID "\",\"d\":\"" RFC_D "\",\"createdMs\":1,\"signsFromMs\":1}]}", 0600);
	open_keys(p);
	jwks = key_set(p);
	assert_int_equal(json_object_size(jwks), 1);
	assert_int_equal(json_array_size(json_object_get(jwks, "keys")), 1);
	key = json_array_get(json_object_get(jwks, "keys"), 0);
	assert_int_equal(json_object_size(key), 6);
	assert_string_equal(json_string_value(json_object_get(key, "kty")), "OKP");
	assert_string_equal(json_string_value(json_object_get(key, "crv")), "Ed25519");
	assert_string_equal(json_string_value(json_object_get(key, "alg")), "EdDSA");
	assert_string_equal(json_string_value(json_object_get(key, "use")), "sig");
	assert_string_equal(json_string_value(json_object_get(key, "x")), RFC_X);
	assert_string_equal(json_string_value(json_object_get(key, "kid")), RFC_KID);
	assert_int_equal(wr_signing_load(&set, dir, NULL), WR_OK);
	assert_int_equal(wr_signing_bytes(bytes, &set->keys[0], WR_S(RFC_INPUT), NULL), WR_OK);
	wr_base64url_add(&text, wr_str_n(bytes, sizeof bytes));
	assert_string_equal(text.ptr, RFC_SIGNATURE);
	assert_true(verifies(key, WR_S(RFC_INPUT), WR_S(RFC_SIGNATURE)));
	assert_false(verifies(key, WR_S(RFC_INPUT "x"), WR_S(RFC_SIGNATURE)));
	json_decref(jwks);
	close(dir);
}

static void claims(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_buf) token = WR_BUF_INIT(4096);
	WR_AUTO_S(wr_buf) small = WR_BUF_INIT(300);
	const struct wr_signing_claims some = {"i", "a", "d", "r", WR_S("")};
	char kid[WR_SIGNING_KEY_ID + 1];
	json_t *jwks, *c;

	p->now = BEGIN + 999;
	open_keys(p);
	jwks = key_set(p);
	wr_buf_addz(&token, "x-signature: ");
	sign(&token, p->signing);
	c = claims_of(jwks, kid, wr_str_skip(wr_buf_str(&token), 13));
	assert_int_equal(json_object_size(c), 7);
	assert_string_equal(json_string_value(json_object_get(c, "iss")), "https://git.example");
	assert_string_equal(json_string_value(json_object_get(c, "aud")), "https://app.example/hook?a=\"b\"");
	assert_string_equal(json_string_value(json_object_get(c, "jti")), "0b6d9c1e-0000-4000-8000-000000000001");
	assert_string_equal(json_string_value(json_object_get(c, "repoId")), "0b6d9c1e-0000-4000-8000-000000000002");
	assert_int_equal(json_integer_value(json_object_get(c, "iat")), BEGIN / 1000);
	assert_int_equal(json_integer_value(json_object_get(c, "exp")), (BEGIN + LIFE) / 1000);
	/* FIPS 180-2, of "abc". */
	assert_string_equal(json_string_value(json_object_get(c, "body_sha256")),
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(wr_signing_sign(&small, p->signing, &some, NULL), WR_E_INTERNAL);
	json_decref(c);
	json_decref(jwks);
}

/* ---- rotation ---- */

static void rotation(void **state)
{
	struct place *p = *state;
	char first[WR_SIGNING_KEY_ID + 1], second[WR_SIGNING_KEY_ID + 1], again[WR_SIGNING_KEY_ID + 1], both[128];
	int64_t from, same;
	json_t *before, *between;

	open_keys(p);
	before = key_set(p);
	snprintf(first, sizeof first, "%s", shown(p));
	assert_string_equal(signing_key(p, before), first);
	assert_int_equal(wr_signing_max_age(p->signing), OVERLAP / 4000);
	p->now += 5000;
	rotate(p, second, &from);
	assert_int_equal(from, p->now + OVERLAP);
	snprintf(both, sizeof both, "%s,%s", first, second);
	assert_string_equal(shown(p), both);
	/* Who asks again meanwhile gets the same one, at the same time. */
	p->now += 7000;
	rotate(p, again, &same);
	assert_string_equal(again, second);
	assert_int_equal(same, from);
	assert_string_equal(signing_key(p, before), first);
	/* A set that was fetched before, and kept for as long as it may be, is good for every signature until then. */
	p->now = from - 1;
	between = key_set(p);
	assert_string_equal(signing_key(p, before), first);
	p->now = from;
	assert_string_equal(signing_key(p, between), second);
	snprintf(both, sizeof both, "%s,%s", second, first);
	assert_string_equal(shown(p), both);
	/* The last signature of the first one has expired at from + LIFE; it goes after another overlap. */
	p->now = from + LIFE + OVERLAP - 1;
	assert_string_equal(shown(p), both);
	assert_int_equal(stored(p), 2);
	p->now++;
	assert_string_equal(shown(p), second);
	assert_string_equal(signing_key(p, between), second);
	p->now += 2000;
	assert_string_equal(signing_key(p, between), second);
	assert_int_equal(stored(p), 1);
	open_keys(p);
	assert_string_equal(shown(p), second);
	json_decref(before);
	json_decref(between);
}

/* Whatever the clock says there is one that signs, and it is in the set that was shown. */
static void clocks_that_step(void **state)
{
	struct place *p = *state;
	char first[WR_SIGNING_KEY_ID + 1], second[WR_SIGNING_KEY_ID + 1], third[WR_SIGNING_KEY_ID + 1];
	int64_t from;
	json_t *jwks;

	open_keys(p);
	snprintf(first, sizeof first, "%s", shown(p));
	p->now = BEGIN - 86400000;
	jwks = key_set(p);
	assert_string_equal(signing_key(p, jwks), first);
	/* One that is made now signs when its time has come by this clock, though the first one's has not. */
	rotate(p, second, &from);
	assert_int_equal(from, p->now + OVERLAP);
	json_decref(jwks);
	jwks = key_set(p);
	assert_string_equal(signing_key(p, jwks), first);
	p->now = from;
	assert_string_equal(signing_key(p, jwks), second);
	p->now = 0;
	assert_string_equal(signing_key(p, jwks), first);
	/* One that was to begin in a far future begins as a new one would. */
	p->now = BEGIN + 86400000;
	rotate(p, third, &from);
	p->now = BEGIN;
	rotate(p, second, &from);
	assert_string_equal(second, third);
	assert_int_equal(from, BEGIN + OVERLAP);
	json_decref(jwks);
	jwks = key_set(p);
	p->now = from;
	assert_string_equal(signing_key(p, jwks), third);
	json_decref(jwks);
}

static void no_end_of_keys(void **state)
{
	struct place *p = *state;
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	char kid[WR_SIGNING_KEY_ID + 1];
	json_t *row = NULL;
	int64_t from;

	p->times.overlap_ms = 1000;
	open_keys(p);
	for (size_t i = 1; i < WR_SIGNING_KEYS; i++) {
		rotate(p, kid, &from);
		p->now = from;
	}
	assert_int_equal(wr_signing_rotate(&row, p->signing, &err), WR_E_INVALID_REQUEST);
	assert_int_equal(stored(p), WR_SIGNING_KEYS);
	open_keys(p);
	p->now += LIFE + 1000;
	rotate(p, kid, &from);
	assert_int_equal(stored(p), 2);
}

/* ---- the file ---- */

static void refused(struct place *p, const char *why)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_signing *s = NULL;

	assert_int_equal(wr_signing_open(&s, p->dir, &p->times, &err), WR_E_INTERNAL);
	if (!strstr(err.detail, why))
		fail_msg("\"%s\" does not say \"%s\"", err.detail, why);
}

#define ROW(kid, d, rest) "{\"keys\":[{\"kid\":\"" kid "\",\"d\":\"" d "\"," rest "}]}"
#define TIMES "\"createdMs\":1,\"signsFromMs\":1"

static void damage(void **state)
{
	struct place *p = *state;
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"{}",
		"{\"keys\":[]}",
		"{\"keys\":{}}",
		"{\"keys\":[{}]}",
		"{\"keys\":[1]}",
		"{\"keys\":[],\"keys\":[]}",
		ROW(RFC_KID, RFC_D, TIMES) "x",
		ROW(RFC_KID, RFC_D, TIMES ",\"more\":1"),
		ROW(RFC_KID, RFC_D, "\"createdMs\":1"),
		ROW(RFC_KID, RFC_D, "\"createdMs\":1,\"signsFromMs\":-1"),
		ROW(RFC_KID, RFC_D, "\"createdMs\":1,\"signsFromMs\":9223372036854775807"),
		ROW(RFC_KID, RFC_D, "\"createdMs\":\"1\",\"signsFromMs\":1"),
		ROW(RFC_KID, RFC_D "A", TIMES),
		ROW(RFC_KID, "", TIMES),
		ROW(RFC_KID, "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2E", TIMES),
		/* Another key than its id says. */
		ROW(RFC_KID, "mWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", TIMES),
	};
	WR_AUTO_S(wr_buf) long_text = WR_BUF_INIT(1 << 20);
	char path[128], there[160];

	for (size_t i = 0; i < WR_ARRAY_LEN(bad); i++) {
		put_file(p, bad[i], 0600);
		refused(p, "is damaged");
	}
	wr_buf_addz(&long_text, "{\"keys\":[");
	for (size_t i = 0; i <= WR_SIGNING_KEYS; i++)
		wr_buf_printf(&long_text, "%s{}", i ? "," : "");
	wr_buf_addz(&long_text, "]}");
	put_file(p, long_text.ptr, 0600);
	refused(p, "1 to 32");
	while (long_text.len < 40000)
		wr_buf_addc(&long_text, ' ');
	put_file(p, long_text.ptr, 0600);
	refused(p, "32768 bytes");
	wr_buf_clear(&long_text);
	for (size_t i = 0; i < 30000; i++)
		wr_buf_addc(&long_text, '[');
	put_file(p, long_text.ptr, 0600);
	refused(p, "is damaged");
	/* What others may read, or what is somewhere else. */
	put_file(p, ROW(RFC_KID, RFC_D, TIMES), 0640);
	refused(p, "mode 0600");
	put_file(p, ROW(RFC_KID, RFC_D, TIMES), 0604);
	refused(p, "mode 0600");
	put_file(p, ROW(RFC_KID, RFC_D, TIMES), 0600);
	path_of(path, p);
	snprintf(there, sizeof there, "%s.there", path);
	assert_int_equal(rename(path, there), 0);
	assert_int_equal(symlink(there, path), 0);
	refused(p, "is not a file");
}

static void mode_and_restart(void **state)
{
	struct place *p = *state;
	char path[128], left[160], first[WR_SIGNING_KEY_ID + 1];
	mode_t mask = umask(0);
	struct stat st;

	open_keys(p);
	umask(mask);
	path_of(path, p);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	snprintf(first, sizeof first, "%s", shown(p));
	/* As a crash leaves it between writing and renaming. */
	snprintf(left, sizeof left, "%s.tmp-abc", path);
	assert_int_equal(symlink("keys", left), 0);
	open_keys(p);
	assert_string_equal(shown(p), first);
	assert_int_equal(lstat(left, &st), -1);
}

/* A running server goes on with what it has. */
static void file_of_no_use_meanwhile(void **state)
{
	struct place *p = *state;
	char path[128], first[WR_SIGNING_KEY_ID + 1], second[WR_SIGNING_KEY_ID + 1], both[128];
	json_t *jwks, *row = NULL;
	int64_t from;

	open_keys(p);
	jwks = key_set(p);
	snprintf(first, sizeof first, "%s", shown(p));
	put_file(p, "{", 0600);
	p->now += 1000;
	assert_string_equal(signing_key(p, jwks), first);
	assert_int_equal(wr_signing_rotate(&row, p->signing, NULL), WR_E_INTERNAL);
	/* Where it is gone a change makes it again. */
	path_of(path, p);
	assert_int_equal(unlink(path), 0);
	p->now += 1000;
	assert_string_equal(signing_key(p, jwks), first);
	rotate(p, second, &from);
	assert_int_equal(stored(p), 2);
	open_keys(p);
	snprintf(both, sizeof both, "%s,%s", first, second);
	assert_string_equal(shown(p), both);
	json_decref(jwks);
}

/* ---- others ---- */

static void changes_of_others(void **state)
{
	struct place *p = *state;
	struct place other = *p;
	char first[WR_SIGNING_KEY_ID + 1], second[WR_SIGNING_KEY_ID + 1], both[128];
	int64_t from;

	open_keys(p);
	snprintf(first, sizeof first, "%s", shown(p));
	other.signing = NULL;
	other.times.now_arg = &other;
	open_keys(&other);
	rotate(&other, second, &from);
	/* Looked at once a second. */
	p->now += 999;
	assert_string_equal(shown(p), first);
	p->now++;
	snprintf(both, sizeof both, "%s,%s", first, second);
	assert_string_equal(shown(p), both);
	wr_signing_free(other.signing);
}

#define PROCESSES 8

static void child(const struct place *at, int start, int out)
{
	struct place p = *at;
	char c, kid[WR_SIGNING_KEY_ID + 1];
	json_t *row = NULL;

	p.signing = NULL;
	p.times.now_arg = &p;
	if (read(start, &c, 1) < 0 || wr_signing_open(&p.signing, p.dir, &p.times, NULL) != WR_OK ||
	    wr_signing_rotate(&row, p.signing, NULL) != WR_OK)
		_exit(1);
	snprintf(kid, sizeof kid, "%s", json_string_value(json_object_get(row, "keyId")));
	json_decref(row);
	wr_signing_free(p.signing);
	_exit(write(out, kid, sizeof kid) == sizeof kid ? 0 : 1);
}

/* Those that begin at once, and change it at once, have the same keys. */
static void processes_agree(void **state)
{
	struct place *p = *state;
	char kids[PROCESSES][WR_SIGNING_KEY_ID + 1];
	int start[2], out[2], status;

	assert_int_equal(pipe(start), 0);
	assert_int_equal(pipe(out), 0);
	for (size_t i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			close(start[1]);
			child(p, start[0], out[1]);
		}
	}
	close(start[1]);
	for (size_t i = 0; i < PROCESSES; i++) {
		assert_int_equal(read(out[0], kids[i], sizeof kids[i]), sizeof kids[i]);
		assert_true(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
		assert_string_equal(kids[i], kids[0]);
	}
	close(start[0]);
	close(out[0]);
	close(out[1]);
	open_keys(p);
	assert_int_equal(stored(p), 2);
}

/* ---- threads ---- */

static void *sign_many(void *arg)
{
	struct place *p = arg;

	for (int i = 0; i < 200; i++) {
		WR_AUTO_S(wr_buf) token = WR_BUF_INIT(4096);
		json_t *jwks = NULL;

		sign(&token, p->signing);
		if (i % 8 == 0 && wr_signing_jwks(&jwks, p->signing, NULL) == WR_OK)
			json_decref(jwks);
		/* A new key each time that its time has come. */
		if (i % 16 == 0 && wr_signing_rotate(&jwks, p->signing, NULL) == WR_OK)
			json_decref(jwks);
	}
	return NULL;
}

static void threads(void **state)
{
	struct place *p = *state;
	pthread_t t[4];
	json_t *jwks;

	p->times.now_ms = NULL;
	p->times.overlap_ms = 5;
	p->times.life_ms = 5;
	open_keys(p);
	for (size_t i = 0; i < WR_ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, sign_many, p), 0);
	for (size_t i = 0; i < WR_ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	open_keys(p);
	jwks = key_set(p);
	signing_key(p, jwks);
	json_decref(jwks);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(examples_of_the_rfc),
		IN_PLACE(claims),
		IN_PLACE(rotation),
		IN_PLACE(clocks_that_step),
		IN_PLACE(no_end_of_keys),
		IN_PLACE(damage),
		IN_PLACE(mode_and_restart),
		IN_PLACE(file_of_no_use_meanwhile),
		IN_PLACE(changes_of_others),
		IN_PLACE(processes_agree),
		IN_PLACE(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
