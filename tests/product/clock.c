/* Preloaded: the calendar clock is off by as many seconds as the file FLUMEN_CLOCK holds, and the monotonic one by those of the
   file FLUMEN_UPTIME; without the file it is right. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long offset(const char *variable) {
    char text[32] = {0};
    const char *path = getenv(variable);
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return atoll(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset("FLUMEN_CLOCK");
    if (result == 0 && clock == CLOCK_MONOTONIC) now->tv_sec += offset("FLUMEN_UPTIME");
    return result;
}
