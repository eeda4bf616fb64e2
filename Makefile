# SPDX-License-Identifier: GPL-2.0-only
# make            build everything (no root, no network, nothing installed)
# make demo       as root: install what is missing, balance real traffic, ship a version through it
# make test       as root: install what is missing, run every suite
# make unit       the suites that need no root        make lint    formatter, linters, shell
# make bench      build/bench.json and a table        make install DESTDIR= PREFIX=/usr/local

PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
BINDIR ?= $(PREFIX)/bin
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
DOCDIR ?= $(PREFIX)/share/doc/zddlb

CC = gcc
CLANG ?= clang-14
BPFTOOL ?= $(or $(shell command -v bpftool 2>/dev/null),/usr/sbin/bpftool)
PKG_CONFIG ?= pkg-config
INSTALL ?= install

B := build$(if $(SAN),-san)
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = @printf '  %-7s %s\n' $(1) $(2)

warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wpointer-arith -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wvla -Wimplicit-fallthrough \
	-Wconversion -Wdouble-promotion -Wlogical-op -Wduplicated-cond -Wduplicated-branches
WERROR ?= 1
libs := libuv libcurl libmicrohttpd sqlite3 json-c libmnl libbpf
lib_cflags = $(shell $(PKG_CONFIG) --cflags $(libs))
lib_ldlibs = $(shell $(PKG_CONFIG) --libs $(libs))
san_flags := $(if $(SAN),-fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)

CFLAGS ?= -O2 -g
all_cflags = -std=c11 -D_GNU_SOURCE $(warnings) $(if $(filter 1,$(WERROR)),-Werror) \
	-fstack-protector-strong -fPIE $(if $(SAN),,-D_FORTIFY_SOURCE=2) $(san_flags) \
	-Iinclude -isystem $(B)/bpf $(CFLAGS)
all_ldflags = -pie -Wl,-z,relro,-z,now $(san_flags) $(LDFLAGS)

