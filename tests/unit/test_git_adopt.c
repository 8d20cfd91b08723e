/*
 * Taking repositories of plain git in, and giving them out: the same refs, exactly the objects that they reach,
 * whatever git made of its files; a sentence for what cannot be taken; nothing believed that is on the disk. Git is the
 * judge.
 */
#include "tests/unit/git_fixture.h"

#include "core/git/adopt.h"
#include "core/git/adopt_internal.h"
#include "core/git/loose.h"
#include "core/git/refsfile.h"
#include "core/git/snapshot_internal.h"
#include "core/git/verify.h"

static void next_id(char id[37])
{
	static unsigned n;

	snprintf(id, 37, "22222222-3333-4333-8444-%012u", ++n);
}

static const char *folder(const char *id)
{
	static char path[128];

	snprintf(path, sizeof path, "data/repos/%.2s/%.2s/%s.git", id, id + 2, id);
	return path;
}

static void nothing_left(struct fx *f, const char *id)
{
	sh(f, "test -z \"$(find data/repos -name '%s*' 2>/dev/null)\"", id);
}

static enum wr_code adopt(struct wr_adopted *out, struct fx *f, const char *id, const char *name, bool may_link)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", f->dir, name);
	return wr_git_adopt(out, f->git, id, path, may_link, NULL, NULL, &f->err);
}

/* make_history()'s "src", which has the branches b0 and b1 whatever chance says. */
static void history(struct fx *f, unsigned commits)
{
	make_history(f, "src", commits);
	sh(f, "cd src; for b in b0 b1; do git rev-parse -q --verify $b >/dev/null || git branch $b $(git rev-list "
	      "--all -1); done");
}

/* The refs of a repository and what they reach, in the files "refs" and "want". */
static void look_at(struct fx *f, const char *name)
{
	sh(f,
	   "git --git-dir=%s for-each-ref --format='%%(objectname) %%(*objectname) %%(refname)' | LC_ALL=C sort -k3 "
	   ">refs",
	   name);
	sh(f, "cut -d' ' -f1 refs | git --git-dir=%s rev-list --objects --stdin </dev/stdin | cut -c1-40 | sort >want",
	   name);
}

/* The folder against what look_at() noted. Refs may have the same value, but no object may be there twice. */
static void judge_files(struct fx *f, const char *path)
{
	sh(f,
	   "git --git-dir=%s for-each-ref --format='%%(objectname) %%(*objectname) %%(refname)' | LC_ALL=C sort -k3 "
	   ">got; "
	   "cmp got refs",
	   path);
	sh(f,
	   "git --git-dir=%s fsck --full --strict 2>&1 | grep -v '^notice' >said || true; "
	   "! grep -E 'error|missing|broken|dangling|unreachable' said || { cat said >&2; false; }",
	   path);
	sh(f,
	   "for i in %s/objects/pack/*.idx; do test -e $i || continue; git show-index <$i; done | cut -d' ' -f2 | sort "
	   ">got; "
	   "cmp got want",
	   path);
	sh(f, "test -z \"$(find %s/objects -type f | grep -v /pack/)\"", path);
}

static void judge(struct fx *f, const char *id, const struct wr_adopted *out)
{
	WR_AUTO(wr_git_repo) *repo = NULL;
	WR_AUTO_S(wr_verified) v = {.refs = 0};
	WR_AUTO_S(wr_buf) n = WR_BUF_INIT(100);

	judge_files(f, folder(id));
	assert_ok(wr_git_repo_open(&repo, f->git, id, &f->err));
	assert_ok(wr_verify_repo(&v, repo, NULL, &f->err));
	if (v.problem_count)
		print_error("%s\n", v.problems[0]);
	assert_int_equal(v.problem_count, 0);
	assert_int_equal(v.reachable, out->objects);
	assert_int_equal(v.objects, out->objects);
	assert_int_equal(v.refs, out->refs);
	sh_out(f, &n, "cat %s/objects/pack/*.pack %s/objects/pack/*.idx %s/objects/pack/*.rev | wc -c", folder(id),
	       folder(id), folder(id));
	assert_int_equal(strtoull(n.ptr, NULL, 10), out->bytes);
}

static uint64_t number(struct fx *f, const char *cmd)
{
	WR_AUTO_S(wr_buf) n = WR_BUF_INIT(100);

	sh_out(f, &n, "%s", cmd);
	return strtoull(n.ptr, NULL, 10);
}

/* ---- what git makes of its files ---- */

static void loose_commits(struct fx *f)
{
	for (unsigned i = 0, n = 1 + chance(f, 4); i < n; i++) {
		unsigned b = chance(f, 5), r = (unsigned)rand_r(&f->seed);

		sh(f,
		   "cd src; p=$(git rev-parse -q --verify refs/heads/b%u || git rev-list --all -1); "
		   "o=$(echo content %u | git hash-object -w --stdin); "
		   "t=$( (git ls-tree $p; printf '100644 blob %%s\\tz%u\\n' $o) | sort -u -t'\t' -k2,2 | git mktree); "
		   "c=$(git commit-tree -m m%u -p $p $t); git update-ref refs/heads/b%u $c",
		   b, r, r % 7, r, b);
	}
}

static void unpack(struct fx *f)
{
	sh(f, "rm -rf aside; mkdir aside; mv src/objects/pack/* aside/ 2>/dev/null || true; "
	      "for p in aside/*.pack; do test -e $p && git -C src unpack-objects -q <$p; done; true");
}

