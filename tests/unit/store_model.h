/*
 * tests/unit/store_model.h: repositories of one store, and what they have to be: every object that was ever made, what
 * refs reach (by a trivial walk over that), and of what they do not reach since when that is so. Objects are numbers.
 */
#ifndef STORE_MODEL_H
#define STORE_MODEL_H

#include "tests/unit/git_fixture.h"

#include "core/git/oidmap.h"
#include "tests/unit/store_rows.h"

#define OBJECTS 3000
#define LINKS 12
#define PLACES 5
#define REFS 12
#define MARKS 64
#define NONE UINT32_MAX
#define HOUR INT64_C(3600000)
#define GRACE (10 * HOUR)

static const char *const ref_names[REFS] = {
	"refs/heads/b0", "refs/heads/b1", "refs/heads/b2/x", "refs/heads/b2/y", "refs/heads/b3", "refs/heads/b4",
	"refs/pull/1",	 "refs/pull/2",	  "refs/pull/3",     "refs/tags/t0",	"refs/tags/t1",	 "refs/tags/t2"};

static inline bool is_head(unsigned ref)
{
	return strncmp(ref_names[ref], "refs/heads/", 11) == 0;
}

static inline bool is_pull(unsigned ref)
{
	return strncmp(ref_names[ref], "refs/pull/", 10) == 0;
}

struct object {
	struct wr_oid oid;
	enum wr_type type;
	char *data;
	size_t len;
	uint32_t links[LINKS];
	unsigned link_count;
	uint32_t like; /* a blob that begins alike, or NONE */
	bool mark;
};

typedef uint8_t set[OBJECTS];

struct place {
	char id[WR_UUID_LEN + 1];
	struct wr_git_repo *repo;
	uint32_t refs[REFS]; /* or NONE */
	set ever;	     /* may have been stored */
	set gone;	     /* of them: a checkpoint has certainly dropped it */
	size_t updates;	     /* that pushes made */
	bool left_over;	     /* a checkpoint was broken off: the next one covers only what that one would have */
	int64_t left[OBJECTS];	  /* when a ref reached it last; -1: one does, or that is not known */
	int64_t settled[OBJECTS]; /* when a checkpoint had certainly found it unreached; -1: that is not known */
};

/* A reader that takes its time. */
struct held {
	struct wr_snapshot *snap;
	set reached;
};

struct model {
	struct fx *f;
	struct object objects[OBJECTS];
	uint32_t count;
	struct wr_oidmap map;
	uint32_t marks[MARKS]; /* blobs whose bytes stand in files as they are */
	unsigned mark_count;
	struct place *places[PLACES];
	unsigned place_count, made;
	struct held held[2];
	unsigned turn;
	uint32_t todo[OBJECTS]; /* of walks */
	const char *said[24];	/* the last operations */
	unsigned said_count;
	unsigned seed;
	unsigned relied, refused, dropped; /* objects that no ref reached, and came to use; pushes; objects */
	bool done;
};

static _Atomic int64_t model_clock; /* the store's own threads read it too */

static inline int64_t read_model_clock(void *arg)
{
	(void)arg;
	return model_clock;
}

/* ---- objects ---- */

static inline bool full(const struct model *m)
{
	return m->count + 64 > OBJECTS;
}

static inline uint32_t add_object(struct model *m, enum wr_type type, struct wr_str data, const uint32_t *links,
				  unsigned n)
{
	struct object *o = &m->objects[m->count];
	uint32_t *slot;

	assert_true(m->count < OBJECTS && n <= LINKS);
	oid_of(&o->oid, type, data);
	slot = wr_oidmap_slot(&m->map, &o->oid);
	if (slot)
		return *slot - 1;
	o->type = type;
	o->data = malloc(data.len + 1);
	assert_non_null(o->data);
	memcpy(o->data, data.ptr, data.len);
	o->len = data.len;
	if (n)
		memcpy(o->links, links, n * sizeof *links);
	o->link_count = n;
	o->like = NONE;
	o->mark = false;
	assert_ok(wr_oidmap_add(&m->map, &o->oid, m->count, NULL, NULL));
	return m->count++;
}

static inline struct wr_str content(const struct model *m, uint32_t o)
{
	return wr_str_n(m->objects[o].data, m->objects[o].len);
}

static inline void random_bytes(struct model *m, char *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (char)chance(m->f, 256);
}

