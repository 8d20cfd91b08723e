/*
 * core/git/le.h: little-endian numbers in the store's own files, at any address.
 * Threads: values, no state.
 */
#ifndef WR_LE_H
#define WR_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t wr_le16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return le16toh(v);
}
static inline uint32_t wr_le32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return le32toh(v);
}
static inline uint64_t wr_le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return le64toh(v);
}
static inline void wr_put_le16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof v);
}
static inline void wr_put_le32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof v);
}
static inline void wr_put_le64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof v);
}

#endif
