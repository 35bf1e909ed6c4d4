/* cli.h - what every program shares in front of its user: options, messages, progress, exit codes, signals.
 *
 * A program declares one table of options; parsing, range checks, --help (with defaults), short usage and the record of
 * effective settings all come from it.
 *
 *     static struct { long size; bool quiet; } o = {.size = 256};       // initial values are the defaults shown by --help
 *     static const struct cli_option options[] = {
 *         {'s', "size", "N", CLI_INT, &o.size, 8, 4096, "side of the output picture in pixels"},
 *         {'q', "quiet", NULL, CLI_FLAG, &o.quiet, 0, 0, "print errors only"},
 *         {0}};
 *     static const struct cli_program program = {
 *         .name = "face-crop", .synopsis = "[options] < samples > samples", .purpose = "...",
 *         .options = options, .examples = "face-align photos/ | face-crop --size 128 | pack-lmdb faces.lmdb\n"};
 *     int main(int argc, char **argv) {
 *         int first = cli_start(&program, argc, argv);                   // index of the first operand in argv
 *         ...
 *         return cli_finish(EXIT_OK);
 *     }
 */
#ifndef FACEMILL_CLI_H
#define FACEMILL_CLI_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"

enum cli_exit {
    EXIT_OK = 0,
    EXIT_FAILED = 1,   /* the work failed */
    EXIT_USAGE = 2,    /* the command line is wrong */
    EXIT_REJECTED = 3, /* finished, but more samples were rejected than --max-reject allows */
    EXIT_LIMIT = 4     /* finished, but a score is over its --max-... gate */
};

enum cli_type {
    CLI_FLAG,   /* bool *: --name sets true, --no-name sets false; a table entry named "no-x" (a reference to a bool that
                   is true when the flag was given) takes only its own spelling */
    CLI_INT,    /* long *: decimal integer within [min, max] */
    CLI_FLOAT,  /* double *: finite number within [min, max] */
    CLI_STRING, /* const char **: points into argv */
    CLI_CHOICE, /* int *: index into the list given in `arg`, e.g. "largest|all|first" */
    CLI_HEADING /* no option: `help` is printed as a heading above the options that follow */
};

struct cli_option {
    char letter;       /* 0 = none */
    const char *name;  /* long name without dashes; NULL together with letter 0 and type 0 ends the table */
    const char *arg;   /* placeholder in --help, or the choices "a|b|c" of CLI_CHOICE; NULL for flags */
    enum cli_type type;
    void *value;       /* where the result goes; what it holds before parsing is the default. LONG_MIN or NAN as default means
                          "not set": --help shows none, the settings record has null */
    double min, max;   /* for CLI_INT and CLI_FLOAT */
    const char *help;  /* one line */
};

struct cli_program {
    const char *name;     /* "face-align" */
    const char *synopsis; /* what follows the name in the usage line */
    const char *purpose;  /* one or two sentences */
    const struct cli_option *options;
    const char *examples; /* lines, each a command */
    const char *exit_note; /* extra lines on exit codes, or NULL */
};

/* Parses argv (GNU long options, --name=value, bundles of short flags, "--" ends options; options and operands may mix; long
 * names are not abbreviated, but a near miss is named in the error). Handles --help/-h (stdout, exit 0), --version/-V (stdout,
 * exit 0), --quiet/-q, --verbose/-v unless the table uses these letters itself, and on misuse prints one line and a short
 * usage to stderr and exits 2. Operands are moved behind the options in argv; returns the index of the
 * first. A closed pipe (SIGPIPE, even where it came ignored) ends the program quietly. What ends it, signals and exit() alike, leaves no
 * temporary file of base/target.h behind. */
int cli_start(const struct cli_program *program, int argc, char **argv);

/* For programs that compute with several threads, first thing in main: makes idle OpenMP threads sleep rather than spin, by
 * starting the program again with OMP_WAIT_POLICY=passive unless the environment decides already. See threads.c. */
void cli_patient_threads(char **argv);

/* True when the user gave this long option himself, rather than its default holding. */
bool cli_given(const char *name);
/* For programs with commands: misuse (exit 2) when an option was given that `command` has no use for. allowed: names with a space before
 * and after each, as in " size jobs ". */
void cli_takes(const char *command, const char *allowed);

/* The effective settings as a JSON object text {"size":256,...}, for provenance. Caller frees. */
char *cli_settings_json(void);

/* "facemill 0.1.0 (face-align)": what goes into every artefact. Static. */
const char *cli_version(void);

/* Flushes and closes stdout; a write error becomes a message and EXIT_FAILED (unless code is already non-zero). Returns the
 * exit code for main(). */
int cli_finish(int code);

