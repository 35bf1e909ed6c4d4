/* config.c - what a StyleGAN2 network looks like: channel counts, limits, and the JSON that travels with checkpoints. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "common/base/mem.h"
#include "common/stylegan2/network.h"

int sg2_channels(const struct sg2_config *c, int res) {
    int n = c->channel_base / res;
    return n < c->channel_max ? n : c->channel_max;
}

int sg2_num_ws(const struct sg2_config *c) {
    int log2 = 0;
    while (1 << (log2 + 1) <= c->res)
        log2++;
    return 2 * log2 - 2;
}

static enum status check_range(const char *field, double value, double low, double high, struct error *e) {
    if (!(value >= low && value <= high))
        return st_bad(e, "network configuration: %s is %g, allowed are %g to %g", field, value, low, high);
    return ST_OK;
}

enum status sg2_config_check(const struct sg2_config *c, struct error *e) {
    enum status st;
    if ((st = check_range("res", c->res, 8, 1024, e)) || (st = check_range("img_channels", c->img_channels, 1, 4, e)) ||
        (st = check_range("z_dim", c->z_dim, 1, 4096, e)) || (st = check_range("w_dim", c->w_dim, 1, 4096, e)) ||
        (st = check_range("c_dim", c->c_dim, 0, 65536, e)) || (st = check_range("channel_base", c->channel_base, 4, 1 << 20, e)) ||
        (st = check_range("channel_max", c->channel_max, 1, 4096, e)) || (st = check_range("map_layers", c->map_layers, 1, 32, e)) ||
        (st = check_range("d_map_layers", c->d_map_layers, c->c_dim > 0 ? 1 : 0, 32, e)) ||
        (st = check_range("mbstd_group", c->mbstd_group, 0, 4096, e)) ||
        (st = check_range("mbstd_channels", c->mbstd_channels, 0, 64, e)) ||
        (st = check_range("conv_clamp", c->conv_clamp, 0, 1e9, e)))
        return st;
    if (c->res & (c->res - 1))
        return st_bad(e, "network configuration: res is %d, must be a power of two (8 to 1024)", c->res);
    if (c->img_channels == 2)
        return st_bad(e, "network configuration: img_channels is 2, allowed are 1, 3 and 4");
    if (sg2_channels(c, c->res) < 1)
        return st_bad(e, "network configuration: channel_base %d leaves no channel at resolution %d", c->channel_base, c->res);
    if (c->mbstd_channels > 0 && sg2_channels(c, 4) % c->mbstd_channels)
        return st_bad(e, "network configuration: mbstd_channels %d does not divide the %d channels at 4x4", c->mbstd_channels,
                      sg2_channels(c, 4));
    return ST_OK;
}

/* One list of the integer fields serves writing and reading. */
#define INT_FIELDS(X) \
    X(res) X(img_channels) X(z_dim) X(w_dim) X(c_dim) X(channel_base) X(channel_max) X(map_layers) X(d_map_layers) \
    X(mbstd_group) X(mbstd_channels)

enum status sg2_config_class(const struct sg2_config *c, int64_t k, struct error *e) {
    if (k >= 0 && k < c->c_dim)
        return ST_OK;
    return c->c_dim ? st_bad(e, "the network has classes 0-%d", c->c_dim - 1) : st_bad(e, "the network has no classes");
}

char *sg2_config_json(const struct sg2_config *c) {
    cJSON *o = cJSON_CreateObject();
#define X(field) cJSON_AddNumberToObject(o, #field, c->field);
    INT_FIELDS(X)
#undef X
    cJSON_AddNumberToObject(o, "conv_clamp", c->conv_clamp);
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return text;
}

/* A missing field takes the published default; fields of a wrong type are an error. */
static enum status read_number(const cJSON *o, const char *field, double fallback, bool integer, double *out, struct error *e) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, field);
    *out = fallback;
    if (!item || cJSON_IsNull(item))
        return ST_OK;
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble) || fabs(item->valuedouble) > 1e9 ||
        (integer && item->valuedouble != floor(item->valuedouble)))
        return st_bad(e, "network configuration: %s is not %s", field, integer ? "a whole number" : "a number");
    *out = item->valuedouble;
    return ST_OK;
}

enum status sg2_config_parse(struct sg2_config *c, const char *json, struct error *e) {
    cJSON *o = cJSON_Parse(json);
    enum status st = ST_OK;
    double value;
    const struct sg2_config fallback = {.res = 0, .img_channels = 3, .z_dim = 512, .w_dim = 512, .c_dim = 0,
                                        .channel_base = 32768, .channel_max = 512, .map_layers = 8, .d_map_layers = 8,
                                        .mbstd_group = 4, .mbstd_channels = 1, .conv_clamp = 0};
    if (!cJSON_IsObject(o)) {
        cJSON_Delete(o);
        return st_bad(e, "network configuration: not a JSON object");
    }
    *c = fallback;
#define X(field) \
    if (st == ST_OK && (st = read_number(o, #field, fallback.field, true, &value, e)) == ST_OK) \
        c->field = (int)value;
    INT_FIELDS(X)
#undef X
    if (st == ST_OK && (st = read_number(o, "conv_clamp", fallback.conv_clamp, false, &value, e)) == ST_OK)
        c->conv_clamp = (float)value;
    cJSON_Delete(o);
    return st == ST_OK ? sg2_config_check(c, e) : st;
}
