#include "core/base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

/*
 * The INI reader is ours, 60 lines: Debian's libinih cuts lines at 200 bytes and takes " ;" inside a value for a
 * comment, and its errors name no key.
 */

enum kind { KIND_STRING, KIND_BOOL, KIND_INT, KIND_SIZE, KIND_TIME };

struct key {
	const char *section, *name, *def, *flag, *help;
	enum kind kind;
	uint64_t min, max;
	size_t offset;
};

static const struct key keys[] = {
#define X(section, key, type, def, min, max, flag, help)                                                               \
	{#section, #key, def, flag, help, KIND_##type, min, max, offsetof(struct wr_config, section##_##key)},
#include "core/base/config.def"
#undef X
};

static const char *const kind_names[] = {
	"text", "true or false", "a whole number", "a size such as 512k, 16m or 4g", "a time such as 500ms, 30s, 10m or 2h",
};

static const struct {
	const char *suffix;
	uint64_t factor;
} size_units[] = {{"k", 1024}, {"m", 1024 * 1024}, {"g", 1024ull * 1024 * 1024}, {"", 1}},
  time_units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

static bool parse_scaled(const struct key *key, struct wr_str text, uint64_t *out)
{
	size_t digits = 0, unit_count = key->kind == KIND_SIZE ? WR_ARRAY_LEN(size_units) : WR_ARRAY_LEN(time_units);
	uint64_t n;

	while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
		digits++;
	if (!wr_str_u64(wr_str_n(text.ptr, digits), UINT64_MAX, &n))
		return false;
	for (size_t i = 0; i < unit_count; i++) {
		const char *suffix = key->kind == KIND_SIZE ? size_units[i].suffix : time_units[i].suffix;
		uint64_t factor = key->kind == KIND_SIZE ? size_units[i].factor : time_units[i].factor;

		if (!wr_str_caseeq(wr_str_skip(text, digits), wr_str(suffix)))
			continue;
		if (n > UINT64_MAX / factor)
			return false;
		*out = n * factor;
		return true;
	}
	return false;
}

/* where: "warren.conf:12", "WARREN_SERVER_LISTEN", "--listen". */
static enum wr_code set(struct wr_config *cfg, const struct key *key, struct wr_str text, const char *where,
			struct wr_error *err)
{
	void *field = (char *)cfg + key->offset;
	uint64_t n = 0;
	bool ok;

	if (memchr(text.ptr ? text.ptr : "", '\0', text.len) || !wr_str_utf8(text))
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s: the value of %s.%s is not UTF-8 text", where,
			       key->section, key->name);
	switch (key->kind) {
	case KIND_STRING: {
		char *copy = wr_str_dup(text);

		if (!copy)
			return wr_fail_nomem(err);
		free(*(char **)field);
		*(char **)field = copy;
		return WR_OK;
	}
	case KIND_BOOL:
		if (!wr_str_eqz(text, "true") && !wr_str_eqz(text, "false"))
			break;
		*(bool *)field = wr_str_eqz(text, "true");
		return WR_OK;
	case KIND_INT:
		ok = wr_str_u64(text, UINT64_MAX, &n);
		goto number;
	case KIND_SIZE:
	case KIND_TIME:
		ok = parse_scaled(key, text, &n);
	number:
		if (!ok)
			break;
		if (n < key->min || n > key->max)
			return wr_fail(err, WR_E_INVALID_REQUEST,
				       "%s: %s.%s lies between %" PRIu64 " and %" PRIu64 "%s, not %" PRIu64, where,
				       key->section, key->name, key->min, key->max,
				       key->kind == KIND_TIME ? " milliseconds" : "", n);
		*(uint64_t *)field = n;
		return WR_OK;
	}
	return wr_fail(err, WR_E_INVALID_REQUEST, "%s: %s.%s is %s, not \"%.*s\"", where, key->section, key->name,
		       kind_names[key->kind], (int)(text.len > 60 ? 60 : text.len), text.ptr ? text.ptr : "");
}

enum wr_code wr_config_init(struct wr_config *cfg, struct wr_error *err)
{
	memset(cfg, 0, sizeof *cfg);
	for (size_t i = 0; i < WR_ARRAY_LEN(keys); i++) {
		enum wr_code code = set(cfg, &keys[i], wr_str(keys[i].def), "default", err);

		if (code) {
			wr_config_fini(cfg);
			return code;
		}
	}
	return WR_OK;
}

void wr_config_fini(struct wr_config *cfg)
{
	for (size_t i = 0; i < WR_ARRAY_LEN(keys); i++) {
		char **field = (char **)((char *)cfg + keys[i].offset);

		if (keys[i].kind == KIND_STRING) {
			free(*field);
			*field = NULL;
		}
	}
}

static struct wr_str trim(struct wr_str s)
{
	while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
		s = wr_str_skip(s, 1);
	while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t' || s.ptr[s.len - 1] == '\r'))
		s.len--;
	return s;
}

static const struct key *find(struct wr_str section, struct wr_str name)
{
	for (size_t i = 0; i < WR_ARRAY_LEN(keys); i++)
		if (wr_str_eqz(section, keys[i].section) && wr_str_eqz(name, keys[i].name))
			return &keys[i];
	return NULL;
}

static bool section_known(struct wr_str section)
{
	for (size_t i = 0; i < WR_ARRAY_LEN(keys); i++)
		if (wr_str_eqz(section, keys[i].section))
			return true;
	return false;
}

static int shown(struct wr_str s)
{
	return (int)(s.len > 60 ? 60 : s.len);
}

