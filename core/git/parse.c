#include "core/git/parse.h"

static bool skip(struct wr_str *s, struct wr_str prefix)
{
	if (!wr_str_starts(*s, prefix))
		return false;
	*s = wr_str_skip(*s, prefix.len);
	return true;
}

/* "<key> <40 hex>\n" */
static bool id_line(struct wr_oid *out, struct wr_str *s, struct wr_str key)
{
	struct wr_str rest = *s;

	if (!skip(&rest, key) || rest.len < WR_OID_HEX + 1 || rest.ptr[WR_OID_HEX] != '\n' ||
	    !wr_oid_parse(out, wr_str_n(rest.ptr, WR_OID_HEX)))
		return false;
	*s = wr_str_skip(rest, WR_OID_HEX + 1);
	return true;
}

static struct wr_str line(struct wr_str *s)
{
	const char *nl = s->len ? memchr(s->ptr, '\n', s->len) : NULL;
	struct wr_str out = wr_str_n(s->ptr, nl ? (size_t)(nl - s->ptr) : s->len);

	*s = wr_str_skip(*s, nl ? out.len + 1 : out.len);
	return out;
}

/* "committer Name <mail> 1700000000 +0100"; old histories have lines without a mail, or with a date of their own kind.
 */
static int64_t committer_date(struct wr_str s)
{
	struct wr_str author = line(&s), who = line(&s);
	const char *close_mark;
	int64_t date = 0;

	if (!wr_str_starts(author, WR_S("author ")) || !wr_str_starts(who, WR_S("committer ")))
		return 0;
	close_mark = memrchr(who.ptr, '>', who.len);
	if (!close_mark)
		return 0;
	who = wr_str_skip(who, (size_t)(close_mark + 1 - who.ptr));
	while (who.len && who.ptr[0] == ' ')
		who = wr_str_skip(who, 1);
	for (; who.len && who.ptr[0] >= '0' && who.ptr[0] <= '9'; who = wr_str_skip(who, 1)) {
		if (date > INT64_MAX / 10 - 1)
			return 0;
		date = date * 10 + (who.ptr[0] - '0');
	}
	return date;
}

void wr_commit_fini(struct wr_commit *c)
{
	free(c->parents);
	c->parents = NULL;
	c->parent_count = 0;
}

enum wr_code wr_commit_parse(struct wr_commit *out, struct wr_str bytes, struct wr_error *err)
{
	WR_AUTO_S(wr_oids) parents = {NULL, 0, 0};
	struct wr_oid tree, parent;
	enum wr_code code;

	if (!id_line(&tree, &bytes, WR_S("tree ")))
		return wr_fail(err, WR_E_BAD_PACK, "a commit does not begin with its tree");
	while (id_line(&parent, &bytes, WR_S("parent ")))
		if ((code = wr_oids_add(&parents, &parent, err)) != WR_OK)
			return code;
	if (wr_str_starts(bytes, WR_S("parent ")))
		return wr_fail(err, WR_E_BAD_PACK, "a commit has a parent line without an id");
	out->tree = tree;
	out->parents = parents.v;
	out->parent_count = parents.len;
	out->date = committer_date(bytes);
	parents.v = NULL;
	return WR_OK;
}

enum wr_code wr_tag_parse(struct wr_oid *target, enum wr_type *type, struct wr_str bytes, struct wr_error *err)
{
	struct wr_oid oid;
	struct wr_str name;

	if (!id_line(&oid, &bytes, WR_S("object ")))
		return wr_fail(err, WR_E_BAD_PACK, "a tag does not begin with its object");
	if (!skip(&bytes, WR_S("type ")))
		return wr_fail(err, WR_E_BAD_PACK, "a tag does not say the type of its object");
	name = line(&bytes);
	for (enum wr_type t = WR_COMMIT; t <= WR_TAG; t++) {
		if (wr_str_eqz(name, wr_type_name(t))) {
			*target = oid;
			*type = t;
			return WR_OK;
		}
	}
	return wr_fail(err, WR_E_BAD_PACK, "a tag names an unknown type");
}

