/* bench_lanes.c - what lanes could save of a training, computed from its plans without a GPU: launches, waits, memory, and the time of a
 * model of the device.
 *
 *     bench_lanes [RESOLUTION [BATCH]]
 *
 * The model: a launch takes 2 us in which the device does nothing else for it, then its work (bytes at 3.5 TB/s, arithmetic at 700
 * TFLOP/s), which fills the device: small work first, then lane 0's, then lane 1's. A wait for another lane takes 1 us more. Neither
 * tails of large launches, that others could fill, nor what waits cost beyond that, nor caches are in it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/engine/plan.h"
#include "common/stylegan2/trainer_internal.h"

#define WAIT_SECONDS 1e-6

static double simulated(const struct plan *p, const struct lanes *l, double busy[MAX_LANES]) {
    int *queue[MAX_LANES], n[MAX_LANES] = {0}, at[MAX_LANES] = {0}, left = 0;
    double fixed[MAX_LANES] = {0}, work[MAX_LANES] = {0}, now = 0;
    bool running[MAX_LANES] = {0}, *marked = xcalloc((size_t)l->n_marks, sizeof *marked);
    marked[0] = true;
    for (int i = 0; i < MAX_LANES; i++)
        queue[i] = xmalloc(sizeof **queue * (size_t)(p->n_unit + 1)), busy[i] = 0;
    for (; left < l->n_order; left++) {
        int u = l->order[left], lane = l->step[u].lane;
        queue[lane][n[lane]++] = u;
    }
    while (left) {
        for (int i = 0; i < l->n; i++) {
            if (running[i] || at[i] == n[i])
                continue;
            const struct lane_step *s = &l->step[queue[i][at[i]]];
            bool ready = true;
            for (int k = 0; k < s->n_wait; k++)
                ready &= marked[s->wait[k]];
            if (!ready)
                continue;
            running[i] = true;
            fixed[i] = LAUNCH_SECONDS + (s->n_wait ? WAIT_SECONDS : 0);
            work[i] = unit_work(&p->unit[queue[i][at[i]]]);
        }
        static const int first[MAX_LANES] = {2, 3, 0, 1};
        int worker = -1;
        double step = 1;
        for (int k = 0; k < MAX_LANES; k++) {
            int i = first[k];
            if (running[i] && fixed[i] > 0)
                step = fixed[i] < step ? fixed[i] : step;
            else if (running[i] && worker < 0)
                worker = i, step = work[i] < step ? work[i] : step;
        }
        now += step;
        for (int i = 0; i < l->n; i++) {
            if (!running[i])
                continue;
            bool was_fixed = fixed[i] > 0;
            if (was_fixed)
                fixed[i] = fixed[i] - step < 1e-12 ? 0 : fixed[i] - step;
            else if (i == worker)
                work[i] -= step, busy[i] += step;
            if (!was_fixed && work[i] < 1e-12) {
                running[i] = false;
                left--;
                marked[l->step[queue[i][at[i]]].mark] = true;
                at[i]++;
            }
        }
        marked[0] = true;
    }
    for (int i = 0; i < MAX_LANES; i++)
        free(queue[i]);
    free(marked);
    return now;
}

static void see(void *arg, const struct kernel_call *c) { (void)arg, (void)c; }

int main(int argc, char **argv) {
    static const char *const names[PHASES] = {"Gmain", "Gpl", "Dmain", "Dr1"};
    static const double every[PHASES] = {1, 4, 1, 16};
    struct error e;
    struct trainer_config c;
    if (trainer_preset(&c, "auto", argc > 1 ? atoi(argv[1]) : 128, 1, &e) != ST_OK) {
        fprintf(stderr, "bench_lanes: %s\n", e.text);
        return 1;
    }
    if (argc > 2)
        c.batch = atoi(argv[2]);
    c.augment = *augment_by_name("bgc");
    c.half = true;
    printf("%-6s %6s %8s %6s %6s %6s %6s %8s %8s %8s %8s\n", "phase", "lanes", "launches", "side", "large", "waits", "marks", "arena MB", "chain ms", "model ms",
           "bound ms");
    double iteration[MAX_LANES + 1] = {0};
    for (int lanes = 1; lanes <= MAX_LANES; lanes++) {
        struct device *d = device_dry(see, NULL);
        struct backend backend = *d->backend;
        backend.lanes = lanes;
        d->backend = &backend;
        struct trainer *t;
        if (trainer_create(&t, d, &c, &e) != ST_OK) {
            fprintf(stderr, "bench_lanes: %s\n", e.text);
            return 1;
        }
        for (int i = 0; i < PHASES; i++) {
            if (!t->program[i])
                continue;
            const struct plan *p = program_plan(t->program[i]);
            const struct lanes *l = program_lanes(t->program[i]);
            double chain = 0, work = 0, busy[MAX_LANES], model;
            int launches = 0, side = 0, large = 0;
            for (int u = 0; u < p->n_unit; u++)
                if (!p->unit[u].constant) {
                    chain += unit_seconds(&p->unit[u]);
                    work += unit_work(&p->unit[u]);
                    launches++;
                    side += l->step[u].lane > 1;
                    large += l->step[u].lane == 1;
                }
            model = simulated(p, l, busy);
            iteration[lanes] += model / every[i];
            printf("%-6s %6d %8d %6d %6d %6d %6d %8.0f %8.3f %8.3f %8.3f\n", names[i], lanes, launches, side, large, l->n_waits, l->n_marks,
                   (double)p->arena_bytes * 1e-6, chain * 1e3, model * 1e3, work * 1e3);
        }
        trainer_free(t);
        device_close(d);
    }
    for (int lanes = 1; lanes <= MAX_LANES; lanes++)
        printf("iteration in %d lane%s %.3f ms\n", lanes, lanes > 1 ? "s" : " ", iteration[lanes] * 1e3);
    return 0;
}
