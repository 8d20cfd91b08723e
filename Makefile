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
PKGS := libgit2 libmicrohttpd jansson sqlite3 libcrypto zlib libdeflate libxxhash libarchive libcurl
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

# Of tests themselves, which compute little: compiling them at -O2 would take half of the time for building everything.
TEST_CFLAGS := $(CFLAGS)
ifeq ($(VARIANT),release)
TEST_CFLAGS := $(filter-out $(OPT_release),$(CFLAGS)) -O0 -g -fPIE
endif

SRCS := $(sort $(wildcard core/*/*.c smart-http/*.c sync/*.c triggers/*.c server/*.c server/*/*.c))
OBJS := $(SRCS:%.c=$(B)/%.o)
LIB := $(B)/libwarren.a
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
FUZZ := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
# TSan has nothing to say of unit tests in which no threads meet, and needs minutes for them; the corpora are replayed by the
# release and, under ASan, by the fuzzers themselves.
ALONE := base config glob oidmap parse pktline url net trigger_endpoint sync_fetch unpack git_adopt git_delta \
	git_filter git_fsck git_index git_judge git_pack git_plan git_plan_filter git_plan_whole git_reach git_repair \
	git_verify git_walk git_weight content_changed content_difference content_edit content_headers content_path \
	content_rev deliveries_model judge
ifeq ($(VARIANT),tsan)
UNIT := $(filter-out $(ALONE:%=$(B)/tests/test_%),$(UNIT))
endif
ifneq ($(filter asan tsan,$(VARIANT)),)
FUZZ :=
endif

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

