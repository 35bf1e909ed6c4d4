/* pack-lmdb.c - pictures into an LMDB store that the common StyleGAN2 loaders read, and what one does with such stores:
 * merge, check, unpack, ls. The work is done in common/store; here are options, messages and exit codes.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cli/cli.h"
#include "common/store/pack.h"
#include "common/store/store_tools.h"

static struct {
    const char *size, *labels, *rejects, *out;
    int filter, crop, codec, channels;
    long quality, jobs, limit;
    double max_reject;
    bool dedupe, append, resume, force, json, quiet;
} o = {.labels = "auto", .channels = 1, .quality = 95, .max_reject = 0.5};

static const enum image_format codecs[] = {IMAGE_JPEG, IMAGE_PNG, IMAGE_PPM};
static const int channel_counts[] = {1, 3, 4};

static const struct cli_option options[] = {
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Pictures"},
    {'s', "size", "N|WxH,...", CLI_STRING, &o.size, 0, 0, "one or several sizes (default: that of the first picture; unpack: the largest)"},
    {0, "filter", IMAGE_FILTERS, CLI_CHOICE, &o.filter, 0, 0, "for resizing"},
    {0, "crop", RECORD_CROPS, CLI_CHOICE, &o.crop, 0, 0, "pictures of another shape: reject, or cut to the centre"},
    {0, "codec", "jpg|png|raw", CLI_CHOICE, &o.codec, 0, 0, "how pictures are stored (raw = PPM)"},
    {0, "quality", "N", CLI_INT, &o.quality, 1, 100, "of JPEG; 4:4:4 from 90 on"},
    {0, "channels", "1|3|4", CLI_CHOICE, &o.channels, 0, 0, "grey, RGB, or RGBA (png only)"},
    {0, "labels", "FROM", CLI_STRING, &o.labels, 0, 0, "auto (.cls, JSON, dataset.json), none, folder, or a FILE of names and classes"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Store"},
    {0, "dedupe", NULL, CLI_FLAG, &o.dedupe, 0, 0, "leave out pictures whose file is in the store already (SHA-256)"},
    {0, "append", NULL, CLI_FLAG, &o.append, 0, 0, "add to an existing store"},
    {0, "resume", NULL, CLI_FLAG, &o.resume, 0, 0, "go on where an interrupted run on the same input stopped"},
    {0, "force", NULL, CLI_FLAG, &o.force, 0, 0, "replace an existing store"},
    {0, "limit", "N", CLI_INT, &o.limit, 0, 2000000000, "stop after N samples (0 = all)"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Running"},
    {'j', "jobs", "N", CLI_INT, &o.jobs, 1, 256, "worker threads (default: the processors at hand)"},
    {0, "rejects", "FILE", CLI_STRING, &o.rejects, 0, 0, "write a JSON line for each rejected sample"},
    {0, "max-reject", "N", CLI_FLOAT, &o.max_reject, 0, 1e15, "exit 3 when more are rejected: a number, or a share below 1"},
    {'o', "out", "DIR|FILE.zip", CLI_STRING, &o.out, 0, 0, "unpack: files instead of a sample stream, or a zip for ADA training"},
    {0, "json", NULL, CLI_FLAG, &o.json, 0, 0, "ls: print JSON"},
    {'q', "quiet", NULL, CLI_FLAG, &o.quiet, 0, 0, "print errors only"},
    {0}};

static const struct cli_program program = {
    .name = "pack-lmdb",
    .synopsis = "[options] STORE [INPUT...]  |  merge OUT IN...  |  check|unpack|ls [options] STORE",
    .purpose = "Packs a sample stream (stdin), folders, picture files, tar files, dataset zips or other stores into an LMDB store.",
    .options = options,
    .examples = "face-align photos/ | pack-lmdb --size 128 faces.lmdb\n"
                "pack-lmdb --size 256,128 --codec png --crop center faces.lmdb dataset.zip\n"
                "pack-lmdb unpack faces.lmdb | tar tv\n"
                "pack-lmdb unpack --out faces.zip faces.lmdb\n"};

/* ---- packing ---- */

