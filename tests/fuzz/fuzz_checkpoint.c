/* fuzz_checkpoint.c - any bytes as a network: what is accepted must give a generator, or a reason why not. */
#include <stdint.h>
#include <stdlib.h>

#include "common/store/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct device *device;
    struct checkpoint *c;
    struct sg2_net *net;
    struct error e = {""};
    if (!device && device_open(&device, "cpu", 1, &e) != ST_OK)
        abort();
    if (checkpoint_parse(&c, data, size, "input", &e) != ST_OK) {
        if (!*e.text || c)
            abort();
        return 0;
    }
    if (sg2_config_check(checkpoint_config(c), &e) != ST_OK || checkpoint_images(c) < -1)
        abort();
    if (checkpoint_generator(c, device, &net, &e) == ST_OK)
        sg2_net_free(net);
    else if (!*e.text || net)
        abort();
    checkpoint_close(c);
    return 0;
}
