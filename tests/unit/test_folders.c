/* test_folders.c - folders with their parents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/folders.h"
#include "common/base/mem.h"

static char folder[] = "/tmp/test_folders-XXXXXX";

static bool is_folder(const char *path) {
    struct stat s;
    return !stat(path, &s) && S_ISDIR(s.st_mode);
}

static void makes(void **state) {
    (void)state;
    struct error e;
    char *absolute = xasprintf("%s/x/y", folder);
    assert_int_equal(folders_make("a", &e), ST_OK);
    assert_int_equal(folders_make("a/b/c", &e), ST_OK);
    assert_int_equal(folders_make("a/b/c", &e), ST_OK); /* there already */
    assert_int_equal(folders_make("a//d/", &e), ST_OK);
    assert_int_equal(folders_make(absolute, &e), ST_OK);
    assert_true(is_folder("a/b/c") && is_folder("a/d") && is_folder("x/y"));
    assert_int_equal(folders_make_above("p/q/file", &e), ST_OK);
    assert_true(is_folder("p/q") && access("p/q/file", F_OK) == -1);
    assert_int_equal(folders_make_above("file", &e), ST_OK);
    assert_int_equal(folders_make_above("/file", &e), ST_OK);
    assert_int_equal(access("file", F_OK), -1);
    free(absolute);
}

static void fails(void **state) {
    (void)state;
    struct error e;
    FILE *f = fopen("plain", "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(folders_make("plain/a/b", &e), ST_FAIL);
    assert_string_equal(e.text, "make folder plain/a: Not a directory");
    assert_int_equal(folders_make_above("plain/a/b", &e), ST_FAIL);
    assert_int_equal(folders_make("", &e), ST_FAIL);
    assert_int_equal(folders_make("plain/a", NULL), ST_FAIL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(makes), cmocka_unit_test(fails)};
    if (!mkdtemp(folder) || chdir(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char *remove = xasprintf("rm -rf %s", folder);
    failed += system(remove) != 0;
    free(remove);
    return failed;
}
