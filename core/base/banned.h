/*
 * core/base/banned.h: the libc string functions that write without a bound, or parse without saying that they failed.
 * The Makefile includes it in front of every source file of Warren, so that a use is a compile error.
 */
#ifndef WR_BANNED_H
#define WR_BANNED_H

/* The headers whose own inline functions may use these names come first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok
#pragma GCC poison atoi atol atoll gmtime localtime ctime asctime

#endif
