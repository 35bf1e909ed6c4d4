/* test_cli.c - the command line as programs see it. Whatever ends the process (misuse, --help) runs in a child whose exit
 * status and output are looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/cli/cli.h"

static struct {
    long size, other;
    double share;
    bool flip, border, no_cache;
    const char *out;
    int faces;
} o;

static const struct cli_option options[] = {
    {'s', "size", "N", CLI_INT, &o.size, 8, 4096, "side in pixels"},
    {0, "share", "X", CLI_FLOAT, &o.share, 0, 1, "share of the frame"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "More"},
    {'f', "flip", NULL, CLI_FLAG, &o.flip, 0, 0, "flip"},
    {'b', "border", NULL, CLI_FLAG, &o.border, 0, 0, "draw a border"},
    {0, "no-cache", NULL, CLI_FLAG, &o.no_cache, 0, 0, "compute again"},
    {0, "other", "N", CLI_INT, &o.other, 0, 9, "unset until given"},
    {'o', "out", "FILE", CLI_STRING, &o.out, 0, 0, "where to"},
    {0, "faces", "largest|all|first", CLI_CHOICE, &o.faces, 0, 0, "which faces"},
    {0}};
static const struct cli_program program = {
    .name = "tool", .synopsis = "[options] FILE...", .purpose = "Does it.", .options = options, .examples = "tool a\ntool b | tool c\n"};

static int argc;
static char *argv[16];

/* Splits at blanks and parses; returns what cli_start returned. */
static int parse(const char *line) {
    static char copy[512];
    o.size = 256, o.share = 0.5, o.flip = false, o.border = true, o.no_cache = false, o.out = NULL, o.faces = 1, o.other = LONG_MIN;
    cli_quiet = cli_verbose = false;
    snprintf(copy, sizeof copy, "%s", line);
    argc = 0;
    argv[argc++] = "tool";
    for (char *p = strtok(copy, " "); p; p = strtok(NULL, " "))
        argv[argc++] = p;
    argv[argc] = NULL;
    return cli_start(&program, argc, argv);
}

