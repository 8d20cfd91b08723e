#include "core/git/refs_check.h"

#include "core/git/filename.h"
#include "core/git/parse.h"

/* In the map's values, beside the type. */
#define EXISTS 8u
#define ROOTLESS 16u /* only roots refer to it */
#define TYPE 7u

/*
 * Objects of the snapshot, each in the one place that its id gives it. Trees of a big repository that come whole refer
 * to the same ones again and again. Not a map of all: a few deltas on stored trees can refer to everything there is.
 */
#define KNOWN 512
struct wr_refs_known {
	struct {
		struct wr_oid oid;
		uint8_t type; /* 0: free */
	} v[KNOWN];
};

void wr_refs_check_fini(struct wr_refs_check *check)
{
	wr_oidmap_fini(&check->seen);
	wr_oidmap_fini(&check->relied);
	wr_oidmap_fini(&check->special);
	wr_oidmap_fini(&check->faulty);
	free(check->known);
	check->known = NULL;
}

static enum wr_code bad(const struct wr_oid *oid, enum wr_type type, const char *what, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_BAD_PACK, "%s %s: %s", wr_type_name(type), hex, what);
}

static enum wr_code wrong_type(const struct wr_oid *oid, enum wr_type is, enum wr_type wanted, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_BAD_PACK, "object %s is a %s where a %s is needed", hex, wr_type_name(is),
		       wr_type_name(wanted));
}

static enum wr_code missing(const struct wr_oid *oid, enum wr_type type, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	return wr_fail(err, WR_E_BAD_PACK, "missing %s %s", wr_type_name(type), hex);
}

static size_t place_of(const struct wr_oid *oid)
{
	return ((size_t)oid->id[18] << 8 | oid->id[19]) % KNOWN;
}

/* The type of an object of the snapshot; WR_E_NOT_THERE (nothing is written to err) when it has none of this id. */
static enum wr_code stored_type(enum wr_type *out, struct wr_refs_check *check, const struct wr_oid *oid,
				struct wr_error *err)
{
	size_t i = place_of(oid);
	struct wr_place place;
	enum wr_code code;

	if (check->known && check->known->v[i].type && wr_oid_eq(&check->known->v[i].oid, oid)) {
		*out = (enum wr_type)check->known->v[i].type;
		return WR_OK;
	}
	if (!wr_snapshot_find(&place, check->snap, oid))
		return WR_E_NOT_THERE;
	if (wr_snapshot_unreached(check->snap, place) &&
	    (code = wr_oidmap_add(&check->relied, oid, 0, NULL, err)) != WR_OK)
		return code;
	if ((code = wr_snapshot_stat(check->snap, oid, out, NULL, err)) != WR_OK)
		return code;
	if (!check->known)
		check->known = calloc(1, sizeof *check->known);
	if (!check->known)
		return wr_fail_nomem(err);
	check->known->v[i].oid = *oid;
	check->known->v[i].type = (uint8_t)*out;
	return WR_OK;
}

static enum wr_code shallow_root(struct wr_error *err)
{
	return wr_fail(err, WR_E_SHALLOW_ROOT, "shallow update not allowed");
}

/* What nobody has yet, and whoever needs it must not do without it. */
static enum wr_code refer_new(struct wr_refs_check *check, const struct wr_oid *oid, enum wr_type type, bool rootless,
			      struct wr_error *err)
{
	if (rootless) {
		if (++check->rootless > check->limit)
			return shallow_root(err);
		return wr_oidmap_add(&check->seen, oid, (uint32_t)type | ROOTLESS, NULL, err);
	}
	if (++check->missing > check->limit)
		return missing(oid, type, err);
	return wr_oidmap_add(&check->seen, oid, (uint32_t)type, NULL, err);
}

/* Something new refers to oid as an object of this type. rootless: as the parent of a root. */
static enum wr_code refer(struct wr_refs_check *check, const struct wr_oid *oid, enum wr_type type, bool rootless,
			  struct wr_error *err)
{
	const uint32_t *noted = check->before ? wr_oidmap_slot(&check->before->seen, oid) : NULL;
	uint32_t *slot = NULL;
	enum wr_type is;
	enum wr_code code;

	if (check->alone)
		return WR_OK;
	/* Of what only roots need another check does not see to it that it comes. */
	if (!noted || (((*noted - 1) & ROOTLESS) && !rootless))
		noted = slot = wr_oidmap_slot(&check->seen, oid);
	if (noted) {
		is = (enum wr_type)((*noted - 1) & TYPE);
		if (is != type)
			return wrong_type(oid, is, type, err);
		if (slot && !rootless && ((*slot - 1) & ROOTLESS)) {
			*slot -= ROOTLESS;
			check->rootless--;
			return ++check->missing > check->limit ? missing(oid, type, err) : WR_OK;
		}
		return WR_OK;
	}
	code = stored_type(&is, check, oid, err);
	if (code == WR_OK)
		return is == type ? WR_OK : wrong_type(oid, is, type, err);
	return code == WR_E_NOT_THERE ? refer_new(check, oid, type, rootless, err) : code;
}