static enum wr_code parse_line(struct wr_config *cfg, struct wr_str line, struct wr_str *section, const char *where,
			       struct wr_error *err)
{
	const char *eq;
	struct wr_str name;
	const struct key *key;

	if (line.len == 0 || line.ptr[0] == '#' || line.ptr[0] == ';')
		return WR_OK;
	if (line.ptr[0] == '[') {
		if (line.len < 3 || line.ptr[line.len - 1] != ']')
			return wr_fail(err, WR_E_INVALID_REQUEST, "%s: a section stands in brackets: [server]", where);
		*section = trim(wr_str_n(line.ptr + 1, line.len - 2));
		if (!section_known(*section))
			return wr_fail(err, WR_E_INVALID_REQUEST, "%s: unknown section [%.*s]", where, shown(*section),
				       section->ptr);
		return WR_OK;
	}
	eq = memchr(line.ptr, '=', line.len);
	if (!eq)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s: expected \"key = value\", found \"%.*s\"", where,
			       shown(line), line.ptr);
	name = trim(wr_str_n(line.ptr, (size_t)(eq - line.ptr)));
	key = find(*section, name);
	if (!key)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s: unknown key \"%.*s\" in section [%.*s]", where,
			       shown(name), name.ptr, shown(*section), section->ptr ? section->ptr : "");
	return set(cfg, key, trim(wr_str_n(eq + 1, line.len - (size_t)(eq + 1 - line.ptr))), where, err);
}

enum wr_code wr_config_parse(struct wr_config *cfg, const char *name, struct wr_str text, struct wr_error *err)
{
	struct wr_str section = {NULL, 0};
	unsigned number = 0;

	while (text.len) {
		const char *nl = memchr(text.ptr, '\n', text.len);
		size_t n = nl ? (size_t)(nl - text.ptr) : text.len;
		char where[160];
		enum wr_code code;

		snprintf(where, sizeof where, "%.120s:%u", name, ++number);
		code = parse_line(cfg, trim(wr_str_n(text.ptr, n)), &section, where, err);
		if (code)
			return code;
		text = wr_str_skip(text, nl ? n + 1 : n);
	}
	return WR_OK;
}

enum wr_code wr_config_read_file(struct wr_config *cfg, const char *path, struct wr_error *err)
{
	WR_AUTO_S(wr_buf) text = WR_BUF_INIT(1024 * 1024);
	WR_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s: %s", path, strerror(errno));
	for (;;) {
		char *room = wr_buf_room(&text, 4096);
		ssize_t n;

		if (!room)
			return wr_fail(err, WR_E_INVALID_REQUEST, "%s: larger than 1 MB", path);
		n = read(fd, room, 4096);
		if (n < 0)
			return wr_fail(err, WR_E_INVALID_REQUEST, "%s: %s", path, strerror(errno));
		if (n == 0)
			break;
		text.len += (size_t)n;
	}
	return wr_config_parse(cfg, path, wr_buf_str(&text), err);
}

enum wr_code wr_config_read_env(struct wr_config *cfg, struct wr_error *err)
{
	for (size_t i = 0; i < WR_ARRAY_LEN(keys); i++) {
		char name[96];
		const char *value;

		snprintf(name, sizeof name, "WARREN_%s_%s", keys[i].section, keys[i].name);
		for (char *p = name; *p; p++)
			if (*p >= 'a' && *p <= 'z')
				*p = (char)(*p - 'a' + 'A');
		value = getenv(name);
		if (value) {
			enum wr_code code = set(cfg, &keys[i], wr_str(value), name, err);

			if (code)
				return code;
		}
	}
	return WR_OK;
}

enum wr_code wr_config_flag(struct wr_config *cfg, struct wr_str flag, const char *value, bool *known,
			    struct wr_error *err)
{
	*known = false;
	for (size_t i = 0; i < WR_ARRAY_LEN(keys); i++) {
		char where[64];

		if (!keys[i].flag || !wr_str_eqz(flag, keys[i].flag))
			continue;
		*known = true;
		snprintf(where, sizeof where, "--%s", keys[i].flag);
		if (!value)
			return wr_fail(err, WR_E_INVALID_REQUEST, "%s needs a value", where);
		return set(cfg, &keys[i], wr_str(value), where, err);
	}
	return WR_OK;
}

void wr_config_example(struct wr_buf *out)
{
	const char *section = "";

	wr_buf_addz(out, "# Warren's options with their defaults. Uncomment what you change, and start with\n"
			 "#   warren serve --config FILE\n"
			 "# A flag beats the environment variable WARREN_<SECTION>_<KEY>, which beats this file.\n");
	for (size_t i = 0; i < WR_ARRAY_LEN(keys); i++) {
		if (strcmp(section, keys[i].section) != 0) {
			section = keys[i].section;
			wr_buf_printf(out, "\n[%s]\n", section);
		}
		wr_buf_printf(out, "# %s (%s)\n#%s =%s%s\n", keys[i].help, kind_names[keys[i].kind], keys[i].name,
			      keys[i].def[0] ? " " : "", keys[i].def);
	}
}

void wr_config_flags_help(struct wr_buf *out)
{
	for (size_t i = 0; i < WR_ARRAY_LEN(keys); i++)
		if (keys[i].flag)
			wr_buf_printf(out, "  --%-14s %s%s%s%s\n", keys[i].flag, keys[i].help,
				      keys[i].def[0] ? " (" : "", keys[i].def, keys[i].def[0] ? ")" : "");
}
