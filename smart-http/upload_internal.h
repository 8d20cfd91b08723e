/*
 * smart-http/upload_internal.h: what upload*.c share: a parsed request, and the steps that all versions answer by.
 * upload_parse*.c read a body; upload_v0.c and upload_v2.c speak; upload_refs.c lists refs and finds wanted ones;
 * upload_info.c answers object-info; upload_cut.c decides where history ends; upload.c checks what is wanted and sends
 * the pack.
 */
#ifndef WR_UPLOAD_INTERNAL_H
#define WR_UPLOAD_INTERNAL_H

#include "core/git/filter.h"
#include "core/git/parse.h"
#include "core/git/pktline.h"
#include "core/git/reach.h"
#include "smart-http/sideband.h"
#include "smart-http/upload.h"

/* A depth of this many commits means all of them: "fetch --unshallow" (git's INFINITE_DEPTH). */
#define WR_DEPTH_ALL 0x7fffffffu

enum wr_upload_kind {
	WR_UPLOAD_NOTHING, /* an empty request */
	WR_UPLOAD_REFUSED, /* well formed, but not granted: refusal says why */
	WR_UPLOAD_V0,	   /* versions 0 and 1 */
	WR_UPLOAD_LS_REFS,
	WR_UPLOAD_FETCH,
	WR_UPLOAD_OBJECT_INFO,
};

enum wr_ack_mode { WR_ACK_ONE, WR_ACK_MULTI, WR_ACK_DETAILED };

/* Names that came with the request; each is malloc'ed. */
struct wr_names {
	struct wr_str *v;
	size_t len, cap;
};

struct wr_upload {
	enum wr_upload_kind kind;
	struct wr_upload_limits limits;
	size_t preamble; /* bytes of lines that have no bound of their own */
	bool refused;
	char refusal[256];
	bool told; /* the client knows of the error */
	struct wr_reach *reach; /* while the request is answered, from wr_upload_begin() on */

	struct wr_oids wants, haves, shallows; /* wants: object-info's ids too */
	struct wr_names want_refs;
	/* Versions 0 and 1: a flush came behind the haves. Nothing after it counts, and done is false then. */
	bool paused;
	bool done;
	enum wr_ack_mode ack;
	enum wr_band_mode bands;
	bool thin, ofs_delta, include_tag, no_progress, no_done, wait_for_done, sideband_all;
	bool may_filter, has_filter;
	struct wr_filter filter;

	uint32_t depth; /* 0: no limit was asked for */
	bool deepen_relative, has_since;
	int64_t since;
	struct wr_names deepen_not;

	bool symrefs, peel, unborn;
	bool all_refs; /* too many prefixes, or none: no choice among refs */
	struct wr_names prefixes;

	bool size; /* object-info */
};

/* Where the client's history ends, now and after this answer. */
struct wr_cut {
	struct wr_oids client;	  /* its roots as it told, as far as they are commits that refs reach */
	struct wr_oids shallow;	  /* new roots */
	struct wr_oids unshallow; /* its roots that are none any more */
	struct wr_oids roots;	  /* all roots from now on, but for */
	struct wr_oids own;	  /* new ones that are the repository's own, where every walk ends anyway */
	bool asked;		  /* the client wants to hear of shallow and unshallow */
	bool own_history_ends;	  /* the repository has roots of its own */
};
void wr_cut_fini(struct wr_cut *cut);
WR_DEFINE_AUTO_S(wr_cut);

/*
 * Fills cut, which is empty. WR_E_INVALID_REQUEST with a sentence where the request cannot be met; the caller tells the
 * client.
 */
WR_MUST_CHECK enum wr_code wr_upload_cut(struct wr_cut *cut, const struct wr_upload *up,
					 const struct wr_snapshot *snap, struct wr_str default_branch,
					 const struct wr_cancel *cancel, struct wr_error *err);

/* What client and server both have, as it turns out in the order of the haves. */
struct wr_common {
	struct wr_oidmap seen; /* the haves that are known here, with the tags on their way and what these lead to */
	struct wr_oids commits;
	struct wr_oid last; /* the have that was found last; a tag stays one here */
	bool ready;
	size_t asked_at;  /* commits.len when readiness was last computed */
	unsigned asked_times;
};
void wr_common_fini(struct wr_common *common);
WR_DEFINE_AUTO_S(wr_common);

/*
 * Adds a have; *known says whether the server has it too: whether a ref reaches it, as far as that can be told without
 * a walk over all history. What is stored and not reached is as unknown as what never was.
 */
WR_MUST_CHECK enum wr_code wr_common_add(bool *known, struct wr_common *common, const struct wr_upload *up,
					 const struct wr_snapshot *snap, const struct wr_oid *have,
					 const struct wr_cancel *cancel, struct wr_error *err);

