#include "smart-http/advert.h"

#include "core/git/pktline.h"
#include "core/git/reach.h"
#include "smart-http/names.h"

static const struct {
	enum wr_service service;
	const char *name;
} services[] = {
	{WR_UPLOAD_PACK, "git-upload-pack"},
	{WR_RECEIVE_PACK, "git-receive-pack"},
};

bool wr_service_parse(enum wr_service *out, struct wr_str name)
{
	for (size_t i = 0; i < WR_ARRAY_LEN(services); i++) {
		if (wr_str_eqz(name, services[i].name)) {
			*out = services[i].service;
			return true;
		}
	}
	return false;
}

const char *wr_service_name(enum wr_service service)
{
	return services[service].name;
}

int wr_protocol_version(enum wr_service service, struct wr_str header)
{
	int best = 0;

	while (header.len) {
		const char *colon = memchr(header.ptr, ':', header.len);
		size_t n = colon ? (size_t)(colon - header.ptr) : header.len;
		struct wr_str key = wr_str_n(header.ptr, n);

		if (wr_str_eqz(key, "version=1") && best < 1)
			best = 1;
		if (wr_str_eqz(key, "version=2"))
			best = 2;
		header = wr_str_skip(header, colon ? n + 1 : n);
	}
	return service == WR_RECEIVE_PACK && best == 2 ? 0 : best;
}

/* What this server can do, in the words of gitprotocol-capabilities. */
static void capabilities(struct wr_buf *out, enum wr_service service, const struct wr_ref *head)
{
	if (service == WR_UPLOAD_PACK) {
		wr_buf_addz(out, "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not "
				 "deepen-relative no-progress include-tag multi_ack_detailed allow-tip-sha1-in-want "
				 "allow-reachable-sha1-in-want no-done filter ");
		if (head) {
			wr_buf_addz(out, "symref=HEAD:");
			wr_buf_adds(out, head->name);
			wr_buf_addc(out, ' ');
		}
	} else {
		wr_buf_addz(out, "report-status report-status-v2 delete-refs side-band-64k quiet atomic "
				 "ofs-delta push-options ");
	}
	wr_buf_addz(out, "object-format=sha1 agent=warren/" WR_VERSION);
}

/* "<oid> <name><suffix>", on the first line followed by a NUL and the capabilities. */
static void ref_line(struct wr_pkt_writer *w, const struct wr_oid *oid, struct wr_str name, const char *suffix,
		     struct wr_buf *caps)
{
	WR_AUTO_S(wr_buf) line = WR_BUF_INIT(WR_PKT_DATA_MAX);
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, oid);
	wr_buf_addz(&line, hex);
	wr_buf_addc(&line, ' ');
	wr_buf_adds(&line, name);
	wr_buf_addz(&line, suffix);
	if (caps->len) {
		wr_buf_addc(&line, '\0');
		wr_buf_adds(&line, wr_buf_str(caps));
		wr_buf_clear(caps);
	}
	wr_buf_addc(&line, '\n');
	if (wr_buf_ok(&line))
		wr_pkt_write(w, wr_buf_str(&line));
	else if (w->code == WR_OK)
		w->code = wr_fail(w->err, WR_E_INTERNAL, "a ref's name has %zu bytes", name.len);
}

/*
 * Where the repository's own history ends, for who is going to fetch: version 0 has no other place for it. Pushers have
 * no use for it, and some take these lines for refs.
 */
static void roots_write(struct wr_pkt_writer *w, struct wr_snapshot *snap)
{
	WR_AUTO_S(wr_oids) roots = {0};
	WR_AUTO(wr_reach) *reach = NULL;
	WR_AUTO_MEM bool *reached = NULL;
	char hex[WR_OID_HEX + 1];
	enum wr_code code = wr_snapshot_roots(&roots, snap, w->err);

	if (code == WR_OK && roots.len == 0)
		return;
	reached = calloc(roots.len + 1, sizeof *reached);
	if (!reached)
		code = wr_fail_nomem(w->err);
	if (code == WR_OK && (code = wr_reach_new(&reach, snap, NULL, w->err)) == WR_OK)
		code = wr_reach_each(reached, reach, &roots, w->err);
	for (size_t i = 0; i < roots.len && code == WR_OK; i++) {
		if (!reached[i])
			continue;
		wr_oid_hex(hex, &roots.v[i]);
		wr_pkt_printf(w, "shallow %s\n", hex);
	}
	if (code != WR_OK && w->code == WR_OK)
		w->code = code;
}

/* The list of versions 0 and 1. */
static void refs_write(struct wr_pkt_writer *w, const struct wr_snapshot *snap, enum wr_service service,
		       const struct wr_ref *head)
{
	static const struct wr_oid zero;
	WR_AUTO_S(wr_buf) caps = WR_BUF_INIT(WR_PKT_DATA_MAX);
	size_t n;
	const struct wr_ref *refs = wr_snapshot_refs(snap, &n);

	capabilities(&caps, service, head);
	if (!wr_buf_ok(&caps)) {
		w->code = wr_fail_nomem(w->err);
		return;
	}
	if (head && service == WR_UPLOAD_PACK)
		ref_line(w, &head->oid, WR_S("HEAD"), "", &caps);
	for (size_t i = 0; i < n; i++) {
		if (!wr_ref_shown(&refs[i]))
			continue;
		ref_line(w, &refs[i].oid, refs[i].name, "", &caps);
		if (service == WR_UPLOAD_PACK && !wr_oid_zero(&refs[i].peeled))
			ref_line(w, &refs[i].peeled, refs[i].name, "^{}", &caps);
	}
	if (caps.len) /* nobody carried them: there is no ref */
		ref_line(w, &zero, WR_S("capabilities"), "^{}", &caps);
}

static void version2_write(struct wr_pkt_writer *w)
{
	static const char *const lines[] = {
		"version 2\n",
		"agent=warren/" WR_VERSION "\n",
		"ls-refs=unborn\n",
		"fetch=shallow wait-for-done filter ref-in-want sideband-all\n",
		"server-option\n",
		"object-format=sha1\n",
		"object-info\n",
	};

	for (size_t i = 0; i < WR_ARRAY_LEN(lines); i++)
		wr_pkt_write(w, wr_str(lines[i]));
}

enum wr_code wr_advert_write(struct wr_sink *sink, struct wr_snapshot *snap, enum wr_service service,
			     int version, struct wr_str default_branch, struct wr_error *err)
{
	WR_AUTO_S(wr_pkt_writer) w;

	wr_pkt_writer_init(&w, sink, err);
	if (version == 2) {
		version2_write(&w); /* without the service line: gitprotocol-v2, "HTTP Transport" */
	} else {
		wr_pkt_printf(&w, "# service=%s\n", wr_service_name(service));
		wr_pkt_flush(&w);
		if (version == 1)
			wr_pkt_write(&w, WR_S("version 1\n"));
		refs_write(&w, snap, service, wr_ref_head(snap, default_branch));
		if (service == WR_UPLOAD_PACK)
			roots_write(&w, snap);
	}
	wr_pkt_flush(&w);
	return wr_pkt_writer_send(&w);
}