struct run {
    struct cli_rejects rejects;
    struct cli_progress progress;
};

static void on_reject(const char *source, const char *reason, bool duplicate, void *data) {
    struct run *r = data;
    r->rejects.expected += duplicate; /* it was asked to be left out */
    cli_reject(&r->rejects, source, reason);
}

static void on_tick(void *data) { cli_progress_add(&((struct run *)data)->progress, 1); }

/* What made the store: the options that change it, and the inputs. */
static cJSON *provenance(char **inputs, int n) {
    static const char *const silent[] = {"jobs", "quiet", "verbose", "rejects", "max-reject", "append", "resume", "force", "json", "out"};
    char *text = cli_settings_json();
    cJSON *entry = cJSON_CreateObject(), *settings = cJSON_Parse(text);
    free(text);
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
        cJSON_DeleteItemFromObjectCaseSensitive(settings, silent[i]);
    cJSON_AddStringToObject(entry, "tool", cli_version());
    cJSON_AddItemToObject(entry, "options", settings);
    cJSON_AddItemToObject(entry, "inputs", cJSON_CreateStringArray((const char *const *)inputs, n));
    return entry;
}

/* Options of the interrupted run hold for the resumed one too; giving another value is a mistake. */
static const char *resumed_labels(const struct store_writer *w) {
    const cJSON *labels = store_writer_last_option(w, "labels");
    const char *before = cJSON_IsString(labels) ? labels->valuestring : o.labels;
    if (cli_given("labels") && strcmp(before, o.labels))
        cli_die("%s: the interrupted run had --labels %s, not %s", "--resume", before, o.labels);
    return before;
}

static bool resumed_dedupe(const struct store_writer *w) {
    bool before = cJSON_IsTrue(store_writer_last_option(w, "dedupe"));
    if (cli_given("dedupe") && before != o.dedupe)
        cli_die("--resume: the interrupted run was %s --dedupe", before ? "with" : "without");
    return before;
}

/* Is the store where and what the options say? */
static bool check_places(const char *path, char **inputs, int n) {
    bool there = store_exists(path);
    struct stat ours, other;
    if (there && !stat(path, &ours) && S_ISREG(ours.st_mode))
        cli_die("%s: a file, where a folder for the store is meant (stores of one file can only be read)", path);
    if (there && !o.append && !o.resume && !o.force)
        cli_die("%s: there is a store already (--append adds to it, --resume goes on with it, --force replaces it)", path);
    if (!there && o.append)
        cli_die("%s: there is no such store to append to", path);
    for (int i = 0; i < n; i++) /* LMDB must not open one store twice in a process */
        if (there && !stat(path, &ours) && !stat(inputs[i], &other) && ours.st_ino == other.st_ino && ours.st_dev == other.st_dev)
            cli_die("%s: a store cannot be its own input", inputs[i]);
    for (int i = 0; i < n; i++)
        if (!strcmp(inputs[i], "-"))
            cli_need_stream_stdin("a sample stream (or name folders, pictures, zips)");
    return there;
}

static struct recipe make_recipe(void) {
    struct error e;
    struct recipe r = {.filter = (enum image_filter)o.filter, .crop = (enum record_crop)o.crop};
    r.format = (struct store_format){.channels = channel_counts[o.channels], .codec = codecs[o.codec], .quality = (int)o.quality,
                                     .filter = image_filter_name(r.filter), .crop = record_crop_name(r.crop)};
    if (o.size && recipe_parse_sizes(o.size, &r.format, &e) != ST_OK)
        cli_usage("--size: %s", e.text);
    if (r.format.channels == 4 && r.format.codec != IMAGE_PNG && !o.append && !o.resume)
        cli_usage("--channels 4 needs --codec png");
    return r;
}

