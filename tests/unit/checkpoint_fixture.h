/*
 * tests/unit/checkpoint_fixture.h: a repository put together by hand, of packs that git made, a journal and a ref file,
 * with a model of what must be in it. src is a real repository with all the history; r.git is what is built.
 */
#ifndef CHECKPOINT_FIXTURE_H
#define CHECKPOINT_FIXTURE_H

#include "tests/unit/git_fixture.h"

#include "core/git/checkpoint.h"
#include "core/git/delta.h"
#include "core/git/pack_write.h"
#include "core/git/snapshot_internal.h"

#define MAX_OBJECT (64u << 20)

struct ck {
	struct fx f;
	int dir, packs, warren;
	struct wr_snapshot *snap;
	uint64_t number; /* of the next checkpoint and of its journal */
	struct wr_checkpoint last; /* the numbers of the last checkpoint only */
	uint64_t appended, written;
	struct wr_buf pushed; /* "<hex>\n" of each value that was ever pushed */
	struct wr_checkpoint_how how; /* the clock that the test moves */
};

static inline enum wr_code ck_journal(struct ck *c)
{
	return wr_journal_create(&c->snap->journals[0], c->warren, ++c->number, 0, c->snap->seq + 1, &c->f.err);
}

static inline int ck_setup(void **state)
{
	struct ck *c = calloc(1, sizeof *c);
	char path[128];

	assert_non_null(c);
	new_folder(c->f.dir, sizeof c->f.dir, "warren-ck");
	c->f.seed = first_seed();
	c->how.grace.now_ms = 1700000000000;
	c->pushed = (struct wr_buf)WR_BUF_INIT(16u << 20);
	sh(&c->f, "git init -q --bare r.git; git init -q --bare src; mkdir r.git/warren");
	snprintf(path, sizeof path, "%s/r.git", c->f.dir);
	c->dir = open(path, O_RDONLY | O_DIRECTORY);
	c->packs = openat(c->dir, "objects/pack", O_RDONLY | O_DIRECTORY);
	c->warren = openat(c->dir, "warren", O_RDONLY | O_DIRECTORY);
	assert_true(c->dir >= 0 && c->packs >= 0 && c->warren >= 0);
	assert_ok(wr_snapshot_new(&c->snap, MAX_OBJECT, &c->f.err));
	c->snap->journal_count = 1;
	assert_ok(ck_journal(c));
	*state = c;
	return 0;
}

static inline int ck_teardown(void **state)
{
	struct ck *c = *state;

	wr_snapshot_unref(c->snap);
	close(c->dir);
	close(c->packs);
	close(c->warren);
	wr_buf_fini(&c->pushed);
	assert_ok(wr_file_remove(AT_FDCWD, c->f.dir, NULL));
	wr_error_fini(&c->f.err);
	free(c);
	return 0;
}

/* ---- records ---- */

/* The record (and its pack, taken over) becomes part of the repository. */
static inline void ck_append(struct ck *c, struct wr_record *rec, struct wr_pack *pack)
{
	struct wr_snapshot *next = NULL;
	bool broken = false;

	c->appended += wr_record_len(rec) + (pack ? pack->size + pack->idx_size : 0);
	assert_ok(wr_journal_put(&broken, c->snap->journals[0], rec, &c->f.err));
	assert_ok(wr_journal_flush(c->snap->journals[0], &c->f.err));
	assert_ok(wr_snapshot_copy(&next, c->snap, &c->f.err));
	if (pack)
		assert_ok(wr_snapshot_add_member(next, pack, WR_ROLE_OTHER, NULL, &c->f.err));
	wr_pack_unref(pack);
	next->limits[0] = wr_journal_rows(next->journals[0]);
	assert_ok(wr_snapshot_apply(next, rec->updates, rec->update_count, rec->seq, &c->f.err));
	assert_ok(wr_snapshot_flatten(next, &c->f.err));
	wr_snapshot_unref(c->snap);
	c->snap = next;
}

static inline struct wr_ref ck_ref(const struct ck *c, const char *name)
{
	const struct wr_ref *ref;

	assert_ok(wr_snapshot_flatten(c->snap, NULL));
	ref = wr_snapshot_ref(c->snap, wr_str(name));
	return ref ? *ref : (struct wr_ref){.oid = {{0}}};
}

