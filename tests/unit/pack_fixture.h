/*
 * tests/unit/pack_fixture.h: stored packs for tests of the reader, made by git and by hand, without a store.
 */
#ifndef WR_TESTS_PACK_FIXTURE_H
#define WR_TESTS_PACK_FIXTURE_H

#include <errno.h>

#include "tests/unit/git_fixture.h"

static inline int folder_setup(void **state)
{
	struct fx *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	new_folder(f->dir, sizeof f->dir, "warren-pack");
	f->seed = first_seed();
	*state = f;
	return 0;
}

static inline int folder_teardown(void **state)
{
	struct fx *f = *state;

	assert_ok(wr_file_remove(AT_FDCWD, f->dir, NULL));
	wr_error_fini(&f->err);
	free(f);
	return 0;
}

enum part { PACK, IDX, REV, PARTS };
#define PART_NAME 64

/* The files of one pack in the folder p. */
struct stored {
	char name[WR_PACK_NAME + 1];
	struct wr_buf part[PARTS];
	int dir;
};

static inline void stored_fini(struct stored *s)
{
	for (int i = 0; i < PARTS; i++)
		wr_buf_fini(&s->part[i]);
	if (s->dir >= 0)
		close(s->dir);
}
WR_DEFINE_AUTO_S(stored);

static inline void part_name(char out[PART_NAME], const struct stored *s, enum part part)
{
	static const char ext[PARTS][5] = {"pack", "idx", "rev"};

	snprintf(out, PART_NAME, "%s.%s", s->name, ext[part]);
}

static inline void rewrite(const struct stored *s, enum part part, struct wr_str data)
{
	char file[PART_NAME];
	WR_AUTO_FD int fd = -1;

	part_name(file, s, part);
	/* Who is not root may not write to what git and the store write. */
	assert_true(fchmodat(s->dir, file, 0600, 0) == 0 || errno == ENOENT);
	fd = openat(s->dir, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_ok(wr_file_write_all(fd, data.ptr, data.len, NULL));
}

static inline void unlink_part(const struct stored *s, enum part part)
{
	char file[PART_NAME];

	part_name(file, s, part);
	assert_int_equal(unlinkat(s->dir, file, 0), 0);
}

static inline void open_folder(struct fx *f, struct stored *s)
{
	char path[128];

	for (int i = 0; i < PARTS; i++)
		s->part[i] = (struct wr_buf)WR_BUF_INIT(64u << 20);
	snprintf(path, sizeof(path), "%s/p", f->dir);
	assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
	s->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->dir >= 0);
}

static inline void load_parts(struct fx *f, struct stored *s)
{
	for (int i = 0; i < PARTS; i++) {
		WR_AUTO_MEM char *text = NULL;
		char file[PART_NAME];
		size_t len;

		part_name(file, s, (enum part)i);
		assert_ok(wr_file_read(&text, &len, s->dir, file, 64u << 20, &f->err));
		wr_buf_clear(&s->part[i]);
		wr_buf_add(&s->part[i], text, len);
	}
}

/* A pack that stands in `file`, indexed by git. */
static inline void store_pack(struct fx *f, struct stored *s, const char *file)
{
	WR_AUTO_S(wr_buf) name = WR_BUF_INIT(4096);

	open_folder(f, s);
	sh_out(f, &name,
	       "git init -q --bare s-%s; git -C s-%s index-pack --rev-index --stdin < %s | cut -f2; "
	       "cp s-%s/objects/pack/* p",
	       file, file, file, file);
	assert_int_equal(name.len, WR_OID_HEX + 1);
	snprintf(s->name, sizeof(s->name), "pack-%.40s", name.ptr);
	load_parts(f, s);
}

/* Everything of the repository `from`, with deltas by offset or by id. */
static inline void store_repo(struct fx *f, struct stored *s, const char *from, bool by_offset)
{
	sh(f,
	   "git -C %s pack-objects --all --stdout -q --no-reuse-delta --depth=200 --window=20 %s </dev/null "
	   ">from-%s-%d",
	   from, by_offset ? "--delta-base-offset" : "", from, by_offset);
	{
		char file[128];

		snprintf(file, sizeof(file), "from-%s-%d", from, by_offset);
		store_pack(f, s, file);
	}
}

/* Nine objects, deltas among them. */
static inline void store_small(struct fx *f, struct stored *s, bool by_offset)
{
	sh(f,
	   "git init -q small; cd small; seq 1 200 > f; git add .; git commit -qm 1; seq 2 201 > f; git commit -qam 2; "
	   "seq 3 202 > f; git commit -qam 3");
	store_repo(f, s, "small", by_offset);
}

#endif
