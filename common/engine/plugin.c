/* plugin.c - see plugin.h. Python's packages are found without starting Python: from $VIRTUAL_ENV, $CONDA_PREFIX, the python3 of $PATH,
 * and where distributions install. Opening takes microseconds where the loader knows the libraries, else a few globs. */
#include "common/engine/plugin.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/installed.h"
#include "common/base/mem.h"

#define ROUNDS 8 /* libraries of the plugin that are not where the loader looks: two today */

char *plugin_path(void) {
    const char *given = getenv("FACEMILL_PLUGIN");
    if (given && *given)
        return xstrdup(given);
    return installed_path("lib/facemill-cuda.so");
}

/* The folder above the one that python3 lies in; NULL when $PATH has none. Caller frees. */
static char *python_prefix(void) {
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t n = strcspn(path, ":");
        char *python = xasprintf("%.*s/python3", (int)n, path);
        bool found = n && !access(python, X_OK);
        free(python);
        if (found)
            return xasprintf("%.*s/..", (int)n, path);
        path += n + (path[n] == ':');
    }
    return NULL;
}

/* Opens LIBRARY for everybody from the first folder that has it in a form that loads. */
static bool open_matching(const char *pattern, const char *library) {
    char *files = xasprintf("%s/%s", pattern, library);
    glob_t g = {0};
    bool found = false;
    if (!glob(files, 0, NULL, &g))
        for (size_t i = 0; i < g.gl_pathc && !found; i++)
            found = dlopen(g.gl_pathv[i], RTLD_NOW | RTLD_GLOBAL) != NULL;
    globfree(&g);
    free(files);
    return found;
}

#define PACKAGES "lib/python3*/*-packages/nvidia/*/lib"
#define PLACES "$FACEMILL_CUDA_LIBS, CUDA in /usr/local, and nvidia/*/lib of Python's packages ($VIRTUAL_ENV, $CONDA_PREFIX, $PATH, /usr)"

static bool open_somewhere(const char *library) {
    const char *own = getenv("FACEMILL_CUDA_LIBS"), *virtual = getenv("VIRTUAL_ENV"), *conda = getenv("CONDA_PREFIX"), *home = getenv("HOME");
    char *python = python_prefix();
    char *pattern[] = {own && *own ? xstrdup(own) : NULL,
                       virtual && *virtual ? xasprintf("%s/" PACKAGES, virtual) : NULL,
                       conda && *conda ? xasprintf("%s/" PACKAGES, conda) : NULL,
                       python ? xasprintf("%s/" PACKAGES, python) : NULL,
                       home && *home ? xasprintf("%s/.local/" PACKAGES, home) : NULL,
                       xstrdup("/usr/local/cuda/lib64"), xstrdup("/usr/local/cuda-*/lib64"), xstrdup("/usr/local/" PACKAGES),
                       xstrdup("/usr/" PACKAGES)};
    bool found = false;
    for (size_t i = 0; i < sizeof pattern / sizeof *pattern; i++) {
        if (pattern[i])
            found = found || open_matching(pattern[i], library);
        free(pattern[i]);
    }
    free(python);
    return found;
}

enum status plugin_open(void **handle, const char *path, struct error *e) {
    char text[512] = "";
    if (access(path, R_OK))
        return st_fail(e, "device cuda: there is no plugin %s (make cuda builds it, FACEMILL_PLUGIN names another; --device cpu does "
                          "without)", path);
    for (int round = 0; round < ROUNDS; round++) {
        if ((*handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)))
            return ST_OK;
        const char *why = dlerror();
        snprintf(text, sizeof text, "%s", why ? why : "cannot be opened");
        /* "libcudnn.so.9: cannot open shared object file: ..." names a library; of the plugin itself it says the path */
        size_t n = strcspn(text, ":");
        char *library = xasprintf("%.*s", (int)n, text);
        bool named = text[n] == ':' && !strncmp(library, "lib", 3) && !strpbrk(library, "/*?[ ");
        bool found = named && open_somewhere(library);
        if (named && !found)
            st_fail(e, "device cuda: %s is not there; looked where the loader does, in " PLACES, library);
        free(library);
        if (named && !found)
            return ST_FAIL;
        if (!named)
            break;
    }
    return st_fail(e, "device cuda: %s (set FACEMILL_PLUGIN to the plugin, or use --device cpu)", text);
}
