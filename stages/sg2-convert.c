/* sg2-convert - what is in a network's file, whatever its format, and the same network in another. sg2-convert.1 is the manual.
 *
 * The generator is loaded as sg2-gen loads it, so what is written is complete and has been checked; the networks beside it (the
 * generator in training, the discriminator) are copied where they are whole. Memory: the networks once, in float32.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/store/checkpoint.h"
#include "common/store/export.h"
#include "common/store/onnx.h"
#include "common/store/tensor_file.h"

enum { TO_AUTO, TO_SAFETENSORS, TO_NPZ, TO_PT, TO_ONNX };
static struct {
    int format, dtype;
    double trunc;
    bool only_ema, json, quiet, force;
} o = {.trunc = NAN};
static const enum dtype dtypes[] = {DT_F32, DT_F16, DT_BF16};

static const struct cli_option options[] = {
    {'f', "format", "auto|safetensors|npz|pt|onnx", CLI_CHOICE, &o.format, 0, 0, "what OUT becomes; auto: by its suffix (.pth is pt)"},
    {0, "dtype", "f32|f16|bf16", CLI_CHOICE, &o.dtype, 0, 0, "numbers in OUT; npz and onnx have no bf16"},
    {0, "only-ema", NULL, CLI_FLAG, &o.only_ema, 0, 0, "write the generator for drawing only, without the networks in training"},
    {'t', "trunc", "PSI", CLI_FLOAT, &o.trunc, -10, 10, "onnx: truncation; without it the model has an input psi"},
    {0, "force", NULL, CLI_FLAG, &o.force, 0, 0, "replace OUT where it exists"},
    {0, "json", NULL, CLI_FLAG, &o.json, 0, 0, "print the table as JSON"},
    {'q', "quiet", NULL, CLI_FLAG, &o.quiet, 0, 0, "with OUT: print no table; errors only"},
    {0}};

static const struct cli_program program = {
    .name = "sg2-convert",
    .synopsis = "[options] IN [OUT]",
    .purpose = "Prints the tensors of a network (safetensors, NVIDIA's .pkl, PyTorch's .pt and .pth) and writes it as safetensors, .npz, "
               "rosinality's .pt or ONNX.",
    .options = options,
    .examples = "sg2-convert stylegan2-ffhq-256.pkl ffhq.safetensors\n"
                "sg2-convert --trunc 0.7 faces.safetensors faces.onnx\n"
                "sg2-convert --json 550000.pt | jq '.tensors[].name'\n"};

/* ---- the table ---- */

static void shape_text(char *out, size_t room, const struct st_tensor *t) {
    size_t at = (size_t)snprintf(out, room, "[");
    for (int i = 0; i < t->ndim && at < room; i++)
        at += (size_t)snprintf(out + at, room - at, "%s%lld", i ? "," : "", (long long)t->dim[i]);
    if (at < room)
        snprintf(out + at, room - at, "]");
}

static void print_json(const char *path, const struct tensor_file *f, const struct sg2_config *c) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "file", path);
    cJSON_AddStringToObject(root, "format", tensor_layout_name(tensor_file_layout(f)));
    if (c) {
        char *text = sg2_config_json(c);
        cJSON_AddItemToObject(root, "config", cJSON_Parse(text));
        free(text);
    }
    cJSON *list = cJSON_AddArrayToObject(root, "tensors");
    for (int i = 0; i < tensor_file_count(f); i++) {
        const struct st_tensor *t = tensor_file_at(f, i);
        cJSON *item = cJSON_CreateObject(), *shape = cJSON_CreateArray();
        cJSON_AddStringToObject(item, "name", t->name);
        cJSON_AddStringToObject(item, "dtype", dtype_name(t->dtype));
        for (int k = 0; k < t->ndim; k++)
            cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->dim[k]));
        cJSON_AddItemToObject(item, "shape", shape);
        cJSON_AddItemToArray(list, item);
    }
    char *text = cJSON_Print(root);
    puts(text);
    cJSON_free(text);
    cJSON_Delete(root);
}

static void print_table(const struct tensor_file *f, const struct sg2_config *c) {
    int64_t numbers = 0;
    int width = 4;
    for (int i = 0; i < tensor_file_count(f); i++)
        if ((int)strlen(tensor_file_at(f, i)->name) > width)
            width = (int)strlen(tensor_file_at(f, i)->name);
    for (int i = 0; i < tensor_file_count(f); i++) {
        const struct st_tensor *t = tensor_file_at(f, i);
        char shape[160];
        shape_text(shape, sizeof shape, t);
        printf("%-*s  %-4s  %s\n", width, t->name, dtype_name(t->dtype), shape);
        numbers += t->count;
    }
    printf("%d tensors, %lld numbers; %s", tensor_file_count(f), (long long)numbers, tensor_layout_name(tensor_file_layout(f)));
    if (c)
        printf("; a generator of %dx%d pictures, %d channels, z %d, w %d, %d classes, %d mapping layers, clamp %g", c->res, c->res,
               c->img_channels, c->z_dim, c->w_dim, c->c_dim, c->map_layers, (double)c->conv_clamp);
    putchar('\n');
}

