# Builds and installs the extension with PGXS; every developer command is a target here too.
#   make [PG_CONFIG=/path/to/pg_config] && sudo make install [PG_CONFIG=...]
#   make install-relocated RELOCATED=/extensions/pgleak
# A build directory elsewhere works too: make -f /path/to/pgleak/Makefile
#   make check | format | layering | tidy | fuzz | monitoring | clients | storm | bench | screenshots | doccheck | newcomer | reference
#   make versions | arch | assert | sanitize | tsan | valgrind | mutants | package | container | dist | bump VERSION=1.1
# See CONTRIBUTING.md.

developer_targets = check format layering tidy fuzz monitoring clients storm bench screenshots doccheck newcomer reference \
  versions arch assert sanitize tsan upgrade valgrind mutants package container dist bump
.PHONY: $(developer_targets)

ifneq ($(filter $(developer_targets),$(MAKECMDGOALS)),)
# Without PGXS, whose own "check" only reports that it cannot run.

check:
	test/run

format:
	clang-format -i $$(git ls-files 'src/*.[ch]pp' 'test/unit/*.[ch]pp' 'test/fuzz/*.[ch]pp')

layering:
	test/layering

tidy:
	test/tidy

# A minute for each fuzzer; needs clang.
fuzz:
	test/fuzz/run 60

monitoring:
	test/monitoring/run

# Drivers, every pool, and the storms.
clients:
	test/clients/run

storm:
	test/clients/run storm 60
	test/clients/run holders 60

bench:
	test/bench/run

# The pictures of the README; $(PICTURES) gets them in every size and colour, for review.
PICTURES ?= /tmp/pgleak-pictures
screenshots:
	test/report/run pictures $(PICTURES)
	mkdir -p doc/pictures
	cp $(PICTURES)/report.png $(PICTURES)/pools.png $(PICTURES)/top.png doc/pictures/

# Needs root: every supported server, each in a throw-away root of its own.
versions:
	test/versions/run

# Needs root: unit tests for arm64 and s390x under an emulator, the SQL tests on i386.
arch:
	test/versions/arch

# Needs root: a server built with assertions.
assert:
	PG_CONFIG=$$(test/versions/build-server assert) test/run

# Unit tests that have threads.
tsan:
	test/versions/tsan

# Needs root: unit tests and fuzzers, then the SQL and TAP tests in a server, all built with the address and undefined
# behaviour sanitizers.
sanitize:
	test/versions/sanitize

# Needs root: pg_upgrade with prepared transactions, from 18 to 19.
upgrade:
	test/versions/upgrade

# Needs root: TAP tests on a server under valgrind.
valgrind:
	test/versions/valgrind

# Shows that every promise of doc/faults.md has a test that can fail.
mutants:
	test/mutants/run

# Needs root: builds the Debian and RPM packages in one throw-away root and uses the former in another. $(PACKAGES) gets them.
package:
	PACKAGES=$(PACKAGES) test/package/run

# Needs root: builds the container images and uses them, in a throw-away root.
container:
	test/container/run

# The archive for PGXN, of the last commit, without what .gitattributes leaves out; make assembles the extension script there
# as here.
dist: name = pgleak-$(shell sed -n 's/^  "version": "\(.*\)",/\1/p' META.json)
dist: ARCHIVE = $(name).zip
dist:
	git archive --format=zip --prefix=$(name)/ -o $(ARCHIVE) HEAD

# Runs every command block of README.md and doc/, except those that change the machine,
doccheck:
	test/docs/run

# which this runs in bare roots, as a newcomer would. Needs root.
newcomer:
	test/docs/newcomer

# Generates doc/reference.md from a running server.
reference:
	test/docs/run reference=doc/reference.md

# Sets the next version in every place that names one.
bump:
	test/package/bump $(VERSION)

else

all: # before the targets of PGXS

# Where the source is: ./, or elsewhere for `make -f DIRECTORY/Makefile` in a build directory.
SOURCE := $(dir $(lastword $(MAKEFILE_LIST)))
sources = $(patsubst $(SOURCE)%,%,$(sort $(wildcard $(addprefix $(SOURCE),$(1)))))
ifeq ($(call sources,src/pgleak.cpp),)
$(error no source in $(SOURCE))
endif
# Objects there would be taken for those of the build directory, and not be made.
ifneq ($(abspath $(SOURCE)),$(CURDIR))
ifneq ($(call sources,pgleak.so src/*.o src/*/*.o),)
$(error $(SOURCE) contains the objects of another build: run `make clean` there first)
endif
endif

MODULE_big = pgleak
OBJS = $(patsubst %.cpp,%.o,$(call sources,src/*.cpp src/*/*.cpp))

EXTENSION = pgleak
EXTENSION_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(SOURCE)pgleak.control)
# The extension script, assembled from these parts. Later parts use the objects of earlier ones.
SCRIPT = sql/pgleak--$(EXTENSION_VERSION).sql
SCRIPT_PARTS = $(addprefix sql/parts/, schema.sql leaks.sql waits.sql horizon.sql history.sql transactions.sql rules.sql offenders.sql pools.sql idle.sql stats.sql \
  report.sql metrics.sql)
