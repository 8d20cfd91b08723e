#include <errno.h>
#include <fcntl.h>
#include <git2/odb.h>
#include <limits.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/append_internal.h"
#include "core/git/blob_in.h"
#include "core/git/delta.h"
#include "core/git/delta_make.h"
#include "core/git/index.h"
#include "core/git/pack.h"
#include "core/git/parse.h"
#include "core/git/refs_check.h"
#include "core/git/spool.h"

#define SHA1_LEN 20
/* An object of this server's is a delta on another one only while the chain stays as short as this. */
#define MAX_CHAIN 30

struct wr_quarantine {
	struct wr_git_repo *repo;
	struct wr_snapshot *snap; /* what new objects are checked against */
	int64_t since_ms;	  /* wr_repo_since() before that was taken */
	int dir;		  /* -1 until something needs a file */
	char path[PATH_MAX];
	char name[WR_PACK_NAME + 1];
	bool used;   /* a pack was read, or the collecting has ended */
	bool adding; /* objects were added one by one */
	bool taken;  /* wr_quarantine_taken() */
	struct wr_intake intake;
	struct wr_pack *pack; /* of an intake in files */
	struct wr_oidmap rows; /* of intake.objects */
	/* While objects are added; raw of each is an offset in the spool until the end. */
	uint32_t cap;
	struct wr_spool spool;
	struct wr_blob_in blob;
	bool sound;    /* wr_quarantine_sound() */
	bool unproven; /* an id of an added object was made without collision detection, which reading a pack has */
	struct wr_refs_check check;
	const struct wr_oids *shallow; /* NULL: the pusher's history is whole */
	const struct wr_oids *ends;    /* NULL, or where that of the repository which is made shall end, */
	struct wr_oids ended;	       /* and those of them that came and have parents */
	const struct wr_room *room;    /* NULL: nobody counts */
	struct wr_fsck_rules rules;
	struct wr_snapshot *with; /* with the pack; made when first needed */
	uint64_t looked; /* bytes of blobs read for the sake of the rules */
};

/* "run/<this process>/<random>", a folder of its own. */
static enum wr_code open_folder(int *fd, void *arg, struct wr_error *err)
{
	struct wr_quarantine *q = arg;
	char mark[25];
	int n;

	if (q->dir >= 0) {
		*fd = q->dir;
		return WR_OK;
	}
	wr_random_text(mark, sizeof mark - 1);
	n = snprintf(q->path, sizeof q->path, "%s/%s", q->repo->git->run.path, mark);
	if (n < 0 || (size_t)n >= sizeof q->path)
		return wr_fail(err, WR_E_INTERNAL, "path too long: %s", mark);
	if (mkdir(q->path, 0700) < 0) {
		enum wr_code code = wr_fail_errno(err, "mkdir %s", q->path);

		q->path[0] = '\0';
		return code;
	}
	q->dir = open(q->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (q->dir < 0)
		return wr_fail_errno(err, "open folder %s", q->path);
	*fd = q->dir;
	return WR_OK;
}

static enum wr_code quarantine_new(struct wr_quarantine **out, struct wr_git_repo *repo, struct wr_snapshot *tips,
				   int64_t since_ms, struct wr_error *err)
{
	struct wr_quarantine *q = calloc(1, sizeof *q);

	if (!q)
		return wr_fail_nomem(err);
	q->repo = repo;
	q->rules = repo->git->fsck;
	q->snap = wr_snapshot_ref_more(tips);
	q->since_ms = since_ms;
	q->dir = q->spool.fd = -1;
	*out = q;
	return WR_OK;
}

enum wr_code wr_quarantine_on(struct wr_quarantine **out, struct wr_git_repo *repo, struct wr_snapshot *tips,
			      struct wr_error *err)
{
	return quarantine_new(out, repo, tips, wr_repo_since(repo), err);
}

enum wr_code wr_quarantine_new(struct wr_quarantine **out, struct wr_git_repo *repo, struct wr_error *err)
{
	int64_t since_ms = wr_repo_since(repo);
	WR_AUTO(wr_snapshot) *now = NULL;
	enum wr_code code = wr_repo_current(&now, NULL, repo, err);