/* --append, --resume: goes on with a store. What the user did not ask for himself is as it is in the store. */
static void extend(struct pack_options *p, const char **labels) {
    struct error e;
    if (store_extend(&p->writer, p->path, &e) != ST_OK)
        cli_die("%s", e.text);
    struct store_format asked = p->recipe.format;
    asked.codec = cli_given("codec") ? asked.codec : IMAGE_UNKNOWN;
    asked.channels = cli_given("channels") ? asked.channels : 0;
    asked.quality = cli_given("quality") ? asked.quality : 0;
    asked.filter = cli_given("filter") ? asked.filter : NULL;
    asked.crop = cli_given("crop") ? asked.crop : NULL;
    if (recipe_adopt(&p->recipe, &asked, store_writer_format(p->writer), &e) != ST_OK)
        cli_die("%s: %s", p->path, e.text);
    label_names_add(p->names, cJSON_GetObjectItemCaseSensitive(store_writer_json(p->writer), "classes"));
    p->resume = o.resume;
    if (o.resume) {
        *labels = resumed_labels(p->writer);
        p->dedupe = resumed_dedupe(p->writer);
    }
}

static struct label_table *read_labels(const char *path, struct label_names *names) {
    struct error e;
    struct label_table *table;
    if (label_table_read(&table, path, &e) != ST_OK)
        cli_die("--labels %s: %s", path, e.text);
    if (!table)
        cli_die("--labels %s: there are no labels in it", path);
    if (!label_names_join(names, label_table_names(table)))
        cli_die("--labels %s: its classes are not those of the store", path);
    return table;
}

static int pack(const char *path, char **inputs, int n) {
    static char *standard_input[] = {"-"};
    struct error e;
    struct run run = {0};
    struct label_names names = {0};
    cli_takes("packing", " size filter crop codec quality channels labels dedupe append resume force limit jobs rejects "
                              "max-reject quiet ");
    if (o.append + o.resume + o.force > 1)
        cli_usage("--append, --resume and --force exclude each other");
    if (!n) {
        inputs = standard_input;
        n = 1;
    }
    struct pack_options p = {.path = path, .recipe = make_recipe(), .jobs = (int)o.jobs, .limit = o.limit, .dedupe = o.dedupe,
                             .replace = o.force, .names = &names, .reject = on_reject, .tick = on_tick, .data = &run};
    const char *labels = o.labels;
    if (check_places(path, inputs, n) && !o.force)
        extend(&p, &labels);
    enum input_labels kind = input_labels_by_name(labels);
    struct label_table *table = kind == INPUT_LABELS_TABLE ? read_labels(labels, &names) : NULL;
    struct input *in;
    if (input_open(&in, inputs, n, kind, table, &names, &e) != ST_OK)
        cli_die("%s", e.text);
    p.session = provenance(inputs, n);
    cli_rejects_open(&run.rejects, o.rejects);
    cli_progress_start(&run.progress, "pictures", 0);
    struct pack_result result;
    enum status st = pack_run(in, &p, &result, &e);
    cli_progress_end(&run.progress);

    int code = EXIT_OK;
    if (st != ST_OK) {
        cli_error("%s", e.text);
        code = EXIT_FAILED;
        if (result.made)
            cli_info("%s: %lld samples are safe in it; --resume goes on from there", path, (long long)result.length);
    } else if (!result.made || !result.length) {
        cli_error("%s: no sample was packed: no store was made", path);
        code = EXIT_FAILED;
    }
    if (input_close(in))
        code = EXIT_FAILED;
    run.rejects.in = result.in;
    run.rejects.out = result.out;
    int closed = cli_rejects_close(&run.rejects, o.max_reject);
    code = code == EXIT_OK ? closed : code;
    if (result.made && code == EXIT_OK)
        cli_info("%s: %lld samples%s", path, (long long)result.length, result.known ? " (resumed)" : "");
    label_table_free(table);
    label_names_free(&names);
    return code;
}

/* ---- the other commands ---- */