static void vary(struct fx *f)
{
	static const char *const commands[] = {
		"git -C src repack -q",
		"git -C src repack -q -d",
		"git -C src repack -adq",
		"git -C src repack -adfq --depth=5",
		"git -C src -c gc.cruftPacks=true gc -q --cruft --prune=never",
		"git -C src gc -q --prune=now",
		"git -C src pack-refs --all",
		"git -C src pack-refs --all --prune",
		"git -C src repack -Adq --write-midx 2>/dev/null; git -C src commit-graph write --reachable "
		"2>/dev/null",
		"git -C src repack -adbq",
		"git -C src branch -D b1 >/dev/null 2>&1 || true",
		"git -C src branch -f b2 b0~1 2>/dev/null || true",
		"git -C src update-ref refs/pull/7/head $(git -C src rev-list --all -1)",
		"git -C src update-ref --no-deref HEAD $(git -C src rev-list --all -1)",
		"git -C src symbolic-ref HEAD refs/heads/b0",
		"git -C src symbolic-ref HEAD refs/heads/not/born",
		"git -C src symbolic-ref refs/remotes/origin/HEAD $(git -C src for-each-ref --format='%(refname)' "
		"refs/heads "
		"| head -1)",
		"git -C src update-ref 'refs/heads/\"odd\xc3\xa4'\"'\"';$x' $(git -C src rev-list --all -1)",
		"git -C src tag -f -a -m again again $(git -C src rev-list --all -1) >/dev/null; "
		"git -C src -c advice.nestedTag=false tag -f -a -m more more again >/dev/null",
		"git -C src tag -d again more >/dev/null 2>&1 || true",
		"git -C src update-ref refs/notes/tree $(git -C src rev-parse b0^{tree} 2>/dev/null || git -C src "
		"rev-list --all "
		"-1) 2>/dev/null || true",
	};
	unsigned which = chance(f, WR_ARRAY_LEN(commands) + 4);

	if (which < WR_ARRAY_LEN(commands))
		sh(f, "%s", commands[which]);
	else if (which == WR_ARRAY_LEN(commands))
		unpack(f);
	else
		loose_commits(f);
}

static void what_git_made_is_taken(void **state)
{
	struct fx *f = *state;
	unsigned linked = 0, copied = 0, left = 0, own = 0;

	history(f, 25);
	for (unsigned i = 0; i < rounds(12); i++) {
		struct wr_adopted out;
		uint64_t all;
		char id[37];

		for (unsigned k = 0; i > 3 && k < 3; k++)
			vary(f);
		if (i == 2)
			unpack(f);
		if (i == 3)
			sh(f, "git -C src repack -q; date | git -C src hash-object -w --stdin >/dev/null");
		next_id(id);
		if (adopt(&out, f, id, "src", i % 2) != WR_OK) {
			print_error("seed %u: %s %s\n", first_seed(), f->err.text, f->err.detail);
			fail();
		}
		look_at(f, "src");
		judge(f, id, &out);
		all = number(f, "git -C src cat-file --batch-all-objects --batch-check | wc -l");
		assert_int_equal(out.left_out, all - out.objects);
		linked += out.linked;
		copied += out.copied;
		left += out.left_out > 0;
		own += out.linked + out.copied == 0;
	}
	assert_true(linked && copied && left && own);
}

static void the_whole_pack_is_linked_or_copied(void **state)
{
	struct fx *f = *state;
	struct wr_adopted out;
	char id[37];

	history(f, 30);
	sh(f, "git -C src symbolic-ref HEAD refs/heads/b0; chmod a-w src/objects/pack/*");
	look_at(f, "src");
	for (unsigned link = 0; link < 2; link++) {
		next_id(id);
		assert_ok(adopt(&out, f, id, "src", link));
		assert_int_equal(out.linked, link);
		assert_int_equal(out.copied, 1 - link);
		assert_int_equal(out.left_out, 0);
		assert_string_equal(out.head, "b0");
		judge(f, id, &out);
		sh(f, "test $(stat -c %%h src/objects/pack/*.pack) = %u", 1 + link);
		sh(f, "test \"$(cat %s/HEAD)\" = 'ref: refs/heads/b0'", folder(id));
	}
	/* What is left of the original matters to nobody. */
	sh(f, "rm -rf src");
	judge(f, id, &out);
}

/* Each ref's objects in the packs of their kind: what only refs/pull/ reaches is not in the closure. */
static void other_refs_come_apart(void **state)
{
	struct fx *f = *state;
	struct wr_adopted out;
	char id[37];

	history(f, 20);
	sh(f, "cd src; t=$(git rev-parse b0^{tree}); c=$(git commit-tree -m pull -p b0 $t); "
	      "git update-ref refs/pull/1/head $c");
	for (unsigned i = 0; i < 3; i++) {
		/* Loose, a pack of its own, and in one pack with all others. */
		if (i == 1)
			sh(f, "git -C src repack -q");
		if (i == 2)
			sh(f, "git -C src repack -adq");
		next_id(id);
		assert_ok(adopt(&out, f, id, "src", true));
		look_at(f, "src");
		judge(f, id, &out);
		assert_int_equal(out.left_out, 0);
	}
}

