/* test_torch_pickle.c - files of torch.save in both layouts, NVIDIA's plain pickles, and pickles that want something else. A hang ends in
 * SIGALRM. tests/programs/networks.bats has whole networks and more tricks. */
#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/store/torch_pickle.h"

/* ---- writing pickles, opcode by opcode ---- */

static void put(struct bytes *b, const char *text) {
    bytes_append(b, text, strlen(text));
}

#define RAW(b, literal) bytes_append((b), (literal), sizeof(literal) - 1) /* bytes with NULs */

static void put_le(struct bytes *b, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++, v >>= 8)
        bytes_append(b, &(uint8_t){(uint8_t)v}, 1);
}

static void put_text(struct bytes *b, const char *text) {
    put(b, "X");
    put_le(b, strlen(text), 4);
    put(b, text);
}

static void put_int(struct bytes *b, int32_t v) {
    put(b, "J");
    put_le(b, (uint32_t)v, 4);
}

/* _rebuild_tensor_v2(storage KEY of `count` TYPE, offset, (dim0, dim1), (stride0, stride1), False, OrderedDict()) */
static void put_tensor(struct bytes *b, bool legacy, const char *type, const char *key, int count, int offset, const int dim[2],
                       const int stride[2]) {
    put(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(b, "storage");
    put(b, "ctorch\n");
    put(b, type);
    put(b, "\n");
    put_text(b, key);
    put_text(b, "cpu");
    put_int(b, count);
    put(b, legacy ? "NtQ" : "tQ");
    put_int(b, offset);
    put(b, "(");
    for (int i = 0; i < 2 && dim; i++)
        put_int(b, dim[i]);
    put(b, "t(");
    for (int i = 0; i < 2 && dim; i++)
        put_int(b, stride[i]);
    put(b, "t\x89" "ccollections\nOrderedDict\n)RtR");
}

/* {"net": OrderedDict(w = storage "1" as [2,3], t = the same transposed, n = an int64 scalar), "note": "x"} */
static void put_object(struct bytes *b, bool legacy) {
    RAW(b, "\x80\x02}(");
    put_text(b, "net");
    RAW(b, "ccollections\nOrderedDict\nq\0)R(");
    put_text(b, "w");
    put_tensor(b, legacy, "FloatStorage", "1", 7, 1, (int[]){2, 3}, (int[]){3, 1});
    put_text(b, "t");
    put_tensor(b, legacy, "FloatStorage", "1", 7, 1, (int[]){3, 2}, (int[]){1, 3});
    put_text(b, "n");
    put_tensor(b, legacy, "LongStorage", "2", 1, 0, NULL, NULL);
    put(b, "u}");
    put_text(b, "_metadata");
    RAW(b, "h\0)Rsb");
    put_text(b, "note");
    put_text(b, "x");
    put(b, "u.");
}

static const float storage1[7] = {-1, 1, 2, 3, 4, 5, 6};

static const char preamble[] = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

static struct bytes legacy_file(void) {
    struct bytes b = {0};
    RAW(&b, preamble);
    put_object(&b, true);
    RAW(&b, "\x80\x02](");
    put_text(&b, "1");
    put_text(&b, "2");
    put(&b, "e.");
    put_le(&b, 7, 8);
    bytes_append(&b, storage1, sizeof storage1);
    put_le(&b, 1, 8);
    put_le(&b, 1234567890123, 8);
    return b;
}

static la_ssize_t collect(struct archive *a, void *out, const void *data, size_t size) {
    (void)a;
    bytes_append(out, data, size);
    return (la_ssize_t)size;
}

static void zip_member(struct archive *a, const char *name, const void *data, size_t size) {
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)size);
    assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(a, data, size), size);
    archive_entry_free(entry);
}

static struct bytes zip_file(const struct bytes *pickle, bool store) {
    struct bytes b = {0};
    struct archive *a = archive_write_new();
    archive_write_set_format_zip(a);
    if (store)
        archive_write_zip_set_compression_store(a);
    archive_write_set_bytes_in_last_block(a, 1);
    assert_int_equal(archive_write_open(a, &b, NULL, collect, NULL), ARCHIVE_OK);
    zip_member(a, "archive/data.pkl", pickle->data, pickle->size);
    zip_member(a, "archive/data/1", storage1, sizeof storage1);
    zip_member(a, "archive/data/2", &(int64_t){1234567890123}, 8);
    archive_write_close(a);
    archive_write_free(a);
    return b;
}

