#include "core/git/verify.h"

#include <fcntl.h>
#include <libdeflate.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/closure.h"
#include "core/git/git_internal.h"
#include "core/git/graph.h"
#include "core/git/libgit2.h"
#include "core/git/marks.h"
#include "core/git/verify_unreached.h"

#define CACHE_BYTES ((size_t)96 << 20)
#define STRETCH ((size_t)16 << 20)

struct check {
	struct wr_verified *out;
	struct wr_snapshot *snap;
	int packs;
	const struct wr_cancel *cancel;
	struct wr_error *err;
	struct wr_cache *cache;
	EVP_MD_CTX *sha;
	uint8_t **types; /* of every entry of every source; 0: it could not be read */
	uint32_t *order; /* of the pack that is looked at: positions by offset */
	size_t sources;
};

void wr_verified_fini(struct wr_verified *v)
{
	for (size_t i = 0; i < v->problems_kept; i++)
		free(v->problems[i]);
	v->problems_kept = 0;
}

static void WR_PRINTF(2, 3) problem(struct check *k, const char *fmt, ...)
{
	struct wr_verified *v = k->out;
	char text[512];
	va_list ap;

	v->problem_count++;
	if (v->problems_kept == WR_VERIFY_PROBLEMS)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	v->problems[v->problems_kept] = wr_str_dup(wr_str(text));
	v->problems_kept += v->problems[v->problems_kept] != NULL;
}

/* What ends the verification; all else is a problem. */
static bool fatal(enum wr_code code)
{
	return code == WR_E_CANCELLED || code == WR_E_UNAVAILABLE;
}

static const char *words(const struct wr_error *err)
{
	return err->detail[0] ? err->detail : wr_error_text(err);
}

/* ---- sums of files ---- */

static enum wr_code sum_of(uint8_t out[EVP_MAX_MD_SIZE], struct check *k, const uint8_t *data, size_t size)
{
	enum wr_code code;

	if (EVP_DigestInit_ex(k->sha, EVP_sha1(), NULL) != 1)
		return wr_fail_nomem(k->err);
	for (size_t at = 0; at < size; at += STRETCH) {
		size_t n = size - at < STRETCH ? size - at : STRETCH;

		if ((code = wr_cancelled(k->cancel, k->err)) != WR_OK)
			return code;
		if (EVP_DigestUpdate(k->sha, data + at, n) != 1)
			return wr_fail_nomem(k->err);
	}
	return EVP_DigestFinal_ex(k->sha, out, NULL) == 1 ? WR_OK : wr_fail_nomem(k->err);
}

/* A file whose last bytes are the sum of all before. */
static enum wr_code check_sum(struct check *k, const char *name, const char *ext, const uint8_t *data, size_t size)
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	enum wr_code code = sum_of(sum, k, data, size - WR_PACK_SUM);

	if (code == WR_OK && memcmp(sum, data + size - WR_PACK_SUM, WR_PACK_SUM) != 0)
		problem(k, "%s.%s does not have the sum that it claims", name, ext);
	return code;
}

static int by_offset(const void *a, const void *b, void *arg)
{
	uint64_t x = wr_pack_offset(arg, *(const uint32_t *)a), y = wr_pack_offset(arg, *(const uint32_t *)b);

	return (x > y) - (x < y);
}

static enum wr_code sort_entries(struct check *k, struct wr_pack *p)
{
	free(k->order);
	k->order = calloc((size_t)p->count + 1, sizeof *k->order);
	if (!k->order)
		return wr_fail_nomem(k->err);
	for (uint32_t i = 0; i < p->count; i++)
		k->order[i] = i;
	qsort_r(k->order, p->count, sizeof *k->order, by_offset, p);
	return WR_OK;
}

static void compare_reverse(struct check *k, const struct wr_pack *p, const uint8_t *rev, size_t len)
{
	if (len != WR_REV_HEADER + 4 * (size_t)p->count + 2 * WR_PACK_SUM ||
	    memcmp(rev, WR_REV_MAGIC, WR_REV_HEADER) != 0 ||
	    memcmp(rev + len - 2 * WR_PACK_SUM, p->data + p->size - WR_PACK_SUM, WR_PACK_SUM) != 0) {
		problem(k, "%s.rev does not belong to its pack", p->name);
		return;
	}
	for (uint32_t i = 0; i < p->count; i++) {
		if (wr_be32(rev + WR_REV_HEADER + 4 * (size_t)i) == k->order[i])
			continue;
		problem(k, "%s.rev has another order than the pack", p->name);
		return;
	}
}