static void many_refs(void **state)
{
	struct fx *f = *state;
	struct wr_adopted out;
	char id[37];

	history(f, 10);
	sh(f, "git -C src pack-refs --all; i=0; while test $i -lt 70; do mkdir -p src/refs/heads/n$i/m$((i %% 7)); "
	      "i=$((i+1)); done");
	sh(f, "c=$(git -C src rev-list --all -1); i=0; while test $i -lt 5000; do "
	      "echo $c >src/refs/heads/n$((i %% 70))/m$((i %% 7))/r$i; i=$((i+1)); done");
	sh(f, "c=$(git -C src rev-list --all | tail -1); echo $c >src/refs/heads/b0"); /* hides the packed one */
	sh(f, "echo nothing >src/refs/heads/b1.lock; mkdir src/refs/heads/empty; touch src/refs/.hidden");
	next_id(id);
	assert_ok(adopt(&out, f, id, "src", false));
	assert_true(out.refs > 5000);
	look_at(f, "src");
	judge(f, id, &out);
}

/* So many deltas that a second thread helps; and what one of them finds wrong is known in the end. */
static void a_large_pack(void **state)
{
	struct fx *f = *state;
	struct wr_adopted out;
	char id[37];

	history(f, 600);
	assert_true(number(f, "git verify-pack -v src/objects/pack/*.idx | awk 'NF == 7' | wc -l") > 1000);
	next_id(id);
	assert_ok(adopt(&out, f, id, "src", false));
	look_at(f, "src");
	judge(f, id, &out);
	sh(f, "cd src; t=$( (git ls-tree b0; printf '100644 blob %%s\\t.git\\n' $(git rev-parse b0:$(git ls-tree -r "
	      "--name-only b0 | "
	      "head -1))) | git mktree); git update-ref refs/heads/bad $(git commit-tree -m bad -p b0 $t); git repack "
	      "-adfq --depth=50");
	next_id(id);
	assert_int_equal(adopt(&out, f, id, "src", false), WR_E_INVALID_REQUEST);
	assert_non_null(strstr(f->err.text, "hasDotgit"));
	sh(f, "git -C src update-ref -d refs/heads/bad");
	assert_ok(adopt(&out, f, id, "src", false));
	assert_int_equal(out.left_out, 2);
	judge(f, id, &out);
}

static void one_without_refs_is_empty(void **state)
{
	struct fx *f = *state;
	WR_AUTO(wr_snapshot) *snap = NULL;
	WR_AUTO(wr_git_repo) *repo = NULL;
	struct wr_adopted out;
	char id[37];

	sh(f, "git init -q --bare -b trunk src; echo x | git -C src hash-object -w --stdin >/dev/null");
	next_id(id);
	assert_ok(adopt(&out, f, id, "src", false));
	assert_string_equal(out.head, "trunk");
	assert_int_equal(out.left_out, 1);
	assert_int_equal(out.refs + out.objects + out.bytes, 0);
	nothing_left(f, id);
	assert_ok(wr_git_repo_open(&repo, f->git, id, &f->err));
	assert_ok(wr_snapshot_take(&snap, repo, &f->err));
}

static void what_has_a_folder_is_not_taken_twice(void **state)
{
	struct fx *f = *state;
	struct wr_adopted out;
	char id[37];

	history(f, 5);
	next_id(id);
	assert_ok(adopt(&out, f, id, "src", false));
	assert_int_equal(adopt(&out, f, id, "src", false), WR_E_EXISTS);
	look_at(f, "src");
	judge(f, id, &out);
}

/* It is a repository as any other: pushed to, checkpointed, opened again. */
static void life_goes_on(void **state)
{
	struct fx *f = *state;
	struct wr_adopted out;
	struct wr_oid tip;
	char id[37];
	bool did;

	history(f, 25);
	sh(f, "git -C src branch -f gone b0; git -C src repack -adq");
	next_id(id);
	assert_ok(adopt(&out, f, id, "src", true));
	wr_git_repo_unref(f->repo);
	assert_ok(wr_git_repo_open(&f->repo, f->git, id, &f->err));
	sh_oid(f, &tip, "git -C src rev-parse b0");
	for (unsigned i = 0; i < 3; i++) {
		WR_AUTO_S(wr_buf) pack = WR_BUF_INIT(1 << 20);
		struct wr_oid next;

		sh_oid(f, &next, "cd src; git commit-tree -m new%u -p b0 $(git rev-parse b0^{tree}) | tee new", i);
		sh_out(f, &pack,
		       "cd src; (cat new; echo ^b0) | git pack-objects --revs --stdout -q; git update-ref "
		       "refs/heads/b0 "
		       "$(cat new)");
		assert_ok(push(f, wr_buf_str(&pack), "refs/heads/b0", &next));
		assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
		fx_stop(f);
		assert_ok(wr_git_open(&f->git, &f->cfg, &f->err));
		assert_ok(wr_git_repo_open(&f->repo, f->git, id, &f->err));
	}
	sh(f, "rm src/new");
	look_at(f, "src");
	judge_files(f, folder(id));
}

/* ---- refusals ---- */

struct refusal {
	const char *how;   /* in a copy of a sound repository */
	const char *words; /* of the sentence */
};

#define ONE "$(git rev-parse b0)"
#define TREE "$(git rev-parse b0^{tree})"
/* "make a commit of this tree and a branch of it" */
#define BRANCH(tree) "c=$(git commit-tree -m bad " tree "); git update-ref refs/heads/bad $c"

