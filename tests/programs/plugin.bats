# The CUDA plugin as seen from a machine without a GPU: found or not, of the right version or not, its libraries in Python's packages.
load lib

setup() {
    need sg2-gen
    mkdir -p "$BATS_TEST_TMPDIR" && cd "$BATS_TEST_TMPDIR"
    unset FACEMILL_PLUGIN FACEMILL_CUDA_LIBS VIRTUAL_ENV CONDA_PREFIX
    echo 'int facemill_test_library(void) { return 0; }' >library.c
    # a table whose first number is no version of ours
    echo 'int facemill_test_library(void); int facemill_backend[200] = {-1}; int use(void) { return facemill_test_library(); }' >plugin.c
    gcc -shared -fPIC -Wl,-soname,libfacemilltest.so.9 -o libfacemilltest.so.9 library.c
    gcc -shared -fPIC -o plugin.so plugin.c -L. -l:libfacemilltest.so.9
    export FACEMILL_PLUGIN=$PWD/plugin.so
}

says() { # PATTERN: in the CUDA line of --version
    sg2-gen --version >version.txt
    grep -E "^CUDA: .*$1" version.txt || { cat version.txt; return 1; }
}

@test "no plugin: one line says how to get one, and auto is the CPU" {
    export FACEMILL_PLUGIN=$PWD/nothing.so
    says 'none \(there is no plugin .*/nothing.so'
    fails_with 1 'there is no plugin .*nothing.so .*--device cpu' sg2-gen --device cuda --network "$ROOT/examples/faces-128.safetensors" --seeds 0 --out x.png
}

@test "a library that is nowhere is named, and where was looked" {
    says 'libfacemilltest.so.9 is not there; looked where the loader does, .*FACEMILL_CUDA_LIBS.*Python'
}

@test "libraries are found in a folder given, in a virtual environment, beside the python3 of PATH" {
    mkdir -p given venv/lib/python3.11/site-packages/nvidia/cudnn/lib venv/bin
    mv libfacemilltest.so.9 given
    FACEMILL_CUDA_LIBS=$PWD/given says 'interface version -1'
    mv given/* venv/lib/python3.11/site-packages/nvidia/cudnn/lib
    VIRTUAL_ENV=$PWD/venv says 'interface version -1'
    CONDA_PREFIX=$PWD/venv says 'interface version -1'
    printf '#!/bin/sh\n' >venv/bin/python3 && chmod +x venv/bin/python3
    PATH=$PWD/venv/bin:$PATH says 'interface version -1'
    HOME=$PWD/nowhere says 'libfacemilltest.so.9 is not there'
}

@test "a file that is no plugin" {
    echo junk >junk.so
    FACEMILL_PLUGIN=$PWD/junk.so says 'none \(.*junk.so'
    gcc -shared -fPIC -o other.so library.c
    FACEMILL_PLUGIN=$PWD/other.so says 'other.so is not a facemill plugin'
}
