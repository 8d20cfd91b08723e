#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <sys/file.h>
#include <time.h>

#include "core/base/base64.h"
#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "triggers/signing_internal.h"

#define NAME "signing-keys.json"
#define LOCK "signing-keys.lock"
#define FILE_MAX ((size_t)32 << 10)
#define LOCK_WAIT_MS 10000
/* What to do with a file that is of no use. */
#define REMEDY "put a copy of it back, or remove it: then new keys are made, and signatures by the old ones become worthless"

/* ---- keys ---- */

static enum wr_code fail_ssl(struct wr_error *err, const char *what)
{
	unsigned long why = ERR_get_error();

	ERR_clear_error();
	return wr_fail(err, WR_E_INTERNAL, "%s: %s", what, why ? ERR_reason_error_string(why) : "OpenSSL does not say why");
}

/* RFC 7638, of the members that RFC 8037 section 2 says, in the order of their names. */
static bool set_id(struct wr_signing_key *key)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(256);
	WR_AUTO_S(wr_buf) id = WR_BUF_INIT(sizeof key->id + 4);
	unsigned char digest[EVP_MAX_MD_SIZE];

	wr_buf_printf(&text, "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}", key->public);
	if (!wr_buf_ok(&text) || EVP_Digest(text.ptr, text.len, digest, NULL, EVP_sha256(), NULL) != 1)
		return false;
	wr_base64url_add(&id, wr_str_n(digest, 32));
	if (!wr_buf_ok(&id))
		return false;
	memcpy(key->id, id.ptr, sizeof key->id);
	return true;
}

static bool set_public(struct wr_signing_key *key)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(sizeof key->public + 4);
	unsigned char bytes[WR_SIGNING_BYTES];
	size_t len = sizeof bytes;

	if (EVP_PKEY_get_raw_public_key(key->pair, bytes, &len) != 1 || len != sizeof bytes)
		return false;
	wr_base64url_add(&text, wr_str_n(bytes, len));
	if (!wr_buf_ok(&text))
		return false;
	memcpy(key->public, text.ptr, sizeof key->public);
	return true;
}

static bool set_header(struct wr_signing_key *key)
{
	WR_AUTO_S(wr_buf) json = WR_BUF_INIT(256);
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(sizeof key->header - 1);

	wr_buf_printf(&json, "{\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":\"JWT\"}", key->id);
	wr_base64url_add(&text, wr_buf_str(&json));
	wr_buf_addc(&text, '.');
	if (!wr_buf_ok(&json) || !wr_buf_ok(&text))
		return false;
	memcpy(key->header, text.ptr, text.len + 1);
	return true;
}

enum wr_code wr_signing_set_add(struct wr_signing_set *set, const unsigned char bytes[WR_SIGNING_BYTES],
				int64_t created_ms, int64_t signs_from_ms, struct wr_error *err)
{
	struct wr_signing_key *key = &set->keys[set->n];

	if (set->n == WR_SIGNING_KEYS)
		return wr_fail(err, WR_E_INTERNAL, "more than %d signing keys", WR_SIGNING_KEYS);
	*key = (struct wr_signing_key){.created_ms = created_ms, .signs_from_ms = signs_from_ms};
	key->pair = bytes ? EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, bytes, WR_SIGNING_BYTES)
			  : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	if (!key->pair)
		return fail_ssl(err, "a signing key");
	if (!set_public(key) || !set_id(key) || !set_header(key)) {
		EVP_PKEY_free(key->pair);
		return fail_ssl(err, "the public half of a signing key");
	}
	set->n++;
	return WR_OK;
}

void wr_signing_set_drop(struct wr_signing_set *set)
{
	EVP_PKEY_free(set->keys[0].pair);
	memmove(set->keys, set->keys + 1, --set->n * sizeof *set->keys);
}

enum wr_code wr_signing_set_new(struct wr_signing_set **out, struct wr_error *err)
{
	struct wr_signing_set *set = calloc(1, sizeof *set);

	if (!set)
		return wr_fail_nomem(err);
	atomic_init(&set->users, 1);
	*out = set;
	return WR_OK;
}