/* Runs f in a child; returns its exit status (or 128 + signal) with stdout and stderr in out. */
static int child(void (*f)(const void *), const void *argument, char *out, size_t room) {
    int p[2];
    assert_int_equal(pipe(p), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        dup2(p[1], 1);
        dup2(p[1], 2);
        close(p[0]);
        f(argument);
        fflush(NULL);
        _exit(99);
    }
    close(p[1]);
    size_t n = 0;
    ssize_t got;
    while ((got = read(p[0], out + n, room - 1 - n)) > 0)
        n += (size_t)got;
    out[n] = '\0';
    close(p[0]);
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void parse_line(const void *line) {
    signal(SIGABRT, SIG_DFL);
    parse(line);
}

static void misuse(const char *line, const char *text) {
    char out[4096];
    int status = child(parse_line, line, out, sizeof out);
    if (status != EXIT_USAGE || strncmp(out, "tool: ", 6) || !strstr(out, text) || !strstr(out, "\nusage: tool [options] FILE..."))
        fail_msg("%s: status %d, output %s", line, status, out);
}

static void good_lines(void **state) {
    (void)state;
    assert_int_equal(parse(""), 1);
    assert_int_equal(o.size, 256);
    assert_false(cli_given("size"));
    assert_int_equal(parse("a --size 64 b --share=0.25 -f - --no-border -o x --faces first -- --size"), 11);
    assert_int_equal(o.size, 64);
    assert_true(o.share == 0.25 && o.flip && !o.border && !o.no_cache);
    assert_string_equal(o.out, "x");
    assert_int_equal(o.faces, 2);
    assert_true(cli_given("size") && cli_given("border") && !cli_given("no-cache"));
    assert_string_equal(argv[argc - 4], "a");
    assert_string_equal(argv[argc - 3], "b");
    assert_string_equal(argv[argc - 2], "-");
    assert_string_equal(argv[argc - 1], "--size"); /* behind "--" */
    parse("-fs32 -qv --no-cache -o -1 --faces=all");
    assert_true(o.flip && o.size == 32 && cli_quiet && cli_verbose && o.no_cache);
    assert_string_equal(o.out, "-1");
    parse("--share 1e-3 -bs 8");
    assert_true(o.share == 1e-3 && o.size == 8);
}

static void bad_lines(void **state) {
    (void)state;
    misuse("--size", "--size needs a value (N)");
    misuse("-s", "-s needs a value");
    misuse("--size 7", "from 8 to 4096, not \"7\"");
    misuse("--size 4097", "from 8 to 4096");
    misuse("--size 12x", "not \"12x\"");
    misuse("--size=", "not \"\"");
    misuse("--share 1.5", "from 0 to 1");
    misuse("--share nan", "not \"nan\"");
    misuse("--share 0x1", "not \"0x1\"");
    misuse("--sice 3", "no option --sice (did you mean --size?)");
    misuse("--zzzzzz", "no option --zzzzzz");
    misuse("-fz", "no option -z (in \"-fz\")");
    misuse("--flip=yes", "--flip takes no value");
    misuse("--help=3", "--help takes no value");
    misuse("--verbose=1", "--verbose takes no value");
    misuse("--no-size 3", "no option --no-size");
    misuse("--no-no-cache", "no option --no-no-cache");
    misuse("--cache", "no option --cache");
    misuse("--faces some", "one of largest|all|first, not \"some\"");
    misuse("--faces larg", "one of");
}

static void texts(void **state) {
    (void)state;
    char out[8192];
    assert_int_equal(child(parse_line, "--help", out, sizeof out), EXIT_OK);
    static const char *const parts[] = {"Usage: tool [options] FILE...\nDoes it.\n", "-s, --size N", "side in pixels [256]",
                                        "share of the frame [0.5]", "\nMore:\n", "--faces largest|all|first", "[all]",
                                        "--no-border", "unset until given\n", "  tool b | tool c\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(out, parts[i]))
            fail_msg("--help lacks \"%s\":\n%s", parts[i], out);
    assert_int_equal(child(parse_line, "-V", out, sizeof out), EXIT_OK);
    assert_non_null(strstr(out, "facemill " FACEMILL_VERSION " (tool)\nlibraries:"));
    assert_non_null(strstr(out, "\nCPU: "));
}

static void settings(void **state) {
    (void)state;
    parse("--share 0.1 --size 9");
    char *json = cli_settings_json();
    assert_string_equal(json, "{\"size\":9,\"share\":0.1,"
                              "\"flip\":false,\"border\":true,\"no-cache\":false,\"other\":null,\"out\":null,\"faces\":\"all\"}");
    free(json);
    parse("-o a\"b --other 3");
    json = cli_settings_json();
    assert_non_null(strstr(json, "\"other\":3,\"out\":\"a\\\"b\""));
    free(json);
}

static void numbers(void **state) {
    (void)state;
    long v;
    double d;
    assert_true(cli_parse_int("-5", -5, 5, &v) && v == -5);
    assert_true(cli_parse_int("9223372036854775807", 0, INT64_MAX, &v) && v == INT64_MAX);
    static const char *const bad_ints[] = {"", " 1", "1 ", "+", "0x10", "1.0", "9223372036854775808", "6", "-6", "1e1"};
    for (size_t i = 0; i < sizeof bad_ints / sizeof *bad_ints; i++)
        assert_false(cli_parse_int(bad_ints[i], -5, 5, &v));
    assert_true(cli_parse_float(".5", 0, 1, &d) && d == 0.5);
    static const char *const bad_floats[] = {"", ".", "-", " 1", "1 ", "inf", "nan", "1e400", "0x1p3", "1,5", "2"};
    for (size_t i = 0; i < sizeof bad_floats / sizeof *bad_floats; i++)
        assert_false(cli_parse_float(bad_floats[i], 0, 1, &d));
}

static void floats(void **state) {
    (void)state;
    double *v;
    int n;
    assert_true(cli_parse_floats("-1,0,2.5", -3, 3, &v, &n, 3));
    assert_true(n == 3 && v[0] == -1 && v[1] == 0 && v[2] == 2.5);
    free(v);
    static const char *const bad[] = {"", ",", "1,", ",1", "1,,2", "4", "1,2,3,0", "1 ", "a", "1;2",
                                      "0.0000000000000000000000000000000000000000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(cli_parse_floats(bad[i], -3, 3, &v, &n, 3));
}

static void ranges(void **state) {
    (void)state;
    uint64_t *v;
    size_t n;
    assert_true(cli_parse_ranges("0-3,85,85,100-101", &v, &n, 8));
    static const uint64_t want[] = {0, 1, 2, 3, 85, 85, 100, 101};
    assert_int_equal(n, 8);
    assert_memory_equal(v, want, sizeof want);
    free(v);
    assert_true(cli_parse_ranges("18446744073709551614-18446744073709551615", &v, &n, 2));
    assert_true(n == 2 && v[1] == UINT64_MAX);
    free(v);
    static const char *const bad[] = {"", ",", "1,", ",1", "3-1", "1-", "-1", "a", "1 2", "1--2", "0-8", "18446744073709551616",
                                      "0-18446744073709551615", "1-2-3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(cli_parse_ranges(bad[i], &v, &n, 8));
}

static void print_all(const void *unused) {
    (void)unused;
    parse("-q");
    cli_info("not seen");
    cli_debug("not seen");
    cli_warn("a\nb\033[31m%s", "c");
    cli_die("the end");
}

static void messages(void **state) {
    (void)state;
    char out[1024];
    assert_int_equal(child(print_all, NULL, out, sizeof out), EXIT_FAILED);
    assert_string_equal(out, "tool: a?b?[31mc\ntool: the end\n");
}

static void print_to_full(const void *unused) {
    (void)unused;
    parse("");
    freopen("/dev/full", "w", stdout);
    printf("data");
    _exit(cli_finish(EXIT_OK));
}

static void count_rejects(const void *path) {
    struct cli_rejects r;
    parse("");
    cli_rejects_open(&r, path);
    r.in = 10, r.out = 8;
    cli_reject(&r, "a.jpg", "no \"face\"");
    cli_reject(&r, "b.jpg", "bad");
    struct cli_rejects again = r;
    again.file = NULL;
    cli_quiet = true;
    if (cli_rejects_close(&again, 2) != EXIT_OK || cli_rejects_close(&again, 0.2) != EXIT_OK ||
        cli_rejects_close(&again, 1) != EXIT_REJECTED || cli_rejects_close(&again, 0.19) != EXIT_REJECTED)
        _exit(98);
    again.in = 100, again.rejected = 29; /* a share that is no double */
    if (cli_rejects_close(&again, 0.29) != EXIT_OK || cli_rejects_close(&again, 0.28) != EXIT_REJECTED)
        _exit(97);
    again.expected = 28;
    if (cli_rejects_close(&again, 1) != EXIT_OK || cli_rejects_close(&again, 0) != EXIT_REJECTED || cli_rejects_close(&again, 0.01) != EXIT_OK)
        _exit(96);
    again = (struct cli_rejects){.rejected = 1}; /* a folder that could not be read */
    if (cli_rejects_close(&again, 0.5) != EXIT_REJECTED)
        _exit(95);
    cli_quiet = false;
    _exit(cli_rejects_close(&r, 0));
}

static void endings(void **state) {
    (void)state;
    char out[1024], path[] = "/tmp/test_cli-XXXXXX", line[256];
    assert_int_equal(child(print_to_full, NULL, out, sizeof out), EXIT_FAILED);
    assert_non_null(strstr(out, "tool: write to stdout: No space left"));
    close(mkstemp(path));
    assert_int_equal(child(count_rejects, path, out, sizeof out), EXIT_REJECTED);
    assert_string_equal(out, "tool: a.jpg: no \"face\"\ntool: b.jpg: bad\ntool: in 10, out 8, rejected 2\n");
    FILE *f = fopen(path, "r");
    assert_non_null(fgets(line, sizeof line, f));
    assert_string_equal(line, "{\"source\":\"a.jpg\",\"reason\":\"no \\\"face\\\"\"}\n");
    fclose(f);
    unlink(path);
    assert_int_equal(child(count_rejects, "/proc/none/x", out, sizeof out), EXIT_FAILED);
    assert_non_null(strstr(out, "No such file"));
}

static void wait_for_stop(const void *unused) {
    (void)unused;
    cli_catch_stop();
    raise(SIGUSR1);
    if (!cli_snapshot || cli_stop)
        _exit(1);
    raise(SIGTERM);
    if (cli_stop != 1)
        _exit(2);
    raise(SIGTERM);
}

static void signals(void **state) {
    (void)state;
    char out[64];
    assert_int_equal(child(wait_for_stop, NULL, out, sizeof out), 128 + SIGTERM);
}

static void touch(const char *dir, const char *name) {
    char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    free(path);
}

static void collect(char **operands, int n, bool nul, const char *dir, char *out) {
    static const char *const suffixes[] = {".jpg", ".png", NULL};
    struct cli_paths *p = cli_paths_open(operands, n, suffixes, nul);
    const char *path;
    out[0] = '\0';
    while ((path = cli_paths_next(p))) {
        strcat(out, strncmp(path, dir, strlen(dir)) ? path : path + strlen(dir));
        strcat(out, " ");
    }
    assert_int_equal(cli_paths_close(p), 0);
}

static void paths(void **state) {
    (void)state;
    char dir[] = "/tmp/test_cli-XXXXXX", out[1024], command[256];
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof command,
             "cd %s && mkdir -p b/c a && ln -s .. b/c/loop && ln -s ../a/1.jpg b/link.jpg && mkfifo a/pipe.jpg", dir);
    assert_int_equal(system(command), 0);
    touch(dir, "a/1.jpg"), touch(dir, "a/2.PNG"), touch(dir, "a/.hidden.jpg"), touch(dir, "a/note.txt");
    touch(dir, "b/c/3.jpg"), touch(dir, "z.jpg"), touch(dir, "A.jpg"), touch(dir, ".jpg");
    char *folder[] = {dir};
    collect(folder, 1, false, dir, out);
    assert_string_equal(out, "/A.jpg /a/1.jpg /a/2.PNG /b/c/3.jpg /b/link.jpg /z.jpg ");
    char *slash = xasprintf("%s/b/c/", dir), *note = xasprintf("%s/a/note.txt", dir);
    char *several[] = {slash, note, "missing.jpg", "-"};
    FILE *list = tmpfile();
    fprintf(list, "%s/a/1.jpg\n\nlisted name\n%s/b/c\nlast", dir, dir);
    rewind(list);
    dup2(fileno(list), 0);
    collect(several, 4, false, dir, out);
    assert_string_equal(out, "/b/c/3.jpg /b/c/loop/link.jpg /a/note.txt missing.jpg "
                             "/a/1.jpg listed name /b/c/3.jpg /b/c/loop/link.jpg last ");
    fclose(list);
    clearerr(stdin);
    list = tmpfile();
    fwrite("x\ny\0z", 1, 5, list);
    rewind(list);
    dup2(fileno(list), 0);
    collect(NULL, 0, true, dir, out);
    assert_string_equal(out, "x\ny z ");
    fclose(list);
    free(slash);
    free(note);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void utf8(void **state) {
    (void)state;
    static const char *const good[] = {"", "a", "\xc3\xa9", "\xe4\xb8\x96", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\xe9", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80\x80", "\x80", "\xe4\xb8"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(utf8_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(utf8_valid(bad[i], strlen(bad[i])));
        char *clean = utf8_clean(bad[i]);
        assert_true(utf8_valid(clean, strlen(clean)));
        free(clean);
    }
    char *clean = utf8_clean("caf\xe9.jpg");
    assert_string_equal(clean, "caf\xef\xbf\xbd.jpg");
    free(clean);
}

static void progress(void **state) {
    (void)state;
    struct cli_progress p;
    cli_progress_start(&p, "pictures", 10);
    cli_progress_add(&p, 4);
    cli_progress_add(&p, 6);
    assert_int_equal(p.done, 10);
    cli_progress_end(&p);
    assert_true(cli_processors() >= 1);
    double t = cli_seconds();
    assert_true(cli_seconds() >= t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_lines), cmocka_unit_test(bad_lines), cmocka_unit_test(texts),   cmocka_unit_test(settings),
        cmocka_unit_test(numbers),    cmocka_unit_test(floats), cmocka_unit_test(ranges),    cmocka_unit_test(messages), cmocka_unit_test(endings),
        cmocka_unit_test(signals),    cmocka_unit_test(paths),     cmocka_unit_test(progress),
        cmocka_unit_test(utf8)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