static const struct refusal refusals[] = {
	{"rm HEAD", "no bare Git repository"},
	{"rm -r objects", "no bare Git repository"},
	{"rm -r refs", "no bare Git repository"},
	{"rm -r refs; mkdir .git", "working copy"},
	{"rm HEAD; ln -s refs/heads/b0 HEAD", "HEAD is no ordinary file"},
	{"rm HEAD; mkfifo HEAD", "HEAD is no ordinary file"},
	{"echo nonsense >HEAD", "HEAD is damaged"},
	{"mv objects o; ln -s o objects", "objects is no folder"},
	{"mv refs r; ln -s r refs", "refs is no folder"},
	{"mv objects/pack p; ln -s ../p objects/pack", "objects/pack is a symbolic link"},
	{"p=$(ls objects/pack/*.pack); mv $p x; ln -s ../../x $p", "is not an ordinary file"},
	{"p=$(ls objects/pack/*.pack); rm -f $p; mkfifo $p", "is not an ordinary file"},
	{"mv packed-refs x; ln -s x packed-refs", "packed-refs is not an ordinary file"},
	{"ln -s b0 refs/heads/link", "refs/heads/link is not an ordinary file"},
	{"mkfifo refs/heads/pipe", "refs/heads/pipe is not an ordinary file"},
	{"c=" ONE "; echo $c >shallow", "shallow"},
	{"echo /elsewhere >objects/info/alternates", "alternates"},
	{"echo http://example.org/ >objects/info/http-alternates", "alternates"},
	{"echo .. >commondir", "worktree"},
	{"git config -f config extensions.objectFormat sha256; git config -f config core.repositoryFormatVersion 1",
	 "SHA-1"},
	{"printf '[Extensions] ObjectFormat = \"sha256\"' >>config", "SHA-1"},
	{"git config -f config core.repositoryFormatVersion 1; git config -f config extensions.refStorage reftable",
	 "extensions.refStorage"},
	{"mkdir reftable", "reftable"},
	{"git config -f config core.repositoryFormatVersion 1; git config -f config extensions.partialClone origin",
	 "partial clone"},
	{"git config -f config remote.origin.promisor true", "partial clone"},
	{"p=$(ls objects/pack/*.pack); touch ${p%%.pack}.promisor", "partial clone"},
	{"git config -f config core.repositoryFormatVersion 1; git config -f config extensions.newThing 1",
	 "extensions.newthing"},
	{"git config -f config core.repositoryFormatVersion 7", "repositoryFormatVersion"},
	{"echo '[core' >>config", "config file"},
	{"echo '"
	 "0000000000000000000000000000000000000000"
	 " refs/heads/null' >>packed-refs",
	 "packed-refs is damaged"},
	{"printf '%s refs/heads/unended' " ONE " >>packed-refs", "packed-refs is damaged"},
	{"echo \"" ONE " refs/heads/a..b\" >>packed-refs", "refs/heads/a..b has a name"},
	{"echo \"" ONE " refs/heads/b0\" >>packed-refs", "names refs/heads/b0 twice"},
	{"echo \"^" ONE "\" >packed-refs", "Line 1 of packed-refs"},
	{"truncate -s 1T packed-refs", "packed-refs has more than"},
	{"truncate -s 1T config", "config has more than"},
	{"p=$(ls objects/pack/*.pack); chmod u+w $p; echo more >>$p", ".pack is damaged (bad pack: bytes follow its end)"},
	{"echo short >refs/heads/x", "refs/heads/x is damaged"},
	{": >refs/heads/x", "refs/heads/x is damaged"},
	{"git update-ref refs/stash b0", "refs/stash has a name"},
	{"git update-ref refs/warren/x b0", "belongs to the server"},
	{"c=" ONE "; mkdir -p refs/heads/b0-/x; echo $c >refs/heads/b0-/x/y; echo $c >refs/heads/b0-a; "
	 "echo \"" ONE " refs/heads/b0-/x\" >>packed-refs",
	 "folder of the other"},
	{"git symbolic-ref refs/remotes/origin/HEAD refs/heads/none", "leads nowhere"},
	{"git symbolic-ref refs/heads/s1 refs/heads/s2; echo 'ref: refs/heads/s1' >refs/heads/s2", "leads nowhere"},
	{"echo 0123456789012345678901234567890123456789 >refs/heads/x", "incomplete"},
	{"t=" TREE "; echo $t >refs/heads/x", "refs/heads/x is no commit"},
	{"t=$(printf '100644 blob 0123456789012345678901234567890123456789\\tx\\n' | git mktree --missing); " BRANCH(
		 "$t"),
	 "incomplete"},
	{"b=$(echo x | git hash-object -w --stdin); c=$(printf 'tree %s\\nauthor A <a> 1 +0000\\ncommitter A <a> 1 "
	 "+0000\\n\\nm\\n' $b | git hash-object -t commit -w --stdin --literally); echo $c >refs/heads/bad",
	 "where a tree is needed"},
	{"b=$(echo x | git hash-object -w --stdin); t=$(printf '100644 blob %s\\t.git\\n' $b | git mktree); " BRANCH(
		 "$t"),
	 "hasDotgit"},
	{"b=$(printf '[submodule \"x\"]\\nurl = -u./y\\npath = x\\n' | git hash-object -w --stdin); "
	 "t=$(printf '100644 blob %s\\t.gitmodules\\n' $b | git mktree); " BRANCH("$t"),
	 "gitmodulesUrl"},
	{"i=$(ls objects/pack/*.idx); p=${i%%.idx}.pack; mv $p p; git unpack-objects -q <p; rm -f p $i; "
	 "b=$(git rev-parse b0 | sed 's,..,&/,'); rm -f objects/$b; printf x >objects/$b",
	 "whose file is damaged"},
	{"i=$(ls objects/pack/*.idx); p=${i%%.idx}.pack; mv $p p; git unpack-objects -q <p; rm -f p $i; "
	 "b=$(git rev-parse b0 | sed 's,..,&/,'); t=$(git rev-parse b0^{tree} | sed 's,..,&/,'); cp -f objects/$t "
	 "objects/$b",
	 "whose file is damaged"},
};