/* ---- messages on stderr, one line each, "prog: text". Control characters are made harmless. Thread-safe. ---- */
extern bool cli_quiet, cli_verbose;
__attribute__((format(printf, 1, 2))) void cli_error(const char *format, ...); /* always printed */
__attribute__((format(printf, 1, 2))) void cli_warn(const char *format, ...);  /* always printed */
__attribute__((format(printf, 1, 2))) void cli_info(const char *format, ...);  /* not with --quiet */
__attribute__((format(printf, 1, 2))) void cli_debug(const char *format, ...); /* only with --verbose */
__attribute__((format(printf, 1, 2), noreturn)) void cli_die(const char *format, ...);   /* cli_error and exit(EXIT_FAILED) */
__attribute__((format(printf, 1, 2), noreturn)) void cli_usage(const char *format, ...); /* cli_error, short usage, exit(EXIT_USAGE) */

/* Refuses to send binary data to a terminal: when stdout is one, says how to redirect and exits 2. */
void cli_need_binary_stdout(const char *what);
/* When stdin is a terminal, says that a stream was expected and exits 2. */
void cli_need_stream_stdin(const char *what);

/* ---- progress: one line that is redrawn when stderr is a terminal, else a plain line every 30 s ---- */
struct cli_progress {
    const char *unit;  /* "pictures" */
    int64_t total;     /* 0 = unknown */
    int64_t done;
    double started, last; /* seconds of CLOCK_MONOTONIC */
};
void cli_progress_start(struct cli_progress *p, const char *unit, int64_t total);
void cli_progress_add(struct cli_progress *p, int64_t n); /* cheap enough to call for each sample */
void cli_progress_end(struct cli_progress *p);            /* clears the redrawn line */

double cli_seconds(void); /* CLOCK_MONOTONIC */
long cli_processors(void); /* processors this process may use, from its affinity mask */

/* ---- rejects: samples in = samples out + rejects, counted and said at the end ---- */
struct cli_rejects {
    FILE *file;        /* --rejects FILE, or NULL */
    int64_t in, out, rejected;
    int64_t expected;  /* of rejected: not counted against max_reject, such as duplicates that were to be left out */
};
/* path NULL: rejects are only counted and warned about. Exits 1 when the file cannot be made. */
void cli_rejects_open(struct cli_rejects *r, const char *path);
/* Adds a JSON line {"source":...,"reason":...} and prints "prog: source: reason". Thread-safe. */
void cli_reject(struct cli_rejects *r, const char *source, const char *reason);
/* Closes the file, prints "in N, out N, rejected N" unless quiet; returns EXIT_REJECTED when rejected - expected > max_reject (a count
 * when >= 1 or 0, a share of `in` when between 0 and 1), EXIT_FAILED on a write error, else EXIT_OK. */
int cli_rejects_close(struct cli_rejects *r, double max_reject);

/* ---- signals, for programs that end in an orderly way ---- */
extern volatile sig_atomic_t cli_stop;     /* number of SIGINT/SIGTERM received */
extern volatile sig_atomic_t cli_snapshot; /* SIGUSR1 received; the program resets it */
void cli_catch_stop(void); /* SIGINT, SIGTERM (a second one kills at once), SIGUSR1 from now on set the variables above */

/* ---- text helpers with full checking: false when the text is not wholly a number within the range ---- */
bool cli_parse_int(const char *text, long min, long max, long *value);
bool cli_parse_float(const char *text, double min, double max, double *value);
bool cli_parse_size(const char *text, int max, int *width, int *height); /* "8x4", both 1 .. max */
/* "-1,0,2.5" into a new array (caller frees) of *n numbers; false when malformed, out of range, or n over limit. */
bool cli_parse_floats(const char *text, double min, double max, double **values, int *n, int limit);
/* "0-9,85,100-120" into a new array (caller frees) of *n values in the order given; false when malformed or n over limit. */
bool cli_parse_ranges(const char *text, uint64_t **values, size_t *n, size_t limit);

/* Names of inputs for programs that take files: arguments, folders (walked in sorted order, files whose names end in one of
 * `suffixes`, NULL-terminated, in any case; hidden names are skipped, links followed, no folder entered from within itself), or
 * "-" = one name a line on stdin. nul_separated: names there end with NUL, and no operands at all mean the same as "-". A name
 * that does not exist is delivered like any file: whoever opens it says so and counts it. */
struct cli_paths;
struct cli_paths *cli_paths_open(char **operands, int n, const char *const *suffixes, bool nul_separated);
/* Next path (owned by the iterator, valid until the next call), or NULL at the end. Unreadable folders are reported with
 * cli_warn and counted. */
const char *cli_paths_next(struct cli_paths *p);
/* The number of operands or folders that could not be read. Says how many pictures of other kinds (by suffix) the folders held. */
int cli_paths_close(struct cli_paths *p);

#endif