static inline uint32_t new_blob(struct model *m, size_t len)
{
	WR_AUTO_MEM char *data = malloc(len + 1);

	assert_non_null(data);
	random_bytes(m, data, len);
	return add_object(m, WR_BLOB, wr_str_n(data, len), NULL, 0);
}

/* Random or like another one, or one whose bytes are searched for. */
static inline uint32_t some_blob(struct model *m)
{
	uint32_t like = m->count ? chance(m->f, m->count) : 0, o;
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(1 << 16);
	char more[40];

	if (m->mark_count < MARKS && chance(m->f, 6) == 0) {
		o = m->marks[m->mark_count++] = new_blob(m, 300);
		m->objects[o].mark = true;
		return o;
	}
	if (!m->count || m->objects[like].type != WR_BLOB || m->objects[like].mark || m->objects[like].len > 8000 ||
	    chance(m->f, 3) == 0)
		return new_blob(m, chance(m->f, 3) ? chance(m->f, 60) : chance(m->f, 2000));
	random_bytes(m, more, sizeof more);
	wr_buf_adds(&data, content(m, like));
	wr_buf_add(&data, more, 1 + chance(m->f, sizeof more));
	o = add_object(m, WR_BLOB, wr_buf_str(&data), NULL, 0);
	if (o == m->count - 1)
		m->objects[o].like = like;
	return o;
}

/* Entries in the order of their names, of a tree like this one (NONE: empty) with some changed. */
static inline uint32_t some_tree(struct model *m, uint32_t like, unsigned depth)
{
	static const char names[6][3] = {"d0", "d1", "f0", "f1", "f2", "f3"};
	uint32_t entries[6], links[6];
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(1 << 12);
	struct wr_str rest = like == NONE ? wr_str("") : content(m, like);
	unsigned n = 0;

	memset(entries, 0xff, sizeof entries);
	while (rest.len) {
		const char *name = (const char *)memchr(rest.ptr, ' ', rest.len) + 1;
		struct wr_oid oid;

		memcpy(oid.id, name + 3, WR_OID_RAW);
		for (unsigned i = 0; i < 6; i++)
			if (strcmp(names[i], name) == 0)
				entries[i] = *wr_oidmap_slot(&m->map, &oid) - 1;
		rest = wr_str_skip(rest, (size_t)(name + 3 + WR_OID_RAW - rest.ptr));
	}
	for (unsigned k = 0; k < 1 + chance(m->f, 2); k++) {
		unsigned i = chance(m->f, 6);

		if (i >= 2)
			entries[i] = chance(m->f, 8) ? some_blob(m) : NONE;
		else
			entries[i] = depth < 2 ? some_tree(m, entries[i], depth + 1) : NONE;
	}
	for (unsigned i = 0; i < 6; i++) {
		if (entries[i] == NONE)
			continue;
		wr_buf_printf(&data, "%s %s", i < 2 ? "40000" : "100644", names[i]);
		wr_buf_addc(&data, '\0');
		wr_buf_add(&data, m->objects[entries[i]].oid.id, WR_OID_RAW);
		links[n++] = entries[i];
	}
	return add_object(m, WR_TREE, wr_buf_str(&data), links, n);
}

static inline uint32_t commit_of(struct model *m, uint32_t tree, const uint32_t *parents, unsigned n)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(1 << 12);
	uint32_t links[LINKS] = {tree};
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, &m->objects[tree].oid);
	wr_buf_printf(&data, "tree %s\n", hex);
	for (unsigned i = 0; i < n; i++) {
		wr_oid_hex(hex, &m->objects[parents[i]].oid);
		wr_buf_printf(&data, "parent %s\n", hex);
		links[1 + i] = parents[i];
	}
	m->turn++;
	wr_buf_printf(&data, "author A <a@example.org> %u +0000\ncommitter A <a@example.org> %u +0000\n\n%u\n",
		      1700000000 + m->turn, 1700000000 + m->turn, m->turn);
	return add_object(m, WR_COMMIT, wr_buf_str(&data), links, n + 1);
}

static inline uint32_t some_commit_on(struct model *m, const uint32_t *parents, unsigned n)
{
	return commit_of(m, some_tree(m, n ? m->objects[parents[0]].links[0] : NONE, 0), parents, n);
}