/* A checkpoint may have removed the pack's files since the snapshot was taken; then nobody misses this one. */
static enum wr_code check_reverse(struct check *k, const struct wr_pack *p)
{
	WR_AUTO_MEM char *rev = NULL;
	char file[WR_PACK_NAME + 8];
	struct stat st;
	size_t len;
	enum wr_code code;

	snprintf(file, sizeof file, "%s.rev", p->name);
	code = wr_file_read(&rev, &len, k->packs, file, 64 + 4 * (size_t)p->count, k->err);
	if (code == WR_OK) {
		compare_reverse(k, p, (const uint8_t *)rev, len);
		return len > WR_PACK_SUM ? check_sum(k, p->name, "rev", (const uint8_t *)rev, len) : WR_OK;
	}
	snprintf(file, sizeof file, "%s.pack", p->name);
	if (fatal(code) || (code == WR_E_NOT_THERE && fstatat(k->packs, file, &st, 0) < 0))
		return fatal(code) ? code : WR_OK;
	problem(k, "%s.rev cannot be read: %s", p->name, words(k->err));
	return WR_OK;
}

static void check_names(struct check *k, const struct wr_pack *p)
{
	struct wr_oid last, oid;

	for (uint32_t i = 0; i < p->count; i++, last = oid) {
		wr_pack_oid(&oid, p, i);
		if (i && wr_oid_cmp(&last, &oid) >= 0) {
			problem(k, "%s.idx is not in order", p->name);
			return;
		}
	}
}

/* ---- objects ---- */

static enum wr_code check_id(struct check *k, const struct wr_oid *oid, const struct wr_object *obj)
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	char head[64], hex[WR_OID_HEX + 1];
	int n = snprintf(head, sizeof head, "%s %zu", wr_type_name(obj->type), obj->size) + 1;

	if (EVP_DigestInit_ex(k->sha, EVP_sha1(), NULL) != 1 || EVP_DigestUpdate(k->sha, head, (size_t)n) != 1 ||
	    EVP_DigestUpdate(k->sha, obj->data, obj->size) != 1 || EVP_DigestFinal_ex(k->sha, sum, NULL) != 1)
		return wr_fail_nomem(k->err);
	if (memcmp(sum, oid->id, WR_OID_RAW) == 0)
		return WR_OK;
	wr_oid_hex(hex, oid);
	problem(k, "object %s has another content than its id says", hex);
	return WR_OK;
}

static void check_form(struct check *k, const struct wr_oid *oid, const struct wr_object *obj)
{
	char hex[WR_OID_HEX + 1];
	int valid = 0;

	if (obj->type == WR_BLOB)
		return;
	if (git_object_rawcontent_is_valid(&valid, (const char *)obj->data, obj->size, (git_object_t)obj->type) == 0 &&
	    valid)
		return;
	wr_oid_hex(hex, oid);
	problem(k, "libgit2 does not take %s %s", wr_type_name(obj->type), hex);
}

static void count_object(struct check *k, const struct wr_object *obj)
{
	uint64_t *const by_type[] = {NULL, &k->out->commits, &k->out->trees, &k->out->blobs, &k->out->tags};

	++*by_type[obj->type];
	k->out->object_bytes += obj->size;
}

static enum wr_code check_entry(struct check *k, struct wr_place place)
{
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	char hex[WR_OID_HEX + 1];
	struct wr_oid oid;
	enum wr_code code;

	if (++k->out->objects % 256 == 0 && (code = wr_cancelled(k->cancel, k->err)) != WR_OK)
		return code;
	wr_snapshot_oid(&oid, k->snap, place);
	code = wr_snapshot_read_at(&obj, k->snap, place, k->cache, k->err);
	if (code != WR_OK) {
		wr_oid_hex(hex, &oid);
		problem(k, "object %s cannot be read: %s", hex, words(k->err));
		return fatal(code) ? code : WR_OK;
	}
	k->types[place.src][place.pos] = (uint8_t)obj.type;
	count_object(k, &obj);
	check_form(k, &oid, &obj);
	return check_id(k, &oid, &obj);
}

static enum wr_code check_bytes(struct check *k, const struct wr_pack *p, struct wr_place place)
{
	char hex[WR_OID_HEX + 1];
	struct wr_stored e;
	struct wr_oid oid;
	enum wr_code code = wr_snapshot_stored(&e, k->snap, place, k->err);

	/* What cannot be found cannot be read either, and is reported then. */
	if (code != WR_OK)
		return fatal(code) ? code : WR_OK;
	if (libdeflate_crc32(0, e.raw, e.raw_len) ==
	    wr_be32(p->names + (size_t)p->count * WR_OID_RAW + 4 * (size_t)place.pos))
		return WR_OK;
	wr_snapshot_oid(&oid, k->snap, place);
	wr_oid_hex(hex, &oid);
	problem(k, "%s: the bytes of object %s do not have the sum in the index", p->name, hex);
	return WR_OK;
}