static void refusals_have_a_sentence(void **state)
{
	struct fx *f = *state;
	struct wr_adopted out = {.refs = 77};
	char id[37];

	history(f, 12);
	sh(f, "git -C src pack-refs --all --prune; mkdir -p src/objects/info");
	for (size_t i = 0; i < WR_ARRAY_LEN(refusals); i++) {
		WR_AUTO_MEM char *how = NULL;
		enum wr_code code;

		next_id(id);
		write_whole(f, "how", wr_str(refusals[i].how));
		if (sh_try(f, NULL,
			   "rm -rf bad; cp -r src bad; sed -i 's/%%%%/%%/g' how; cd bad; sh -e ../how >../said 2>&1")) {
			print_error("%s\n", refusals[i].how);
			sh(f, "cat said >&2; false");
		}
		code = adopt(&out, f, id, "bad", i % 2);
		if (code != WR_E_INVALID_REQUEST || !strstr(f->err.text, refusals[i].words))
			print_error("%s: %d %s %s\n", refusals[i].how, (int)code, f->err.text, f->err.detail);
		assert_int_equal(code, WR_E_INVALID_REQUEST);
		assert_non_null(strstr(f->err.text, refusals[i].words));
		assert_null(strstr(f->err.text, f->dir));
		nothing_left(f, id);
	}
	assert_int_equal(out.refs, 77);
	next_id(id);
	assert_int_equal(adopt(&out, f, id, "nowhere", false), WR_E_INVALID_REQUEST);
	sh(f, "ln -s src link; echo x >file");
	assert_int_equal(adopt(&out, f, id, "link", false), WR_E_INVALID_REQUEST);
	assert_int_equal(adopt(&out, f, id, "file", false), WR_E_INVALID_REQUEST);
	assert_ok(adopt(&out, f, id, "src", false));
}

/* One id as two types, whichever comes first. */
static void one_object_has_one_type(void **state)
{
	static const char *const orders[] = {"100644 a\\0${b}40000 b\\0${b}", "40000 a\\0${b}100644 b\\0${b}"};
	struct fx *f = *state;
	struct wr_adopted out;
	char id[37];

	for (unsigned tree = 0; tree < 2; tree++) {
		for (unsigned i = 0; i < 2; i++) {
			sh(f,
			   "rm -rf src; git init -q --bare src; cd src; o=$(printf '' | git hash-object -t %s -w "
			   "--stdin); "
			   "b=$(echo $o | sed 's/../\\\\x&/g'); /usr/bin/printf \"%s\" >raw; "
			   "t=$(git hash-object -t tree -w --literally raw); git update-ref refs/heads/main "
			   "$(git commit-tree -m m $t)",
			   tree ? "tree" : "blob", orders[i]);
			next_id(id);
			assert_int_equal(adopt(&out, f, id, "src", false), WR_E_INVALID_REQUEST);
			assert_non_null(strstr(f->err.text, "is needed"));
			nothing_left(f, id);
		}
	}
}

/* Faults and damage of what stays behind are nobody's business. */
static void what_is_not_reached_does_not_matter(void **state)
{
	struct fx *f = *state;
	struct wr_adopted out;
	char id[37];

	history(f, 12);
	sh(f, "git -C src gc -q --prune=now; cd src; b=$(echo x | git hash-object -w --stdin); t=$(printf '100644 blob "
	      "%%s\\t.git\\n' $b | git mktree); "
	      "git commit-tree -m bad $t >/dev/null; printf 'nonsense' | git hash-object -t commit -w --stdin "
	      "--literally >/dev/null; "
	      "m=$(printf '[submodule \"x\"]\\nurl = -u./y\\n' | git hash-object -w --stdin); "
	      "printf '100644 blob %%s\\t.gitmodules\\n' $m | git mktree >/dev/null; "
	      "printf '100644 blob 0123456789012345678901234567890123456789\\tx\\n' | git mktree --missing >/dev/null; "
	      "mkdir -p objects/00; printf garbage >objects/00/00000000000000000000000000000000000000; "
	      "printf x >objects/00/tmp_obj_x; printf x >objects/pack/tmp_pack_x; cp objects/pack/*.pack "
	      "objects/pack/pack-x.pack; "
	      "chmod u+w objects/pack/pack-x.pack; printf x >>objects/pack/pack-x.pack; ln -s x objects/pack/x.keep; "
	      "echo '# nothing' >/dev/null; mkdir worktrees; : >shallow; : >objects/info/alternates");
	look_at(f, "src");
	for (unsigned i = 0; i < 2; i++) {
		next_id(id);
		assert_ok(adopt(&out, f, id, "src", i));
		assert_int_equal(out.left_out, 7);
		judge(f, id, &out);
		/* The same with all of that in a pack. */
		sh(f, "cd src; rm -f objects/00/0* objects/pack/pack-x.pack; (git cat-file --batch-all-objects "
		      "--batch-check='%%(objectname)') | git pack-objects -q objects/pack/pack >/dev/null; "
		      "git prune-packed -q");
	}
}

/* ---- damage ---- */

