#include "sync/advert.h"

#include "core/git/parse.h"

/* More lines than this say nothing of use about a server. */
#define CAPABILITIES_MAX 1000

void wr_advert_init(struct wr_advert *a)
{
	*a = (struct wr_advert){.names = WR_BUF_INIT((size_t)1 << 30), .head = WR_BUF_INIT(WR_REFNAME_MAX + 1)};
}

void wr_advert_fini(struct wr_advert *a)
{
	free(a->refs);
	wr_buf_fini(&a->names);
	wr_buf_fini(&a->head);
	wr_oids_fini(&a->roots);
}

static enum wr_code nonsense(struct wr_error *err, const char *what)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "The other server's list of refs makes no sense: %s", what);
}

/* A line of text, or a flush. Everything else has no place in these answers. */
static enum wr_code next(struct wr_str *line, bool *flush, struct wr_pkt_reader *r, struct wr_error *err)
{
	struct wr_pkt pkt;
	enum wr_code code = wr_pkt_read(&pkt, r, err);

	if (code != WR_OK)
		return code;
	if (pkt.kind == WR_PKT_EOF)
		return nonsense(err, "it breaks off");
	if (pkt.kind != WR_PKT_LINE && pkt.kind != WR_PKT_FLUSH)
		return nonsense(err, "a packet of the wrong kind");
	*flush = pkt.kind == WR_PKT_FLUSH;
	*line = wr_pkt_text(&pkt);
	if (!*flush && wr_str_starts(*line, WR_S("ERR ")))
		return wr_remote_said(wr_str_skip(*line, 4), err);
	return WR_OK;
}

/* The first word of *rest, which moves behind it and the space that follows. */
static struct wr_str word(struct wr_str *rest)
{
	const char *space = memchr(rest->ptr, ' ', rest->len);
	struct wr_str first = wr_str_n(rest->ptr, space ? (size_t)(space - rest->ptr) : rest->len);

	*rest = wr_str_skip(*rest, first.len + (space ? 1 : 0));
	return first;
}

static bool value_of(struct wr_str *value, struct wr_str text, struct wr_str key)
{
	if (!wr_str_starts(text, key))
		return false;
	*value = wr_str_skip(text, key.len);
	return true;
}

/* ---- refs ---- */

static enum wr_code set_head(struct wr_advert *a, struct wr_str branch, struct wr_error *err)
{
	wr_buf_clear(&a->head);
	if (wr_refname_ok(branch) && wr_str_starts(branch, WR_S("refs/heads/")))
		wr_buf_adds(&a->head, branch);
	return wr_buf_ok(&a->head) ? WR_OK : wr_fail_nomem(err);
}

static enum wr_code grow(struct wr_advert *a, struct wr_error *err)
{
	size_t cap = a->cap ? a->cap * 2 : 64;
	struct wr_remote_ref *more = realloc(a->refs, cap * sizeof *more);

	if (!more)
		return wr_fail_nomem(err);
	a->refs = more;
	a->cap = cap;
	return WR_OK;
}

/* Names stand one after the other in a->names, which moves as it grows: finish() makes them point there. */
static enum wr_code add_ref(struct wr_advert *a, struct wr_str name, const struct wr_oid *oid,
			    const struct wr_oid *peeled, struct wr_error *err)
{
	enum wr_code code;

	if (++a->seen > WR_REMOTE_REFS_MAX)
		return wr_fail(err, WR_E_TOO_LARGE, "The other server has more than %d refs", WR_REMOTE_REFS_MAX);
	if (!wr_str_starts(name, WR_S("refs/heads/")) && !wr_str_starts(name, WR_S("refs/tags/")))
		return WR_OK;
	if (!wr_refname_ok(name) || wr_oid_zero(oid))
		return WR_OK;
	if (a->count == a->cap && (code = grow(a, err)) != WR_OK)
		return code;
	wr_buf_adds(&a->names, name);
	if (!wr_buf_ok(&a->names))
		return wr_fail_nomem(err);
	a->refs[a->count++] = (struct wr_remote_ref){wr_str_n(NULL, name.len), *oid, *peeled};
	return WR_OK;
}

