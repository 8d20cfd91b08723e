#include "core/git/filename.h"

/* U+200C to 200F, 202A to 202E, 206A to 206F and FEFF: HFS+ compares names without them. */
static struct wr_str skip_ignored(struct wr_str s)
{
	while (s.len >= 3) {
		uint8_t a = (uint8_t)s.ptr[0], b = (uint8_t)s.ptr[1], c = (uint8_t)s.ptr[2];
		bool ignored = a == 0xe2 && b == 0x80   ? (c >= 0x8c && c <= 0x8f) || (c >= 0xaa && c <= 0xae)
			       : a == 0xe2 && b == 0x81 ? c >= 0xaa && c <= 0xaf
							: a == 0xef && b == 0xbb && c == 0xbf;

		if (!ignored)
			break;
		s = wr_str_skip(s, 3);
	}
	return s;
}

/* Whether the text begins with a character; U+FFFE and U+FFFF are none. */
static bool whole_character(struct wr_str s)
{
	uint8_t a = (uint8_t)s.ptr[0];
	size_t n = a < 0x80 ? 1 : a < 0xe0 ? 2 : a < 0xf0 ? 3 : 4;

	return s.len >= n && wr_str_utf8(wr_str_n(s.ptr, n)) &&
	       (n != 3 || (memcmp(s.ptr, "\xef\xbf\xbe", 3) != 0 && memcmp(s.ptr, "\xef\xbf\xbf", 3) != 0));
}

/* Git takes the bytes at which a name stops being UTF-8 for its end. */
static bool hfs_is(struct wr_str name, struct wr_str wanted)
{
	for (; wanted.len; wanted = wr_str_skip(wanted, 1)) {
		name = skip_ignored(name);
		if (name.len == 0 || !wr_str_caseeq(wr_str_n(name.ptr, 1), wr_str_n(wanted.ptr, 1)))
			return false;
		name = wr_str_skip(name, 1);
	}
	name = skip_ignored(name);
	return name.len == 0 || name.ptr[0] == '/' || !whole_character(name);
}

static bool begins(struct wr_str name, struct wr_str wanted)
{
	return name.len >= wanted.len && wr_str_caseeq(wr_str_n(name.ptr, wanted.len), wanted);
}

/* Whether nothing follows that NTFS would see. */
static bool ntfs_end(struct wr_str rest)
{
	while (rest.len && (rest.ptr[0] == '.' || rest.ptr[0] == ' '))
		rest = wr_str_skip(rest, 1);
	return rest.len == 0 || rest.ptr[0] == ':';
}

static bool ntfs_is(struct wr_str name, struct wr_str wanted)
{
	return begins(name, wanted) && ntfs_end(wr_str_skip(name, wanted.len));
}

/*
 * The short names that NTFS makes up for a long one: its first six letters with ~1 to ~4, and when these are taken a
 * few digits of a sum of it, cut so that eight characters hold them and the number.
 */
static bool ntfs_short(struct wr_str name, struct wr_str six, struct wr_str sum)
{
	size_t i = 0;

	if (name.len < 8)
		return false;
	if (begins(name, six) && name.ptr[6] == '~' && name.ptr[7] >= '1' && name.ptr[7] <= '4')
		return ntfs_end(wr_str_skip(name, 8));
	while (i < 6 && name.ptr[i] != '~' && wr_str_caseeq(wr_str_n(name.ptr + i, 1), wr_str_n(sum.ptr + i, 1)))
		i++;
	if (name.ptr[i] != '~' || name.ptr[i + 1] < '1' || name.ptr[i + 1] > '9')
		return false;
	for (i += 2; i < 8; i++)
		if (name.ptr[i] < '0' || name.ptr[i] > '9')
			return false;
	return ntfs_end(wr_str_skip(name, 8));
}

bool wr_filename_dotgit(struct wr_str name)
{
	if (hfs_is(name, WR_S(".git")))
		return true;
	for (;;) {
		size_t n = 0;
		struct wr_str part;

		while (n < name.len && name.ptr[n] != '\\' && name.ptr[n] != '/')
			n++;
		part = wr_str_n(name.ptr, n);
		if (ntfs_is(part, WR_S(".git")) || ntfs_is(part, WR_S("git~1")))
			return true;
		/* A name with a slash is refused for the slash; what follows it is not looked at. */
		if (n == name.len || name.ptr[n] == '/')
			return false;
		name = wr_str_skip(name, n + 1);
	}
}

static bool ntfs_modules(struct wr_str name)
{
	return ntfs_is(name, WR_S(".gitmodules")) || ntfs_short(name, WR_S("gitmod"), WR_S("gi7eba"));
}

bool wr_filename_modules(struct wr_str name)
{
	const char *slash;

	if (hfs_is(name, WR_S(".gitmodules")) || ntfs_modules(name))
		return true;
	while (name.len && (slash = memchr(name.ptr, '\\', name.len))) {
		name = wr_str_skip(name, (size_t)(slash + 1 - name.ptr));
		if (ntfs_modules(name))
			return true;
	}
	return false;
}

bool wr_filename_attributes(struct wr_str name)
{
	return hfs_is(name, WR_S(".gitattributes")) || ntfs_is(name, WR_S(".gitattributes")) ||
	       ntfs_short(name, WR_S("gitatt"), WR_S("gi7d29"));
}

bool wr_filename_bad(struct wr_str name)
{
	return name.len == 0 || wr_str_eqz(name, ".") || wr_str_eqz(name, "..") || memchr(name.ptr, '/', name.len) ||
	       wr_filename_dotgit(name);
}

bool wr_filename_odd(struct wr_str name)
{
	if (name.len == 0 || memchr(name.ptr, '/', name.len) || memchr(name.ptr, '\\', name.len))
		return true;
	switch ((uint8_t)name.ptr[0]) {
	case '.':
	case '~':
	case 0xe2: /* where the characters that HFS+ ignores begin */
	case 0xef:
		return true;
	case 'g':
	case 'G':
		return memchr(name.ptr, '~', name.len) != NULL;
	default:
		return false;
	}
}
