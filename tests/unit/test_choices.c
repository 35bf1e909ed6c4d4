/* test_choices.c - remembered algorithms (kernels/choices.h): what was remembered is known after the next start, nothing else is, and
 * a file that somebody damaged, that an older program left or that cannot be written costs only its own lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/choices.h"

static char home[64];
#define FILE_NAME "cudnn-91400-Some_GPU__80-2.txt"

static const char *path(const char *name)
{
    static char p[256];
    snprintf(p, sizeof p, "%s/facemill/%s", home, name);
    return p;
}
static struct choices *start(void) { return choices_open(91400, "Some GPU/ 80"); }

static int fresh(void **state)
{
    (void)state;
    strcpy(home, "/tmp/test_choices.XXXXXX");
    assert_non_null(mkdtemp(home));
    return setenv("XDG_CACHE_HOME", home, 1);
}
static int clean(void **state)
{
    char command[192];
    (void)state;
    snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", home, home);
    return system(command);
}

static void put(struct choices *m, const char *key, int method, int algo, int math, const char *plan)
{
    struct choice c = {method, algo, math, ""};
    strcpy(c.plan, plan);
    choices_remember(m, key, &c);
}
static void known(const struct choices *m, const char *key, int method, int algo, int math, const char *plan)
{
    struct choice c;
    if (!choices_recall(m, key, &c))
        fail_msg("%s is not known", key);
    assert_int_equal(c.method, method);
    assert_int_equal(c.algo, algo);
    assert_int_equal(c.math, math);
    assert_string_equal(c.plan, plan);
}
static void unknown(const struct choices *m, const char *key)
{
    struct choice c;
    assert_false(choices_recall(m, key, &c));
}

static void test_kept(void **state)
{
    (void)state;
    char key[CHOICE_KEY], plan[CHOICE_PLAN];
    memset(key, 'k', sizeof key);
    key[sizeof key - 1] = 0;
    memset(plan, 'e', sizeof plan);
    plan[sizeof plan - 1] = 0;
    struct choices *m = start();
    unknown(m, "a 1x2");
    for (int i = 0; i < 200; i++) { /* more than fit at first */
        char k[32];
        snprintf(k, sizeof k, "many %d", i);
        put(m, k, 0, i, 0, "");
    }
    put(m, "a 1x2", 1, 5, 3, "");
    put(m, "a 1x2", 2, 6, 1, "e62,2=0,13=1"); /* again: the newest counts */
    put(m, key, 0, 1000, 0, plan);
    for (int again = 0; again < 2; again++) {
        known(m, "a 1x2", 2, 6, 1, "e62,2=0,13=1");
        known(m, key, 0, 1000, 0, plan);
        known(m, "many 0", 0, 0, 0, "");
        known(m, "many 199", 0, 199, 0, "");
        unknown(m, "a 1x");
        unknown(m, "many 200");
        choices_close(m);
        m = start();
    }
    choices_close(m);
    assert_int_equal(access(path(FILE_NAME), R_OK), 0);
    m = choices_open(91900, "Some GPU/ 80"); /* another version, another device: nothing is known */
    unknown(m, "a 1x2");
    choices_close(m);
    m = choices_open(91400, "Some GPU/ 81");
    unknown(m, "a 1x2");
    choices_close(m);
}

