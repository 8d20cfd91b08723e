/*
 * The turn: who has it works off the changes that wait, one after the other, each on top of the one before; writes a
 * record for each; flushes once; and only then shows what changed and lets the others know.
 */
#include "core/git/append.h"

#include <errno.h>
#include <fcntl.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/gate.h"
#include "core/base/log.h"
#include "core/git/append_internal.h"
#include "core/git/keeper.h"

/* Changes that share one flush. */
#define MAX_BATCH 128
#define MAX_AUTHOR 1024

/* One round of changes. */
struct round {
	struct wr_git_repo *repo;
	struct wr_snapshot *snap; /* with all that was staged */
	bool exists;		  /* the folder does */
	bool staged;		  /* something waits for the flush, */
	struct wr_turn *now, *unsafe; /* since this change; the one that is worked on */
	struct wr_turn *first;
	bool broken;		  /* the journal is: nothing more can be staged */
	/* A first push: */
	struct wr_folder *made;
	char built[PATH_MAX];
};

/* ---- packs of their own ---- */

static const char *const pack_ext[] = {"pack", "idx", "rev"};

static void drop_pack(int packs, const char *name)
{
	char file[WR_PACK_NAME + 8];

	for (size_t i = 0; i < WR_ARRAY_LEN(pack_ext); i++) {
		snprintf(file, sizeof file, "%s.%s", name, pack_ext[i]);
		unlinkat(packs, file, 0);
	}
}

static enum wr_code move_pack(int from, const struct wr_folder *f, const char *name, struct wr_error *err)
{
	WR_AUTO_FD int packs = openat(f->dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char file[WR_PACK_NAME + 8];
	enum wr_code code = WR_OK;

	if (packs < 0)
		return wr_fail_errno(err, "open objects/pack");
	for (size_t i = 0; i < WR_ARRAY_LEN(pack_ext) && code == WR_OK; i++) {
		snprintf(file, sizeof file, "%s.%s", name, pack_ext[i]);
		if (renameat(from, file, packs, file) < 0)
			code = wr_fail_errno(err, "move %s", file);
	}
	if (code == WR_OK)
		code = wr_file_sync_dir(packs, ".", err);
	if (code != WR_OK)
		drop_pack(packs, name);
	return code;
}

static void unmove_pack(const struct wr_folder *f, const char *name)
{
	WR_AUTO_FD int packs = openat(f->dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* On a disk that is full every byte counts; else the next opening would sweep it. */
	if (packs >= 0)
		drop_pack(packs, name);
}

/* ---- a record ---- */

/* How the refs of a change move; many often move alike. */
struct moves {
	const struct wr_judge *j;
	unsigned budget;
	struct wr_oid old, new;
	bool lossy;
};

/*
 * Whether a branch or tag may have left something behind that was in the closure. Where that cannot be told, the next
 * checkpoint finds out; a damaged history must not keep its branch from moving away.
 */
static bool loses(struct moves *m, const struct wr_oid *old, const struct wr_oid *new)
{
	enum wr_type type;
	bool keeps;

	return wr_oid_zero(new) || wr_snapshot_stat(m->j->now, old, &type, NULL, NULL) != WR_OK || type != WR_COMMIT ||
	       wr_descends(&keeps, &m->budget, m->j->in, m->j->objects, new, old, NULL) != WR_OK || !keeps;
}

static bool is_lossy(struct moves *m, const struct wr_ref_update *u)
{
	if (wr_oid_zero(&u->before) ||
	    (!wr_str_starts(u->name, WR_S("refs/heads/")) && !wr_str_starts(u->name, WR_S("refs/tags/"))))
		return false;
	if (!wr_oid_eq(&m->old, &u->before) || !wr_oid_eq(&m->new, &u->new)) {
		m->lossy = loses(m, &u->before, &u->new);
		m->old = u->before;
		m->new = u->new;
	}
	return m->lossy;
}

struct draft {
	struct wr_record record;
	struct wr_record_update *updates;
	struct wr_record_object *objects;
};

static void draft_fini(struct draft *d)
{
	free(d->updates);
	free(d->objects);
}
#define DRAFT WR_CLEANUP(draft_fini) struct draft

/* What was accepted, and changes something. */
static enum wr_code draft_updates(struct draft *d, const struct wr_judge *j, struct wr_error *err)
{
	struct moves moves = {.j = j, .budget = WR_DESCENDS_BUDGET};

	d->updates = calloc(j->count ? j->count : 1, sizeof *d->updates);
	if (!d->updates)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < j->count; i++) {
		const struct wr_ref_update *u = &j->updates[i];
		struct wr_record_update *r = &d->updates[d->record.update_count];

		if (u->result != WR_OK || wr_oid_eq(&u->new, &u->before))
			continue;
		*r = (struct wr_record_update){.name = u->name, .old = u->before, .new = u->new, .peeled = j->peeled[i]};
		r->lossy = is_lossy(&moves, u);
		d->record.update_count++;
	}
	d->record.updates = d->updates;
	return WR_OK;
}

/* Objects that others brought since the pack was taken in are known by now. */
static enum wr_code draft_objects(struct draft *d, const struct wr_incoming *in, const struct wr_snapshot *now,
				  struct wr_error *err)
{
	struct wr_place place;