	if (code != WR_OK)
		return code;
	wr_events_expect(repo->git->events, repo);
	return quarantine_new(out, repo, now, since_ms, err);
}

/* since_ms stays: what was found unreached after that is asked about when the change is appended. */
void wr_quarantine_follow(struct wr_quarantine *q, struct wr_snapshot *tips)
{
	wr_snapshot_unref(q->snap);
	q->snap = wr_snapshot_ref_more(tips);
	if (q->adding)
		q->check.snap = q->snap;
}

void wr_quarantine_free(struct wr_quarantine *q)
{
	if (!q)
		return;
	wr_pack_unref(q->pack);
	wr_intake_fini(&q->intake);
	wr_spool_fini(&q->spool);
	wr_blob_in_fini(&q->blob);
	wr_refs_check_fini(&q->check);
	wr_oidmap_fini(&q->rows);
	wr_oids_fini(&q->ended);
	if (q->dir >= 0)
		close(q->dir);
	/* What cannot be removed now is removed when the store is opened next. */
	if (q->path[0] && wr_file_remove(AT_FDCWD, q->path, NULL) != WR_OK)
		errno = 0;
	wr_snapshot_unref(q->with);
	wr_snapshot_unref(q->snap);
	free(q);
}

void wr_quarantine_shallow(struct wr_quarantine *q, const struct wr_oids *roots)
{
	q->shallow = roots;
}

void wr_quarantine_roots(struct wr_quarantine *q, const struct wr_oids *roots)
{
	q->ends = roots;
}

void wr_quarantine_room(struct wr_quarantine *q, const struct wr_room *room)
{
	q->room = room;
}

void wr_quarantine_taken(struct wr_quarantine *q)
{
	q->rules = wr_fsck_rules_taken(&q->rules);
	q->taken = true;
}

/* What is findable once the record is written: new objects, of twins the first. */
static enum wr_code map_rows(struct wr_quarantine *q, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (uint32_t i = 0; i < q->intake.count && code == WR_OK; i++)
		if (!q->intake.objects[i].known)
			code = wr_oidmap_add(&q->rows, &q->intake.objects[i].oid, i, NULL, err);
	return code;
}

static struct wr_incoming incoming(const struct wr_quarantine *q)
{
	struct wr_incoming in = {.dir = q->dir,
				 .pack = q->pack,
				 .relied = {&q->check.relied, &q->intake.relied},
				 .since_ms = q->since_ms,
				 .roots = &q->ended};

