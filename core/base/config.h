/*
 * core/base/config.h: options by flag, environment and INI file, all from the one table in config.def.
 * Flag beats environment (WARREN_<SECTION>_<KEY>) beats file. Read once at the start, passed as const from then on.
 * Ownership: wr_config_init() then wr_config_fini(); strings live as long as the struct.
 * Threads:   read-only once loaded.
 * Errors:    a sentence that names file, line and key (or the variable, or the flag).
 */
#ifndef WR_CONFIG_H
#define WR_CONFIG_H

#include "core/base/buf.h"
#include "core/base/error.h"

#define WR_CFG_STRING char *
#define WR_CFG_BOOL bool
#define WR_CFG_INT uint64_t
#define WR_CFG_SIZE uint64_t
#define WR_CFG_TIME uint64_t

/* A key's field is <section>_<key>: cfg->server_listen. */
struct wr_config {
#define X(section, key, type, def, min, max, flag, help) WR_CFG_##type section##_##key;
#include "core/base/config.def"
#undef X
};

/* Sets every key to its default. */
WR_MUST_CHECK enum wr_code wr_config_init(struct wr_config *cfg, struct wr_error *err);
void wr_config_fini(struct wr_config *cfg);
WR_DEFINE_AUTO_S(wr_config);

/* Applies an INI text; name stands in messages. Lines: [section], key = value, # or ; comments, blank. */
WR_MUST_CHECK enum wr_code wr_config_parse(struct wr_config *cfg, const char *name, struct wr_str text,
					   struct wr_error *err);
WR_MUST_CHECK enum wr_code wr_config_read_file(struct wr_config *cfg, const char *path, struct wr_error *err);

/* Applies WARREN_<SECTION>_<KEY> of the environment; variables that are no key are left alone. */
WR_MUST_CHECK enum wr_code wr_config_read_env(struct wr_config *cfg, struct wr_error *err);

/* One flag without its dashes. *known = false when the table has none of this name (then WR_OK). */
WR_MUST_CHECK enum wr_code wr_config_flag(struct wr_config *cfg, struct wr_str flag, const char *value, bool *known,
					  struct wr_error *err);

/* The commented example file, and the flags' part of --help. */
void wr_config_example(struct wr_buf *out);
void wr_config_flags_help(struct wr_buf *out);

#endif