/* ---- the tensors to write, in float32 ---- */

struct tensors {
    struct st_entry *t;
    int n;
};

static void put_entry(struct tensors *all, char *name, int ndim, const int64_t *dim, float *numbers) {
    all->t = xrealloc(all->t, ((size_t)all->n + 1) * sizeof *all->t);
    struct st_entry *x = &all->t[all->n++];
    *x = (struct st_entry){.name = name, .dtype = DT_F32, .ndim = ndim, .data = numbers};
    memcpy(x->dim, dim, (size_t)ndim * sizeof *dim);
}

static int64_t count_of(const struct sg2_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

static void add_generator(struct tensors *all, const struct sg2_net *g) {
    for (int i = 0; i < g->n_tensors; i++) {
        const struct sg2_tensor *t = &g->tensors[i];
        float *x = xmalloc((size_t)count_of(t) * sizeof *x);
        sg2_tensor_get(t, t->trained ? g->params : g->state, x);
        put_entry(all, xasprintf("G_ema.%s", t->name), t->ndim, t->dim, x);
    }
}

static const struct st_entry *entry_named(const struct tensors *all, const char *name) {
    for (int i = 0; i < all->n; i++)
        if (!strcmp(all->t[i].name, name))
            return &all->t[i];
    return NULL;
}

/* A network that lies beside the generator, whole or not at all. Buffers that rosinality's layout leaves out and load_state_dict misses
 * are filled in: filters, which are all the same, and G's mean of w and noise, for which those of G_ema stand in. */
static void add_network(struct tensors *all, const struct tensor_file *f, const char *prefix, const struct sg2_net *like) {
    char name[128], same[128];
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < like->n_tensors; i++) {
            const struct sg2_tensor *t = &like->tensors[i];
            int64_t count = count_of(t);
            snprintf(name, sizeof name, "%s%s", prefix, t->name);
            const struct st_tensor *have = tensor_file_find(f, name);
            snprintf(same, sizeof same, "G_ema.%s", strstr(t->name, "resample_filter") ? "synthesis.b4.resample_filter" : t->name);
            const struct st_entry *instead = t->trained ? NULL : entry_named(all, same);
            bool fits = have && have->count == count && (have->ndim == 0 || have->ndim == t->ndim);
            for (int k = 0; fits && k < have->ndim; k++)
                fits = have->dim[k] == t->dim[k];
            if (have ? !fits : !instead) {
                if (i > 0)
                    cli_warn("the network %.*s is left out: tensor %s %s", (int)strlen(prefix) - 1, prefix, name,
                             have ? "has another shape than StyleGAN2's" : "is missing");
                return;
            }
            if (pass == 0)
                continue;
            float *x = xmalloc((size_t)count * sizeof *x);
            if (have)
                st_to_f32(have, x);
            else
                memcpy(x, instead->data, (size_t)count * sizeof *x);
            put_entry(all, xstrdup(name), t->ndim, t->dim, x);
        }
}

static void free_tensors(struct tensors *all) {
    for (int i = 0; i < all->n; i++) {
        free((char *)all->t[i].name);
        free((void *)all->t[i].data);
    }
    free(all->t);
}

/* ---- writing ---- */

static enum status write_safetensors(const char *path, const struct tensors *all, const struct sg2_config *c, int64_t images,
                                     const char *source, struct error *e) {
    char *config = sg2_config_json(c), shown[24], hash[SHA256_HEX];
    enum status st = sha256_file(source, hash, e);
    struct bytes *numbers = xcalloc((size_t)all->n, sizeof *numbers);
    struct st_entry *entry = xcalloc((size_t)all->n, sizeof *entry);
    for (int i = 0; i < all->n && st == ST_OK; i++) {
        st = export_numbers(&all->t[i], dtypes[o.dtype], 1, &numbers[i], e);
        entry[i] = all->t[i];
        entry[i].dtype = dtypes[o.dtype];
        entry[i].data = numbers[i].data;
    }
    snprintf(shown, sizeof shown, "%lld", (long long)images);
    struct st_meta meta[] = {{"format", "facemill-network"}, {"version", "1"}, {"program", cli_version()}, {"config", config},
                             {"source_sha256", hash},        {"data", "{}"},   {"images", shown}};
    int n_meta = (int)(sizeof meta / sizeof *meta) - (images < 0); /* the last one is said only where it is known */
    if (st == ST_OK)
        st = safetensors_write(path, entry, all->n, meta, n_meta, e);
    for (int i = 0; i < all->n; i++)
        bytes_free(&numbers[i]);
    free(numbers);
    free(entry);
    free(config);
    return st;
}