/* The parsers do not know whose bytes they read: adds the object's name to what they say. */
static enum wr_code malformed(const struct wr_oid *oid, enum wr_type type, struct wr_error *why, struct wr_error *err)
{
	enum wr_code code = why->code;

	if (code == WR_E_BAD_PACK)
		return bad(oid, type, why->text, err);
	if (err)
		wr_error_move(err, why);
	return code;
}

static enum wr_code check_commit(struct wr_refs_check *check, const struct wr_oid *oid, struct wr_str bytes,
				 struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	WR_AUTO_S(wr_commit) c = {.parents = NULL};
	bool root = check->roots && wr_oidmap_has(check->roots, oid);
	struct wr_fault fault;
	enum wr_code code;

	if (check->rules) {
		wr_fsck_commit(&fault, bytes, check->rules);
		if (fault.id != WR_FSCK_SOUND)
			return wr_fsck_fail(oid, &fault, err);
	}
	if (wr_commit_parse(&c, bytes, &why) != WR_OK)
		return malformed(oid, WR_COMMIT, &why, err);
	if (check->cut && wr_oidmap_has(check->cut, oid))
		c.parent_count = 0;
	code = refer(check, &c.tree, WR_TREE, false, err);
	for (size_t i = 0; i < c.parent_count && code == WR_OK; i++)
		code = refer(check, &c.parents[i], WR_COMMIT, root, err);
	return code;
}

/* Git's order: as if names of folders ended with a slash. */
static int entry_cmp(const struct wr_tree_entry *a, const struct wr_tree_entry *b)
{
	size_t n = a->name.len < b->name.len ? a->name.len : b->name.len;
	int c = memcmp(a->name.ptr, b->name.ptr, n);
	unsigned char x, y;

	if (c != 0)
		return c;
	x = a->name.len > n ? (unsigned char)a->name.ptr[n] : a->mode == WR_MODE_TREE ? '/' : 0;
	y = b->name.len > n ? (unsigned char)b->name.ptr[n] : b->mode == WR_MODE_TREE ? '/' : 0;
	return (x > y) - (x < y);
}

/* A tree while it is compared with one that was checked before. */
struct compare {
	struct wr_str rest, old; /* entries not looked at yet */
	size_t tail;		 /* bytes that both have in common at the end */
	struct wr_tree_entry before, e;
	bool first;
	bool ahead; /* the other tree's next entry is in hand: names may be long, and are read once */
	struct wr_tree_entry next;
	struct wr_str behind_next;
};

static size_t common_front(struct wr_str a, struct wr_str b)
{
	size_t n = a.len < b.len ? a.len : b.len, i = 0;
	uint64_t x, y;

	for (; i + 8 <= n; i += 8) {
		memcpy(&x, a.ptr + i, 8);
		memcpy(&y, b.ptr + i, 8);
		if (x != y)
			break;
	}
	while (i < n && a.ptr[i] == b.ptr[i])
		i++;
	return i;
}

static size_t common_tail(struct wr_str a, struct wr_str b)
{
	size_t n = a.len < b.len ? a.len : b.len, i = 0;
	uint64_t x, y;

	for (; i + 8 <= n; i += 8) {
		memcpy(&x, a.ptr + a.len - i - 8, 8);
		memcpy(&y, b.ptr + b.len - i - 8, 8);
		if (x != y)
			break;
	}
	while (i < n && a.ptr[a.len - i - 1] == b.ptr[b.len - i - 1])
		i++;
	return i;
}

/*
 * Whether a is no folder, and b, which stands behind it, leaves room for a folder of that name further behind: "a",
 * "a.c", "a/". Or is itself that folder, or the same file again.
 */
static bool folder_may_follow(const struct wr_tree_entry *a, struct wr_str b)
{
	return a->mode != WR_MODE_TREE && wr_str_starts(b, a->name) &&
	       (b.len == a->name.len || (unsigned char)b.ptr[a->name.len] < '/');
}

/* Whether the next entry is such a one for the last one. */
static bool must_look_on(const struct compare *c)
{
	struct wr_str rest = c->rest;
	struct wr_tree_entry e;

	return !c->first && wr_tree_next(&e, &rest, NULL) == WR_OK && folder_may_follow(&c->before, e.name);
}

