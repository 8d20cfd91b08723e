#include "triggers/signing.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#include "core/base/base64.h"
#include "core/base/clock.h"
#include "core/base/id.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "triggers/signing_internal.h"

/* How often the file is looked at. */
#define LOOK_MS 1000
/* More than an endpoint, an issuer and what stands beside them need. */
#define CLAIMS_MAX ((size_t)64 << 10)

struct wr_signing {
	struct wr_signing_times times;
	int dir;
	EVP_MD *sha256; /* EVP_sha256() would be looked up by its name each time */
	/* Of what follows. */
	pthread_mutex_t mutex;
	struct wr_signing_set *set;
	int64_t looked_ms; /* when somebody looked at the file last, by the clock of times */
	bool failing;	   /* the last look found a file of no use, which was logged */
};

static int64_t now_ms(const struct wr_signing *s)
{
	return s->times.now_ms ? s->times.now_ms(s->times.now_arg) : wr_now_ms();
}

/* ---- which key ---- */

/* The newest whose time has come; where clocks stepped back so far that none's has, the oldest. */
static size_t signer(const struct wr_signing_set *set, int64_t now)
{
	size_t i = set->n - 1;

	while (i > 0 && set->keys[i].signs_from_ms > now)
		i--;
	return i;
}

/* Whether all that the oldest key signed has expired, and nobody is to see it any more. */
static bool oldest_is_over(const struct wr_signing *s, const struct wr_signing_set *set, int64_t now)
{
	return signer(set, now) > 0 && set->keys[1].signs_from_ms + s->times.life_ms + s->times.overlap_ms <= now;
}

static void drop_what_is_over(const struct wr_signing *s, struct wr_signing_set *set, int64_t now)
{
	while (oldest_is_over(s, set, now))
		wr_signing_set_drop(set);
}

/* ---- the set that counts ---- */

static struct wr_signing_set *ref(struct wr_signing_set *set)
{
	atomic_fetch_add_explicit(&set->users, 1, memory_order_relaxed);
	return set;
}

/* Takes set over. */
static void publish(struct wr_signing *s, struct wr_signing_set *set)
{
	struct wr_signing_set *old;

	pthread_mutex_lock(&s->mutex);
	old = s->set;
	s->set = set;
	pthread_mutex_unlock(&s->mutex);
	wr_signing_set_unref(old);
}

/* A reference to the set in memory. *due: the caller is the one who looks at the file now. */
static struct wr_signing_set *take(bool *due, struct wr_signing *s, int64_t now)
{
	struct wr_signing_set *set;

	pthread_mutex_lock(&s->mutex);
	*due = now < s->looked_ms || now - s->looked_ms >= LOOK_MS;
	if (*due)
		s->looked_ms = now;
	set = ref(s->set);
	pthread_mutex_unlock(&s->mutex);
	return set;
}

/* Writes the set, and gives it as the file has it then. */
static enum wr_code store(struct wr_signing_set **out, const struct wr_signing *s, const struct wr_signing_set *set,
			  struct wr_error *err)
{
	enum wr_code code = wr_signing_store(set, s->dir, err);

	return code == WR_OK ? wr_signing_load(out, s->dir, err) : code;
}

/* The file without keys that are over. */
static enum wr_code tidy(struct wr_signing_set **out, struct wr_signing *s, int64_t now, struct wr_error *err)
{
	WR_AUTO(wr_signing_set) *set = NULL;
	WR_AUTO_FD int lock = -1;
	enum wr_code code = wr_signing_lock(&lock, s->dir, err);

	if (code == WR_OK)
		code = wr_signing_load(&set, s->dir, err);
	if (code != WR_OK)
		return code;
	if (!oldest_is_over(s, set, now)) {
		*out = WR_STEAL(set);
		return WR_OK;
	}
	drop_what_is_over(s, set, now);
	return store(out, s, set, err);
}

/* What became of a look is logged when it is another thing than before. */
static void tell(struct wr_signing *s, enum wr_code code, const struct wr_error *err)
{
	bool failed = code != WR_OK, before;

	pthread_mutex_lock(&s->mutex);
	before = s->failing;
	s->failing = failed;
	pthread_mutex_unlock(&s->mutex);
	if (failed && !before)
		wr_log_error(NULL, WR_EV_SERVER_WARNING, err);
}

/*
 * A reference to the set as it is now. A file that is gone or of no use changes nothing: what is in memory was shown, and
 * whoever starts next says what is wrong. may_write: the caller may wait for the disk, which is once in a rotation.
 */
