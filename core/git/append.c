#include "core/git/append.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/append_internal.h"
#include "core/git/git_internal.h"
#include "core/git/parse.h"
#include "core/git/state.h"

/* Tags of tags; nobody has more than a few. */
#define MAX_TAG_CHAIN 64

/* One change while it is judged: what is asked for, over what there is. */
struct judge {
	const struct wr_snapshot *now;
	const struct wr_snapshot *objects; /* now's packs and the quarantine's */
	struct wr_ref_update *updates;
	size_t count;
	size_t *sorted;	       /* indexes of updates by name */
	struct wr_oid *peeled; /* of each update's new value */
	bool *decided;
};

static int name_cmp(struct wr_str a, struct wr_str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.ptr, b.ptr, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static void refuse(struct wr_ref_update *u, enum wr_code code, const char *reason)
{
	u->result = code;
	snprintf(u->reason, sizeof u->reason, "%.*s", (int)sizeof u->reason - 1, reason);
}

/* ---- each update alone ---- */

static int sorted_cmp(const void *a, const void *b, void *arg)
{
	const struct wr_ref_update *u = arg;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	int c = name_cmp(u[x].name, u[y].name);

	return c ? c : (x > y) - (x < y);
}

static void check_name(struct judge *j, struct wr_ref_update *u)
{
	const struct wr_ref *ref;

	u->result = WR_OK;
	u->reason[0] = '\0';
	memset(&u->before, 0, sizeof u->before);
	if (!wr_refname_ok(u->name)) {
		refuse(u, WR_E_INVALID_REQUEST, "funny refname");
		return;
	}
	if (wr_str_starts(u->name, WR_S("refs/warren/"))) {
		refuse(u, WR_E_INVALID_REQUEST, "refs/warren/ belongs to the server");
		return;
	}
	ref = wr_snapshot_ref(j->now, u->name);
	if (ref)
		u->before = ref->oid;
}

static void check_old(struct wr_ref_update *u)
{
	char is[WR_OID_HEX + 1], expected[WR_OID_HEX + 1];

	if (u->any_old || wr_oid_eq(&u->old, &u->before))
		return;
	u->result = WR_E_REF_CONFLICT;
	wr_oid_hex(is, &u->before);
	wr_oid_hex(expected, &u->old);
	if (wr_oid_zero(&u->old))
		snprintf(u->reason, sizeof u->reason, "the ref exists already, at %s", is);
	else if (wr_oid_zero(&u->before))
		snprintf(u->reason, sizeof u->reason, "the ref is gone, expected %s", expected);
	else
		snprintf(u->reason, sizeof u->reason, "the ref has moved: expected %s, is %s", expected, is);
}

/* A tag's way to what it is about in the end. */
static enum wr_code peel(struct wr_oid *out, const struct wr_snapshot *objects, struct wr_oid oid, struct wr_error *err)
{
	for (int i = 0; i < MAX_TAG_CHAIN; i++) {
		WR_AUTO_S(wr_object) obj = {.data = NULL};
		enum wr_type type;
		enum wr_code code;

		if ((code = wr_snapshot_read(&obj, objects, &oid, err)) != WR_OK ||
		    (code = wr_tag_parse(&oid, &type, wr_str_n(obj.data, obj.size), err)) != WR_OK)
			return code;
		if (type != WR_TAG) {
			*out = oid;
			return WR_OK;
		}
	}
	return wr_fail(err, WR_E_BAD_PACK, "a chain of more than %d tags", MAX_TAG_CHAIN);
}

/* A failure of the store ends the append; what the pusher can be told of, is the update's result. */
static enum wr_code check_new(struct judge *j, size_t i, struct wr_error *err)
{
	struct wr_ref_update *u = &j->updates[i];
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	enum wr_type type;
	enum wr_code code;

	if (wr_oid_zero(&u->new))
		return WR_OK;
	code = wr_snapshot_stat(j->objects, &u->new, &type, NULL, &why);
	if (code == WR_E_NOT_THERE) {
		refuse(u, WR_E_BAD_PACK, "bad object: the new value is not in the repository");
		return WR_OK;
	}
	if (code == WR_OK && wr_str_starts(u->name, WR_S("refs/heads/")) && type != WR_COMMIT) {
		refuse(u, WR_E_INVALID_REQUEST, "a branch must be a commit");
		return WR_OK;
	}
	if (code == WR_OK && type == WR_TAG)
		code = peel(&j->peeled[i], j->objects, u->new, &why);
	if (code == WR_E_BAD_PACK) {
		refuse(u, code, why.text);
		return WR_OK;
	}
	if (code != WR_OK && err)
		wr_error_move(err, &why);
	return code;
}

/* ---- folders: refs/heads/a and refs/heads/a/b exclude each other ---- */

/* The first of sorted[] whose name is not before this one. */
static size_t first_update(const struct judge *j, struct wr_str name)
{
	size_t lo = 0, hi = j->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (name_cmp(j->updates[j->sorted[mid]].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The update that decides whether this name exists, or NULL: then what exists now goes on existing. */
static const struct wr_ref_update *decisive(const struct judge *j, struct wr_str name)
{
	for (size_t k = first_update(j, name); k < j->count; k++) {
		const struct wr_ref_update *u = &j->updates[j->sorted[k]];

		if (!wr_str_eq(u->name, name))
			return NULL;
		if (j->decided[j->sorted[k]] && u->result == WR_OK)
			return u;
	}
	return NULL;
}

static bool exists(const struct judge *j, struct wr_str name)
{
	const struct wr_ref_update *u = decisive(j, name);

	return u ? !wr_oid_zero(&u->new) : wr_snapshot_ref(j->now, name) != NULL;
}

static bool has_below(const struct judge *j, const struct wr_ref_update *update)
{
	char folder[WR_REFNAME_MAX + 1];
	struct wr_str below;
	size_t lo = 0, hi = j->now->ref_count;

	memcpy(folder, update->name.ptr, update->name.len);
	folder[update->name.len] = '/';
	below = wr_str_n(folder, update->name.len + 1);
	for (size_t k = first_update(j, below); k < j->count; k++) {
		const struct wr_ref_update *u = &j->updates[j->sorted[k]];

		if (!wr_str_starts(u->name, below))
			break;
		if (j->decided[j->sorted[k]] && u->result == WR_OK && !wr_oid_zero(&u->new))
			return true;
	}
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (name_cmp(j->now->refs[mid].name, below) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < j->now->ref_count && wr_str_starts(j->now->refs[lo].name, below); lo++)
		if (exists(j, j->now->refs[lo].name))
			return true;
	return false;
}

static void check_folders(struct judge *j, struct wr_ref_update *u)
{
	for (size_t i = 0; i < u->name.len; i++) {
		struct wr_str above = wr_str_n(u->name.ptr, i);

		if (u->name.ptr[i] != '/' || !exists(j, above))
			continue;
		u->result = WR_E_REF_CONFLICT;
		snprintf(u->reason, sizeof u->reason, "the ref %.*s is in the way",
			 above.len > 100 ? 100 : (int)above.len, above.ptr);
		return;
	}
	if (has_below(j, u))
		refuse(u, WR_E_REF_CONFLICT, "refs below this name are in the way");
}

/* ---- all updates ---- */

static void refuse_twins(struct judge *j)
{
	for (size_t k = 1; k < j->count; k++) {
		struct wr_ref_update *a = &j->updates[j->sorted[k - 1]], *b = &j->updates[j->sorted[k]];

		if (!wr_str_eq(a->name, b->name))
			continue;
		refuse(a, WR_E_INVALID_REQUEST, "the ref is named more than once");
		refuse(b, WR_E_INVALID_REQUEST, "the ref is named more than once");
	}
}

static enum wr_code judge_all(struct judge *j, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < j->count; i++) {
		j->sorted[i] = i;
		check_name(j, &j->updates[i]);
	}
	qsort_r(j->sorted, j->count, sizeof *j->sorted, sorted_cmp, j->updates);
	refuse_twins(j);
	for (size_t i = 0; i < j->count && code == WR_OK; i++) {
		if (j->updates[i].result == WR_OK)
			check_old(&j->updates[i]);
		if (j->updates[i].result == WR_OK)
			code = check_new(j, i, err);
	}
	/* Deletions make room, whatever their place in the change. */
	for (size_t i = 0; i < j->count; i++)
		j->decided[i] = j->updates[i].result == WR_OK && wr_oid_zero(&j->updates[i].new);
	for (size_t i = 0; i < j->count; i++) {
		struct wr_ref_update *u = &j->updates[i];

		if (u->result == WR_OK && !wr_oid_zero(&u->new) && wr_oid_zero(&u->before))
			check_folders(j, u);
		j->decided[i] = true;
	}
	return code;
}

static void all_or_none(struct judge *j)
{
	bool refused = false;

	for (size_t i = 0; i < j->count; i++)
		refused = refused || j->updates[i].result != WR_OK;
	for (size_t i = 0; refused && i < j->count; i++)
		if (j->updates[i].result == WR_OK)
			refuse(&j->updates[i], WR_E_REF_CONFLICT, "atomic push failed");
}

static bool changes_something(const struct judge *j)
{
	for (size_t i = 0; i < j->count; i++)
		if (j->updates[i].result == WR_OK && !wr_oid_eq(&j->updates[i].new, &j->updates[i].before))
			return true;
	return false;
}

/* ---- the refs as they will be ---- */

static void put_ref(struct wr_snapshot *snap, size_t *used, struct wr_str name, const struct wr_oid *oid,
		    const struct wr_oid *peeled)
{
	char *to = snap->text + *used;

	memcpy(to, name.ptr, name.len);
	*used += name.len;
	snap->refs[snap->ref_count++] = (struct wr_ref){wr_str_n(to, name.len), *oid, *peeled};
}

static enum wr_code merge_refs(struct wr_snapshot *snap, const struct judge *j, struct wr_error *err)
{
	size_t room = 1, used = 0, i = 0, k = 0;

	for (size_t n = 0; n < j->now->ref_count; n++)
		room += j->now->refs[n].name.len;
	for (size_t n = 0; n < j->count; n++)
		room += j->updates[n].name.len;
	snap->text = malloc(room);
	snap->refs = calloc(j->now->ref_count + j->count + 1, sizeof *snap->refs);
	if (!snap->text || !snap->refs)
		return wr_fail_nomem(err);
	while (i < j->now->ref_count || k < j->count) {
		const struct wr_ref *old = i < j->now->ref_count ? &j->now->refs[i] : NULL;
		const struct wr_ref_update *u = k < j->count ? &j->updates[j->sorted[k]] : NULL;
		int c;

		if (u && u->result != WR_OK) {
			k++;
			continue;
		}
		c = !old ? 1 : !u ? -1 : name_cmp(old->name, u->name);
		if (c < 0) {
			put_ref(snap, &used, old->name, &old->oid, &old->peeled);
		} else if (!wr_oid_zero(&u->new)) {
			put_ref(snap, &used, u->name, &u->new, &j->peeled[j->sorted[k]]);
		}
		i += c <= 0;
		k += c >= 0;
	}
	return WR_OK;
}

/* ---- to the disk ---- */

static const char *const pack_ext[] = {"pack", "idx"};

static void drop_pack(int packs, const char *name)
{
	char file[WR_PACK_NAME + 8];

	for (size_t i = 0; i < WR_ARRAY_LEN(pack_ext); i++) {
		snprintf(file, sizeof file, "%s.%s", name, pack_ext[i]);
		unlinkat(packs, file, 0);
	}
}

static enum wr_code move_pack(int from, int to, const char *name, struct wr_error *err)
{
	char file[WR_PACK_NAME + 8];

	for (size_t i = 0; i < WR_ARRAY_LEN(pack_ext); i++) {
		snprintf(file, sizeof file, "%s.%s", name, pack_ext[i]);
		if (renameat(from, file, to, file) < 0)
			return wr_fail_errno(err, "rename %s", file);
	}
	return wr_file_sync_dir(to, ".", err);
}

static enum wr_code open_folder(int *out, int dir, const char *path, struct wr_error *err)
{
	*out = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *out < 0 ? wr_fail_errno(err, "open folder %s", path) : WR_OK;
}

static enum wr_code fill_folder(int dir, struct wr_pack *pack, int pack_dir, struct wr_str state, struct wr_error *err)
{
	static const char config[] = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
	static const char *const folders[] = {"objects", "objects/pack", "refs", "refs/heads", "refs/tags", "warren"};
	WR_AUTO_FD int packs = -1;
	enum wr_code code;

	for (size_t i = 0; i < WR_ARRAY_LEN(folders); i++)
		if (mkdirat(dir, folders[i], 0700) < 0)
			return wr_fail_errno(err, "mkdir %s", folders[i]);
	if ((code = open_folder(&packs, dir, "objects/pack", err)) != WR_OK ||
	    (pack && (code = move_pack(pack_dir, packs, pack->name, err)) != WR_OK) ||
	    (code = wr_file_create(dir, "HEAD", WR_S("ref: refs/heads/main\n"), err)) != WR_OK ||
	    (code = wr_file_create(dir, "config", WR_S(config), err)) != WR_OK ||
	    (code = wr_file_create(dir, "warren/state", state, err)) != WR_OK)
		return code;
	for (size_t i = 0; i < WR_ARRAY_LEN(folders) && code == WR_OK; i++)
		code = wr_file_sync_dir(dir, folders[i], err);
	return code == WR_OK ? wr_file_sync_dir(dir, ".", err) : code;
}

/* The first push: the whole folder beside its place, flushed, then renamed. */
static enum wr_code create_folder(struct wr_git_repo *repo, struct wr_pack *pack, int pack_dir, struct wr_str state,
				  struct wr_error *err)
{
	char path[PATH_MAX], built[PATH_MAX], suffix[32] = ".new-";
	WR_AUTO_FD int dir = -1;
	enum wr_code code;

	wr_random_text(suffix + 5, 12);
	if ((code = wr_repo_shard(path, repo->git, repo->id, err)) != WR_OK ||
	    (code = wr_file_mkdirs(path, err)) != WR_OK ||
	    (code = wr_repo_path(path, repo->git, repo->id, ".git", err)) != WR_OK ||
	    (code = wr_repo_path(built, repo->git, repo->id, suffix, err)) != WR_OK)
		return code;
	if (mkdir(built, 0700) < 0)
		return wr_fail_errno(err, "mkdir %s", built);
	code = open_folder(&dir, AT_FDCWD, built, err);
	if (code == WR_OK)
		code = fill_folder(dir, pack, pack_dir, state, err);
	if (code == WR_OK && rename(built, path) < 0)
		code = wr_fail_errno(err, "rename %s", built);
	if (code == WR_OK && (code = wr_repo_sync_shard(repo->git, repo->id, err)) != WR_OK && rename(path, built) < 0)
		return wr_fail(err, WR_E_INTERNAL, "repository %s: flush failed, outcome unknown", repo->id);
	/* Where this fails too, the next process to open the repository removes it. */
	if (code != WR_OK && wr_file_remove(AT_FDCWD, built, NULL) != WR_OK)
		errno = 0;
	return code;
}

static bool state_is(int folder, struct wr_str text)
{
	WR_AUTO_MEM char *now = NULL;
	size_t len;

	return wr_file_read(&now, &len, folder, "state", WR_STATE_MAX, NULL) == WR_OK &&
	       wr_str_eq(wr_str_n(now, len), text);
}

/*
 * A failure after the rename may leave the new state in place: the old one is put back, by the same steps. *kept says
 * after an error that the old state is in place, for certain.
 */
static enum wr_code replace_state(bool *kept, int dir, const struct wr_snapshot *old, struct wr_str state,
				  struct wr_error *err)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(WR_STATE_MAX);
	WR_AUTO_FD int folder = -1;
	enum wr_code code;

	*kept = true;
	if ((code = open_folder(&folder, dir, "warren", err)) != WR_OK ||
	    (code = wr_file_replace(folder, "state", state, err)) == WR_OK)
		return code;
	*kept = wr_state_write(&text, old, NULL) == WR_OK &&
		(state_is(folder, wr_buf_str(&text)) ||
		 wr_file_replace(folder, "state", wr_buf_str(&text), NULL) == WR_OK);
	return *kept ? code
		     : wr_fail(err, code, "the state was not written, and whether a crash would show it is unknown");
}

static enum wr_code update_folder(struct wr_git_repo *repo, const struct wr_snapshot *old, struct wr_pack *pack,
				  int pack_dir, struct wr_str state, struct wr_error *err)
{
	WR_AUTO_FD int dir = -1;
	WR_AUTO_FD int packs = -1;
	char path[PATH_MAX];
	enum wr_code code;
	bool kept = true;

	if ((code = wr_repo_path(path, repo->git, repo->id, ".git", err)) != WR_OK ||
	    (code = open_folder(&dir, AT_FDCWD, path, err)) != WR_OK ||
	    (code = open_folder(&packs, dir, "objects/pack", err)) != WR_OK)
		return code;
	if (!pack || (code = move_pack(pack_dir, packs, pack->name, err)) == WR_OK)
		code = replace_state(&kept, dir, old, state, err);
	/* On a disk that is full every byte counts; where a state may name the pack, the next opening decides. */
	if (pack && code != WR_OK && kept)
		drop_pack(packs, pack->name);
	return code;
}

static enum wr_code store(struct wr_git_repo *repo, const struct judge *j, bool exists_on_disk, struct wr_pack *pack,
			  int pack_dir, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(WR_STATE_MAX);
	WR_AUTO(wr_snapshot) *next = NULL;
	enum wr_code code;

	if ((code = wr_snapshot_extend(&next, j->now, pack, err)) != WR_OK ||
	    (code = merge_refs(next, j, err)) != WR_OK || (code = wr_state_write(&text, next, err)) != WR_OK)
		return code;
	if (exists_on_disk)
		code = update_folder(repo, j->now, pack, pack_dir, wr_buf_str(&text), err);
	else
		code = create_folder(repo, pack, pack_dir, wr_buf_str(&text), err);
	if (code == WR_OK)
		wr_repo_publish(repo, WR_STEAL(next));
	return code;
}

/* ---- the turn ---- */

static enum wr_code apply(struct wr_git_repo *repo, struct wr_change *change, const struct wr_snapshot *now,
			  bool exists_on_disk, struct wr_error *err)
{
	WR_AUTO_MEM struct wr_oid *peeled = calloc(change->count, sizeof *peeled);
	WR_AUTO_MEM size_t *sorted = calloc(change->count, sizeof *sorted);
	WR_AUTO_MEM bool *decided = calloc(change->count, sizeof *decided);
	WR_AUTO(wr_snapshot) *objects = NULL;
	struct wr_pack *pack = NULL;
	struct judge j;
	enum wr_code code;
	int pack_dir = -1;

	if (!peeled || !sorted || !decided)
		return wr_fail_nomem(err);
	if (change->objects && (code = wr_quarantine_seal(&pack, &pack_dir, change->objects, now, err)) != WR_OK)
		return code;
	if ((code = wr_snapshot_extend(&objects, now, pack, err)) != WR_OK)
		return code;
	j = (struct judge){now, objects, change->updates, change->count, sorted, peeled, decided};
	if ((code = judge_all(&j, err)) != WR_OK)
		return code;
	if (change->atomic)
		all_or_none(&j);
	return changes_something(&j) ? store(repo, &j, exists_on_disk, pack, pack_dir, err) : WR_OK;
}

static enum wr_code in_turn(struct wr_git_repo *repo, struct wr_change *change, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *now = NULL;
	bool exists_on_disk;
	enum wr_code code;

	if ((code = wr_repo_current(&now, &exists_on_disk, repo, err)) != WR_OK)
		return code;
	if (atomic_load(&repo->dead))
		return wr_fail(err, WR_E_NOT_THERE, "The repository was deleted");
	if (change->fn && (code = change->fn(change->arg, now, change, err)) != WR_OK)
		return code;
	return change->count ? apply(repo, change, now, exists_on_disk, err) : WR_OK;
}

enum wr_code wr_git_append(struct wr_git_repo *repo, struct wr_change *change, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *opened = NULL;
	struct wr_turn turn;
	enum wr_code code;

	/* Opened before the turn, because opening sweeps what a first push may be building in its turn. */
	if ((code = wr_snapshot_take(&opened, repo, err)) != WR_OK ||
	    (code = wr_repo_turn_begin(repo, &turn, err)) != WR_OK)
		return code;
	code = in_turn(repo, change, err);
	wr_repo_turn_end(repo, &turn);
	return code;
}
