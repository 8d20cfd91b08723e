/*
 * Refs as plain git keeps them: packed-refs has "<id> <name>" lines, a line "^<id>" behind a tag (what it leads to,
 * which is found out anew here) and perhaps a first line of capabilities; a file refs/... with an id or "ref: <name>"
 * hides what packed-refs says of that name.
 */
#include "core/git/adopt_internal.h"
#include "core/git/below.h"
#include "core/git/graph.h"
#include "core/git/parse.h"

#define TEXT_MAX ((size_t)4 << 30)
/* "ref: ", a name, and some spaces. */
#define FILE_MAX ((size_t)WR_REFNAME_MAX + 4096)
/* As many as git follows. */
#define SYMREF_DEPTH 5

void wr_adopt_refs_init(struct wr_adopt_refs *refs)
{
	*refs = (struct wr_adopt_refs){.text = WR_BUF_INIT(TEXT_MAX)};
}

void wr_adopt_refs_fini(struct wr_adopt_refs *refs)
{
	free(refs->v);
	wr_buf_fini(&refs->text);
	refs->v = NULL;
	refs->count = refs->cap = 0;
}

/* A name as far as a sentence has room for it, and without bytes that a terminal would obey. */
static const char *shown(char out[100], struct wr_str name)
{
	size_t n = name.len < 99 ? name.len : 99;

	for (size_t i = 0; i < n; i++)
		out[i] = (char)(name.ptr[i] >= ' ' && name.ptr[i] <= '~' ? name.ptr[i] : '?');
	out[n] = '\0';
	return out;
}

static enum wr_code check_name(struct wr_str name, struct wr_error *err)
{
	char text[100];

	if (!wr_refname_ok(name))
		return wr_fail(
			err, WR_E_INVALID_REQUEST,
			"The ref %s has a name that is not allowed here; delete or rename it first (git update-ref)",
			shown(text, name));
	if (wr_str_starts(name, WR_S("refs/warren/")))
		return wr_fail(
			err, WR_E_INVALID_REQUEST,
			"The ref %s is below refs/warren/, which belongs to the server; delete or rename it first",
			shown(text, name));
	return WR_OK;
}

static enum wr_code add(struct wr_adopt_ref **out, struct wr_adopt_refs *refs, struct wr_str name, struct wr_error *err)
{
	enum wr_code code = check_name(name, err);

	if (code != WR_OK)
		return code;
	if (refs->count == refs->cap) {
		size_t cap = refs->cap ? refs->cap * 2 : 64;
		struct wr_adopt_ref *v = reallocarray(refs->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		refs->v = v;
		refs->cap = cap;
	}
	if (refs->count == WR_ADOPT_REFS_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "It has more than %u refs", WR_ADOPT_REFS_MAX);
	refs->v[refs->count] = (struct wr_adopt_ref){.name = refs->text.len, .name_len = name.len};
	wr_buf_adds(&refs->text, name);
	if (!wr_buf_ok(&refs->text))
		return wr_fail_nomem(err);
	*out = &refs->v[refs->count++];
	return WR_OK;
}

/* ---- packed-refs ---- */

static enum wr_code bad_packed(size_t line, struct wr_error *err)
{
	return wr_fail(err, WR_E_INVALID_REQUEST, "Line %zu of packed-refs is damaged; git fsck there says more", line);
}

static enum wr_code packed_line(bool *had_ref, struct wr_adopt_refs *refs, struct wr_str line, size_t number,
				struct wr_error *err)
{
	struct wr_adopt_ref *ref;
	struct wr_oid oid;
	enum wr_code code;

