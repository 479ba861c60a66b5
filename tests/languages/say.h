/* What the programs about sockets say of a call. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void say(const char *what, long result) {
    int error = errno;
    if (result < 0)
        printf("%s: %s\n", what, strerror(error));
    else
        printf("%s: %ld\n", what, result);
    fflush(stdout);
}
