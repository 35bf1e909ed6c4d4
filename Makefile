# facemill: see README.md. `make help` lists the targets.
#
# Switches   BUILD=dir  ARCH=native|x86-64-v3|...  SAN=1 (address and undefined-behaviour sanitizers)  WERROR=1
#            ONEDNN=0 (40 MB less, a slower CPU) BUNDLE=1 (what make bundle builds with)
#            PREFIX=/usr/local  DESTDIR=  MODELS=folder with dlib's model files  PHOTOS=folder for `make demo`
VERSION := 0.1.0
PREFIX ?= /usr/local
ARCH ?= native
BUILD ?= build$(if $(SAN),/san)
MODELS ?=
PHOTOS ?= examples/photos
DEMO ?= build/demo

# ---- packages: `make deps` installs them ----
PACKAGES := gcc g++ make pkg-config ca-certificates python3-pip libdlib-dev libdlib-data libdnnl-dev libopenblas-pthread-dev \
	liblapacke-dev libarchive-dev liblmdb-dev libturbojpeg0-dev libpng-dev libwebp-dev libcjson-dev nettle-dev
TEST_PACKAGES := libcmocka-dev bats time python3-numpy python3-pil python3-lmdb python3-scipy mandoc

# ---- compiling ----
comma := ,
CC = gcc
CXX = g++
PC := libturbojpeg libpng zlib libwebp libwebpdemux lmdb libarchive libcjson nettle
# -fno-math-errno lets sqrtf be one vector instruction; nothing here reads errno after it.
OPT = -O2 -g -march=$(ARCH) -fno-math-errno
SANITIZE := $(if $(SAN),-fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
WARN := -Wall -Wextra -Wshadow -Wno-missing-field-initializers $(if $(WERROR),-Werror)
CPPFLAGS = -I. -D_GNU_SOURCE -DFACEMILL_VERSION='"$(VERSION)"' $(if $(filter 0,$(ONEDNN)),-DFACEMILL_NO_ONEDNN) \
	$(shell pkg-config --cflags $(PC))
CFLAGS = -std=gnu11 $(OPT) $(WARN) -Wstrict-prototypes $(SANITIZE) -fopenmp
CXXFLAGS = -std=gnu++17 $(OPT) $(if $(SAN),-O1,-O3) -Wall $(if $(WERROR),-Werror) $(SANITIZE) -fopenmp
LDFLAGS = $(SANITIZE) -fopenmp -Wl,--as-needed
DNNL := $(if $(filter 0,$(ONEDNN)),,-ldnnl)
LDLIBS = $(shell pkg-config --libs $(PC)) -ldlib $(DNNL) -llapacke -lopenblas -lstdc++ -lm -lpthread -ldl
# In a bundle programs find their libraries beside themselves, wherever it lies. Two come as archives, of which a program takes a few
# objects (the shared libarchive wants libxml2 and with it 30 MB of Unicode tables), and OpenBLAS is linked to what the programs call.
ifdef BUNDLE
LDFLAGS += -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib' $(XML_CALLS:%=-Wl,--defsym=%=0)
# of libarchive's writer of xar archives, which comes along and which nothing here calls
XML_CALLS := xmlBufferCreate xmlBufferFree xmlFreeTextWriter xmlNewTextWriterMemory xmlTextWriterEndDocument xmlTextWriterEndElement \
	xmlTextWriterSetIndent xmlTextWriterStartDocument xmlTextWriterStartElement xmlTextWriterWriteAttribute xmlTextWriterWriteBase64 UTF8Toisolat1 \
	xmlTextWriterWriteFormatAttribute xmlTextWriterWriteString
LDLIBS = $(shell pkg-config --libs $(filter-out libarchive,$(PC))) -l:libdlib.a -l:libarchive.a $(DNNL) $(BUILD)/lib/libopenblas.so.0 \
	-ljpeg -lpng -lnettle -l:libacl.so.1 -l:liblzma.so.5 -l:libzstd.so.1 -l:liblz4.so.1 -l:libbz2.so.1.0 -lz -lstdc++ -lm -lpthread -ldl
BLAS := $(BUILD)/lib/libopenblas.so.0
endif

# ---- CUDA: a plugin, built whenever nvcc and cuDNN are there (NVCC= to leave it out); opened at run time ----
NVCC ?= $(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc))
CUDA_ARCH ?= 80 90 100
GENCODE = $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(a)$(comma)code=sm_$(a)) \
	-gencode arch=compute_$(lastword $(CUDA_ARCH))$(comma)code=compute_$(lastword $(CUDA_ARCH))