DATA_built = $(SCRIPT)
# Upgrade scripts, written by hand.
DATA = $(call sources,sql/pgleak--*--*.sql)
PGFILEDESC = "pgleak - finds session leaks from inside the server"

# Both need a server that preloads pgleak, with test/regress.conf; test/run starts one.
REGRESS = extension settings privileges detection waits prepared horizon history trail tags offenders report idle metrics rules
REGRESS_OPTS = --use-existing
ISOLATION = episode blocking recorder
ISOLATION_OPTS = --use-existing --inputdir=test/isolation
override ISOLATION_TESTDB = contrib_regression

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
INCLUDEDIR_SERVER := $(shell $(PG_CONFIG) --includedir-server)

# The server's headers as system headers, because their warnings are not ours to fix.
PG_CPPFLAGS = -I$(SOURCE)src -isystem $(INCLUDEDIR_SERVER)
# PGLEAK_INJECTION=1, after a `make clean`: adds the points at which a test can stop the scanner. Not for production.
ifneq ($(PGLEAK_INJECTION),)
PG_CPPFLAGS += -DPGLEAK_INJECTION
endif
# Enables the assertions of core/ if the server has its own.
ifneq ($(shell grep -s 'define USE_ASSERT_CHECKING 1' $(INCLUDEDIR_SERVER)/pg_config.h),)
PG_CPPFLAGS += -DPGLEAK_ASSERTIONS
endif
# No exceptions: an uncaught one would end every session of the server.
PG_CXXFLAGS = -std=c++17 -fno-exceptions -fno-rtti -fno-plt -fno-semantic-interposition -Wall -Wextra -Wshadow -Wno-register -MMD -MP
# Bitcode of a preloaded C++ module gains nothing and needs clang.
override with_llvm = no
# PGXS links with the C compiler, which does not know the C++ runtime.
override COMPILER = $(CXX) $(CXXFLAGS)

include $(SOURCE)src/atomics.mk
SHLIB_LINK = $(atomics_library)

# Says which server the objects here are built for.
STAMP = .built-for
EXTRA_CLEAN = $(OBJS:.o=.d) $(SCRIPT).new $(STAMP)

ifeq ($(wildcard $(PGXS)),)
$(error $(PG_CONFIG) knows no PGXS: install the server's headers, or set PG_CONFIG to the path of a pg_config)
endif
include $(PGXS)

# A copy of a server elsewhere is the same server; one of the same version that was configured otherwise is not.
configuration := $(firstword $(shell cksum <$(INCLUDEDIR_SERVER)/pg_config.h))
built_for = PostgreSQL $(VERSION), configuration $(configuration)$(if $(PGLEAK_INJECTION), with injection points)
ifneq ($(wildcard $(STAMP)),)
ifeq ($(filter clean distclean maintainer-clean,$(MAKECMDGOALS)),)
ifneq ($(strip $(file <$(STAMP))),$(built_for))
$(error the objects here are built for $(strip $(file <$(STAMP))), not for $(built_for): run `make clean` first)
endif
endif
endif
$(OBJS): | $(STAMP)
$(STAMP):
	@echo '$(built_for)' >$@

# Only pgleak's files, as an extension image has them: for extension_control_path and dynamic_library_path of 18 and later.
.PHONY: install-relocated
install-relocated: all
	$(if $(RELOCATED),,$(error install-relocated needs RELOCATED=/directory))
	$(MKDIR_P) '$(RELOCATED)/lib' '$(RELOCATED)/share/extension'
	$(INSTALL_SHLIB) pgleak$(DLSUFFIX) '$(RELOCATED)/lib/'
	$(INSTALL_DATA) $(SOURCE)pgleak.control $(SCRIPT) $(addprefix $(SOURCE),$(DATA)) '$(RELOCATED)/share/extension/'

# Says what is missing before any test runs.
.PHONY: check_server
installcheck: check_server
check_server:
	$(if $(filter $(CURDIR),$(abspath $(SOURCE))),,$(error the tests read files of the source: run `make installcheck` in $(SOURCE)))
	@PSQL='$(bindir)/psql' $(SOURCE)test/regress/check-server $(SOURCE)test/regress.conf

# A build directory elsewhere has no directories yet.
.PHONY: object_directories
$(OBJS): | object_directories
object_directories:
	@mkdir -p $(sort $(dir $(OBJS)))

$(SCRIPT): $(SCRIPT_PARTS) pgleak.control Makefile
	mkdir -p $(@D)
	{ echo '-- pgleak $(EXTENSION_VERSION): assembled by make from sql/parts'; \
	  for part in $(filter %.sql,$^); do echo && cat "$$part" || exit 1; done; } >$@.new
	mv $@.new $@

# The assembler embeds the style sheet: -MMD does not list it, and with link-time optimization it would be looked for at
# the link, where no -I says where it is.
src/functions/report.o: src/functions/report.css
src/functions/report.o: override CXXFLAGS += -fno-lto

-include $(OBJS:.o=.d)

endif