static int merge(char **operand, int n) {
    cli_takes("merge", " dedupe force quiet ");
    if (n < 2)
        cli_usage("merge takes the new store and the stores to join");
    struct run run = {0};
    struct merge_count count;
    struct error e;
    cJSON *settings = cJSON_CreateObject();
    cJSON_AddStringToObject(settings, "tool", cli_version());
    cJSON_AddBoolToObject(cJSON_AddObjectToObject(settings, "options"), "dedupe", o.dedupe);
    struct merge_options m = {.dedupe = o.dedupe, .replace = o.force, .settings = settings, .tick = on_tick, .data = &run};
    cli_progress_start(&run.progress, "samples", 0);
    enum status st = store_merge(operand[0], operand + 1, n - 1, &m, &count, &e);
    cli_progress_end(&run.progress);
    cJSON_Delete(settings);
    if (st != ST_OK)
        cli_die("%s", e.text);
    cli_info("in %lld, out %lld, duplicates %lld", (long long)count.in, (long long)count.out, (long long)(count.in - count.out));
    return EXIT_OK;
}

static struct store *open_store(const char *path) {
    struct store *s;
    struct error e;
    if (store_open(&s, path, &e) != ST_OK)
        cli_die("%s", e.text);
    return s;
}

static void on_problem(const char *line, void *data) {
    (void)data;
    cli_error("%s", line);
}

static int check(const char *path) {
    cli_takes("check", " jobs quiet ");
    struct run run = {0};
    struct store *s = open_store(path);
    const struct store_meta *m = store_get_meta(s);
    cli_progress_start(&run.progress, "samples", m->length);
    int64_t problems = store_check(s, (int)o.jobs, on_problem, on_tick, &run);
    cli_progress_end(&run.progress);
    if (problems)
        cli_error("%s: %lld problems in %lld samples", path, (long long)problems, (long long)m->length);
    else
        cli_info("%s: %lld samples of %d size%s, all whole", path, (long long)m->length, m->n_sizes, m->n_sizes > 1 ? "s" : "");
    store_close(s);
    return problems ? EXIT_FAILED : EXIT_OK;
}

static bool has_suffix(const char *name, const char *suffix) {
    size_t n = strlen(name), k = strlen(suffix);
    return n > k && !strcasecmp(name + n - k, suffix);
}

static void on_broken(int64_t index, const char *reason, void *data) {
    char name[32];
    snprintf(name, sizeof name, "sample %lld", (long long)index);
    cli_reject(&((struct run *)data)->rejects, name, reason);
}

static void on_left_out(const char *key, const char *reason, void *data) { cli_reject(&((struct run *)data)->rejects, key, reason); }

/* unpack --out FILE.zip: a data set for other training programs. */
static int export_zip(struct store *s, int size, int64_t n) {
    const struct store_meta *m = store_get_meta(s);
    struct run run = {0};
    struct error e;
    struct zip_count count;
    if (!access(o.out, F_OK) && !o.force)
        cli_die("%s: there is such a file already (--force replaces it)", o.out);
    cli_rejects_open(&run.rejects, o.rejects);
    cli_progress_start(&run.progress, "samples", n);
    struct zip_options z = {.size = size, .n = n, .jobs = (int)o.jobs, .reject = on_broken, .tick = on_tick, .data = &run};
    if (store_write_zip(s, o.out, &z, &count, &e) != ST_OK)
        cli_die("%s", e.text);
    cli_progress_end(&run.progress);
    if (count.labelled && count.labelled < count.out)
        cli_warn("%s: %lld of %lld samples have no label, so it has none", o.out, (long long)(count.out - count.labelled), (long long)count.out);
    if (m->height[size] & (m->height[size] - 1))
        cli_warn("%s: the programs that read such zips want a power of two, not %d pixels", o.out, m->height[size]);
    run.rejects.in = n;
    run.rejects.out = count.out;
    store_close(s);
    return cli_rejects_close(&run.rejects, o.max_reject);
}

