/* signals.c - how a program ends before its time: at once but tidily, or when it has come to a good place. */
#include <signal.h>
#include <stdlib.h>

#include "common/base/target.h"
#include "common/cli/cli_internal.h"

/* Dies of the signal, as if nobody had caught it, without leaving files under temporary names. */
static void end_by(int sig) {
    target_drop_all();
    signal(sig, SIG_DFL);
    raise(sig); /* comes through when the handler returns, at the latest */
}

void cli__end_tidily(void) {
    static const int deadly[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP};
    static bool registered;
    struct sigaction now = {.sa_handler = end_by}, before;
    sigemptyset(&now.sa_mask);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) /* nohup, and "&" in scripts, have them ignored: so be it */
        if (deadly[i] == SIGPIPE || (!sigaction(deadly[i], NULL, &before) && before.sa_handler == SIG_DFL))
            sigaction(deadly[i], &now, NULL);
    if (!registered)
        atexit(target_drop_all);
    registered = true;
}

volatile sig_atomic_t cli_stop, cli_snapshot;

static void on_stop(int sig) {
    if (cli_stop++) /* the second one means it */
        end_by(sig);
}

static void on_snapshot(int sig) {
    (void)sig;
    cli_snapshot = 1;
}

void cli_catch_stop(void) {
    /* SA_RESTART: reads and writes under way are finished; the program looks at cli_stop between two pieces of work. */
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART | SA_NODEFER};
    struct sigaction snapshot = {.sa_handler = on_snapshot, .sa_flags = SA_RESTART};
    sigemptyset(&stop.sa_mask);
    sigemptyset(&snapshot.sa_mask);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGUSR1, &snapshot, NULL);
}
