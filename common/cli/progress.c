/* progress.c - time, processors, the progress line.
 *
 * cli_progress_add is called for each sample: it costs an atomic addition and one reading of the clock (about 30 ns).
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "common/cli/cli_internal.h"

#define REDRAW_SECONDS 0.2
#define PLAIN_SECONDS 30.0

double cli_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

long cli_processors(void) {
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than cpu_set_t holds */
    return n > 0 ? n : 1;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* "1:02:03" or "2:03" */
static void clock_text(double seconds, char out[32]) {
    long s = seconds < 0 || seconds > 1e8 ? 0 : (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 32, "%ld:%02ld", s / 60, s % 60);
}

static void show(struct cli_progress *p, double now, bool terminal) {
    int64_t done = __atomic_load_n(&p->done, __ATOMIC_RELAXED);
    double spent = now - p->started, rate = spent > 0 ? (double)done / spent : 0;
    char line[160], time[32];
    int n;
    if (p->total > 0 && rate > 0) {
        double left = (double)(p->total - done) / rate;
        clock_text(left, time);
        n = snprintf(line, sizeof line, "%lld of %lld %s, %.*f/s, %s left", (long long)done, (long long)p->total, p->unit,
                     rate < 10 ? 2 : 0, rate, time);
    } else {
        clock_text(spent, time);
        n = snprintf(line, sizeof line, "%lld %s, %.*f/s, %s", (long long)done, p->unit, rate < 10 ? 2 : 0, rate, time);
    }
    (void)n;
    if (terminal)
        cli__redraw(line);
    else
        cli_info("%s", line);
}

static int terminal = -1; /* stderr is one; asked once */

void cli_progress_start(struct cli_progress *p, const char *unit, int64_t total) {
    if (terminal < 0)
        terminal = isatty(STDERR_FILENO);
    p->unit = unit;
    p->total = total;
    p->done = 0;
    p->started = p->last = cli_seconds();
}

void cli_progress_add(struct cli_progress *p, int64_t n) {
    __atomic_add_fetch(&p->done, n, __ATOMIC_RELAXED);
    if (cli_quiet)
        return;
    double now = cli_seconds(), last;
    __atomic_load(&p->last, &last, __ATOMIC_RELAXED);
    if (now - last < (terminal ? REDRAW_SECONDS : PLAIN_SECONDS) || pthread_mutex_trylock(&lock))
        return; /* too early, or another thread is printing */
    __atomic_store(&p->last, &now, __ATOMIC_RELAXED);
    show(p, now, terminal);
    pthread_mutex_unlock(&lock);
}

void cli_progress_end(struct cli_progress *p) {
    (void)p;
    cli__redraw(NULL);
}
