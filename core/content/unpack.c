#include "core/content/unpack.h"

#include <archive_entry.h>
#include <errno.h>
#include <locale.h>

#include "core/content/edit.h"
#include "core/content/path.h"
#include "core/content/unpack_internal.h"

/* Up to here nobody asks how tightly it was packed. */
#define RATIO_FROM ((uint64_t)1 << 20)
#define PROGRESS_EVERY ((uint64_t)8 << 20)

/* ---- what is said of archives ---- */

enum wr_code wr_unpack_broken(struct wr_unpacking *u, const char *why)
{
	if (u->failed != WR_OK)
		return u->failed;
	return wr_fail(u->err, WR_E_SOURCE_NOT_FOUND, "The archive cannot be read: %s", why);
}

enum wr_code wr_unpack_bad_path(struct wr_unpacking *u, struct wr_str path)
{
	wr_fail(u->err, WR_E_INVALID_FILE_PATH,
		"A path in the archive is absolute, too long, has a part that is .., or one that stands for .git");
	wr_error_field(u->err, "path", path);
	return WR_E_INVALID_FILE_PATH;
}

enum wr_code wr_unpack_no_dir(const char *source, struct wr_str dir, struct wr_error *err)
{
	wr_fail(err, WR_E_IMPORT_SUBDIR_NOT_FOUND, "Directory not found in %s: %.*s", source,
		(int)(dir.len < 128 ? dir.len : 128), dir.ptr);
	wr_error_field(err, "source", wr_str(source));
	wr_error_field(err, "dir", dir);
	return WR_E_IMPORT_SUBDIR_NOT_FOUND;
}

/* What libarchive says names no path of this machine, but it is another's text: it is for the log. */
static enum wr_code broken(struct wr_unpacking *u, const char *what)
{
	const char *why = archive_error_string(u->archive);
	enum wr_code code = wr_unpack_broken(u, what);

	if (u->failed == WR_OK && u->err && why)
		snprintf(u->err->detail, sizeof u->err->detail, "libarchive: %s", why);
	return code;
}

static enum wr_code too_large(struct wr_unpacking *u, const char *what, uint64_t max, const char *of)
{
	return wr_fail(u->err, WR_E_TOO_LARGE, "%s more than %llu %s, which is the most that this server takes", what,
		       (unsigned long long)max, of);
}

/* ---- bytes in ---- */

enum wr_code wr_unpack_block(const char **block, size_t *len, struct wr_unpacking *u)
{
	char *to = u->blocks + u->arrived / WR_UNPACK_BLOCK % WR_UNPACK_BLOCKS * WR_UNPACK_BLOCK;
	size_t got = 1;
	enum wr_code code = wr_cancelled(u->cancel, u->err);

	/* Only the last block is not full. */
	for (*len = 0; code == WR_OK && got && *len < WR_UNPACK_BLOCK; *len += got)
		if ((code = wr_source_read(u->src, to + *len, WR_UNPACK_BLOCK - *len, &got, u->err)) != WR_OK)
			break;
	if (code != WR_OK)
		return code;
	u->arrived += *len;
	*block = to;
	if (u->progress && u->progress->fn && u->arrived - u->told >= PROGRESS_EVERY) {
		u->told = u->arrived;
		u->progress->fn(u->progress->arg, "unpacking", u->arrived, 0, false);
	}
	return WR_OK;
}

static la_ssize_t on_read(struct archive *a, void *arg, const void **out)
{
	struct wr_unpacking *u = arg;
	const char *block;
	size_t len;

	/* At the end it may ask again. */
	if (u->failed == WR_OK && u->arrived % WR_UNPACK_BLOCK == 0)
		u->failed = wr_unpack_block(&block, &len, u);
	else
		len = 0;
	if (u->failed != WR_OK) {
		archive_set_error(a, EIO, "the source failed");
		return -1;
	}
	*out = block;
	return (la_ssize_t)len;
}

static enum wr_code open_archive(struct wr_unpacking *u, enum wr_unpack_format format)
{
	int rc;

