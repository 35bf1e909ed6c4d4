/* provenance.c - see provenance.h. */
#include "common/run/provenance.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"

char *provenance_data(const struct store *s, int size, int classes) {
    const struct store_meta *m = store_get_meta(s);
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "content_hash", m->content_hash ? m->content_hash : "");
    cJSON_AddNumberToObject(j, "length", (double)m->length);
    cJSON_AddNumberToObject(j, "size", m->height[size]);
    cJSON_AddNumberToObject(j, "channels", m->channels);
    cJSON_AddNumberToObject(j, "classes", classes);
    char *text = cJSON_PrintUnformatted(j);
    cJSON_Delete(j);
    return text;
}

char *provenance_settings(const struct trainer_config *c, const struct device *d, int64_t images, const char *data) {
    char *trainer = trainer_config_json(c), *given = cli_settings_json();
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "program", cli_version());
    cJSON_AddStringToObject(j, "device", device_name(d));
    cJSON_AddStringToObject(j, "device_description", device_description(d));
    cJSON_AddNumberToObject(j, "images", (double)images);
    cJSON_AddItemToObject(j, "data", cJSON_Parse(data));
    cJSON_AddItemToObject(j, "trainer", cJSON_Parse(trainer));
    cJSON_AddItemToObject(j, "options", cJSON_Parse(given));
    char *text = cJSON_Print(j), *line = xasprintf("%s\n", text);
    cJSON_Delete(j);
    free(text);
    free(trainer);
    free(given);
    return line;
}