	if (!q->pack) {
		in.objects = q->intake.objects;
		in.count = q->intake.count;
		in.rows = &q->rows;
	}
	return in;
}

/* What the repository would be with the objects. */
static enum wr_code with_pack(struct wr_snapshot **out, const struct wr_quarantine *q, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code = wr_snapshot_copy(&snap, q->snap, err);

	if (code == WR_OK && q->pack)
		code = wr_snapshot_add_member(snap, q->pack, WR_ROLE_OTHER, NULL, err);
	if (code == WR_OK)
		*out = WR_STEAL(snap);
	return code;
}

/* Type and size of an object that came or was there; WR_E_NOT_THERE (nothing is written to err) for none. */
static enum wr_code stat_any(enum wr_type *type, uint64_t *size, const struct wr_quarantine *q,
			     const struct wr_snapshot *snap, const struct wr_oid *oid, struct wr_error *err)
{
	const uint32_t *slot = wr_oidmap_slot(&q->rows, oid);

	if (slot) {
		*type = q->intake.objects[*slot - 1].type;
		*size = q->intake.objects[*slot - 1].size;
		return WR_OK;
	}
	return wr_snapshot_has(snap, oid) ? wr_snapshot_stat(snap, oid, type, size, err) : WR_E_NOT_THERE;
}

/* A blob that some tree has as .gitmodules or .gitattributes. */
static enum wr_code look_at(struct wr_quarantine *q, const struct wr_snapshot *snap, const struct wr_oid *oid,
			    unsigned what, struct wr_error *err)
{
	const struct wr_incoming in = incoming(q);
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	struct wr_fault fault;
	enum wr_type type;
	enum wr_code code;
	uint64_t size = 0;

	code = stat_any(&type, &size, q, snap, oid, err);
	if (code == WR_E_NOT_THERE || (code == WR_OK && type != WR_BLOB)) {
		wr_fsck_no_blob(&fault, what, code != WR_OK, &q->rules);
		return fault.id == WR_FSCK_SOUND ? WR_OK : wr_fsck_fail(oid, &fault, err);
	}
	if (code != WR_OK)
		return code;
	if (wr_fsck_blob_wanted(what, size, &q->rules)) {
		/* A small pack can refer to much that is stored, or that it unpacks to. */
		q->looked += size;
		if (q->looked > q->repo->git->cfg.max_unpacked_bytes)
			return wr_fail(err, WR_E_TOO_LARGE, "more than %llu bytes of .gitmodules and .gitattributes",
				       (unsigned long long)q->repo->git->cfg.max_unpacked_bytes);
		if ((code = wr_incoming_read(&obj, &in, snap, oid, err)) != WR_OK)
			return code;
	}
	if ((code = wr_fsck_blob(&fault, what, size, wr_str_n(obj.data, obj.size), &q->rules, err)) != WR_OK)
		return code;
	return fault.id == WR_FSCK_SOUND ? WR_OK : wr_fsck_fail(oid, &fault, err);
}

static enum wr_code look_at_special(struct wr_quarantine *q, const struct wr_oidmap *special,
				    const struct wr_cancel *cancel, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code;

	if (special->len == 0)
		return WR_OK;
	code = with_pack(&snap, q, err);
	for (size_t i = 0; i < special->cap && code == WR_OK; i++) {
		if (!special->values[i])
			continue;
		if (cancel && cancel->fn && cancel->fn(cancel->arg))
			return wr_fail(err, WR_E_CANCELLED, "cancelled while a pack was checked");
		code = look_at(q, snap, &special->keys[i], special->values[i] - 1, err);
	}
	return code;
}

static enum wr_code take_in(struct wr_quarantine *q, struct wr_source *src, const struct wr_index_limits *limits,
			    const struct wr_index_rules *rules, const struct wr_progress *progress,
			    const struct wr_cancel *cancel, struct wr_error *err)
{
	const struct wr_index_folder folder = {open_folder, q};
	uint8_t id[WR_PACK_ID];
	enum wr_code code;

	/* The name says nothing of the content: equal packs may come twice, and never replace each other. */
	wr_random_bytes(id, sizeof id);
	memcpy(q->name, "pack-", 5);
	wr_hex(q->name + 5, id, sizeof id);
	if ((code = wr_index_pack(&q->intake, &folder, q->name, src, q->snap, limits, rules, progress, cancel, err)) !=
		    WR_OK ||
	    q->intake.count == 0)
		return code;
	code = q->intake.in_files ? wr_pack_open(&q->pack, q->dir, q->name, err) : map_rows(q, err);
	return code == WR_OK ? look_at_special(q, &q->intake.special, cancel, err) : code;
}

/* ---- histories that end before their beginning ---- */

static enum wr_code to_set(struct wr_oidmap *set, const struct wr_oids *list, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; list && i < list->len && code == WR_OK; i++)
		code = wr_oidmap_add(set, &list->v[i], 0, NULL, err);
	return code;
}

/*
 * Whose parents need not come: the new repository's ends, or those that the repository has. One that no ref reaches is
 * no end: it may be past its grace before this is appended.
 */
static enum wr_code find_cut(struct wr_oidmap *cut, const struct wr_quarantine *q, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) roots = {NULL, 0, 0};
	enum wr_code code = wr_snapshot_roots(&roots, q->snap, err);
	struct wr_place place;

	for (size_t i = 0; i < roots.len && code == WR_OK; i++)
		if (wr_snapshot_find(&place, q->snap, &roots.v[i]) && !wr_snapshot_unreached(q->snap, place))
			code = wr_oidmap_add(cut, &roots.v[i], 0, NULL, err);
	return code == WR_OK ? to_set(cut, q->ends, err) : code;
}

