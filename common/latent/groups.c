/* groups.c - see groups.h. */
#include "common/latent/groups.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/latent/edit.h"
#include "common/latent/file.h"

/* A stream of z or w, or of w+ that is w. */
static enum status load(struct latent_set *s, const char *path, struct error *e) {
    enum status st = latent_load(path, s, e);
    if (st)
        return st;
    if (!latent_collapse(s->data, s->n, s->shape)) {
        latent_set_free(s);
        return st_bad(e, "%s: layers of a w+ differ; directions come from w (map --space w) or z", latent_stream_name(path));
    }
    s->shape.layers = 0;
    return ST_OK;
}

enum status latent_groups_join(struct latent_groups *g, const char *with, const char *without, struct error *e) {
    struct latent_set a = {0}, b = {0};
    *g = (struct latent_groups){0};
    enum status st = load(&a, with, e);
    if (!st)
        st = load(&b, without, e);
    if (!st && a.shape.dim != b.shape.dim)
        st = st_bad(e, "%s and %s: latents of different sizes", latent_stream_name(with), latent_stream_name(without));
    if (!st) {
        size_t dim = (size_t)a.shape.dim, n_a = (size_t)a.n, n_b = (size_t)b.n;
        g->label = xcalloc(n_a + n_b, 1);
        memset(g->label, 1, n_a);
        a.data = xrealloc(a.data, (n_a + n_b) * dim * sizeof *a.data);
        memcpy(a.data + n_a * dim, b.data, n_b * dim * sizeof *a.data);
        a.n += b.n;
        g->latents = a;
        a.data = NULL;
    }
    latent_set_free(&a);
    latent_set_free(&b);
    return st;
}

/* One line without its end; NAN for "-". */
static bool number(char *line, double *v) {
    line[strcspn(line, "\r\n")] = '\0';
    *v = NAN;
    if (!strcmp(line, "-"))
        return true;
    char *end;
    *v = strtod(line, &end);
    return end != line && !end[strspn(end, " \t")] && isfinite(*v);
}

/* Labels of the rows of s from the lines of f; rows left out leave s. */
static enum status read_labels(FILE *f, const char *name, struct latent_set *s, uint8_t *label, struct error *e) {
    char line[256];
    int64_t at = 0, kept = 0;
    double v;
    for (; fgets(line, sizeof line, f); at++) {
        if (at == s->n)
            return st_bad(e, "%s: more lines than the %lld latents", name, (long long)s->n);
        if (!number(line, &v))
            return st_bad(e, "%s: line %lld is neither a number nor -", name, (long long)at + 1);
        if (isnan(v))
            continue;
        label[kept] = v > 0;
        memmove(s->data + kept++ * s->shape.dim, s->data + at * s->shape.dim, (size_t)s->shape.dim * sizeof *s->data);
    }
    if (ferror(f))
        return st_fail(e, "%s: read: %s", name, strerror(errno));
    if (at != s->n)
        return st_bad(e, "%s: %lld lines for %lld latents", name, (long long)at, (long long)s->n);
    s->n = kept;
    return ST_OK;
}

enum status latent_groups_label(struct latent_groups *g, const char *latents, const char *labels, struct error *e) {
    *g = (struct latent_groups){0};
    enum status st = load(&g->latents, latents, e);
    if (st)
        return st;
    g->label = xmalloc((size_t)g->latents.n);
    FILE *f = fopen(labels, "r");
    st = f ? read_labels(f, labels, &g->latents, g->label, e) : st_fail(e, "%s: %s", labels, strerror(errno));
    if (f)
        fclose(f);
    if (st)
        latent_groups_free(g);
    return st;
}

void latent_groups_free(struct latent_groups *g) {
    latent_set_free(&g->latents);
    free(g->label);
    *g = (struct latent_groups){0};
}
