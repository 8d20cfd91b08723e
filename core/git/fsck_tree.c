/* Trees, by git's rules. */
#include "core/git/fsck.h"

#include "core/git/filename.h"
#include "core/git/parse.h"

/*
 * Names of files that a folder may still repeat: "a" sorts before "a.c", but "a/" behind it. As git keeps them, so that
 * of a tree out of order it is the same fault that is found first. They point into the tree.
 */
struct names {
	struct wr_str *v;
	size_t len, cap;
};

static enum wr_code push(struct names *names, struct wr_str name, struct wr_error *err)
{
	if (names->len == names->cap) {
		size_t cap = names->cap ? names->cap * 2 : 16;
		struct wr_str *v = reallocarray(names->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		names->v = v;
		names->cap = cap;
	}
	names->v[names->len++] = name;
	return WR_OK;
}

static bool before_slash(char c)
{
	return c > '\0' && c < '/';
}

/* Whether the folder has the name of a file before it. */
static enum wr_code seen_before(bool *seen, struct names *names, struct wr_str folder, struct wr_error *err)
{
	while (names->len > 0) {
		struct wr_str file = names->v[--names->len];

		if (!wr_str_starts(folder, file))
			continue;
		*seen = folder.len == file.len;
		if (!*seen && before_slash(folder.ptr[file.len]))
			return push(names, file, err);
		if (*seen)
			return WR_OK;
	}
	return WR_OK;
}

struct order {
	struct names names;
	struct wr_tree_entry last; /* name.ptr NULL: none yet */
	bool twice, unsorted;
};

/* Git's order is as if names of folders ended with a slash. */
static enum wr_code look_at_order(struct order *o, const struct wr_tree_entry *e, struct wr_error *err)
{
	struct wr_str a = o->last.name, b = e->name;
	size_t n = a.len < b.len ? a.len : b.len;
	enum wr_code code = WR_OK;
	bool twice = false;
	char x, y;
	int c;

	if (!a.ptr)
		return WR_OK;
	c = memcmp(a.ptr, b.ptr, n);
	if (c != 0) {
		o->unsorted = o->unsorted || c > 0;
		return WR_OK;
	}
	if (a.len == b.len) {
		o->twice = true;
		return WR_OK;
	}
	x = a.len > n ? a.ptr[n] : o->last.mode == WR_MODE_TREE ? '/' : '\0';
	y = b.len > n ? b.ptr[n] : e->mode == WR_MODE_TREE ? '/' : '\0';
	if (x == '\0' && before_slash(y))
		code = push(&o->names, a, err);
	else if (y == '/' && before_slash(x))
		code = seen_before(&twice, &o->names, b, err);
	if (twice)
		o->twice = true;
	else if ((unsigned char)x >= (unsigned char)y)
		o->unsorted = true;
	return code;
}

/* What the entries have, told in git's order when all were seen. */
struct found {
	bool symlink, malformed, zero_id, slash, dot, dotdot, dotgit, padded;
};

static enum wr_code special_name(struct wr_fsck_tree *out, struct found *f, const struct wr_tree_entry *e,
				 struct wr_oidmap *special, struct wr_error *err)
{
	bool symlink = (e->mode & 0170000) == WR_MODE_SYMLINK;
	unsigned what = 0;

	if (wr_filename_modules(e->name))
		what |= WR_FSCK_MODULES;
	if (wr_filename_attributes(e->name))
		what |= WR_FSCK_ATTRIBUTES;
	if (symlink && (what & WR_FSCK_MODULES))
		f->symlink = true;
	/* Git does not read the target of a link as attributes, and so does not mind one. */
	if (what == 0 || symlink)
		return WR_OK;
	out->special = true;
	return special ? wr_fsck_special_add(special, &e->oid, what, err) : WR_OK;
}

static enum wr_code look_at(struct wr_fsck_tree *out, struct found *f, const struct wr_tree_entry *e, bool padded,
			    struct wr_oidmap *special, struct wr_error *err)
{
	f->padded |= padded;
	f->zero_id |= wr_oid_zero(&e->oid);
	if (!wr_filename_odd(e->name))
		return WR_OK;
	f->slash |= memchr(e->name.ptr, '/', e->name.len) != NULL;
	f->dot |= wr_str_eqz(e->name, ".");
	f->dotdot |= wr_str_eqz(e->name, "..");
	f->dotgit |= wr_filename_dotgit(e->name);
	return special_name(out, f, e, special, err);
}

static void tell(struct wr_fsck_tree *out, const struct found *f, const struct order *o,
		 const struct wr_fsck_rules *rules)
{
	const struct {
		bool found;
		enum wr_fsck_id id;
	} faults[] = {
		{f->symlink, WR_FSCK_GITMODULES_SYMLINK}, {f->malformed, WR_FSCK_BAD_TREE},
		{f->zero_id, WR_FSCK_NULL_SHA1},	  {f->slash, WR_FSCK_FULL_PATHNAME},
		{f->dot, WR_FSCK_HAS_DOT},		  {f->dotdot, WR_FSCK_HAS_DOTDOT},
		{f->dotgit, WR_FSCK_HAS_DOTGIT},	  {f->padded, WR_FSCK_ZERO_PADDED_FILEMODE},
		{o->twice, WR_FSCK_DUPLICATE_ENTRIES},	  {o->unsorted, WR_FSCK_TREE_NOT_SORTED},
	};

	out->fault.id = WR_FSCK_SOUND;
	for (size_t i = 0; i < WR_ARRAY_LEN(faults); i++)
		if (faults[i].found && wr_fsck_note(&out->fault, rules, faults[i].id))
			break;
	out->in_order = !o->twice && !o->unsorted;
}

static enum wr_code look(struct wr_fsck_tree *out, struct found *f, struct order *o, struct wr_str rest,
			 struct wr_oidmap *special, struct wr_error *err)
{
	struct wr_tree_entry e;
	enum wr_code code = WR_OK;

	/* Git looks first whether the end can be that of an entry, and at nothing else then. */
	if (rest.len > 0 && (rest.len < WR_OID_RAW + 3 || rest.ptr[rest.len - WR_OID_RAW - 1] != '\0')) {
		f->malformed = true;
		return WR_OK;
	}
	while (code == WR_OK && rest.len > 0) {
		bool padded = rest.ptr[0] == '0';

		if (wr_tree_next(&e, &rest, NULL) != WR_OK) {
			f->malformed = true;
			break;
		}
		if ((code = look_at(out, f, &e, padded, special, err)) == WR_OK)
			code = look_at_order(o, &e, err);
		o->last = e;
	}
	return code;
}

enum wr_code wr_fsck_tree(struct wr_fsck_tree *out, struct wr_str bytes, const struct wr_fsck_rules *rules,
			  struct wr_oidmap *special, struct wr_error *err)
{
	struct order order = {.names = {NULL, 0, 0}};
	struct wr_fsck_tree tree = {.special = false};
	struct found found = {.slash = false};
	enum wr_code code = look(&tree, &found, &order, bytes, special, err);

	free(order.names.v);
	if (code != WR_OK)
		return code;
	tell(&tree, &found, &order, rules);
	*out = tree;
	return WR_OK;
}