static inline void ck_update(struct wr_record_update *u, struct ck *c, const char *name, const struct wr_oid *new)
{
	bool counts = strncmp(name, "refs/heads/", 11) == 0 || strncmp(name, "refs/tags/", 10) == 0;
	char old_hex[WR_OID_HEX + 1], hex[WR_OID_HEX + 1];
	struct wr_ref old = ck_ref(c, name);

	*u = (struct wr_record_update){.name = wr_str(name), .old = old.oid, .new = *new};
	wr_oid_hex(old_hex, &old.oid);
	wr_oid_hex(hex, new);
	/* Whether the old value is still reached by the new one; what others reach does not count. */
	u->lossy = counts && !wr_oid_zero(&old.oid) &&
		   (wr_oid_zero(new) || sh_try(&c->f, NULL,
					       "test \"$(git -C src rev-parse %s^{})\" = %s && git -C src merge-base "
					       "--is-ancestor %s %s 2>/dev/null",
					       old_hex, old_hex, old_hex, hex) != 0);
	if (!wr_oid_zero(new) && sh_try(&c->f, NULL, "test $(git -C src cat-file -t %s) = tag", hex) == 0)
		sh_oid(&c->f, &u->peeled, "git -C src rev-parse %s^{}", hex);
}

/* The entries of a completed thin pack as a record has them: what the repository has serves as a base by its id. */
static inline void ck_objects(struct wr_record *rec, struct wr_buf *bytes, struct ck *c, const struct wr_pack *p)
{
	struct wr_record_object *v = calloc(p->count + 1, sizeof *v);
	uint32_t *rows = calloc(p->count + 1, sizeof *rows);
	size_t *at = calloc(p->count + 1, sizeof *at);

	assert_true(v && rows && at);
	memset(rows, 0xff, p->count * sizeof *rows);
	for (uint32_t rank = 0; rank < p->count; rank++) {
		uint32_t pos, n = rec->object_count;
		struct wr_record_object *o = &v[n];
		struct wr_entry e;
		uint8_t head[64];
		size_t len;

		assert_ok(wr_pack_at_rank(&pos, p, rank, NULL));
		wr_pack_oid(&o->oid, p, pos);
		if (wr_snapshot_has(c->snap, &o->oid))
			continue;
		assert_ok(wr_pack_entry(&e, p, pos, NULL));
		o->base = WR_NO_ROW;
		at[n] = bytes->len;
		len = wr_entry_put(head, e.kind <= WR_TAG ? e.kind : WR_REF_DELTA, e.size);
		if (e.kind > WR_TAG) {
			struct wr_oid base;

			wr_pack_oid(&base, p, e.base);
			memcpy(head + len, base.id, WR_OID_RAW);
			len += WR_OID_RAW;
			o->base = rows[e.base];
			o->depth = o->base == WR_NO_ROW ? 1 : (uint16_t)(v[o->base].depth + 1);
		}
		wr_buf_add(bytes, head, len);
		wr_buf_add(bytes, p->data + e.data, (size_t)(e.end - e.data));
		o->raw_len = (uint32_t)(bytes->len - at[n]);
		rows[pos] = rec->object_count++;
	}
	assert_true(wr_buf_ok(bytes));
	for (uint32_t i = 0; i < rec->object_count; i++)
		v[i].raw = (const uint8_t *)bytes->ptr + at[i];
	rec->objects = v;
	free(rows);
	free(at);
}