static int format_of(const char *path) {
    static const struct {
        const char *suffix;
        int format;
    } known[] = {{".safetensors", TO_SAFETENSORS}, {".npz", TO_NPZ}, {".pt", TO_PT}, {".pth", TO_PT}, {".onnx", TO_ONNX}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (!strcmp(dot, known[i].suffix))
            return known[i].format;
    return TO_AUTO;
}

/* rosinality's programs make networks of these widths only; others the layout can hold all the same. */
static void warn_of_pt(const struct sg2_config *c) {
    bool usual = c->channel_max == 512 || c->res <= 4;
    for (int r = 4; r <= c->res; r *= 2)
        usual &= sg2_channels(c, r) == (r <= 32 ? 512 : 16384 / r) || sg2_channels(c, r) == (r <= 32 ? 512 : 32768 / r);
    if (!usual)
        cli_warn("these channel counts are not those of rosinality's Generator(%d): it has to be told them", c->res);
    if (c->conv_clamp > 0)
        cli_warn("rosinality's layout has no clamp, this network's is %g: where activations reach it, pictures differ", (double)c->conv_clamp);
}

static void convert(const struct checkpoint *file, const char *in, const char *out, int format) {
    const struct sg2_config *c = checkpoint_config(file);
    const struct tensor_file *f = checkpoint_tensors(file);
    struct device *device;
    struct sg2_net *net;
    struct error e;
    struct tensors all = {0};
    if (device_open(&device, "cpu", 0, &e) != ST_OK || checkpoint_generator(file, device, &net, &e) != ST_OK)
        cli_die("%s", e.text);
    add_generator(&all, net);
    if (!o.only_ema && format != TO_ONNX) {
        struct sg2_net *critic = sg2_net_create(device, SG2_D, c);
        if (!strcmp(checkpoint_prefix(file), "G_ema."))
            add_network(&all, f, "G.", net);
        add_network(&all, f, "D.", critic);
        sg2_net_free(critic);
    }
    sg2_net_free(net);
    device_close(device);
    enum dtype dtype = dtypes[o.dtype];
    char *config = sg2_config_json(c);
    enum status st;
    switch (format) {
    case TO_SAFETENSORS: st = write_safetensors(out, &all, c, checkpoint_images(file), in, &e); break;
    case TO_NPZ: st = export_npz(out, all.t, all.n, dtype, config, &e); break;
    case TO_PT:
        st = export_rosinality(out, all.t, all.n, dtype, c, &e);
        if (st == ST_OK)
            warn_of_pt(c);
        break;
    default: st = onnx_write_generator(out, c, all.t, all.n, "G_ema.", (float)o.trunc, dtype == DT_F16, cli_version(), &e); break;
    }
    if (st != ST_OK)
        cli_die("%s", e.text);
    free(config);
    free_tensors(&all);
    cli_info("%s: written", out);
}

int main(int argc, char **argv) {
    cli_patient_threads(argv);
    int first = cli_start(&program, argc, argv), operands = argc - first;
    if (operands < 1 || operands > 2)
        cli_usage(operands ? "takes IN and OUT, not %d files" : "IN, a network's file, is needed", operands);
    const char *in = argv[first], *out = operands > 1 ? argv[first + 1] : NULL;
    int format = !out ? TO_AUTO : o.format ? o.format : format_of(out);
    struct stat there;
    if (out && format == TO_AUTO)
        cli_usage("%s: its suffix names no format; --format does", out);
    if (!out && (cli_given("format") || cli_given("dtype") || o.only_ema || o.force))
        cli_usage("these options need OUT");
    if (cli_given("trunc") && format != TO_ONNX)
        cli_usage("--trunc is for onnx");
    if (dtypes[o.dtype] == DT_BF16 && (format == TO_NPZ || format == TO_ONNX))
        cli_usage("--dtype bf16 is for safetensors and pt");
    if (out && !o.force && !stat(out, &there))
        cli_die("%s: there is such a file already (--force replaces it)", out);

    struct error e;
    struct checkpoint *file = NULL;
    struct tensor_file *tensors = NULL; /* of a file that is no network: it is shown, not written */
    if (checkpoint_open(&file, in, &e) != ST_OK) {
        struct error other;
        if (out || tensor_file_open(&tensors, in, &other) != ST_OK)
            cli_die("%s", e.text);
    }
    const struct tensor_file *shown = file ? checkpoint_tensors(file) : tensors;
    if (out)
        convert(file, in, out, format);
    if (o.json)
        print_json(in, shown, file ? checkpoint_config(file) : NULL);
    else if (!out || !o.quiet)
        print_table(shown, file ? checkpoint_config(file) : NULL);
    checkpoint_close(file);
    tensor_file_close(tensors);
    return cli_finish(EXIT_OK);
}
