/* edit.c - see edit.h. Sums are in double; what is written is rounded once. */
#include "common/latent/edit.h"

#include <stdlib.h>
#include <string.h>

uint64_t latent_first_layers(int n) { return n < 0 || n >= 64 ? LATENT_ALL : ((uint64_t)1 << n) - 1; }

/* A layer number at *p; moves *p behind it. */
static bool number(const char **p, long *v) {
    if (**p < '0' || **p > '9')
        return false;
    char *end;
    *v = strtol(*p, &end, 10);
    *p = end;
    return true;
}

enum status latent_layers_parse(const char *text, int layers, uint64_t *mask, struct error *e) {
    const char *p = text;
    *mask = 0;
    for (;;) {
        long first, last;
        if (!number(&p, &first))
            break;
        last = first;
        if (*p == '-') {
            p++;
            if (!number(&p, &last) || last < first)
                break;
        }
        if (last >= layers)
            return st_bad(e, "layer %ld: there are layers 0 to %d", last, layers - 1);
        for (long i = first; i <= last; i++)
            *mask |= (uint64_t)1 << i;
        if (!*p)
            return ST_OK;
        if (*p++ != ',')
            break;
    }
    return st_bad(e, "numbers and ranges of layers such as 0-3,8 are expected, not \"%s\"", text);
}

enum status latent_factors_parse(const char *text, int layers, float *factors, struct error *e) {
    const char *const want = "a factor, or ranges of layers with factors such as 0-3=1,4-7=0.5";
    for (int l = 0; l < layers; l++)
        factors[l] = 1;
    for (const char *p = text;; p++) {
        size_t size = strcspn(p, ","), range = strcspn(p, "=");
        char word[64];
        uint64_t mask = LATENT_ALL;
        if (size >= sizeof word || (range >= size && (p != text || p[size])))
            return st_bad(e, "%s are expected, not \"%s\"", want, text);
        memcpy(word, p, size);
        word[size] = 0;
        const char *number = word;
        if (range < size) {
            word[range] = 0;
            number = word + range + 1;
            enum status st = latent_layers_parse(word, layers, &mask, e);
            if (st != ST_OK)
                return st;
        }
        char *end;
        double factor = strtod(number, &end);
        if (!*number || *end || !(factor >= -1000 && factor <= 1000))
            return st_bad(e, "%s (from -1000 to 1000) are expected, not \"%s\"", want, text);
        for (int l = 0; l < layers; l++)
            factors[l] = mask >> l & 1 ? (float)factor : factors[l];
        p += size;
        if (!*p)
            return ST_OK;
    }
}

void latent_broadcast(const float *w, int layers, int dim, float *out) {
    for (int l = 0; l < layers; l++)
        memcpy(out + (size_t)l * (size_t)dim, w, (size_t)dim * sizeof *out);
}

bool latent_collapse(float *rows, int64_t n, struct latent_shape s) {
    size_t size = (size_t)latent_size(s), dim = (size_t)s.dim;
    for (size_t i = 0; i < (size_t)n; i++)
        for (int l = 1; l < s.layers; l++)
            if (memcmp(rows + i * size, rows + i * size + (size_t)l * dim, dim * sizeof *rows))
                return false;
    for (size_t i = 1; s.layers && i < (size_t)n; i++)
        memmove(rows + i * dim, rows + i * size, dim * sizeof *rows);
    return true;
}

struct latent_vector latent_vector_of(const struct latent_set *s, int64_t i) {
    return (struct latent_vector){s->data ? s->data + i * latent_size(s->shape) : NULL, s->shape.layers > 0};
}

static int layers_of(struct latent_shape s) { return s.layers ? s.layers : 1; }

static bool chosen(uint64_t mask, int layer) { return mask >> layer & 1; }

/* Element i of layer l of a vector. */
static double at(struct latent_vector v, struct latent_shape s, int l, int i) {
    return v.data ? (double)v.data[(v.per_layer ? (size_t)l * (size_t)s.dim : 0) + (size_t)i] : 0.0;
}

void latent_truncate(const float *row, struct latent_shape s, struct latent_vector mean, double psi, uint64_t mask, float *out) {
    for (int l = 0; l < layers_of(s); l++, row += s.dim, out += s.dim)
        for (int i = 0; i < s.dim; i++) {
            double m = at(mean, s, l, i);
            out[i] = chosen(mask, l) && psi != 1 ? (float)(m + psi * ((double)row[i] - m)) : row[i];
        }
}

void latent_move(const float *row, struct latent_shape s, struct latent_vector direction, double amount, uint64_t mask, float *out) {
    for (int l = 0; l < layers_of(s); l++, row += s.dim, out += s.dim)
        for (int i = 0; i < s.dim; i++)
            out[i] = chosen(mask, l) ? (float)((double)row[i] + amount * at(direction, s, l, i)) : row[i];
}

void latent_place(const float *row, struct latent_shape s, struct latent_vector direction, struct latent_vector origin, double place,
                  uint64_t mask, float *out) {
    for (int l = 0; l < layers_of(s); l++, row += s.dim, out += s.dim) {
        double along = 0, length = 0;
        for (int i = 0; i < s.dim; i++) {
            double d = at(direction, s, l, i);
            along += ((double)row[i] - at(origin, s, l, i)) * d;
            length += d * d;
        }
        double by = chosen(mask, l) && length > 0 ? place - along / length : 0;
        for (int i = 0; i < s.dim; i++)
            out[i] = (float)((double)row[i] + by * at(direction, s, l, i));
    }
}

void latent_mix(const float *a, const float *b, struct latent_shape s, uint64_t mask, float *out) {
    for (int l = 0; l < layers_of(s); l++, a += s.dim, b += s.dim, out += s.dim)
        memcpy(out, chosen(mask, l) ? b : a, (size_t)s.dim * sizeof *out);
}
