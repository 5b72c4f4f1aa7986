/* The disk as it would be after a power failure, kept beside the watched directory:
 *
 *   i/<inode>        what the disk holds of a file that exists now
 *   i/<inode>.marks  one byte for every block of it
 *   m/<inode>        a directory that exists now: a symbolic link that names its id
 *   d/<id>/          what the disk holds of a directory: hard links to contents, symbolic links to the ids of directories
 *
 * It outlives the process, as the kernel's cache outlives a killed process. Contents whose last name is no longer on the
 * disk vanish by themselves, with their last hard link.
 */
#define _GNU_SOURCE
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 4096, MARKS = 16 << 20, FILES = 256, BUFFER = 256 << 10 };

/* Marks of a block. */
enum {
    DIRTY = 1,   /* written since the last sync began */
    MOVING = 2,  /* a sync that has not ended found it dirty */
    DROPPED = 4, /* a sync failed: the kernel believes it clean, the disk does not have it */
};

static struct file files[FILES];

static char *inside(char *buffer, const char *part, unsigned long number, const char *suffix) {
    const char *root = getenv("FAULTS_DISK_SHADOW");
    snprintf(buffer, PATH_MAX, "%s/%s/%lu%s", root, part, number, suffix);
    return buffer;
}

/* --- contents --------------------------------------------------------------------------------------------------- */