	if (line.len && line.ptr[0] == '^') {
		if (!*had_ref || line.len != 1 + WR_OID_HEX || !wr_oid_parse(&oid, wr_str_skip(line, 1)))
			return bad_packed(number, err);
		*had_ref = false;
		return WR_OK;
	}
	if (line.len < WR_OID_HEX + 2 || line.ptr[WR_OID_HEX] != ' ' ||
	    !wr_oid_parse(&oid, wr_str_n(line.ptr, WR_OID_HEX)) || wr_oid_zero(&oid))
		return bad_packed(number, err);
	if ((code = add(&ref, refs, wr_str_skip(line, WR_OID_HEX + 1), err)) != WR_OK)
		return code;
	ref->oid = oid;
	*had_ref = true;
	return WR_OK;
}

enum wr_code wr_adopt_packed_refs(struct wr_adopt_refs *refs, struct wr_str file, struct wr_error *err)
{
	bool had_ref = false;
	enum wr_code code = WR_OK;

	for (size_t number = 1; file.len && code == WR_OK; number++) {
		const char *end = memchr(file.ptr, '\n', file.len);
		struct wr_str line;

		if (!end)
			return bad_packed(number, err);
		line = wr_str_n(file.ptr, (size_t)(end - file.ptr));
		file = wr_str_skip(file, line.len + 1);
		if (number > 1 || !wr_str_starts(line, WR_S("#")))
			code = packed_line(&had_ref, refs, line, number, err);
	}
	return code;
}

/* ---- files of refs ---- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* "ref: <name>"; false: it is none. */
static bool symbolic(struct wr_str *target, struct wr_str file)
{
	if (!wr_str_starts(file, WR_S("ref:")))
		return false;
	file = wr_str_skip(file, 4);
	while (file.len && is_space(file.ptr[0]))
		file = wr_str_skip(file, 1);
	while (file.len && is_space(file.ptr[file.len - 1]))
		file.len--;
	*target = file;
	return true;
}

static bool direct(struct wr_oid *out, struct wr_str file)
{
	return file.len >= WR_OID_HEX && wr_oid_parse(out, wr_str_n(file.ptr, WR_OID_HEX)) && !wr_oid_zero(out) &&
	       (file.len == WR_OID_HEX || is_space(file.ptr[WR_OID_HEX]));
}

static enum wr_code damaged(struct wr_str name, struct wr_error *err)
{
	char text[100];

	return wr_fail(err, WR_E_INVALID_REQUEST,
		       "The ref %s is damaged: its file holds no id; repair or delete it first", shown(text, name));
}

enum wr_code wr_adopt_loose_ref(struct wr_adopt_refs *refs, struct wr_str name, struct wr_str file,
				struct wr_error *err)
{
	struct wr_str target = {NULL, 0};
	struct wr_adopt_ref *ref;
	struct wr_oid oid = {{0}};
	enum wr_code code;

	if (symbolic(&target, file) ? !wr_refname_ok(target) : !direct(&oid, file))
		return damaged(name, err);
	if ((code = add(&ref, refs, name, err)) != WR_OK)
		return code;
	ref->loose = true;
	ref->oid = oid;
	ref->target = refs->text.len;
	ref->target_len = target.len;
	wr_buf_adds(&refs->text, target);
	return wr_buf_ok(&refs->text) ? WR_OK : wr_fail_nomem(err);
}

/* ---- folders of refs ---- */

struct reader {
	struct wr_adopt_refs *refs;
	char **waiting; /* folders to be read */
	size_t count, cap;
	int dir;	    /* the one that is being read */
	const char *folder; /* its name */
	const struct wr_cancel *cancel;
};

static void reader_fini(struct reader *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->waiting[i]);
	free(r->waiting);
}

static enum wr_code wait_for(struct reader *r, const char *folder, struct wr_error *err)
{
	if (r->count == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 16;
		char **v = reallocarray(r->waiting, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		r->waiting = v;
		r->cap = cap;
	}
	r->waiting[r->count] = wr_str_dup(wr_str(folder));
	if (!r->waiting[r->count])
		return wr_fail_nomem(err);
	r->count++;
	return WR_OK;
}

static enum wr_code read_file(struct reader *r, const char *name, const char *full, struct wr_error *err)
{
	WR_AUTO_MEM char *text = NULL;
	size_t len;
	enum wr_code code = wr_below_read(&text, &len, r->dir, name, full, FILE_MAX, err);

