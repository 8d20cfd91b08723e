/* Verification of sound and of damaged repositories; and every object through libgit2's own reader. */
#include "tests/unit/checkpoint_fixture.h"

#include <git2/errors.h>
#include <git2/global.h>
#include <git2/odb.h>

#include "core/git/libgit2.h"
#include "core/git/verify.h"

static void verify(struct wr_verified *out, struct ck *c)
{
	if (wr_verify(out, c->snap, c->packs, NULL, &c->f.err) != WR_OK)
		fail_msg("%s %s", c->f.err.text, c->f.err.detail);
}

static void sound(struct ck *c)
{
	WR_AUTO_S(wr_verified) v = {0};

	verify(&v, c);
	if (v.problem_count)
		fail_msg("%s", v.problems[0]);
}

/* At least one of the problems says this. */
static void finds(struct ck *c, const char *what)
{
	WR_AUTO_S(wr_verified) v = {0};

	verify(&v, c);
	assert_true(v.problem_count > 0);
	for (size_t i = 0; i < v.problems_kept; i++)
		if (strstr(v.problems[i], what))
			return;
	fail_msg("\"%s\" instead of \"%s\"", v.problems[0], what);
}

static void blob(struct ck *c, struct wr_oid *out, const char *text)
{
	write_whole(&c->f, "blob", wr_str(text));
	sh_oid(&c->f, out, "git -C src hash-object -w ../blob");
}

/* A history: the first half in a checkpoint, the second in a journal and a pack; one branch outside. */
static void history(struct ck *c)
{
	WR_AUTO_S(wr_oids) commits = {NULL, 0, 0};
	WR_AUTO_S(wr_oids) tags = {NULL, 0, 0};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);

	sh(&c->f, "rm -rf src");
	make_history(&c->f, "src", 60);
	sh_out(&c->f, &text, "git -C src rev-list --all --reverse");
	oids_of(&commits, &text);
	sh_out(&c->f, &text, "git -C src for-each-ref refs/tags --format='%%(objectname)'");
	oids_of(&tags, &text);
	ck_push(c, "refs/heads/b0", &commits.v[commits.len / 2], AS_RECORD);
	ck_push(c, "refs/tags/t", &tags.v[0], AS_RECORD);
	ck_push(c, "refs/pull/1", &commits.v[commits.len / 2 + 2], AS_RECORD);
	ck_checkpoint(c);
	ck_push(c, "refs/heads/b1", &commits.v[commits.len - 3], AS_RECORD);
	ck_push(c, "refs/pull/2", &commits.v[commits.len - 1], AS_PACK);
}

static void sound_ones_are_found_sound(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_verified) v = {0};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);

	verify(&v, c);
	assert_int_equal(v.problem_count + v.objects + v.refs, 0);
	history(c);
	verify(&v, c);
	if (v.problem_count)
		fail_msg("%s", v.problems[0]);
	assert_int_equal(v.refs, 5);
	assert_int_equal(v.packs, c->snap->member_count);
	assert_int_equal(v.journals, 1);
	assert_int_equal(v.commits + v.trees + v.blobs + v.tags, v.objects);
	assert_true(v.closure < v.reachable && v.reachable <= v.objects);
	write_whole(&c->f, "pushed", wr_buf_str(&c->pushed));
	sh_out(&c->f, &text, "git -C src rev-list --objects --stdin < pushed | wc -l");
	assert_int_equal(v.reachable, strtoul(text.ptr, NULL, 10));
	ck_checkpoint(c);
	sound(c);
}

static bool yes(void *arg)
{
	(void)arg;
	return true;
}

static void a_cancelled_one_ends(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_verified) v = {0};
	const struct wr_cancel cancel = {yes, NULL};

	history(c);
	assert_int_equal(wr_verify(&v, c->snap, c->packs, &cancel, &c->f.err), WR_E_CANCELLED);
}

/* ---- damage ---- */

