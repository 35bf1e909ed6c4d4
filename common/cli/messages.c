/* messages.c - one-line messages on stderr, the guard for binary output, and the way out of a program.
 *
 * A message is put together in memory and leaves in one write, so lines of several threads or programs sharing a terminal
 * do not mix. The redrawn progress line is removed first and comes back with its next update.
 */
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cli/cli_internal.h"

bool cli_quiet, cli_verbose;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool drawn; /* a progress line stands on the terminal */

static void write_all(const char *text, size_t n) {
    while (n) {
        ssize_t w = write(STDERR_FILENO, text, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return; /* nobody listens: there is nowhere to say so */
        text += w, n -= (size_t)w;
    }
}

static void print(const char *format, va_list args) {
    char line[2304];
    int head = snprintf(line, sizeof line, "%s: ", cli__name());
    int n = vsnprintf(line + head, sizeof line - (size_t)head - 1, format, args);
    if (n < 0)
        return;
    size_t size = strlen(line);
    for (size_t i = 0; i < size; i++) /* names come from untrusted archives; a message is one line */
        if (iscntrl((unsigned char)line[i]))
            line[i] = '?';
    line[size++] = '\n';
    fflush(stdout); /* text on stdout and messages keep their order on one terminal */
    pthread_mutex_lock(&lock);
    if (drawn)
        write_all("\r\033[K", 4);
    drawn = false;
    write_all(line, size);
    pthread_mutex_unlock(&lock);
}

void cli__redraw(const char *text) {
    char line[256];
    pthread_mutex_lock(&lock);
    if (text || drawn) {
        int n = snprintf(line, sizeof line, "\r\033[K%s", text ? text : "");
        write_all(line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
    }
    drawn = text != NULL;
    pthread_mutex_unlock(&lock);
}

#define PRINT_ARGS           \
    va_list args;            \
    va_start(args, format);  \
    print(format, args);     \
    va_end(args)

void cli_error(const char *format, ...) {
    PRINT_ARGS;
}

void cli_warn(const char *format, ...) {
    PRINT_ARGS;
}

void cli_info(const char *format, ...) {
    if (!cli_quiet) {
        PRINT_ARGS;
    }
}

void cli_debug(const char *format, ...) {
    if (cli_verbose) {
        PRINT_ARGS;
    }
}

void cli_die(const char *format, ...) {
    PRINT_ARGS;
    exit(EXIT_FAILED);
}

void cli_usage(const char *format, ...) {
    PRINT_ARGS;
    if (cli__program)
        cli__print_usage(stderr, cli__program);
    exit(EXIT_USAGE);
}

void cli_need_binary_stdout(const char *what) {
    if (isatty(STDOUT_FILENO)) {
        cli_error("%s is binary and stdout is a terminal: pipe it on ('| next-program') or redirect it ('> file')", what);
        exit(EXIT_USAGE);
    }
}

void cli_need_stream_stdin(const char *what) {
    if (isatty(STDIN_FILENO)) {
        cli_error("%s is expected on stdin, which is a terminal: pipe it in ('program | %s') or redirect it ('< file')", what,
                  cli__name());
        exit(EXIT_USAGE);
    }
}

int cli_finish(int code) {
    cli__redraw(NULL);
    bool failed = ferror(stdout);
    errno = 0;
    if (fclose(stdout)) /* one that was closed before is no failure as long as nothing was written: see cli_start */
        failed = true;
    if (failed) {
        cli_error("write to stdout: %s", errno ? strerror(errno) : "failed");
        if (code == EXIT_OK)
            code = EXIT_FAILED;
    }
    return code;
}
