/*
 * core/git/parse.h: the references inside commits, trees and tags.
 * Formats: gitformat-commit is not written down as one page; git's documentation describes commit and tag headers in
 * "git cat-file", "git mktag" and gitformat-signature, and trees in "git mktree". These parsers take hostile bytes:
 * they check structure only as far as they read, allocate nothing but what they return, and never look past the end.
 * Threads: values, no state.
 * Errors:  WR_E_BAD_PACK with a sentence.
 */
#ifndef WR_PARSE_H
#define WR_PARSE_H

#include "core/git/oidmap.h"

struct wr_commit {
	struct wr_oid tree;
	struct wr_oid *parents; /* malloc'ed */
	size_t parent_count;
	int64_t date; /* committer's, seconds; 0 when it cannot be read */
};
void wr_commit_fini(struct wr_commit *c);
WR_DEFINE_AUTO_S(wr_commit);
WR_MUST_CHECK enum wr_code wr_commit_parse(struct wr_commit *out, struct wr_str bytes, struct wr_error *err);

/* A tag's target. */
WR_MUST_CHECK enum wr_code wr_tag_parse(struct wr_oid *target, enum wr_type *type, struct wr_str bytes,
					struct wr_error *err);

struct wr_tree_entry {
	unsigned mode; /* WR_MODE_TREE, WR_MODE_LINK (and all of no known kind), or a blob's as written */
	struct wr_str name;
	struct wr_oid oid;
};
#define WR_MODE_TREE 040000u
#define WR_MODE_LINK 0160000u /* a submodule */
/* Of a blob's mode the bits under 0170000. */
#define WR_MODE_FILE 0100000u
#define WR_MODE_SYMLINK 0120000u

/*
 * One entry from the front of *rest, which moves on. WR_E_NOT_THERE at the end (nothing is written to *err then).
 */
enum wr_code wr_tree_next(struct wr_tree_entry *out, struct wr_str *rest, struct wr_error *err);

/* Every line of the protocol that names a ref must fit into one packet with room to spare; no real name comes near. */
#define WR_REFNAME_MAX 4096

/*
 * Whether name is a legal full ref name: git check-ref-format's rules, "refs/" in front with at least one more
 * component behind the second slash, and no more than WR_REFNAME_MAX bytes.
 */
bool wr_refname_ok(struct wr_str name);
/* The order of refs: of their names, byte by byte. As memcmp(). */
int wr_refname_cmp(struct wr_str a, struct wr_str b);

/* Whether name is a legal short branch name: refs/heads/<name> is a legal ref, and it is neither "HEAD" nor begins with
 * "-". */
bool wr_branchname_ok(struct wr_str name);

#endif
