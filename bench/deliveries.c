/*
 * bench/deliveries.c: what one row of the queue of deliveries costs, however many there are.
 *
 *	deliveries [FOLDER] [ROWS...]     in a new database: for each of these numbers of queued rows (1,000 and 1,000,000) the
 *	                                  CPU of one more, and of one that is claimed and written down as delivered; and memory
 *
 * Sixteen accounts with a trigger each; ten updates of each branch, so that one of ten rows is ready. Prints one JSON object
 * a line.
 */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#include "core/auth/accounts.h"
#include "core/auth/repos.h"
#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "triggers/delivery.h"

#define ACCOUNTS 16u
#define BATCH 32u /* events in one transaction, as many as repositories share one */
#define CLAIMS 64u
#define WARMING 8192u
#define MEASURED 32768u

struct bench {
	struct wr_db *db;
	struct wr_deliveries deliveries;
	char repos[ACCOUNTS][WR_UUID_LEN + 1];
	uint64_t events; /* so far */
	uint64_t queued;
};

static _Noreturn void die(const char *what, const struct wr_error *err)
{
	fprintf(stderr, "deliveries: %s: %s\n", what, err ? err->detail : "failed");
	exit(1);
}

static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned memory_mb(void)
{
	unsigned long kb = 0;
	char line[128];
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof line, status))
		if (strncmp(line, "RssAnon:", 8) == 0)
			kb = strtoul(line + 8, NULL, 10);
	if (status)
		fclose(status);
	return (unsigned)(kb / 1024);
}

/* ---- rows ---- */

struct making {
	const struct wr_repo *repo;
};

static enum wr_code make_trigger(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	const struct wr_repo *repo = ((const struct making *)arg)->repo;
	WR_AUTO_S(wr_row) turn = WR_ROW_INIT;
	WR_AUTO_S(wr_row) row = WR_ROW_INIT;
	char id[WR_UUID_LEN + 1];
	enum wr_code code = wr_tx_one(tx, SQL_TRIGGER_TURN, err, &turn, "ss", repo->account_id, "example.org");

	wr_uuid_new(id);
	if (code == WR_OK)
		code = wr_tx_one(tx, SQL_TRIGGER_ADD, err, &row, "sssnnsniii", id, repo->account_id, repo->id,
				 "https://example.org/hook", wr_row_int(&turn, "seq"), (int64_t)0, (int64_t)1);
	return code;
}

static void make_repository(struct bench *b, unsigned i)
{
	const struct wr_repo_new new = {.default_branch = WR_S("main")};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	struct wr_secret_text key;
	struct wr_account account;
	struct wr_repo repo;
	struct making making = {&repo};
	char name[32];

	snprintf(name, sizeof name, "account %u", i);
	if (wr_account_create(&account, &key, b->db, wr_str(name), &err) != WR_OK ||
	    wr_repo_create(&repo, b->db, account.id, &new, &err) != WR_OK ||
	    wr_db_write(b->db, WR_DB_NORMAL, make_trigger, &making, &err) != WR_OK)
		die("a repository", &err);
	memcpy(b->repos[i], repo.id, sizeof b->repos[i]);
}

/* Ten of a branch one after the other. */
static enum wr_code tell(struct wr_tx *tx, void *arg, struct wr_error *err)
{
	struct bench *b = arg;
	enum wr_code code = WR_OK;

	for (unsigned i = 0; i < BATCH && code == WR_OK; i++) {
		uint64_t n = b->events++, of = n / ACCOUNTS;
		struct wr_event event = {.seq = n + 1, .time_ms = 1};
		char ref[64];

		snprintf(ref, sizeof ref, "refs/heads/topic/%llu", (unsigned long long)(of / 10));
		event.ref = wr_str(ref);
		event.author = WR_S("account:01234567-89ab-4def-8123-456789abcdef");
		memcpy(event.new.id, &event.seq, sizeof event.seq);
		if (of % 10)
			memcpy(event.old.id, &n, sizeof n);
		code = wr_deliveries_event(&b->deliveries, tx, b->repos[n % ACCOUNTS], &event, err);
	}
	return code;
}

