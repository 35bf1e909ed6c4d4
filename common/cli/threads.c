/* threads.c - idle worker threads sleep instead of spinning.
 *
 * GCC's OpenMP lets a thread that waits for work spin for a few milliseconds. On processors of its own that costs nothing; beside
 * any other busy process the spinning thread takes the time that the working one needs: a training step under load took 197 ms of
 * processor time a picture, and 17 ms with threads that sleep. The library reads OMP_WAIT_POLICY before main, so the program
 * starts itself once more with it. Whoever sets OMP_WAIT_POLICY or GOMP_SPINCOUNT has the last word.
 */
#include <stdlib.h>
#include <unistd.h>

#include "common/cli/cli.h"

void cli_patient_threads(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || setenv("OMP_WAIT_POLICY", "passive", 1))
        return;
    execv("/proc/self/exe", argv); /* returns only when there is no /proc: then threads spin */
}