/* A commit that came, and has parents. */
static enum wr_code is_end(bool *out, const struct wr_quarantine *q, const struct wr_snapshot *with,
			   const struct wr_oid *oid, struct wr_error *err)
{
	const struct wr_incoming in = incoming(q);
	WR_AUTO_S(wr_commit) commit = {.parents = NULL};
	WR_AUTO_S(wr_object) obj = {.data = NULL};
	enum wr_type type;
	uint64_t size;
	enum wr_code code = stat_any(&type, &size, q, with, oid, err);

	*out = false;
	if (code == WR_E_NOT_THERE || (code == WR_OK && type != WR_COMMIT))
		return WR_OK;
	if (code == WR_OK && (code = wr_incoming_read(&obj, &in, with, oid, err)) == WR_OK)
		code = wr_commit_parse(&commit, wr_str_n(obj.data, obj.size), err);
	*out = commit.parent_count > 0;
	return code;
}

static enum wr_code find_ended(struct wr_quarantine *q, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *with = NULL;
	WR_AUTO_S(wr_oidmap) met = {.cap = 0};
	enum wr_code code = with_pack(&with, q, err);

	for (size_t i = 0; i < q->ends->len && code == WR_OK; i++) {
		const struct wr_oid *oid = &q->ends->v[i];
		bool end = false, added;

		if ((code = wr_oidmap_add(&met, oid, 0, &added, err)) == WR_OK && added)
			code = is_end(&end, q, with, oid, err);
		if (code == WR_OK && end)
			code = wr_oids_add(&q->ended, oid, err);
	}
	return code;
}

/* ---- a pack ---- */

enum wr_code wr_quarantine_pack(struct wr_quarantine *q, struct wr_source *src, const struct wr_progress *progress,
				const struct wr_cancel *cancel, struct wr_error *err)
{
	const struct wr_git_config *cfg = &q->repo->git->cfg;
	const struct wr_index_limits limits = {.max_bytes = cfg->max_pack_bytes,
					       .max_objects = cfg->max_pack_objects,
					       .max_object = cfg->max_object_bytes,
					       .max_unpacked = cfg->max_unpacked_bytes,
					       .max_memory = WR_INTAKE_MEMORY,
					       .max_depth = cfg->max_delta_depth,
					       .room = q->room};
	struct wr_index_rules rules = {.fsck = &q->rules};
	WR_AUTO_S(wr_oidmap) roots = {.cap = 0};
	WR_AUTO_S(wr_oidmap) cut = {.cap = 0};
	enum wr_code code;

	if (q->used || q->adding)
		return wr_fail(err, WR_E_INTERNAL, "a quarantine takes one pack");
	q->used = true;
	if ((code = to_set(&roots, q->shallow, err)) != WR_OK || (code = find_cut(&cut, q, err)) != WR_OK)
		return code;
	if (roots.len)
		rules.roots = &roots;
	if (cut.len)
		rules.cut = &cut;
	code = take_in(q, src, &limits, &rules, progress, cancel, err);
	if (code == WR_OK && q->ends)
		code = find_ended(q, err);
	/* A repository that was deleted meanwhile looks empty, and what the pack builds on is missed. */
	if ((code == WR_E_BAD_PACK || code == WR_E_SHALLOW_ROOT) && atomic_load(&q->repo->dead))
		return wr_fail(err, WR_E_NOT_THERE, "The repository was deleted");
	return code;
}

enum wr_code wr_quarantine_read(struct wr_object *out, struct wr_quarantine *q, const struct wr_oid *oid,
				struct wr_error *err)
{
	const struct wr_incoming in = incoming(q);
	enum wr_code code = q->with ? WR_OK : with_pack(&q->with, q, err);

	return code == WR_OK ? wr_incoming_read(out, &in, q->with, oid, err) : code;
}

enum wr_code wr_quarantine_stat(enum wr_type *type, uint64_t *size, struct wr_quarantine *q, const struct wr_oid *oid,
				struct wr_error *err)
{
	const struct wr_incoming in = incoming(q);
	enum wr_code code = q->with ? WR_OK : with_pack(&q->with, q, err);

	return code == WR_OK ? wr_incoming_stat(type, size, &in, q->with, oid, err) : code;
}

