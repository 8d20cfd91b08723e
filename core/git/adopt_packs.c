#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/git/adopt_internal.h"
#include "core/git/below.h"
#include "core/git/graph.h"
#include "core/git/loose.h"

/* Each is three maps in this process. */
#define PACKS_MAX 1000
/* With more packs than this nobody wants to hear of each one's deltas. */
#define TELL_EACH 16
#define COPY_STEP ((size_t)1 << 20)

/* ---- which there are ---- */

struct listing {
	struct wr_adoption *a;
	char **files; /* without ".pack" */
	size_t count, cap;
	int dir;
};

static void listing_fini(struct listing *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->files[i]);
	free(l->files);
}

static enum wr_code add_file(struct listing *l, struct wr_str name, struct wr_error *err)
{
	if (l->count == PACKS_MAX)
		return wr_fail(err, WR_E_INVALID_REQUEST, "It has more than %d packs; run git repack -ad there first",
			       PACKS_MAX);
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		char **v = reallocarray(l->files, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		l->files = v;
		l->cap = cap;
	}
	l->files[l->count] = wr_str_dup(name);
	if (!l->files[l->count])
		return wr_fail_nomem(err);
	l->count++;
	return WR_OK;
}

static enum wr_code each_file(void *arg, const char *file, struct wr_error *err)
{
	struct wr_str name = wr_str(file);
	char index[NAME_MAX + 1];
	struct listing *l = arg;

	if (wr_str_ends(name, WR_S(".promisor")))
		return wr_fail(
			err, WR_E_INVALID_REQUEST,
			"It is a partial clone (it has packs of a promisor); make a complete one and take that in");
	if (!wr_str_ends(name, WR_S(".pack")) || name.len >= sizeof index)
		return WR_OK;
	name.len -= strlen(".pack");
	snprintf(index, sizeof index, "%.*s.idx", (int)name.len, name.ptr);
	/* Without an index git does not know the pack: it never got ready. What the index says does not matter here. */
	return wr_below_has(l->dir, index) ? add_file(l, name, err) : WR_OK;
}

/* ---- one pack ---- */

static void new_name(char out[WR_PACK_NAME + 1])
{
	uint8_t random[WR_PACK_ID];

	wr_random_bytes(random, sizeof random);
	memcpy(out, "pack-", 5);
	wr_hex(out + 5, random, sizeof random);
}

/* Only the very file that was opened: who changes names meanwhile gets a copy of what he showed first. */
static bool link_pack(const struct wr_adoption *a, int dir, const char *from, const char *to, int fd)
{
	struct stat was, is;

	if (!a->may_link || linkat(dir, from, a->to, to, 0) < 0)
		return false;
	if (fstat(fd, &was) == 0 && fstatat(a->to, to, &is, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(is.st_mode) &&
	    was.st_dev == is.st_dev && was.st_ino == is.st_ino)
		return true;
	unlinkat(a->to, to, 0);
	return false;
}

/*
 * By pieces, not by copy_file_range(): what the kernel copies itself lies in its memory page by page, and a piece that is
 * written at once lies there as one, which makes looking at the mapped pack cheaper for as long as it stays.
 */
static enum wr_code copy_bytes(const struct wr_adoption *a, int from, int to, uint64_t size)
{
	WR_AUTO_MEM uint8_t *buf = malloc(COPY_STEP);
	uint64_t left = size;
	enum wr_code code;

	if (!buf)
		return wr_fail_nomem(a->err);
	if (lseek(from, 0, SEEK_SET) < 0)
		return wr_fail_errno(a->err, "copy a pack");
	while (left) {
		ssize_t n = read(from, buf, left < COPY_STEP ? (size_t)left : COPY_STEP);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return wr_fail(a->err, WR_E_INVALID_REQUEST,
				       "A pack cannot be read: the disk has an error there");
		if (n == 0)
			break;
		left -= (uint64_t)n;
		if ((code = wr_cancelled(a->cancel, a->err)) != WR_OK ||
		    (code = wr_file_write_all(to, buf, (size_t)n, a->err)) != WR_OK)
			return code;
	}
	return WR_OK;
}

static enum wr_code copy_pack(const struct wr_adoption *a, int from, uint64_t size, const char *name)
{
	WR_AUTO_FD int to = openat(a->to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (to < 0)
		return wr_fail_errno(a->err, "create %s", name);
	/* Where the file system can, both have the same blocks. */
	return ioctl(to, FICLONE, from) == 0 ? WR_OK : copy_bytes(a, from, to, size);
}

static enum wr_code merge(struct wr_adoption *a, const struct wr_intake *in)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < in->special.cap && code == WR_OK; i++)
		if (in->special.values[i])
			code = wr_fsck_special_add(&a->special, &in->special.keys[i], in->special.values[i] - 1,
						   a->err);
	for (size_t i = 0; i < in->faulty.cap && code == WR_OK; i++)
		if (in->faulty.values[i])
			code = wr_oidmap_add(&a->faulty, &in->faulty.keys[i], 0, NULL, a->err);
	return code;
}

/* Reads the pack in the new folder, and gives it its tables. label: what it is called where it came from. */
static enum wr_code index_pack(struct wr_adoption *a, struct wr_adopt_pack *pack, const char *label, bool tell)
{
	const struct wr_index_rules rules = {.fsck = &a->rules};
	WR_AUTO_S(wr_intake) in = {.count = 0};
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	char file[WR_PACK_NAME + 8];
	struct stat st;
	enum wr_code code =
		wr_index_stored(&in, a->to, pack->name, &a->limits, &rules, tell ? a->progress : NULL, a->cancel, &why);

