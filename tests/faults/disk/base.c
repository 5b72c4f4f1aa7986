/* How the layer begins, how it complains, and which paths it watches. */
#define _GNU_SOURCE
#include "disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct control *control;
pid_t process;
pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;
long (*real_syscall)(long, ...);
static char watched[PATH_MAX];
static size_t watched_length;

__attribute__((constructor)) void start(void) {
    if (real_syscall)
        return;
    real_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    const char *watch = getenv("FAULTS_DISK_WATCH"), *shadow = getenv("FAULTS_DISK_SHADOW");
    if (!watch || !shadow || !realpath(watch, watched))
        return;
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/control", shadow);
    int descriptor = (int)SYS(openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC);
    void *block = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (descriptor < 0 || block == MAP_FAILED)
        die("there is no control block", name);
    SYS(close, descriptor);
    process = getpid();
    watched_length = strlen(watched);
    control = block;
    adopt();
}

_Noreturn void die(const char *what, const char *path) {
    char message[2 * PATH_MAX], name[PATH_MAX];
    int size = snprintf(message, sizeof message, "disk layer: %s: %s\n", path, what);
    snprintf(name, sizeof name, "%s/complaint", getenv("FAULTS_DISK_SHADOW"));
    int file = (int)SYS(openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND, 0600);
    SYS(write, file, message, (size_t)size);
    SYS(write, 2, message, (size_t)size);
    abort();
}

int64_t count(int64_t *counter) { return __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED); }

void give_back(off_t bytes) {
    if (bytes > 0 && __atomic_load_n(&control->room, __ATOMIC_RELAXED) >= 0)
        __atomic_add_fetch(&control->room, bytes, __ATOMIC_RELAXED);
}

/* --- paths ------------------------------------------------------------------------------------------------------ */

static int is_watched(const char *full) {
    return !strncmp(full, watched, watched_length) && (full[watched_length] == '/' || !full[watched_length]);
}

int path_of(int descriptor, char *full) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(name, full, PATH_MAX - 1);
    full[size < 0 ? 0 : size] = 0;
    return is_watched(full);
}

int locate(int directory, const char *path, char *full) {
    char whole[2 * PATH_MAX] = "", base[PATH_MAX] = "", *last;
    int error = errno;
    if (path[0] != '/') {
        if (directory == AT_FDCWD ? !getcwd(base, sizeof base) : (path_of(directory, base), !base[0]))
            return errno = error, 0;
        strcat(base, "/");
    }
    snprintf(whole, sizeof whole, "%s%s", base, path);
    for (size_t end = strlen(whole); end > 1 && whole[end - 1] == '/'; end--)
        whole[end - 1] = 0;
    last = strrchr(whole, '/');
    if (!strcmp(last, "/..") || !strcmp(last, "/.")) {
        if (!realpath(whole, full))
            full[0] = 0;
    } else {
        *last = 0;
        if (realpath(whole[0] ? whole : "/", full))
            snprintf(full + strlen(full), PATH_MAX - strlen(full), "/%s", last + 1);
        else
            full[0] = 0;
    }
    errno = error;
    return is_watched(full);
}