static void turn_a_bit(struct fx *f, const char *path)
{
	char full[512];
	struct stat st;
	FILE *file;
	int c;

	snprintf(full, sizeof full, "%s/%s", f->dir, path);
	assert_int_equal(stat(full, &st), 0);
	assert_int_equal(chmod(full, 0600), 0);
	if (chance(f, 6) == 0) {
		assert_int_equal(truncate(full, (off_t)chance(f, (unsigned)st.st_size + 1)), 0);
		return;
	}
	file = fopen(full, "r+b");
	assert_non_null(file);
	for (unsigned i = 0, n = 1 + chance(f, 3); i < n && st.st_size; i++) {
		long at = (long)chance(f, (unsigned)st.st_size);

		assert_int_equal(fseek(file, at, SEEK_SET), 0);
		c = fgetc(file);
		assert_int_equal(fseek(file, at, SEEK_SET), 0);
		fputc(c ^ (1 << chance(f, 8)), file);
	}
	fclose(file);
}

static void damage_is_refused_or_does_no_harm(void **state)
{
	struct fx *f = *state;
	unsigned taken = 0, refused = 0;

	history(f, 20);
	sh(f,
	   "git -C src repack -q; git -C src pack-refs --all; git -C src branch -f b0 $(git -C src rev-list --all -1)");
	loose_commits(f);
	look_at(f, "src");
	for (unsigned i = 0; i < rounds(30); i++) {
		WR_AUTO_S(wr_buf) files = WR_BUF_INIT(1 << 20);
		struct wr_adopted out;
		char id[37], *line;
		size_t n, at;
		enum wr_code code;

		sh(f, "rm -rf bad; cp -r src bad");
		sh_out(f, &files, "find bad/objects bad/refs bad/HEAD bad/packed-refs bad/config -type f %s | sort",
		       chance(f, 2) ? "-path '*/pack/*'" : "");
		n = 0;
		for (size_t k = 0; k < files.len; k++)
			n += files.ptr[k] == '\n';
		line = files.ptr;
		for (at = chance(f, (unsigned)n); at; at--)
			line = strchr(line, '\n') + 1;
		*strchr(line, '\n') = '\0';
		turn_a_bit(f, line);
		next_id(id);
		code = adopt(&out, f, id, "bad", i % 2);
		if (code == WR_E_INVALID_REQUEST) {
			refused++;
			nothing_left(f, id);
			continue;
		}
		if (code != WR_OK)
			print_error("seed %u: %s: %s\n", first_seed(), line, f->err.detail);
		assert_ok(code);
		/* A ref may have become another one; then what it says counts. */
		if (strstr(line, "/refs/") || strstr(line, "/packed-refs"))
			look_at(f, "bad");
		judge(f, id, &out);
		look_at(f, "src");
		taken++;
	}
	assert_true(taken && refused);
}

/* ---- breaking off ---- */

struct patience {
	unsigned left, asked, told;
	bool last;
};

static bool lost_patience(void *arg)
{
	struct patience *p = arg;

	p->asked++;
	return p->left == 0 || p->left-- == 0;
}

static void count_told(void *arg, const char *stage, uint64_t done, uint64_t total, bool last)
{
	struct patience *p = arg;

	assert_true(stage[0]);
	assert_true(total == 0 || done <= total);
	p->told++;
	p->last = last;
}

static void breaking_off_leaves_nothing(void **state)
{
	struct fx *f = *state;
	struct patience p = {.left = 1000000};
	const struct wr_cancel cancel = {lost_patience, &p};
	const struct wr_progress progress = {count_told, &p};
	char id[37], path[256];
	struct wr_adopted out;
	unsigned steps, step;

	history(f, 40);
	loose_commits(f);
	snprintf(path, sizeof path, "%s/src", f->dir);
	/* A copy asks more often than a link. */
	for (unsigned link = 0; link < 2; link++) {
		p = (struct patience){.left = 1000000};
		next_id(id);
		assert_ok(wr_git_adopt(&out, f->git, id, path, link, &progress, &cancel, &f->err));
		steps = p.asked;
		assert_true(steps > 5 && p.told > 3 && p.told < 1000 && p.last);
		step = 1 + steps / rounds(5);
		for (unsigned i = 0; i < steps; i += step) {
			p = (struct patience){.left = i};
			next_id(id);
			assert_int_equal(wr_git_adopt(&out, f->git, id, path, link, NULL, &cancel, &f->err),
					 WR_E_CANCELLED);
			nothing_left(f, id);
		}
	}
	wr_git_repo_unref(f->repo);
	next_id(id);
	assert_ok(wr_git_adopt(&out, f->git, id, path, false, NULL, NULL, &f->err));
	assert_ok(wr_git_repo_open(&f->repo, f->git, id, &f->err));
	snprintf(path, sizeof path, "%s/out.git", f->dir);
	p = (struct patience){.left = 1000000};
	assert_ok(wr_git_export(&out, f->repo, path, WR_S("b0"), false, &progress, &cancel, &f->err));
	steps = p.asked;
	assert_true(steps > 2 && p.told > 2 && p.last);
	sh(f, "rm -rf out.git");
	for (unsigned i = 0; i < steps; i++) {
		p = (struct patience){.left = i};
		assert_int_equal(wr_git_export(&out, f->repo, path, WR_S("b0"), false, NULL, &cancel, &f->err),
				 WR_E_CANCELLED);
		sh(f, "test -z \"$(ls | grep out.git)\"");
	}
}

/* ---- giving out ---- */

static enum wr_code export(struct wr_adopted *out, struct fx *f, const char *name, bool may_link) {
	char path[256];

	snprintf(path, sizeof path, "%s/%s", f->dir, name);
	return wr_git_export(out, f->repo, path, WR_S("b0"), may_link, NULL, NULL, &f->err);
}

