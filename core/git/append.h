/*
 * core/git/append.h: the only way in: objects through a quarantine, then ref updates that make them visible.
 * Ownership: a quarantine is the caller's until wr_quarantine_free(); freed without an append it leaves nothing behind.
 * Threads:   one per quarantine; appends from any thread, those of one repository take turns in the order of their
 * calls. Blocks on: disk, the source, the turn. Errors:    WR_E_BAD_PACK, WR_E_SHALLOW_ROOT, WR_E_TOO_LARGE, WR_E_STORAGE_FULL,
 * WR_E_NOT_THERE (the repository was deleted), WR_E_CANCELLED, and what the source says.
 */
#ifndef WR_APPEND_H
#define WR_APPEND_H

#include "core/base/room.h"
#include "core/base/stream.h"
#include "core/git/plan.h"

struct wr_quarantine;

WR_MUST_CHECK enum wr_code wr_quarantine_new(struct wr_quarantine **out, struct wr_git_repo *repo,
					     struct wr_error *err);
/* The same for objects that build on what a change's function got as tips: they may refer to what only these have. */
WR_MUST_CHECK enum wr_code wr_quarantine_on(struct wr_quarantine **out, struct wr_git_repo *repo,
					    struct wr_snapshot *tips, struct wr_error *err);
/*
 * The same for one that objects were added to already: those to come build on these tips. For what can be made before the
 * turn, and what only in it.
 */
void wr_quarantine_follow(struct wr_quarantine *q, struct wr_snapshot *tips);
void wr_quarantine_free(struct wr_quarantine *q);
WR_DEFINE_AUTO(wr_quarantine);

/* An object that the pack brought, or that the repository has; WR_E_NOT_THERE. After the pack. */
struct wr_object;
WR_MUST_CHECK enum wr_code wr_quarantine_read(struct wr_object *out, struct wr_quarantine *q, const struct wr_oid *oid,
					      struct wr_error *err);
/* The same without its content. */
WR_MUST_CHECK enum wr_code wr_quarantine_stat(enum wr_type *type, uint64_t *size, struct wr_quarantine *q,
					      const struct wr_oid *oid, struct wr_error *err);

/*
 * Reads one pack to the end of the source, indexes it, completes a thin one from the repository, and checks it whole:
 * ids by recomputing them with SHA-1 collision detection, and that everything which a new commit, tree or tag refers to
 * is in the pack or in the repository and of the right type (submodule entries refer to nothing). A pack of zero
 * objects is fine. Once per quarantine, and not together with wr_quarantine_add().
 */
WR_MUST_CHECK enum wr_code wr_quarantine_pack(struct wr_quarantine *q, struct wr_source *src,
					      const struct wr_progress *progress, const struct wr_cancel *cancel,
					      struct wr_error *err);

/*
 * The pusher's history ends at these commits (gitprotocol-pack, "shallow" lines of a push); borrowed until the pack is
 * read. A commit of the pack that is among them and has a parent which is nowhere makes wr_quarantine_pack() fail with
 * WR_E_SHALLOW_ROOT instead of WR_E_BAD_PACK. Before the pack.
 */
void wr_quarantine_shallow(struct wr_quarantine *q, const struct wr_oids *roots);

/*
 * The repository is being made, and its history shall end at these commits, whose parents it does not have
 * (source.depth): the first append stores them with its record, walks stop there from then on (wr_snapshot_roots()), and
 * clients hear of them as of a shallow repository's. Those that do not come with the pack are passed over. Borrowed until
 * the append. Before the pack; WR_E_INTERNAL from the append where the repository has a folder already.
 */
void wr_quarantine_roots(struct wr_quarantine *q, const struct wr_oids *roots);

/*
 * Who counts the memory that the pack makes the server take (index.h); borrowed until the quarantine is freed. Before the
 * pack, which may then end with WR_E_UNAVAILABLE.
 */
void wr_quarantine_room(struct wr_quarantine *q, const struct wr_room *room);

/*
 * The pack was not pushed: it comes from another server or another store, whose history nobody can mend. Objects are then
 * only refused for what would harm those who check them out: the names that stand for .git, and .gitmodules (fsck.h).
 */