	u->archive = archive_read_new();
	u->blocks = malloc(WR_UNPACK_BLOCKS * WR_UNPACK_BLOCK);
	if (!u->archive || !u->blocks)
		return wr_fail_nomem(u->err);
	if (format == WR_UNPACK_ZIP) {
		rc = archive_read_support_format_zip_streamable(u->archive);
	} else {
		rc = archive_read_support_format_tar(u->archive);
		if (rc == ARCHIVE_OK)
			rc = archive_read_support_filter_gzip(u->archive);
	}
	if (rc != ARCHIVE_OK)
		return wr_fail(u->err, WR_E_INTERNAL, "libarchive has no such format");
	if (archive_read_open(u->archive, u, NULL, on_read, NULL) == ARCHIVE_OK)
		return WR_OK;
	if (format == WR_UNPACK_TAR && u->arrived >= 2 && memcmp(u->blocks, "\x1f\x8b", 2) == 0)
		return broken(u, "what was packed by gzip is cut short, damaged or no tar archive");
	return broken(u, format == WR_UNPACK_TAR ? "it is no tar archive, plain or gzip" : "it is no zip archive");
}

/* ---- bytes out ---- */

static enum wr_code check_volume(struct wr_unpacking *u)
{
	la_int64_t passed = archive_filter_bytes(u->archive, 0);
	uint64_t volume = passed > 0 && (uint64_t)passed > u->unpacked ? (uint64_t)passed : u->unpacked;

	if (volume > u->limits->max_bytes)
		return too_large(u, "The archive unpacks to", u->limits->max_bytes, "bytes");
	if (volume > RATIO_FROM && volume / u->limits->max_ratio > u->arrived)
		return wr_fail(u->err, WR_E_TOO_LARGE,
			       "The archive unpacks to more than %llu bytes for each of its own, which this server takes "
			       "for an attack; pack it less tightly",
			       (unsigned long long)u->limits->max_ratio);
	return WR_OK;
}

static enum wr_code file_too_large(struct wr_unpacking *u)
{
	return too_large(u, "A file in the archive has", u->limits->max_file, "bytes");
}

/* A sparse file's hole, or a piece of data. */
static enum wr_code put(struct wr_unpacking *u, const void *data, size_t len)
{
	enum wr_code code = wr_quarantine_blob_put(u->q, wr_str_n(data, len), u->err);

	if (code == WR_OK) {
		u->unpacked += len;
		code = check_volume(u);
	}
	return code;
}

static enum wr_code put_zeros(struct wr_unpacking *u, uint64_t n)
{
	static const char zeros[65536];
	enum wr_code code = WR_OK;

	for (; n && code == WR_OK; n -= n < sizeof zeros ? n : sizeof zeros)
		if ((code = wr_cancelled(u->cancel, u->err)) == WR_OK)
			code = put(u, zeros, n < sizeof zeros ? (size_t)n : sizeof zeros);
	return code;
}

/* The entry's bytes as a blob. */
static enum wr_code read_blob(struct wr_oid *out, uint64_t *size, struct wr_unpacking *u, struct archive_entry *entry)
{
	uint64_t max = u->limits->max_file, at = 0;
	enum wr_code code;

	if (archive_entry_size_is_set(entry) && (uint64_t)archive_entry_size(entry) > max)
		return file_too_large(u);
	code = wr_quarantine_blob_begin(u->q, u->err);
	while (code == WR_OK) {
		const void *data;
		size_t len;
		la_int64_t offset;
		int rc = archive_read_data_block(u->archive, &data, &len, &offset);

		if (rc == ARCHIVE_EOF)
			break;
		if (rc != ARCHIVE_OK)
			return broken(u, "a file in it is damaged or cut short");
		if (offset < 0 || (uint64_t)offset > max || len > max - (uint64_t)offset)
			return file_too_large(u);
		if ((uint64_t)offset < at)
			return wr_unpack_broken(u, "the parts of a sparse file overlap");
		if ((code = wr_cancelled(u->cancel, u->err)) == WR_OK)
			code = put_zeros(u, (uint64_t)offset - at);
		if (code == WR_OK)
			code = put(u, data, len);
		at = (uint64_t)offset + len;
	}
	/* A hole at a file's end is no block. */
	if (code == WR_OK && archive_entry_sparse_count(entry) > 0 && archive_entry_size_is_set(entry) &&
	    (uint64_t)archive_entry_size(entry) > at) {
		code = put_zeros(u, (uint64_t)archive_entry_size(entry) - at);
		at = (uint64_t)archive_entry_size(entry);
	}
	*size = at;
	return code == WR_OK ? wr_quarantine_blob_end(out, u->q, u->err) : code;
}

