# facemill: see README.md. `make help` lists the targets.
#
# Switches: BUILD=dir  ARCH=native|x86-64-v3|...  SAN=1 (address + undefined behaviour sanitizers)  WERROR=1  DEBUG=1
VERSION := 0.1.0
PREFIX ?= /usr/local
ARCH ?= native
BUILD ?= build$(if $(SAN),/san)

CC ?= gcc
CXX ?= g++
PKGS := libturbojpeg libpng libwebp lmdb libarchive libcjson nettle
CPPFLAGS += -I. -D_GNU_SOURCE -DFACEMILL_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS))
OPT := -O2 -g -march=$(ARCH) $(if $(DEBUG),-O0)
WARN := -Wall -Wextra -Wshadow -Wno-missing-field-initializers $(if $(WERROR),-Werror)
SANFLAGS := $(if $(SAN),-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
CFLAGS += -std=gnu11 $(OPT) $(WARN) -Wstrict-prototypes $(SANFLAGS) -fopenmp
CXXFLAGS += -std=gnu++17 -O3 -g -march=$(ARCH) -Wall $(if $(WERROR),-Werror) $(SANFLAGS) -fopenmp
LDFLAGS += $(SANFLAGS) -fopenmp -Wl,--as-needed
LDLIBS += $(shell pkg-config --libs $(PKGS)) -ldlib -ldnnl -llapacke -lopenblas -lstdc++ -lm -lpthread -ldl

# ---- what there is ----
PROGRAMS := $(basename $(notdir $(wildcard stages/*.c)))
LIB_C := $(wildcard common/*/*.c) $(wildcard kernels/*.c)
LIB_CXX := $(wildcard common/face/*.cpp)
LIB_O := $(LIB_C:%.c=$(BUILD)/obj/%.o) $(LIB_CXX:%.cpp=$(BUILD)/obj/%.o)
LIB := $(BUILD)/libfacemill.a

all: $(PROGRAMS:%=$(BUILD)/bin/%)

$(LIB): $(LIB_O)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/bin/%: $(BUILD)/obj/stages/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

# ---- tests: unit programs (one tests/unit/test_NAME.c each), check-reference ----
UNIT := $(basename $(notdir $(wildcard tests/unit/test_*.c)))
$(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS) -lcmocka

CHECK_O := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/check*.c))
$(BUILD)/tests/check-reference: $(CHECK_O) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(CHECK_O) $(LIB) $(LDLIBS)

unit: $(UNIT:%=$(BUILD)/tests/%)

clean:
	rm -rf build

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.PHONY: all unit clean
.SECONDARY:
