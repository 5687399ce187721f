# Prints what the Makefile links for atomics with $(CXX): make -f test/versions/atomics.mk CXX=... Needs no server.
CXXFLAGS = -O2
include src/atomics.mk
print:
	@echo $(atomics_library)