static int unpack(const char *path) {
    cli_takes("unpack", " size out limit rejects max-reject quiet jobs force ");
    if (o.force && !(o.out && has_suffix(o.out, ".zip")))
        cli_usage("unpack takes --force with --out FILE.zip only");
    struct run run = {0};
    struct error e;
    struct store *s = open_store(path);
    const struct store_meta *m = store_get_meta(s);
    int size = 0;
    if (o.size && store_pick_size(m, o.size, &size, &e) != ST_OK)
        cli_die("%s: %s", path, e.text);
    int64_t n = o.limit && o.limit < m->length ? o.limit : m->length;
    if (o.out && has_suffix(o.out, ".zip"))
        return export_zip(s, size, n);
    if (!o.out)
        cli_need_binary_stdout("a sample stream");
    else if (store_unpack_folder(o.out, &e) != ST_OK)
        cli_die("%s", e.text);
    cli_rejects_open(&run.rejects, o.rejects);
    cli_progress_start(&run.progress, "samples", n);
    struct unpack_options u = {.size = size, .n = n, .folder = o.out, .reject = on_left_out, .tick = on_tick, .data = &run};
    if (store_unpack(s, &u, &run.rejects.out, &e) != ST_OK)
        cli_die("%s", e.text);
    cli_progress_end(&run.progress);
    run.rejects.in = n;
    store_close(s);
    return cli_rejects_close(&run.rejects, o.max_reject);
}

static int list(const char *path) {
    cli_takes("ls", " json quiet ");
    struct store *s = open_store(path);
    const struct store_meta *m = store_get_meta(s);
    cJSON *json = store_describe(s);
    if (o.json) {
        char *text = cJSON_Print(json);
        printf("%s\n", text);
        free(text);
    } else {
        printf("%s: %lld samples", path, (long long)m->length);
        for (int i = 0; i < m->n_sizes; i++)
            printf("%s%dx%d", i ? ", " : " of ", m->width[i], m->height[i]);
        printf(", %d channels, %s\n", m->channels, m->codec == IMAGE_PPM ? "raw" : image_format_name(m->codec));
        printf("  %.1f MB, %.1f KB a sample\n", (double)store_bytes(s) / 1e6,
               m->length ? (double)store_bytes(s) / 1e3 / (double)m->length : 0.0);
        if (m->label_dim)
            printf("  labels 0 to %d\n", m->label_dim - 1);
        if (m->foreign)
            printf("  made by another program\n");
        else
            printf("  content %s\n", m->content_hash);
        const cJSON *entry;
        cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(json, "provenance")) {
            cJSON *inputs = cJSON_GetObjectItemCaseSensitive(entry, "inputs");
            int more = cJSON_GetArraySize(inputs) - 4; /* a shell's *.jpg may be thousands of names */
            for (int k = 0; k < more; k++)
                cJSON_DeleteItemFromArray(inputs, 4);
            char *text = cJSON_PrintUnformatted(entry);
            printf("  made by %s", text);
            if (more > 0)
                printf(" and %d more inputs (--json names them)", more);
            putchar('\n');
            free(text);
        }
    }
    cJSON_Delete(json);
    store_close(s);
    return EXIT_OK;
}

int main(int argc, char **argv) {
    o.jobs = cli_processors();
    int first = cli_start(&program, argc, argv), n = argc - first;
    char **operand = argv + first;
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a full disk, not the end of the world */
    if (n < 1)
        cli_usage("name a store");
    const struct { const char *name; int (*run)(const char *path); } commands[] = {{"check", check}, {"unpack", unpack}, {"ls", list}};
    if (!strcmp(operand[0], "merge"))
        return cli_finish(merge(operand + 1, n - 1));
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(operand[0], commands[i].name)) {
            if (n != 2)
                cli_usage("%s takes one store", commands[i].name);
            return cli_finish(commands[i].run(operand[1]));
        }
    return cli_finish(pack(operand[0], operand + 1, n - 1));
}
