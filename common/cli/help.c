/* help.c - the texts of --help, of a usage error, and of --version, all from the program's table. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/base/mem.h"
#include "common/cli/cli_internal.h"

#define WIDTH_MAX 100  /* columns of --help; fewer on a narrow terminal */
#define LEFT_MAX 34    /* widest column of option names; longer ones push their help to the right */

static int width_of(FILE *out) {
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) || size.ws_col < 60 || size.ws_col > WIDTH_MAX)
        return WIDTH_MAX; /* no terminal, or one so narrow that wrapping would not help */
    return size.ws_col;
}

/* Prints text wrapped at the width, continuation lines indented; the cursor stands at column `at`. */
static void print_wrapped(FILE *out, const char *text, int at, int indent) {
    const char *p = text;
    int width = width_of(out);
    for (bool first = true; *p; first = false) {
        int word = (int)strcspn(p, " ");
        if (!first && at + 1 + word > width) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        } else if (!first) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", word, p);
        at += word;
        p += word;
        p += strspn(p, " ");
    }
    fputc('\n', out);
}

static int left_text(const struct cli_option *o, bool shown_negative, char *out, size_t room) {
    char letter[8] = "    ", name[64] = "", arg[160] = "";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c%s", o->letter, o->name ? ", " : "  ");
    if (o->name)
        snprintf(name, sizeof name, "--%s%s", shown_negative ? "no-" : "", o->name);
    if (o->type != CLI_FLAG)
        snprintf(arg, sizeof arg, " %s", o->arg ? o->arg : "VALUE");
    return snprintf(out, room, "  %s%s%s", letter, name, arg);
}

/* A flag that is on by default is listed in the form that changes something: --no-NAME. */
static bool negative(const struct cli_option *o, const char *def) { return o->type == CLI_FLAG && o->name && def && !strcmp(def, "on"); }

void cli__print_help(FILE *out, const struct cli_program *program) {
    static const struct cli_option standard[] = {
        {'q', "quiet", NULL, CLI_FLAG, NULL, 0, 0, "print errors only"},
        {'v', "verbose", NULL, CLI_FLAG, NULL, 0, 0, "say more on stderr"},
        {'h', "help", NULL, CLI_FLAG, NULL, 0, 0, "print this text"},
        {'V', "version", NULL, CLI_FLAG, NULL, 0, 0, "print version, libraries and CPU"},
    };
    char left[256];
    int column = 0;
    const struct cli_option *o;
    for (o = program->options; o->name || o->letter || o->type == CLI_HEADING; o++) {
        int n = o->type == CLI_HEADING ? 0 : left_text(o, negative(o, cli__defaults[o - program->options]), left, sizeof left);
        if (n > column && n <= LEFT_MAX)
            column = n;
    }
    if (column < 16)
        column = 16;
    column += 2;

    fprintf(out, "Usage: %s %s\n", program->name, program->synopsis);
    print_wrapped(out, program->purpose, 0, 0);
    if (program->options[0].type != CLI_HEADING)
        fprintf(out, "\nOptions [default]:\n");
    for (o = program->options; o->name || o->letter || o->type == CLI_HEADING; o++) {
        if (o->type == CLI_HEADING) {
            fprintf(out, "\n%s:\n", o->help);
            continue;
        }
        const char *def = cli__defaults[o - program->options];
        int n = left_text(o, negative(o, def), left, sizeof left);
        fprintf(out, "%-*s%s", column, left, n >= column ? "  " : "");
        char *help = o->type != CLI_FLAG && def && *def ? xasprintf("%s [%s]", o->help, def) : xstrdup(o->help);
        print_wrapped(out, help, n >= column ? n + 2 : column, column);
        free(help);
    }
    for (size_t i = 0; i < sizeof standard / sizeof *standard; i++) {
        bool known = false; /* the program lists it itself, or uses the letter for something else */
        char letter = standard[i].letter;
        for (o = program->options; o->name || o->letter || o->type == CLI_HEADING; o++) {
            known |= o->type != CLI_HEADING && o->name && !strcmp(o->name, standard[i].name);
            if (o->type != CLI_HEADING && o->letter == letter)
                letter = 0;
        }
        if (known)
            continue;
        struct cli_option shown = standard[i];
        shown.letter = letter;
        left_text(&shown, false, left, sizeof left);
        fprintf(out, "%-*s%s\n", column, left, shown.help);
    }
    if (program->exit_note)
        fprintf(out, "\n%s%s", program->exit_note, program->exit_note[strlen(program->exit_note) - 1] == '\n' ? "" : "\n");
    if (program->examples) {
        fprintf(out, "\nExamples:\n");
        for (const char *p = program->examples; *p;) {
            size_t n = strcspn(p, "\n");
            fprintf(out, "  %.*s\n", (int)n, p);
            p += n + (p[n] == '\n');
        }
    }
}

void cli__print_usage(FILE *out, const struct cli_program *program) {
    fprintf(out, "usage: %s %s\n       %s --help lists the options\n", program->name, program->synopsis, program->name);
}