	if (in->pack) {
		d->record.has_pack = true;
		if (!wr_unhex(d->record.pack, WR_PACK_ID, wr_str(in->pack->name + 5)))
			return wr_fail(err, WR_E_INTERNAL, "a pack has no name");
		return WR_OK;
	}
	if (in->count == 0)
		return WR_OK;
	d->objects = malloc(in->count * sizeof *d->objects);
	if (!d->objects)
		return wr_fail_nomem(err);
	memcpy(d->objects, in->objects, in->count * sizeof *d->objects);
	for (uint32_t i = 0; i < in->count; i++)
		if (!d->objects[i].known && wr_snapshot_find(&place, now, &d->objects[i].oid))
			d->objects[i].known = true;
	d->record.objects = d->objects;
	d->record.object_count = in->count;
	return WR_OK;
}

static struct wr_folder *folder_of(const struct round *r)
{
	return r->made ? r->made : r->repo->folder;
}

static struct wr_journal *last_journal(const struct wr_snapshot *snap)
{
	return snap->journals[snap->journal_count - 1];
}

/*
 * All of a journal is flushed before another one begins, and both are shown at once: should a flush fail later in this
 * round, then repair() begins with what is shown.
 */
static enum wr_code turn_journal(struct round *r, struct wr_error *err)
{
	enum wr_code code;

	if (r->staged && (code = wr_journal_flush(last_journal(r->snap), err)) != WR_OK) {
		r->broken = true;
		return code;
	}
	if (r->staged && !r->made) {
		wr_repo_publish(r->repo, wr_snapshot_ref_more(r->snap));
		wr_events_added(r->repo->git->events, r->repo, r->snap->seq);
		wr_keeper_look(r->repo->git->keeper, r->repo, r->snap);
		r->staged = false;
		r->unsafe = NULL;
	}
	code = wr_folder_turn_journal(folder_of(r), &r->snap, err);
	if (code == WR_OK && !r->made)
		wr_repo_publish(r->repo, wr_snapshot_ref_more(r->snap));
	return code;
}

/* The journal that takes the record: a new one where the last has no room. */
static enum wr_code make_room(struct round *r, const struct wr_record *record, struct wr_error *err)
{
	/* One that fits nowhere is refused by the journal. */
	if (wr_journal_fits(last_journal(r->snap), wr_record_len(record)) ||
	    wr_journal_records(last_journal(r->snap)) == 0)
		return WR_OK;
	return turn_journal(r, err);
}

static enum wr_code put_record(struct round *r, struct draft *d, const struct wr_incoming *in, struct wr_error *err)
{
	WR_AUTO(wr_snapshot) *next = NULL;
	enum wr_code code;

