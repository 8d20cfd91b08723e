#include "core/content/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/gate.h"
#include "core/base/room.h"
#include "core/content/path.h"
#include "core/git/graph.h"
#include "core/git/object_source.h"

/* What libarchive collects before it calls us. Pieces as long as this are sent from where they lie, and wake few threads. */
#define BLOCK ((size_t)256 << 10)
/* What files are read into is counted when it is more, while it is held; who finds no room looks again so often. */
#define COUNTED ((size_t)256 << 10)
#define LOOK_US 20000
/* What is held for the next file. */
#define KEPT ((size_t)3 << 20)
/* Inflated as it is written, where it is stored in one piece; else it is unpacked in a file, as the reader does it. */
#define LARGE ((uint64_t)16 << 20)
#define PIECE ((size_t)256 << 10)

struct writer {
	struct wr_sink *sink;
	const struct wr_view *view;
	struct wr_reader *reader;
	uint64_t counted; /* of what the reader holds */
	struct archive *archive;
	struct archive_entry *entry; /* used again for each */
	struct wr_buf path;
	int64_t when;
	locale_t utf8;
	unsigned depth, entries;
	uint64_t trees; /* bytes of those in memory */
	struct wr_error *err;
	enum wr_code failed; /* of the sink, inside a call of the library */
};

static la_ssize_t on_bytes(struct archive *a, void *arg, const void *data, size_t len)
{
	struct writer *w = arg;
	struct wr_str piece = wr_str_n(data, len);

	w->failed = wr_sink_gather(w->sink, &piece, 1, w->err);
	if (w->failed == WR_OK)
		return (la_ssize_t)len;
	archive_set_error(a, EIO, "the reader is gone");
	return -1;
}

static enum wr_code failed(struct writer *w, const char *what)
{
	const char *why = archive_error_string(w->archive);

	if (w->failed != WR_OK)
		return w->failed;
	return wr_fail(w->err, WR_E_INTERNAL, "archive, %s: %s", what, why ? why : "?");
}

static enum wr_code begin(struct writer *w, enum wr_archive_format format)
{
	int rc;

	w->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	w->archive = archive_write_new();
	w->entry = archive_entry_new();
	if (!w->archive || !w->entry)
		return wr_fail_nomem(w->err);
	if (format == WR_ARCHIVE_ZIP)
		rc = archive_write_set_format_zip(w->archive);
	else
		rc = archive_write_set_format_gnutar(w->archive); /* takes names of any bytes and length as they are */
	if (rc != ARCHIVE_OK || archive_write_set_bytes_per_block(w->archive, BLOCK) != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(w->archive, 1) != ARCHIVE_OK ||
	    archive_write_open(w->archive, w, NULL, on_bytes, NULL) != ARCHIVE_OK)
		return failed(w, "begin");
	return WR_OK;
}

/*
 * A zip says of a name whether it is UTF-8, and readers take what is not said to be for code page 437. The library asks
 * the thread's locale, once for each header.
 */
static int write_header(struct writer *w)
{
	bool known = w->utf8 != (locale_t)0 && wr_str_utf8(wr_buf_str(&w->path));
	locale_t before = uselocale(known ? w->utf8 : (locale_t)0);
	int rc = archive_write_header(w->archive, w->entry);

	uselocale(before);
	return rc;
}

static enum wr_code put_header(struct writer *w, unsigned mode, const char *target, uint64_t size)
{
	archive_entry_clear(w->entry);
	archive_entry_set_pathname(w->entry, w->path.ptr);
	archive_entry_set_mtime(w->entry, w->when, 0);
	if ((mode & 0170000) == WR_MODE_SYMLINK) {
		archive_entry_set_filetype(w->entry, AE_IFLNK);
		archive_entry_set_perm(w->entry, 0777);
		archive_entry_set_symlink(w->entry, target);
		archive_entry_set_size(w->entry, 0);
	} else {
		archive_entry_set_filetype(w->entry, AE_IFREG);
		archive_entry_set_perm(w->entry, mode & 0100 ? 0755 : 0644);
		archive_entry_set_size(w->entry, (la_int64_t)size);
	}
	return write_header(w) == ARCHIVE_OK ? WR_OK : failed(w, "header");
}

static void let_go(struct writer *w)
{
	wr_reader_drop(w->reader);
	wr_room_give(w->view->memory, w->counted);
	w->counted = 0;
}

/* Waits without the file, and with nothing else that is counted, so that those who have room come to their end. */
static enum wr_code count(struct wr_object *obj, struct writer *w, const struct wr_oid *oid)
{
	const struct wr_view *v = w->view;
	uint64_t files = wr_reader_files(w->reader), n = wr_reader_holds(w->reader);
	enum wr_code code = WR_OK;

	n += files < v->memory_max / 2 ? files : v->memory_max / 2;
	if (n > v->memory_max)
		n = v->memory_max;
	if (n <= COUNTED || n <= w->counted || !v->memory)
		return WR_OK;
	if (!wr_room_take(v->memory, n - w->counted, false)) {
		let_go(w);
		wr_gate_rest();
		while ((code = wr_cancelled(v->cancel, w->err)) == WR_OK && !wr_room_take(v->memory, n, false))
			usleep(LOOK_US);
		wr_gate_go_on();
		if (code != WR_OK)
			return code;
		code = wr_reader_read(obj, w->reader, oid, w->err);
	}
	w->counted = n;
	return code;
}