core_src := $(wildcard agent/core/*.c)
io_src := $(wildcard agent/io/*.c)
agent_src := $(wildcard agent/*.c)
cli_src := $(wildcard tools/zddlb.c tools/cmd_*.c tools/cli_*.c)
unit_src := $(wildcard tests/unit/*_test.c)
dataplane_src := $(wildcard tests/dataplane/*_test.c)
dataplane_lib := $(filter-out $(dataplane_src),$(wildcard tests/dataplane/*.c))
helper_src := $(wildcard tests/netns/*.c)
bench_src := $(filter-out %.bpf.c,$(wildcard tools/bench/*.c))

obj = $(patsubst %.c,$(B)/%.o,$(1))
# maps.h and what stands behind it
maps_objs := $(call obj,$(wildcard agent/io/maps*.c) $(addprefix agent/io/,attach.c pinfs.c tcfilter.c log.c))
unit_bin := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(unit_src))
dataplane_bin := $(patsubst tests/dataplane/%.c,$(B)/tests/dataplane/%,$(dataplane_src))
helper_bin := $(patsubst tests/netns/%.c,$(B)/tests/netns/%,$(helper_src))
skel := $(B)/bpf/zddlb.skel.h
decap_skel := $(B)/bpf/decap.skel.h
bench_skel := $(patsubst tools/bench/%.bpf.c,$(B)/bpf/%.skel.h,$(wildcard tools/bench/*.bpf.c))

.PHONY: all test vmtest unit dataplane-bins demo bench lint format check-format check-layers clean install uninstall deps
.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/zddlbd $(B)/zddlb $(B)/libcore.a check-layers

$(B)/zddlbd: $(call obj,$(agent_src) $(io_src)) $(B)/libcore.a
	$(call say,LD,$@)
	$(Q)$(CC) $(all_ldflags) $^ $(lib_ldlibs) -lm -lpthread -o $@

$(B)/zddlb: $(call obj,$(cli_src)) $(B)/libcore.a
	$(call say,LD,$@)
	$(Q)$(CC) $(all_ldflags) $^ $$($(PKG_CONFIG) --libs libcurl json-c) -lm -o $@

$(B)/libcore.a: $(call obj,$(core_src))
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(all_cflags) $(if $(filter agent/core/%,$<),,$(lib_cflags)) -MMD -MP -c $< -o $@

# Skeletons are generated and do not meet our warnings: they are system headers, which -MMD leaves out.
$(call obj,agent/io/maps_open.c $(dataplane_src) $(dataplane_lib)): $(skel) $(decap_skel)
$(call obj,$(bench_src)): $(skel) $(bench_skel)

bpf_cflags := -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror -Iinclude \
	-I/usr/include/$(shell uname -m)-linux-gnu
$(B)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) include/zddlb/abi.h
	$(call say,BPF,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(bpf_cflags) -c $< -o $@
$(B)/bpf/%.bpf.o: tools/bench/%.bpf.c $(wildcard bpf/*.h) include/zddlb/abi.h
	$(call say,BPF,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(bpf_cflags) -Ibpf -c $< -o $@
$(B)/bpf/%.skel.h: $(B)/bpf/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)(echo '/* NOLINTBEGIN */' && $(BPFTOOL) gen skeleton $< name $(subst -,_,$*) && echo '/* NOLINTEND */') > $@

# agent/core is pure: no clock, socket, file, thread, log or BPF. What it may ask of libc is listed here.
pure_symbols := mem(cpy|set|cmp|move|chr)|__mem.*|str(len|cmp|ncmp|casecmp|chr|rchr|nlen|toul|toull|tol|tod|spn|cspn|dup)|__str.*_chk|__isoc.*strto.*|calloc|malloc|realloc|free|qsort|abort|v?snprintf|__v?snprintf_chk|__assert_fail|__stack_chk_fail|log|log1p|exp|expm1|sqrt|fabs|floor|ceil|pow|inet_(ntop|pton)|__ctype_b_loc|__errno_location|_GLOBAL_OFFSET_TABLE_
check-layers: $(B)/libcore.a
	@nm -u $< | awk '$$1 == "U" { print $$2 }' | sort -u > $(B)/core.imports
	@nm -g --defined-only $< | awk 'NF == 3 { print $$3 }' | sort -u > $(B)/core.exports
	@if [ -z "$(SAN)" ] && comm -23 $(B)/core.imports $(B)/core.exports | grep -Evx '$(pure_symbols)'; then \
		echo 'agent/core must stay pure: it uses the symbols above' >&2; exit 1; fi
	@if grep -lE '#include *"(\.\./)?io/' agent/core/*.[ch]; then echo 'agent/core includes io' >&2; exit 1; fi

# Unit tests: one binary a module. Those of io modules link what they test, and its libraries.
config_test_src := $(wildcard agent/io/config*.c agent/io/json*.c)
httpd_test_src := $(wildcard agent/io/httpd*.c) agent/io/log.c
log_test_src := agent/io/log.c
probe_test_src := $(wildcard agent/io/probe*.c)
store_test_src := $(wildcard agent/io/store*.c)
api_test_src := $(filter-out agent/main.c,$(agent_src)) $(io_src)
api_test_libs := $(libs)
cli_test_src := tools/cli_args.c tools/cli_field.c tools/cli_table.c
cli_test_libs := json-c
config_test_libs := json-c
httpd_test_libs := libmicrohttpd libuv
probe_test_libs := libcurl libuv
store_test_libs := sqlite3
.SECONDEXPANSION:
$(B)/tests/unit/%_test: $(B)/tests/unit/%_test.o $$(call obj,$$($$*_test_src)) $(B)/libcore.a
	$(call say,LD,$@)
	$(Q)$(CC) $(all_ldflags) $^ $$($(PKG_CONFIG) --libs cmocka $($*_test_libs)) -lm -lpthread -o $@

netlink_test_objs := $(call obj,agent/io/netlink.c agent/io/announce.c agent/io/probe.c)
$(B)/tests/dataplane/netlink_test: $(B)/tests/dataplane/netlink_test.o $(netlink_test_objs) $(B)/libcore.a
	$(call say,LD,$@)
	$(Q)$(CC) $(all_ldflags) $^ $$($(PKG_CONFIG) --libs cmocka libmnl libcurl libuv) -lm -o $@

# Those of the programs themselves need no agent.
program_tests := $(patsubst %,$(B)/tests/dataplane/%_test,select forward modes birth hostile history icmp frag track decap live)
$(program_tests): %: %.o $(call obj,tests/dataplane/frame.c tests/dataplane/world.c) $(B)/libcore.a
	$(call say,LD,$@)
	$(Q)$(CC) $(all_ldflags) $^ $$($(PKG_CONFIG) --libs cmocka libbpf) -lm -o $@

$(B)/tests/dataplane/%_test: $(B)/tests/dataplane/%_test.o $(call obj,$(dataplane_lib)) $(maps_objs) $(B)/libcore.a
	$(call say,LD,$@)
	$(Q)$(CC) $(all_ldflags) $^ $$($(PKG_CONFIG) --libs cmocka libbpf) -lm -o $@

$(B)/tests/netns/%: $(B)/tests/netns/%.o
	$(call say,LD,$@)
	$(Q)$(CC) $(all_ldflags) $^ -lpthread -o $@

$(B)/bench: $(call obj,$(bench_src)) $(maps_objs) $(B)/libcore.a
	$(call say,LD,$@)
	$(Q)$(CC) $(all_ldflags) $^ $$($(PKG_CONFIG) --libs libbpf json-c) -lm -lpthread -o $@

tests: all $(unit_bin) $(dataplane_bin) $(helper_bin)
unit: $(unit_bin) all
	$(Q)$(MAKE) --no-print-directory SAN=1 unit-bins
	$(Q)BUILD=$(B) tests/run unit
test: deps
	$(Q)$(MAKE) --no-print-directory tests
	$(Q)$(MAKE) --no-print-directory SAN=1 unit-bins
	$(Q)tests/run
unit-bins: $(unit_bin)
demo: deps
	$(Q)$(MAKE) --no-print-directory all $(helper_bin)
	$(Q)tools/demo
# The same on Debian's 6.1 and 6.12 kernels, in QEMU: make vmtest KERNELS=6.1
vmtest: deps
	$(Q)$(MAKE) --no-print-directory tests
	$(Q)vmtest/run $(KERNELS)
bench: deps
	$(Q)$(MAKE) --no-print-directory all $(helper_bin) $(B)/bench
	$(Q)tools/bench/run
deps:
	$(Q)tools/setup

c_files = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')
sh_files = $(shell git ls-files --cached --others --exclude-standard | xargs -r grep -lE '^\#!/bin/(ba)?sh|^\#!/usr/bin/env bash')
format:
	$(Q)clang-format-14 -i $(c_files)
check-format:
	$(Q)clang-format-14 --dry-run -Werror $(c_files)
lint: deps
	$(Q)$(MAKE) --no-print-directory check-format $(skel) $(bench_skel)
	$(Q)shellcheck -x $(sh_files)
	$(Q)cppcheck --std=c11 --enable=warning,portability,performance --inline-suppr --error-exitcode=1 --quiet -j2 \
		'-DLIBBPF_OPTS(t,n,...)=struct t n={__VA_ARGS__}' -Iinclude -i tools/bench/driver.bpf.c agent tools tests
	$(Q)printf '%s\n' $(core_src) $(io_src) $(agent_src) $(cli_src) | xargs -P2 -n1 sh -c \
		'clang-tidy-14 --quiet --warnings-as-errors="*" "$$@" -- -std=c11 -D_GNU_SOURCE -Iinclude -isystem $(B)/bpf 2>/dev/null' sh

install: all
	$(INSTALL) -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(SYSCONFDIR)/zddlb/conf.d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(DOCDIR)
	$(INSTALL) -m 755 $(B)/zddlbd $(DESTDIR)$(SBINDIR)/zddlbd
	$(INSTALL) -m 755 $(B)/zddlb $(DESTDIR)$(BINDIR)/zddlb
	sed 's|@SBINDIR@|$(SBINDIR)|; s|@BINDIR@|$(BINDIR)|; s|@SYSCONFDIR@|$(SYSCONFDIR)|' packaging/zddlbd.service.in > $(B)/zddlbd.service
	$(INSTALL) -m 644 $(B)/zddlbd.service $(DESTDIR)$(UNITDIR)/zddlbd.service
	$(INSTALL) -m 644 packaging/zddlb.json.example README.md docs/*.md $(DESTDIR)$(DOCDIR)
uninstall:
	rm -f $(DESTDIR)$(SBINDIR)/zddlbd $(DESTDIR)$(BINDIR)/zddlb $(DESTDIR)$(UNITDIR)/zddlbd.service
	rm -rf $(DESTDIR)$(DOCDIR)
clean:
	rm -rf build build-san

-include $(shell find $(B) -name '*.d' 2>/dev/null)