static void judge_export(struct fx *f, const char *name, const struct wr_adopted *out)
{
	judge_files(f, name);
	assert_int_equal(out->refs, number(f, "wc -l <refs"));
	assert_int_equal(out->objects, number(f, "wc -l <want"));
	sh(f,
	   "test \"$(cat %s/HEAD)\" = 'ref: refs/heads/b0'; test ! -e %s/warren; test -z \"$(ls | grep new-)\"; "
	   "test -z \"$(find %s -name '*.lock')\"",
	   name, name, name);
	sh(f,
	   "rm -rf clone; git clone -q --mirror %s clone; git --git-dir=clone fsck --full 2>&1 | (! grep -E "
	   "'error|missing'); "
	   "git --git-dir=clone for-each-ref --format='%%(objectname) %%(*objectname) %%(refname)' | LC_ALL=C sort -k3 "
	   ">got; "
	   "cmp got refs",
	   name);
}

/* Beside journals, packs of pushes, checkpoints, dead objects; and taken in again, what came out is the same. */
static void what_goes_out_comes_in(void **state)
{
	struct fx *f = *state;
	unsigned linked = 0, copied = 0;
	WR_AUTO_S(wr_oids) commits = {NULL, 0, 0};
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1 << 20);
	bool did;

	history(f, 30);
	push_all(f, "src");
	sh_out(f, &text, "git -C src rev-list --branches");
	oids_of(&commits, &text);
	for (unsigned i = 0; i < rounds(4); i++) {
		struct wr_adopted out, back;
		char id[37], branch[64];

		for (unsigned k = i < 2 ? 0 : chance(f, 3); k > 0; k--) {
			WR_AUTO(wr_snapshot) *snap = NULL;
			const struct wr_oid *to = &commits.v[chance(f, (unsigned)commits.len)];
			char hex[WR_OID_HEX + 1];

			snprintf(branch, sizeof branch, "refs/heads/b%u", chance(f, 5));
			assert_ok(wr_snapshot_take(&snap, f->repo, &f->err));
			if (!wr_snapshot_has(snap, to) || push(f, WR_S(""), branch, to) != WR_OK)
				continue;
			wr_oid_hex(hex, to);
			sh(f, "git -C src update-ref %s %s", branch, hex);
		}
		if (i == 0 || chance(f, 2))
			assert_ok(wr_git_repo_checkpoint(&did, f->repo, &f->err));
		sh(f, "rm -rf out.git");
		assert_ok(export(&out, f, i % 3 ? "out.git" : "out.git//", i % 2));
		look_at(f, "src");
		judge_export(f, "out.git", &out);
		next_id(id);
		assert_ok(adopt(&back, f, id, "out.git", chance(f, 2)));
		assert_int_equal(back.objects, out.objects);
		assert_int_equal(back.left_out, 0);
		assert_string_equal(back.head, "b0");
		judge(f, id, &back);
		linked += out.linked;
		copied += out.copied;
	}
	assert_true(linked && copied);
}

/* No client can make one, so a ref of the checkpoint gets such a name. */
static void hide_ref(struct fx *f, const char *id)
{
	static struct wr_ref refs[64];
	WR_AUTO(wr_refsfile) *file = NULL;
	struct wr_refsfile_pack packs[4];
	struct wr_refsfile_contents contents = {.packs = packs, .refs = refs};
	char path[256];
	int dir;

	snprintf(path, sizeof path, "%s/%s/warren", f->dir, folder(id));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	assert_ok(wr_refsfile_open(&file, dir, 1, &f->err));
	for (; contents.pack_count < wr_refsfile_pack_count(file); contents.pack_count++)
		assert_ok(wr_refsfile_pack(&packs[contents.pack_count], file, contents.pack_count, &f->err));
	for (; contents.ref_count < wr_refsfile_count(file); contents.ref_count++) {
		struct wr_ref *ref = &refs[contents.ref_count];

		wr_refsfile_ref_at(ref, file, contents.ref_count);
		if (wr_str_eq(ref->name, WR_S("refs/watten/hidden")))
			ref->name = WR_S("refs/warren/hidden");
	}
	assert_int_equal(unlinkat(dir, "1.refs", 0), 0);
	assert_ok(wr_refsfile_write(dir, 1, &contents, &f->err));
	close(dir);
}

static void hidden_refs_stay_inside(void **state)
{
	struct fx *f = *state;
	struct wr_adopted out;
	char id[37];

	history(f, 15);
	sh(f, "cd src; git update-ref refs/watten/hidden $(git commit-tree -m hidden -p b0 b0^{tree}); "
	      "git update-ref refs/pull/1/head $(git commit-tree -m pull -p b0 b0^{tree})");
	next_id(id);
	assert_ok(adopt(&out, f, id, "src", false));
	hide_ref(f, id);
	wr_git_repo_unref(f->repo);
	assert_ok(wr_git_repo_open(&f->repo, f->git, id, &f->err));
	assert_ok(export(&out, f, "out.git", true));
	sh(f, "git -C src update-ref -d refs/watten/hidden");
	look_at(f, "src");
	judge_export(f, "out.git", &out);
}

static void an_empty_repository_goes_out(void **state)
{
	struct fx *f = *state;
	struct wr_adopted out;

	assert_ok(export(&out, f, "out.git", true));
	assert_int_equal(out.refs + out.objects, 0);
	sh(f, "git --git-dir=out.git fsck --full; test -z \"$(git --git-dir=out.git for-each-ref)\"; git clone -q "
	      "out.git c 2>&1");
}

