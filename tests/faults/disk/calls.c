/* The system calls of a program on files below the watched directory: what each does to the disk, and the faults.
 *
 * A way of writing that is not followed here ends the program with a message; layer.py compares what was never marked as
 * written besides, so that one nobody thought of is found too.
 */
#define _GNU_SOURCE
#include "disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { DESCRIPTORS = 65536, INHERITED = 4096 };

static struct file *opened[DESCRIPTORS];
static char synchronous[DESCRIPTORS]; /* opened with O_DSYNC */

/* --- open and close --------------------------------------------------------------------------------------------- */

static struct file *tracked(int descriptor) {
    return control && descriptor >= 0 && descriptor < DESCRIPTORS ? opened[descriptor] : NULL;
}

static void remember(int descriptor, struct file *file, int dsync) {
    if (descriptor >= DESCRIPTORS)
        return file ? die("too high a descriptor", file->path) : (void)0;
    synchronous[descriptor] = (char)dsync;
    opened[descriptor] = file;
}

int ftruncate(int descriptor, off_t size);

static int open_anything(int directory, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    struct stat found;
    start();
    if (!control || !locate(directory, path, full) || flags & (O_DIRECTORY | O_PATH)) {
        if (control && (flags & O_TMPFILE) == O_TMPFILE && locate(directory, path, full))
            die("O_TMPFILE is not followed", full);
        int descriptor = (int)SYS(openat, directory, path, flags, mode);
        if (control && descriptor >= 0)
            remember(descriptor, NULL, 0);
        return descriptor;
    }
    pthread_mutex_lock(&names);
    int created = 0, descriptor = -1;
    if (flags & O_CREAT) {
        descriptor = (int)SYS(openat, directory, path, flags | O_EXCL, mode);
        created = descriptor >= 0;
    }
    if (!(flags & O_CREAT) || (descriptor < 0 && errno == EEXIST && !(flags & O_EXCL)))
        descriptor = (int)SYS(openat, directory, path, flags & ~(O_CREAT | O_EXCL | O_TRUNC), mode);
    int error = errno;
    if (descriptor >= 0) {
        struct file *file = NULL;
        if (fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode) && found.st_nlink)
            file = attach(descriptor, found.st_ino, full, created);
        remember(descriptor, file, (flags & O_DSYNC) != 0);
    }
    pthread_mutex_unlock(&names);
    errno = error;
    if (descriptor >= 0 && !created && flags & O_TRUNC && ftruncate(descriptor, 0) < 0)
        return -1;
    return descriptor;
}

void adopt(void) {
    char full[PATH_MAX];
    struct stat found;
    pthread_mutex_lock(&names);
    for (int descriptor = 0; descriptor < INHERITED; descriptor++)
        if (!fstat(descriptor, &found) && S_ISREG(found.st_mode) && found.st_nlink && path_of(descriptor, full))
            remember(descriptor, attach(descriptor, found.st_ino, full, 0),
                     (SYS(fcntl, descriptor, F_GETFL) & O_DSYNC) != 0);
    pthread_mutex_unlock(&names);
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open_anything(AT_FDCWD, path, flags, mode);
}
ALSO(open, open64);

int openat(int directory, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open_anything(directory, path, flags, mode);
}
ALSO(openat, openat64);

int __open_2(const char *path, int flags) { return open_anything(AT_FDCWD, path, flags, 0); }
ALSO(__open_2, __open64_2);

