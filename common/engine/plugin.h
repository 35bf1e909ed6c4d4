/* plugin.h - finding and opening the CUDA plugin, and the libraries of NVIDIA's that it needs.
 *
 * The plugin is linked with cuDNN and cuBLASLt, which the loader finds where they are installed for everybody. On many GPU machines they
 * lie inside a Python package instead (nvidia/cudnn/lib, nvidia/cu13/lib), where it does not look; a short list of such places is
 * searched then. Nothing is downloaded, and nothing is opened but what the plugin asks for by name.
 */
#ifndef FACEMILL_PLUGIN_H
#define FACEMILL_PLUGIN_H

#include "common/base/status.h"

/* $FACEMILL_PLUGIN, or ../lib/facemill-cuda.so from the program's folder. Caller frees. */
char *plugin_path(void);

/* dlopen. On failure one line that names the library missing and the places looked at. */
enum status plugin_open(void **handle, const char *path, struct error *e);

#endif