static enum wr_code put_data(struct writer *w, const void *data, size_t n)
{
	return n == 0 || archive_write_data(w->archive, data, n) >= 0 ? WR_OK : failed(w, "data");
}

static enum wr_code put_pieces(struct writer *w, struct wr_object_source *src)
{
	WR_AUTO_MEM uint8_t *piece = malloc(PIECE);
	size_t n = 0;
	enum wr_code code = piece ? WR_OK : wr_fail_nomem(w->err);

	while (code == WR_OK && (code = wr_source_read(&src->base, piece, PIECE, &n, w->err)) == WR_OK && n > 0) {
		wr_gate_give_way();
		if ((code = wr_cancelled(w->view->cancel, w->err)) == WR_OK)
			code = put_data(w, piece, n);
	}
	return code;
}

static enum wr_code put_whole(struct writer *w, const struct wr_item *item)
{
	bool link = (item->mode & 0170000) == WR_MODE_SYMLINK;
	struct wr_object obj;
	enum wr_code code = wr_reader_read(&obj, w->reader, &item->oid, w->err);

	if (code == WR_OK)
		code = count(&obj, w, &item->oid);
	if (code == WR_OK)
		code = put_header(w, item->mode, (const char *)obj.data, obj.size);
	if (code == WR_OK && !link)
		code = put_data(w, obj.data, obj.size);
	if (wr_reader_holds(w->reader) > KEPT || wr_reader_files(w->reader) > 0)
		let_go(w);
	return code;
}

static enum wr_code put_file(struct writer *w, const struct wr_item *item)
{
	WR_AUTO_S(wr_object_source) src = {.size = 0};
	bool large = false;
	enum wr_code code = WR_OK;

	if ((item->mode & 0170000) != WR_MODE_SYMLINK)
		code = wr_object_source_open(&src, &large, w->view->snap, &item->oid, LARGE, w->err);
	if (code != WR_OK || !large)
		return code == WR_OK ? put_whole(w, item) : code;
	code = put_header(w, item->mode, NULL, src.size);
	return code == WR_OK ? put_pieces(w, &src) : code;
}

static enum wr_code put_tree(struct writer *w, const struct wr_oid *tree)
{
	WR_AUTO_S(wr_items) items = {.rest = {NULL, 0}};
	size_t before = w->path.len;
	enum wr_code code = wr_items_open(&items, w->view, tree, w->err);

	items.unsized = true;
	if (code == WR_OK && ++w->depth > WR_PATH_DEPTH)
		code = wr_fail(w->err, WR_E_INVALID_REQUEST, "The folders are nested too deeply");
	w->trees += items.tree.size;
	if (code == WR_OK && w->depth > 1 && w->trees > WR_PATH_HELD)
		code = wr_fail(w->err, WR_E_INVALID_REQUEST, "The nested folders are too large together");
	while (code == WR_OK) {
		struct wr_item item;
		struct wr_str name;

		if ((code = wr_items_next(&item, &name, &items, w->view, w->err)) != WR_OK)
			break;
		wr_buf_adds(&w->path, name);
		if (item.kind == WR_KIND_FOLDER)
			wr_buf_addc(&w->path, '/');
		if (!wr_buf_ok(&w->path))
			return wr_fail(w->err, WR_E_INVALID_REQUEST, "A path is too long");
		if (++w->entries % 256 == 0)
			code = wr_cancelled(w->view->cancel, w->err);
		if (code == WR_OK)
			code = item.kind == WR_KIND_FOLDER ? put_tree(w, &item.oid) : put_file(w, &item);
		w->path.len = before;
		w->path.ptr[before] = '\0';
	}
	w->trees -= items.tree.size;
	w->depth--;
	return code == WR_E_NOT_THERE ? WR_OK : code;
}

enum wr_code wr_archive_write(struct wr_sink *sink, const struct wr_view *v, const struct wr_oid *tree,
			      enum wr_archive_format format, int64_t when, struct wr_error *err)
{
	struct writer w = {.sink = sink, .view = v, .path = WR_BUF_INIT(4 * WR_PATH_MAX), .when = when, .err = err};
	enum wr_code code = wr_reader_new(&w.reader, v->snap, err);

	if (code == WR_OK) {
		wr_reader_spill(w.reader, v->git);
		code = begin(&w, format);
	}
	if (code == WR_OK)
		code = put_tree(&w, tree);
	if (code == WR_OK && archive_write_close(w.archive) != ARCHIVE_OK)
		code = failed(&w, "end");
	if (code != WR_OK && w.archive)
		archive_write_fail(w.archive);
	archive_entry_free(w.entry);
	archive_write_free(w.archive);
	wr_reader_free(w.reader);
	wr_room_give(v->memory, w.counted);
	if (w.utf8 != (locale_t)0)
		freelocale(w.utf8);
	wr_buf_fini(&w.path);
	return code;
}