	if (code == WR_E_BAD_PACK || code == WR_E_TOO_LARGE)
		return wr_fail(a->err, WR_E_INVALID_REQUEST, "%.80s is damaged (%.120s); git fsck there says more",
			       label, why.text);
	if (code != WR_OK) {
		wr_error_move(a->err, &why);
		return code;
	}
	snprintf(file, sizeof file, "%s.pack", pack->name);
	if (in.count == 0) {
		unlinkat(a->to, file, 0);
		return WR_OK;
	}
	if (fstatat(a->to, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return wr_fail_errno(a->err, "look at %s", file);
	pack->size = (uint64_t)st.st_size;
	a->packs[a->pack_count++] = *pack;
	return merge(a, &in);
}

static enum wr_code take_pack(struct wr_adoption *a, int dir, const char *name, bool tell)
{
	char file[NAME_MAX + 1], label[NAME_MAX + 16], to[WR_PACK_NAME + 8];
	struct wr_adopt_pack pack = {.size = 0};
	WR_AUTO_FD int fd = -1;
	enum wr_code code;
	uint64_t size;

	snprintf(file, sizeof file, "%s.pack", name);
	snprintf(label, sizeof label, "objects/pack/%s", file);
	code = wr_below_file(&fd, &size, dir, file, label, a->err);
	if (code == WR_E_NOT_THERE)
		return wr_fail(a->err, WR_E_INVALID_REQUEST,
			       "%.100s vanished; nobody may write to the repository meanwhile", label);
	if (code != WR_OK)
		return code;
	new_name(pack.name);
	snprintf(to, sizeof to, "%s.pack", pack.name);
	pack.linked = link_pack(a, dir, file, to, fd);
	if (!pack.linked && (code = copy_pack(a, fd, size, to)) != WR_OK)
		return code;
	return index_pack(a, &pack, label, tell);
}

static void tell(const struct wr_adoption *a, size_t done, size_t total)
{
	if (a->progress && a->progress->fn && (done == total || done % (total / 100 + 1) == 0))
		a->progress->fn(a->progress->arg, "Reading packs", done, total, done == total);
}

static enum wr_code take_packs(struct wr_adoption *a)
{
	WR_CLEANUP(listing_fini) struct listing l = {.a = a};
	WR_AUTO_FD int dir = -1;
	enum wr_code code = wr_below_folder(&dir, a->from, "objects/pack", a->err);

	if (code == WR_OK) {
		l.dir = dir;
		code = wr_below_each(dir, "objects/pack", each_file, &l, a->cancel, a->err);
	}
	if (code != WR_OK && code != WR_E_NOT_THERE)
		return code;
	a->packs = calloc(l.count + 1, sizeof *a->packs); /* and one of loose objects */
	if (!a->packs)
		return wr_fail_nomem(a->err);
	code = WR_OK;
	for (size_t i = 0; i < l.count && code == WR_OK; i++) {
		if ((code = take_pack(a, dir, l.files[i], l.count <= TELL_EACH)) == WR_OK)
			tell(a, i + 1, l.count);
	}
	return code;
}

/* ---- all ---- */

static int larger_first(const void *pa, const void *pb)
{
	const struct wr_adopt_pack *a = pa, *b = pb;

	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* As tails, in this order: so that of an object that comes several times the first, largest pack counts. */
static enum wr_code take_snapshot(struct wr_adoption *a)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code = wr_snapshot_new(&snap, a->limits.max_object, a->err);

	qsort(a->packs, a->pack_count, sizeof *a->packs, larger_first);
	for (size_t i = 0; i < a->pack_count && code == WR_OK; i++) {
		WR_AUTO(wr_pack) *p = NULL;

		if ((code = wr_pack_open(&p, a->to, a->packs[i].name, a->err)) == WR_OK)
			code = wr_snapshot_add_member(snap, p, WR_ROLE_TAIL, NULL, a->err);
	}
	if (code != WR_OK)
		return code;
	wr_snapshot_unref(a->snap);
	a->snap = WR_STEAL(snap);
	return WR_OK;
}

/* A file may hold another object than its name says: what is called so is damaged then. */
static enum wr_code compare_names(struct wr_adoption *a, const struct wr_loose *loose)
{
	enum wr_code code = WR_OK;

	for (size_t i = 0; i < loose->named.len && code == WR_OK; i++)
		if (!wr_snapshot_has(a->snap, &loose->named.v[i]))
			code = wr_oidmap_add(&a->damaged, &loose->named.v[i], 0, NULL, a->err);
	return code;
}

static enum wr_code take_loose(struct wr_adoption *a)
{
	WR_AUTO_S(wr_loose) loose = {.count = 0};
	struct wr_adopt_pack pack = {.loose = true};
	WR_AUTO_FD int objects = -1;
	enum wr_code code = wr_below_folder(&objects, a->from, "objects", a->err);

	if (code == WR_E_NOT_THERE)
		return wr_fail(a->err, WR_E_INVALID_REQUEST,
			       "objects vanished; nobody may write to the repository meanwhile");
	if (code != WR_OK)
		return code;
	new_name(pack.name);
	code = wr_loose_pack(&loose, objects, a->to, pack.name, a->snap, a->limits.max_object, a->progress, a->cancel,
			     a->err);
	if (code != WR_OK)
		return code;
	a->damaged = loose.damaged;
	loose.damaged = (struct wr_oidmap){.cap = 0};
	if (loose.count == 0)
		return WR_OK;
	if ((code = index_pack(a, &pack, "The pack of loose objects", false)) != WR_OK ||
	    (code = take_snapshot(a)) != WR_OK)
		return code;
	return compare_names(a, &loose);
}

enum wr_code wr_adopt_packs(struct wr_adoption *a)
{
	enum wr_code code;

	if ((code = take_packs(a)) != WR_OK || (code = take_snapshot(a)) != WR_OK)
		return code;
	return take_loose(a);
}
