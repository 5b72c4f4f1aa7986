/* The wall clock, moved by control->clock_offset_ns. The monotonic clock, which real jumps leave alone too, is not touched. */
#define _GNU_SOURCE
#include "disk.h"

#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static int (*real_clock_gettime)(clockid_t, struct timespec *);

static int read_clock(clockid_t clock, struct timespec *now) {
    if (!real_clock_gettime)
        real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_clock_gettime(clock, now);
    int64_t offset = control ? __atomic_load_n(&control->clock_offset_ns, __ATOMIC_RELAXED) : 0;
    if (result < 0 || !offset || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return result;
    int64_t shifted = now->tv_sec * INT64_C(1000000000) + now->tv_nsec + offset;
    now->tv_sec = shifted / 1000000000;
    now->tv_nsec = shifted % 1000000000;
    count(&control->clock_reads_shifted);
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) { return read_clock(clock, now); }

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    if (read_clock(CLOCK_REALTIME, &found) < 0)
        return -1;
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec found;
    if (read_clock(CLOCK_REALTIME, &found) < 0)
        return -1;
    if (now)
        *now = found.tv_sec;
    return found.tv_sec;
}