/*
 * Whether there is plainly nothing wrong with the entry that is in hand: neither with itself nor with its place. Where
 * this does not tell the whole tree is looked at. Entries that were skipped have no fault of their own, since the
 * other tree is sound, and stand there in the order in which they stand here. So two entries that should not stand
 * together are not both skipped. They are neighbours, one of them in hand; or a file and a folder of one name, and all
 * entries between them begin with that name. Of these two, too, one is in hand: if it is the file, the next entry
 * is not skipped (must_look_on()); if it is the folder, the entry before it shows it.
 */
static bool plain(const struct compare *c, bool padded)
{
	const struct wr_tree_entry *a = &c->before, *b = &c->e;

	if (padded || wr_oid_zero(&b->oid))
		return false;
	if (wr_filename_odd(b->name) &&
	    (wr_filename_bad(b->name) || wr_filename_modules(b->name) || wr_filename_attributes(b->name)))
		return false;
	if (c->first)
		return true;
	if (entry_cmp(a, b) >= 0 || folder_may_follow(a, b->name))
		return false;
	return b->mode != WR_MODE_TREE || !wr_str_starts(a->name, b->name) ||
	       (a->name.len > b->name.len && (unsigned char)a->name.ptr[b->name.len] >= '/');
}

/*
 * Skips the entries with which both go on. Where the other tree is sound the first of them stands behind the last one
 * that was looked at: in_old() saw to that.
 */
static void skip_same(struct compare *c)
{
	size_t same, at = 0, last = 0;
	struct wr_str front;

	if (c->old.len == 0 || must_look_on(c))
		return;
	same = common_front(c->rest, c->old);
	while (at < same) {
		const char *nul = memchr(c->rest.ptr + at, '\0', same - at);
		size_t next = nul ? (size_t)(nul + 1 - c->rest.ptr) + WR_OID_RAW : SIZE_MAX;

		if (next > same)
			break;
		last = at;
		at = next;
	}
	if (at == 0)
		return;
	front = wr_str_n(c->rest.ptr + last, at - last);
	c->first = wr_tree_next(&c->before, &front, NULL) != WR_OK;
	c->rest = wr_str_skip(c->rest, at);
	c->old = wr_str_skip(c->old, at);
	c->ahead = false;
}

/* The other tree's next entry; false at its end. */
static bool next_old(struct compare *c)
{
	if (c->ahead)
		return true;
	c->behind_next = c->old;
	c->ahead = wr_tree_next(&c->next, &c->behind_next, NULL) == WR_OK;
	if (!c->ahead)
		c->old.len = 0;
	return c->ahead;
}

/* Whether the other tree has the entry, too. */
static bool in_old(struct compare *c)
{
	int order = -1;

	while (order < 0 && next_old(c)) {
		order = entry_cmp(&c->next, &c->e);
		if (order > 0)
			break;
		c->old = c->behind_next;
		c->ahead = false;
	}
	if (order != 0)
		return false;
	return c->next.mode == c->e.mode && wr_oid_eq(&c->next.oid, &c->e.oid);
}

/* From here on both are the same. */
static bool same_to_end(const struct compare *c)
{
	return c->rest.len > 0 && c->rest.len == c->old.len && c->rest.len <= c->tail && !must_look_on(c);
}

/* The whole tree by git's rules. */
static enum wr_code look_at_all(bool *sound, struct wr_refs_check *check, const struct wr_oid *oid, struct wr_str bytes,
				struct wr_error *err)
{
	struct wr_fsck_tree tree;
	enum wr_code code = wr_fsck_tree(&tree, bytes, check->rules, &check->special, err);

	if (code != WR_OK)
		return code;
	if (tree.fault.id != WR_FSCK_SOUND)
		return wr_fsck_fail(oid, &tree.fault, err);
	*sound = tree.in_order;
	return WR_OK;
}

/*
 * What the rules say is either compared away or looked at as a whole. Only a sound tree lets anything be compared away:
 * it had no fault under the rules of this very push. That something once got in under other rules (fsck_ignore was
 * longer, it was taken and not pushed) therefore hides nothing that is pushed now.
 */
static enum wr_code check_tree(bool *sound, struct wr_refs_check *check, const struct wr_oid *oid, struct wr_str bytes,
			       const struct wr_refs_like *like, struct wr_error *err)
{
	struct compare c = {.rest = bytes, .old = like ? like->bytes : wr_str_n("", 0), .first = true};
	bool looked = !check->rules;
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	enum wr_code code = WR_OK;

	*sound = true;
	if (!looked && !(like && like->sound)) {
		code = look_at_all(sound, check, oid, bytes, err);
		looked = true;
	}
	c.tail = common_tail(c.rest, c.old);
	while (code == WR_OK) {
		bool padded;

		skip_same(&c);
		padded = c.rest.len && c.rest.ptr[0] == '0';
		code = wr_tree_next(&c.e, &c.rest, &why);
		if (!looked && code != WR_E_NOT_THERE && (code != WR_OK || !plain(&c, padded))) {
			enum wr_code all = look_at_all(sound, check, oid, bytes, err);

			looked = true;
			if (all != WR_OK)
				return all;
		}
		if (code == WR_E_NOT_THERE)
			return WR_OK;
		if (code != WR_OK)
			return malformed(oid, WR_TREE, &why, err);
		if (!in_old(&c) && c.e.mode != WR_MODE_LINK)
			code = refer(check, &c.e.oid, c.e.mode == WR_MODE_TREE ? WR_TREE : WR_BLOB, false, err);
		c.before = c.e;
		c.first = false;
		if (same_to_end(&c))
			break;
	}
	return code;
}

