/*
 * tests/fuzz/replay.c: a main for fuzz targets without libFuzzer: gives each file named by the arguments (folders: each
 * file in them) to the target once. A corpus is thus an ordinary test under every compiler.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "core/base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t ran;

static int run_file(const char *path)
{
	WR_AUTO_S(wr_buf) content = WR_BUF_INIT(64u << 20);
	FILE *f = fopen(path, "rb");
	uint8_t *exact;
	size_t got;
	char part[65536];

	if (!f) {
		perror(path);
		return 1;
	}
	while ((got = fread(part, 1, sizeof(part), f)) > 0)
		wr_buf_add(&content, part, got);
	fclose(f);
	/* A block of just this size, so that a sanitizer sees a read behind it. */
	exact = malloc(content.len ? content.len : 1);
	if (!exact || !wr_buf_ok(&content)) {
		fprintf(stderr, "%s: too large\n", path);
		free(exact);
		return 1;
	}
	if (content.len)
		memcpy(exact, content.ptr, content.len);
	LLVMFuzzerTestOneInput(exact, content.len);
	free(exact);
	ran++;
	return 0;
}

static int run(const char *path)
{
	struct stat st;
	struct dirent *entry;
	DIR *dir;
	int bad = 0;

	if (stat(path, &st) < 0) {
		perror(path);
		return 1;
	}
	if (!S_ISDIR(st.st_mode))
		return run_file(path);
	if (!(dir = opendir(path))) {
		perror(path);
		return 1;
	}
	while ((entry = readdir(dir)) != NULL) {
		char *inner = NULL;

		if (entry->d_name[0] == '.')
			continue;
		if (asprintf(&inner, "%s/%s", path, entry->d_name) < 0) {
			bad = 1;
			break;
		}
		bad |= run(inner);
		free(inner);
	}
	closedir(dir);
	return bad;
}

int main(int argc, char **argv)
{
	int bad = argc < 2;

	for (int i = 1; i < argc; i++)
		bad |= run(argv[i]);
	printf("%zu inputs\n", ran);
	return bad;
}
