/* test_target.c - files under a temporary name: kept, dropped, and gone when the program ends before either, in whatever way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/base/target.h"
#include "common/cli/cli.h"

static char folder[] = "/tmp/test_target.XXXXXX";

static char *at(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static char *begin(const char *name) {
    char *temporary = target_begin(at(name));
    FILE *f = fopen(temporary, "w");
    assert_non_null(f);
    fputs(name, f);
    fclose(f);
    return temporary;
}

char *held, *taken; /* target_drop_all frees nothing: what it takes is kept here, where leaks are looked for */

static bool there(const char *path) { return access(path, F_OK) == 0; }

static void kept_and_dropped(void **state) {
    (void)state;
    char *temporary = begin("a"), copy[256];
    snprintf(copy, sizeof copy, "%s", temporary);
    assert_true(there(copy) && !there(at("a")));
    assert_true(target_keep(temporary, at("a")));
    assert_true(!there(copy) && there(at("a")));

    temporary = begin("b");
    snprintf(copy, sizeof copy, "%s", temporary);
    errno = ENOSPC;
    target_drop(temporary);
    assert_int_equal(errno, ENOSPC); /* what went wrong before can still be said */
    target_drop(NULL);
    assert_true(!there(copy) && !there(at("b")));

    temporary = begin("c");
    snprintf(copy, sizeof copy, "%s", temporary);
    assert_false(target_keep(temporary, at("nowhere/c")));
    assert_int_equal(errno, ENOENT);
    assert_false(there(copy));
    target_drop(target_begin(at("never made")));
}

/* More than the table holds: those are not tidied up after, and nothing else is wrong with them. */
static void very_many(void **state) {
    (void)state;
    char *temporary[200], name[32];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "m%d", i);
        temporary[i] = begin(name);
    }
    for (int i = 0; i < 200; i += 2) {
        snprintf(name, sizeof name, "m%d", i);
        assert_true(target_keep(temporary[i], at(name)) && there(at(name)));
        unlink(at(name));
    }
    for (int i = 1; i < 200; i += 2)
        target_drop(temporary[i]);
    char *kept = begin("kept"), copy[256];
    taken = begin("left");
    snprintf(copy, sizeof copy, "%s", taken);
    assert_true(target_keep(kept, at("kept")));
    target_drop_all(); /* places in the table are free again */
    assert_true(there(at("kept")) && !there(copy));
    unlink(at("kept"));
}

static const struct cli_option options[] = {{0}};
static const struct cli_program program = {.name = "tool", .synopsis = "", .purpose = "", .options = options, .examples = ""};

/* What a program leaves that ends by a signal, or by exit() when that is 0, with a file begun; its wait status. */
static int end_by(int sig, bool ignored) {
    char name[32], line[] = "tool", *argv[] = {line, NULL};
    snprintf(name, sizeof name, "s%d", sig);
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        signal(sig ? sig : SIGUSR1, ignored ? SIG_IGN : SIG_DFL);
        cli_start(&program, 1, argv);
        held = begin(name);
        if (sig)
            raise(sig);
        if (ignored)
            target_drop_all();
        exit(7);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    char *temporary = xasprintf("%s.tmp-%ld", at(name), (long)pid);
    assert_false(there(temporary));
    free(temporary);
    return status;
}

static void programs_that_end(void **state) {
    (void)state;
    static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) {
        int status = end_by(deadly[i], false);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == deadly[i]);
        status = end_by(deadly[i], true); /* under nohup it goes on; a closed pipe ends it all the same */
        assert_true(deadly[i] == SIGPIPE ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
    assert_int_equal(WEXITSTATUS(end_by(0, false)), 7);
}

int main(void) {
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(kept_and_dropped), cmocka_unit_test(very_many), cmocka_unit_test(programs_that_end)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(at("a"));
    rmdir(folder);
    return failed;
}
