/*
 * smart-http/receive_internal.h: a parsed push, between receive_parse.c (commands) and receive.c (the rest).
 */
#ifndef WR_RECEIVE_INTERNAL_H
#define WR_RECEIVE_INTERNAL_H

#include "smart-http/pktline.h"
#include "smart-http/receive.h"

struct wr_command {
	struct wr_str name; /* in wr_receive.names */
	struct wr_oid old, new;
	const char *refused; /* why it was refused before the store saw it, or NULL */
	bool accepted;
	char reason[160]; /* the store's words, or "" */
};

struct wr_receive {
	struct wr_pkt_reader *reader; /* has read ahead into the pack */
	struct wr_command *commands;
	size_t count, cap;
	struct wr_buf names; /* the bytes of all names, one after the other */
	bool report, bands, atomic, quiet;
};

#endif
