#include "core/auth/lately.h"

#include <pthread.h>
#include <stdlib.h>

/* 80 KB for each thread that admits requests, of which there are few. */
#define SLOTS 64

struct kept_caller {
	struct wr_db_stamp stamp; /* db 0: empty */
	struct wr_lately_caller found;
};

struct kept_repo {
	struct wr_db_stamp stamp;
	unsigned char hash[WR_SECRET_HASH];
	enum wr_caller_kind kind;
	bool for_git;
	struct wr_lately_repo found;
};

struct lately {
	struct kept_caller callers[SLOTS];
	struct kept_repo repos[SLOTS];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;

static void make_key(void)
{
	has_key = pthread_key_create(&key, free) == 0;
}

/* NULL: nothing is kept so far, or (make) without memory. */
static struct lately *mine(bool make)
{
	struct lately *l;

	pthread_once(&once, make_key);
	l = has_key ? pthread_getspecific(key) : NULL;
	if (l || !make || !has_key || !(l = calloc(1, sizeof *l)))
		return l;
	if (pthread_setspecific(key, l) == 0)
		return l;
	free(l);
	return NULL;
}

static size_t slot(const void *bytes, size_t n)
{
	const unsigned char *p = bytes;
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 16777619u;
	return (h ^ h >> 16) % SLOTS;
}

const struct wr_lately_caller *wr_lately_caller(const struct wr_db_stamp *now, const unsigned char hash[WR_SECRET_HASH])
{
	const struct lately *l = mine(false);
	const struct kept_caller *k = l ? &l->callers[slot(hash, 8)] : NULL;

	return k && wr_db_stamp_eq(&k->stamp, now) && memcmp(k->found.caller.hash, hash, WR_SECRET_HASH) == 0 ? &k->found
													      : NULL;
}

void wr_lately_keep_caller(const struct wr_db_stamp *before, const struct wr_db_stamp *after,
			   const struct wr_lately_caller *found)
{
	struct lately *l = wr_db_stamp_eq(before, after) ? mine(true) : NULL;

	if (l)
		l->callers[slot(found->caller.hash, 8)] = (struct kept_caller){*after, *found};
}

/* The same repository for another caller is another slot's, mostly. */
static struct kept_repo *repo_slot(struct lately *l, const struct wr_caller *caller, const char *id)
{
	return &l->repos[(slot(id, WR_UUID_LEN) + caller->hash[0]) % SLOTS];
}

const struct wr_lately_repo *wr_lately_repo(const struct wr_db_stamp *now, const struct wr_caller *caller, const char *id,
					    bool for_git)
{
	struct lately *l = mine(false);
	const struct kept_repo *k = l ? repo_slot(l, caller, id) : NULL;

	return k && wr_db_stamp_eq(&k->stamp, now) && k->kind == caller->kind && k->for_git == for_git &&
			       memcmp(k->hash, caller->hash, sizeof k->hash) == 0 && strcmp(k->found.repo.id, id) == 0
		       ? &k->found
		       : NULL;
}

void wr_lately_keep_repo(const struct wr_db_stamp *before, const struct wr_db_stamp *after, const struct wr_caller *caller,
			 bool for_git, const struct wr_lately_repo *found)
{
	struct lately *l = wr_db_stamp_eq(before, after) ? mine(true) : NULL;
	struct kept_repo *k;

	if (!l)
		return;
	k = repo_slot(l, caller, found->repo.id);
	*k = (struct kept_repo){.stamp = *after, .kind = caller->kind, .for_git = for_git, .found = *found};
	memcpy(k->hash, caller->hash, sizeof k->hash);
}