/* ---- good files ---- */

static void check_good(const struct bytes *b) {
    struct torch_file *f;
    struct error e = {""};
    if (torch_parse(&f, b->data, b->size, "good.pth", &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_int_equal(torch_count(f), 3);
    const struct st_tensor *w = torch_find(f, "net.w"), *t = torch_find(f, "net.t"), *n = torch_find(f, "net.n");
    assert_true(w && t && n && !torch_find(f, "w") && !torch_find(f, "note"));
    assert_int_equal(w->ndim, 2);
    assert_int_equal(w->dim[0], 2);
    assert_int_equal(w->dim[1], 3);
    float got[6];
    st_to_f32(w, got);
    for (int i = 0; i < 6; i++)
        assert_float_equal(got[i], i + 1, 0);
    st_to_f32(t, got);
    const float transposed[6] = {1, 4, 2, 5, 3, 6};
    for (int i = 0; i < 6; i++)
        assert_float_equal(got[i], transposed[i], 0);
    assert_int_equal(n->ndim, 0);
    assert_int_equal(n->count, 1);
    int64_t value;
    memcpy(&value, n->data, 8);
    assert_int_equal(value, 1234567890123);
    assert_int_equal(torch_root(f)->type, TORCH_DICT);
    torch_close(f);
}

static void reads_legacy(void **state) {
    (void)state;
    struct bytes b = legacy_file();
    check_good(&b);
    bytes_free(&b);
}

static void reads_zip(void **state) {
    (void)state;
    struct bytes p = {0};
    put_object(&p, false);
    struct bytes b = zip_file(&p, true);
    check_good(&b);
    bytes_free(&b);
    bytes_free(&p);
}

/* The bytes of a torch.save file of one storage of 7 numbers, as a pickle has them inside (opcode BINBYTES). */
static void put_blob(struct bytes *b) {
    struct bytes blob = {0};
    RAW(&blob, preamble);
    RAW(&blob, "\x80\x02(");
    put_text(&blob, "storage");
    put(&blob, "ctorch\nFloatStorage\n");
    put_text(&blob, "94");
    put_text(&blob, "cuda:0");
    RAW(&blob, "K\x07NtQ.\x80\x02]");
    put_text(&blob, "94");
    put(&blob, "a.");
    put_le(&blob, 7, 8);
    bytes_append(&blob, storage1, sizeof storage1);
    put(b, "B");
    put_le(b, blob.size, 4);
    bytes_append(b, blob.data, blob.size);
    bytes_free(&blob);
}

/* {"G_ema": a Generator with parameter w, buffer a (a NumPy array in Fortran order), module m with gain = numpy.float64(1.5)} */
static struct bytes plain_file(void) {
    struct bytes b = {0};
    RAW(&b, "\x80\x04}");
    put_text(&b, "G_ema");
    put(&b, "ctorch_utils.persistence\n_reconstruct_persistent_obj\n(}(");
    put_text(&b, "module_src");
    put_text(&b, "import os; os.system('true')");
    put_text(&b, "class_name");
    put_text(&b, "Generator");
    put_text(&b, "state");
    put(&b, "}(");
    put_text(&b, "_parameters");
    put(&b, "ccollections\nOrderedDict\n)R");
    put_text(&b, "w");
    put(&b, "ctorch._utils\n_rebuild_parameter\n(ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n");
    put_blob(&b);
    RAW(&b, "\x85RK\x01K\x02K\x03\x86K\x03K\x01\x86\x89" "ccollections\nOrderedDict\n)RtR\x88" "ccollections\nOrderedDict\n)RtRs");
    put_text(&b, "_buffers");
    put(&b, "}(");
    put_text(&b, "none");
    put(&b, "N");
    put_text(&b, "a");
    RAW(&b, "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85" "C\x01" "btR(K\x01K\x02K\x03\x86" "cnumpy\ndtype\n(");
    put_text(&b, "f4");
    put(&b, "\x89\x88tR(K\x03");
    put_text(&b, "<");
    put(&b, "NNNtb\x88" "C\x18");
    bytes_append(&b, (float[]){1, 4, 2, 5, 3, 6}, 24);
    put(&b, "tbu");
    put_text(&b, "_modules");
    put(&b, "}");
    put_text(&b, "m");
    put(&b, "ctorch_utils.persistence\n_reconstruct_persistent_obj\n}(");
    put_text(&b, "class_name");
    put_text(&b, "Layer");
    put_text(&b, "state");
    put(&b, "}(");
    put_text(&b, "gain");
    put(&b, "cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\n");
    put_text(&b, "f8");
    put(&b, "\x89\x88\x87R" "C\x08");
    bytes_append(&b, &(double){1.5}, 8);
    put(&b, "\x86R");
    put_text(&b, "kwargs");
    put(&b, "cdnnlib.util\nEasyDict\n)\x81");
    put_text(&b, "set");
    put(&b, "\x8f(K\x01K\x02\x90s");
    put(&b, "uu\x85Rs");
    put(&b, "uutRs.");
    return b;
}

static void reads_plain(void **state) {
    (void)state;
    struct bytes b = plain_file();
    struct torch_file *f;
    struct error e = {""};
    assert_true(torch_detect(b.data, b.size));
    if (torch_parse(&f, b.data, b.size, "good.pkl", &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_int_equal(torch_count(f), 2);
    const struct st_tensor *w = torch_find(f, "G_ema.w"), *a = torch_find(f, "G_ema.a");
    float got[6];
    assert_true(w && a && w->ndim == 2 && w->dim[1] == 3 && a->dim[0] == 2 && a->dim[1] == 3);
    st_to_f32(w, got);
    for (int i = 0; i < 6; i++)
        assert_float_equal(got[i], i + 1, 0);
    st_to_f32(a, got); /* 1 4 2 5 3 6 by columns */
    for (int i = 0; i < 6; i++)
        assert_float_equal(got[i], i + 1, 0);
    const struct torch_value *g = torch_module(torch_root(f), "G_ema"), *m = torch_module(torch_root(f), "G_ema.m");
    assert_true(g && m && torch_module(g, "m") == m && torch_module(g, "") == g);
    assert_null(torch_module(g, "w"));
    assert_null(torch_module(g, "absent.m"));
    assert_string_equal(g->text, "Generator");
    assert_float_equal(torch_item(m, "gain")->number, 1.5, 0);
    const struct torch_value *set = torch_item(torch_item(m, "kwargs"), "set");
    assert_true(set && set->type == TORCH_LIST && set->n == 2);
    torch_close(f);
    for (size_t n = 0; n < b.size; n++) { /* every truncation is refused */
        uint8_t *exact = xmalloc(n + 1);
        memcpy(exact, b.data, n);
        exact = xrealloc(exact, n ? n : 1);
        assert_int_equal(torch_parse(&f, exact, n, "cut", &e), ST_BAD);
        free(exact);
    }
    /* a safetensors file may begin with the bytes of PROTO 3: a header of 0x380 bytes */
    assert_false(torch_detect("\x80\x03\0\0\0\0\0\0{\"a\":{\"", 16));
    bytes_free(&b);
}

/* ---- bad files: every one must be refused, with a word about why ---- */

static void refused(const struct bytes *b, const char *word) {
    struct torch_file *f = (void *)1;
    struct error e = {""};
    assert_int_equal(torch_parse(&f, b->data, b->size, "bad.pth", &e), ST_BAD);
    assert_null(f);
    if (!strstr(e.text, word) || !strstr(e.text, "bad.pth"))
        fail_msg("\"%s\" does not mention \"%s\"", e.text, word);
}

/* The object pickle of a legacy file is `pickle`. */
static void pickle_refused(const char *pickle, size_t size, const char *word) {
    struct bytes b = {0};
    RAW(&b, preamble);
    bytes_append(&b, pickle, size);
    RAW(&b, "\x80\x02].");
    refused(&b, word);
    bytes_free(&b);
}
#define REFUSED(literal, word) pickle_refused(literal, sizeof(literal) - 1, word)

static void refuses_code(void **state) {
    (void)state;
    REFUSED("\x80\x02" "cos\nsystem\nX\x04\0\0\0true\x85R.", "os.system");
    REFUSED("cposix\nsystem\n(S'id'\ntR.", "posix.system");
    REFUSED("\x80\x04\x8c\x08" "builtins\x8c\x04" "eval\x93\x8c\x03" "1+1\x85R.", "builtins.eval");
    REFUSED("\x80\x02" "c__builtin__\ngetattr\n.", "__builtin__.getattr");
    REFUSED("\x80\x02" "ctorch\nload\n.", "torch.load");
    REFUSED("\x80\x03" "ctorch.storage\n_load_from_bytes\nC\x04junk\x85R.", "not a file of torch.save");
    REFUSED("\x80\x03" "ctorch.storage\n_load_from_bytes\nK\x01\x85R.", "of one storage");
    REFUSED("\x80\x02" "c_codecs\nencode\nX\1\0\0\0xX\5\0\0\0rot13\x86R.", "latin1");
    REFUSED("\x80\x02" "cnumpy\nndarray\n)R.", "numpy.ndarray");
    REFUSED("\x80\x03" "cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\2\0\0\0f8\x85RC\1x\x86R.", "another size");
    REFUSED("(S'id'\nios\nsystem\n.", "INST");
    REFUSED("(o.", "OBJ");
    REFUSED("\x82\x01.", "EXT");
    REFUSED("Pkey\n.", "PERSID");
    REFUSED("\x80\x04)})\x92.", "NEWOBJ_EX");
    REFUSED("\x80\x02" "ctorch\nFloatStorage\n)R.", "torch.FloatStorage");
    REFUSED("\x80\x02X\x01\0\0\0x)R.", "no constructor");
    REFUSED("\x80\x02]}b.", "dictionary");                         /* attributes of a list */
    REFUSED("\x80\x02" "ccollections\nOrderedDict\n.", "no data"); /* a name as the result */
    REFUSED("\x80\x02(X\x06\0\0\0module" "cos\nsystem\ntQ.", "os.system");
    REFUSED("\x80\x02(X\x06\0\0\0moduleNNNNtQ.", "refused");
}

static void refuses_nonsense(void **state) {
    (void)state;
    for (int op = 0; op < 256; op++) { /* every opcode on an empty stack: nothing useful comes of it */
        struct bytes b = {0};
        struct torch_file *f = NULL;
        RAW(&b, preamble);
        bytes_append(&b, &(uint8_t){(uint8_t)op}, 1);
        RAW(&b, "\0\0\0\0\n\n.");
        torch_parse(&f, b.data, b.size, "one", NULL);
        torch_close(f);
        bytes_free(&b);
    }
    REFUSED("0.", "empty");
    REFUSED("(1.", "empty");
    REFUSED("t.", "no mark");
    REFUSED("Na.", "empty");
    REFUSED("h\x05.", "never set");
    REFUSED("j\xff\xff\xff\xff.", "never set");
    REFUSED("Nr\xff\xff\xff\x7f.", "memo index");
    REFUSED("}(Nu.", "without a value");
    REFUSED("\x8d\0\0\0\0\0\0\0\x10x.", "ends early"); /* BINUNICODE8 of 2^60 bytes */
    REFUSED("\x8e\xff\xff\xff\xff\xff\xff\xff\xffx.", "ends early");
    REFUSED("\x8b\xff\xff\xff\xff.", "ends early"); /* LONG4 */
    REFUSED("X\xff\xff\xff\xffx.", "ends early");
    REFUSED("Iabc\n.", "no number");
    REFUSED("\x80\x09N.", "protocol 9");
}

static void refuses_bombs(void **state) {
    (void)state;
    struct bytes b = {0};
    RAW(&b, preamble); /* 64 levels of lists that hold the level below 16 times: 2^256 leaves when walked */
    RAW(&b, "\x80\x02Nq\0");
    for (int level = 0; level < 64; level++) {
        put(&b, "](");
        for (int i = 0; i < 16; i++) {
            put(&b, "h");
            put_le(&b, (uint64_t)level, 1);
        }
        put(&b, "eq");
        put_le(&b, (uint64_t)level + 1, 1);
    }
    RAW(&b, ".\x80\x02].");
    refused(&b, "nested too deeply or share too much");
    b.size = 0;

    RAW(&b, preamble); /* a dictionary that contains itself */
    RAW(&b, "\x80\x02}q\0X\1\0\0\0ah\0s.\x80\x02].");
    refused(&b, "nested too deeply");
    b.size = 0;

    RAW(&b, preamble); /* more marks than the stack takes */
    for (int i = 0; i < 3 << 20; i++)
        bytes_append(&b, "(", 1);
    refused(&b, "than");
    b.size = 0;

    RAW(&b, preamble); /* one list grown with what is on the stack again and again */
    put(&b, "](");
    for (int i = 0; i < 200000; i++)
        bytes_append(&b, "N2222222", 8);
    put(&b, "e.");
    refused(&b, "");
    bytes_free(&b);
}

static void tensor_refused(int count, int offset, const int dim[2], const int stride[2], const char *word) {
    struct bytes b = {0};
    RAW(&b, preamble);
    RAW(&b, "\x80\x02}");
    put_text(&b, "w");
    put_tensor(&b, true, "FloatStorage", "1", count, offset, dim, stride);
    put(&b, "s.");
    RAW(&b, "\x80\x02](");
    put_text(&b, "1");
    put(&b, "e.");
    put_le(&b, 7, 8);
    bytes_append(&b, storage1, sizeof storage1);
    refused(&b, word);
    bytes_free(&b);
}

static void refuses_lying_tensors(void **state) {
    (void)state;
    tensor_refused(7, 2, (int[]){2, 3}, (int[]){3, 1}, "outside its storage");
    tensor_refused(7, 0, (int[]){2, 3}, (int[]){7, 1}, "outside its storage");
    tensor_refused(7, -1, (int[]){2, 3}, (int[]){3, 1}, "outside its storage");
    tensor_refused(7, 0, (int[]){-2, 3}, (int[]){3, 1}, "outside its storage");
    tensor_refused(7, 6, (int[]){2, 3}, (int[]){-1, -1}, "outside its storage");
    tensor_refused(7, 0, (int[]){0x7fffffff, 0x7fffffff}, (int[]){0, 0}, "outside its storage"); /* one number, 2^62 times */
    tensor_refused(7, 0, (int[]){0x7fffffff, 0x7fffffff}, (int[]){0x7fffffff, 0x7fffffff}, "outside its storage");
    tensor_refused(6, 0, (int[]){2, 3}, (int[]){3, 1}, "claims 7 elements");
    tensor_refused(1 << 30, 0, (int[]){2, 3}, (int[]){3, 1}, "larger than the file");

    struct bytes b = legacy_file(); /* the data's own element count is 2^60 */
    uint64_t huge = (uint64_t)1 << 60;
    memcpy(b.data + b.size - 8 - 8, &huge, 8);
    refused(&b, "claims");
    bytes_free(&b);
}

static void refuses_every_truncation(void **state) {
    (void)state;
    struct bytes b = legacy_file();
    for (size_t n = 0; n < b.size; n++) {
        struct torch_file *f = NULL;
        struct error e;
        uint8_t *exact = xmalloc(n + 1); /* so that a sanitizer sees the end */
        memcpy(exact, b.data, n);
        exact = xrealloc(exact, n ? n : 1);
        assert_int_equal(torch_parse(&f, exact, n, "cut", &e), ST_BAD);
        free(exact);
    }
    bytes_free(&b);
    struct bytes p = {0};
    put_object(&p, false);
    b = zip_file(&p, true);
    for (size_t n = 0; n < b.size; n++) {
        struct torch_file *f = NULL;
        torch_parse(&f, b.data, n, "cut", NULL);
        torch_close(f);
    }
    bytes_free(&b);
    bytes_free(&p);
}

static void refuses_inflation(void **state) {
    (void)state;
    struct bytes p = {0};
    put_object(&p, false);
    p.size--; /* before STOP: a megabyte of padding that deflates to nothing */
    for (int i = 0; i < 1 << 19; i++)
        put(&p, "N0");
    put(&p, ".");
    struct bytes b = zip_file(&p, false);
    refused(&b, "larger than the file allows");
    bytes_free(&b);
    bytes_free(&p);
}

int main(void) {
    alarm(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_legacy),          cmocka_unit_test(reads_zip),
        cmocka_unit_test(reads_plain),
        cmocka_unit_test(refuses_code),          cmocka_unit_test(refuses_nonsense),
        cmocka_unit_test(refuses_bombs),         cmocka_unit_test(refuses_lying_tensors),
        cmocka_unit_test(refuses_every_truncation), cmocka_unit_test(refuses_inflation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