static enum wr_code check_pack(struct check *k, uint32_t src)
{
	struct wr_pack *p = k->snap->members[src].pack;
	enum wr_code code;

	k->out->packs++;
	k->out->pack_bytes += p->size + p->idx_size;
	if ((code = check_sum(k, p->name, "pack", p->data, p->size)) != WR_OK ||
	    (code = check_sum(k, p->name, "idx", p->idx, p->idx_size)) != WR_OK ||
	    (code = sort_entries(k, p)) != WR_OK || (k->packs >= 0 && (code = check_reverse(k, p)) != WR_OK))
		return code;
	check_names(k, p);
	for (uint32_t i = 0; i < p->count; i++) {
		struct wr_place place = {src, k->order[i]};

		if ((code = check_bytes(k, p, place)) != WR_OK || (code = check_entry(k, place)) != WR_OK)
			return code;
	}
	/* Read once, and not to be counted as this process's from now on. */
	madvise((void *)(uintptr_t)p->data, p->size, MADV_DONTNEED);
	return WR_OK;
}

static enum wr_code check_objects(struct check *k)
{
	enum wr_code code = WR_OK;

	for (uint32_t src = 0; src < k->snap->member_count && code == WR_OK; src++)
		code = check_pack(k, src);
	for (uint32_t i = 0; i < k->snap->journal_count && code == WR_OK; i++) {
		k->out->journals++;
		for (uint32_t row = 0; row < k->snap->limits[i] && code == WR_OK; row++)
			code = check_entry(k, (struct wr_place){(uint32_t)k->snap->member_count + i, row});
	}
	return code;
}

/* ---- what refs reach ---- */

static enum wr_code unreachable(void *arg, const struct wr_oid *oid, enum wr_type type, const struct wr_error *why)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	problem(arg, "refs reach %s %s: %s", type ? wr_type_name(type) : "object", hex, words(why));
	return WR_OK;
}

/* Each reference, also to what was reached before. */
static enum wr_code referred(void *arg, struct wr_place home, const struct wr_oid *oid, enum wr_type type,
			     struct wr_error *err)
{
	struct check *k = arg;
	unsigned is = k->types[home.src][home.pos];
	char hex[WR_OID_HEX + 1];

	(void)err;
	if (is == type || is == 0)
		return WR_OK;
	wr_oid_hex(hex, oid);
	problem(k, "object %s is a %s where a %s is needed", hex, wr_type_name((enum wr_type)is), wr_type_name(type));
	return WR_OK;
}

static uint64_t marked(const struct wr_closure *c)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < c->sources; i++)
		sum += c->marked[i];
	return sum;
}

static void check_kin(struct check *k, const struct wr_closure *c, uint32_t src)
{
	const struct wr_member *m = &k->snap->members[src];
	char hex[WR_OID_HEX + 1];
	struct wr_place home;
	struct wr_oid oid;

	for (uint32_t pos = 0; pos < m->pack->count; pos++) {
		struct wr_place here = {src, pos};

		if (wr_dead_is_gone(m->dead, pos))
			continue;
		wr_pack_oid(&oid, m->pack, pos);
		wr_oid_hex(hex, &oid);
		if (wr_closure_home(&home, c, &oid) && home.src != src)
			problem(k, "object %s is in %s and in %s", hex, k->snap->members[home.src].pack->name,
				m->pack->name);
		else if (!k->snap->lost && !wr_dead_has(m->dead, pos) && !wr_closure_marked(c, here))
			problem(k, "object %s in %s is reached by no head and no tag", hex, m->pack->name);
	}
}

static void pass_on(void *arg, const char *text)
{
	problem(arg, "%s", text);
}

/* The closure knows what all refs reach; heads has its marks before other refs were walked. */
static enum wr_code check_unreached(struct check *k, struct wr_closure *c, const struct wr_marks *heads)
{
	const struct wr_verify_unreached v = {
		.closure = c, .heads = (const uint64_t *const *)heads->v, .packs = k->packs, .tell = pass_on, .arg = k};

	return wr_verify_unreached(&v, k->err);
}

static enum wr_code check_reach(struct check *k)
{
	WR_AUTO_S(wr_closure) c = {.snap = NULL};
	WR_AUTO_S(wr_marks) heads = {.v = NULL};
	enum wr_code code = wr_closure_init(&c, k->snap, false, k->cancel, k->err);