/* A byte of a file becomes another; the maps of the open pack show it. */
static void flip(int fd, off_t at)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void every_byte_of(struct ck *c, const char *ext)
{
	WR_AUTO_FD int fd = -1;
	char path[128];
	off_t size;

	sh(&c->f, "cd r.git/objects/pack; chmod u+w *; ln -f *.%s ../../../file", ext);
	snprintf(path, sizeof path, "%s/file", c->f.dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	size = lseek(fd, 0, SEEK_END);
	assert_true(size > 50);
	for (off_t at = 0; at < size; at++) {
		WR_AUTO_S(wr_verified) v = {0};

		flip(fd, at);
		verify(&v, c);
		if (v.problem_count == 0)
			fail_msg("byte %ld of .%s", (long)at, ext);
		flip(fd, at);
	}
}

static void every_flipped_byte_is_found(void **state)
{
	struct ck *c = *state;
	struct wr_oid oid;

	for (unsigned i = 0; i < 5; i++) {
		char ref[32], text[64];

		snprintf(ref, sizeof ref, "refs/tags/t%u", i);
		snprintf(text, sizeof text, "a text %u that is not very long", i);
		blob(c, &oid, text);
		ck_push(c, ref, &oid, AS_RECORD);
	}
	ck_checkpoint(c);
	assert_int_equal(c->snap->member_count, 1);
	sound(c);
	every_byte_of(c, "pack");
	every_byte_of(c, "idx");
	every_byte_of(c, "rev");
	sound(c);
}

/* One of each role, with something dead in base. */
static void unreached(struct ck *c)
{
	struct wr_oid oid;

	for (unsigned i = 0; i < 6; i++) {
		char ref[32], text[64];

		snprintf(ref, sizeof ref, i == 5 ? "refs/pull/1" : "refs/tags/t%u", i);
		snprintf(text, sizeof text, "a text %u that is not very long", i);
		blob(c, &oid, text);
		ck_push(c, ref, &oid, AS_RECORD);
	}
	ck_push(c, "refs/tags/t0", NULL, AS_RECORD);
	ck_checkpoint(c);
	ck_push(c, "refs/tags/t1", NULL, AS_RECORD);
	ck_checkpoint(c);
	assert_int_equal(c->snap->member_count, 3);
	assert_int_equal(c->snap->members[0].dead->count, 1);
	assert_int_equal(c->snap->members[1].role, WR_ROLE_CRUFT);
}

static void times_and_roles_are_checked(void **state)
{
	struct ck *c = *state;
	struct wr_member *m;
	struct wr_dead *dead;

	unreached(c);
	sound(c);
	every_byte_of(c, "mtimes");
	m = c->snap->members;
	m[1].since++;
	finds(c, "older than the ref file says");
	m[1].since--;
	m[1].role = WR_ROLE_OTHER;
	finds(c, "counts as other refs'");
	m[1].role = WR_ROLE_CRUFT;
	m[2].role = WR_ROLE_CRUFT;
	m[2].since = 1;
	finds(c, "has the time of one that no ref reaches");
	m[2].role = WR_ROLE_OTHER;
	m[2].since = 0;
	dead = m[0].dead;
	m[0].dead = NULL;
	finds(c, "is reached by no head and no tag");
	m[0].dead = dead;
	dead->since[0] = 0;
	finds(c, "counts as other refs'");
	dead->since[0] = 1700000000;
	sound(c);
	sh(&c->f, "rm r.git/objects/pack/*.mtimes");
	finds(c, "mtimes is missing");
}

/* A commit that outlives its tree. */
static void what_goes_too_early_is_found(void **state)
{
	struct ck *c = *state;
	struct wr_dead *dead;
	struct wr_oid commit;

	sh(&c->f, "rm -rf src");
	make_history(&c->f, "src", 20);
	sh_oid(&c->f, &commit, "git -C src rev-list --all --reverse | tail -n 1");
	ck_push(c, "refs/heads/b0", &commit, AS_RECORD);
	ck_checkpoint(c);
	ck_push(c, "refs/heads/b0", NULL, AS_RECORD);
	ck_checkpoint(c);
	for (size_t i = 0; i < c->snap->member_count; i++) {
		struct wr_member *m = &c->snap->members[i];
		uint32_t pos;

		if (m->role == WR_ROLE_CRUFT && wr_pack_find(&pos, m->pack, &commit)) {
			sound(c);
			dead = wr_dead_new(m->pack->count - 1);
			for (uint32_t k = 0, n = 0; k < m->pack->count; k++)
				if (k != pos)
					wr_dead_put(dead, n++, k, WR_DEAD_GONE);
			m->dead = dead;
			finds(c, "objects that no ref reaches need");
			return;
		}
	}
	fail_msg("nothing became cruft");
}

/* A pack made by hand becomes a member. */
static void add_pack(struct ck *c, struct pb *b, enum wr_role role)
{
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);
	WR_AUTO(wr_pack) *pack = NULL;

	write_whole(&c->f, "p.pack", pb_end(b));
	wr_buf_fini(&b->out);
	sh_out(&c->f, &name, "n=$(git -C r.git index-pack --rev-index --stdin < p.pack); echo pack-${n#pack?}");
	name.ptr[WR_PACK_NAME] = '\0';
	assert_ok(wr_pack_open(&pack, c->packs, name.ptr, &c->f.err));
	assert_ok(wr_snapshot_add_member(c->snap, pack, role, NULL, &c->f.err));
}