/* ---- objects of this server ---- */

static enum wr_code grow(struct wr_quarantine *q, struct wr_error *err)
{
	if (q->intake.count == q->cap) {
		uint32_t cap = q->cap ? q->cap * 2 : 8;
		struct wr_record_object *v = reallocarray(q->intake.objects, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		q->intake.objects = v;
		q->cap = cap;
	}
	return WR_OK;
}

/* What a new object resembles, and how long a chain on it is. */
struct base {
	struct wr_str bytes; /* ptr NULL: there is none that serves */
	struct wr_object obj; /* where it had to be read */
	unsigned depth;
};

static void base_fini(struct base *base)
{
	wr_object_fini(&base->obj);
}
#define BASE WR_CLEANUP(base_fini) struct base

/* What the new object has in common with the other one is not looked up again. */
static enum wr_code rely_on(struct wr_quarantine *q, const struct wr_oid *oid, struct wr_place place, struct wr_error *err)
{
	return wr_snapshot_unreached(q->snap, place) ? wr_oidmap_add(&q->check.relied, oid, 0, NULL, err) : WR_OK;
}

/* One that was added before would have to be read out of the collected bytes; nobody makes such chains. */
static enum wr_code find_base(struct base *base, struct wr_quarantine *q, enum wr_type type, const struct wr_like *like,
			      struct wr_error *err)
{
	struct wr_place place;
	enum wr_type is;
	enum wr_code code;

	if (!like || !wr_snapshot_find(&place, q->snap, &like->oid))
		return WR_OK;
	if ((code = wr_snapshot_depth(&base->depth, q->snap, place, err)) != WR_OK ||
	    (code = wr_snapshot_stat(q->snap, &like->oid, &is, NULL, err)) != WR_OK || is != type ||
	    (code = rely_on(q, &like->oid, place, err)) != WR_OK)
		return code;
	base->bytes = like->bytes;
	if (base->bytes.ptr)
		return WR_OK;
	if ((code = wr_snapshot_read_at(&base->obj, q->snap, place, NULL, err)) != WR_OK)
		return code;
	base->bytes = wr_str_n(base->obj.data, base->obj.size);
	return WR_OK;
}

/* The delta, unless it would not pay; *delta stays NULL then. */
static enum wr_code try_delta(uint8_t **delta, size_t *len, const struct base *base, struct wr_str bytes,
			      struct wr_error *err)
{
	enum wr_code code;