	if ((code = make_room(r, &d->record, err)) != WR_OK || (code = wr_snapshot_copy(&next, r->snap, err)) != WR_OK)
		return code;
	if (in->pack && ((code = wr_snapshot_add_member(next, in->pack, WR_ROLE_OTHER, NULL, err)) != WR_OK ||
			 (code = move_pack(in->dir, folder_of(r), in->pack->name, err)) != WR_OK))
		return code;
	d->record.seq = next->seq + 1;
	if ((code = wr_snapshot_apply(next, d->record.updates, d->record.update_count, d->record.seq, err)) == WR_OK)
		code = wr_journal_put(&r->broken, last_journal(next), &d->record, err);
	if (code != WR_OK) {
		if (in->pack && !r->broken)
			unmove_pack(folder_of(r), in->pack->name);
		return code;
	}
	next->limits[next->journal_count - 1] = wr_journal_rows(last_journal(next));
	wr_snapshot_unref(r->snap);
	r->snap = WR_STEAL(next);
	r->staged = true;
	if (!r->unsafe)
		r->unsafe = r->now;
	return WR_OK;
}

/* ---- one change ---- */

static enum wr_code ready(struct round *r, const struct wr_incoming *in, struct wr_error *err)
{
	enum wr_code code;

	if (r->broken)
		return wr_fail(err, WR_E_INTERNAL, "the journal took no more");
	/* Of what is there already walks know where it ends. */
	if (in->roots && in->roots->len && (r->exists || r->made))
		return wr_fail(err, WR_E_INTERNAL, "repository %s: a history that is there cannot be cut", r->repo->id);
	if (!r->exists && !r->made) {
		wr_snapshot_unref(r->snap);
		r->snap = NULL;
		code = wr_folder_begin(&r->made, &r->snap, r->built, r->repo->git, r->repo->id, in->roots, err);
		if (code != WR_OK && wr_snapshot_new(&r->snap, r->repo->git->cfg.max_object_bytes, NULL) != WR_OK)
			r->broken = true;
		return code;
	}
	if (r->made || r->staged)
		return WR_OK;
	return wr_repo_ready(r->repo, &r->snap, err);
}

static enum wr_code apply(struct round *r, struct wr_change *change, struct wr_error *err)
{
	WR_AUTO_S(wr_judge) j = {.now = r->snap, .updates = change->updates, .count = change->count};
	WR_AUTO(wr_snapshot) *with = NULL;
	struct wr_incoming in = {.dir = -1};
	DRAFT d = {.record = {.time_ms = wr_now_ms(), .author = change->asker.author}};
	enum wr_code code;

	if (change->objects && (code = wr_quarantine_seal(&in, change->objects, err)) != WR_OK)
		return code;
	if ((code = wr_snapshot_copy(&with, r->snap, err)) != WR_OK ||
	    (in.pack && (code = wr_snapshot_add_member(with, in.pack, WR_ROLE_OTHER, NULL, err)) != WR_OK))
		return code;
	j.objects = with;
	j.in = &in;
	if ((j.count && (code = wr_judge(&j, change->atomic, err)) != WR_OK) ||
	    (code = draft_updates(&d, &j, err)) != WR_OK)
		return code;
	if (d.record.update_count == 0 && !(change->keep && (in.pack || in.count)))
		return WR_OK;
	if ((code = wr_rely(r->repo, &j, err)) != WR_OK)
		return code;
	if (d.record.author.len > MAX_AUTHOR)
		d.record.author.len = MAX_AUTHOR;
	memcpy(d.record.operation, change->asker.operation, sizeof d.record.operation);
	if ((code = ready(r, &in, err)) != WR_OK || (code = draft_objects(&d, &in, r->snap, err)) != WR_OK)
		return code;
	return put_record(r, &d, &in, err);
}

/* Whether there is anything to judge or to store. */
static bool does_something(const struct wr_change *change)
{
	return change->count || (change->keep && change->objects);
}

static enum wr_code stage(struct round *r, struct wr_change *change, struct wr_error *err)
{
	enum wr_code code;

