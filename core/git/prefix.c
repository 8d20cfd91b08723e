/*
 * Abbreviated ids. Indexes are sorted by id, so packs cost one search each; journals are short and are looked through.
 */
#include "core/git/snapshot_internal.h"

struct prefix {
	struct wr_oid low; /* the digits, and zeros behind them */
	size_t digits;
	const struct wr_snapshot *snap;
	struct wr_oids *out;
	size_t max;
};

static bool read_digits(struct prefix *p, struct wr_str text)
{
	char whole[WR_OID_HEX];

	if (text.len < 4 || text.len > WR_OID_HEX)
		return false;
	memset(whole, '0', sizeof whole);
	memcpy(whole, text.ptr, text.len);
	p->digits = text.len;
	return wr_oid_parse(&p->low, wr_str_n(whole, sizeof whole));
}

static bool begins(const struct prefix *p, const struct wr_oid *oid)
{
	size_t whole = p->digits / 2;

	return memcmp(oid->id, p->low.id, whole) == 0 &&
	       (p->digits % 2 == 0 || oid->id[whole] >> 4 == p->low.id[whole] >> 4);
}

static bool full(const struct prefix *p)
{
	return p->out->len >= p->max;
}

/* An object may lie in several sources; an entry that is gone is none. */
static enum wr_code note(struct prefix *p, const struct wr_oid *oid, struct wr_error *err)
{
	for (size_t i = 0; i < p->out->len; i++)
		if (wr_oid_eq(&p->out->v[i], oid))
			return WR_OK;
	return wr_snapshot_has(p->snap, oid) ? wr_oids_add(p->out, oid, err) : WR_OK;
}

static enum wr_code look_in_pack(struct prefix *p, const struct wr_pack *pack, struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (uint32_t pos = wr_pack_lower(pack, &p->low); pos < pack->count && code == WR_OK && !full(p); pos++) {
		struct wr_oid oid;

		wr_pack_oid(&oid, pack, pos);
		if (!begins(p, &oid))
			break;
		code = note(p, &oid, err);
	}
	return code;
}

static enum wr_code look_in_journal(struct prefix *p, const struct wr_journal *journal, uint32_t limit,
				    struct wr_error *err)
{
	enum wr_code code = WR_OK;

	for (uint32_t i = 0; i < limit && code == WR_OK && !full(p); i++) {
		struct wr_row_entry row;

		wr_journal_row(&row, journal, i);
		if (!row.known && begins(p, &row.oid))
			code = note(p, &row.oid, err);
	}
	return code;
}

enum wr_code wr_snapshot_prefix(struct wr_oids *out, const struct wr_snapshot *snap, struct wr_str digits, size_t max,
				struct wr_error *err)
{
	struct prefix p = {.snap = snap, .out = out, .max = max};
	enum wr_code code = WR_OK;

	if (!read_digits(&p, digits))
		return wr_fail(err, WR_E_INVALID_REQUEST, "An object id has 4 to 40 hexadecimal digits");
	out->len = 0;
	if (p.digits == WR_OID_HEX)
		return note(&p, &p.low, err);
	for (size_t i = 0; i < snap->journal_count && code == WR_OK; i++)
		code = look_in_journal(&p, snap->journals[i], snap->limits[i], err);
	for (size_t i = 0; i < snap->member_count && code == WR_OK; i++)
		code = look_in_pack(&p, snap->members[i].pack, err);
	return code;
}