	if (!base->bytes.ptr || base->depth >= MAX_CHAIN)
		return WR_OK;
	code = wr_delta_make(delta, len, base->bytes, bytes, bytes.len / 2, err);
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

/* The entry that holds the object, and what a record says of it. */
static enum wr_code put_entry(struct wr_quarantine *q, struct wr_record_object *o, struct wr_str bytes,
			      const struct base *base, const struct wr_like *like, struct wr_error *err)
{
	WR_AUTO_MEM uint8_t *delta = NULL;
	WR_AUTO_MEM uint8_t *zip = NULL;
	const struct wr_index_folder folder = {open_folder, q};
	uint64_t at = wr_spool_len(&q->spool);
	size_t delta_len, zip_len, head_len;
	uint8_t head[16 + WR_OID_RAW];
	enum wr_code code;

	if ((code = try_delta(&delta, &delta_len, base, bytes, err)) != WR_OK)
		return code;
	if (delta)
		bytes = wr_str_n(delta, delta_len);
	if ((code = wr_deflate(&zip, &zip_len, bytes, err)) != WR_OK)
		return code;
	head_len = wr_entry_put(head, delta ? WR_REF_DELTA : (unsigned)o->type, bytes.len);
	if (delta) {
		memcpy(head + head_len, like->oid.id, WR_OID_RAW);
		head_len += WR_OID_RAW;
	}
	if ((code = grow(q, err)) != WR_OK ||
	    (code = wr_spool_add(&q->spool, &folder, wr_str_n(head, head_len), err)) != WR_OK ||
	    (code = wr_spool_add(&q->spool, &folder, wr_str_n(zip, zip_len), err)) != WR_OK)
		return code;
	o->raw = (const uint8_t *)(uintptr_t)at;
	o->raw_len = (uint32_t)(head_len + zip_len);
	o->depth = (uint16_t)(delta ? base->depth + 1 : 0);
	o->base = WR_NO_ROW;
	return WR_OK;
}

static void begin_adding(struct wr_quarantine *q)
{
	if (q->adding)
		return;
	q->adding = true;
	q->check.snap = q->snap;
	q->check.rules = &q->rules;
	q->check.limit = SIZE_MAX;
}

static enum wr_code add_new(struct wr_quarantine *q, struct wr_record_object *o, struct wr_str bytes,
			    const struct wr_like *like, struct wr_error *err)
{
	BASE base = {.obj = {.data = NULL}};
	struct wr_refs_like resembled;
	enum wr_code code;
	bool sound;

	begin_adding(q);
	if ((code = find_base(&base, q, o->type, like, err)) != WR_OK)
		return code;
	/* Else nobody knows under which rules it once came. */
	resembled = (struct wr_refs_like){.bytes = base.bytes, .sound = like && like->bytes.ptr && like->sound};
	if ((code = wr_refs_check_object_like(&sound, &q->check, &o->oid, o->type, bytes,
					      base.bytes.ptr ? &resembled : NULL, err)) != WR_OK ||
	    (code = put_entry(q, o, bytes, &base, like, err)) != WR_OK ||
	    (code = wr_oidmap_add(&q->rows, &o->oid, q->intake.count, NULL, err)) != WR_OK)
		return code;
	q->intake.objects[q->intake.count++] = *o;
	q->sound = sound && q->check.special.len == 0 && !q->taken;
	return WR_OK;
}

bool wr_quarantine_sound(const struct wr_quarantine *q)
{
	return q->sound;
}

/* The stored one serves. One that no ref reaches does not: it may be past its grace before this is appended. */
static bool stays(const struct wr_quarantine *q, const struct wr_oid *oid)
{
	struct wr_place place;

	return wr_snapshot_find(&place, q->snap, oid) && !wr_snapshot_unreached(q->snap, place);
}

enum wr_code wr_quarantine_add(struct wr_oid *out, struct wr_quarantine *q, enum wr_type type, struct wr_str bytes,
			       const struct wr_like *like, struct wr_error *err)
{
	struct wr_record_object o = {.type = type, .size = bytes.len};
	enum wr_code code;
	git_oid id;

	q->sound = false;
	if (q->used)
		return wr_fail(err, WR_E_INTERNAL, "a quarantine takes one pack, or single objects");
	if (bytes.len > q->repo->git->cfg.max_object_bytes || bytes.len > UINT32_MAX / 2)
		return wr_fail(err, WR_E_TOO_LARGE, "The object has %zu bytes", bytes.len);
	if (!bytes.ptr)
		bytes.ptr = "";
	if (git_odb_hash(&id, bytes.ptr, bytes.len, (git_object_t)type) < 0)
		return wr_fail(err, WR_E_BAD_PACK, "the object looks like an attack on SHA-1");
	memcpy(o.oid.id, id.id, WR_OID_RAW);
	if (q->rows.len >= q->repo->git->cfg.max_pack_objects)
		return wr_fail(err, WR_E_TOO_LARGE, "More than %zu objects", q->rows.len);
	if (!stays(q, &o.oid) && !wr_oidmap_has(&q->rows, &o.oid) &&
	    (code = add_new(q, &o, bytes, like, err)) != WR_OK)
		return code;
	*out = o.oid;
	return WR_OK;
}

enum wr_code wr_quarantine_blob_begin(struct wr_quarantine *q, struct wr_error *err)
{
	if (q->used)
		return wr_fail(err, WR_E_INTERNAL, "a quarantine takes one pack, or single objects");
	begin_adding(q);
	wr_blob_in_begin(&q->blob);
	return WR_OK;
}

static struct wr_blob_in_to blob_to(struct wr_quarantine *q, const struct wr_index_folder *folder)
{
	return (struct wr_blob_in_to){&q->spool, folder, q->repo->git->cfg.max_object_bytes};
}

enum wr_code wr_quarantine_blob_put(struct wr_quarantine *q, struct wr_str bytes, struct wr_error *err)
{
	const struct wr_index_folder folder = {open_folder, q};
	const struct wr_blob_in_to to = blob_to(q, &folder);

