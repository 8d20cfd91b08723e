/* Archives of any bytes: the first byte says whether it is read as a tar or a zip, and whether a folder of it is wanted. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/content/unpack.h"

#define REPO_ID "01234567-89ab-4def-8123-456789abcdef"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/warren-fuzz-XXXXXX";
static char store[sizeof folder + 8];
static struct wr_git *git;
static struct wr_git_repo *repo;

static void close_store(void)
{
	wr_git_repo_unref(repo);
	wr_git_close(git);
	if (wr_file_remove(AT_FDCWD, folder, NULL) != WR_OK)
		fprintf(stderr, "%s is left\n", folder);
}

static void open_store(void)
{
	struct wr_git_config cfg = {.data = store,
				    .max_pack_bytes = 1u << 24,
				    .max_pack_objects = 100000,
				    .max_unpacked_bytes = 1u << 24,
				    .max_object_bytes = 1u << 23,
				    .no_keeper = true};
	bool made = mkdtemp(folder) != NULL;

	assert(made);
	snprintf(store, sizeof store, "%s/data", folder);
	if (wr_git_open(&git, &cfg, NULL) != WR_OK || wr_git_repo_open(&repo, git, REPO_ID, NULL) != WR_OK)
		abort();
	atexit(close_store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct wr_unpack_limits limits = {
		.max_entries = 50, .max_file = 1u << 20, .max_bytes = 1u << 22, .max_ratio = 100};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	WR_AUTO(wr_quarantine) *q = NULL;
	struct wr_mem_source src;
	struct wr_oid root;
	enum wr_code code;

	if (size == 0)
		return 0;
	if (!git)
		open_store();
	if (wr_quarantine_new(&q, repo, NULL) != WR_OK)
		abort();
	wr_mem_source_init(&src, wr_str_n(data + 1, size - 1));
	code = wr_unpack(&root, q, &src.base, data[0] & 1 ? WR_UNPACK_ZIP : WR_UNPACK_TAR,
			 data[0] & 2 ? WR_S("a") : (struct wr_str){NULL, 0}, &limits, NULL, NULL, &err);
	switch (code) {
	case WR_OK:
		break;
	case WR_E_SOURCE_NOT_FOUND:
	case WR_E_INVALID_REQUEST:
	case WR_E_INVALID_FILE_PATH:
	case WR_E_TOO_LARGE:
	case WR_E_IMPORT_SUBDIR_NOT_FOUND:
	case WR_E_BAD_PACK:
		assert(err.code == code && wr_error_text(&err)[0]);
		break;
	default:
		fprintf(stderr, "%s %s\n", wr_error_text(&err), err.detail);
		abort();
	}
	return 0;
}