static void enqueue(struct bench *b, uint64_t rows)
{
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;

	for (uint64_t i = 0; i < rows; i += BATCH)
		if (wr_db_write(b->db, WR_DB_NORMAL, tell, b, &err) != WR_OK)
			die("an event", &err);
}

/* ---- sending ---- */

static size_t room(void *arg, const char *account_id)
{
	(void)arg;
	(void)account_id;
	return 32;
}

static size_t room_of_host(void *arg, const char *account_id, const char *host)
{
	(void)host;
	return room(arg, account_id);
}

/* The sender's part: each pass writes down what the one before has sent. */
struct sending {
	struct wr_claim claims[CLAIMS];
	struct wr_outcome outcomes[CLAIMS];
	size_t n; /* under way */
};

static void pass(struct bench *b, struct sending *s, bool claims)
{
	struct wr_claiming claiming = {.lease = "bench", .now_ms = wr_now_ms(), .max = CLAIMS,
				       .account_room = room, .host_room = room_of_host};
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	size_t before = s->n;
	int64_t next_ms;

	if (wr_deliveries_turnover(s->claims, &s->n, &next_ms, b->db, s->outcomes, before, claims ? &claiming : NULL,
				   &err) != WR_OK)
		die("claiming", &err);
	if (claims && s->n == 0)
		die("nothing is ready", NULL);
	for (size_t i = 0; i < s->n; i++)
		s->outcomes[i] = (struct wr_outcome){.seq = s->claims[i].hook.seq, .lease = "bench", .status = 200,
						     .what = WR_OUT_DELIVERED, .latency_ms = 3, .error = "",
						     .answer = WR_S("ok")};
}

/* As many come as go, so that the queue stays as long as it is. */
static void turn_over(struct bench *b, uint64_t rows, double *enqueue_us, double *deliver_us)
{
	static struct sending s;
	double enqueued = 0, delivered = 0, began = cpu(), now;
	uint64_t sent = 0;

	while (sent < rows) {
		enqueue(b, CLAIMS);
		now = cpu();
		enqueued += now - began;
		pass(b, &s, true);
		sent += s.n;
		began = cpu();
		delivered += began - now;
	}
	pass(b, &s, false);
	*enqueue_us = enqueued / (double)sent * 1e6;
	*deliver_us = delivered / (double)sent * 1e6;
}

static void measure(struct bench *b, uint64_t queued)
{
	double enqueue_us, deliver_us;

	enqueue(b, queued > b->queued ? queued - b->queued : 0);
	b->queued = queued;
	/* What filling it left behind is not what is measured. */
	turn_over(b, WARMING, &enqueue_us, &deliver_us);
	turn_over(b, MEASURED, &enqueue_us, &deliver_us);
	printf("{\"queued\":%llu,\"enqueue_us\":%.1f,\"deliver_us\":%.1f,\"memory_mb\":%u}\n", (unsigned long long)queued,
	       enqueue_us, deliver_us, memory_mb());
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : "/tmp";
	WR_AUTO_S(wr_error) err = WR_ERROR_INIT;
	static struct bench b;
	char data[4200];

	wr_log_set_threshold(WR_ERROR);
	snprintf(data, sizeof data, "%s/warren-bench-XXXXXX", folder);
	if (!mkdtemp(data))
		die("mkdtemp", NULL);
	if (wr_db_open(&b.db, data, &err) != WR_OK)
		die("open", &err);
	b.deliveries.db = b.db;
	for (unsigned i = 0; i < ACCOUNTS; i++)
		make_repository(&b, i);
	if (argc > 2)
		for (int i = 2; i < argc; i++)
			measure(&b, strtoull(argv[i], NULL, 10));
	else
		for (uint64_t n = 1000; n <= 1000000; n *= 1000)
			measure(&b, n);
	wr_db_close(b.db);
	return wr_file_remove(AT_FDCWD, data, &err) == WR_OK ? 0 : 1;
}
