# make          build/warren
# make run      everything needed, then a server on 127.0.0.1:8080 with its data in ./warren-data
# make test     everything needed, then every test; with CI=true also under the sanitizers, and fuzzing
# make help     the rest
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := build/warren
.DELETE_ON_ERROR:
SHELL := /bin/bash

VERSION := 0.1.0
# VARIANT: release, debug, asan (with UBSan), tsan, fuzz (libFuzzer + ASan + UBSan, clang)
VARIANT ?= release
B := build/$(VARIANT)

CC := gcc
ifeq ($(VARIANT),fuzz)
CC := clang
endif

WARN := -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla \
	-Wpointer-arith -Wwrite-strings
DEFS := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DWR_VERSION='"$(VERSION)"'
PKGS := libgit2 libmicrohttpd jansson sqlite3 libcrypto zlib
ifneq ($(filter-out clean help setup,$(or $(MAKECMDGOALS),all)),)
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS))
PKG_LIBS = $(shell pkg-config --libs $(PKGS))
endif
OPT_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
OPT_debug := -O0 -g
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DWR_SANITIZED
OPT_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer -DWR_SANITIZED
OPT_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DWR_SANITIZED
LD_release := -pie -Wl,-z,relro,-z,now
LD_asan := -fsanitize=address,undefined
LD_tsan := -fsanitize=thread
LD_fuzz := -fsanitize=address,undefined
CFLAGS := -std=gnu11 $(WARN) $(OPT_$(VARIANT)) $(DEFS) -pthread -MMD -MP -I. -I$(B)/gen -include core/base/banned.h
LDFLAGS := $(LD_$(VARIANT)) -pthread

SRCS := $(sort $(wildcard core/*/*.c smart-http/*.c server/*.c server/*/*.c))
OBJS := $(SRCS:%.c=$(B)/%.o)
LIB := $(B)/libwarren.a
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
FUZZ := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

build/warren: build/release/warren
	@ln -sf release/warren $@

$(B)/warren: $(B)/server/main.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(LIB): $(filter-out $(B)/server/main.o,$(OBJS))
	@rm -f $@
	ar rcs $@ $^

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PKG_CFLAGS) -c -o $@ $<

# Migrations become one generated table, in the order of their numbers.
$(B)/gen/migrations.inc: $(sort $(wildcard core/store/migrations/*.sql)) tests/tools/embed-sql.sh
	@mkdir -p $(@D)
	bash tests/tools/embed-sql.sh $(filter %.sql,$^) > $@
$(B)/core/store/migrate.o: $(B)/gen/migrations.inc

$(B)/tests/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PKG_CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(PKG_LIBS) -lcmocka

$(B)/fuzz/%: tests/fuzz/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PKG_CFLAGS) $(LDFLAGS) $(if $(filter fuzz,$(VARIANT)),-fsanitize=fuzzer,tests/fuzz/replay.c) -o $@ $< $(LIB) $(PKG_LIBS)

.PHONY: all unit fuzzers
all: $(B)/warren
unit: $(UNIT)
fuzzers: $(FUZZ)

-include $(shell find build -name '*.d' 2>/dev/null)
