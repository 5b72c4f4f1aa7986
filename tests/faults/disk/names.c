/* The system calls that change names, and those that ask how full the disk is. What a directory holds reaches the disk when
 * the directory is synced (calls.c); here only what comes into being and what ends is noted.
 */
#define _GNU_SOURCE
#include "disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* What a name led to until it was taken away: when it was a file's last one, the file is gone. */
static void name_gone(const struct stat *before) {
    if (!S_ISREG(before->st_mode) || before->st_nlink > 1)
        return;
    file_gone(before->st_ino);
    give_back(before->st_blocks * 512);
}

int unlinkat(int directory, const char *path, int flags) {
    char full[PATH_MAX];
    struct stat before;
    start();
    if (!control || !locate(directory, path, full) || flags & AT_REMOVEDIR)
        return (int)SYS(unlinkat, directory, path, flags);
    pthread_mutex_lock(&names);
    int known = fstatat(AT_FDCWD, full, &before, AT_SYMLINK_NOFOLLOW) == 0;
    int result = (int)SYS(unlinkat, directory, path, flags), error = errno;
    if (result == 0 && known)
        name_gone(&before);
    pthread_mutex_unlock(&names);
    errno = error;
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int renameat2(int from, const char *source, int to, const char *target, unsigned flags) {
    char full[PATH_MAX], whole[PATH_MAX];
    struct stat before, moved;
    start();
    int inside = control ? locate(from, source, full) + locate(to, target, whole) : 0;
    if (!inside)
        return (int)SYS(renameat2, from, source, to, target, flags);
    if (inside == 1 || flags)
        die("a rename into, out of or with options is not followed", whole);
    pthread_mutex_lock(&names);
    int replaces = fstatat(AT_FDCWD, whole, &before, AT_SYMLINK_NOFOLLOW) == 0;
    int known = fstatat(AT_FDCWD, full, &moved, AT_SYMLINK_NOFOLLOW) == 0;
    int result = (int)SYS(renameat2, from, source, to, target, flags), error = errno;
    if (result == 0 && replaces && known && before.st_ino != moved.st_ino)
        name_gone(&before);
    pthread_mutex_unlock(&names);
    errno = error;
    return result;
}

int renameat(int from, const char *source, int to, const char *target) { return renameat2(from, source, to, target, 0); }
int rename(const char *source, const char *target) { return renameat2(AT_FDCWD, source, AT_FDCWD, target, 0); }

int mkdirat(int directory, const char *path, mode_t mode) {
    char full[PATH_MAX];
    struct stat made;
    start();
    if (!control || !locate(directory, path, full))
        return (int)SYS(mkdirat, directory, path, mode);
    pthread_mutex_lock(&names);
    int result = (int)SYS(mkdirat, directory, path, mode), error = errno;
    if (result == 0 && fstatat(AT_FDCWD, full, &made, 0) == 0)
        directory_made(made.st_ino);
    pthread_mutex_unlock(&names);
    errno = error;
    return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int from, const char *source, int to, const char *target, int flags) {
    char full[PATH_MAX];
    start();
    if (control && locate(to, target, full))
        die("hard links are not followed", full);
    return (int)SYS(linkat, from, source, to, target, flags);
}

int link(const char *source, const char *target) { return linkat(AT_FDCWD, source, AT_FDCWD, target, 0); }

int symlinkat(const char *contents, int directory, const char *path) {
    char full[PATH_MAX];
    start();
    if (control && locate(directory, path, full))
        die("symbolic links are not followed", full);
    return (int)SYS(symlinkat, contents, directory, path);
}

int symlink(const char *contents, const char *path) { return symlinkat(contents, AT_FDCWD, path); }

/* --- how full it is --------------------------------------------------------------------------------------------- */

static int fuller(int result, struct statvfs *found) {
    int64_t room = __atomic_load_n(&control->room, __ATOMIC_RELAXED);
    if (result == 0 && room >= 0)
        found->f_bavail = found->f_bfree = (fsblkcnt_t)room / found->f_frsize;
    return result;
}

int statvfs(const char *path, struct statvfs *found) {
    char full[PATH_MAX];
    start();
    int (*real)(const char *, struct statvfs *) = (int (*)(const char *, struct statvfs *))dlsym(RTLD_NEXT, "statvfs");
    int result = real(path, found);
    return control && locate(AT_FDCWD, path, full) ? fuller(result, found) : result;
}
int statvfs64(const char *path, struct statvfs64 *found) { return statvfs(path, (struct statvfs *)found); }

int fstatvfs(int descriptor, struct statvfs *found) {
    char full[PATH_MAX];
    start();
    int (*real)(int, struct statvfs *) = (int (*)(int, struct statvfs *))dlsym(RTLD_NEXT, "fstatvfs");
    int result = real(descriptor, found);
    return control && path_of(descriptor, full) ? fuller(result, found) : result;
}
int fstatvfs64(int descriptor, struct statvfs64 *found) { return fstatvfs(descriptor, (struct statvfs *)found); }