	if (code != WR_OK || (code = wr_marks_init(&heads, k->snap, k->err)) != WR_OK)
		return code;
	c.bad = unreachable;
	c.reached = referred;
	c.again = referred;
	c.arg = k;
	if ((code = wr_closure_walk(&c, false, k->err)) != WR_OK)
		return code;
	k->out->closure = marked(&c);
	wr_marks_copy(&heads, &(struct wr_marks){c.marks, c.sources}, k->snap);
	for (uint32_t src = 0; src < k->snap->member_count; src++)
		if (wr_closure_role(k->snap->members[src].role))
			check_kin(k, &c, src);
	if ((code = wr_closure_walk_others(&c, k->err)) != WR_OK)
		return code;
	k->out->reachable = marked(&c);
	return check_unreached(k, &c, &heads);
}

/* What libgit2 finds through its backend is what the ref says. */
static void check_tip(struct check *k, git_repository *repo, const struct wr_ref *ref)
{
	git_object *tip = NULL, *end = NULL;
	const struct wr_oid *wanted = wr_oid_zero(&ref->peeled) ? &ref->oid : &ref->peeled;
	git_oid id;

	memcpy(id.id, ref->oid.id, WR_OID_RAW);
	if (git_object_lookup(&tip, repo, &id, GIT_OBJECT_ANY) < 0) {
		problem(k, "%.*s: libgit2 cannot read what it names", (int)ref->name.len, ref->name.ptr);
		return;
	}
	if (git_object_type(tip) != GIT_OBJECT_TAG)
		git_object_dup(&end, tip);
	else if (git_object_peel(&end, tip, GIT_OBJECT_ANY) < 0)
		end = NULL;
	if (!end || memcmp(git_object_id(end)->id, wanted->id, WR_OID_RAW) != 0)
		problem(k, "%.*s leads to another object than it says", (int)ref->name.len, ref->name.ptr);
	git_object_free(end);
	git_object_free(tip);
}

static enum wr_code check_refs(struct check *k)
{
	WR_AUTO_LIBGIT2 git_repository *repo = NULL;
	struct wr_ref_cursor cursor;
	struct wr_ref ref;
	enum wr_code code = wr_libgit2_open(&repo, k->snap, k->err);

	wr_ref_cursor_init(&cursor, k->snap, WR_S(""));
	while (code == WR_OK && wr_ref_cursor_next(&ref, &cursor)) {
		check_tip(k, repo, &ref);
		if (++k->out->refs % 256 == 0)
			code = wr_cancelled(k->cancel, k->err);
	}
	return code;
}

/* ---- all ---- */

static enum wr_code prepare(struct check *k)
{
	k->sha = EVP_MD_CTX_new();
	k->types = calloc(k->sources + 1, sizeof *k->types);
	if (!k->sha || !k->types)
		return wr_fail_nomem(k->err);
	for (size_t i = 0; i < k->sources; i++) {
		uint32_t count = i < k->snap->member_count ? k->snap->members[i].pack->count
							   : k->snap->limits[i - k->snap->member_count];

		k->types[i] = calloc((size_t)count + 1, 1);
		if (!k->types[i])
			return wr_fail_nomem(k->err);
	}
	return wr_cache_new(&k->cache, CACHE_BYTES, k->err);
}

static void release(struct check *k)
{
	for (size_t i = 0; k->types && i < k->sources; i++)
		free(k->types[i]);
	free(k->types);
	free(k->order);
	wr_cache_free(k->cache);
	EVP_MD_CTX_free(k->sha);
}

enum wr_code wr_verify(struct wr_verified *out, struct wr_snapshot *snap, int packs, const struct wr_cancel *cancel,
		       struct wr_error *err)
{
	WR_AUTO_S(wr_error) own = WR_ERROR_INIT;
	struct check k = {.out = out, .snap = snap, .packs = packs, .cancel = cancel, .err = &own};
	enum wr_code code;

	*out = (struct wr_verified){.refs = 0};
	k.sources = snap->member_count + snap->journal_count;
	code = prepare(&k);
	if (code == WR_OK)
		code = check_objects(&k);
	if (code == WR_OK)
		code = check_reach(&k);
	if (code == WR_OK)
		code = check_refs(&k);
	release(&k);
	if (code != WR_OK && err)
		wr_error_move(err, &own);
	return code;
}

enum wr_code wr_verify_repo(struct wr_verified *out, struct wr_git_repo *repo, const struct wr_cancel *cancel,
			    struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO_FD int packs = -1;
	char path[PATH_MAX], folder[PATH_MAX];
	enum wr_code code = wr_snapshot_take(&snap, repo, err);

	if (code != WR_OK)
		return code;
	if ((code = wr_repo_path(path, repo->git, repo->id, ".git", err)) != WR_OK)
		return code;
	/* A repository without a folder has no packs either. */
	if ((size_t)snprintf(folder, sizeof folder, "%s/objects/pack", path) < sizeof folder)
		packs = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return wr_verify(out, snap, packs, cancel, err);
}