	return code == WR_OK ? wr_adopt_loose_ref(r->refs, wr_str(full), wr_str_n(text, len), err) : code;
}

static enum wr_code each_name(void *arg, const char *name, struct wr_error *err)
{
	struct reader *r = arg;
	char full[WR_REFNAME_MAX + 1];
	enum wr_below kind;
	enum wr_code code;

	/* Git does not see these: what it is writing, and what others left there. */
	if (name[0] == '.' || wr_str_ends(wr_str(name), WR_S(".lock")))
		return WR_OK;
	if ((size_t)snprintf(full, sizeof full, "%s/%s", r->folder, name) >= sizeof full)
		return wr_fail(err, WR_E_INVALID_REQUEST, "A name of a ref below %.60s has more than %d bytes",
			       r->folder, WR_REFNAME_MAX);
	code = wr_below_kind(&kind, r->dir, name, full, err);
	if (code == WR_OK)
		code = kind == WR_BELOW_FOLDER ? wait_for(r, full, err) : read_file(r, name, full, err);
	if (code == WR_E_NOT_THERE)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "%.100s vanished; nobody may write to the repository meanwhile", full);
	return code;
}

static enum wr_code read_folders(struct wr_adopt_refs *refs, int from, const struct wr_cancel *cancel,
				 struct wr_error *err)
{
	WR_CLEANUP(reader_fini) struct reader r = {.refs = refs, .cancel = cancel};
	enum wr_code code = wait_for(&r, "refs", err);

	while (code == WR_OK && r.count) {
		WR_AUTO_MEM char *folder = r.waiting[--r.count];
		WR_AUTO_FD int fd = -1;

		if ((code = wr_below_folder(&fd, from, folder, err)) == WR_E_NOT_THERE)
			return wr_fail(err, WR_E_INVALID_REQUEST,
				       "%.100s vanished; nobody may write to the repository meanwhile", folder);
		if (code != WR_OK)
			return code;
		r.dir = fd;
		r.folder = folder;
		code = wr_below_each(fd, folder, each_name, &r, cancel, err);
	}
	return code;
}

/* ---- all together ---- */

static int by_name(const void *pa, const void *pb, void *arg)
{
	const struct wr_adopt_ref *a = pa, *b = pb;
	const struct wr_adopt_refs *refs = arg;
	int c = wr_refname_cmp(wr_str_n(refs->text.ptr + a->name, a->name_len),
			       wr_str_n(refs->text.ptr + b->name, b->name_len));

	return c ? c : b->loose - a->loose;
}

static enum wr_code keep_one_each(struct wr_adopt_refs *refs, struct wr_error *err)
{
	size_t kept = 0;
	char text[100];

	for (size_t i = 0; i < refs->count; i++) {
		if (kept && wr_str_eq(wr_adopt_ref_name(refs, kept - 1), wr_adopt_ref_name(refs, i))) {
			if (!refs->v[kept - 1].loose)
				return wr_fail(err, WR_E_INVALID_REQUEST, "packed-refs names %s twice",
					       shown(text, wr_adopt_ref_name(refs, i)));
			continue;
		}
		refs->v[kept++] = refs->v[i];
	}
	refs->count = kept;
	return WR_OK;
}