static inline uint32_t tag_of(struct model *m, uint32_t target)
{
	WR_AUTO_S(wr_buf) data = WR_BUF_INIT(1 << 12);
	char hex[WR_OID_HEX + 1];

	wr_oid_hex(hex, &m->objects[target].oid);
	wr_buf_printf(&data, "object %s\ntype %s\ntag t%u\ntagger A <a@example.org> 1700000000 +0000\n\nt\n", hex,
		      wr_type_name(m->objects[target].type), ++m->turn);
	return add_object(m, WR_TAG, wr_buf_str(&data), &target, 1);
}

/* ---- what reaches what ---- */

/* Adds what o reaches without stepping on what is in `without` (may be NULL). */
static inline void reach(struct model *m, set out, uint32_t o, const uint8_t *without)
{
	uint32_t n = 0;

	if (o == NONE || out[o] || (without && without[o]))
		return;
	out[o] = 1;
	m->todo[n++] = o;
	while (n) {
		const struct object *at = &m->objects[m->todo[--n]];

		for (unsigned i = 0; i < at->link_count; i++) {
			uint32_t to = at->links[i];

			if (out[to] || (without && without[to]))
				continue;
			out[to] = 1;
			m->todo[n++] = to;
		}
	}
}

static inline void reached_by(struct model *m, set out, const struct place *p)
{
	memset(out, 0, sizeof(set));
	for (unsigned i = 0; i < REFS; i++)
		reach(m, out, p->refs[i], NULL);
}

/* ---- time ---- */

enum sure { GONE, THERE, EITHER };

/* Whether an object that may have been stored is there. */
static inline enum sure is_there(const struct place *p, uint32_t o, const set reached)
{
	if (reached[o])
		return THERE;
	if (p->gone[o] || !p->ever[o])
		return GONE;
	return p->left[o] >= 0 && model_clock - p->left[o] < GRACE ? THERE : EITHER;
}

/*
 * Refs were before[] and are what the place says now; brought[] came with it, or is needed by what came: young again,
 * whether refs reach it or not.
 */
static inline void refs_changed(struct model *m, struct place *p, const set before, const set brought)
{
	set after;

	reached_by(m, after, p);
	for (uint32_t o = 0; o < m->count; o++) {
		if (before[o] || brought[o])
			p->settled[o] = -1;
		if (after[o])
			p->left[o] = -1;
		else if (before[o])
			p->left[o] = model_clock;
		if (after[o] || brought[o])
			p->gone[o] = 0;
		p->ever[o] |= after[o] | brought[o];
	}
}

/* A checkpoint was made, or there was nothing to make one of. Nothing else happened meanwhile. */
static inline void checkpointed(struct model *m, struct place *p, bool did)
{
	set reached;

	reached_by(m, reached, p);
	for (uint32_t o = 0; o < m->count; o++) {
		if (!p->ever[o] || reached[o] || p->gone[o])
			continue;
		/* Times are seconds, rounded up. */
		if (did && p->settled[o] >= 0 && p->settled[o] + 1000 + GRACE <= model_clock) {
			p->gone[o] = 1;
			m->dropped++;
			p->left[o] = p->settled[o] = -1;
		} else if (p->settled[o] < 0) {
			p->settled[o] = model_clock;
		}
	}
}

/* ---- repositories ---- */

static inline struct place *new_place(struct model *m)
{
	struct place *p = calloc(1, sizeof *p);

	assert_non_null(p);
	assert_true(m->place_count < PLACES);
	m->made++;
	snprintf(p->id, sizeof p->id, "%08x-2222-4333-8444-%012u", m->made * 2654435761u, m->made);
	memset(p->refs, 0xff, sizeof p->refs);
	memset(p->left, 0xff, sizeof p->left);
	memset(p->settled, 0xff, sizeof p->settled);
	m->places[m->place_count++] = p;
	add_row(p->id);
	return p;
}

static inline void open_place(struct model *m, struct place *p)
{
	assert_ok(wr_git_repo_open(&p->repo, m->f->git, p->id, &m->f->err));
}

/* Its handle has gone. */
static inline void free_place(struct model *m, unsigned i)
{
	free(m->places[i]);
	m->places[i] = m->places[--m->place_count];
}

/* <f.dir>/<...> of its folder. */
static inline const char *place_path(const struct place *p)
{
	static char path[128];

	snprintf(path, sizeof path, "data/repos/%.2s/%.2s/%s.git", p->id, p->id + 2, p->id);
	return path;
}

#endif