static void set_ref(struct ck *c, const char *name, const struct wr_oid *oid, const struct wr_oid *peeled)
{
	struct wr_record_update u = {.name = wr_str(name), .new = *oid};
	struct wr_record rec = {.updates = &u, .update_count = 1};

	if (peeled)
		u.peeled = *peeled;
	ck_append(c, &rec, NULL);
}

static void what_is_missing_is_found(void **state)
{
	struct ck *c = *state;
	const struct wr_oid nothing = {{7}};
	struct wr_oid oid;
	struct pb b;

	set_ref(c, "refs/heads/b0", &nothing, NULL);
	finds(c, "is missing");
	/* A tree whose file is not there. */
	pb_begin(&b, 1);
	pb_object(&b, WR_TREE, wr_str_n("100644 f\0aaaaaaaaaaaaaaaaaaaa", 29));
	oid_of(&oid, WR_TREE, wr_str_n("100644 f\0aaaaaaaaaaaaaaaaaaaa", 29));
	add_pack(c, &b, WR_ROLE_OTHER);
	set_ref(c, "refs/heads/b0", &oid, NULL);
	finds(c, "blob 6161616161616161616161616161616161616161 is missing");
}

static void wrong_types_are_found(void **state)
{
	struct ck *c = *state;
	struct wr_oid empty, oid;
	struct wr_buf tree = WR_BUF_INIT(100);
	struct pb b;

	oid_of(&empty, WR_TREE, WR_S(""));
	wr_buf_add(&tree, "100644 f", 9);
	wr_buf_add(&tree, empty.id, WR_OID_RAW);
	oid_of(&oid, WR_TREE, wr_buf_str(&tree));
	pb_begin(&b, 2);
	pb_object(&b, WR_TREE, WR_S(""));
	pb_object(&b, WR_TREE, wr_buf_str(&tree));
	add_pack(c, &b, WR_ROLE_OTHER);
	set_ref(c, "refs/heads/b0", &oid, NULL);
	finds(c, "is a tree where a blob is needed");
	wr_buf_fini(&tree);
}

/* The wrong one of two references comes behind the right one. */
static void every_reference_has_a_type(void **state)
{
	struct ck *c = *state;
	struct wr_oid empty, oid;
	struct wr_buf tree = WR_BUF_INIT(100);
	struct pb b;

	oid_of(&empty, WR_TREE, WR_S(""));
	wr_buf_add(&tree, "40000 a", 8);
	wr_buf_add(&tree, empty.id, WR_OID_RAW);
	wr_buf_add(&tree, "100644 b", 9);
	wr_buf_add(&tree, empty.id, WR_OID_RAW);
	oid_of(&oid, WR_TREE, wr_buf_str(&tree));
	pb_begin(&b, 2);
	pb_object(&b, WR_TREE, WR_S(""));
	pb_object(&b, WR_TREE, wr_buf_str(&tree));
	add_pack(c, &b, WR_ROLE_OTHER);
	set_ref(c, "refs/heads/b0", &oid, NULL);
	finds(c, "is a tree where a blob is needed");
	wr_buf_fini(&tree);
}

static void what_libgit2_refuses_is_found(void **state)
{
	struct ck *c = *state;
	struct pb b;

	pb_begin(&b, 1);
	pb_object(&b, WR_COMMIT, WR_S("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nno author\n\nx\n"));
	add_pack(c, &b, WR_ROLE_OTHER);
	finds(c, "libgit2 does not take commit");
}

static void what_refs_say_of_tags_is_checked(void **state)
{
	struct ck *c = *state;
	const struct wr_oid other = {{9}};
	struct wr_oid oid, peeled;

	sh(&c->f, "rm -rf src");
	make_history(&c->f, "src", 20);
	sh(&c->f, "cd src; git tag -f -a -m inner inner $(git rev-list --all -1); git tag -f -a -m outer nested inner 2>/dev/null");
	sh_oid(&c->f, &oid, "git -C src rev-parse nested");
	sh_oid(&c->f, &peeled, "git -C src rev-parse nested^{}");
	ck_push(c, "refs/tags/t", &oid, AS_RECORD);
	sound(c);
	set_ref(c, "refs/tags/t", &oid, &other);
	finds(c, "leads to another object");
	set_ref(c, "refs/tags/t", &oid, &peeled);
	sound(c);
}