void wr_quarantine_taken(struct wr_quarantine *q);

/* An object of the repository that a new one resembles (the tree before a change), and its content where it is at hand. */
struct wr_like {
	struct wr_oid oid;
	struct wr_str bytes; /* ptr NULL: is read where it is needed */
	bool sound;	     /* wr_quarantine_sound() said so of these bytes, in whatever repository of this process */
};

/*
 * One object made by this server. Its references are checked when the quarantine is appended. like: NULL, or what it
 * resembles: it is then stored as a delta where that pays and the chain stays short.
 */
WR_MUST_CHECK enum wr_code wr_quarantine_add(struct wr_oid *out, struct wr_quarantine *q, enum wr_type type,
					     struct wr_str bytes, const struct wr_like *like, struct wr_error *err);
/*
 * Whether what was added last is new here and was found without fault, by the rules for what is pushed and made here,
 * and is no tree with files that are looked into: so of a tree that resembles it only what differs need be looked at.
 */
bool wr_quarantine_sound(const struct wr_quarantine *q);

/*
 * The same for a blob that comes in pieces: begun, put, ended, and nothing else is added between. However large it is, it
 * is never in memory as a whole.
 */
WR_MUST_CHECK enum wr_code wr_quarantine_blob_begin(struct wr_quarantine *q, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_quarantine_blob_put(struct wr_quarantine *q, struct wr_str bytes, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_quarantine_blob_end(struct wr_oid *out, struct wr_quarantine *q, struct wr_error *err);

/*
 * Of the objects that were added so far only those of this set stay: for who learns late what is of use. Trees and commits
 * may only go together with what refers to them.
 */
WR_MUST_CHECK enum wr_code wr_quarantine_only(struct wr_quarantine *q, const struct wr_oidmap *wanted,
					      struct wr_error *err);

struct wr_ref_update {
	struct wr_str name; /* full name, borrowed */
	struct wr_oid old;  /* the expected id; zero: must not exist */
	struct wr_oid new;  /* zero: delete */
	bool any_old;	    /* do not compare with old */
	/* Outputs of wr_git_append(): */
	enum wr_code result;
	char reason[160];     /* for the report to the pusher; "" when result is WR_OK */
	struct wr_oid before; /* what the ref was; zero: absent */
};

/* Who asks for a change, and by which request: journals and events say so. */
struct wr_asker {
	struct wr_str author;  /* borrowed; at most 1024 bytes; may be empty */
	uint8_t operation[16]; /* the request's id */
};

struct wr_change {
	struct wr_ref_update *updates;
	size_t count;
	bool atomic; /* all or none; else each alone */
	/*
	 * The objects are stored durably even where no update is accepted, or none is there: nothing reaches them, and
	 * they go after the grace like everything that nothing reaches. The grace of such as are there already begins anew.
	 */
	bool keep;
	bool brief; /* its caller only answers when it is done, and needs no place among those who compute (gate.h) for it */
	struct wr_quarantine *objects; /* NULL: no new objects */
	struct wr_asker asker;
	/*
	 * NULL, or called when the turn comes, with the repository as it then is; fills updates, count and objects
	 * (which stay the caller's). An error from it ends the append, which has then changed nothing. It may run on
	 * another thread that appends to the same repository; it must not wait for anything but the disk.
	 */
	enum wr_code (*fn)(void *arg, struct wr_snapshot *tips, struct wr_change *change, struct wr_error *err);
	/* NULL, or called now and then, on the caller's thread, while the change waits for those of others. */
	void (*waiting)(void *arg);
	void *arg;
};

/*
 * Applies the change under the repository's turn: checks names, expected ids, that new values exist, that values of
 * refs/heads/ are commits, that no ref is a folder of another; makes objects and then refs durable (flushed, renamed,
 * folder flushed), then visible. WR_OK when the append ran, whatever became of each update: see their results. Where no
 * update was accepted the quarantined objects are thrown away, unless they are to be kept.
 * Refused names: what wr_refname_ok() refuses, and refs/warren/.
 */
WR_MUST_CHECK enum wr_code wr_git_append(struct wr_git_repo *repo, struct wr_change *change, struct wr_error *err);

#endif