/* ---- entries ---- */

bool wr_unpack_path(struct wr_buf *out, struct wr_str path)
{
	wr_buf_clear(out);
	if (path.len == 0 || path.len > WR_PATH_MAX || path.ptr[0] == '/')
		return false;
	while (path.len) {
		const char *slash = memchr(path.ptr, '/', path.len);
		struct wr_str part = wr_str_n(path.ptr, slash ? (size_t)(slash - path.ptr) : path.len);

		path = wr_str_skip(path, slash ? part.len + 1 : part.len);
		if (part.len == 0 || wr_str_eqz(part, "."))
			continue;
		if (out->len)
			wr_buf_addc(out, '/');
		wr_buf_adds(out, part);
	}
	return wr_buf_ok(out) && (out->len == 0 || wr_edit_path_ok(wr_buf_str(out)));
}

static enum wr_code add_link(struct wr_unpacking *u, const char *target)
{
	if (!wr_unpack_path(&u->target, wr_str(target)))
		return wr_unpack_bad_path(u, wr_str(target));
	return wr_files_link(&u->files, wr_buf_str(&u->path), wr_buf_str(&u->target), u->err);
}

static enum wr_code add_symlink(struct wr_unpacking *u, const char *target)
{
	struct wr_oid blob;
	enum wr_code code;

	if (!target || !*target || strlen(target) > WR_PATH_MAX)
		return wr_unpack_broken(u, "it has a symbolic link that leads nowhere, or too far");
	code = wr_quarantine_add(&blob, u->q, WR_BLOB, wr_str(target), NULL, u->err);
	return code == WR_OK ? wr_files_add(&u->files, wr_buf_str(&u->path), &blob, WR_MODE_SYMLINK, u->err) : code;
}

static enum wr_code tar_entry(struct wr_unpacking *u, struct archive_entry *entry)
{
	struct wr_str path = wr_str(archive_entry_pathname(entry));
	unsigned type = archive_entry_filetype(entry);
	const char *hard = archive_entry_hardlink(entry);
	struct wr_oid blob;
	uint64_t size;
	enum wr_code code;

	if (!path.ptr)
		return wr_unpack_broken(u, "it has an entry without a name");
	if (!wr_unpack_path(&u->path, path) || (u->path.len == 0 && type != AE_IFDIR))
		return wr_unpack_bad_path(u, path);
	/* Whatever it is: what it has as content is passed by in steps that are counted. */
	if ((code = read_blob(&blob, &size, u, entry)) != WR_OK)
		return code;
	if (hard && size == 0)
		return add_link(u, hard);
	if (type == AE_IFLNK)
		return add_symlink(u, archive_entry_symlink(entry));
	if (type == AE_IFDIR)
		return wr_files_folder(&u->files, wr_buf_str(&u->path), u->err);
	if (type != AE_IFREG && !hard)
		return WR_OK;
	return wr_files_add(&u->files, wr_buf_str(&u->path), &blob,
			    archive_entry_perm(entry) & 0100 ? WR_MODE_FILE | 0755 : WR_MODE_FILE | 0644, u->err);
}

static enum wr_code zip_entry(struct wr_unpacking *u, struct archive_entry *entry)
{
	struct wr_unpack_local l = {.from = (uint64_t)archive_read_header_position(u->archive),
				    .to = (uint64_t)archive_filter_bytes(u->archive, 0)};
	enum wr_code code;

	if (archive_entry_is_encrypted(entry) > 0)
		return wr_fail(u->err, WR_E_SOURCE_NOT_FOUND, "The archive is encrypted; import one that is not");
	if ((code = read_blob(&l.blob, &l.size, u, entry)) != WR_OK)
		return code;
	if (u->local_count == u->local_cap) {
		size_t cap = u->local_cap ? u->local_cap * 2 : 64;
		struct wr_unpack_local *v = reallocarray(u->locals, cap, sizeof *v);

		if (!v)
			return wr_fail_nomem(u->err);
		u->locals = v;
		u->local_cap = cap;
	}
	u->locals[u->local_count++] = l;
	return WR_OK;
}

