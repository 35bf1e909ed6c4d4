/* installed.h - files that lie beside the programs, found from where the running program is, so that an installed or unpacked
 * folder can be moved as a whole. */
#ifndef FACEMILL_INSTALLED_H
#define FACEMILL_INSTALLED_H

#ifdef __cplusplus
extern "C" {
#endif

/* "lib/facemill-cuda.so" -> "<folder of the program>/../lib/facemill-cuda.so"; `relative` alone when the program's own path
 * cannot be read. Caller frees. Whether the file exists is not looked at. */
char *installed_path(const char *relative);

#ifdef __cplusplus
}
#endif
#endif