enum wr_code wr_tree_next(struct wr_tree_entry *out, struct wr_str *rest, struct wr_error *err)
{
	struct wr_str s = *rest;
	const char *nul;
	unsigned mode = 0;
	size_t i;

	if (s.len == 0)
		return WR_E_NOT_THERE;
	/* Nearly all are one of these. */
	if (wr_str_starts(s, WR_S("100644 "))) {
		mode = WR_MODE_FILE | 0644;
		i = 6;
	} else if (wr_str_starts(s, WR_S("40000 "))) {
		mode = WR_MODE_TREE;
		i = 5;
	} else {
		/* Git, too, lets digits in front fall off, and so does not mind any number of them. */
		for (i = 0; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '7'; i++)
			mode = mode << 3 | (unsigned)(s.ptr[i] - '0');
	}
	if (i == 0 || i == s.len || s.ptr[i] != ' ')
		return wr_fail(err, WR_E_BAD_PACK, "a tree entry has no mode");
	s = wr_str_skip(s, i + 1);
	nul = s.len ? memchr(s.ptr, '\0', s.len) : NULL;
	if (!nul || nul == s.ptr)
		return wr_fail(err, WR_E_BAD_PACK, "a tree entry has no name");
	out->name = wr_str_n(s.ptr, (size_t)(nul - s.ptr));
	s = wr_str_skip(s, out->name.len + 1);
	if (s.len < WR_OID_RAW)
		return wr_fail(err, WR_E_BAD_PACK, "a tree ends inside an entry");
	memcpy(out->oid.id, s.ptr, WR_OID_RAW);
	switch (mode & 0170000) {
	case WR_MODE_TREE: /* old histories have permission bits here; only the kind counts */
		mode = WR_MODE_TREE;
		break;
	case WR_MODE_FILE:
	case WR_MODE_SYMLINK:
		mode &= 0177777;
		break;
	default: /* what git cannot name it takes for a submodule: then nobody looks for an object */
		mode = WR_MODE_LINK;
	}
	out->mode = mode;
	*rest = wr_str_skip(s, WR_OID_RAW);
	return WR_OK;
}

/* git check-ref-format, rules 1 to 10; only the name as a whole may not end with a dot. */
static bool component_ok(struct wr_str c, bool last)
{
	if (c.len == 0 || c.ptr[0] == '.' || wr_str_ends(c, WR_S(".lock")) || (last && c.ptr[c.len - 1] == '.'))
		return false;
	for (size_t i = 0; i < c.len; i++) {
		unsigned char ch = (unsigned char)c.ptr[i], next = i + 1 < c.len ? (unsigned char)c.ptr[i + 1] : 0;

		if (ch <= ' ' || ch == 0x7f || memchr("~^:?*[\\", ch, 7))
			return false;
		if ((ch == '.' && next == '.') || (ch == '@' && next == '{'))
			return false;
	}
	return true;
}

static bool parts_ok(struct wr_str s, size_t *count)
{
	*count = 0;
	while (true) {
		const char *slash = s.len ? memchr(s.ptr, '/', s.len) : NULL;
		struct wr_str c = wr_str_n(s.ptr, slash ? (size_t)(slash - s.ptr) : s.len);

		if (!component_ok(c, !slash))
			return false;
		++*count;
		if (!slash)
			return true;
		s = wr_str_skip(s, c.len + 1);
	}
}

bool wr_refname_ok(struct wr_str name)
{
	size_t parts;

	return name.len <= WR_REFNAME_MAX && wr_str_starts(name, WR_S("refs/")) && parts_ok(name, &parts) && parts >= 3;
}

int wr_refname_cmp(struct wr_str a, struct wr_str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.ptr, b.ptr, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

bool wr_branchname_ok(struct wr_str name)
{
	size_t parts;

	return name.len > 0 && name.len <= WR_REFNAME_MAX - 11 && name.ptr[0] != '-' && !wr_str_eqz(name, "HEAD") &&
	       parts_ok(name, &parts);
}
