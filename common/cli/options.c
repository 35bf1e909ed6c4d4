/* options.c - the command line, read by the program's table of options. Help and version texts are in help.c.
 *
 * Written out rather than left to getopt_long because one table must give parsing, range checks, --no- forms, help and the
 * record of settings; the grammar is GNU's without abbreviated long names (a new option must not change what an old script
 * means).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "common/base/mem.h"
#include "common/cli/cli_internal.h"

const struct cli_program *cli__program;
char **cli__defaults;
static bool *given; /* one an option of the table */

const char *cli__name(void) { return cli__program ? cli__program->name : "facemill"; }

static bool is_end(const struct cli_option *o) { return !o->name && !o->letter && o->type != CLI_HEADING; }

static int table_size(const struct cli_option *options) {
    int n = 0;
    while (!is_end(&options[n]))
        n++;
    return n;
}

/* Copies choice i of "a|b|c" into out; false when there is no such choice. */
static bool choice_text(const char *list, int i, char *out, size_t room) {
    for (const char *p = list;; p++) {
        size_t n = strcspn(p, "|,");
        if (i-- == 0) {
            snprintf(out, room, "%.*s", (int)n, p);
            return true;
        }
        p += n;
        if (!*p)
            return false;
    }
}

static const char *number_text(double v, char out[32]) {
    for (int digits = 6; digits <= 17; digits++) { /* the shortest that reads back the same */
        snprintf(out, 32, "%.*g", digits, v);
        if (strtod(out, NULL) == v)
            break;
    }
    return out;
}

/* Text of the value an option holds now; caller frees; NULL when it has none. */
static char *value_text(const struct cli_option *o) {
    char text[256];
    switch (o->type) {
    case CLI_FLAG: return xstrdup(*(bool *)o->value ? "on" : "off");
    case CLI_INT: return *(long *)o->value == LONG_MIN ? NULL : xasprintf("%ld", *(long *)o->value);
    case CLI_FLOAT: return isnan(*(double *)o->value) ? NULL : xstrdup(number_text(*(double *)o->value, text));
    case CLI_STRING: return *(const char **)o->value ? xstrdup(*(const char **)o->value) : NULL;
    case CLI_CHOICE: return choice_text(o->arg, *(int *)o->value, text, sizeof text) ? xstrdup(text) : NULL;
    case CLI_HEADING: return NULL;
    }
    return NULL;
}

/* "--size N" or "-s N" as the user may write it, for messages. */
static const char *option_name(const struct cli_option *o, char out[80]) {
    if (o->name)
        snprintf(out, 80, "--%s", o->name);
    else
        snprintf(out, 80, "-%c", o->letter);
    return out;
}

static void set_value(const struct cli_option *o, const char *text) {
    char name[80], low[32], high[32], choice[128];
    switch (o->type) {
    case CLI_INT:
        if (!cli_parse_int(text, (long)o->min, o->max >= 9.2e18 ? INT64_MAX : (long)o->max, o->value))
            cli_usage("%s takes an integer from %ld to %ld, not \"%s\"", option_name(o, name), (long)o->min, (long)o->max, text);
        break;
    case CLI_FLOAT:
        if (!cli_parse_float(text, o->min, o->max, o->value))
            cli_usage("%s takes a number from %s to %s, not \"%s\"", option_name(o, name), number_text(o->min, low),
                      number_text(o->max, high), text);
        break;
    case CLI_STRING:
        *(const char **)o->value = text;
        break;
    case CLI_CHOICE: {
        int i = 0;
        while (choice_text(o->arg, i, choice, sizeof choice) && strcmp(choice, text))
            i++;
        if (!choice_text(o->arg, i, choice, sizeof choice))
            cli_usage("%s takes one of %s, not \"%s\"", option_name(o, name), o->arg, text);
        *(int *)o->value = i;
        break;
    }
    case CLI_FLAG:
    case CLI_HEADING:
        break;
    }
    given[o - cli__program->options] = true;
}

