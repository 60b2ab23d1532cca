/* Writes numbered 64-bit words to its stdout, as fast as that takes them, and measures how long it is kept waiting: what no
 * shell can do. For each byte that it reads it writes as many bytes as its argument says, in pieces of every size; at the end of
 * its stdin it writes what it has seen to /host/report and ends.
 *
 * With `lines N`, it writes N lines of a hundred bytes instead, a write each, as most programs do, numbered from N - 1 down to 0, and
 * ends.
 *
 * A write that takes long because this program was not given a processor is not one that had to wait: the kernel counts that time
 * (proc(5), /proc/PID/schedstat), and it is taken off. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST 65536
#define LONG 100000000LL /* nanoseconds */

static long long now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static long long without_processor(void) {
    char text[128] = "";
    long long ran = 0, waited = 0;
    int file = open("/proc/self/schedstat", O_RDONLY);
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) > 0)
            sscanf(text, "%lld %lld", &ran, &waited);
        close(file);
    }
    return waited;
}

static int lines(long long count) {
    char line[100], digits[32];
    memset(line, 'x', sizeof line);
    line[99] = '\n';
    while (count-- > 0) {
        int length = snprintf(digits, sizeof digits, "%lld ", count);
        memset(line, 'x', sizeof digits); /* what a longer number has left */
        memcpy(line, digits, (size_t)length);
        if (write(1, line, 100) != 100)
            return 2;
    }
    return 0;
}

int main(int count, char **words) {
    if (count > 2 && !strcmp(words[1], "lines"))
        return lines(atoll(words[2]));
    static uint64_t buffer[MOST / 8 + 2];
    long long burst = count > 1 ? atoll(words[1]) : MOST;
    uint64_t offset = 0, dice = 1;
    long long longest = 0, frozen = 0;
    char go;
    while (read(0, &go, 1) == 1) {
        long long left = burst, idle = without_processor();
        while (left > 0) {
            dice = dice * 6364136223846793005ULL + 1442695040888963407ULL;
            long long piece = 1 + (long long)((dice >> 33) % MOST);
            if (piece > left)
                piece = left;
            for (uint64_t i = 0; i < MOST / 8 + 2; i++)
                buffer[i] = offset / 8 + i;
            char *bytes = (char *)buffer + offset % 8;
            while (piece > 0) {
                long long began = now();
                ssize_t written = write(1, bytes, (size_t)piece);
                long long took = now() - began;
                if (written <= 0)
                    return 2;
                if (took > LONG / 5)
                    took -= without_processor() - idle;
                if (took > longest)
                    longest = took;
                if (took > LONG)
                    frozen++;
                bytes += written;
                piece -= written;
                left -= written;
                offset += (uint64_t)written;
            }
        }
    }
    FILE *report = fopen("/host/report", "w");
    if (!report || fprintf(report, "%llu %lld %lld\n", (unsigned long long)offset, longest, frozen) < 0 || fclose(report))
        return 3;
    return 0;
}