/* A tar that was cut at the end of a file lacks the block of zeros that says that it is over. */
static enum wr_code check_end(struct wr_unpacking *u, la_int64_t before)
{
	if (archive_filter_bytes(u->archive, 0) - before < 512)
		return wr_unpack_broken(u, "it is cut short");
	return WR_OK;
}

static enum wr_code read_end(struct wr_unpacking *u, enum wr_unpack_format format, la_int64_t before)
{
	if (format == WR_UNPACK_TAR)
		return check_end(u, before);
	return wr_unpack_zip_directory(u, (uint64_t)archive_filter_bytes(u->archive, 0));
}

static enum wr_code read_entries(struct wr_unpacking *u, enum wr_unpack_format format)
{
	enum wr_code code = WR_OK;

	while (code == WR_OK) {
		la_int64_t before = archive_filter_bytes(u->archive, 0);
		struct archive_entry *entry;
		int rc = archive_read_next_header(u->archive, &entry);

		if (rc == ARCHIVE_EOF)
			return read_end(u, format, before);
		/* A warning is about what is of no use here, or about a name that is no UTF-8 and is taken as it is. */
		if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
			return broken(u, "it is damaged or cut short");
		if (u->entries++ >= u->limits->max_entries)
			return too_large(u, "The archive has", u->limits->max_entries, "entries");
		if ((code = check_volume(u)) == WR_OK)
			code = format == WR_UNPACK_TAR ? tar_entry(u, entry) : zip_entry(u, entry);
	}
	return code;
}

static enum wr_code unpack(struct wr_oid *root, struct wr_unpacking *u, enum wr_unpack_format format, struct wr_str dir)
{
	enum wr_code code;

	if ((code = open_archive(u, format)) != WR_OK || (code = read_entries(u, format)) != WR_OK)
		return code;
	while (dir.len && dir.ptr[0] == '/')
		dir = wr_str_skip(dir, 1);
	if (dir.len && !wr_unpack_path(&u->path, dir))
		return WR_E_NOT_THERE;
	return wr_files_write(root, &u->files, dir.len ? wr_buf_str(&u->path) : dir, u->q, u->cancel, u->err);
}

/*
 * libarchive turns names that say that they are UTF-8 into the locale's encoding, composed characters included, and
 * leaves them alone where that cannot be: in the locale "C", for all that is not ASCII.
 */
static locale_t plain_locale(struct wr_error *err)
{
	locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);

	if (!plain)
		(void)wr_fail_nomem(err);
	return plain;
}

enum wr_code wr_unpack(struct wr_oid *root, struct wr_quarantine *q, struct wr_source *src,
		       enum wr_unpack_format format, struct wr_str dir, const struct wr_unpack_limits *limits,
		       const struct wr_progress *progress, const struct wr_cancel *cancel, struct wr_error *err)
{
	struct wr_unpacking u = {.q = q,
				 .src = src,
				 .limits = limits,
				 .progress = progress,
				 .cancel = cancel,
				 .err = err,
				 .path = WR_BUF_INIT(WR_PATH_MAX),
				 .target = WR_BUF_INIT(WR_PATH_MAX)};
	locale_t plain = plain_locale(err), before;
	enum wr_code code;

	if (!plain)
		return WR_E_UNAVAILABLE;
	before = uselocale(plain);
	wr_files_init(&u.files, limits->max_entries, false);
	code = unpack(root, &u, format, dir);
	if (code == WR_E_NOT_THERE)
		code = wr_unpack_no_dir(format == WR_UNPACK_TAR ? "tar" : "zip", dir, err);
	archive_read_free(u.archive);
	wr_files_fini(&u.files);
	wr_buf_fini(&u.path);
	wr_buf_fini(&u.target);
	free(u.locals);
	free(u.blocks);
	uselocale(before);
	freelocale(plain);
	return code;
}
