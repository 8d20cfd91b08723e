/*
 * core/base/id.h: random ids and secrets, and their text forms.
 * Threads: any. Randomness comes from OpenSSL's generator; where it fails the process cannot go on safely and aborts.
 */
#ifndef WR_ID_H
#define WR_ID_H

#include "core/base/str.h"

#define WR_UUID_LEN 36
#define WR_TRACE_LEN 20

/* A version 4 UUID (RFC 9562), lower case, NUL-terminated. */
void wr_uuid_new(char out[WR_UUID_LEN + 1]);
/* A version 7 UUID: it begins with the present time, so that an index of many grows at its end. It tells when it was made. */
void wr_uuid_ordered(char out[WR_UUID_LEN + 1]);

/* Copies s to out, letters lowered, when it has the form of a UUID; false otherwise. */
bool wr_uuid_parse(struct wr_str s, char out[WR_UUID_LEN + 1]);

/* n random characters of [A-Za-z0-9] (5.95 bits each) and a NUL. */
void wr_random_text(char *out, size_t n);

void wr_random_bytes(void *out, size_t n);

/* A request id: 20 characters of [a-z2-9] without 4, so that no client finds "404" in it; 100 bits. */
void wr_trace_new(char out[WR_TRACE_LEN + 1]);

/* Lower-case hexadecimal, 2 n characters and a NUL. */
void wr_hex(char *out, const void *bytes, size_t n);

/* The value of a hexadecimal digit of either case, or -1. */
int wr_hex_digit(char c);

/* 2 n hexadecimal digits of either case into n bytes; false when s has another length or another character. */
bool wr_unhex(void *out, size_t n, struct wr_str s);

#endif