static struct wr_signing_set *current(struct wr_signing *s, int64_t now, bool may_write)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_signing_set *newer = NULL, *set;
	bool due;
	enum wr_code code = WR_OK;

	set = take(&due, s, now);
	if (!due)
		return set;
	if (!wr_signing_same_file(set, s->dir))
		code = wr_signing_load(&newer, s->dir, &err);
	if (code == WR_OK && may_write && oldest_is_over(s, newer ? newer : set, now)) {
		wr_signing_set_unref(newer);
		newer = NULL;
		code = tidy(&newer, s, now, &err);
	}
	tell(s, code, &err);
	if (!newer)
		return set;
	publish(s, ref(newer));
	wr_signing_set_unref(set);
	return newer;
}

/* ---- changes ---- */

static json_t *key_json(const struct wr_signing_key *key)
{
	char time[WR_TIME_LEN + 1];

	wr_time_text(time, key->signs_from_ms);
	return json_pack("{s:s, s:s}", "keyId", key->id, "signsFrom", time);
}

/* Where the newest signs already there is to be another one. One that waits need not wait longer than a new one would. */
static enum wr_code add_next(const struct wr_signing *s, struct wr_signing_set *set, int64_t now, struct wr_error *err)
{
	struct wr_signing_key *newest = &set->keys[set->n - 1];
	int64_t from = now + s->times.overlap_ms;

	if (signer(set, now) < set->n - 1) {
		if (newest->signs_from_ms > from)
			newest->signs_from_ms = from;
		return WR_OK;
	}
	if (set->n == WR_SIGNING_KEYS)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "There are %d signing keys already, which are all still needed for signatures that have not "
			       "expired; wait for some minutes",
			       WR_SIGNING_KEYS);
	return wr_signing_set_add(set, NULL, now, from, err);
}

/* The file as it is or, where somebody removed it, what is in memory. */
static enum wr_code load_to_change(struct wr_signing_set **out, struct wr_signing *s, struct wr_error *err)
{
	WR_AUTO(wr_signing_set) *set = NULL, *old = NULL;
	bool due;
	enum wr_code code = wr_signing_load(out, s->dir, err);

	if (code != WR_E_NOT_THERE)
		return code;
	old = take(&due, s, now_ms(s));
	code = wr_signing_set_new(&set, err);
	for (; code == WR_OK && set->n < old->n; set->n++) {
		if (EVP_PKEY_up_ref(old->keys[set->n].pair) != 1)
			return wr_fail_nomem(err);
		set->keys[set->n] = old->keys[set->n];
	}
	if (code == WR_OK)
		*out = WR_STEAL(set);
	return code;
}

enum wr_code wr_signing_rotate(json_t **out, struct wr_signing *s, struct wr_error *err)
{
	WR_AUTO(wr_signing_set) *set = NULL;
	struct wr_signing_set *stored;
	WR_AUTO_FD int lock = -1;
	int64_t now = now_ms(s);
	json_t *row;
	enum wr_code code = wr_signing_lock(&lock, s->dir, err);

	if (code == WR_OK)
		code = load_to_change(&set, s, err);
	if (code != WR_OK)
		return code;
	drop_what_is_over(s, set, now);
	if ((code = add_next(s, set, now, err)) != WR_OK)
		return code;
	row = key_json(&set->keys[set->n - 1]);
	code = row ? store(&stored, s, set, err) : wr_fail_nomem(err);
	if (code != WR_OK) {
		json_decref(row);
		return code;
	}
	publish(s, stored);
	*out = row;
	return WR_OK;
}

/* Under the lock, also to read: of two processes one makes the first key, and what a crash left is removed. */
static enum wr_code load_or_make(struct wr_signing_set **out, struct wr_signing *s, struct wr_error *err)
{
	WR_AUTO(wr_signing_set) *set = NULL;
	WR_AUTO_FD int lock = -1;
	int64_t now = now_ms(s);
	enum wr_code code = wr_signing_lock(&lock, s->dir, err);

	if (code == WR_OK)
		code = wr_signing_load(out, s->dir, err);
	if (code != WR_E_NOT_THERE)
		return code;
	if ((code = wr_signing_set_new(&set, err)) == WR_OK && (code = wr_signing_set_add(set, NULL, now, now, err)) == WR_OK)
		code = store(out, s, set, err);
	return code;
}

enum wr_code wr_signing_open(struct wr_signing **out, const char *data, const struct wr_signing_times *times,
			     struct wr_error *err)
{
	WR_AUTO(wr_signing) *s = calloc(1, sizeof *s);
	enum wr_code code;

