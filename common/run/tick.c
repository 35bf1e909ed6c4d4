/* tick.c - see tick.h. */
#include "common/run/tick.h"

#include <stdio.h>
#include <sys/resource.h>

struct tick_due tick_crossed(const struct tick_plan *p, int64_t before, int64_t now) {
    int64_t per_snap = p->length * p->snap;
    bool end = now >= p->total, tick = now / p->length > before / p->length;
    return (struct tick_due){.end = end, .tick = tick, .number = now / p->length + !tick,
                             .snap = end || (p->snap && now / per_snap > before / per_snap)};
}

static const char *clock_text(double seconds, char out[40]) {
    long s = seconds > 0 && seconds < 1e10 ? (long)(seconds + 0.5) : 0;
    if (s >= 86400)
        snprintf(out, 40, "%ldd %02ldh %02ldm", s / 86400, s / 3600 % 24, s / 60 % 60);
    else if (s >= 3600)
        snprintf(out, 40, "%ldh %02ldm %02lds", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 40, "%ldm %02lds", s / 60, s % 60);
    return out;
}

enum status tick_write(struct run *r, const struct tick *t, const struct trainer_stats *s, char *line, size_t room, struct error *e) {
    double kimg = (double)t->to / 1000, per_kimg = t->seconds / ((double)(t->to - t->from) / 1000), gib = 1073741824.0;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double memory = (double)usage.ru_maxrss * 1024 / gib; /* Linux counts in KiB */
    const struct event_scalar scalars[] = {
        {"Progress/tick", t->number},
        {"Progress/kimg", kimg},
        {"Progress/augment", s->augment_p},
        {"Progress/pl_mean", s->pl_mean},
        {"Loss/G/loss", s->g_loss},
        {"Loss/D/loss", s->d_loss},
        {"Loss/scores/real", s->scores_real},
        {"Loss/scores/fake", s->scores_fake},
        {"Loss/signs/real", s->signs_real},
        {"Loss/signs/fake", s->signs_fake},
        {"Loss/r1_penalty", s->r1_penalty},
        {"Loss/pl_penalty", s->pl_penalty},
        {"Gradients/nonfinite", (double)s->nonfinite_grads},
        {"Timing/sec_per_tick", t->seconds},
        {"Timing/sec_per_kimg", per_kimg},
        {"Timing/maintenance_sec", t->maintenance},
        {"Timing/total_sec", t->all_seconds},
        {"Resources/cpu_mem_gb", memory},
        {"Resources/peak_gpu_mem_gb", t->peak_gpu_bytes / gib},
    };
    char time[40], left[40];
    snprintf(line, room, "tick %-5.0f kimg %-9.2f time %-12s sec/tick %-7.1f sec/kimg %-7.2f maintenance %-5.1f cpumem %-5.2f gpumem "
             "%-5.2f augment %.3f  G %.3f D %.3f  left %s", t->number, kimg, clock_text(t->all_seconds, time), t->seconds, per_kimg,
             t->maintenance, memory, t->peak_gpu_bytes / gib, s->augment_p, s->g_loss, s->d_loss,
             clock_text((double)(t->total - t->to) / 1000 * per_kimg, left));
    return run_log(r, kimg, scalars, sizeof scalars / sizeof *scalars, e);
}
