/* mapper.c - see mapper.h. */
#include "common/stream/mapper.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/ordered.h"
#include "common/cli/cli.h"
#include "common/stream/source.h"

/* One sample in flight. */
struct item {
    const struct mapper *m;
    enum status status; /* of reading it, then of working on it */
    struct sample in;
    struct sample_list out;
    struct error error;
};

struct run {
    const struct mapper *m;
    struct sample_source *source;
    struct sample_writer *writer; /* NULL: a folder */
    struct cli_rejects rejects;
    struct cli_progress progress;
    int64_t results;
    enum status failed; /* ST_FAIL with `error` when the whole cannot go on */
    struct error error;
};

struct sample *mapper_add(struct sample_list *list, const struct sample *in, const char *ending) {
    list->items = xrealloc(list->items, (size_t)(list->n + 1) * sizeof *list->items);
    struct sample *s = &list->items[list->n++];
    *s = (struct sample){0};
    snprintf(s->key, sizeof s->key, "%.*s%s", (int)(sizeof s->key - 1 - strlen(ending)), in->key, ending);
    s->json = in->json ? cJSON_Duplicate(in->json, true) : NULL;
    s->extras = in->n_extras ? xcalloc((size_t)in->n_extras, sizeof *s->extras) : NULL;
    for (s->n_extras = 0; s->n_extras < in->n_extras; s->n_extras++) {
        const struct sample_member *from = &in->extras[s->n_extras];
        s->extras[s->n_extras].suffix = xstrdup(from->suffix);
        bytes_append(&s->extras[s->n_extras].bytes, from->bytes.data, from->bytes.size);
    }
    return s;
}

static void work(void *slot, void *context) {
    (void)context;
    struct item *it = slot;
    if (it->status)
        return;
    if (it->in.picture.size == 0)
        it->status = st_bad(&it->error, it->in.format == IMAGE_UNKNOWN ? "the sample has no picture" : "the picture is empty");
    else
        it->status = it->m->work(it->m->context, &it->in, &it->out, &it->error);
}

static void free_item(void *slot) {
    struct item *it = slot;
    sample_free(&it->in);
    for (int i = 0; i < it->out.n; i++)
        sample_free(&it->out.items[i]);
    free(it->out.items);
    it->out = (struct sample_list){0};
}

/* What a message calls the sample: the file it came from, or its key. */
static const char *name_of(const struct sample *s) {
    const char *source = s->json ? cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(s->json, "source")) : NULL;
    return source ? source : s->key;
}

/* Counts and writes what came of one sample. */
static void deliver(struct run *r, struct item *it) {
    if (it->status == ST_FAIL) {
        r->failed = ST_FAIL;
        r->error = it->error;
        return;
    }
    r->rejects.in++;
    cli_progress_add(&r->progress, 1);
    if (it->status == ST_BAD) {
        cli_reject(&r->rejects, name_of(&it->in), it->error.text);
        return;
    }
    enum status st = ST_OK;
    for (int i = 0; !st && i < it->out.n; i++) {
        st = r->writer ? sample_write(r->writer, &it->out.items[i], &r->error)
                       : sample_write_folder(r->m->out, &it->out.items[i], IMAGE_UNKNOWN, 0, &r->error);
        r->results += !st;
    }
    if (st == ST_BAD) { /* a key that cannot be a file or member name */
        cli_reject(&r->rejects, name_of(&it->in), r->error.text);
        return;
    }
    r->failed = st;
    r->rejects.out++;
}

static void run_all(struct run *r, int jobs) {
    struct ordered *ring = ordered_start(jobs, 4 * jobs, sizeof(struct item), work, NULL);
    struct item *it;
    bool more = true;
    do {
        while (more && (it = ordered_room(ring))) {
            it->m = r->m;
            it->status = sample_source_next(r->source, &it->in, &it->error);
            more = it->status == ST_OK || it->status == ST_BAD; /* what was read before a failure is still written */
            if (it->status != ST_END)
                ordered_give(ring);
        }
        if ((it = ordered_take(ring))) {
            deliver(r, it);
            free_item(it);
            ordered_done(ring);
        }
    } while (it && !r->failed);
    ordered_stop(ring, free_item);
}

int mapper_run(const struct mapper *m, int64_t *results) {
    struct run r = {.m = m};
    struct error e;
    if (!m->out)
        cli_need_binary_stdout("A sample stream");
    if (sample_source_open(&r.source, m->operands, m->n, m->null, &e))
        cli_die("%s", e.text);
    cli_rejects_open(&r.rejects, m->rejects);
    if (!m->out && sample_writer_open(&r.writer, STDOUT_FILENO, &e))
        cli_die("%s", e.text);

    cli_progress_start(&r.progress, m->unit, 0);
    run_all(&r, (int)(m->jobs ? m->jobs : cli_processors()));
    cli_progress_end(&r.progress);

    int code = EXIT_OK;
    if (r.failed) {
        cli_error("%s", r.error.text);
        code = EXIT_FAILED;
    }
    /* After a failure the stream stays without its end mark, so that no reader takes it for whole: closing would write it. */
    static struct sample_writer *volatile unfinished; /* still owned, for leak checkers */
    unfinished = r.failed ? r.writer : NULL;
    if (r.writer && !unfinished && sample_writer_close(r.writer, &e)) {
        cli_error("%s", e.text);
        code = EXIT_FAILED;
    }
    if (results)
        *results = r.results;
    int rejected = cli_rejects_close(&r.rejects, m->max_reject);
    if (sample_source_close(r.source))
        code = EXIT_FAILED;
    return code ? code : rejected;
}