	if (atomic_load(&r->repo->dead))
		return wr_fail(err, WR_E_NOT_THERE, "The repository was deleted");
	if (change->fn && (code = change->fn(change->arg, r->snap, change, err)) != WR_OK)
		return code;
	return does_something(change) ? apply(r, change, err) : WR_OK;
}

/* ---- the round ---- */

/*
 * What is in the journal behind the last flush may be on the disk or not, and no reading tells. So what was flushed goes
 * into a new journal, which takes the old one's place: then nothing of it was stored, for certain.
 */
static enum wr_code repair(struct round *r, enum wr_code code, struct wr_error *err)
{
	WR_AUTO_S(wr_error) why = WR_ERROR_INIT;
	WR_AUTO(wr_snapshot) *now = NULL;
	struct wr_folder *f = r->repo->folder;

	if (wr_repo_current(&now, NULL, r->repo, &why) != WR_OK || now->journal_count == 0)
		return code;
	f->to_copy = true;
	f->keep = wr_journal_flushed(last_journal(now));
	if (wr_folder_ready(f, &now, &why) == WR_OK) {
		wr_repo_publish(r->repo, WR_STEAL(now));
		return code;
	}
	wr_log_error(NULL, WR_EV_REPO_READ_ONLY, &why);
	wr_error_fini(err);
	return wr_fail(err, code == WR_E_STORAGE_FULL ? code : WR_E_INTERNAL,
		       "repository %s: a flush failed and could not be repaired; whether the change was stored is unknown",
		       r->repo->id);
}

/* The packs of a folder that comes to nothing go back to where they were: the changes are judged anew. */
static void return_packs(struct round *r)
{
	WR_AUTO_FD int packs = openat(r->made->dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char file[WR_PACK_NAME + 8];

	for (struct wr_turn *t = r->first; packs >= 0; t = t->next) {
		struct wr_incoming in = {.dir = -1};

		if (t->code == WR_OK && does_something(t->change) && t->change->objects &&
		    wr_quarantine_seal(&in, t->change->objects, NULL) == WR_OK && in.pack) {
			for (size_t i = 0; i < WR_ARRAY_LEN(pack_ext); i++) {
				snprintf(file, sizeof file, "%s.%s", in.pack->name, pack_ext[i]);
				/* One that was not needed has not been moved; what cannot be moved fails later. */
				if (renameat(packs, file, in.dir, file) < 0)
					errno = 0;
			}
		}
		if (t == r->now)
			return;
	}
}

/* The folder of a first push goes into place with its first records. */
static enum wr_code finish_first(struct round *r, struct wr_error *err)
{
	enum wr_code code = wr_journal_flush(last_journal(r->snap), err);
	bool unknown = false;

	if (code == WR_OK) {
		wr_repo_place_begin(r->repo);
		code = wr_folder_finish(r->made, &unknown, r->built, r->repo->git, r->repo->id, err);
		if (code == WR_OK) {
			wr_events_opened(r->repo->git->events, r->repo, true);
			wr_repo_place_end(r->repo, WR_STEAL(r->made), wr_snapshot_ref_more(r->snap));
		} else {
			wr_repo_place_end(r->repo, NULL, NULL);
		}
	}
	if (code != WR_OK) {
		if (code == WR_E_EXISTS)
			return_packs(r);
		if (unknown)
			wr_folder_close(r->made, NULL, false);
		else
			wr_folder_abort(r->made, r->built);
		r->made = NULL;
		return unknown ? wr_fail(err, WR_E_INTERNAL, "repository %s: a flush failed, the outcome is unknown",
					 r->repo->id)
			       : code;
	}
	return WR_OK;
}

static enum wr_code finish(struct round *r, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	if (r->made && !r->staged) {
		wr_folder_abort(r->made, r->built);
		r->made = NULL;
		return WR_OK;
	}
	if (!r->staged && !r->broken)
		return WR_OK;
	if (r->made)
		code = r->broken ? wr_fail(err, WR_E_INTERNAL, "the journal is broken") : finish_first(r, err);
	else if (r->broken)
		code = repair(r, wr_fail(err, WR_E_INTERNAL, "the journal is broken"), err);
	else if ((code = wr_journal_flush(last_journal(r->snap), err)) != WR_OK)
		code = repair(r, code, err);
	if (r->made) {
		wr_folder_abort(r->made, r->built);
		r->made = NULL;
	}
	if (code != WR_OK)
		return code;
	wr_repo_publish(r->repo, wr_snapshot_ref_more(r->snap));
	wr_events_added(r->repo->git->events, r->repo, r->snap->seq);
	wr_keeper_look(r->repo->git->keeper, r->repo, r->snap);
	return WR_OK;
}

static enum wr_code begin(struct round *r, struct wr_error *err)
{
	enum wr_code code;

	if ((code = wr_repo_current(&r->snap, &r->exists, r->repo, err)) != WR_OK)
		return code;
	if (r->exists && !r->repo->folder)
		return wr_fail(err, WR_E_UNAVAILABLE, "repository %s is being closed", r->repo->id);
	if ((code = wr_events_wait(r->repo->git->events, r->repo, err)) != WR_OK)
		return code;
	/* What a copy brings to light, the changes must be judged by. */
	return r->exists && r->repo->folder->to_copy ? wr_repo_ready(r->repo, &r->snap, err) : WR_OK;
}

/* What befell the whole round, in one change's own words. */
static void share(struct wr_turn *t, enum wr_code code, const struct wr_error *err)
{
	t->code = wr_fail(t->err, code, "%s", err->detail[0] ? err->detail : err->text);
}

/* Another process made the folder first: what it made is opened, and all changes are judged by that. Rests meanwhile. */
static enum wr_code again(struct round *r, struct wr_turn *first, struct wr_turn *last, struct wr_error *err)
{
	enum wr_code code;

	wr_gate_go_on();
	wr_error_fini(err);
	wr_snapshot_unref(r->snap);
	*r = (struct round){.repo = r->repo, .first = first};
	code = begin(r, err);
	for (struct wr_turn *t = first;; t = t->next) {
		if (t->err)
			wr_error_fini(t->err);
		r->now = t;
		if (code == WR_OK)
			t->code = stage(r, t->change, t->err);
		else
			share(t, code, err);
		if (t == last)
			break;
	}
	wr_gate_rest();
	if (code == WR_OK && (code = finish(r, err)) == WR_E_EXISTS)
		code = wr_fail(err, WR_E_UNAVAILABLE, "repository %s is made and removed by others", r->repo->id);
	return code;
}

/*
 * *last is the last of the changes that were worked off. From the flush on it rests, also when it returns: with the turn
 * nobody should wait for a place.
 */
static void work(struct wr_git_repo *repo, struct wr_turn *first, struct wr_turn **last)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct round r = {.repo = repo, .first = first};
	enum wr_code code = begin(&r, &err);
	struct wr_turn *t = first;
	unsigned n = 0;

	do {
		*last = r.now = t;
		if (code == WR_OK)
			t->code = stage(&r, t->change, t->err);
		else
			share(t, code, &err);
	} while (++n < MAX_BATCH && !r.broken && (t = wr_repo_turn_more(repo, t)));
	wr_gate_rest();
	if (code == WR_OK && (code = finish(&r, &err)) == WR_E_EXISTS)
		code = again(&r, first, *last, &err);
	if (code != WR_OK)
		for (t = r.unsafe; t; t = t == *last ? NULL : t->next)
			if (t->code == WR_OK)
				share(t, code, &err);
	wr_snapshot_unref(r.snap);
}

enum wr_code wr_git_append(struct wr_git_repo *repo, struct wr_change *change, struct wr_error *err)
{
	struct wr_turn turn = {.change = change, .err = err}, *last;
	enum wr_code code;

	wr_events_expect(repo->git->events, repo);
	if ((code = wr_keeper_pace(repo, err)) != WR_OK || (code = wr_repo_turn_wait(repo, &turn, err)) != WR_OK)
		return code;
	if (!turn.done) {
		work(repo, &turn, &last);
		wr_repo_turn_pass(repo, &turn, last);
		if (!change->brief)
			wr_gate_go_on();
	}
	return turn.code;
}