static const struct wr_adopt_ref *find(const struct wr_adopt_refs *refs, struct wr_str name)
{
	size_t lo = 0, hi = refs->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = wr_refname_cmp(name, wr_adopt_ref_name(refs, mid));

		if (c == 0)
			return &refs->v[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

static enum wr_code resolve(const struct wr_adopt_refs *refs, struct wr_adopt_ref *ref, struct wr_error *err)
{
	const struct wr_adopt_ref *at = ref;
	char from[100], to[100];

	for (unsigned i = 0; at && at->target_len && i < SYMREF_DEPTH; i++)
		at = find(refs, wr_str_n(refs->text.ptr + at->target, at->target_len));
	if (!at || at->target_len)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "The symbolic ref %.70s leads nowhere (%.70s); delete it first (git symbolic-ref -d)",
			       shown(from, wr_str_n(refs->text.ptr + ref->name, ref->name_len)),
			       shown(to, wr_str_n(refs->text.ptr + ref->target, ref->target_len)));
	ref->oid = at->oid;
	return WR_OK;
}

/* A name and what stands below it as a folder do not follow each other: "a", "a-b", "a/b". But "a" begins all of them.
 */
static enum wr_code check_folders(const struct wr_adopt_refs *refs, struct wr_error *err)
{
	WR_AUTO_MEM size_t *stack = reallocarray(NULL, refs->count + 1, sizeof *stack);
	char above[100], below[100];
	size_t depth = 0;

	if (!stack)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < refs->count; i++) {
		struct wr_str name = wr_adopt_ref_name(refs, i);

		while (depth && !wr_str_starts(name, wr_adopt_ref_name(refs, stack[depth - 1])))
			depth--;
		for (size_t d = depth; d > 0; d--) {
			struct wr_str prefix = wr_adopt_ref_name(refs, stack[d - 1]);

			if (name.ptr[prefix.len] == '/')
				return wr_fail(err, WR_E_INVALID_REQUEST,
					       "There are refs %.80s and %.80s, of which one is a folder of the other; "
					       "delete one",
					       shown(above, prefix), shown(below, name));
		}
		stack[depth++] = i;
	}
	return WR_OK;
}

enum wr_code wr_adopt_settle_refs(struct wr_adopt_refs *refs, struct wr_error *err)
{
	enum wr_code code;

	if (refs->count)
		qsort_r(refs->v, refs->count, sizeof *refs->v, by_name, refs);
	if ((code = keep_one_each(refs, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < refs->count && code == WR_OK; i++)
		if (refs->v[i].target_len)
			code = resolve(refs, &refs->v[i], err);
	return code == WR_OK ? check_folders(refs, err) : code;
}

static enum wr_code read_head(struct wr_adopt_refs *refs, int from, struct wr_error *err)
{
	WR_AUTO_MEM char *text = NULL;
	struct wr_str target, branch;
	struct wr_oid oid;
	size_t len;
	enum wr_code code = wr_below_read(&text, &len, from, "HEAD", "HEAD", FILE_MAX, err);

	if (code != WR_OK)
		return code;
	if (!symbolic(&target, wr_str_n(text, len)))
		return direct(&oid, wr_str_n(text, len)) ? WR_OK : damaged(WR_S("HEAD"), err);
	if (!wr_str_starts(target, WR_S("refs/heads/")))
		return WR_OK;
	branch = wr_str_skip(target, strlen("refs/heads/"));
	if (wr_branchname_ok(branch) && branch.len < sizeof refs->head)
		snprintf(refs->head, sizeof refs->head, "%.*s", (int)branch.len, branch.ptr);
	return WR_OK;
}

enum wr_code wr_adopt_read_refs(struct wr_adopt_refs *refs, int from, const struct wr_cancel *cancel,
				struct wr_error *err)
{
	WR_AUTO_MEM char *text = NULL;
	size_t len = 0;
	enum wr_code code = read_head(refs, from, err);

	if (code != WR_OK)
		return code == WR_E_NOT_THERE ? damaged(WR_S("HEAD"), err) : code;
	code = wr_below_read(&text, &len, from, "packed-refs", "packed-refs", WR_ADOPT_PACKED_MAX, err);
	if (code == WR_OK)
		code = wr_adopt_packed_refs(refs, wr_str_n(text, len), err);
	if (code != WR_OK && code != WR_E_NOT_THERE)
		return code;
	if ((code = read_folders(refs, from, cancel, err)) != WR_OK)
		return code;
	return wr_adopt_settle_refs(refs, err);
}
