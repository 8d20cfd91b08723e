/*
 * tests/unit/folder.h: a folder of a test's own, in TMPDIR, which tests/run.py lets be one in memory; else in /tmp.
 */
#ifndef WR_TEST_FOLDER_H
#define WR_TEST_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tests make paths of it in short buffers. */
#define FOLDER_BASE_MAX 24

/* out: room for 64 bytes. The caller removes the folder. */
static inline void new_folder(char *out, size_t cap, const char *name)
{
	const char *base = getenv("TMPDIR");

	if (!base || base[0] != '/' || strlen(base) > FOLDER_BASE_MAX)
		base = "/tmp";
	snprintf(out, cap, "%s/%s-XXXXXX", base, name);
	assert_non_null(mkdtemp(out));
}

#endif