/* Types and sizes, which a real record has from the indexer. */
static inline void ck_sizes(struct wr_record *rec, struct ck *c)
{
	WR_AUTO_S(wr_buf) in = WR_BUF_INIT(16u << 20);
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(16u << 20);
	struct wr_record_object *v = (struct wr_record_object *)(uintptr_t)rec->objects;
	char hex[WR_OID_HEX + 1], *line;

	for (uint32_t i = 0; i < rec->object_count; i++) {
		wr_oid_hex(hex, &v[i].oid);
		wr_buf_printf(&in, "%s\n", hex);
	}
	write_whole(&c->f, "in", wr_buf_str(&in));
	sh_out(&c->f, &out, "git -C src cat-file --batch-check='%%(objecttype) %%(objectsize)' < in");
	line = out.ptr;
	for (uint32_t i = 0; i < rec->object_count; i++) {
		char *space = strchr(line, ' ');

		v[i].type = line[0] == 'c' ? WR_COMMIT : line[0] == 'b' ? WR_BLOB : line[1] == 'r' ? WR_TREE : WR_TAG;
		v[i].size = strtoull(space + 1, &line, 10);
		line++;
	}
}

enum how { AS_RECORD, AS_PACK };

/* ref becomes value (NULL: goes), and all that it needs comes along: in the record, or as a pack of its own. */
static inline void ck_push(struct ck *c, const char *ref, const struct wr_oid *value, enum how how)
{
	static const struct wr_oid zero;
	WR_AUTO_S(wr_buf) bytes = WR_BUF_INIT(64u << 20);
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);
	struct wr_record_update u;
	struct wr_record rec = {.updates = &u, .update_count = 1};
	struct wr_pack *pack = NULL;
	char hex[WR_OID_HEX + 1], pack_name[64];

	ck_update(&u, c, ref, value ? value : &zero);
	if (!value) {
		ck_append(c, &rec, NULL);
		return;
	}
	wr_oid_hex(hex, value);
	write_whole(&c->f, "pushed", wr_buf_str(&c->pushed));
	sh_out(&c->f, &name,
	       "rm -rf t; mkdir t; (echo %s; echo --not; cat pushed) > revs; git -C src pack-objects -q --revs --thin "
	       "--stdout --delta-base-offset < revs > t/thin; git -C src index-pack --fix-thin --rev-index --stdin "
	       "../t/p.pack < t/thin >/dev/null; echo pack-$(tail -c 20 t/p.pack | od -An -v -tx1 | tr -d ' \\n')", hex);
	name.ptr[WR_PACK_NAME] = '\0';
	snprintf(pack_name, sizeof pack_name, "%s", name.ptr);
	wr_buf_printf(&c->pushed, "%s\n", hex);
	sh(&c->f, "for i in pack idx rev; do mv t/p.$i t/%s.$i; done", pack_name);
	if (how == AS_PACK) {
		/* Sent twice: the second time everything is there. */
		sh(&c->f, "for i in pack idx rev; do cp -n t/%s.$i r.git/objects/pack/; done", pack_name);
		assert_ok(wr_pack_open(&pack, c->packs, pack_name, &c->f.err));
		rec.has_pack = true;
		assert_true(wr_unhex(rec.pack, WR_PACK_ID, wr_str(pack_name + 5)));
		if (pack->count == 0) {
			wr_pack_unref(pack);
			pack = NULL;
			rec.has_pack = false;
		}
		ck_append(c, &rec, pack);
	} else {
		WR_AUTO_FD int t = openat(c->dir, "../t", O_RDONLY | O_DIRECTORY);

		assert_ok(wr_pack_open(&pack, t, pack_name, &c->f.err));
		ck_objects(&rec, &bytes, c, pack);
		ck_sizes(&rec, c);
		ck_append(c, &rec, NULL);
		free((void *)(uintptr_t)rec.objects);
		wr_pack_unref(pack);
	}
}

/* ---- checkpoints ---- */

/* Files that the repository no longer consists of go. */
static inline void ck_sweep(struct ck *c)
{
	WR_AUTO_S(wr_buf) keep = WR_BUF_INIT(1 << 20);

	wr_buf_addz(&keep, "none\n");
	for (size_t i = 0; i < c->snap->member_count; i++)
		wr_buf_printf(&keep, "%s\n", c->snap->members[i].pack->name);
	write_whole(&c->f, "keep", wr_buf_str(&keep));
	sh(&c->f, "cd r.git/objects/pack; for i in *; do grep -qx ${i%%.*} ../../../keep || rm -f $i; done");
}

