/* check_reference.c - `check-reference FILE...`: compares what we compute with files of reference numbers.
 *
 * Each file goes to the first subject in the table that recognises its tensors. Prints a line a tensor with its largest relative
 * error and the tolerance, a summary, and exits 0 when all agree, 1 when something does not, 2 on misuse or a file that nobody
 * recognises.
 */
#include <stdio.h>
#include <string.h>

#include "common/cli/cli.h"
#include "tests/check.h"

static const struct check *const checks[] = {
    &check_ops,
    &check_stylegan2,
    &check_trace,
    &check_augment,
    &check_inception,
    &check_metrics,
    &check_align,
    &check_resample,
};

static int usage(FILE *out) {
    fprintf(out, "usage: check-reference FILE...\n\n"
                 "Compares what facemill computes with reference numbers in safetensors files (tests/reference).\n"
                 "Exit status: 0 all within tolerance, 1 some are not, 2 misuse or unreadable or unknown file.\n\nsubjects:");
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        fprintf(out, " %s", checks[i]->subject);
    fputc('\n', out);
    return 2;
}

int main(int argc, char **argv) {
    cli_patient_threads(argv);
    struct report total = {0};
    bool unknown = false;
    if (argc == 2 && !strcmp(argv[1], "--help")) {
        usage(stdout);
        return 0;
    }
    if (argc < 2 || argv[1][0] == '-')
        return usage(stderr);
    for (int i = 1; i < argc; i++) {
        struct safetensors *s;
        struct error e;
        if (safetensors_open(&s, argv[i], &e)) {
            fprintf(stderr, "check-reference: %s: %s\n", argv[i], e.text);
            unknown = true;
            continue;
        }
        const struct check *c = NULL;
        for (size_t k = 0; k < sizeof checks / sizeof *checks && !c; k++)
            if (checks[k]->recognises(s))
                c = checks[k];
        if (c) {
            struct report r = {0};
            printf("# %s: %s\n", argv[i], c->subject);
            c->run(s, &r);
            printf("# %s: %d compared, %d outside the tolerance\n", argv[i], r.checked, r.failed);
            if (r.checked == 0)
                unknown = true;
            total.checked += r.checked;
            total.failed += r.failed;
        } else {
            fprintf(stderr, "check-reference: %s: no subject recognises these tensors\n", argv[i]);
            unknown = true;
        }
        safetensors_close(s);
        fflush(stdout);
    }
    printf("check-reference: %d files, %d compared, %d outside the tolerance\n", argc - 1, total.checked, total.failed);
    return unknown ? 2 : total.failed ? 1 : 0;
}