void wr_signing_set_unref(struct wr_signing_set *set)
{
	if (!set || atomic_fetch_sub_explicit(&set->users, 1, memory_order_acq_rel) != 1)
		return;
	while (set->n > 0)
		EVP_PKEY_free(set->keys[--set->n].pair);
	free(set);
}

enum wr_code wr_signing_bytes(unsigned char out[WR_SIGNATURE_BYTES], const struct wr_signing_key *key,
			      struct wr_str bytes, struct wr_error *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t len = WR_SIGNATURE_BYTES;
	bool ok = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key->pair) == 1 &&
		  EVP_DigestSign(ctx, out, &len, (const unsigned char *)bytes.ptr, bytes.len) == 1 &&
		  len == WR_SIGNATURE_BYTES;

	EVP_MD_CTX_free(ctx);
	return ok ? WR_OK : fail_ssl(err, "a signature");
}

/* ---- the file ---- */

/* Copies of keys that a crash left before they were given their name: whoever writes one has the lock. */
static void clear_left(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!list && fd >= 0)
		close(fd);
	while (list && (e = readdir(list)))
		if (strncmp(e->d_name, NAME ".tmp-", strlen(NAME ".tmp-")) == 0)
			unlinkat(dir, e->d_name, 0);
	if (list)
		closedir(list);
}

enum wr_code wr_signing_lock(int *out, int dir, struct wr_error *err)
{
	WR_AUTO_FD int fd = openat(dir, LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int64_t deadline = wr_mono_ms() + LOCK_WAIT_MS;

	if (fd < 0)
		return wr_fail_errno(err, "open " LOCK);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		const struct timespec pause = {.tv_nsec = 5000000};

		if (errno != EWOULDBLOCK && errno != EINTR)
			return wr_fail_errno(err, "flock " LOCK);
		if (wr_mono_ms() > deadline)
			return wr_fail(err, WR_E_UNAVAILABLE, "another process keeps " LOCK " locked");
		nanosleep(&pause, NULL);
	}
	clear_left(dir);
	*out = fd;
	fd = -1;
	return WR_OK;
}

/* A time that is none, or too large to be added to, is not one that was written here. */
static bool is_time(json_int_t ms)
{
	return ms >= 0 && ms <= INT64_MAX / 4;
}

static enum wr_code read_key(struct wr_signing_set *set, json_t *row, struct wr_error *err)
{
	unsigned char bytes[WR_SIGNING_BYTES];
	const char *kid, *d;
	json_int_t created, signs_from;
	size_t len;
	enum wr_code code;

	if (json_unpack_ex(row, NULL, JSON_STRICT, "{s:s, s:s%, s:I, s:I}", "kid", &kid, "d", &d, &len, "createdMs",
			   &created, "signsFromMs", &signs_from) != 0 ||
	    !is_time(created) || !is_time(signs_from) || !wr_base64url_read(bytes, sizeof bytes, wr_str_n(d, len)))
		return wr_fail(err, WR_E_INTERNAL, NAME " in the data folder is damaged: key %zu does not parse; " REMEDY,
			       set->n + 1);
	code = wr_signing_set_add(set, bytes, created, signs_from, err);
	explicit_bzero(bytes, sizeof bytes);
	if (code == WR_OK && strcmp(set->keys[set->n - 1].id, kid) != 0)
		return wr_fail(err, WR_E_INTERNAL,
			       NAME " in the data folder is damaged: key %zu is not the one that its kid says; " REMEDY,
			       set->n);
	return code;
}

static enum wr_code parse(struct wr_signing_set *set, struct wr_str text, struct wr_error *err)
{
	json_error_t why;
	json_t *file = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &why), *keys = json_object_get(file, "keys");
	size_t n = json_array_size(keys);
	enum wr_code code = WR_OK;

	if (!file)
		code = wr_fail(err, WR_E_INTERNAL, NAME " in the data folder is damaged: line %d: %s; " REMEDY, why.line,
			       why.text);
	else if (n == 0 || n > WR_SIGNING_KEYS || json_object_size(file) != 1)
		code = wr_fail(err, WR_E_INTERNAL,
			       NAME " in the data folder is damaged: it does not have 1 to %d \"keys\"; " REMEDY,
			       WR_SIGNING_KEYS);
	for (size_t i = 0; i < n && code == WR_OK; i++)
		code = read_key(set, json_array_get(keys, i), err);
	json_decref(file);
	return code;
}

