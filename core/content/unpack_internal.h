/*
 * core/content/unpack_internal.h: what unpack.c (the archive as libarchive reads it) and unpack_zip.c (a zip's
 * directory) share.
 * Ownership: the struct is wr_unpack()'s, for its time.
 * Threads:   one.
 */
#ifndef WR_UNPACK_INTERNAL_H
#define WR_UNPACK_INTERNAL_H

#include <archive.h>

#include "core/content/files.h"
#include "core/content/unpack.h"

#define WR_UNPACK_BLOCK ((size_t)64 << 10)
/* So many blocks are kept: libarchive looks at the last two at most when it says that a zip's files are over. */
#define WR_UNPACK_BLOCKS 3

/* One of a zip's files as it came; its name and mode come in the directory. */
struct wr_unpack_local {
	uint64_t from, to; /* its header begins in [from, to) */
	uint64_t size;
	struct wr_oid blob;
	bool used;
};

struct wr_unpacking {
	struct wr_quarantine *q;
	struct wr_source *src;
	const struct wr_unpack_limits *limits;
	const struct wr_progress *progress;
	const struct wr_cancel *cancel;
	struct wr_error *err;
	enum wr_code failed; /* of the source, inside a call of the library */
	struct archive *archive;
	struct wr_files files;
	struct wr_buf path, target;
	uint64_t arrived, unpacked, entries, told;
	char *blocks; /* WR_UNPACK_BLOCKS of them, used in turn: byte n of the archive is in block n / size % number */
	struct wr_unpack_local *locals;
	size_t local_count, local_cap;
};

/* The next block of the archive; *len 0: its end. */
WR_MUST_CHECK enum wr_code wr_unpack_block(const char **block, size_t *len, struct wr_unpacking *u);
/* WR_E_SOURCE_NOT_FOUND. */
enum wr_code wr_unpack_broken(struct wr_unpacking *u, const char *why);
enum wr_code wr_unpack_bad_path(struct wr_unpacking *u, struct wr_str path);

/* Reads the directory, which begins at or behind this byte of the archive, and adds the files that it names. */
WR_MUST_CHECK enum wr_code wr_unpack_zip_directory(struct wr_unpacking *u, uint64_t at);

#endif
