/* rejects.c - no sample vanishes: samples in = samples out + rejects. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "common/base/utf8.h"
#include "common/cli/cli_internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void cli_rejects_open(struct cli_rejects *r, const char *path) {
    *r = (struct cli_rejects){0};
    if (path && !(r->file = fopen(path, "w")))
        cli_die("make rejects file %s: %s", path, strerror(errno));
}

void cli_reject(struct cli_rejects *r, const char *source, const char *reason) {
    pthread_mutex_lock(&lock);
    r->rejected++;
    if (r->file) {
        cJSON *line = cJSON_CreateObject();
        char *clean_source = utf8_clean(source), *clean_reason = utf8_clean(reason);
        cJSON_AddStringToObject(line, "source", clean_source);
        cJSON_AddStringToObject(line, "reason", clean_reason);
        free(clean_source);
        free(clean_reason);
        char *text = cJSON_PrintUnformatted(line);
        fprintf(r->file, "%s\n", text);
        fflush(r->file); /* rare, and worth having when the program is killed */
        free(text);
        cJSON_Delete(line);
    }
    pthread_mutex_unlock(&lock);
    cli_warn("%s: %s", source, reason);
}

int cli_rejects_close(struct cli_rejects *r, double max_reject) {
    int code = EXIT_OK;
    double bad = (double)(r->rejected - r->expected);
    if (max_reject > 0 && max_reject < 1 && r->in) /* a quotient: 29 of 100 are 0.29 to the bit, and 0.29 * 100 is less than 29 */
        bad /= (double)r->in;
    if (bad > max_reject)
        code = EXIT_REJECTED;
    cli_info("in %lld, out %lld, rejected %lld", (long long)r->in, (long long)r->out, (long long)r->rejected);
    if (r->file) {
        bool failed = ferror(r->file);
        if (fclose(r->file) || failed) {
            cli_error("write rejects file: %s", strerror(errno));
            code = EXIT_FAILED;
        }
        r->file = NULL;
    }
    return code;
}