# a quarter of the size, where nvcc can
COMPRESS = $(if $(findstring --compress-mode,$(shell $(NVCC) --help)),-compress-mode=size)
CUDNN := $(wildcard $(if $(NVCC),$(dir $(NVCC))../include/cudnn.h /usr/include/cudnn.h /usr/include/*/cudnn.h))
PLUGIN := $(if $(CUDNN),$(BUILD)/lib/facemill-cuda.so)

# ---- what there is: one program a file in stages/, everything else in one library ----
PROGRAMS := $(patsubst stages/%.c,%,$(wildcard stages/*.c))
LIB_O := $(patsubst %,$(BUILD)/obj/%.o,$(wildcard common/face/*.cpp common/*/*.c kernels/*.c)) # C++ first: it takes longest
LIB := $(BUILD)/libfacemill.a
UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
BUNDLE_TESTS := test_device test_trainer test_grad test_fused test_generator check-reference
BENCH := $(patsubst tests/bench/%.c,%,$(wildcard tests/bench/*.c))

all: programs $(if $(SAN),,$(PLUGIN))
programs: $(PROGRAMS:%=$(BUILD)/bin/%)

$(BUILD)/obj/%.c.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/obj/%.cpp.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<
# dlib's networks are templates a thousand deep: with the undefined-behaviour checks this one file takes ten minutes and 10 GB.
$(BUILD)/obj/common/face/dlib_nets.cpp.o: SANITIZE := $(if $(SAN),-fsanitize=address -fno-omit-frame-pointer)
$(LIB): $(LIB_O)
	@rm -f $@
	$(AR) rcs $@ $^

# What is called of BLAS and LAPACK, by our library and by dlib, in one shared library: half of OpenBLAS, a twentieth of Fortran's own
# (the shared one is 3 MB), and no others beside it.
BLAS_FROM = $(foreach a,liblapacke.a libopenblas.a,$(shell $(CC) -print-file-name=$(a)))
$(BUILD)/lib/libopenblas.so.0: $(LIB)
	@mkdir -p $(@D)
	nm -g --defined-only $(BLAS_FROM) 2>/dev/null | awk 'NF == 3 { print $$3 }' | sort -u >$@.offered
	nm -u $(LIB) $(shell $(CC) -print-file-name=libdlib.a) 2>/dev/null | awk '$$1 == "U" { print $$2 }' | sort -u | comm -12 - $@.offered >$@.calls
	{ echo '{ global:'; sed 's/$$/;/' $@.calls; echo 'local: *; };'; } >$@.map
	$(CC) -shared -o $@ -Wl,-soname,libopenblas.so.0 $$(sed 's/^/-Wl,-u,/' $@.calls) -Wl,--version-script=$@.map -Wl,--gc-sections \
		$(BLAS_FROM) -l:libgfortran.a -l:libquadmath.a -lpthread -lm

LINK = @mkdir -p $(@D) && $(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(LDLIBS)
$(BUILD)/bin/%: $(BUILD)/obj/stages/%.c.o $(LIB) | $(BLAS)
	$(LINK)
$(BUILD)/tests/test_%: $(BUILD)/obj/tests/unit/test_%.c.o $(LIB) | $(BLAS)
	$(LINK) -lcmocka
$(BUILD)/tests/check-reference: $(patsubst %,$(BUILD)/obj/%.o,$(wildcard tests/check*.c)) $(LIB) | $(BLAS)
	$(LINK)
$(BUILD)/tests/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.c.o $(BUILD)/obj/tests/fuzz/main.c.o $(LIB)
	$(LINK)
$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.c.o $(LIB) | $(BLAS)
	$(LINK)

# The plugin carries its own copy of the plain C files it needs, so that it exports nothing but its table.
# fused_gen plans what everyday use runs and writes a kernel for each pattern; files that would not change keep their time.
FUSED_CU := $(patsubst %,$(BUILD)/gen/fused_%.cu,0 1 2 3 4 5 6 7)
$(BUILD)/gen/fused_gen: $(BUILD)/obj/kernels/gen/fused_gen.c.o $(LIB)
	$(LINK)
$(BUILD)/gen/stamp: $(BUILD)/gen/fused_gen
	$< $(@D) && touch $@
$(FUSED_CU): $(BUILD)/gen/stamp ;
# what the objects are compiled for; they are compiled again when it changes
CUDA_CODE := $(foreach a,$(CUDA_ARCH),sm_$(a)) PTX:compute_$(lastword $(CUDA_ARCH))
$(BUILD)/cuda/code: FORCE
	@mkdir -p $(@D) && echo '$(CUDA_CODE)' | cmp -s - $@ || echo '$(CUDA_CODE)' >$@
$(BUILD)/cuda/kernels/backend_cuda.cu.o: CUDA_CODE_FLAG = -DFACEMILL_CUDA_CODE='"$(CUDA_CODE)"'
CUDA_O := $(patsubst %,$(BUILD)/cuda/%.o,$(wildcard kernels/*.cu) $(FUSED_CU) common/base/status.c common/base/dtype.c kernels/choices.c)
kernels/%.h kernels/%.cuh: ; # a header that is gone makes what included it old, no more (nvcc writes no such rules)
$(BUILD)/cuda/%.cu.o: %.cu $(BUILD)/cuda/code
	@mkdir -p $(@D)
	$(NVCC) -std=c++17 -O3 -I. -D_GNU_SOURCE $(CUDA_CODE_FLAG) $(GENCODE) $(COMPRESS) $(if $(WERROR),-Werror all-warnings) -Xcompiler -fPIC,-fvisibility=hidden \
		-MD -MF $(@:.o=.d) -c -o $@ $<
$(BUILD)/cuda/%.c.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(filter-out -march=%,$(CFLAGS)) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<
$(BUILD)/lib/facemill-cuda.so: $(CUDA_O)
	@mkdir -p $(@D)
	$(NVCC) -shared $(GENCODE) -Xlinker -z,defs -o $@ $^ -lcudnn -lcublasLt
cuda: $(PLUGIN)

test-programs: all $(UNIT:%=$(BUILD)/tests/%) $(FUZZ:%=$(BUILD)/tests/%) $(BUILD)/tests/check-reference

# ---- set-up ----
deps: ; @pipelines/install-deps.sh $(PACKAGES)
test-deps: ; @pipelines/install-deps.sh $(PACKAGES) $(TEST_PACKAGES)
models: ; @MODELS='$(MODELS)' pipelines/fetch-models.sh models

# ---- the two commands of the README: each does all of its own set-up ----
# (sub-makes, because pkg-config has nothing to say before the packages are there)
SUB = @$(MAKE) --no-print-directory
JOBS ?= $(shell nproc)
demo:
	$(SUB) deps
	$(SUB) models
	$(SUB) -j$(JOBS) programs
	@PATH="$(CURDIR)/$(BUILD)/bin:$$PATH" pipelines/demo.sh '$(PHOTOS)' '$(DEMO)'
test:
	$(SUB) test-deps
	$(SUB) models
	$(SUB) -j$(JOBS) test-programs
	$(SUB) -j$(JOBS) test-programs SAN=1
	@BUILD=build SAN_BUILD=build/san tests/run.sh

# On a GPU: operations, reference numbers, programs, compute-sanitizer; PARTS='reference-*' chooses by name.
test-cuda: all $(BUNDLE_TESTS:%=$(BUILD)/tests/%)
	@BUILD='$(BUILD)' tests/cuda.sh $(if $(PARTS),'$(PARTS)')

# ---- speed ----
bench-programs: all $(BENCH:%=$(BUILD)/bench/%)
bench:
	$(SUB) test-deps
	$(SUB) models
	$(SUB) -j$(JOBS) bench-programs
	@PATH="$(CURDIR)/$(BUILD)/bin:$(CURDIR)/$(BUILD)/bench:$$PATH" tests/bench/bench.sh '$(PHOTOS)'
# Training and generation on a GPU; rows by name with BENCH_ROWS='train-1024-stylegan2 ...'
BENCH_CUDA := bench_cuda bench_inception bench_launches
bench-cuda: $(BUILD)/lib/facemill-cuda.so $(BUILD)/bench/bench_cuda $(BUILD)/bench/bench_inception \
		$(BUILD)/bin/sg2-gen $(BUILD)/bin/sg2-train $(BUILD)/bin/pack-lmdb $(BUILD)/bin/fid-score
	@$(BUILD)/bench/bench_cuda --json $(BUILD)/bench-cuda.json $(BENCH_ROWS)
	@$(BUILD)/bench/bench_inception --device cuda
	@echo 'as JSON: $(BUILD)/bench-cuda.json'

# ---- everything for a machine with a GPU and another distribution, in one folder that can lie anywhere ----
bundle-programs: $(PROGRAMS:%=$(BUILD)/bin/%) $(BUNDLE_TESTS:%=$(BUILD)/tests/%) $(BENCH_CUDA:%=$(BUILD)/bench/%)
bundle: $(PLUGIN)
	$(SUB) -j$(JOBS) BUILD=build/bundle-build ARCH=x86-64-v3 ONEDNN=0 BUNDLE=1 NVCC= bundle-programs
	@pipelines/bundle.sh build/bundle-build '$(PLUGIN)' build/bundle

# ---- installing ----
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/facemill/pipelines
	install $(PROGRAMS:%=$(BUILD)/bin/%) $(DESTDIR)$(PREFIX)/bin
	if [ -f '$(PLUGIN)' ]; then install -d $(DESTDIR)$(PREFIX)/lib && install $(PLUGIN) $(DESTDIR)$(PREFIX)/lib; fi
	install -m 644 $(PROGRAMS:%=stages/%.1) $(DESTDIR)$(PREFIX)/share/man/man1
	install pipelines/*.sh $(DESTDIR)$(PREFIX)/share/facemill/pipelines
	install -m 644 pipelines/models.sha256 pipelines/experiment.mk $(DESTDIR)$(PREFIX)/share/facemill/pipelines
	if ls models/*.dat >/dev/null 2>&1; then install -d $(DESTDIR)$(PREFIX)/share/facemill/models && \
		install -m 644 models/*.dat $(DESTDIR)$(PREFIX)/share/facemill/models; fi
uninstall:
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%) $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/share/man/man1/%.1)
	rm -f $(DESTDIR)$(PREFIX)/lib/facemill-cuda.so
	rm -rf $(DESTDIR)$(PREFIX)/share/facemill

clean: ; rm -rf build

help:
	@echo 'make            build the programs into build/bin'
	@echo 'make cuda       the CUDA plugin, build/lib/facemill-cuda.so (part of make where nvcc is)'
	@echo 'make demo       photographs to faces, all set-up included; PHOTOS=folder for your own'
	@echo 'make test       every test, all set-up included'
	@echo 'make test-cuda  what a GPU computes, against the CPU, the reference and itself'
	@echo 'make bench      measured speed of every stage'
	@echo 'make bench-cuda measured speed of training and generation on a GPU'
	@echo 'make bundle     programs, plugin and libraries in build/bundle and build/bundle.tar.xz, for a GPU machine of any distribution'
	@echo 'make deps       install the Debian packages (as root or with sudo)'
	@echo 'make models     fetch the face models into models/ (MODELS=folder: take them from there)'
	@echo 'make install    PREFIX=/usr/local DESTDIR=; make uninstall with the same takes it away'
	@echo 'make clean      remove build/'
	@echo 'switches        SAN=1 sanitizers, WERROR=1, ARCH=native|x86-64-v3, BUILD=folder'

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
-include $(wildcard $(BUILD)/cuda/*/*.d $(BUILD)/cuda/*/*/*.d)
FORCE:
.PHONY: FORCE all programs cuda test-programs test-cuda bench-programs deps test-deps models demo test bench bench-cuda bundle bundle-programs install uninstall clean help
.SECONDARY:
