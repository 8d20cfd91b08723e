#include "core/git/state.h"

#include <openssl/evp.h>

#include "core/git/parse.h"
#include "core/git/snapshot_internal.h"

#define SUM_LEN 32
#define SUM_LINE (sizeof "sha256 " - 1 + 2 * SUM_LEN + 1)

void wr_state_fini(struct wr_state *state)
{
	free(state->text);
	free(state->packs);
	free(state->refs);
	*state = (struct wr_state){NULL, NULL, 0, NULL, 0};
}

static enum wr_code sum_line(char out[SUM_LINE + 1], struct wr_str text, struct wr_error *err)
{
	unsigned char sum[EVP_MAX_MD_SIZE];

	if (EVP_Digest(text.ptr, text.len, sum, NULL, EVP_sha256(), NULL) != 1)
		return wr_fail(err, WR_E_INTERNAL, "SHA-256 failed");
	memcpy(out, "sha256 ", 7);
	wr_hex(out + 7, sum, SUM_LEN);
	memcpy(out + 7 + 2 * SUM_LEN, "\n", 2);
	return WR_OK;
}

enum wr_code wr_state_write(struct wr_buf *out, const struct wr_snapshot *snap, struct wr_error *err)
{
	char hex[WR_OID_HEX + 1], peeled[WR_OID_HEX + 1], sum[SUM_LINE + 1];
	enum wr_code code;

	wr_buf_printf(out, "warren-state 1\npacks %zu\n", snap->pack_count);
	for (size_t i = 0; i < snap->pack_count; i++)
		wr_buf_printf(out, "%s\n", snap->packs[i]->name);
	wr_buf_printf(out, "refs %zu\n", snap->ref_count);
	for (size_t i = 0; i < snap->ref_count; i++) {
		const struct wr_ref *ref = &snap->refs[i];
		bool plain = wr_oid_zero(&ref->peeled);

		wr_oid_hex(hex, &ref->oid);
		wr_oid_hex(peeled, &ref->peeled);
		wr_buf_printf(out, "%s %s ", hex, plain ? "-" : peeled);
		wr_buf_adds(out, ref->name);
		wr_buf_addc(out, '\n');
	}
	if (!wr_buf_ok(out))
		return wr_fail(err, WR_E_STORAGE_FULL, "state of more than %zu bytes", out->max);
	if ((code = sum_line(sum, wr_buf_str(out), err)) != WR_OK)
		return code;
	wr_buf_addz(out, sum);
	return wr_buf_ok(out) ? WR_OK : wr_fail_nomem(err);
}

/* One line from the front, without its end; false when there is none. */
static bool line(struct wr_str *out, struct wr_str *s)
{
	const char *nl = s->len ? memchr(s->ptr, '\n', s->len) : NULL;

	if (!nl)
		return false;
	*out = wr_str_n(s->ptr, (size_t)(nl - s->ptr));
	*s = wr_str_skip(*s, out->len + 1);
	return true;
}

/* "<key> <number>"; each of the lines counted takes least bytes or more, which bounds the number. */
static bool count_line(size_t *out, struct wr_str *s, struct wr_str key, size_t least)
{
	struct wr_str l;
	uint64_t n;

	if (!line(&l, s) || !wr_str_starts(l, key) || !wr_str_u64(wr_str_skip(l, key.len), s->len / least, &n))
		return false;
	*out = (size_t)n;
	return true;
}

static bool pack_line(struct wr_str *out, struct wr_str *s)
{
	if (!line(out, s) || out->len != WR_PACK_NAME || !wr_str_starts(*out, WR_S("pack-")))
		return false;
	for (size_t i = 5; i < out->len; i++)
		if ((out->ptr[i] < '0' || out->ptr[i] > '9') && (out->ptr[i] < 'a' || out->ptr[i] > 'z'))
			return false;
	return true;
}

static bool ref_line(struct wr_ref *out, struct wr_str *s)
{
	struct wr_ref ref = {.peeled = {{0}}};
	struct wr_str l;

	if (!line(&l, s) || l.len < WR_OID_HEX + 3 || !wr_oid_parse(&ref.oid, wr_str_n(l.ptr, WR_OID_HEX)) ||
	    l.ptr[WR_OID_HEX] != ' ')
		return false;
	l = wr_str_skip(l, WR_OID_HEX + 1);
	if (wr_str_starts(l, WR_S("- "))) {
		l = wr_str_skip(l, 2);
	} else {
		if (l.len < WR_OID_HEX + 1 || !wr_oid_parse(&ref.peeled, wr_str_n(l.ptr, WR_OID_HEX)) ||
		    l.ptr[WR_OID_HEX] != ' ')
			return false;
		l = wr_str_skip(l, WR_OID_HEX + 1);
	}
	if (!wr_refname_ok(l))
		return false;
	ref.name = l;
	*out = ref;
	return true;
}

static bool in_order(struct wr_str a, struct wr_str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = memcmp(a.ptr, b.ptr, n);

	return c < 0 || (c == 0 && a.len < b.len);
}

static enum wr_code parse_lines(struct wr_state *state, struct wr_str s, struct wr_error *err)
{
	struct wr_str head;

	if (!line(&head, &s) || !wr_str_eqz(head, "warren-state 1"))
		return wr_fail(err, WR_E_INTERNAL, "the state file has an unknown version");
	if (!count_line(&state->pack_count, &s, WR_S("packs "), WR_PACK_NAME + 1))
		return wr_fail(err, WR_E_INTERNAL, "the state file has no count of packs");
	state->packs = calloc(state->pack_count + 1, sizeof *state->packs);
	if (!state->packs)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < state->pack_count; i++)
		if (!pack_line(&state->packs[i], &s))
			return wr_fail(err, WR_E_INTERNAL, "the state file has a bad line for pack %zu", i);
	if (!count_line(&state->ref_count, &s, WR_S("refs "), WR_OID_HEX))
		return wr_fail(err, WR_E_INTERNAL, "the state file has no count of refs");
	state->refs = calloc(state->ref_count + 1, sizeof *state->refs);
	if (!state->refs)
		return wr_fail_nomem(err);
	for (size_t i = 0; i < state->ref_count; i++)
		if (!ref_line(&state->refs[i], &s) || (i && !in_order(state->refs[i - 1].name, state->refs[i].name)))
			return wr_fail(err, WR_E_INTERNAL, "the state file has a bad line for ref %zu", i);
	return s.len ? wr_fail(err, WR_E_INTERNAL, "the state file has lines too many") : WR_OK;
}

enum wr_code wr_state_parse(struct wr_state *out, char *text, size_t len, struct wr_error *err)
{
	WR_AUTO_S(wr_state) state = {.text = text};
	char sum[SUM_LINE + 1];
	struct wr_str body;
	enum wr_code code;

	if (len < SUM_LINE)
		return wr_fail(err, WR_E_INTERNAL, "the state file is too short");
	body = wr_str_n(text, len - SUM_LINE);
	if ((code = sum_line(sum, body, err)) != WR_OK)
		return code;
	if (memcmp(text + body.len, sum, SUM_LINE) != 0)
		return wr_fail(err, WR_E_INTERNAL, "the state file does not match its checksum");
	if ((code = parse_lines(&state, body, err)) != WR_OK)
		return code;
	*out = state;
	state = (struct wr_state){NULL, NULL, 0, NULL, 0};
	return WR_OK;
}