/* A base that holds what no head reaches, although the snapshot says that nothing was lost. */
static void an_inexact_closure_is_found(void **state)
{
	struct ck *c = *state;
	struct wr_oid one, two;
	struct pb b;

	oid_of(&one, WR_BLOB, WR_S("one"));
	oid_of(&two, WR_BLOB, WR_S("two"));
	pb_begin(&b, 2);
	pb_object(&b, WR_BLOB, WR_S("one"));
	pb_object(&b, WR_BLOB, WR_S("two"));
	add_pack(c, &b, WR_ROLE_BASE);
	set_ref(c, "refs/tags/one", &one, NULL);
	set_ref(c, "refs/pull/two", &two, NULL);
	finds(c, "is reached by no head and no tag");
	c->snap->lost = true;
	sound(c);
	c->snap->lost = false;
	set_ref(c, "refs/tags/two", &two, NULL);
	sound(c);
	pb_begin(&b, 1);
	pb_object(&b, WR_BLOB, WR_S("two"));
	add_pack(c, &b, WR_ROLE_TAIL);
	finds(c, " and in pack-");
}

static void many_problems_are_counted(void **state)
{
	struct ck *c = *state;
	WR_AUTO_S(wr_verified) v = {0};

	for (unsigned i = 0; i < WR_VERIFY_PROBLEMS + 20; i++) {
		const struct wr_oid oid = {{1, (uint8_t)i}};
		char name[32];

		snprintf(name, sizeof name, "refs/tags/t%03u", i);
		set_ref(c, name, &oid, NULL);
	}
	verify(&v, c);
	assert_true(v.problem_count >= WR_VERIFY_PROBLEMS + 20);
	assert_int_equal(v.problems_kept, WR_VERIFY_PROBLEMS);
}

/* ---- libgit2 ---- */

static void libgit2_reads_every_object(void **state)
{
	struct ck *c = *state;
	WR_AUTO_LIBGIT2 git_repository *repo = NULL;
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	WR_AUTO_S(wr_oids) all = {NULL, 0, 0};
	const git_oid nothing = {{5}};
	git_object *object = NULL;
	git_odb *odb = NULL;

	history(c);
	write_whole(&c->f, "pushed", wr_buf_str(&c->pushed));
	sh_out(&c->f, &text, "git -C src rev-list --objects --stdin < pushed | cut -c1-40");
	oids_of(&all, &text);
	assert_true(all.len > 100);
	assert_ok(wr_libgit2_open(&repo, c->snap, &c->f.err));
	assert_int_equal(git_repository_odb(&odb, repo), 0);
	for (size_t i = 0; i < all.len; i++) {
		WR_AUTO_S(wr_object) ours = {.data = NULL};
		git_odb_object *theirs = NULL;
		git_object_t type;
		git_oid id;
		size_t len;

		memcpy(id.id, all.v[i].id, WR_OID_RAW);
		assert_ok(wr_snapshot_read(&ours, c->snap, &all.v[i], &c->f.err));
		assert_true(git_odb_exists(odb, &id));
		assert_int_equal(git_odb_read_header(&len, &type, odb, &id), 0);
		assert_int_equal(len, ours.size);
		assert_int_equal(type, ours.type);
		/* It recomputes the id itself. */
		assert_int_equal(git_odb_read(&theirs, odb, &id), 0);
		assert_int_equal(git_odb_object_size(theirs), ours.size);
		assert_memory_equal(git_odb_object_data(theirs), ours.data, ours.size);
		git_odb_object_free(theirs);
		assert_int_equal(git_object_lookup(&object, repo, &id, (git_object_t)ours.type), 0);
		git_object_free(object);
	}
	assert_false(git_odb_exists(odb, &nothing));
	assert_int_equal(git_object_lookup(&object, repo, &nothing, GIT_OBJECT_ANY), GIT_ENOTFOUND);
	git_odb_free(odb);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, ck_setup, ck_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(sound_ones_are_found_sound),
		T(a_cancelled_one_ends),
		T(every_flipped_byte_is_found),
		T(times_and_roles_are_checked),
		T(what_goes_too_early_is_found),
		T(what_is_missing_is_found),
		T(wrong_types_are_found),
		T(every_reference_has_a_type),
		T(what_libgit2_refuses_is_found),
		T(what_refs_say_of_tags_is_checked),
		T(an_inexact_closure_is_found),
		T(many_problems_are_counted),
		T(libgit2_reads_every_object),
	};
	int failed;

	git_libgit2_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	git_libgit2_shutdown();
	return failed;
}
