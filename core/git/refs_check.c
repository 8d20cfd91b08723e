#include "core/git/refs_check.h"

#include "core/git/parse.h"

/* In the map's values, beside the type. */
#define EXISTS 8u
#define TYPE 7u

void wr_refs_check_fini(struct wr_refs_check *check)
{
	wr_oidmap_fini(&check->seen);
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

/* Something new refers to oid as an object of this type. */
static enum wr_code refer(struct wr_refs_check *check, const struct wr_oid *oid, enum wr_type type,
			  struct wr_error *err)
{
	uint32_t *slot = wr_oidmap_slot(&check->seen, oid), value = type;
	enum wr_type stored;
	enum wr_code code;

	if (slot) {
		stored = (enum wr_type)((*slot - 1) & TYPE);
		return stored == type ? WR_OK : wrong_type(oid, stored, type, err);
	}
	if (wr_snapshot_has(check->snap, oid)) {
		if ((code = wr_snapshot_stat(check->snap, oid, &stored, NULL, err)) != WR_OK)
			return code;
		if (stored != type)
			return wrong_type(oid, stored, type, err);
		value |= EXISTS;
	} else if (++check->missing > check->limit) {
		return missing(oid, type, err);
	}
	return wr_oidmap_add(&check->seen, oid, value, NULL, err);
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
	enum wr_code code;

	if (wr_commit_parse(&c, bytes, &why) != WR_OK)
		return malformed(oid, WR_COMMIT, &why, err);
	code = refer(check, &c.tree, WR_TREE, err);
	for (size_t i = 0; i < c.parent_count && code == WR_OK; i++)
		code = refer(check, &c.parents[i], WR_COMMIT, err);
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

static const char *entry_fault(const struct wr_tree_entry *e, const struct wr_tree_entry *before)
{
	unsigned kind = e->mode & 0170000;

	if (kind != WR_MODE_TREE && kind != WR_MODE_LINK && kind != 0100000 && kind != 0120000)
		return "an entry has an unknown mode";
	if (memchr(e->name.ptr, '/', e->name.len))
		return "an entry's name has a slash";
	if (wr_str_eqz(e->name, ".") || wr_str_eqz(e->name, "..") || wr_str_caseeq(e->name, WR_S(".git")))
		return "an entry has a forbidden name";
	if (before && wr_str_eq(before->name, e->name))
		return "two entries have the same name";
	if (before && entry_cmp(before, e) >= 0)
		return "the entries are not in order";
	return NULL;
}

static enum wr_code check_tree(struct wr_refs_check *check, const struct wr_oid *oid, struct wr_str bytes,
			       struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	struct wr_tree_entry e, before;
	bool first = true;
	enum wr_code code;

	while ((code = wr_tree_next(&e, &bytes, &why)) == WR_OK) {
		const char *fault = entry_fault(&e, first ? NULL : &before);

		if (fault)
			return bad(oid, WR_TREE, fault, err);
		if (e.mode != WR_MODE_LINK &&
		    (code = refer(check, &e.oid, e.mode == WR_MODE_TREE ? WR_TREE : WR_BLOB, err)) != WR_OK)
			return code;
		before = e;
		first = false;
	}
	return code == WR_E_NOT_THERE ? WR_OK : malformed(oid, WR_TREE, &why, err);
}

static enum wr_code check_tag(struct wr_refs_check *check, const struct wr_oid *oid, struct wr_str bytes,
			      struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	struct wr_oid target;
	enum wr_type type;

	if (wr_tag_parse(&target, &type, bytes, &why) != WR_OK)
		return malformed(oid, WR_TAG, &why, err);
	return refer(check, &target, type, err);
}

enum wr_code wr_refs_check_object(struct wr_refs_check *check, const struct wr_oid *oid, enum wr_type type,
				  struct wr_str bytes, struct wr_error *err)
{
	switch (type) {
	case WR_COMMIT:
		return check_commit(check, oid, bytes, err);
	case WR_TREE:
		return check_tree(check, oid, bytes, err);
	case WR_TAG:
		return check_tag(check, oid, bytes, err);
	case WR_BLOB:
		break;
	}
	return WR_OK;
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
		check->missing--;
	}
	return WR_OK;
}

enum wr_code wr_refs_check_end(const struct wr_refs_check *check, struct wr_error *err)
{
	if (check->missing == 0)
		return WR_OK;
	for (size_t i = 0; i < check->seen.cap; i++) {
		uint32_t value = check->seen.values[i];

		if (value && !((value - 1) & EXISTS))
			return missing(&check->seen.keys[i], (enum wr_type)((value - 1) & TYPE), err);
	}
	return wr_fail(err, WR_E_INTERNAL, "a count of missing objects is wrong");
}
