#include "core/git/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/git/checkpoint.h"
#include "core/git/current.h"
#include "core/git/git_internal.h"

#define LOCK_WAIT_MS 2000
#define ASK_AFTER_MS 20
#define ASK_AGAIN_MS 100
/* How often a folder may go away while it is being opened. */
#define MOVES_MAX 8
#define MAX_HINT 64

static enum wr_code open_dir(int *out, int dir, const char *path, struct wr_error *err)
{
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return wr_fail_errno(err, "open folder %s", path);
	*out = fd;
	return WR_OK;
}

static void pack_name(char out[WR_PACK_NAME + 1], const uint8_t id[WR_PACK_ID])
{
	memcpy(out, "pack-", 5);
	wr_hex(out + 5, id, WR_PACK_ID);
}

/* ---- the lock ---- */

/* Whether the path still leads to this folder: another process may have removed it since it was opened. */
static bool in_place(const char *path, int dir)
{
	struct stat mine, there;

	return fstat(dir, &mine) == 0 && lstat(path, &there) == 0 && mine.st_ino == there.st_ino &&
	       mine.st_dev == there.st_dev;
}

/*
 * Of the open file description: it dies with its process, and with the descriptor. Who has it and does not use it is
 * asked for it now and then.
 */
static enum wr_code wait_for_lock(int fd, bool *held, const struct wr_git *git, const char *id, struct wr_error *err)
{
	int64_t began = wr_mono_ms(), ask_at = began + ASK_AFTER_MS;

	for (;;) {
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		int64_t now;

		if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
			return WR_OK;
		if (errno != EAGAIN && errno != EACCES)
			return wr_fail_errno(err, "repository %s: lock", id);
		now = wr_mono_ms();
		*held = now >= began + LOCK_WAIT_MS;
		if (*held)
			return wr_fail(err, WR_E_UNAVAILABLE, "repository %s belongs to another process", id);
		if (now >= ask_at && git->cfg.ask_owner) {
			git->cfg.ask_owner(git->cfg.ask_owner_arg, id);
			ask_at = wr_mono_ms() + ASK_AGAIN_MS;
		}
		nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
	}
}

/*
 * What the lock's file says is a hint: that the journal, at this length, was flushed and closed in order. Every append
 * since makes the length another one, so the hint need not be taken back, nor flushed.
 */
static bool was_clean(const struct wr_folder *f, const struct wr_journal *last)
{
	char text[MAX_HINT + 1], now[MAX_HINT + 1];
	ssize_t n = pread(f->lock, text, MAX_HINT, 0);
	int len = snprintf(now, sizeof now, "clean %llu %llu\n", (unsigned long long)wr_journal_number(last),
			   (unsigned long long)wr_journal_size(last));

	return n == len && memcmp(text, now, (size_t)len) == 0;
}

static void say_clean(const struct wr_folder *f, struct wr_journal *last)
{
	char now[MAX_HINT + 1];
	int len = snprintf(now, sizeof now, "clean %llu %llu\n", (unsigned long long)wr_journal_number(last),
			   (unsigned long long)wr_journal_size(last));

	wr_journal_trim(last);
	/* Repositories that are only read come and go without a write. */
	if (was_clean(f, last))
		return;
	/*
	 * Where it cannot be said, the next opening copies the journal for nothing. Never cut to nothing: file systems take
	 * that for a file that is written anew, and bring it to the disk at once.
	 */
	if (pwrite(f->lock, now, (size_t)len, 0) != len || ftruncate(f->lock, len) < 0)
		errno = 0;
}

/* ---- what the folder has ---- */

struct found {
	uint64_t *journals; /* numbers, sorted */
	size_t count, cap;
	uint64_t last_refs, last_journal;
};

static void found_fini(struct found *found)
{
	free(found->journals);
}
#define FOUND WR_CLEANUP(found_fini) struct found

static bool numbered(uint64_t *out, const char *name, const char *prefix, const char *suffix)
{
	struct wr_str s = wr_str(name), end = wr_str(suffix);

	if (!wr_str_starts(s, wr_str(prefix)))
		return false;
	s = wr_str_skip(s, strlen(prefix));
	if (s.len < end.len || memcmp(s.ptr + s.len - end.len, end.ptr, end.len) != 0)
		return false;
	return wr_str_u64(wr_str_n(s.ptr, s.len - end.len), INT64_MAX, out);
}

