/* What runs in the containers that scripts/bench measures: it does one thing, and says by the clock when.
 *
 *   inside idle                         waits to be killed
 *   inside exit GATE STAMP              waits for a byte in GATE, writes the time into STAMP, exits with 7
 *   inside write GATE STAMP MIB LENGTH  waits for a byte in GATE, then writes MIB MiB of lines of LENGTH bytes, 64 KiB at a time, and
 *                                       the times at the beginning and at the end into STAMP; then waits to be killed
 *   inside lines GATE STAMP COUNT LENGTH  likewise COUNT lines of LENGTH bytes, one at a time
 *
 * Times are nanoseconds of CLOCK_MONOTONIC, as decimal lines. STAMP is opened before, so that nothing but one write lies
 * between the time and what comes after. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void stamp(int fd) {
    struct timespec now;
    char line[32];
    clock_gettime(CLOCK_MONOTONIC, &now);
    int length = snprintf(line, sizeof line, "%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    if (write(fd, line, length) != length) _exit(3);
}

/* Returns STAMP's descriptor when the byte has come. */
static int wait_at(const char *gate, const char *path) {
    char byte;
    int out = open(path, O_WRONLY | O_APPEND);
    int in = open(gate, O_RDONLY);
    if (in < 0 || out < 0 || read(in, &byte, 1) != 1) {
        perror(gate);
        _exit(3);
    }
    return out;
}

static void fill(char *buffer, long size, long length) {
    memset(buffer, 'x', size);
    for (long at = length - 1; at < size; at += length) buffer[at] = '\n';
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "idle")) {
        for (;;) pause();
    }
    if (!strcmp(what, "exit") && argc == 4) {
        stamp(wait_at(argv[2], argv[3]));
        _exit(7);
    }
    if (!strcmp(what, "write") && argc == 6) {
        enum { PIECE = 64 << 10 };
        static char buffer[PIECE];
        long length = atol(argv[5]), left = atol(argv[4]) << 20;
        /* Whole lines only, so that each piece ends one. */
        long piece = PIECE / length * length;
        fill(buffer, piece, length);
        int out = wait_at(argv[2], argv[3]);
        stamp(out);
        while (left > 0) {
            long done = write(1, buffer, left < piece ? left : piece);
            if (done <= 0) _exit(4);
            left -= done;
        }
        stamp(out);
        for (;;) pause();
    }
    if (!strcmp(what, "lines") && argc == 6) {
        static char buffer[4096];
        long length = atol(argv[5]), left = atol(argv[4]);
        if (length > (long)sizeof buffer) _exit(2);
        fill(buffer, length, length);
        int out = wait_at(argv[2], argv[3]);
        stamp(out);
        for (; left > 0; left--) {
            if (write(1, buffer, length) != length) _exit(4);
        }
        stamp(out);
        for (;;) pause();
    }
    fputs("inside: idle | exit | write | lines\n", stderr);
    return 2;
}
