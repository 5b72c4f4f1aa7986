/* What the files of the layer share: the control block, and the disk as it would be after a power failure. */
#ifndef DISK_H
#define DISK_H

#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>

/* Shared with the tests through a mapped file; layer.py has the same list. Every field is one aligned 64-bit number. */
struct control {
    int64_t sync_delay_ns;   /* every sync takes this much longer */
    int64_t sync_errno;      /* every sync fails with this; 0: none does */
    int64_t room;            /* bytes that files may still grow by; negative: no limit */
    int64_t clock_offset_ns; /* added to the wall clock */
    int64_t kill_at;         /* the process is killed when it asks for the sync of that number; 0: it is not */
    int64_t syncs;           /* counters: fsync, fdatasync and writes through O_DSYNC */
    int64_t syncs_delayed;
    int64_t syncs_failed;
    int64_t writes_refused;
    int64_t clock_reads_shifted;
    char only[128]; /* syncs are delayed and fail only where the path contains this */
};

/* One regular file below the watched directory that is open in this process. */
struct file {
    int used;              /* this slot of the table is taken */
    int references;        /* descriptors */
    int nameless;          /* its last name is gone: nothing of it can come back */
    ino_t number;          /* inode number */
    int contents;          /* our own descriptor, for reading */
    int kept;              /* what the disk holds of it */
    unsigned char *marks;  /* one byte per block, see shadow.c */
    pthread_mutex_t lock;  /* held while contents and marks change */
    pthread_mutex_t sync;  /* held by one sync from beginning to end */
    char path[PATH_MAX];   /* as it was opened */
};

extern struct control *control;   /* NULL: the layer is not in use */
extern pid_t process;             /* the one that the layer was loaded into: children share its memory for a moment */
extern pthread_mutex_t names;     /* held while names change */
extern long (*real_syscall)(long, ...);
#define SYS(name, ...) real_syscall(SYS_##name, __VA_ARGS__)
#define ALSO(name, other) extern __typeof__(name) other __attribute__((alias(#name)))

int64_t count(int64_t *counter); /* the new value */
void give_back(off_t bytes); /* room on a full disk */
_Noreturn void die(const char *what, const char *path);
void start(void); /* safe to call again */
void adopt(void); /* follow the files that this process was given open */

/* Paths. */
int locate(int directory, const char *path, char *full); /* 1 and the absolute path when it is watched, else 0 */
int path_of(int descriptor, char *full);                 /* the same for an open file */

/* Contents; `names` is held for attach and detach, the file's lock for mark and keep. */
struct file *attach(int descriptor, ino_t number, const char *path, int created);
void detach(struct file *file);
off_t length(struct file *file);
void mark(struct file *file, off_t from, off_t to);
void keep(struct file *file, off_t from, off_t to);
off_t sync_begins(struct file *file);
void sync_ends(struct file *file, off_t size, int failed);

/* Names; `names` is held. */
void directory_made(ino_t number);
void file_gone(ino_t number);
void keep_names(const char *path, ino_t number);

#endif