static void exports_have_their_place(void **state)
{
	struct fx *f = *state;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct wr_adopted out = {.refs = 77};
	char path[256];
	int fd;

	history(f, 5);
	push_all(f, "src");
	sh(f, "mkdir there; echo x >file; ln -s nowhere dangling");
	assert_int_equal(export(&out, f, "there", false), WR_E_INVALID_REQUEST);
	assert_int_equal(export(&out, f, "file", false), WR_E_INVALID_REQUEST);
	assert_int_equal(export(&out, f, "dangling", false), WR_E_INVALID_REQUEST);
	assert_int_equal(export(&out, f, "no/such/x", false), WR_E_INVALID_REQUEST);
	assert_int_equal(export(&out, f, "file/x", false), WR_E_INVALID_REQUEST);
	assert_int_equal(export(&out, f, "there/..", false), WR_E_INVALID_REQUEST);
	snprintf(path, sizeof path, "%s/x", f->dir);
	assert_int_equal(wr_git_export(&out, f->repo, path, WR_S("a..b"), false, NULL, NULL, &f->err),
			 WR_E_INVALID_REQUEST);
	assert_int_equal(out.refs, 77);
	sh(f, "test -z \"$(ls there)\"; test ! -e x");
	/* What a crash left goes; what is being made, and what is somebody else's, stays. */
	sh(f, "mkdir x.new-dddddddddddd; for i in aaaaaaaaaaaa bbbbbbbbbbbb cccccccccccc; do mkdir -p x.new-$i/objects; touch "
	      "x.new-$i/objects/o; done; "
	      "mkdir y.new-aaaaaaaaaaaa; touch x.new-aaaaaaaaaaaa/warren-export.lock "
	      "x.new-bbbbbbbbbbbb/warren-export.lock "
	      "y.new-aaaaaaaaaaaa/warren-export.lock");
	snprintf(path, sizeof path, "%s/x.new-bbbbbbbbbbbb/warren-export.lock", f->dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_ok(export(&out, f, "x", false));
	close(fd);
	sh(f, "test \"$(ls -d [xy]* | tr '\\n' ' ')\" = 'x x.new-bbbbbbbbbbbb x.new-cccccccccccc y.new-aaaaaaaaaaaa '");
}

/* ---- parsers ---- */

static void headers_of_loose_objects(void **state)
{
	static const struct {
		const char *text;
		size_t len, head;
		enum wr_type type;
		uint64_t size;
	} cases[] = {
		{"blob 0\0", 7, 7, WR_BLOB, 0},
		{"commit 123\0xyz", 14, 11, WR_COMMIT, 123},
		{"tree 9\0", 7, 7, WR_TREE, 9},
		{"tag 9223372036854775807\0", 24, 24, WR_TAG, INT64_MAX},
		{"tag 9223372036854775808\0", 24, 0, 0, 0},
		{"blob 00\0", 8, 0, 0, 0},
		{"blob 01\0", 8, 0, 0, 0},
		{"blob \0", 6, 0, 0, 0},
		{"blob 1", 6, 0, 0, 0},
		{"blob -1\0", 8, 0, 0, 0},
		{"blob  1\0", 8, 0, 0, 0},
		{"blub 1\0", 7, 0, 0, 0},
		{"blob\0 1", 7, 0, 0, 0},
		{"", 0, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(cases); i++) {
		enum wr_type type = 0;
		uint64_t size = 0;

		assert_int_equal(wr_loose_head(&type, &size, (const uint8_t *)cases[i].text, cases[i].len),
				 cases[i].head);
		if (cases[i].head) {
			assert_int_equal(type, cases[i].type);
			assert_int_equal(size, cases[i].size);
		}
	}
}

static void configurations(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} cases[] = {
		{"", true},
		{"[core]\nrepositoryformatversion = 1\n[extensions]\nobjectFormat = sha1\nworktreeConfig\n", true},
		{"[core]\nrepositoryformatversion = 0\n[extensions]\nunknown = 1\n", true},
		{"[core]\nrepositoryformatversion = 1\n[extensions]\nunknown = 1\n", false},
		{"[extensions]\nunknown = 1\n[core]\nrepositoryformatversion = 1\n", false},
		{"[extensions]\nrefStorage = files\n", true},
		{"[extensions]\nrefStorage\n", false},
		{"[extensions \"x\"]\nobjectformat = sha256\n", true},
		{"[remote \"o\"]\npromisor = false\n", true},
		{"[remote \"o\"]\npromisor\n", false},
		{"[core]\nrepositoryformatversion = -1\n", false},
		{"[core]\nrepositoryformatversion\n", false},
		{"]\n", false},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(cases); i++)
		assert_int_equal(wr_adopt_config(wr_str(cases[i].text), NULL),
				 cases[i].ok ? WR_OK : WR_E_INVALID_REQUEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_of_loose_objects),
		cmocka_unit_test(configurations),
		cmocka_unit_test_setup_teardown(what_git_made_is_taken, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(the_whole_pack_is_linked_or_copied, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(other_refs_come_apart, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(many_refs, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(a_large_pack, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(one_without_refs_is_empty, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(what_has_a_folder_is_not_taken_twice, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(life_goes_on, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(refusals_have_a_sentence, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(one_object_has_one_type, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(what_is_not_reached_does_not_matter, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(damage_is_refused_or_does_no_harm, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(breaking_off_leaves_nothing, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(what_goes_out_comes_in, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(hidden_refs_stay_inside, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(an_empty_repository_goes_out, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(exports_have_their_place, fx_setup, fx_teardown),
	};

	return cmocka_run_group_tests_name("git/adopt", tests, NULL, NULL);
}