static int number_cmp(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static enum wr_code add_number(struct found *found, uint64_t n, struct wr_error *err)
{
	if (found->count == found->cap) {
		size_t cap = found->cap ? found->cap * 2 : 8;
		uint64_t *v = reallocarray(found->journals, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		found->journals = v;
		found->cap = cap;
	}
	found->journals[found->count++] = n;
	return WR_OK;
}

static enum wr_code note(struct found *found, const char *name, struct wr_error *err)
{
	uint64_t n;

	if (numbered(&n, name, "journal.", "")) {
		found->last_journal = n > found->last_journal ? n : found->last_journal;
		return add_number(found, n, err);
	}
	if (numbered(&n, name, "", ".refs"))
		found->last_refs = n > found->last_refs ? n : found->last_refs;
	return WR_OK;
}

/* By the descriptor that is there: a stream of its own costs as much as the rest of an opening's look at the folder. */
static enum wr_code list_warren(struct found *found, const struct wr_folder *f, struct wr_error *err)
{
	_Alignas(struct dirent64) char block[4096];
	enum wr_code code = WR_OK;
	ssize_t n;

	if (lseek(f->warren, 0, SEEK_SET) < 0)
		return wr_fail_errno(err, "seek in warren");
	while (code == WR_OK && (n = getdents64(f->warren, block, sizeof block)) != 0) {
		if (n < 0)
			return wr_fail_errno(err, "read folder warren");
		for (ssize_t at = 0; at < n && code == WR_OK;) {
			const struct dirent64 *e = (const struct dirent64 *)(const void *)(block + at);

			code = note(found, e->d_name, err);
			at += e->d_reclen;
		}
	}
	if (code == WR_OK && found->count)
		qsort(found->journals, found->count, sizeof *found->journals, number_cmp);
	return code;
}

/* ---- snapshots from files ---- */

static struct wr_pack *pack_of(const struct wr_snapshot *have, const char *name)
{
	for (size_t i = 0; have && i < have->member_count; i++)
		if (strcmp(have->members[i].pack->name, name) == 0)
			return wr_pack_ref(have->members[i].pack);
	return NULL;
}

/* A member by name: one that `have` has open already, or from the disk. */
static enum wr_code add_pack(struct wr_snapshot *snap, const struct wr_folder *f, const struct wr_snapshot *have,
			     const struct wr_refsfile_pack *p, struct wr_error *err)
{
	WR_AUTO(wr_pack) *pack = pack_of(have, p->name);
	enum wr_code code;

	if (!pack) {
		WR_AUTO_FD int packs = -1;

		if ((code = open_dir(&packs, f->dir, "objects/pack", err)) != WR_OK ||
		    (code = wr_pack_open(&pack, packs, p->name, err)) != WR_OK)
			return code;
	}
	return wr_snapshot_add(snap, &(struct wr_member){pack, p->role, p->dead, p->since}, err);
}

static enum wr_code add_checkpoint(struct wr_snapshot *snap, const struct wr_folder *f, const struct wr_snapshot *have,
				   struct wr_error *err)
{
	for (size_t i = 0; i < wr_refsfile_pack_count(snap->stored); i++) {
		struct wr_refsfile_pack p;
		enum wr_code code;

		if ((code = wr_refsfile_pack(&p, snap->stored, i, err)) != WR_OK)
			return code;
		code = add_pack(snap, f, have, &p, err);
		wr_dead_unref(p.dead);
		if (code != WR_OK)
			return code;
	}
	return WR_OK;
}

/* Updates of many records in their order. */
struct updates {
	struct wr_record_update *v;
	size_t len, cap;
};

static void updates_fini(struct updates *u)
{
	free(u->v);
}
#define UPDATES WR_CLEANUP(updates_fini) struct updates

static enum wr_code updates_add(struct updates *u, const struct wr_record *record, struct wr_error *err)
{
	if (u->cap - u->len < record->update_count) {
		size_t cap = (u->cap + record->update_count) * 2;
		struct wr_record_update *v = reallocarray(u->v, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(err);
		u->v = v;
		u->cap = cap;
	}
	if (record->update_count)
		memcpy(u->v + u->len, record->updates, record->update_count * sizeof *u->v);
	u->len += record->update_count;
	return WR_OK;
}

/* The first `records` records of a journal: refs, packs, and the rows that they make visible. Takes a reference. */
static enum wr_code add_journal(struct wr_snapshot *snap, const struct wr_folder *f, const struct wr_snapshot *have,
				struct wr_journal *j, uint32_t records, struct wr_error *err)
{
	UPDATES updates = {NULL, 0, 0};
	struct wr_refsfile_pack pack = {.role = WR_ROLE_OTHER};
	uint64_t seq = snap->seq;
	enum wr_code code;
	uint32_t rows = 0;

	if (snap->journal_count == WR_SNAPSHOT_JOURNALS)
		return wr_fail(err, WR_E_INTERNAL, "a repository has more than %d journals", WR_SNAPSHOT_JOURNALS);
	for (uint32_t i = 0; i < records; i++) {
		WR_AUTO_S(wr_record) record = {0};
		uint32_t first;

		if ((code = wr_journal_record(&record, &first, j, i, err)) != WR_OK ||
		    (code = updates_add(&updates, &record, err)) != WR_OK)
			return code;
		rows = first + record.object_count;
		seq = record.seq;
		if (!record.has_pack)
			continue;
		pack_name(pack.name, record.pack);
		if ((code = add_pack(snap, f, have, &pack, err)) != WR_OK)
			return code;
	}
	snap->limits[snap->journal_count] = rows;
	snap->journals[snap->journal_count++] = wr_journal_ref(j);
	return wr_snapshot_apply(snap, updates.v, updates.len, seq, err);
}

enum wr_code wr_folder_restrict(struct wr_snapshot **out, const struct wr_folder *f, const struct wr_snapshot *snap,
				size_t journals, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *s = NULL;
	enum wr_code code = wr_snapshot_new(&s, snap->max_object, err);

	if (code != WR_OK)
		return code;
	if (snap->stored) {
		s->stored = wr_refsfile_ref(snap->stored);
		s->seq = wr_refsfile_seq(s->stored);
		if ((code = add_checkpoint(s, f, snap, err)) != WR_OK)
			return code;
	}
	for (size_t i = 0; i < journals; i++)
		if ((code = add_journal(s, f, snap, snap->journals[i], wr_journal_flushed(snap->journals[i]), err)) !=
		    WR_OK)
			return code;
	*out = WR_STEAL(s);
	return WR_OK;
}

/* ---- opening ---- */

static enum wr_code keep_old(struct wr_folder *f, struct wr_journal *j, struct wr_error *err)
{
	struct wr_old_journal *v = reallocarray(f->old, f->old_count + 1, sizeof *v);

	if (!v)
		return wr_fail_nomem(err);
	f->old = v;
	v[f->old_count++] =
		(struct wr_old_journal){wr_journal_number(j), wr_journal_next_seq(j) - 1, wr_journal_ref(j)};
	return WR_OK;
}

static void drop_journal(const struct wr_folder *f, uint64_t number)
{
	char name[48];

	snprintf(name, sizeof name, "journal.%llu", (unsigned long long)number);
	/* What cannot be removed now is swept at a later opening. */
	if (unlinkat(f->warren, name, 0) < 0)
		errno = 0;
}

/* A cut tail is kept aside until the next one: nobody was told of it, but somebody may want to look. */
static void set_aside(const struct wr_folder *f, uint64_t number)
{
	char name[48];

	snprintf(name, sizeof name, "journal.%llu", (unsigned long long)number);
	if (renameat(f->warren, name, f->warren, "cut") < 0)
		errno = 0;
}

struct opened_journal {
	struct wr_journal *journal;
	enum wr_journal_end end;
	uint64_t flushed;
};

/* As many as there are files: while events cannot be handed over each checkpoint leaves one. */
struct opened {
	struct opened_journal *v;
	size_t count;
};

static void opened_fini(struct opened *o)
{
	for (size_t i = 0; i < o->count; i++)
		wr_journal_unref(o->v[i].journal);
	free(o->v);
}
#define OPENED WR_CLEANUP(opened_fini) struct opened

static void drop_opened(struct opened *o, size_t i)
{
	wr_journal_unref(o->v[i].journal);
	for (o->count--; i < o->count; i++)
		o->v[i] = o->v[i + 1];
}

/* All journals, without those that another stands for. A journal gets its name when it is whole. */
static enum wr_code open_journals(struct opened *o, struct wr_folder *f, const struct found *found, const char *id,
				  struct wr_error *err)
{
	enum wr_code code;

	o->v = calloc(found->count + 1, sizeof *o->v);
	if (!o->v)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < found->count; i++) {
		struct opened_journal *j = &o->v[o->count];

		code = wr_journal_open(&j->journal, &j->end, &j->flushed, f->warren, found->journals[i], err);
		if (code != WR_OK)
			return code == WR_E_NOT_THERE ? wr_fail(err, WR_E_INTERNAL, "repository %s: a journal is empty", id)
						      : code;
		o->count++;
	}
	/*
	 * Of two that begin with the same record the younger one counts: it is a copy, or the older one was never written
	 * to, because the folder could not be flushed when it was made.
	 */
	for (size_t i = o->count; i-- > 1;) {
		if (wr_journal_first_seq(o->v[i - 1].journal) != wr_journal_first_seq(o->v[i].journal))
			continue;
		drop_journal(f, wr_journal_number(o->v[i - 1].journal));
		drop_opened(o, i - 1);
	}
	/*
	 * One that could not be made, while the one before it went on. Those that a checkpoint stands for are no measure:
	 * which of their removals a power cut left is chance.
	 */
	for (size_t i = 1; i < o->count; i++) {
		const struct wr_journal *before = o->v[i - 1].journal, *j = o->v[i].journal;

		if (wr_journal_number(before) < f->first_journal || wr_journal_records(j) ||
		    wr_journal_first_seq(j) == wr_journal_next_seq(before))
			continue;
		drop_journal(f, wr_journal_number(j));
		drop_opened(o, i--);
	}
	return WR_OK;
}

/* How many of the journal's records lie within what was flushed for certain. */
static enum wr_code certain(uint32_t *out, const struct wr_journal *j, uint64_t flushed, struct wr_error *err)
{
	uint64_t end = wr_journal_size(j);
	uint32_t n = wr_journal_records(j);

	for (; n > 0 && end > flushed; n--) {
		WR_AUTO_S(wr_record) record = {0};
		enum wr_code code;
		uint32_t first;

		if ((code = wr_journal_record(&record, &first, j, n - 1, err)) != WR_OK)
			return code;
		end -= wr_record_len(&record);
	}
	*out = n;
	return WR_OK;
}

/*
 * The journals in force, in their order. The last one is copied unless it was closed in order: what it holds may be in
 * memory only, and perhaps nowhere after the next power cut. Where no copy can be made, what is certain is served.
 */
static enum wr_code replay(struct wr_snapshot **out, struct wr_folder *f, struct opened *o, const struct wr_git *git,
			   const char *id, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *snap = NULL;
	enum wr_code code;

	if ((code = wr_snapshot_new(&snap, git->cfg.max_object_bytes, err)) != WR_OK)
		return code;
	if (f->checkpoint) {
		if ((code = wr_refsfile_open(&snap->stored, f->warren, f->checkpoint, err)) != WR_OK)
			return code;
		snap->seq = wr_refsfile_seq(snap->stored);
		if ((code = add_checkpoint(snap, f, NULL, err)) != WR_OK)
			return code;
	}
	for (size_t i = 0; i < o->count; i++) {
		struct wr_journal *j = o->v[i].journal;
		bool last = i + 1 == o->count, aside;
		uint32_t records = wr_journal_records(j);

		if (wr_journal_number(j) < f->first_journal) {
			if ((code = keep_old(f, j, err)) != WR_OK)
				return code;
			continue;
		}
		if (wr_journal_first_seq(j) != snap->seq + 1) {
			f->damaged = true;
			break;
		}
		f->damaged = f->damaged || o->v[i].end == WR_JOURNAL_DAMAGED;
		aside = o->v[i].end == WR_JOURNAL_CUT;
		f->to_copy = last && !f->damaged && (aside || (records && !was_clean(f, j)));
		if (f->to_copy) {
			WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
			WR_AUTO(wr_journal) *copy = NULL;

			if (wr_journal_copy(&copy, f->warren, f->next_journal++, j, records, &why) == WR_OK) {
				f->to_copy = false;
				if (aside)
					set_aside(f, wr_journal_number(j));
				else
					drop_journal(f, wr_journal_number(j));
				wr_journal_unref(j);
				o->v[i].journal = j = WR_STEAL(copy);
			} else {
				wr_log_error(NULL, WR_EV_REPO_READ_ONLY, &why);
				f->keep = records;
				if ((code = certain(&records, j, o->v[i].flushed, err)) != WR_OK)
					return code;
			}
			if (aside)
				WR_LOG(WR_WARN, NULL, REPO_JOURNAL_CUT, WR_STR("repo", id),
				       WR_INT("records", records));
		}
		if ((code = add_journal(snap, f, NULL, j, records, err)) != WR_OK)
			return code;
	}
	if (snap->journal_count == 0 && !f->damaged)
		return wr_fail(err, WR_E_INTERNAL, "repository %s: its journal is missing", id);
	if (f->damaged)
		WR_LOG(WR_ERROR, NULL, REPO_DAMAGED, WR_STR("repo", id), WR_STR("file", "journal"));
	*out = WR_STEAL(snap);
	return WR_OK;
}

static enum wr_code read_folder(struct wr_snapshot **out, struct wr_folder *f, const struct wr_git *git, const char *id,
				struct wr_error *err)
{
	FOUND found = {NULL, 0, 0, 0, 0};
	struct wr_current current;
	OPENED opened = {NULL, 0};
	enum wr_code code;

	code = wr_current_read(&current, f->warren, err);
	if (code == WR_E_NOT_THERE)
		return wr_fail(err, WR_E_INTERNAL, "repository %s has no warren/current", id);
	if (code != WR_OK || (code = list_warren(&found, f, err)) != WR_OK)
		return code;
	f->checkpoint = current.checkpoint;
	f->first_journal = current.journal;
	f->next_checkpoint = (found.last_refs > current.checkpoint ? found.last_refs : current.checkpoint) + 1;
	f->next_journal = (found.last_journal > current.journal ? found.last_journal : current.journal) + 1;
	if ((code = open_journals(&opened, f, &found, id, err)) != WR_OK)
		return code;
	return replay(out, f, &opened, git, id, err);
}

static struct wr_folder *folder_new(void)
{
	struct wr_folder *f = calloc(1, sizeof *f);

	if (f)
		f->dir = f->warren = f->lock = -1;
	return f;
}

static void folder_free(struct wr_folder *f)
{
	for (size_t i = 0; i < f->old_count; i++)
		wr_journal_unref(f->old[i].journal);
	free(f->old);
	if (f->warren >= 0)
		close(f->warren);
	if (f->dir >= 0)
		close(f->dir);
	/* Last: who gets the lock then finds nothing of this process in use. */
	if (f->lock >= 0)
		close(f->lock);
	free(f);
}

void wr_folder_default_branch(char out[WR_BRANCH_ROOM], const struct wr_git *git, const char *id)
{
	if (!git->cfg.default_branch ||
	    git->cfg.default_branch(git->cfg.default_branch_arg, out, WR_BRANCH_ROOM, id, NULL) != WR_OK)
		snprintf(out, WR_BRANCH_ROOM, "main");
}

void wr_folder_export(const struct wr_folder *f, const struct wr_snapshot *snap, const char *branch)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;

	if (wr_checkpoint_export(f->dir, snap, wr_str(branch), &why) != WR_OK)
		wr_log_error(NULL, WR_EV_REPO_CHECKPOINT_FAILED, &why);
}

/*
 * After an unclean end `current` may have been renamed and not flushed: then what it names no more must stay until it is,
 * and nothing may be built on it. A copy of the journal flushes the folder too.
 */
static void sweep_unclean(struct wr_folder *f, const struct wr_snapshot *snap, const struct wr_git *git, const char *id)
{
	char branch[WR_BRANCH_ROOM];
	const struct wr_journal *last = snap->journals[snap->journal_count - 1];
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	unsigned removed = 0;

	if (wr_file_sync_dir(f->warren, ".", &why) != WR_OK) {
		wr_log_error(NULL, WR_EV_REPO_READ_ONLY, &why);
		f->to_copy = true;
		f->keep = wr_journal_records(last);
		return;
	}
	/* Nor need what was exported last have reached the disk. */
	if (f->checkpoint) {
		wr_folder_default_branch(branch, git, id);
		wr_folder_export(f, snap, branch);
	}
	wr_folder_sweep(f, snap, &removed);
	if (removed)
		WR_LOG(WR_INFO, NULL, REPO_SWEPT, WR_STR("repo", id), WR_INT("files", removed));
}

/* Its folders and its lock. *absent: there is none. Whatever fails, it may be because the folder goes away meanwhile. */
static enum wr_code enter(struct wr_folder *f, bool *absent, bool *held, const char *path, const struct wr_git *git,
			  const char *id, struct wr_error *err)
{
	enum wr_code code;

	f->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	*absent = f->dir < 0 && errno == ENOENT;
	if (*absent)
		return WR_OK;
	if (f->dir < 0)
		return wr_fail_errno(err, "open repository %s", id);
	if ((code = open_dir(&f->warren, f->dir, "warren", err)) != WR_OK)
		return code;
	f->lock = openat(f->warren, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (f->lock < 0 && errno == ENOENT && in_place(path, f->dir))
		f->lock = openat(f->warren, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->lock < 0)
		return wr_fail_errno(err, "repository %s: open warren/lock", id);
	return wait_for_lock(f->lock, held, git, id, err);
}

static void close_all(struct wr_folder *f)
{
	int *fds[] = {&f->warren, &f->dir, &f->lock};

	for (size_t i = 0; i < WR_ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

/* Until what is locked is what lies in the repository's place. */
static enum wr_code enter_in_place(struct wr_folder *f, bool *absent, bool *held, const struct wr_git *git, const char *id,
				   struct wr_error *err)
{
	char path[PATH_MAX];
	enum wr_code code = wr_repo_path(path, git, id, ".git", err);

	for (unsigned i = 0; code == WR_OK && i < MOVES_MAX; i++) {
		code = enter(f, absent, held, path, git, id, err);
		if (*absent || *held || f->dir < 0 || in_place(path, f->dir))
			return code;
		close_all(f);
		if (err)
			wr_error_fini(err);
		code = WR_OK;
	}
	return code == WR_OK ? wr_fail(err, WR_E_UNAVAILABLE, "repository %s does not stay in its place", id) : code;
}

enum wr_code wr_folder_open(struct wr_folder **out, struct wr_snapshot **snap, bool *held, const struct wr_git *git,
			    const char *id, struct wr_error *err)
{
	struct wr_folder *f = folder_new();
	enum wr_code code;
	bool absent = false;

	*held = false;
	if (!f)
		return wr_fail_nomem(err);
	code = enter_in_place(f, &absent, held, git, id, err);
	if (code == WR_OK && !absent && (code = read_folder(snap, f, git, id, err)) == WR_OK) {
		if (!f->damaged && !f->to_copy && !was_clean(f, (*snap)->journals[(*snap)->journal_count - 1]))
			sweep_unclean(f, *snap, git, id);
	}
	if (code != WR_OK || absent) {
		folder_free(f);
		return code;
	}
	*out = f;
	return WR_OK;
}

enum wr_code wr_folder_seize(int *lock, const struct wr_git *git, const char *id, struct wr_error *err)
{
	char path[PATH_MAX], file[PATH_MAX];
	bool held = false;
	enum wr_code code = wr_repo_path(path, git, id, ".git", err);

	if (code == WR_OK)
		code = wr_repo_path(file, git, id, ".git/warren/lock", err);
	for (unsigned i = 0; code == WR_OK && i < MOVES_MAX; i++) {
		WR_AUTO_FD int fd = open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		struct stat mine, there;

		/* One that cannot be locked for being damaged is nobody's. */
		if (fd < 0 && errno != EMFILE && errno != ENFILE) {
			*lock = -1;
			return WR_OK;
		}
		if (fd < 0)
			return wr_fail_errno(err, "open %s", file);
		if ((code = wait_for_lock(fd, &held, git, id, err)) == WR_OK && fstat(fd, &mine) == 0 &&
		    lstat(file, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev) {
			*lock = fd;
			fd = -1;
			return WR_OK;
		}
	}
	return code == WR_OK ? wr_fail(err, WR_E_UNAVAILABLE, "repository %s does not stay in its place", id) : code;
}

void wr_folder_close(struct wr_folder *f, const struct wr_snapshot *snap, bool clean)
{
	if (!f)
		return;
	if (clean && snap && snap->journal_count && !f->damaged && !f->to_copy)
		say_clean(f, snap->journals[snap->journal_count - 1]);
	folder_free(f);
}

/* ---- a new folder ---- */

static enum wr_code fill(struct wr_folder *f, struct wr_error *err)
{
	static const char config[] = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
	static const char *const folders[] = {"objects", "objects/pack", "refs", "warren"};
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	enum wr_code code;

	for (size_t i = 0; i < WR_ARRAY_LEN(folders); i++)
		if (mkdirat(f->dir, folders[i], 0700) < 0)
			return wr_fail_errno(err, "mkdir %s", folders[i]);
	if ((code = open_dir(&f->warren, f->dir, "warren", err)) != WR_OK ||
	    (code = wr_file_put(f->dir, "HEAD", WR_S("ref: refs/heads/main\n"), err)) != WR_OK ||
	    (code = wr_file_put(f->dir, "config", WR_S(config), err)) != WR_OK)
		return code;
	f->lock = openat(f->warren, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (f->lock < 0 || fcntl(f->lock, F_OFD_SETLK, &lock) < 0)
		return wr_fail_errno(err, "make warren/lock");
	return WR_OK;
}

/* Both levels are flushed when something has come to stay there. */
static enum wr_code make_shard(char *path, struct wr_error *err)
{
	char *slash;

	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return WR_OK;
	if (errno == ENOENT && (slash = strrchr(path, '/'))) {
		*slash = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return wr_fail_errno(err, "mkdir %s", path);
		*slash = '/';
		if (mkdir(path, 0700) == 0 || errno == EEXIST)
			return WR_OK;
	}
	return wr_fail_errno(err, "mkdir %s", path);
}

enum wr_code wr_folder_make(struct wr_folder **out, char built[PATH_MAX], const struct wr_git *git, const char *id,
			    struct wr_error *err)
{
	char path[PATH_MAX], begun[PATH_MAX], suffix[32] = ".new-";
	struct wr_folder *f;
	enum wr_code code;
	int n;

	wr_random_text(suffix + 5, 12);
	n = snprintf(begun, sizeof begun, "%s/%s", git->run.path, suffix + 1);
	if (n < 0 || (size_t)n >= sizeof begun)
		return wr_fail(err, WR_E_INTERNAL, "path too long: %s", suffix);
	if ((code = wr_repo_shard(path, git, id, err)) != WR_OK || (code = make_shard(path, err)) != WR_OK ||
	    (code = wr_repo_path(built, git, id, suffix, err)) != WR_OK)
		return code;
	f = folder_new();
	if (!f)
		return wr_fail_nomem(err);
	if (mkdir(begun, 0700) < 0) {
		folder_free(f);
		return wr_fail_errno(err, "mkdir %s", begun);
	}
	/* Begun where nobody looks for it: in its shard it is locked, or left by who died. */
	code = open_dir(&f->dir, AT_FDCWD, begun, err);
	if (code == WR_OK)
		code = fill(f, err);
	if (code == WR_OK && rename(begun, built) < 0)
		code = wr_fail_errno(err, "rename %s", begun);
	if (code == WR_OK)
		*out = f;
	else
		wr_folder_abort(f, begun);
	return code;
}

static enum wr_code turn_journal(struct wr_folder *f, struct wr_snapshot **snap, bool flush, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *next = NULL;
	struct wr_journal **j;
	enum wr_code code;

	if ((*snap)->journal_count == WR_SNAPSHOT_JOURNALS)
		return wr_fail(err, WR_E_UNAVAILABLE, "checkpoints do not keep up with writes");
	if ((code = wr_snapshot_copy(&next, *snap, err)) != WR_OK)
		return code;
	j = &next->journals[next->journal_count];
	code = flush ? wr_journal_create(j, f->warren, f->next_journal++, 0, next->seq + 1, err)
		     : wr_journal_start(j, f->warren, f->next_journal++, next->seq + 1, err);
	if (code != WR_OK)
		return code;
	next->limits[next->journal_count++] = 0;
	wr_snapshot_unref(*snap);
	*snap = WR_STEAL(next);
	return WR_OK;
}

enum wr_code wr_folder_start(struct wr_folder *f, struct wr_snapshot **snap, uint64_t checkpoint, struct wr_error *err)
{
	enum wr_code code = wr_current_put(f->warren, &(struct wr_current){checkpoint, 1}, err);

	if (code != WR_OK)
		return code;
	f->checkpoint = checkpoint;
	f->next_checkpoint = checkpoint + 1;
	f->first_journal = f->next_journal = 1;
	return turn_journal(f, snap, false, err);
}

/* Before the first record there is nothing but what its history will lack. */
static enum wr_code put_roots(struct wr_snapshot *snap, const struct wr_folder *f, const struct wr_oids *roots,
			      struct wr_error *err)
{
	const struct wr_refsfile_contents contents = {.shallow = roots};
	enum wr_code code = wr_refsfile_put(f->warren, 1, &contents, err);

	return code == WR_OK ? wr_refsfile_open(&snap->stored, f->warren, 1, err) : code;
}

static enum wr_code begin_once(struct wr_folder **out, struct wr_snapshot **snap, char built[PATH_MAX],
			       const struct wr_git *git, const char *id, const struct wr_oids *roots, struct wr_error *err)
{
	bool cut = roots && roots->len;
	WR_AUTO(wr_snapshot) *empty = NULL;
	struct wr_folder *f;
	enum wr_code code;

	if ((code = wr_snapshot_new(&empty, git->cfg.max_object_bytes, err)) != WR_OK ||
	    (code = wr_folder_make(&f, built, git, id, err)) != WR_OK)
		return code;
	if ((cut && (code = put_roots(empty, f, roots, err)) != WR_OK) ||
	    (code = wr_folder_start(f, &empty, cut ? 1 : 0, err)) != WR_OK) {
		wr_folder_abort(f, built);
		return code;
	}
	*out = f;
	*snap = WR_STEAL(empty);
	return WR_OK;
}

/* For the holder of a folder that was built and is to go into place. */
static enum wr_code still_wanted(const struct wr_git *git, const char *id, struct wr_error *err)
{
	char branch[WR_BRANCH_ROOM];
	enum wr_code code = WR_OK;

	if (git->cfg.default_branch)
		code = git->cfg.default_branch(git->cfg.default_branch_arg, branch, sizeof branch, id, err);
	return code == WR_E_NOT_THERE ? wr_fail(err, code, "The repository was deleted") : code;
}

enum wr_code wr_folder_begin(struct wr_folder **out, struct wr_snapshot **snap, char built[PATH_MAX], struct wr_git *git,
			     const char *id, const struct wr_oids *roots, struct wr_error *err)
{
	enum wr_code code = begin_once(out, snap, built, git, id, roots, err);
	int64_t until = 0;

	while (code == WR_E_UNAVAILABLE && wr_git_make_room(git, &until)) {
		if (err)
			wr_error_fini(err);
		code = begin_once(out, snap, built, git, id, roots, err);
	}
	return code;
}

static enum wr_code flush_made(const struct wr_folder *f, struct wr_error *err)
{
	static const char *const files[] = {"HEAD",	      "config",	       "packed-refs", "shallow",
					    "warren/current", "warren/1.refs", "warren/journal.1"};
	/* Nothing is in refs, so that its own name in the folder above is all there is to flush of it. */
	static const char *const folders[] = {"objects/pack", "objects", "warren", "."};
	enum wr_code code = wr_file_sync_all(f->dir, files, WR_ARRAY_LEN(files), err);

	for (size_t i = 0; i < WR_ARRAY_LEN(folders) && code == WR_OK; i++)
		code = wr_file_sync_dir(f->dir, folders[i], err);
	return code;
}

enum wr_code wr_folder_finish(struct wr_folder *f, bool *unknown, const char *built, struct wr_git *git, const char *id,
			      struct wr_error *err)
{
	char path[PATH_MAX];
	enum wr_code code = wr_repo_path(path, git, id, ".git", err);
	int64_t until = 0;

	*unknown = false;
	if (code != WR_OK)
		return code;
	/* Once a flush has failed another one says nothing: only where a file could not be opened for it is it tried again. */
	while ((code = flush_made(f, err)) == WR_E_UNAVAILABLE && wr_git_make_room(git, &until))
		if (err)
			wr_error_fini(err);
	/*
	 * Another process that deletes the repository first says so in its row, then looks into the shard. Either this
	 * look comes after the row's change, or that one finds what was built, and waits for it.
	 */
	if (code == WR_OK)
		code = still_wanted(git, id, err);
	if (code != WR_OK)
		return code;
	if (rename(built, path) < 0)
		return errno == EEXIST || errno == ENOTEMPTY
			       ? wr_fail(err, WR_E_EXISTS, "repository %s: another process made it first", id)
			       : wr_fail_errno(err, "rename %s", built);
	while ((code = wr_repo_sync_shard(git, id, err)) == WR_E_UNAVAILABLE && wr_git_make_room(git, &until))
		if (err)
			wr_error_fini(err);
	if (code != WR_OK && rename(path, built) < 0)
		*unknown = true;
	return code;
}

void wr_folder_abort(struct wr_folder *f, const char *built)
{
	folder_free(f);
	/* Where this fails too, the next process to open the repository removes it. */
	if (wr_file_remove(AT_FDCWD, built, NULL) != WR_OK)
		errno = 0;
}

/* ---- journals ---- */

enum wr_code wr_folder_ready(struct wr_folder *f, struct wr_snapshot **snap, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *next = NULL, *whole = NULL;
	WR_AUTO(wr_journal) *copy = NULL;
	struct wr_journal *last;
	enum wr_code code;
	uint64_t number;

	if (f->damaged)
		return wr_fail(err, WR_E_INTERNAL, "the repository's journal is damaged; it takes no writes");
	if (!f->to_copy)
		return WR_OK;
	last = (*snap)->journals[(*snap)->journal_count - 1];
	number = wr_journal_number(last);
	if ((code = wr_snapshot_copy(&next, *snap, err)) != WR_OK ||
	    (code = wr_journal_copy(&copy, f->warren, f->next_journal++, last, f->keep, err)) != WR_OK)
		return code;
	wr_journal_unref(last);
	next->journals[next->journal_count - 1] = WR_STEAL(copy);
	/* It may have more records than could be shown before: what was not certain then is flushed now. */
	if ((code = wr_folder_restrict(&whole, f, next, next->journal_count, err)) != WR_OK)
		return code;
	f->to_copy = false;
	drop_journal(f, number);
	wr_snapshot_unref(*snap);
	*snap = WR_STEAL(whole);
	return WR_OK;
}

enum wr_code wr_folder_turn_journal(struct wr_folder *f, struct wr_snapshot **snap, struct wr_error *err)
{
	return turn_journal(f, snap, true, err);
}

/* ---- checkpoints ---- */

enum wr_code wr_folder_keep_old(struct wr_folder *f, const struct wr_snapshot *snap, size_t journals,
				struct wr_error *err)
{
	for (size_t i = 0; i < journals; i++) {
		enum wr_code code = keep_old(f, snap->journals[i], err);

		if (code != WR_OK) {
			wr_folder_forget_old(f, i);
			return code;
		}
	}
	return WR_OK;
}

void wr_folder_forget_old(struct wr_folder *f, size_t journals)
{
	while (journals-- > 0)
		wr_journal_unref(f->old[--f->old_count].journal);
}

enum wr_code wr_folder_switch(struct wr_snapshot **next, struct wr_folder *f, const struct wr_snapshot *snap,
			      const struct wr_checkpoint *c, size_t journals, struct wr_error *err)
{
	struct wr_current current = {c->number, wr_journal_number(snap->journals[journals])};
	WR_AUTO(wr_snapshot) *s = NULL;
	enum wr_code code;

	if ((code = wr_snapshot_new(&s, snap->max_object, err)) != WR_OK)
		return code;
	s->stored = wr_refsfile_ref(c->stored);
	s->seq = wr_refsfile_seq(c->stored);
	for (size_t i = 0; i < c->member_count; i++)
		if ((code = wr_snapshot_add(s, &c->members[i], err)) != WR_OK)
			return code;
	for (size_t i = journals; i < snap->journal_count; i++)
		if ((code = add_journal(s, f, snap, snap->journals[i], wr_journal_flushed(snap->journals[i]), err)) !=
		    WR_OK)
			return code;
	if ((code = wr_current_write(f->warren, &current, err)) != WR_OK)
		return code;
	f->checkpoint = current.checkpoint;
	f->first_journal = current.journal;
	*next = WR_STEAL(s);
	return WR_OK;
}

/* ---- sweeping ---- */

static bool pack_is_named(const struct wr_snapshot *snap, const char *file)
{
	for (size_t i = 0; i < snap->member_count; i++) {
		const char *name = snap->members[i].pack->name;
		size_t n = strlen(name);

		if (strncmp(file, name, n) == 0 && file[n] == '.')
			return true;
	}
	return false;
}

static unsigned sweep_dir(int dir, const char *path, bool (*keep)(const void *arg, const char *name), const void *arg)
{
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	unsigned removed = 0;
	struct dirent *e;

	if (!d && fd >= 0)
		close(fd);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && !keep(arg, e->d_name))
			removed += wr_file_remove(fd, e->d_name, NULL) == WR_OK;
	if (d)
		closedir(d);
	return removed;
}

static bool keep_pack(const void *arg, const char *name)
{
	return pack_is_named(arg, name);
}

static bool keep_in_warren(const void *arg, const char *name)
{
	const struct wr_folder *f = arg;
	uint64_t n;

	if (strcmp(name, "lock") == 0 || strcmp(name, "current") == 0 || strcmp(name, "cut") == 0 ||
	    strcmp(name, "order") == 0)
		return true;
	if (numbered(&n, name, "journal.", ""))
		return true; /* goes when its events are handed over */
	return numbered(&n, name, "", ".refs") && n == f->checkpoint;
}

void wr_folder_sweep(struct wr_folder *f, const struct wr_snapshot *snap, unsigned *removed)
{
	*removed = sweep_dir(f->dir, "objects/pack", keep_pack, snap);
	*removed += sweep_dir(f->warren, ".", keep_in_warren, f);
}

size_t wr_folder_take_old(struct wr_old_journal *out, size_t max, struct wr_folder *f, uint64_t delivered)
{
	size_t kept = 0, n = 0;

	for (size_t i = 0; i < f->old_count; i++) {
		if (f->old[i].last_seq > delivered || n == max)
			f->old[kept++] = f->old[i];
		else
			out[n++] = f->old[i];
	}
	f->old_count = kept;
	return n;
}

void wr_folder_drop_old(struct wr_folder *f, const struct wr_old_journal *old, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		drop_journal(f, old[i].number);
		wr_journal_unref(old[i].journal);
	}
}
