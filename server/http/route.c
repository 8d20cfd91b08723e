#include "server/http/route.h"

enum kind { REST, PARAM, FIXED }; /* in rising order of particularity */

/* The next segment of a row's path; moves *path behind it. False at its end. */
static bool next_segment(struct wr_str *seg, struct wr_str *path)
{
	const char *end;

	if (path->len == 0)
		return false;
	*path = wr_str_skip(*path, 1);
	end = path->len ? memchr(path->ptr, '/', path->len) : NULL;
	*seg = wr_str_n(path->ptr, end ? (size_t)(end - path->ptr) : path->len);
	*path = wr_str_skip(*path, seg->len);
	return true;
}

static enum kind kind_of(struct wr_str seg)
{
	if (!wr_str_starts(seg, WR_S("{")))
		return FIXED;
	return wr_str_ends(seg, WR_S("*}")) ? REST : PARAM;
}

/* The value that {repo.git} means: one ".git" at its end does not count. */
static struct wr_str param_value(struct wr_str seg, struct wr_str value)
{
	if (wr_str_ends(seg, WR_S(".git}")) && wr_str_ends(value, WR_S(".git")))
		value.len -= 4;
	return value;
}

/* Whether "/fixed" stands at *at with these letters; moves *at behind it. Nearly all rows end here. */
static bool skip_fixed(const char **at, struct wr_str seg)
{
	const char *p = *at + 1;

	/* One that is in the URL as %2F ends no segment. */
	for (size_t i = 0; i < seg.len; i++, p++)
		if (*p != seg.ptr[i] || *p == '/')
			return false;
	*at = p;
	return *p == '/' || *p == '\0';
}

static bool matches(const struct wr_route *row, const struct wr_url *url)
{
	const char *at = row->path;
	enum kind last = FIXED;
	size_t i;

	for (i = 0; *at == '/'; i++) {
		struct wr_str path, seg;

		last = FIXED;
		if (at[1] != '{') {
			if (i == url->n_segments || !skip_fixed(&at, url->segments[i]))
				return false;
			continue;
		}
		path = wr_str(at);
		next_segment(&seg, &path);
		at = path.ptr;
		last = kind_of(seg);
		if (last == REST)
			return true;
		if (i == url->n_segments || param_value(seg, url->segments[i]).len == 0)
			return false;
	}
	if (i + 1 == url->n_segments && last == FIXED && url->segments[i].len == 0)
		i++;
	return i == url->n_segments;
}

/* Whether row a is more particular than b, where both match the same path. */
static bool beats(const struct wr_route *a, const struct wr_route *b)
{
	struct wr_str pa = wr_str(a->path), pb = wr_str(b->path), sa, sb;

	for (;;) {
		bool more_a = next_segment(&sa, &pa), more_b = next_segment(&sb, &pb);

		/* What the longer one still has is a {name*} that stands for nothing. */
		if (!more_a || !more_b)
			return more_b;
		if (kind_of(sa) != kind_of(sb))
			return kind_of(sa) > kind_of(sb);
	}
}

static char *join_rest(const struct wr_url *url, size_t from)
{
	WR_AUTO_S(wr_buf) out = WR_BUF_INIT(WR_URL_MAX);

	for (size_t i = from; i < url->n_segments; i++) {
		if (i > from)
			wr_buf_addc(&out, '/');
		wr_buf_adds(&out, url->segments[i]);
	}
	wr_buf_room(&out, 0);
	return wr_buf_take(&out);
}

static bool fill_params(struct wr_match *m, const struct wr_url *url)
{
	struct wr_str path = wr_str(m->route->path), seg;

	for (size_t i = 0; next_segment(&seg, &path); i++) {
		enum kind kind = kind_of(seg);
		struct wr_str name = wr_str_n(seg.ptr + 1, seg.len - 2);

		if (kind == FIXED)
			continue;
		if (kind == REST) {
			m->joined = join_rest(url, i);
			if (!m->joined)
				return false;
			name.len--;
			m->params[m->n_params].value = wr_str(m->joined);
		} else {
			m->params[m->n_params].value = param_value(seg, url->segments[i]);
			if (wr_str_ends(name, WR_S(".git")))
				name.len -= 4;
		}
		m->params[m->n_params++].name = name;
	}
	return true;
}

/* The most particular row with this method; ptr NULL: with any. */
static const struct wr_route *find(const struct wr_route_table *table, struct wr_str method, const struct wr_url *url)
{
	const struct wr_route *best = NULL;

	for (size_t i = 0; i < table->n; i++) {
		const struct wr_route *row = &table->rows[i];

		/* The first letter tells most apart. */
		if (method.ptr && (method.len == 0 || row->method[0] != method.ptr[0] || !wr_str_eqz(method, row->method)))
			continue;
		if (matches(row, url) && (!best || beats(row, best)))
			best = row;
	}
	return best;
}

bool wr_route_match(struct wr_match *out, const struct wr_route_table *table, struct wr_str method,
		    const struct wr_url *url, bool *nomem)
{
	struct wr_match m = {.route = NULL};

	*nomem = false;
	m.route = find(table, wr_str_eqz(method, "HEAD") ? WR_S("GET") : method, url);
	m.near = m.route ? m.route : find(table, (struct wr_str){NULL, 0}, url);
	if (!m.near)
		return false;
	if (m.route && !fill_params(&m, url)) {
		*nomem = true;
		return false;
	}
	*out = m;
	return true;
}

void wr_match_fini(struct wr_match *match)
{
	free(match->joined);
	match->joined = NULL;
}

void wr_route_allow(struct wr_buf *out, const struct wr_route_table *table, const struct wr_url *url)
{
	static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};

	for (size_t m = 0; m < WR_ARRAY_LEN(methods); m++) {
		const char *wanted = m == 1 ? "GET" : methods[m];

		for (size_t i = 0; i < table->n; i++) {
			if (strcmp(table->rows[i].method, wanted) != 0 || !matches(&table->rows[i], url))
				continue;
			wr_buf_addz(out, methods[m]);
			wr_buf_addz(out, ", ");
			break;
		}
	}
	wr_buf_addz(out, "OPTIONS");
}