static enum wr_code look(struct stat *st, int dir, struct wr_error *err)
{
	if (fstatat(dir, NAME, st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? wr_fail(err, WR_E_NOT_THERE, "no " NAME) : wr_fail_errno(err, "stat " NAME);
	if (!S_ISREG(st->st_mode))
		return wr_fail(err, WR_E_INTERNAL, NAME " in the data folder is not a file; move it away");
	if (st->st_mode & (S_IRWXG | S_IRWXO))
		return wr_fail(err, WR_E_INTERNAL,
			       NAME " in the data folder has mode %04o, so that others may read it: give it mode 0600; "
			       "where somebody may have read it, remove it instead: then new keys are made",
			       (unsigned)st->st_mode & 0777);
	return WR_OK;
}

enum wr_code wr_signing_load(struct wr_signing_set **out, int dir, struct wr_error *err)
{
	WR_AUTO(wr_signing_set) *set = NULL;
	WR_AUTO_MEM char *text = NULL;
	size_t len = 0;
	enum wr_code code = wr_signing_set_new(&set, err);

	/* Looked at before it is read: where it is replaced in between, it is found to be another one next time. */
	if (code != WR_OK || (code = look(&set->file, dir, err)) != WR_OK)
		return code;
	code = wr_file_read(&text, &len, dir, NAME, FILE_MAX, err);
	if (code == WR_E_TOO_LARGE)
		return wr_fail(err, WR_E_INTERNAL, NAME " in the data folder has more than %zu bytes; " REMEDY, FILE_MAX);
	if (code == WR_OK)
		code = parse(set, wr_str_n(text, len), err);
	if (text)
		explicit_bzero(text, len);
	if (code == WR_OK)
		*out = WR_STEAL(set);
	return code;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool wr_signing_same_file(const struct wr_signing_set *set, int dir)
{
	const struct stat *was = &set->file;
	struct stat is;

	return fstatat(dir, NAME, &is, AT_SYMLINK_NOFOLLOW) == 0 && is.st_ino == was->st_ino &&
	       is.st_dev == was->st_dev && is.st_size == was->st_size && same_time(&is.st_mtim, &was->st_mtim) &&
	       same_time(&is.st_ctim, &was->st_ctim);
}

static void write_key(struct wr_buf *out, const struct wr_signing_key *key)
{
	WR_AUTO_S(wr_buf) d = WR_BUF_INIT(64);
	unsigned char bytes[WR_SIGNING_BYTES];
	size_t len = sizeof bytes;

	if (EVP_PKEY_get_raw_private_key(key->pair, bytes, &len) == 1)
		wr_base64url_add(&d, wr_str_n(bytes, len));
	else
		out->failed = true;
	wr_json_item(out);
	wr_buf_addz(out, "\n{");
	wr_json_member(out, "kid", wr_str(key->id));
	wr_json_member(out, "d", wr_buf_str(&d));
	wr_json_key(out, "createdMs");
	wr_json_int(out, key->created_ms);
	wr_json_key(out, "signsFromMs");
	wr_json_int(out, key->signs_from_ms);
	wr_buf_addc(out, '}');
	out->failed |= !wr_buf_ok(&d);
	explicit_bzero(bytes, sizeof bytes);
	if (d.ptr)
		explicit_bzero(d.ptr, d.len);
}

enum wr_code wr_signing_store(const struct wr_signing_set *set, int dir, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(FILE_MAX);
	enum wr_code code;

	wr_buf_addz(&text, "{\"keys\":[");
	for (size_t i = 0; i < set->n; i++)
		write_key(&text, &set->keys[i]);
	wr_buf_addz(&text, "\n]}\n");
	code = wr_buf_ok(&text) ? wr_file_replace(dir, NAME, wr_buf_str(&text), err) : wr_fail_nomem(err);
	if (text.ptr)
		explicit_bzero(text.ptr, text.len);
	return code;
}