/*
 * Whether there is enough in common for a pack; walks end at stops. It costs a walk, and a request may hold very many
 * haves, so between the haves (eager false) it is only computed again once the commons have doubled.
 */
WR_MUST_CHECK enum wr_code wr_common_ready(struct wr_common *common, const struct wr_oids *wants,
					   const struct wr_snapshot *snap, const struct wr_oids *stops, bool eager,
					   const struct wr_cancel *cancel, struct wr_error *err);

/*
 * Ends the answer with an ERR packet, or on band 3 with sideband-all: sends it, marks up->told, fills err and returns
 * WR_E_INVALID_REQUEST.
 */
enum wr_code wr_upload_refuse(struct wr_upload *up, struct wr_pkt_writer *w, const char *fmt, ...) WR_PRINTF(3, 4);

/*
 * What failed with this code (WR_OK too) is told the client in the same way where the answer has begun; before that it
 * becomes an HTTP status. Returns code.
 */
enum wr_code wr_upload_tell(struct wr_upload *up, struct wr_pkt_writer *w, enum wr_code code);

/*
 * How both versions begin: every want has to be something that a ref reaches; wanted refs become wants, in order; then
 * cut, which is empty, is filled. What cannot be met is told the client by wr_upload_refuse().
 */
WR_MUST_CHECK enum wr_code wr_upload_begin(struct wr_cut *cut, struct wr_upload *up, struct wr_snapshot *snap,
					   struct wr_str default_branch, struct wr_pkt_writer *w,
					   const struct wr_cancel *cancel, struct wr_error *err);

/* What came in a request, for a sentence: short, and without what could confuse a terminal. */
const char *wr_upload_quote(char out[101], struct wr_str s);

WR_MUST_CHECK enum wr_code wr_upload_add_all(struct wr_oids *out, const struct wr_oids *list, struct wr_error *err);

/* A commit that has to be there. */
WR_MUST_CHECK enum wr_code wr_upload_commit(struct wr_commit *out, const struct wr_snapshot *snap,
					    const struct wr_oid *oid, struct wr_error *err);

/*
 * Fills own for an answer to a request in which the client did not ask where history ends; of what it has it knows that
 * without being told. Before the answer that the pack follows.
 */
WR_MUST_CHECK enum wr_code wr_upload_own_roots(struct wr_cut *cut, const struct wr_upload *up,
					       const struct wr_common *common, const struct wr_snapshot *snap,
					       const struct wr_cancel *cancel, struct wr_error *err);

/* The shallow and unshallow lines. */
void wr_cut_write(struct wr_pkt_writer *w, const struct wr_cut *cut);

/* The pack, side-band framing and progress included. w holds nothing any more. */
WR_MUST_CHECK enum wr_code wr_upload_pack(struct wr_upload *up, struct wr_snapshot *snap,
					  const struct wr_common *common, const struct wr_cut *cut,
					  struct wr_sink *sink, const struct wr_cancel *cancel, struct wr_error *err);

/* upload_refs.c. The ref of this full name, or that HEAD leads to; NULL: there is none, or clients do not see it. */
const struct wr_ref *wr_upload_ref(const struct wr_snapshot *snap, struct wr_str name, struct wr_str default_branch);
/* Each wanted ref becomes a want, behind those that are there already and in the same order. */
WR_MUST_CHECK enum wr_code wr_upload_want_refs(struct wr_upload *up, const struct wr_snapshot *snap,
					       struct wr_str default_branch, struct wr_pkt_writer *w,
					       struct wr_error *err);

/*
 * Long work within an answer: while it asks whether somebody still waits, and where bands allow it, empty packets keep
 * proxies from giving the answer up. base is what the work gets. Borrows outer and w.
 */
struct wr_upload_watch {
	struct wr_cancel base;
	const struct wr_cancel *outer;
	struct wr_pkt_writer *w;
	int64_t last_ms;
};
void wr_upload_watch_init(struct wr_upload_watch *watch, const struct wr_cancel *outer, struct wr_pkt_writer *w);

WR_MUST_CHECK enum wr_code wr_upload_answer_v0(struct wr_upload *up, struct wr_snapshot *snap,
					       struct wr_str default_branch, struct wr_sink *sink,
					       const struct wr_cancel *cancel, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_upload_answer_fetch(struct wr_upload *up, struct wr_snapshot *snap,
						  struct wr_str default_branch, struct wr_sink *sink,
						  const struct wr_cancel *cancel, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_upload_answer_ls_refs(struct wr_upload *up, const struct wr_snapshot *snap,
						    struct wr_str default_branch, struct wr_sink *sink,
						    struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_upload_answer_info(struct wr_upload *up, struct wr_snapshot *snap, struct wr_sink *sink,
						 const struct wr_cancel *cancel, struct wr_error *err);

#endif