	if (!s)
		return wr_fail_nomem(err);
	pthread_mutex_init(&s->mutex, NULL);
	s->times = *times;
	s->dir = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir < 0)
		return wr_fail_errno(err, "open %s", data);
	s->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!s->sha256)
		return wr_fail(err, WR_E_INTERNAL, "OpenSSL has no SHA256");
	code = load_or_make(&s->set, s, err);
	if (code == WR_OK)
		*out = WR_STEAL(s);
	return code;
}

void wr_signing_free(struct wr_signing *s)
{
	if (!s)
		return;
	wr_signing_set_unref(s->set);
	EVP_MD_free(s->sha256);
	if (s->dir >= 0)
		close(s->dir);
	pthread_mutex_destroy(&s->mutex);
	free(s);
}

/* ---- the key set ---- */

static json_t *public_json(const struct wr_signing_key *key)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "kty", "OKP", "crv", "Ed25519", "x", key->public, "kid",
			 key->id, "alg", "EdDSA", "use", "sig");
}

enum wr_code wr_signing_jwks(json_t **out, struct wr_signing *s, struct wr_error *err)
{
	int64_t now = now_ms(s);
	WR_AUTO(wr_signing_set) *set = current(s, now, false);
	size_t first = 0, signs = signer(set, now);
	json_t *keys = json_array(), *file = json_pack("{s:o}", "keys", keys);
	int bad = file ? 0 : -1;

	/* What is still to be removed from the file is not shown any more. */
	while (first < signs && set->keys[first + 1].signs_from_ms + s->times.life_ms + s->times.overlap_ms <= now)
		first++;
	if (file)
		bad |= json_array_append_new(keys, public_json(&set->keys[signs]));
	for (size_t i = set->n; file && i-- > first;)
		if (i != signs)
			bad |= json_array_append_new(keys, public_json(&set->keys[i]));
	if (bad) {
		json_decref(file);
		return wr_fail_nomem(err);
	}
	*out = file;
	return WR_OK;
}

int64_t wr_signing_max_age(const struct wr_signing *s)
{
	return s->times.overlap_ms / 4 / 1000;
}

/* ---- signatures ---- */

static void write_claims(struct wr_buf *out, const struct wr_signing *s, const struct wr_signing_claims *claims,
			 int64_t now)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[2 * 32 + 1];
	int64_t iat = now / 1000;

	if (EVP_Digest(claims->body.ptr, claims->body.len, digest, NULL, s->sha256, NULL) != 1) {
		out->failed = true;
		return;
	}
	wr_hex(hex, digest, 32);
	wr_buf_addc(out, '{');
	wr_json_member(out, "iss", wr_str(claims->issuer));
	wr_json_member(out, "aud", wr_str(claims->audience));
	wr_json_key(out, "iat");
	wr_json_int(out, iat);
	wr_json_key(out, "exp");
	wr_json_int(out, iat + (s->times.life_ms + 999) / 1000);
	wr_json_member(out, "jti", wr_str(claims->delivery_id));
	wr_json_member(out, "repoId", wr_str(claims->repo_id));
	wr_json_member(out, "body_sha256", wr_str(hex));
	wr_buf_addc(out, '}');
}

enum wr_code wr_signing_sign(struct wr_buf *out, struct wr_signing *s, const struct wr_signing_claims *claims,
			     struct wr_error *err)
{
	int64_t now = now_ms(s);
	WR_AUTO(wr_signing_set) *set = current(s, now, true);
	const struct wr_signing_key *key = &set->keys[signer(set, now)];
	WR_AUTO_S(wr_buf) json = WR_BUF_INIT(CLAIMS_MAX);
	unsigned char signature[WR_SIGNATURE_BYTES];
	size_t from = out->len;
	enum wr_code code;

	write_claims(&json, s, claims, now);
	wr_buf_addz(out, key->header);
	wr_base64url_add(out, wr_buf_str(&json));
	if (!wr_buf_ok(&json) || !wr_buf_ok(out))
		return wr_fail(err, WR_E_INTERNAL, "the claims of a signature are too long");
	if ((code = wr_signing_bytes(signature, key, wr_str_skip(wr_buf_str(out), from), err)) != WR_OK) {
		out->len = from;
		return code;
	}
	wr_buf_addc(out, '.');
	wr_base64url_add(out, wr_str_n(signature, sizeof signature));
	return wr_buf_ok(out) ? WR_OK : wr_fail(err, WR_E_INTERNAL, "no room for a signature");
}
