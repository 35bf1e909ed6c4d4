/* groups.c - see groups.h. */
#include "common/latent/groups.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/latent/edit.h"

static enum status as_w(struct latent_set *s, const char *name, struct error *e) {
    if (!latent_collapse(s->data, s->n, s->shape))
        return st_bad(e, "%s: layers of a w+ differ; directions come from w (map --space w) or z", name);
    s->shape.layers = 0;
    return ST_OK;
}

enum status latent_groups_join(struct latent_groups *g, struct latent_set *with, const char *with_name, struct latent_set *without,
                               const char *without_name, struct error *e) {
    *g = (struct latent_groups){0};
    enum status st = as_w(with, with_name, e);
    if (!st)
        st = as_w(without, without_name, e);
    if (!st && with->shape.dim != without->shape.dim)
        st = st_bad(e, "%s and %s: latents of different sizes", with_name, without_name);
    if (!st) {
        size_t dim = (size_t)with->shape.dim, a = (size_t)with->n, b = (size_t)without->n;
        g->label = xcalloc(a + b, 1);
        memset(g->label, 1, a);
        with->data = xrealloc(with->data, (a + b) * dim * sizeof *with->data);
        memcpy(with->data + a * dim, without->data, b * dim * sizeof *with->data);
        with->n += without->n;
        g->latents = *with;
        *with = (struct latent_set){0};
    }
    latent_set_free(with);
    latent_set_free(without);
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

enum status latent_groups_label(struct latent_groups *g, struct latent_set *s, const char *name, FILE *labels, const char *labels_name,
                                struct error *e) {
    char line[256];
    int64_t at = 0, kept = 0;
    double v;
    *g = (struct latent_groups){0};
    enum status st = as_w(s, name, e);
    uint8_t *label = xmalloc((size_t)s->n);
    for (; !st && fgets(line, sizeof line, labels); at++) {
        if (at == s->n)
            st = st_bad(e, "%s: more lines than the %lld latents", labels_name, (long long)s->n);
        else if (!number(line, &v))
            st = st_bad(e, "%s: line %lld is neither a number nor -", labels_name, (long long)at + 1);
        else if (!isnan(v)) {
            label[kept] = v > 0;
            memmove(s->data + kept++ * s->shape.dim, s->data + at * s->shape.dim, (size_t)s->shape.dim * sizeof *s->data);
        }
    }
    if (!st && ferror(labels))
        st = st_fail(e, "%s: read: %s", labels_name, strerror(errno));
    if (!st && at != s->n)
        st = st_bad(e, "%s: %lld lines for %lld latents", labels_name, (long long)at, (long long)s->n);
    if (!st) {
        g->latents = *s;
        g->latents.n = kept;
        g->label = label;
        *s = (struct latent_set){0};
        label = NULL;
    }
    free(label);
    latent_set_free(s);
    return st;
}

void latent_groups_free(struct latent_groups *g) {
    latent_set_free(&g->latents);
    free(g->label);
    *g = (struct latent_groups){0};
}
