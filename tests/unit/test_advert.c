/* smart-http/advert: the list of refs, byte by byte, and what a client may ask for. */
#include "tests/unit/smart.h"

#include "smart-http/advert.h"

#define UPLOAD_CAPS                                                                                                    \
	"multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not deepen-relative "       \
	"no-progress include-tag multi_ack_detailed allow-tip-sha1-in-want allow-reachable-sha1-in-want no-done filter "
#define RECEIVE_CAPS "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options "
#define COMMON_CAPS "object-format=sha1 agent=warren/" WR_VERSION "\n"
#define ZERO "0000000000000000000000000000000000000000"

static struct world world;

static void versions(void **state)
{
	static const struct {
		const char *header;
		int upload, receive;
	} rows[] = {
		{"", 0, 0},
		{"version=0", 0, 0},
		{"version=1", 1, 1},
		{"version=2", 2, 0},
		{"version=1:version=2", 2, 0},
		{"version=2:version=1", 2, 0},
		{"version=3", 0, 0},
		{"version=3:version=1", 1, 1},
		{"version=22", 0, 0},
		{"xversion=2", 0, 0},
		{"object-format=sha1:version=2", 2, 0},
		{":::version=2:", 2, 0},
		{"version=2 ", 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < WR_ARRAY_LEN(rows); i++) {
		assert_int_equal(wr_protocol_version(WR_UPLOAD_PACK, wr_str(rows[i].header)), rows[i].upload);
		assert_int_equal(wr_protocol_version(WR_RECEIVE_PACK, wr_str(rows[i].header)), rows[i].receive);
	}
}

static void services(void **state)
{
	enum wr_service s;

	(void)state;
	assert_true(wr_service_parse(&s, WR_S("git-upload-pack")));
	assert_int_equal(s, WR_UPLOAD_PACK);
	assert_true(wr_service_parse(&s, WR_S("git-receive-pack")));
	assert_int_equal(s, WR_RECEIVE_PACK);
	assert_string_equal(wr_service_name(s), "git-receive-pack");
	assert_false(wr_service_parse(&s, WR_S("git-upload-archive")));
	assert_false(wr_service_parse(&s, WR_S("upload-pack")));
	assert_false(wr_service_parse(&s, WR_S("")));
}

/* The whole advertisement into out; *rest is what follows the service line. */
static void advertise(struct wr_str *rest, struct wr_buf *out, enum wr_service service, int version, const char *branch)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_buf_sink sink;

	wr_buf_clear(out);
	wr_buf_sink_init(&sink, out);
	assert_int_equal(wr_advert_write(&sink.base, world.snap, service, version, wr_str(branch), &err), WR_OK);
	*rest = wr_buf_str(out);
	if (version == 2)
		return;
	expect(rest, "# service=%s\n", wr_service_name(service));
	expect(rest, "0000");
}

/* "<oid> <name>" and, behind a NUL, the capabilities. */
static void expect_first(struct wr_str *rest, const char *oid, const char *name, const char *caps)
{
	struct wr_pkt got;
	size_t n = WR_OID_HEX + 1 + strlen(name);

	assert_int_equal(wr_pkt_next(&got, rest, NULL), WR_OK);
	assert_int_equal(got.kind, WR_PKT_LINE);
	assert_int_equal(got.data.len, n + 1 + strlen(caps));
	assert_memory_equal(got.data.ptr, oid, WR_OID_HEX);
	assert_memory_equal(got.data.ptr + WR_OID_HEX + 1, name, strlen(name));
	assert_int_equal(got.data.ptr[n], '\0');
	assert_true(wr_str_eqz(wr_str_skip(got.data, n + 1), caps));
}

static void empty_repository(void **state)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1 << 20);
	struct wr_str rest;

	(void)state;
	advertise(&rest, &out, WR_UPLOAD_PACK, 0, "main");
	expect_first(&rest, ZERO, "capabilities^{}", UPLOAD_CAPS COMMON_CAPS);
	expect(&rest, "0000");
	assert_int_equal(rest.len, 0);
	advertise(&rest, &out, WR_RECEIVE_PACK, 1, "main");
	expect(&rest, "version 1\n");
	expect_first(&rest, ZERO, "capabilities^{}", RECEIVE_CAPS COMMON_CAPS);
	expect(&rest, "0000");
	assert_int_equal(rest.len, 0);
}

static void version_2(void **state)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1 << 20);
	struct wr_str rest;

	(void)state;
	advertise(&rest, &out, WR_UPLOAD_PACK, 2, "main");
	expect(&rest, "version 2\n");
	expect(&rest, "agent=warren/" WR_VERSION "\n");
	expect(&rest, "ls-refs=unborn\n");
	expect(&rest, "fetch=shallow wait-for-done filter ref-in-want sideband-all\n");
	expect(&rest, "server-option\n");
	expect(&rest, "object-format=sha1\n");
	expect(&rest, "object-info\n");
	expect(&rest, "0000");
	assert_int_equal(rest.len, 0);
}

static void refs(void **state)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(1 << 20);
	struct wr_str rest;
	const char *main_oid, *tag, *dev;

	(void)state;
	commit(&world, "one", 1);
	sh(&world, NULL, "cd work; git tag -a -m tag v1; git tag light; git checkout -q -b dev");
	commit(&world, "two", 2);
	fill(&world);
	main_oid = rev(&world, "refs/heads/main");
	dev = rev(&world, "refs/heads/dev");
	tag = rev(&world, "refs/tags/v1");
	for (int version = 0; version < 2; version++) {
		advertise(&rest, &out, WR_UPLOAD_PACK, version, "main");
		if (version == 1)
			expect(&rest, "version 1\n");
		expect_first(&rest, main_oid, "HEAD", UPLOAD_CAPS "symref=HEAD:refs/heads/main " COMMON_CAPS);
		expect(&rest, "%s refs/heads/dev\n", dev);
		expect(&rest, "%s refs/heads/main\n", main_oid);
		expect(&rest, "%s refs/tags/light\n", main_oid);
		expect(&rest, "%s refs/tags/v1\n", tag);
		expect(&rest, "%s refs/tags/v1^{}\n", main_oid);
		expect(&rest, "0000");
		assert_int_equal(rest.len, 0);
	}
	/* A default branch that does not exist: no HEAD. Pushing shows neither HEAD nor what tags lead to. */
	advertise(&rest, &out, WR_UPLOAD_PACK, 0, "trunk");
	expect_first(&rest, dev, "refs/heads/dev", UPLOAD_CAPS COMMON_CAPS);
	advertise(&rest, &out, WR_RECEIVE_PACK, 0, "main");
	expect_first(&rest, dev, "refs/heads/dev", RECEIVE_CAPS COMMON_CAPS);
	expect(&rest, "%s refs/heads/main\n", main_oid);
	expect(&rest, "%s refs/tags/light\n", main_oid);
	expect(&rest, "%s refs/tags/v1\n", tag);
	expect(&rest, "0000");
	assert_int_equal(rest.len, 0);
}

static int begin(void **state)
{
	(void)state;
	world_init(&world);
	return 0;
}

static int end(void **state)
{
	(void)state;
	world_fini(&world);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions),	    cmocka_unit_test(services), cmocka_unit_test(version_2),
		cmocka_unit_test(empty_repository), cmocka_unit_test(refs), /* fills the repository */
	};

	return cmocka_run_group_tests(tests, begin, end);
}