	return wr_blob_in_put(&q->blob, &to, bytes, err);
}

/* One that is there already was written for nothing; it is left in the spool, where no object leads to it. */
static enum wr_code end_large(struct wr_oid *out, struct wr_quarantine *q, struct wr_error *err)
{
	const struct wr_index_folder folder = {open_folder, q};
	const struct wr_blob_in_to to = blob_to(q, &folder);
	struct wr_record_object o = {.type = WR_BLOB, .size = q->blob.size, .base = WR_NO_ROW};
	uint64_t at;
	enum wr_code code = wr_blob_in_end(&o.oid, &at, &o.raw_len, &q->blob, &to, err);

	o.raw = (const uint8_t *)(uintptr_t)at;
	q->unproven = true;
	if (code == WR_OK && q->rows.len >= q->repo->git->cfg.max_pack_objects)
		code = wr_fail(err, WR_E_TOO_LARGE, "More than %zu objects", q->rows.len);
	if (code == WR_OK && !stays(q, &o.oid) && !wr_oidmap_has(&q->rows, &o.oid)) {
		if ((code = grow(q, err)) == WR_OK)
			code = wr_oidmap_add(&q->rows, &o.oid, q->intake.count, NULL, err);
		if (code == WR_OK)
			q->intake.objects[q->intake.count++] = o;
	}
	*out = o.oid;
	return code;
}

enum wr_code wr_quarantine_blob_end(struct wr_oid *out, struct wr_quarantine *q, struct wr_error *err)
{
	enum wr_code code = q->blob.large ? end_large(out, q, err)
					  : wr_quarantine_add(out, q, WR_BLOB, wr_buf_str(&q->blob.held), NULL, err);

	wr_blob_in_begin(&q->blob);
	return code;
}

enum wr_code wr_quarantine_only(struct wr_quarantine *q, const struct wr_oidmap *wanted, struct wr_error *err)
{
	uint32_t n = 0;

	wr_oidmap_fini(&q->rows);
	q->rows = (struct wr_oidmap){.cap = 0};
	for (uint32_t i = 0; i < q->intake.count; i++)
		if (wr_oidmap_has(wanted, &q->intake.objects[i].oid))
			q->intake.objects[n++] = q->intake.objects[i];
	q->intake.count = n;
	return map_rows(q, err);
}

/* What was collected, as the pack that it would be on the wire. */
struct added_source {
	struct wr_source base;
	const struct wr_spool *spool;
	const struct wr_record_object *objects;
	uint32_t count, next;
	uint64_t at; /* of what is left of an object's entry */
	size_t left;
	uint8_t edge[WR_PACK_HEADER + SHA1_LEN]; /* what is left of the header, or of the sum behind all */
	struct wr_str edge_left;
	EVP_MD_CTX *sha; /* NULL once the sum was made */
};

static enum wr_code end_sum(struct added_source *a, struct wr_error *err)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	bool ok = EVP_DigestFinal_ex(a->sha, sum, NULL) == 1;

	EVP_MD_CTX_free(a->sha);
	a->sha = NULL;
	memcpy(a->edge, sum, SHA1_LEN);
	a->edge_left = wr_str_n(a->edge, ok ? SHA1_LEN : 0);
	return ok ? WR_OK : wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
}

/* Some bytes of the pack but for its sum; 0: that is all. */
static enum wr_code next_bytes(struct added_source *a, uint8_t *buf, size_t cap, size_t *got, struct wr_error *err)
{
	enum wr_code code;

	if (a->edge_left.len == 0 && a->left == 0 && a->next < a->count) {
		a->at = (uint64_t)(uintptr_t)a->objects[a->next].raw;
		a->left = a->objects[a->next++].raw_len;
	}
	if (a->edge_left.len) {
		*got = a->edge_left.len < cap ? a->edge_left.len : cap;
		memcpy(buf, a->edge_left.ptr, *got);
		a->edge_left = wr_str_skip(a->edge_left, *got);
		return WR_OK;
	}
	*got = a->left < cap ? a->left : cap;
	if ((code = wr_spool_get(buf, a->spool, a->at, *got, err)) != WR_OK)
		return code;
	a->at += *got;
	a->left -= *got;
	return WR_OK;
}

static enum wr_code added_read(struct wr_source *base, void *buf, size_t cap, size_t *got, struct wr_error *err)
{
	struct added_source *a = (struct added_source *)base;
	size_t n = 1;
	enum wr_code code = WR_OK;