static void set_flag(const struct cli_option *o, bool on) {
    *(bool *)o->value = on;
    given[o - cli__program->options] = true;
    if (o->name && !strcmp(o->name, "quiet"))
        cli_quiet = on;
    if (o->name && !strcmp(o->name, "verbose"))
        cli_verbose = on;
}

static const struct cli_option *find_long(const char *name, size_t n) {
    for (const struct cli_option *o = cli__program->options; !is_end(o); o++)
        if (o->type != CLI_HEADING && o->name && strlen(o->name) == n && !memcmp(o->name, name, n))
            return o;
    return NULL;
}

static const struct cli_option *find_letter(char letter) {
    for (const struct cli_option *o = cli__program->options; !is_end(o); o++)
        if (o->type != CLI_HEADING && o->letter && o->letter == letter)
            return o;
    return NULL;
}

/* Edit distance, for "did you mean": both texts are short. */
static int distance(const char *a, size_t na, const char *b) {
    int row[64];
    size_t nb = strlen(b);
    if (na >= 63 || nb >= 63)
        return 99;
    for (size_t j = 0; j <= nb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[nb];
}

__attribute__((noreturn)) static void unknown_long(const char *name, size_t n) {
    const char *near = NULL;
    int best = 3;
    for (const struct cli_option *o = cli__program->options; !is_end(o); o++) {
        int d = o->type == CLI_HEADING || !o->name ? 99 : distance(name, n, o->name);
        if (d < best)
            best = d, near = o->name;
    }
    if (near)
        cli_usage("no option --%.*s (did you mean --%s?)", (int)n, name, near);
    cli_usage("no option --%.*s", (int)n, name);
}

/* --help, --version, --quiet, --verbose: known to every program even when its table does not name them. */
static bool standard_option(const char *name, size_t n, const char *value) {
#define IS(text) (n == strlen(text) && !memcmp(name, text, n))
    if (value && (IS("help") || IS("version") || IS("quiet") || IS("verbose")))
        cli_usage("--%.*s takes no value", (int)n, name);
    if (IS("help")) {
        static char room[1 << 16];
        setvbuf(stdout, room, _IOFBF, sizeof room); /* one write, at the end: its error is still known then */
        cli__print_help(stdout, cli__program);
        exit(cli_finish(EXIT_OK));
    }
    if (IS("version")) {
        cli__print_version(stdout);
        exit(cli_finish(EXIT_OK));
    }
    if (IS("quiet"))
        return cli_quiet = true;
    if (IS("verbose"))
        return cli_verbose = true;
    return false;
#undef IS
}

/* One "--..." word; returns how many words of argv it used. */
static int parse_long(char **argv, int left) {
    const char *name = argv[0] + 2;
    size_t n = strcspn(name, "=");
    const char *value = name[n] ? name + n + 1 : NULL;
    const struct cli_option *o = find_long(name, n);
    if (!o && n > 3 && !memcmp(name, "no-", 3)) {
        const struct cli_option *flag = find_long(name + 3, n - 3);
        if (flag && flag->type == CLI_FLAG && strncmp(flag->name, "no-", 3)) {
            if (value)
                cli_usage("--%.*s takes no value", (int)n, name);
            set_flag(flag, false);
            return 1;
        }
    }
    if (!o) {
        if (standard_option(name, n, value))
            return 1;
        unknown_long(name, n);
    }
    if (o->type == CLI_FLAG) {
        if (value)
            cli_usage("--%s takes no value", o->name);
        set_flag(o, true);
        return 1;
    }
    if (value) {
        set_value(o, value);
        return 1;
    }
    if (left < 2)
        cli_usage("--%s needs a value (%s)", o->name, o->arg ? o->arg : "VALUE");
    set_value(o, argv[1]);
    return 2;
}

/* One "-..." word: flags may be bundled, the last may take a value, in this word or the next. */
static int parse_short(char **argv, int left) {
    for (const char *p = argv[0] + 1; *p; p++) {
        const struct cli_option *o = find_letter(*p);
        if (!o) {
            const char *standard = *p == 'h' ? "help" : *p == 'q' ? "quiet" : *p == 'v' ? "verbose" : *p == 'V' ? "version" : "";
            if (!standard_option(standard, strlen(standard), NULL))
                cli_usage("no option -%c (in \"%s\")", *p, argv[0]);
            continue;
        }
        if (o->type == CLI_FLAG) {
            set_flag(o, true);
            continue;
        }
        if (p[1]) {
            set_value(o, p + 1);
            return 1;
        }
        if (left < 2)
            cli_usage("-%c needs a value (%s)", *p, o->arg ? o->arg : "VALUE");
        set_value(o, argv[1]);
        return 2;
    }
    return 1;
}

/* A program started with 0, 1 or 2 closed ("prog >&-") must not give that number to a file of its own: messages would be written into a
 * store. The number goes to /dev/null opened the wrong way round, so that reading and writing fail as they would have. */
static void occupy_standard_files(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
            exit(EXIT_FAILED); /* nobody could be told */
}

int cli_start(const struct cli_program *program, int argc, char **argv) {
    occupy_standard_files();
    cli__end_tidily();
    cli__program = program;
    int n = table_size(program->options);
    free(given);
    given = xcalloc((size_t)n, sizeof *given);
    if (!cli__defaults) { /* kept for the life of the process: --help shows them */
        cli__defaults = xcalloc((size_t)n + 1, sizeof *cli__defaults);
        for (int i = 0; i < n; i++)
            cli__defaults[i] = value_text(&program->options[i]);
    }
    static char **operands, **words; /* static: --help and misuse leave by exit(), and nothing is lost then */
    operands = xcalloc((size_t)argc + 1, sizeof *operands);
    words = xcalloc((size_t)argc + 1, sizeof *words);
    int n_operands = 0, n_words = 0;
    for (int i = 1; i < argc;) {
        int used = 1;
        if (!strcmp(argv[i], "--")) {
            words[n_words++] = argv[i++];
            while (i < argc)
                operands[n_operands++] = argv[i++];
            break;
        }
        if (argv[i][0] != '-' || !argv[i][1]) { /* "-" alone is an operand */
            operands[n_operands++] = argv[i++];
            continue;
        }
        used = argv[i][1] == '-' ? parse_long(argv + i, argc - i) : parse_short(argv + i, argc - i);
        while (used--)
            words[n_words++] = argv[i++];
    }
    memcpy(argv + 1, words, (size_t)n_words * sizeof *argv);
    memcpy(argv + 1 + n_words, operands, (size_t)n_operands * sizeof *argv);
    free(words);
    free(operands);
    return 1 + n_words;
}

bool cli_given(const char *name) {
    const struct cli_option *o = cli__program ? find_long(name, strlen(name)) : NULL;
    return o && given[o - cli__program->options];
}

void cli_takes(const char *command, const char *allowed) {
    for (const struct cli_option *o = cli__program->options; !is_end(o); o++) {
        char word[40];
        if (!o->name || !given[o - cli__program->options])
            continue;
        snprintf(word, sizeof word, " %s ", o->name);
        if (!strstr(allowed, word))
            cli_usage("%s takes no --%s", command, o->name);
    }
}

char *cli_settings_json(void) {
    cJSON *object = cJSON_CreateObject();
    for (const struct cli_option *o = cli__program->options; !is_end(o); o++) {
        char letter[2] = {o->letter, 0};
        const char *name = o->name ? o->name : letter;
        char *text = NULL;
        switch (o->type) {
        case CLI_HEADING: break;
        case CLI_FLAG: cJSON_AddBoolToObject(object, name, *(bool *)o->value); break;
        case CLI_INT:
        case CLI_FLOAT: /* raw: the exact digits, also beyond what cJSON would print */
            text = value_text(o);
            if (text)
                cJSON_AddRawToObject(object, name, text);
            else
                cJSON_AddNullToObject(object, name);
            break;
        case CLI_STRING:
        case CLI_CHOICE:
            text = value_text(o);
            if (text)
                cJSON_AddStringToObject(object, name, text);
            else
                cJSON_AddNullToObject(object, name);
            break;
        }
        free(text);
    }
    char *json = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    return json;
}