static inline enum wr_code ck_build(struct wr_checkpoint *out, struct ck *c)
{
	return wr_checkpoint_build(out, c->snap, c->packs, c->warren, ++c->number, &c->how, NULL, &c->f.err);
}

/* The repository is a checkpoint and an empty journal from now on. */
static inline void ck_checkpoint(struct ck *c)
{
	WR_AUTO_S(wr_checkpoint) made = {0};
	struct wr_snapshot *next = NULL;

	if (ck_build(&made, c) != WR_OK)
		fail_msg("%s %s", c->f.err.text, c->f.err.detail);
	assert_ok(wr_snapshot_new(&next, MAX_OBJECT, &c->f.err));
	for (size_t i = 0; i < made.member_count; i++)
		assert_ok(wr_snapshot_add(next, &made.members[i], &c->f.err));
	next->stored = wr_refsfile_ref(made.stored);
	next->seq = wr_refsfile_seq(made.stored);
	assert_int_equal(next->seq, c->snap->seq);
	next->journal_count = 1;
	wr_snapshot_unref(c->snap);
	c->snap = next;
	assert_ok(ck_journal(c));
	assert_ok(wr_checkpoint_export(c->dir, c->snap, WR_S("b0"), &c->f.err));
	ck_sweep(c);
	c->written += made.written;
	c->last = made;
	c->last.members = NULL;
	c->last.stored = NULL;
}

/* "<hex>" of every entry of the packs with these roles, sorted, into a file. */
static inline void ck_list(struct ck *c, const char *file, bool closure, bool alive)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(64u << 20);
	char hex[WR_OID_HEX + 1];

	for (size_t i = 0; i < c->snap->member_count; i++) {
		const struct wr_member *m = &c->snap->members[i];

		for (uint32_t pos = 0; pos < m->pack->count && (m->role == WR_ROLE_BASE || m->role == WR_ROLE_TAIL) == closure; pos++) {
			struct wr_oid oid;

			if (wr_dead_has(m->dead, pos) == alive)
				continue;
			wr_pack_oid(&oid, m->pack, pos);
			wr_oid_hex(hex, &oid);
			wr_buf_printf(&out, "%s\n", hex);
		}
	}
	write_whole(&c->f, "unsorted", wr_buf_str(&out));
	sh(&c->f, "sort unsorted > %s", file);
}

/* Base and tails are exactly the closure, each object once; nothing that ever came is gone; plain git is content. */
static inline void ck_check(struct ck *c)
{
	WR_AUTO_S(wr_buf) tips = WR_BUF_INIT(4u << 20);
	char hex[WR_OID_HEX + 1];
	const struct wr_ref *refs;
	unsigned bases = 0;
	size_t n;

	assert_ok(wr_snapshot_flatten(c->snap, NULL));
	refs = wr_snapshot_refs(c->snap, &n);
	for (size_t i = 0; i < n; i++) {
		wr_oid_hex(hex, &refs[i].oid);
		if (wr_str_starts(refs[i].name, WR_S("refs/heads/")) || wr_str_starts(refs[i].name, WR_S("refs/tags/")))
			wr_buf_printf(&tips, "%s\n", hex);
	}
	for (size_t i = 0; i < c->snap->member_count; i++)
		bases += c->snap->members[i].role == WR_ROLE_BASE;
	assert_true(bases <= 1);
	write_whole(&c->f, "tips", wr_buf_str(&tips));
	write_whole(&c->f, "pushed", wr_buf_str(&c->pushed));
	ck_list(c, "closure", true, true);
	sh(&c->f, "git -C src rev-list --objects --stdin < tips | cut -c1-40 | sort > wanted; cmp wanted closure");
	sh(&c->f, "git -C src rev-list --objects --stdin < pushed | cut -c1-40 | sort > all; "
		  "git -C r.git cat-file --batch-all-objects --batch-check='%%(objectname)' | sort -u > there; "
		  "cmp all there");
	sh(&c->f, "git -C r.git fsck --full --strict --no-dangling --no-progress 2>errors || { cat errors >&2; false; }; "
		  "git -C r.git for-each-ref --format='%%(objectname)' refs/heads refs/tags | sort > g; "
		  "sort tips | cmp - g");
}

#endif
