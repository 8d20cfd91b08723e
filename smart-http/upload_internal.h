/*
 * smart-http/upload_internal.h: what upload*.c share: a parsed request, and the steps that all versions answer by.
 * upload_parse.c reads a body; upload_v0.c and upload_v2.c speak; upload_cut.c decides where history ends; upload.c
 * checks what is wanted and sends the pack.
 */
#ifndef WR_UPLOAD_INTERNAL_H
#define WR_UPLOAD_INTERNAL_H

#include "core/git/reach.h"
#include "smart-http/pktline.h"
#include "smart-http/sideband.h"
#include "smart-http/upload.h"

/* A depth of this many commits means all of them: "fetch --unshallow" (git's INFINITE_DEPTH). */
#define WR_DEPTH_ALL 0x7fffffffu

enum wr_upload_kind {
	WR_UPLOAD_NOTHING, /* an empty request */
	WR_UPLOAD_V0,	   /* versions 0 and 1 */
	WR_UPLOAD_LS_REFS,
	WR_UPLOAD_FETCH,
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
	bool told; /* the client knows of the error */
	struct wr_reach *reach; /* while the request is answered, from wr_upload_begin() on */

	struct wr_oids wants, haves, shallows;
	bool done;
	/* Versions 0 and 1: how many haves had come at each flush of the negotiation. */
	size_t *rounds;
	size_t round_count, round_cap;
	enum wr_ack_mode ack;
	enum wr_band_mode bands;
	bool thin, ofs_delta, include_tag, no_progress, no_done, wait_for_done;

	uint32_t depth; /* 0: no limit was asked for */
	bool deepen_relative, has_since;
	int64_t since;
	struct wr_names deepen_not;

	bool symrefs, peel, unborn;
	bool all_refs; /* too many prefixes, or none: no choice among refs */
	struct wr_names prefixes;
};

/* Where the client's history ends, now and after this answer. */
struct wr_cut {
	struct wr_oids client;	  /* its roots as it told, as far as they are commits that refs reach */
	struct wr_oids shallow;	  /* new roots */
	struct wr_oids unshallow; /* its roots that are none any more */
	struct wr_oids roots;	  /* all roots from now on */
	bool asked;		  /* the client wants to hear of shallow and unshallow */
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
	struct wr_oidmap seen;
	struct wr_oids commits;
	struct wr_oid last; /* the have that was found last; a tag stays one here */
	bool ready;
	size_t asked_at;  /* commits.len when readiness was last computed */
	unsigned asked_times;
};
void wr_common_fini(struct wr_common *common);
WR_DEFINE_AUTO_S(wr_common);

/*
 * Adds a have; *known says whether the server has it too: whether a ref reaches it, as far as that can be told without a
 * walk over all history. What is stored and not reached is as unknown as what never was.
 */
WR_MUST_CHECK enum wr_code wr_common_add(bool *known, struct wr_common *common, const struct wr_upload *up,
					 const struct wr_snapshot *snap, const struct wr_oid *have,
					 struct wr_error *err);

/* The commit that oid is, or that a tag leads to; *is: whether it leads to one. Reads what it is told to: oid is reached. */
WR_MUST_CHECK enum wr_code wr_upload_peel(bool *is, struct wr_oid *commit, const struct wr_snapshot *snap,
					    const struct wr_oid *oid, struct wr_error *err);

/*
 * Whether there is enough in common for a pack. It costs a walk, and a request may hold very many haves, so between
 * rounds (eager false) it is only computed again once the commons have doubled.
 */
WR_MUST_CHECK enum wr_code wr_common_ready(struct wr_common *common, const struct wr_upload *up,
					   const struct wr_snapshot *snap, const struct wr_cut *cut, bool eager,
					   const struct wr_cancel *cancel, struct wr_error *err);

/* Ends the answer with an ERR packet: sends it, marks up->told, fills err and returns WR_E_INVALID_REQUEST. */
enum wr_code wr_upload_refuse(struct wr_upload *up, struct wr_pkt_writer *w, const char *fmt, ...) WR_PRINTF(3, 4);

/*
 * How both versions begin: every want has to be something that a ref reaches; then cut, which is
 * empty, is filled. What cannot be met is told the client by wr_upload_refuse().
 */
WR_MUST_CHECK enum wr_code wr_upload_begin(struct wr_cut *cut, struct wr_upload *up, struct wr_snapshot *snap,
					   struct wr_str default_branch, struct wr_pkt_writer *w,
					   const struct wr_cancel *cancel, struct wr_error *err);

/* The shallow and unshallow lines. */
void wr_cut_write(struct wr_pkt_writer *w, const struct wr_cut *cut);

/* The pack, side-band framing and progress included. w holds nothing any more. */
WR_MUST_CHECK enum wr_code wr_upload_pack(struct wr_upload *up, struct wr_snapshot *snap,
					  const struct wr_common *common, const struct wr_cut *cut,
					  struct wr_sink *sink, const struct wr_cancel *cancel, struct wr_error *err);

WR_MUST_CHECK enum wr_code wr_upload_answer_v0(struct wr_upload *up, struct wr_snapshot *snap,
					       struct wr_str default_branch, struct wr_sink *sink,
					       const struct wr_cancel *cancel, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_upload_answer_fetch(struct wr_upload *up, struct wr_snapshot *snap,
						  struct wr_str default_branch, struct wr_sink *sink,
						  const struct wr_cancel *cancel, struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_upload_answer_ls_refs(struct wr_upload *up, const struct wr_snapshot *snap,
						    struct wr_str default_branch, struct wr_sink *sink,
						    struct wr_error *err);

#endif