/* What git itself wants of a tag before it asks for its parts; there is no message id for it. */
#define TAG_MIN 64

static enum wr_code check_tag(struct wr_refs_check *check, const struct wr_oid *oid, struct wr_str bytes,
			      struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	struct wr_fault fault;
	struct wr_oid target;
	enum wr_type type;

	if (check->rules) {
		wr_fsck_tag(&fault, bytes, check->rules);
		if (fault.id != WR_FSCK_SOUND)
			return wr_fsck_fail(oid, &fault, err);
		if (bytes.len < TAG_MIN)
			return bad(oid, WR_TAG, "it is shorter than any tag that git reads", err);
	}
	if (wr_tag_parse(&target, &type, bytes, &why) != WR_OK)
		return malformed(oid, WR_TAG, &why, err);
	return refer(check, &target, type, false, err);
}

static enum wr_code check_any(bool *sound, struct wr_refs_check *check, const struct wr_oid *oid, enum wr_type type,
			      struct wr_str bytes, const struct wr_refs_like *like, struct wr_error *err)
{
	*sound = true;
	switch (type) {
	case WR_COMMIT:
		return check_commit(check, oid, bytes, err);
	case WR_TREE:
		return check_tree(sound, check, oid, bytes, like, err);
	case WR_TAG:
		return check_tag(check, oid, bytes, err);
	case WR_BLOB:
		break;
	}
	return WR_OK;
}

enum wr_code wr_refs_check_object_like(bool *sound, struct wr_refs_check *check, const struct wr_oid *oid,
				       enum wr_type type, struct wr_str bytes, const struct wr_refs_like *like,
				       struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	enum wr_code code;

	if (!check->alone)
		return check_any(sound, check, oid, type, bytes, like, err);
	code = check_any(sound, check, oid, type, bytes, like, &why);
	if (code == WR_E_BAD_PACK) {
		*sound = false;
		return wr_oidmap_add(&check->faulty, oid, 0, NULL, err);
	}
	if (code != WR_OK && err)
		wr_error_move(err, &why);
	return code;
}

enum wr_code wr_refs_check_object(struct wr_refs_check *check, const struct wr_oid *oid, enum wr_type type,
				  struct wr_str bytes, struct wr_error *err)
{
	bool sound;

	return wr_refs_check_object_like(&sound, check, oid, type, bytes, NULL, err);
}

enum wr_code wr_refs_check_stored(bool *sound, const struct wr_refs_check *check, enum wr_type type,
				  struct wr_str bytes, struct wr_error *err)
{
	struct wr_fsck_tree tree;
	enum wr_code code;

	*sound = true;
	if (!check->rules || type != WR_TREE)
		return WR_OK;
	if ((code = wr_fsck_tree(&tree, bytes, check->rules, NULL, err)) == WR_OK)
		*sound = tree.fault.id == WR_FSCK_SOUND && tree.in_order && !tree.special;
	return code;
}

enum wr_code wr_refs_check_found(struct wr_refs_check *check, const struct wr_oid *oid, enum wr_type type,
				 struct wr_error *err)
{
	uint32_t *slot = wr_oidmap_slot(&check->seen, oid), value;

	if (!slot)
		return WR_OK;
	value = *slot - 1;
	if ((value & TYPE) != type)
		return wrong_type(oid, type, (enum wr_type)(value & TYPE), err);
	if (!(value & EXISTS)) {
		*slot = (value | EXISTS) + 1;
		--*(value & ROOTLESS ? &check->rootless : &check->missing);
	}
	return WR_OK;
}

enum wr_code wr_refs_check_end(const struct wr_refs_check *check, bool rootless, struct wr_error *err)
{
	if (rootless)
		return check->rootless ? shallow_root(err) : WR_OK;
	if (check->missing == 0)
		return WR_OK;
	for (size_t i = 0; i < check->seen.cap; i++) {
		uint32_t value = check->seen.values[i];

		if (value && !((value - 1) & (EXISTS | ROOTLESS)))
			return missing(&check->seen.keys[i], (enum wr_type)((value - 1) & TYPE), err);
	}
	return wr_fail(err, WR_E_INTERNAL, "a count of missing objects is wrong");
}