# The reference as JSON and as a page. Debian's own python, for its yaml is a package of Debian.
$(B)/gen/reference.inc: docs/openapi.yaml $(wildcard docs/page/*.*)
	@mkdir -p $(@D)
	/usr/bin/python3 -B docs/page/build.py $@
$(B)/server/api/reference.o: $(B)/gen/reference.inc

$(B)/tests/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) $(PKG_CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(PKG_LIBS) -lcmocka

# Its TLS servers are its own.
$(B)/tests/test_net_post: PKG_LIBS += -lssl

$(B)/fuzz/%: tests/fuzz/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) $(PKG_CFLAGS) $(LDFLAGS) $(if $(filter fuzz,$(VARIANT)),-fsanitize=fuzzer,tests/fuzz/replay.c) -o $@ $< $(LIB) $(PKG_LIBS)

# What stands between a server and its disk, its clock, or the Internet: preloaded, so never instrumented.
FAULTS := $(B)/tests/disk_faults.so $(B)/tests/moved_clock.so $(B)/tests/outside.so
$(FAULTS): $(B)/tests/%.so: tests/fault/%.c
	@mkdir -p $(@D)
	gcc -std=gnu11 $(WARN) -O1 -g -D_GNU_SOURCE $(if $(filter release,$(VARIANT)),-DWITH_MEMORY) -fPIC -shared -pthread -o $@ $<

# A client of tests/clients, and no part of what it tests: never instrumented.
LIBGIT2_CLIENT := $(B)/tests/libgit2_client
$(LIBGIT2_CLIENT): tests/clients/libgit2_client.c
	@mkdir -p $(@D)
	gcc -std=gnu11 $(WARN) -O1 -g -D_GNU_SOURCE $(shell pkg-config --cflags libgit2) -o $@ $< $(shell pkg-config --libs libgit2)

# Warren's own client of other servers, on a command line.
REMOTE_CLIENT := $(B)/tests/remote_client
$(REMOTE_CLIENT): tests/clients/remote_client.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PKG_CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(PKG_LIBS)

.PHONY: all unit fuzzers run test test-one test-real test-browsers test-fresh asan tsan fuzz-smoke fuzz-long crash-long \
	powerloss-long model-long requests-long lint example bench bench-store bench-api bench-webhooks clean help setup

all: $(B)/warren
unit: $(UNIT) $(FAULTS) $(LIBGIT2_CLIENT) $(REMOTE_CLIENT)
fuzzers: $(FUZZ)

run:
	@bash config/setup.sh run
	@$(MAKE) --no-print-directory -s -j$$(nproc) build/warren
	@bash config/run.sh

# Everything that CI runs; see tests/run.sh for the stages.
test:
	@bash config/setup.sh $(if $(filter true,$(CI)),ci,test)
	@bash tests/run.sh

# The suite in one variant: make test-one VARIANT=asan [ARGS='--only push']
test-one: $(B)/warren unit fuzzers
	python3 tests/run.py --warren $(B)/warren --unit $(UNIT) --fuzz $(FUZZ) $(ARGS)
asan tsan:
	@$(MAKE) --no-print-directory -j$$(nproc) test-one VARIANT=$@

# Real repositories: make test-real WARREN_REAL_REPOS=/path/a.git:/path/b.git
test-real: build/warren
	python3 tests/real/run.py --warren build/release/warren
test-browsers: build/warren
	@bash config/setup.sh browsers
	python3 tests/run.py --warren build/release/warren --suite clients/rounds --only jgit
	python3 tests/browsers/run.py --warren build/release/warren

# In a fresh Debian 12 (root, debootstrap): the README's commands, the printed block, make test; twice.
test-fresh:
	@bash tests/fresh/run.sh

# Every fuzz target for a while, on top of what earlier runs found: make fuzz-long SECONDS_EACH=3600
SECONDS_EACH ?= 600
fuzz-smoke:
	@bash tests/fuzz/run.sh 10
fuzz-long:
	@bash tests/fuzz/run.sh $(SECONDS_EACH)

# What CI does for seconds, for as long as one likes: seeded, and going on where it was broken off.
ROUNDS ?= 1000
SEED ?=
LONG = nice python3 tests/fault/_long.py $(1) --warren $(B)/warren --rounds $(2) $(if $(SEED),--seed $(SEED))
crash-long: $(B)/warren $(FAULTS)
	$(call LONG,fault/killed,$(ROUNDS))
	$(call LONG,fault/webhooks_killed,$(ROUNDS))
	$(call LONG,fault/creations,$(ROUNDS))
model-long: $(B)/warren $(FAULTS)
	$(call LONG,git/model,$(ROUNDS))
	$(call LONG,git/store_model,$(ROUNDS))
requests-long: $(B)/warren
	$(call LONG,git/requests,$(ROUNDS))
powerloss-long: SESSIONS ?= 5
powerloss-long: $(B)/warren $(FAULTS)
	$(call LONG,fault/powerloss,$(SESSIONS))

# Headers compile alone, includes go down, generated files are current.
lint: build/warren
	@bash tests/tools/lint.sh

# The example file comes from the table of options.
example: build/warren
	build/warren config example > config/warren.conf.example

# bench/replay.c is a client and knows nothing of Warren; the others are linked with it.
$(B)/bench/replay: bench/replay.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $<

$(B)/bench/load: bench/load.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $<

$(B)/bench/hello: bench/hello.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PKG_CFLAGS) $(LDFLAGS) -o $@ $< $(PKG_LIBS)

$(B)/bench/sink: bench/sink.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PKG_CFLAGS) $(LDFLAGS) -o $@ $< $(PKG_LIBS)

$(B)/bench/append $(B)/bench/store $(B)/bench/deliveries: $(B)/bench/%: bench/%.c $(B)/bench/commits.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PKG_CFLAGS) $(LDFLAGS) -o $@ $< $(B)/bench/commits.o $(LIB) $(PKG_LIBS)

# BIG=path and LIBRARY=path: a large repository to clone, and one to push as a whole.
bench: build/warren $(B)/bench/replay $(B)/bench/append
	@bash bench/run.sh compare $(if $(BIG),--big $(BIG)) $(if $(LIBRARY),--library $(LIBRARY))

# What the store costs at numbers. BIG=path: a large repository to fork and to checkpoint. REPOS: how many, 100,000 if not
# said otherwise; they take 5 GB and a quarter of an hour.
bench-store: build/warren $(B)/bench/replay $(B)/bench/store
	@bash bench/run.sh store $(if $(BIG),--big $(BIG)) $(if $(REPOS),--repos $(REPOS))

# What the REST API costs. BIG=path: a large repository to list and to archive. REPOS: of how many a page is listed.
bench-api: build/warren $(addprefix $(B)/bench/,replay load hello append)
	@bash bench/run.sh api $(if $(BIG),--big $(BIG)) $(if $(REPOS),--repos $(REPOS))

# What webhooks cost.
bench-webhooks: build/warren $(addprefix $(B)/bench/,replay sink deliveries)
	@bash bench/run.sh webhooks

clean:
	rm -rf build

help:
	@echo "make            build/warren"
	@echo "make run        install what is missing, build, serve on 127.0.0.1:8080"
	@echo "make test       install what is missing, run every test (CI=true: sanitizers and fuzzing too)"
	@echo "make test-one   the suite in one VARIANT (release, asan, tsan); ARGS go to tests/run.py"
	@echo "make crash-long, powerloss-long, model-long, requests-long  faults and random operations for a while: ROUNDS, SESSIONS, SEED"
	@echo "make test-real, test-browsers, fuzz-long, bench, bench-store, bench-api, bench-webhooks, lint, example, clean"

-include $(shell find build -name '*.d' 2>/dev/null)
