/*
 * core/base/error.h: one list gives the code, the HTTP status and the words.
 * Ownership: a struct wr_error is the caller's, by value; release it with wr_error_fini() (or WR_AUTO_S(wr_error)).
 * Threads:   values, no shared state.
 *
 * What can fail returns enum wr_code (WR_OK is 0), is marked WR_MUST_CHECK, and fills *err once, where the failure is
 * understood. Callers pass code and *err on as they are. Outputs are written only on success.
 */
#ifndef WR_ERROR_H
#define WR_ERROR_H

#include <jansson.h>

#include "core/base/cleanup.h"
#include "core/base/str.h"

enum wr_code {
	WR_OK = 0,
#define X(name, status, wire, text, sdk) WR_E_##name,
#include "core/base/codes.def"
#undef X
	WR_CODE_COUNT
};

struct wr_error {
	enum wr_code code;
	char text[256];   /* for the client: no secret, no server path, no library text; "" means the default text */
	char detail[512]; /* for the log: what the library said, at which file and line */
	json_t *fields;   /* extra members of the JSON error body, or NULL; owned here */
};

/* clang-format off */
#define WR_ERROR_INIT {.code = WR_OK}
/* clang-format on */

void wr_error_fini(struct wr_error *err);
WR_DEFINE_AUTO_S(wr_error);

int wr_code_status(enum wr_code code);        /* HTTP status */
const char *wr_code_wire(enum wr_code code);  /* code in the JSON body */
const char *wr_code_text(enum wr_code code);  /* default sentence */
bool wr_code_in_sdk(enum wr_code code);       /* false: the body also carries `description` */

/* The sentence for the client: err->text, or the code's default. */
const char *wr_error_text(const struct wr_error *err);

/*
 * Fills *err and returns code. For a 5xx the words go to detail (the client gets the default text), else to text.
 * err may be NULL. Replaces what stood in *err before.
 */
#define wr_fail(err, code, ...) wr_fail_at((err), (code), __FILE__, __LINE__, __VA_ARGS__)
enum wr_code wr_fail_at(struct wr_error *err, enum wr_code code, const char *file, int line, const char *fmt, ...)
	WR_PRINTF(5, 6);

/*
 * A failed system call, from errno: ENOSPC, EDQUOT and EFBIG are WR_E_STORAGE_FULL, EMFILE, ENFILE and ENOMEM
 * WR_E_UNAVAILABLE, all else WR_E_INTERNAL. what names the call and its object, for the log.
 */
#define wr_fail_errno(err, ...) wr_fail_errno_at((err), __FILE__, __LINE__, __VA_ARGS__)
enum wr_code wr_fail_errno_at(struct wr_error *err, const char *file, int line, const char *fmt, ...) WR_PRINTF(4, 5);

/* Out of memory. */
#define wr_fail_nomem(err) wr_fail((err), WR_E_UNAVAILABLE, "out of memory")

/* Adds a member to the JSON error body. value is copied; bytes that are not UTF-8 become U+FFFD. */
void wr_error_field(struct wr_error *err, const char *key, struct wr_str value);
void wr_error_field_null(struct wr_error *err, const char *key);

/* Moves *from to *to (whose old contents are released) and leaves *from empty. */
void wr_error_move(struct wr_error *to, struct wr_error *from);

/* A JSON string of any bytes: what is not UTF-8 becomes U+FFFD. New reference, NULL without memory. */
json_t *wr_json_str(struct wr_str s);

#endif