static void test_damaged(void **state)
{
    (void)state;
    struct choices *m = start();
    put(m, "first", 0, 1, 2, "e1,2=3");
    put(m, "last", 2, 1, 0, "");
    choices_close(m);
    char whole[4096] = {0};
    FILE *f = fopen(path(FILE_NAME), "r");
    size_t n = fread(whole, 1, sizeof whole - 1, f);
    fclose(f);
    for (size_t cut = 0; cut <= n; cut++) { /* cut off anywhere */
        f = fopen(path(FILE_NAME), "w");
        fwrite(whole, 1, cut, f);
        fclose(f);
        m = start();
        struct choice c;
        bool first = choices_recall(m, "first", &c), last = choices_recall(m, "last", &c);
        assert_int_equal(last, cut == n);
        if (first)
            known(m, "first", 0, 1, 2, "e1,2=3");
        choices_close(m);
    }
    f = fopen(path(FILE_NAME), "w");
    fputs("no mark at all\n = 1 2 3 -\nolder = 1 0 4096 -\nnegative = 0 -1 0 -\nhuge = 0 99999999999999 0 -\nlarge = 0 1001 0 -\n"
          "words = a b c d\nshort = 1 2\nmore = 0 1 0 - -\n\n\xff\xfe = 0 1 0 -\n", f);
    for (int i = 0; i < 100000; i++)
        fputc('x', f);
    fputs(" = 0 1 0 -\ntail = 0 1 0 ", f);
    for (int i = 0; i < 300; i++)
        fputc('7', f);
    fputs("\nafter = 0 7 0 -\n", f);
    fclose(f);
    m = start();
    const char *none[] = {"no mark at all", "", "negative", "huge", "large", "words", "short", "more", "tail", "x"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        unknown(m, none[i]);
    known(m, "after", 0, 7, 0, "");
    put(m, "new", 0, 1, 0, "");
    choices_close(m);
    m = start();
    known(m, "after", 0, 7, 0, "");
    known(m, "new", 0, 1, 0, "");
    choices_close(m);
}

static void test_older_program(void **state)
{
    (void)state;
    mkdir(home, 0777);
    char folder[128];
    snprintf(folder, sizeof folder, "%s/facemill", home);
    mkdir(folder, 0777);
    FILE *f = fopen(path("cudnn-91400-Some_GPU__80.txt"), "w"); /* its lines mean other things */
    fputs("conv2d BF16 1x1 = 1 1 4096 -\n", f);
    fclose(f);
    struct choices *m = start();
    unknown(m, "conv2d BF16 1x1");
    put(m, "conv2d BF16 1x1", 0, 2, 0, "");
    choices_close(m);
    char line[128] = "";
    f = fopen(path("cudnn-91400-Some_GPU__80.txt"), "r");
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    assert_string_equal(line, "conv2d BF16 1x1 = 1 1 4096 -\n");
}

static void test_nowhere(void **state)
{
    (void)state;
    setenv("XDG_CACHE_HOME", "/dev/null/cache", 1);
    struct choices *m = start();
    put(m, "a", 0, 1, 0, "");
    known(m, "a", 0, 1, 0, "");
    choices_close(m);
    unsetenv("XDG_CACHE_HOME");
    char *own = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    unsetenv("HOME");
    m = start();
    unknown(m, "a");
    put(m, "a", 0, 1, 0, "");
    known(m, "a", 0, 1, 0, "");
    choices_close(m);
    choices_close(NULL);
    if (own)
        setenv("HOME", own, 1);
    free(own);
}

static void test_plans(void **state)
{
    (void)state;
    const char *plans[8];
    struct choices *m = start();
    put(m, "conv2d BF16 a", 0, 1, 0, "e1");
    put(m, "conv2d BF16 b", 0, 1, 0, "");
    put(m, "conv2d BF16 c", 0, 1, 0, "e2,1=2");
    put(m, "conv2d BF16 d", 0, 1, 0, "e1");
    put(m, "conv2d F16 d", 0, 1, 0, "e7");
    put(m, "conv2d BF16 e", 0, 1, 0, "e3");
    assert_int_equal(choices_plans(m, "conv2d BF16 ", 8, plans), 3);
    assert_string_equal(plans[0], "e3");
    assert_string_equal(plans[1], "e1");
    assert_string_equal(plans[2], "e2,1=2");
    assert_int_equal(choices_plans(m, "conv2d BF16 ", 2, plans), 2);
    assert_int_equal(choices_plans(m, "matmul", 8, plans), 0);
    choices_close(m);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, fresh, clean)
    const struct CMUnitTest tests[] = {CASE(test_kept), CASE(test_damaged), CASE(test_older_program), CASE(test_nowhere), CASE(test_plans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