int creat(const char *path, mode_t mode) { return open_anything(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
ALSO(creat, creat64);

static void release(int descriptor) {
    struct file *file = getpid() == process ? tracked(descriptor) : NULL; /* a vforked child shares this memory */
    if (!file)
        return;
    opened[descriptor] = NULL;
    pthread_mutex_lock(&names);
    detach(file);
    pthread_mutex_unlock(&names);
}

int close(int descriptor) {
    start();
    release(descriptor);
    return (int)SYS(close, descriptor);
}

int close_range(unsigned first, unsigned last, int flags) {
    start();
    for (unsigned descriptor = first; !(flags & CLOSE_RANGE_CLOEXEC) && descriptor <= last && descriptor < DESCRIPTORS; descriptor++)
        release((int)descriptor);
    return (int)SYS(close_range, first, last, flags);
}

static int duplicated(int from, int to) {
    struct file *file = to >= 0 ? tracked(from) : NULL;
    if (control && to >= 0 && to < DESCRIPTORS) {
        if (file)
            __atomic_add_fetch(&file->references, 1, __ATOMIC_RELAXED);
        remember(to, file, file ? synchronous[from] : 0);
    }
    return to;
}

int dup(int from) { return start(), duplicated(from, (int)SYS(dup, from)); }

int dup3(int from, int to, int flags) {
    start();
    release(to);
    return duplicated(from, (int)SYS(dup3, from, to, flags));
}

int dup2(int from, int to) { return from == to ? to : dup3(from, to, 0); }

int fcntl(int descriptor, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    start();
    int result = (int)SYS(fcntl, descriptor, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(descriptor, result) : result;
}
ALSO(fcntl, fcntl64);

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* How long the disk lets a write of `size` bytes at `offset` be; the file's lock is held. */
static size_t granted(struct file *file, off_t offset, size_t size) {
    int64_t room = __atomic_load_n(&control->room, __ATOMIC_RELAXED);
    off_t growth = offset + (off_t)size - length(file);
    if (room < 0 || growth <= 0)
        return size;
    if (growth > (off_t)size)
        growth = (off_t)size; /* what lies between the end and the write is a hole */
    if (growth <= room) {
        __atomic_sub_fetch(&control->room, growth, __ATOMIC_RELAXED);
        return size;
    }
    count(&control->writes_refused);
    __atomic_store_n(&control->room, 0, __ATOMIC_RELAXED);
    return size - (size_t)(growth - room);
}

/* The faults of a sync on `path`: how long it takes, and how it ends (0, or an errno). */
static int verdict(const char *path) {
    if (count(&control->syncs) == __atomic_load_n(&control->kill_at, __ATOMIC_RELAXED))
        kill(getpid(), SIGKILL);
    if (!strstr(path, control->only))
        return 0;
    int64_t delay = __atomic_load_n(&control->sync_delay_ns, __ATOMIC_RELAXED);
    if (delay > 0) {
        struct timespec left = {delay / 1000000000, delay % 1000000000};
        count(&control->syncs_delayed);
        while (nanosleep(&left, &left) < 0 && errno == EINTR)
            ;
    }
    int error = (int)__atomic_load_n(&control->sync_errno, __ATOMIC_RELAXED);
    if (error)
        count(&control->syncs_failed);
    return error;
}

static off_t position(int descriptor, struct file *file) {
    return SYS(fcntl, descriptor, F_GETFL) & O_APPEND ? length(file) : SYS(lseek, descriptor, 0, SEEK_CUR);
}

/* Before a write: take the lock, ask for room, mark. 0 when the disk is full; errno is set then and the lock is free. */
static size_t begin(struct file *file, off_t offset, size_t size) {
    pthread_mutex_lock(&file->lock);
    size_t allowed = granted(file, offset, size);
    if (size && !allowed) {
        pthread_mutex_unlock(&file->lock);
        errno = ENOSPC;
        return 0;
    }
    mark(file, offset, offset + (off_t)allowed);
    return allowed;
}

/* After a write: what went through O_DSYNC is on the disk when the call returns, unless its sync fails. */
static ssize_t finish(struct file *file, int descriptor, off_t offset, ssize_t written) {
    int error = errno;
    if (written > 0 && synchronous[descriptor]) {
        int failure = verdict(file->path);
        if (failure) {
            error = failure;
            written = -1;
        } else {
            keep(file, offset, offset + written);
        }
    }
    pthread_mutex_unlock(&file->lock);
    errno = error;
    return written;
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    struct file *file = (start(), tracked(descriptor));
    if (!file)
        return SYS(pwrite64, descriptor, data, size, offset);
    size_t allowed = begin(file, offset, size);
    return size && !allowed ? -1 : finish(file, descriptor, offset, SYS(pwrite64, descriptor, data, allowed, offset));
}
ALSO(pwrite, pwrite64);

ssize_t write(int descriptor, const void *data, size_t size) {
    struct file *file = (start(), tracked(descriptor));
    if (!file)
        return SYS(write, descriptor, data, size);
    off_t offset = position(descriptor, file);
    size_t allowed = begin(file, offset, size);
    return size && !allowed ? -1 : finish(file, descriptor, offset, SYS(write, descriptor, data, allowed));
}

static size_t total(const struct iovec *parts, int number) {
    size_t size = 0;
    for (int i = 0; i < number; i++)
        size += parts[i].iov_len;
    return size;
}

/* A full disk refuses a gathered write whole. */
static int begin_gathered(struct file *file, off_t offset, size_t size) {
    size_t allowed = begin(file, offset, size);
    if (allowed == size)
        return 1;
    if (allowed)
        pthread_mutex_unlock(&file->lock);
    errno = ENOSPC;
    return 0;
}

ssize_t writev(int descriptor, const struct iovec *parts, int number) {
    struct file *file = (start(), tracked(descriptor));
    if (!file)
        return SYS(writev, descriptor, parts, number);
    off_t offset = position(descriptor, file);
    if (!begin_gathered(file, offset, total(parts, number)))
        return -1;
    return finish(file, descriptor, offset, SYS(writev, descriptor, parts, number));
}

ssize_t pwritev(int descriptor, const struct iovec *parts, int number, off_t offset) {
    struct file *file = (start(), tracked(descriptor));
    if (!file)
        return SYS(pwritev, descriptor, parts, number, offset, 0);
    if (!begin_gathered(file, offset, total(parts, number)))
        return -1;
    return finish(file, descriptor, offset, SYS(pwritev, descriptor, parts, number, offset, 0));
}
ALSO(pwritev, pwritev64);

ssize_t pwritev2(int descriptor, const struct iovec *parts, int number, off_t offset, int flags) {
    struct file *file = (start(), tracked(descriptor));
    if (file)
        die("pwritev2 is not followed", file->path);
    return SYS(pwritev2, descriptor, parts, number, offset, 0, flags);
}
ALSO(pwritev2, pwritev64v2);

ssize_t sendfile(int out, int in, off_t *from, size_t size) {
    struct file *file = (start(), tracked(out));
    if (!file)
        return SYS(sendfile, out, in, from, size);
    off_t offset = position(out, file);
    size_t allowed = begin(file, offset, size);
    return size && !allowed ? -1 : finish(file, out, offset, SYS(sendfile, out, in, from, allowed));
}
ALSO(sendfile, sendfile64);

ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t size, unsigned flags) {
    struct file *file = (start(), tracked(out));
    if (!file)
        return SYS(copy_file_range, in, from, out, to, size, flags);
    off_t offset = to ? *to : position(out, file);
    size_t allowed = begin(file, offset, size);
    return size && !allowed ? -1 : finish(file, out, offset, SYS(copy_file_range, in, from, out, to, allowed, flags));
}

ssize_t splice(int in, off_t *from, int out, off_t *to, size_t size, unsigned flags) {
    struct file *file = (start(), tracked(out));
    if (file)
        die("splice is not followed", file->path);
    return SYS(splice, in, from, out, to, size, flags);
}

int ftruncate(int descriptor, off_t size) {
    struct file *file = (start(), tracked(descriptor));
    if (!file)
        return (int)SYS(ftruncate, descriptor, size);
    pthread_mutex_lock(&file->lock);
    off_t before = length(file);
    mark(file, size, before);
    int result = (int)SYS(ftruncate, descriptor, size);
    if (result == 0)
        give_back(before - size);
    pthread_mutex_unlock(&file->lock);
    return result;
}
ALSO(ftruncate, ftruncate64);

int truncate(const char *path, off_t size) {
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0)
        return -1;
    int result = ftruncate(descriptor, size), error = errno;
    close(descriptor);
    errno = error;
    return result;
}
ALSO(truncate, truncate64);

int fallocate(int descriptor, int mode, off_t offset, off_t size) {
    struct file *file = (start(), tracked(descriptor));
    if (!file)
        return (int)SYS(fallocate, descriptor, mode, offset, size);
    if (mode)
        die("fallocate is followed only where it adds to a file", file->path);
    if (!begin_gathered(file, offset, (size_t)size))
        return -1;
    return (int)finish(file, descriptor, offset, SYS(fallocate, descriptor, 0, offset, size));
}
ALSO(fallocate, fallocate64);

int posix_fallocate(int descriptor, off_t offset, off_t size) {
    return fallocate(descriptor, 0, offset, size) < 0 ? errno : 0;
}
ALSO(posix_fallocate, posix_fallocate64);

void *mmap(void *address, size_t size, int protection, int flags, int descriptor, off_t offset) {
    struct file *file = (start(), flags & MAP_ANONYMOUS ? NULL : tracked(descriptor));
    if (file && protection & PROT_WRITE && flags & MAP_SHARED) {
        const char *name = strrchr(file->path, '/');
        if (strcmp(name, "/lock.mdb")) /* LMDB's table of readers, worthless after the process */
            die("a shared writable mapping is not followed", file->path);
    }
    return (void *)SYS(mmap, address, size, protection, flags, descriptor, offset);
}
ALSO(mmap, mmap64);

/* --- syncing ---------------------------------------------------------------------------------------------------- */

static int sync_directory(int descriptor, const char *path, ino_t number) {
    int failure = verdict(path);
    if (failure) {
        errno = failure;
        return -1;
    }
    pthread_mutex_lock(&names);
    int result = (int)SYS(fsync, descriptor);
    if (result == 0)
        keep_names(path, number);
    pthread_mutex_unlock(&names);
    return result;
}

static int sync_any(int descriptor, long call) {
    struct file *file = (start(), tracked(descriptor));
    char path[PATH_MAX];
    struct stat found;
    if (!file) {
        if (control && fstat(descriptor, &found) == 0 && S_ISDIR(found.st_mode) && path_of(descriptor, path))
            return sync_directory(descriptor, path, found.st_ino);
        return (int)real_syscall(call, descriptor);
    }
    pthread_mutex_lock(&file->sync);
    pthread_mutex_lock(&file->lock);
    off_t size = sync_begins(file);
    pthread_mutex_unlock(&file->lock);
    int failure = verdict(file->path);
    int result = failure ? -1 : (int)real_syscall(call, descriptor);
    int error = failure ? failure : errno;
    pthread_mutex_lock(&file->lock);
    sync_ends(file, size, result != 0);
    pthread_mutex_unlock(&file->lock);
    pthread_mutex_unlock(&file->sync);
    errno = error;
    return result;
}

int fsync(int descriptor) { return sync_any(descriptor, SYS_fsync); }
int fdatasync(int descriptor) { return sync_any(descriptor, SYS_fdatasync); }
