/*
 * core/store/migrate.h: brings a database's tables up to date, by numbered migrations.
 * Ownership: nothing is kept. Threads: one per connection; several processes may start at once.
 * Blocks on: disk, and another process that migrates.
 * Errors:    WR_E_INTERNAL with a sentence in err->detail: a database of a newer program, a migration that fails.
 */
#ifndef WR_MIGRATE_H
#define WR_MIGRATE_H

#include <sqlite3.h>

#include "core/base/error.h"

struct wr_migration {
	int number;
	const char *name, *sql;
};

/* The program's own list, in the order of the numbers. */
extern const struct wr_migration wr_migrations[];
extern const size_t wr_migration_count;

/*
 * Runs those of the list that the database's table of migrations does not name yet, one transaction each. *ran counts
 * them.
 */
WR_MUST_CHECK enum wr_code wr_migrate(sqlite3 *sq, const struct wr_migration *list, size_t n, size_t *ran,
				      struct wr_error *err);

#endif