static int by_name(const void *one, const void *two)
{
	struct wr_str a = ((const struct wr_remote_ref *)one)->name, b = ((const struct wr_remote_ref *)two)->name;
	int c = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static enum wr_code finish(struct wr_advert *a, struct wr_error *err)
{
	const char *p = a->names.ptr;

	for (size_t i = 0; i < a->count; i++) {
		a->refs[i].name.ptr = p;
		p += a->refs[i].name.len;
	}
	if (a->count > 1)
		qsort(a->refs, a->count, sizeof *a->refs, by_name);
	for (size_t i = 1; i < a->count; i++)
		if (by_name(&a->refs[i - 1], &a->refs[i]) == 0)
			return nonsense(err, "a ref stands in it twice");
	return WR_OK;
}

/* ---- version 2 ---- */

static bool lists(struct wr_str list, struct wr_str feature)
{
	while (list.len)
		if (wr_str_eq(word(&list), feature))
			return true;
	return false;
}

static enum wr_code other_format(struct wr_error *err)
{
	return wr_fail(err, WR_E_INVALID_REQUEST,
		       "The other repository's object format is not sha1, the only one that this server stores");
}

static enum wr_code capability_v2(struct wr_advert *a, bool *fetches, struct wr_str line, struct wr_error *err)
{
	struct wr_str value;

	*fetches |= wr_str_eq(line, WR_S("fetch"));
	if (value_of(&value, line, WR_S("fetch="))) {
		*fetches = true;
		a->shallow = lists(value, WR_S("shallow"));
	}
	if (value_of(&value, line, WR_S("ls-refs=")))
		a->unborn = lists(value, WR_S("unborn"));
	if (value_of(&value, line, WR_S("object-format="))) {
		a->names_format = true;
		return wr_str_eq(value, WR_S("sha1")) ? WR_OK : other_format(err);
	}
	return WR_OK;
}

static enum wr_code read_v2(struct wr_advert *a, struct wr_pkt_reader *r, struct wr_error *err)
{
	bool flush = false, fetches = false;
	enum wr_code code = WR_OK;
	struct wr_str line;

	a->version = 2;
	a->side_band = a->ofs_delta = a->no_progress = true;
	for (int i = 0; i < CAPABILITIES_MAX; i++) {
		if ((code = next(&line, &flush, r, err)) != WR_OK)
			return code;
		if (flush)
			return fetches ? WR_OK : nonsense(err, "it does not offer fetch");
		if ((code = capability_v2(a, &fetches, line, err)) != WR_OK)
			return code;
	}
	return nonsense(err, "too many capabilities");
}

/* What stands behind a ref's name in the answer to ls-refs. */
static enum wr_code attributes(struct wr_str *target, struct wr_oid *peeled, struct wr_str rest, struct wr_error *err)
{
	while (rest.len) {
		struct wr_str attribute = word(&rest), value;

		if (value_of(&value, attribute, WR_S("peeled:")) && !wr_oid_parse(peeled, value))
			return nonsense(err, "a tag's id is not one");
		if (value_of(&value, attribute, WR_S("symref-target:")))
			*target = value;
	}
	return WR_OK;
}

static enum wr_code ref_v2(struct wr_advert *a, struct wr_str line, struct wr_error *err)
{
	struct wr_str id = word(&line), name = word(&line), target = WR_S("");
	struct wr_oid oid = {{0}}, peeled = {{0}};
	enum wr_code code;

	if (!wr_str_eq(id, WR_S("unborn")) && !wr_oid_parse(&oid, id))
		return nonsense(err, "a line does not begin with an id");
	if ((code = attributes(&target, &peeled, line, err)) != WR_OK)
		return code;
	if (!wr_str_eq(name, WR_S("HEAD")))
		return add_ref(a, name, &oid, &peeled, err);
	a->head_oid = oid;
	return set_head(a, target, err);
}

enum wr_code wr_advert_read_refs(struct wr_advert *a, struct wr_pkt_reader *r, struct wr_error *err)
{
	bool flush = false;
	struct wr_str line;

	for (;;) {
		enum wr_code code = next(&line, &flush, r, err);

		if (code == WR_OK && flush)
			return finish(a, err);
		if (code == WR_OK)
			code = ref_v2(a, line, err);
		if (code != WR_OK)
			return code;
	}
}

/* ---- version 0 ---- */

static enum wr_code capabilities_v0(struct wr_advert *a, bool *symbolic, struct wr_str list, struct wr_error *err)
{
	enum wr_code code;

	while (list.len) {
		struct wr_str one = word(&list), value;

		a->shallow |= wr_str_eq(one, WR_S("shallow"));
		a->side_band |= wr_str_eq(one, WR_S("side-band-64k"));
		a->ofs_delta |= wr_str_eq(one, WR_S("ofs-delta"));
		a->no_progress |= wr_str_eq(one, WR_S("no-progress"));
		a->multi_ack |= wr_str_eq(one, WR_S("multi_ack_detailed"));
		if (value_of(&value, one, WR_S("object-format="))) {
			a->names_format = true;
			if (!wr_str_eq(value, WR_S("sha1")))
				return other_format(err);
		}
		if (value_of(&value, one, WR_S("symref=HEAD:"))) {
			*symbolic = true;
			if ((code = set_head(a, value, err)) != WR_OK)
				return code;
		}
	}
	return WR_OK;
}

static enum wr_code ref_v0(struct wr_advert *a, struct wr_str line, struct wr_error *err)
{
	static const struct wr_oid none;
	struct wr_oid oid;
	struct wr_str id = word(&line);

	if (wr_str_eq(id, WR_S("shallow")))
		return wr_remote_root(&a->roots, line, err);
	if (!wr_oid_parse(&oid, id))
		return nonsense(err, "a line does not begin with an id");
	if (wr_str_eq(line, WR_S("HEAD")))
		a->head_oid = oid;
	/* A tag's ^{} follows it. Where the tag was left out, or there is none, it is of no use. */
	if (!wr_str_ends(line, WR_S("^{}")))
		return add_ref(a, line, &oid, &none, err);
	line.len -= 3;
	if (a->count && a->refs[a->count - 1].name.len == line.len && a->names.len >= line.len &&
	    memcmp(a->names.ptr + a->names.len - line.len, line.ptr, line.len) == 0)
		a->refs[a->count - 1].peeled = oid;
	return WR_OK;
}

/* Old servers name HEAD's id but not its branch: the one that git takes. */
static enum wr_code guess_head(struct wr_advert *a, struct wr_error *err)
{
	static const struct wr_str usual[] = {WR_S("refs/heads/main"), WR_S("refs/heads/master")};
	const struct wr_remote_ref *found = NULL;

	for (size_t i = 0; i < a->count && !wr_oid_zero(&a->head_oid); i++) {
		const struct wr_remote_ref *ref = &a->refs[i];

		if (!wr_oid_eq(&ref->oid, &a->head_oid) || !wr_str_starts(ref->name, WR_S("refs/heads/")))
			continue;
		if (!found || wr_str_eq(ref->name, usual[0]) ||
		    (wr_str_eq(ref->name, usual[1]) && !wr_str_eq(found->name, usual[0])))
			found = ref;
	}
	return found ? set_head(a, found->name, err) : WR_OK;
}

static enum wr_code read_v0(struct wr_advert *a, struct wr_str line, bool flush, struct wr_pkt_reader *r,
			    struct wr_error *err)
{
	bool first = true, symbolic = false;
	enum wr_code code;

	for (; !flush; first = false) {
		const char *nul = first ? memchr(line.ptr, 0, line.len) : NULL;
		struct wr_str ref = nul ? wr_str_n(line.ptr, (size_t)(nul - line.ptr)) : line;

		if (nul && (code = capabilities_v0(a, &symbolic, wr_str_skip(line, ref.len + 1), err)) != WR_OK)
			return code;
		if ((code = ref_v0(a, ref, err)) != WR_OK || (code = next(&line, &flush, r, err)) != WR_OK)
			return code;
	}
	if ((code = finish(a, err)) != WR_OK)
		return code;
	return symbolic ? WR_OK : guess_head(a, err);
}

enum wr_code wr_advert_read(struct wr_advert *a, struct wr_pkt_reader *r, struct wr_error *err)
{
	bool flush = false;
	struct wr_str line;
	enum wr_code code = next(&line, &flush, r, err);

	if (code != WR_OK)
		return code;
	/* Version 2 may come without the service's name. */
	if (!flush && wr_str_eq(line, WR_S("# service=git-upload-pack"))) {
		if ((code = next(&line, &flush, r, err)) != WR_OK)
			return code;
		if (!flush)
			return nonsense(err, "the service's name is not alone");
		code = next(&line, &flush, r, err);
	}
	if (code == WR_OK && !flush && wr_str_eq(line, WR_S("version 2")))
		return read_v2(a, r, err);
	if (code == WR_OK && !flush && wr_str_eq(line, WR_S("version 1")))
		code = next(&line, &flush, r, err);
	return code == WR_OK ? read_v0(a, line, flush, r, err) : code;
}
