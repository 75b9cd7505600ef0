# Alacrity: `make` builds build/alacrity; `make help` lists the targets.
# VARIANT=asan|tsan builds into a folder of its own.

VARIANT ?= release
BUILD   := build/$(VARIANT)
CC      ?= gcc
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion \
           -Wno-sign-conversion -Werror
LUA_CFLAGS := $(shell pkg-config --cflags luajit)
LUA_LIBS   := $(shell pkg-config --libs luajit)
YAML_LIBS  := $(shell pkg-config --libs yaml-0.1)
VERSION := 0.1.0

CPPFLAGS += -D_GNU_SOURCE -DALACRITY_VERSION='"$(VERSION)"' -Iinclude -Icore -I. -I$(BUILD) \
            $(LUA_CFLAGS)
ifeq ($(VARIANT),asan)
  SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif
ifeq ($(VARIANT),tsan)
  SANITIZE := -fsanitize=thread
endif
ALL_CFLAGS := -std=gnu11 $(CFLAGS) $(WARN) $(SANITIZE) -pthread
LIBS := -lev $(LUA_LIBS) $(YAML_LIBS) -lm

CORE_SOURCES := $(filter-out core/main.c,$(wildcard core/*.c core/*/*.c))
LUA_SOURCES  := $(wildcard lua/*.c)
SCRIPTS      := $(wildcard scripts/*/*.lua lua/alacrity/*.lua lua/alacrity/inner/*.lua)
OBJECTS      := $(patsubst %.c,$(BUILD)/%.o,$(CORE_SOURCES) $(LUA_SOURCES)) $(BUILD)/builtin.o
BINARY       := $(BUILD)/alacrity
UNIT_TESTS   := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))

Q := $(if $(V),,@)

all: $(BINARY) build/alacrity

build/alacrity: $(BINARY)
ifeq ($(VARIANT),release)
	$(Q)ln -sf release/alacrity $@
endif

$(BINARY): $(BUILD)/core/main.o $(OBJECTS)
	@echo "  LD    $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c | $(BUILD)/script_cdef.h
	@echo "  CC    $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The text between the cdef markers of script.h, as a C string for ffi.cdef.
$(BUILD)/script_cdef.h: include/alacrity/script.h
	@mkdir -p $(@D)
	$(Q)$(CC) -E -P -C -DALACRITY_CDEF $< | sed -n '/cdef begin/,/cdef end/p' | \
	  sed -e 's/\/\*.*\*\///' -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^.*$$/"&\\n"/' > $@.tmp
	$(Q)mv $@.tmp $@

# Stock scripts and the Lua library are part of the binary.
$(BUILD)/builtin.S: $(SCRIPTS) Makefile
	@mkdir -p $(@D)
	$(Q){ echo '.section .rodata'; n=0; \
	  for f in $(SCRIPTS); do echo "s$$n: .incbin \"$$f\""; echo "e$$n: .byte 0"; \
	    echo "n$$n: .string \"$$f\""; n=$$((n+1)); done; \
	  echo '.section .data.rel.ro,"aw"'; echo '.balign 8'; echo '.globl builtin_scripts'; \
	  echo 'builtin_scripts:'; n=0; \
	  for f in $(SCRIPTS); do echo ".quad n$$n, s$$n, e$$n - s$$n"; n=$$((n+1)); done; \
	  echo '.quad 0, 0, 0'; echo '.section .note.GNU-stack,"",@progbits'; } > $@

$(BUILD)/builtin.o: $(BUILD)/builtin.S
	$(Q)$(CC) -c -o $@ $<

$(BUILD)/tests/%: tests/unit/%.c $(OBJECTS)
	@echo "  LD    $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(OBJECTS) $(LIBS) \
	  $(shell pkg-config --libs check)

# ---- tests: see tests/run ----

tests-built: $(BINARY) $(UNIT_TESTS)

check: all tests-built ## all tests on the release build
	$(Q)tests/run $(BUILD)

asan: ## all tests under AddressSanitizer and UBSan
	$(Q)$(MAKE) --no-print-directory VARIANT=asan tests-built
	$(Q)tests/run build/asan

tsan: ## all tests under ThreadSanitizer
	$(Q)$(MAKE) --no-print-directory VARIANT=tsan tests-built
	$(Q)tests/run build/tsan

unit: $(UNIT_TESTS) ## only the unit tests
	$(Q)for t in $(UNIT_TESTS); do $$t || exit 1; done

FUZZ_SECONDS ?= 120
FUZZ_FLAGS := -std=gnu11 -D_GNU_SOURCE -O1 -g -Iinclude -Icore -I. \
              -fsanitize=fuzzer,address,undefined

fuzz: ## libFuzzer on the configuration and HTTP parsers, FUZZ_SECONDS each
	@mkdir -p build/fuzz/config build/fuzz/http
	$(Q)clang $(FUZZ_FLAGS) -o build/fuzz/fuzz_config tests/fuzz/fuzz_config.c core/config/*.c \
	  core/base/text.c core/base/messages.c core/base/address.c $(YAML_LIBS) -lm
	$(Q)clang $(FUZZ_FLAGS) -o build/fuzz/fuzz_http tests/fuzz/fuzz_http.c core/transport/http.c
	$(Q)build/fuzz/fuzz_config -max_total_time=$(FUZZ_SECONDS) build/fuzz/config examples \
	  tests/cases/bad
	$(Q)build/fuzz/fuzz_http -max_total_time=$(FUZZ_SECONDS) build/fuzz/http

drill: all ## runaway scripts under load (KILLS=N), the breaker, swaps, errors, tails, spread, torture
	$(Q)ALACRITY=$(CURDIR)/$(BINARY) /usr/bin/python3 tests/drills/kills.py
	$(Q)ALACRITY=$(CURDIR)/$(BINARY) /usr/bin/python3 tests/drills/breaker.py
	$(Q)ALACRITY=$(CURDIR)/$(BINARY) /usr/bin/python3 tests/drills/versions.py
	$(Q)ALACRITY=$(CURDIR)/$(BINARY) /usr/bin/python3 tests/drills/tails.py
	$(Q)ALACRITY=$(CURDIR)/$(BINARY) /usr/bin/python3 tests/drills/spread.py
	$(Q)ALACRITY=$(CURDIR)/$(BINARY) /usr/bin/python3 tests/drills/torture.py

drill-big: all ## ten thousand backends, a thousand pools, a thousand listeners
	$(Q)ALACRITY=$(CURDIR)/$(BINARY) /usr/bin/python3 tests/drills/big.py

bench: $(BINARY) ## beside HAProxy and nginx (those that are installed), a few minutes
	$(Q)ALACRITY=$(CURDIR)/$(BINARY) /usr/bin/python3 tests/bench/run.py --json build/bench.json \
	  --markdown build/bench.md --chart build/bench.svg

# What one pick, the watchdog and a shared dictionary cost, without a network.
MICRO_BENCHES := $(patsubst %,$(BUILD)/bench/%,pick guard shared)

$(MICRO_BENCHES): $(BUILD)/bench/%: tests/bench/%.c $(OBJECTS)
	@echo "  LD    $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(OBJECTS) $(LIBS)

bench-pick: $(MICRO_BENCHES) ## ns per pick by policy and pool size, of the watchdog, of shared
	$(Q)$(BUILD)/bench/pick $(PICK)
	$(Q)$(BUILD)/bench/guard
	$(Q)$(BUILD)/bench/shared

# ---- the rest ----

demo: all ## starts the demo: three backends, a balancer, the stats page
	$(Q)build/alacrity demo

lint: ## layers, lua.h outside lua/, formatting
	$(Q)tests/lint

format: ## clang-format on all C files
	$(Q)clang-format -i $$(git ls-files '*.c' '*.h')

PREFIX ?= /usr/local
TYPES  := $(wildcard lua/types/*.lua lua/types/*/*.lua)
install: all ## binary, manual page and types for editors under PREFIX (DESTDIR honoured)
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/sbin/alacrity
	install -D -m 644 docs/alacrity.8 $(DESTDIR)$(PREFIX)/share/man/man8/alacrity.8
	for f in $(TYPES:lua/types/%=%); do \
	  install -D -m 644 lua/types/$$f $(DESTDIR)$(PREFIX)/share/alacrity/types/$$f || exit 1; done

reference: ## writes docs/reference.md anew, from lua/types
	$(Q)/usr/bin/python3 docs/reference.py > docs/reference.md.tmp
	$(Q)mv docs/reference.md.tmp docs/reference.md

clean: ## removes build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 12

.PHONY: drill drill-big bench-pick all tests-built check asan tsan unit fuzz bench demo lint format install reference clean help
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