	for (*got = 0; *got < cap && n && code == WR_OK; *got += n) {
		if ((code = next_bytes(a, (uint8_t *)buf + *got, cap - *got, &n, err)) != WR_OK)
			break;
		if (n && a->sha && EVP_DigestUpdate(a->sha, (uint8_t *)buf + *got, n) != 1)
			return wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
		if (n == 0 && a->sha && (code = end_sum(a, err)) == WR_OK)
			code = next_bytes(a, (uint8_t *)buf + *got, cap - *got, &n, err);
	}
	return code;
}

static enum wr_code added_open(struct added_source *a, const struct wr_quarantine *q, struct wr_error *err)
{
	*a = (struct added_source){.base = {added_read},
				   .spool = &q->spool,
				   .objects = q->intake.objects,
				   .count = q->intake.count,
				   .edge = "PACK\0\0\0\2",
				   .sha = EVP_MD_CTX_new()};
	wr_put_be32(a->edge + 8, q->intake.count);
	a->edge_left = wr_str_n(a->edge, WR_PACK_HEADER);
	return a->sha && EVP_DigestInit_ex(a->sha, EVP_sha1(), NULL) == 1 ? WR_OK
									 : wr_fail(err, WR_E_INTERNAL, "SHA-1 failed");
}

/* Too much for a record: becomes a pack of its own, as it is where that says whether ids are sound. */
static enum wr_code spill(struct wr_quarantine *q, struct wr_error *err)
{
	const struct wr_index_limits limits = {.max_bytes = UINT64_MAX,
					       .max_objects = UINT32_MAX,
					       .max_object = q->repo->git->cfg.max_object_bytes,
					       .max_unpacked = UINT64_MAX,
					       .max_memory = WR_INTAKE_MEMORY,
					       .max_depth = WR_DELTA_DEPTH};
	const struct wr_index_rules checked = {.fsck = NULL};
	WR_AUTO_MEM struct wr_record_object *objects = q->intake.objects;
	struct added_source src;
	enum wr_code code = added_open(&src, q, err);

	(void)objects; /* only to be released */
	q->intake = (struct wr_intake){.count = 0};
	wr_oidmap_fini(&q->rows);
	q->rows = (struct wr_oidmap){.cap = 0};
	if (code == WR_OK)
		code = take_in(q, &src.base, &limits, &checked, NULL, NULL, err);
	EVP_MD_CTX_free(src.sha);
	wr_spool_fini(&q->spool);
	return code;
}

static enum wr_code seal_added(struct wr_quarantine *q, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	q->used = true;
	for (uint32_t i = 0; i < q->intake.count && code == WR_OK; i++)
		code = wr_refs_check_found(&q->check, &q->intake.objects[i].oid, q->intake.objects[i].type, err);
	if (code != WR_OK || (code = wr_refs_check_end(&q->check, false, err)) != WR_OK)
		return code;
	if (wr_spool_len(&q->spool) > WR_INTAKE_MEMORY || q->unproven) {
		code = spill(q, err);
	} else {
		q->intake.bytes = WR_STEAL(q->spool.bytes);
		for (uint32_t i = 0; i < q->intake.count; i++)
			q->intake.objects[i].raw = q->intake.bytes + (uintptr_t)q->intake.objects[i].raw;
	}
	return code == WR_OK ? look_at_special(q, &q->check.special, NULL, err) : code;
}

enum wr_code wr_quarantine_seal(struct wr_incoming *in, struct wr_quarantine *q, struct wr_error *err)
{
	enum wr_code code;

	if (!q->used && (code = seal_added(q, err)) != WR_OK)
		return code;
	*in = incoming(q);
	return WR_OK;
}