static int open_or_die(const char *path, int flags) {
    int descriptor = (int)SYS(openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
    if (descriptor < 0)
        die(errno == ENOENT ? "a file came into being behind the layer's back" : strerror(errno), path);
    return descriptor;
}

static struct file *find(ino_t number) {
    for (int i = 0; i < FILES; i++)
        if (files[i].used && files[i].number == number && !files[i].nameless)
            return &files[i];
    return NULL;
}

struct file *attach(int descriptor, ino_t number, const char *path, int created) {
    char name[PATH_MAX];
    struct file *file = created ? NULL : find(number);
    if (file) {
        __atomic_add_fetch(&file->references, 1, __ATOMIC_RELAXED);
        return file;
    }
    for (int i = 0; i < FILES && !file; i++)
        if (!files[i].used)
            file = &files[i];
    if (!file)
        die("too many open files", path);
    if (created)
        file_gone(number); /* a number that is used again */
    struct stat found;
    int unheard = !created && fstat(descriptor, &found) == 0 && found.st_size == 0; /* its maker may have been killed */
    file->kept = open_or_die(inside(name, "i", number, ""), O_RDWR | (created ? O_CREAT | O_EXCL : unheard ? O_CREAT : 0));
    int marks = open_or_die(inside(name, "i", number, ".marks"), O_RDWR | O_CREAT);
    if (ftruncate(marks, MARKS) < 0)
        die(strerror(errno), name);
    file->marks = mmap(NULL, MARKS, PROT_READ | PROT_WRITE, MAP_SHARED, marks, 0);
    if (file->marks == MAP_FAILED)
        die(strerror(errno), name);
    SYS(close, marks);
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    file->contents = open_or_die(name, O_RDONLY);
    snprintf(file->path, sizeof file->path, "%s", path);
    file->number = number;
    file->nameless = 0;
    file->references = 1;
    pthread_mutex_init(&file->lock, NULL);
    pthread_mutex_init(&file->sync, NULL);
    file->used = 1;
    return file;
}

void detach(struct file *file) {
    if (__atomic_sub_fetch(&file->references, 1, __ATOMIC_RELAXED))
        return;
    munmap(file->marks, MARKS);
    SYS(close, file->contents);
    SYS(close, file->kept);
    file->used = 0;
}

off_t length(struct file *file) {
    struct stat found;
    if (fstat(file->contents, &found) < 0)
        die(strerror(errno), file->path);
    return found.st_size;
}

void mark(struct file *file, off_t from, off_t to) {
    if (to > (off_t)MARKS * BLOCK)
        die("a file is longer than the layer can follow", file->path);
    for (off_t block = from / BLOCK; block * BLOCK < to; block++)
        file->marks[block] = (file->marks[block] & MOVING) | DIRTY;
}

/* Copy a range to the disk, as far as it exists. */
void keep(struct file *file, off_t from, off_t to) {
    static _Thread_local char buffer[BUFFER];
    while (from < to) {
        size_t count = to - from < BUFFER ? (size_t)(to - from) : BUFFER;
        ssize_t got = SYS(pread64, file->contents, buffer, count, from);
        if (got == 0)
            return;
        if (got < 0 || SYS(pwrite64, file->kept, buffer, (size_t)got, from) != got)
            die("cannot copy", file->path);
        from += got;
    }
}

off_t sync_begins(struct file *file) {
    off_t size = length(file);
    for (off_t block = 0; block * BLOCK < size; block++)
        if (file->marks[block] & DIRTY)
            file->marks[block] = MOVING;
    return size;
}

void sync_ends(struct file *file, off_t size, int failed) {
    off_t now = length(file), blocks = (size + BLOCK - 1) / BLOCK;
    size = now < size ? now : size;
    for (off_t block = 0, first; block < blocks; block++) {
        for (first = block; block < blocks && file->marks[block] & MOVING; block++)
            ;
        if (!failed && block > first)
            keep(file, first * BLOCK, block * BLOCK < size ? block * BLOCK : size);
        for (off_t done = first; done < block; done++) /* last: a process killed before has the blocks marked */
            file->marks[done] = failed ? DROPPED | (file->marks[done] & DIRTY) : file->marks[done] & DIRTY;
    }
    if (!failed && ftruncate(file->kept, size) < 0)
        die(strerror(errno), file->path);
}

/* --- names ------------------------------------------------------------------------------------------------------ */

void file_gone(ino_t number) {
    char name[PATH_MAX];
    struct file *file = find(number);
    if (file)
        file->nameless = 1;
    SYS(unlinkat, AT_FDCWD, inside(name, "i", number, ""), 0);
    SYS(unlinkat, AT_FDCWD, inside(name, "i", number, ".marks"), 0);
}

void directory_made(ino_t number) {
    char name[PATH_MAX], link[PATH_MAX];
    snprintf(name, sizeof name, "%s/d/XXXXXX", getenv("FAULTS_DISK_SHADOW"));
    if (!mkdtemp(name))
        die(strerror(errno), name);
    SYS(unlinkat, AT_FDCWD, inside(link, "m", number, ""), 0);
    if (SYS(symlinkat, strrchr(name, '/') + 1, AT_FDCWD, link) < 0)
        die(strerror(errno), link);
}

static void id_of(ino_t number, const char *path, char *id) {
    char name[PATH_MAX];
    ssize_t size = readlink(inside(name, "m", number, ""), id, NAME_MAX);
    if (size < 0)
        die("a directory came into being behind the layer's back", path);
    id[size] = 0;
}

/* Put one name of a directory on the disk; `there` is what the disk holds of that directory. */
static void keep_name(int there, const char *name, const char *path, const struct stat *found) {
    char id[NAME_MAX + 1] = "", before[NAME_MAX + 1] = "", source[PATH_MAX];
    struct stat kept, wanted;
    if (S_ISDIR(found->st_mode)) {
        id_of(found->st_ino, path, id);
        if (readlinkat(there, name, before, NAME_MAX) > 0 && !strcmp(id, before))
            return;
        if (SYS(symlinkat, id, there, "\x01new") < 0)
            die(strerror(errno), path);
    } else {
        inside(source, "i", found->st_ino, "");
        if (fstatat(AT_FDCWD, source, &wanted, 0) < 0) {
            if (found->st_size == 0)
                return; /* its maker was killed, or has not got that far, before the layer heard of it: nobody counts on it */
            die("a file came into being behind the layer's back", path);
        }
        if (fstatat(there, name, &kept, AT_SYMLINK_NOFOLLOW) == 0 && kept.st_ino == wanted.st_ino)
            return;
        if (SYS(linkat, AT_FDCWD, source, there, "\x01new", 0) < 0)
            die(strerror(errno), path);
    }
    if (SYS(renameat2, there, "\x01new", there, name, 0) < 0)
        die(strerror(errno), path);
}

void keep_names(const char *path, ino_t number) {
    char id[NAME_MAX + 1], name[PATH_MAX];
    struct stat found;
    struct dirent *entry;
    id_of(number, path, id);
    snprintf(name, sizeof name, "%s/d/%s", getenv("FAULTS_DISK_SHADOW"), id);
    DIR *here = opendir(path), *there = opendir(name);
    if (!here || !there)
        die(strerror(errno), path);
    while ((entry = readdir(here))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (fstatat(dirfd(here), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0)
            keep_name(dirfd(there), entry->d_name, path, &found);
    }
    while ((entry = readdir(there))) /* additions first: a rename that is half kept has both names, never none */
        if (fstatat(dirfd(here), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) < 0)
            SYS(unlinkat, dirfd(there), entry->d_name, 0);
    closedir(here);
    closedir(there);
}
